"""The melody part: the shipped note RNN, and what Psi-learning makes of it under the nine rules."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents import PsiLearning
from agents.baselines import FixedPolicy
from agents.evaluate import evaluate
from benchmarks.demo.learning import fine_tune
from benchmarks.demo.settings import Settings
from benchmarks.report.figures import MELODY_CURVES, curves_png, roll_png
from benchmarks.report.rows import OBJECTIVE, RULES, SUMMARY, TABLE_1, text_table
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


def tutor(settings: Settings) -> PsiLearning:
    """The agent that has not learned yet. Raises in one line where the prior cannot be had."""
    keywords: dict[str, Any] = {"c": settings.c, "prior": settings.prior}
    return PsiLearning(ENV, seed=settings.seed, gamma=settings.gamma, lam=settings.lam, env_kwargs=keywords)


def run(settings: Settings, agent: PsiLearning) -> tuple[dict[str, Any], Callable[[Path], None]]:
    """Judges the prior, learns, judges the tutor. Returns all results, and what writes files into a folder."""
    prior = load_prior(settings.prior)
    fixed = FixedPolicy(prior, LENGTH)
    keywords: dict[str, Any] = {"c": settings.c, "prior": settings.prior}
    print(f"Judging the prior on {settings.n:,} melodies ...", flush=True)
    before = evaluate(fixed, ENV, settings.n, settings.seed, **keywords)
    training, curve = fine_tune(agent, settings.seconds, settings.min_distinct)
    print(f"Judging the tutor on {settings.n:,} melodies ...", flush=True)
    after = evaluate(agent, ENV, settings.n, settings.seed, **keywords)
    results = {
        "n": settings.n,
        "c": settings.c,
        "agent": {"name": type(agent).__name__, "n_envs": agent.n_envs, **agent.settings},
        "training": training,
        "metrics": {"prior": before, "tutor": after, "paper_psi": PAPER_TABLE_1["Psi"]},
        "samples": {"prior": samples(fixed, prior, settings.seed), "tutor": samples(agent, prior, settings.seed)},
        "curve": curve,
    }
    return results, lambda out: write(out, results, agent)


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
    """What may be typed next: purpose -> command line."""
    out = shlex.quote(str(settings.out))
    again = f"-n {settings.n} --seed {settings.seed + 1}"
    midi = shlex.quote(str(settings.out / "melodies" / "after_1.mid"))
    whose = "our own" if settings.paper else "the paper’s"
    other = replace(settings, paper=not settings.paper, only="melodies", out=Path(f"{settings.out}-2"))
    return {
        f"the melodies with {whose} temperature, discount and targets": other.command,
        "more melodies of this tutor, as text and MIDI": f"python -m agents sample {out} -n 20 --midi",
        "judge it again on other melodies": f"python -m agents evaluate {out} {again}",
        "what each rule pays a MIDI file, bar by bar": f"python -m seqtutor_envs.melody score {midi}",
    }


def summary(results: Mapping[str, Any]) -> str:
    """The rows for the terminal."""
    training = results["training"]
    learned = f"{training['timesteps']:,} tokens in {training['seconds']:.0f} s"
    title = f"{results['n']:,} melodies each; Psi-learning on {learned}"
    return text_table(title, SUMMARY, columns(results["metrics"]))


def full_text(results: Mapping[str, Any]) -> str:
    """All tables as text."""
    metrics = columns(results["metrics"])
    ours = {name: metrics[name] for name in ("prior", "tutor")}
    tables = [
        text_table("The objective (means over melodies, ± standard error; nats)", OBJECTIVE, ours),
        text_table("Table 1 of the paper", TABLE_1, metrics),
        text_table("What each rule pays a melody on average", RULES, ours),
    ]
    return "\n\n".join(tables)


def columns(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Metrics under the headings of the tables."""
    return {"prior": metrics["prior"], "tutor": metrics["tutor"], "paper's Psi": metrics["paper_psi"]}


def write(out: Path, results: Mapping[str, Any], agent: PsiLearning) -> None:
    """The tutor, its learning curve, and melodies/before_1.mid, .wav, .png and so on."""
    agent.save(out / "agent")
    metrics = results["metrics"]
    curves = curves_png(MELODY_CURVES, results["curve"], metrics["prior"], metrics["tutor"], "CPU seconds")
    (out / "learning_curve.png").write_bytes(curves)
    folder = out / "melodies"
    folder.mkdir()
    for when, writer in (("before", "prior"), ("after", "tutor")):
        for number, melody in enumerate(results["samples"][writer], start=1):
            tokens: NDArray[np.int64] = np.array(melody["tokens"])
            path = folder / f"{when}_{number}"
            write_midi(tokens, path.with_suffix(".mid"))
            to_wav(tokens, path.with_suffix(".wav"), SAMPLE_RATE)
            path.with_suffix(".png").write_bytes(roll_png(tokens))
