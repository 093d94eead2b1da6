"""The demonstration: fine-tune the shipped prior with Psi-learning, judge both, write what to hear, see and read."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents import PsiLearning
from agents.base import installed
from agents.baselines import FixedPolicy
from agents.budget import SecondsBudget
from agents.evaluate import evaluate
from benchmarks.report.figures import curves_png, roll_png
from benchmarks.report.page import page
from benchmarks.report.rows import OBJECTIVE, RULES, SUMMARY, TABLE_1, text_table
from seqtutor_envs import __version__
from seqtutor_envs.command import INTERRUPTED
from seqtutor_envs.judge import sequence_log_probs
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.melody.metrics import PAPER_TABLE_1
from seqtutor_envs.melody.midi import to_wav, write_midi
from seqtutor_envs.melody.render import render_ansi
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.prior import Prior, load_prior

ENV = "SeqTutor-Melody-v0"
SHOWN = 8  # melodies before and after
SAMPLE_RATE = 12_000  # Hz: the highest partial of the highest note is 5.9 kHz, and the page holds 16 melodies
CURVE_POINTS = 150
THIS = "this page"
ENOUGH = 10**12  # timesteps that no budget of seconds reaches


@dataclass(frozen=True)
class Settings:
    """What the command line says; see `benchmarks.__main__.demo`. Raises ValueError in one line on what cannot be."""

    out: Path
    seconds: float = 60.0
    paper: bool = False
    seed: int = 0
    n: int = 10_000
    prior: str = "melody"
    min_distinct: float = 0.995

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"--seconds must be above 0, not {self.seconds:g}.")
        if self.n < 2:
            raise ValueError(f"--n must be at least 2, so that there are standard errors, not {self.n}.")
        if self.seed < 0:
            raise ValueError(f"--seed must not be negative, as {self.seed} is.")
        if not 0 <= self.min_distinct <= 1:
            raise ValueError(f"--min-distinct is a share, 0 to 1, not {self.min_distinct:g}.")

    @property
    def c(self) -> float:
        """Temperature: the melody environment's default, or the paper's."""
        return 0.5 if self.paper else 2.0

    @property
    def gamma(self) -> float:
        """Discount: the agents' default, or the paper's."""
        return 0.5 if self.paper else 1.0

    @property
    def lam(self) -> float | None:
        """None, the agent's default, or the paper's one-step targets: with the default, c = .5 ends in one loop."""
        return 0.0 if self.paper else None

    @property
    def command(self) -> str:
        """The command line that gives these settings."""
        words = ["python", "-m", "benchmarks", "demo", "--out", str(self.out), "--seconds", f"{self.seconds:g}"]
        words += ["--paper"] if self.paper else []
        words += ["--seed", str(self.seed), "--n", str(self.n), "--prior", self.prior]
        return shlex.join([*words, "--min-distinct", f"{self.min_distinct:g}"])


def demonstrate(settings: Settings) -> None:
    """Runs the demonstration and prints a summary.

    If Ctrl-C ends the learning early, raises SystemExit(130) after the report is written.
    """
    begin = time.perf_counter()
    prior = load_prior(settings.prior)
    settings.out.mkdir(parents=True, exist_ok=True)  # what cannot be written to is known before the work
    keywords: dict[str, Any] = {"c": settings.c, "prior": settings.prior}
    agent = PsiLearning(ENV, seed=settings.seed, gamma=settings.gamma, lam=settings.lam, env_kwargs=keywords)
    fixed = FixedPolicy(prior, LENGTH)
    print(f"Judging the prior on {settings.n:,} melodies ...", flush=True)
    before = evaluate(fixed, ENV, settings.n, settings.seed, **keywords)
    training, curve = fine_tune(agent, settings.seconds, settings.min_distinct)
    print(f"Judging the tutor on {settings.n:,} melodies ...", flush=True)
    after = evaluate(agent, ENV, settings.n, settings.seed, **keywords)
    results: dict[str, Any] = {
        "commands": commands(settings),
        "settings": {**asdict(settings), "out": str(settings.out), "c": settings.c, "gamma": settings.gamma},
        "agent": {"name": type(agent).__name__, "n_envs": agent.n_envs, **agent.settings},
        "training": training,
        "metrics": {"prior": before, "tutor": after, "paper_psi": PAPER_TABLE_1["Psi"]},
        "melodies": {"prior": samples(fixed, prior, settings.seed), "tutor": samples(agent, prior, settings.seed)},
        "curve": curve,
        "versions": versions(),
    }
    results["wall_seconds"] = time.perf_counter() - begin  # all but the writing, a few seconds
    write(settings.out, results, agent)
    print(summary(results), f"\n{settings.out / 'report.html'}", sep="\n")
    if training["interrupted"]:
        raise SystemExit(INTERRUPTED)


def fine_tune(
    agent: PsiLearning, seconds: float, min_distinct: float
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Learns for `seconds` of CPU time, until melodies begin to repeat, or until Ctrl-C.

    Returns facts of the training, and the learning curve.
    """
    budget = SecondsBudget(seconds)
    recorder = LearningCurve(budget, min_distinct)
    interrupted = False
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        try:
            agent.learn(ENOUGH, callback=[budget, recorder])
        except KeyboardInterrupt:
            interrupted = True
            early = f"Interrupted after {budget.spent:.0f} of {seconds:g} s"
            print(f"{early}; the report is about what was learned so far.", file=sys.stderr)
    messages = [str(warning.message) for warning in noted]
    for message in messages:
        print(f"Note: {message}", file=sys.stderr)
    facts: dict[str, Any] = {"cpu_seconds": budget.spent, "timesteps": agent.num_timesteps, "rounds": agent.rounds}
    facts |= {"interrupted": interrupted, "repeating": recorder.repeating, "warnings": messages}
    return facts, recorder.points


class LearningCurve(BaseCallback):
    """A progress bar in CPU seconds, and the training figures (`SequenceAgent.training_figures`) along it.

    Args:
        budget: what ends the learning; listed before this callback, so that its seconds are up to date.
        min_distinct: the learning ends early where a smaller share of the newest melodies is distinct: with c = 2 and
            gamma = 1 the best policy writes one endless loop (J 61 nats), and what is worth hearing comes before it.
    """

    def __init__(self, budget: SecondsBudget, min_distinct: float) -> None:
        super().__init__()
        self.budget, self.min_distinct = budget, min_distinct
        self.repeating = False
        self.points: list[dict[str, float]] = []

    def _on_training_start(self) -> None:
        self.bar = tqdm(
            total=self.budget.seconds,
            desc="Psi-learning",
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {n:.0f} of {total:.0f} CPU s{postfix}",
        )

    def _on_step(self) -> bool:
        spent = self.budget.spent
        if spent - (self.points[-1]["seconds"] if self.points else 0.0) >= self.budget.seconds / CURVE_POINTS:
            self._record()
            self.repeating = self.points[-1]["distinct"] < self.min_distinct
        self.bar.update(min(spent, self.budget.seconds) - self.bar.n)
        return not self.repeating

    def _on_training_end(self) -> None:
        if not self.points or self.points[-1]["seconds"] < self.budget.spent:
            self._record()
        self.bar.close()

    def _record(self) -> None:
        agent: Any = self.model
        figures = agent.training_figures()
        self.points.append({"seconds": self.budget.spent, "timesteps": agent.num_timesteps, **figures})
        shown = f"J {figures['j']:.1f}, return {figures['task_return']:.1f}, KL {figures['kl']:.1f}"
        self.bar.set_postfix_str(shown, refresh=False)


def samples(agent: Any, prior: Prior, seed: int) -> list[dict[str, Any]]:
    """The first SHOWN melodies of an agent at this seed, with their return and log p."""
    tokens, _ = agent.sample(SHOWN, seed)
    returns = MelodyTask(LENGTH).reward(tokens).sum(axis=1)
    log_p = sequence_log_probs(prior, tokens)
    return [
        {"tokens": row.tolist(), "notes": render_ansi(row), "task_return": float(paid), "log_p": float(nats)}
        for row, paid, nats in zip(tokens, returns, log_p)
    ]


def commands(settings: Settings) -> dict[str, str]:
    """What was typed, and what may be typed next: purpose -> command line."""
    out = shlex.quote(str(settings.out))
    again = f"-n {settings.n} --seed {settings.seed + 1}"
    midi = shlex.quote(str(settings.out / "melodies" / "after_1.mid"))
    whose = "our own" if settings.paper else "the paper’s"
    other = replace(settings, paper=not settings.paper, out=Path(f"{settings.out}-2"))
    return {
        THIS: settings.command,
        f"with {whose} temperature, discount and targets": other.command,
        "more melodies of this tutor, as text and MIDI": f"python -m agents sample {out} -n 20 --midi",
        "judge it again on other samples": f"python -m agents evaluate {out} {again}",
        "what each rule pays a MIDI file, bar by bar": f"python -m seqtutor_envs.melody score {midi}",
    }


def versions() -> dict[str, str | None]:
    """What this was made with."""
    packages = {name: installed(name) for name in ("torch", "numpy", "gymnasium", "stable-baselines3", "numba")}
    return {"seqtutor": installed("seqtutor") or __version__, "python": platform.python_version(), **packages}


def summary(results: Mapping[str, Any]) -> str:
    """The rows for the terminal."""
    training, n = results["training"], results["settings"]["n"]
    learned = f"{training['timesteps']:,} tokens in {training['cpu_seconds']:.0f} s"
    title = f"{n:,} melodies each; Psi-learning on {learned}"
    return "\n" + text_table(title, SUMMARY, columns(results["metrics"]))


def full_text(results: Mapping[str, Any]) -> str:
    """All tables as text."""
    metrics = columns(results["metrics"])
    ours = {name: metrics[name] for name in ("prior", "tutor")}
    tables = [
        text_table("The objective (means over melodies, ± standard error; nats)", OBJECTIVE, ours),
        text_table("Table 1 of the paper", TABLE_1, metrics),
        text_table("What each rule pays a melody on average", RULES, ours),
    ]
    return "\n\n".join([results["commands"][THIS], *tables]) + "\n"


def columns(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Metrics under the headings of the tables."""
    return {"prior": metrics["prior"], "tutor": metrics["tutor"], "paper's Psi": metrics["paper_psi"]}


def write(out: Path, results: dict[str, Any], agent: PsiLearning) -> None:
    """Puts all files into `out`. They are made in a folder within it, then moved: Ctrl-C leaves no half of one."""
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as folder:
        staging = Path(folder)
        agent.save(staging / "agent")
        write_melodies(staging / "melodies", results["melodies"])
        metrics = results["metrics"]
        (staging / "learning_curve.png").write_bytes(curves_png(results["curve"], metrics["prior"], metrics["tutor"]))
        (staging / "table.txt").write_text(full_text(results), encoding="utf-8")
        facts = json.dumps(without_nan(results), indent=1, allow_nan=False)
        (staging / "results.json").write_text(facts + "\n", encoding="utf-8")
        (staging / "report.html").write_text(page(results, staging), encoding="utf-8")
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = out / path.relative_to(staging)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)


def write_melodies(folder: Path, melodies: Mapping[str, list[dict[str, Any]]]) -> None:
    """before_1.mid, .wav, .png and so on."""
    folder.mkdir()
    for when, writer in (("before", "prior"), ("after", "tutor")):
        for number, melody in enumerate(melodies[writer], start=1):
            tokens: NDArray[np.int64] = np.array(melody["tokens"])
            path = folder / f"{when}_{number}"
            write_midi(tokens, path.with_suffix(".mid"))
            to_wav(tokens, path.with_suffix(".wav"), SAMPLE_RATE)
            path.with_suffix(".png").write_bytes(roll_png(tokens))


def without_nan(value: Any) -> Any:
    """The same with None for numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {name: without_nan(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
