"""The demonstration: fine-tune shipped priors with Psi-learning, evaluate before and after, write what to hear and see.

Melodies and molecules are a part each, with the same methods: `run`, `write`, `commands`.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from agents import PsiLearning
from agents.baselines import FixedPolicy
from agents.evaluate import evaluate
from agents.sb3.budget import NO_LIMIT, SecondsBudget
from benchmarks.demo_settings import DemoSettings
from benchmarks.domains import MELODY, SMILES
from benchmarks.report.demo_page import SHOWN, learning_curve_png, part_tables, render_demo, summary_table
from benchmarks.report.metrics import PROPERTIES
from benchmarks.report.tables import format_text
from seqtutor_envs import __version__
from seqtutor_envs.command import INTERRUPTED, installed, scoring_processes
from seqtutor_envs.files import finite
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.melody.metrics import PAPER_TABLE_1
from seqtutor_envs.melody.midi import to_wav, write_midi
from seqtutor_envs.melody.render import piano_roll, render_ansi
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.metrics import evaluate_samples, sequence_log_probs
from seqtutor_envs.prior import load_prior, shipped_priors
from seqtutor_envs.smiles import SmilesTask, chem
from seqtutor_envs.smiles.chem import descriptors, drawing
from seqtutor_envs.smiles.metrics import reference
from seqtutor_envs.smiles.runs.export import format_csv

SAMPLE_RATE = 12_000  # Hz: the highest partial of the highest note is 5.9 kHz
ROLL_SIZE, ROLL_AXES, ROLL_DPI = (5.0, 2.5), (0.065, 0.1, 0.922, 0.875), 140  # inches; shares; note names are legible
IN_SDF = 100  # of the tutor's best molecules
THIS = "this page"
OUR_C, PAPER_C = 2.0, 0.5  # temperature of the melodies
CURVE_POINTS = 150

Molecule = dict[str, Any]  # a string, why it is no molecule ("" if it is one), and its metrics


def demonstrate(settings: DemoSettings) -> None:
    """Run the demonstration and print a summary.

    Ctrl-C ends the learning of the part in progress; if it ended any, raises SystemExit(130) after the report is
    written.
    """
    begin = time.perf_counter()
    # bad priors and an unusable folder are errors before the work
    parts = {name: (Melodies if name == "melodies" else Molecules)(settings) for name in settings.parts}
    settings.out.mkdir(parents=True, exist_ok=True)
    packages = ["torch", "numpy", "gymnasium", "stable-baselines3", "numba"]
    packages += ["rdkit"] if "molecules" in parts else []
    versions = {"seqtutor": installed("seqtutor") or __version__, "python": platform.python_version()}
    results: dict[str, Any] = {
        "commands": commands(settings),
        "settings": {**asdict(settings), "out": str(settings.out)},
        **{name: part.run() for name, part in parts.items()},
        "versions": {**versions, **{name: installed(name) for name in packages}},
    }
    results["wall_seconds"] = time.perf_counter() - begin  # without writing the files, a few seconds
    results = finite(results)
    write_files(settings.out, results, parts)
    print(*(f"\n{format_text(summary_table(name, results[name]))}" for name in parts), sep="\n")
    print(f"\n{settings.out / 'report.html'}")
    if any(results[name]["training"]["interrupted"] for name in parts):
        raise SystemExit(INTERRUPTED)


def commands(settings: DemoSettings) -> dict[str, str]:
    """Map purposes to command lines: what was typed, and what may be typed next."""
    out, again = settings.out, f"--seed {settings.seed + 1}"
    lines = {THIS: settings.command}
    if "melodies" in settings.parts:
        folder, trust = shlex.quote(str(out)), say_trust(settings.prior)
        whose = "our own" if settings.paper else "the paper’s"
        other = replace(settings, paper=not settings.paper, only="melodies", out=Path(f"{out}-2"))
        midi = shlex.quote(str(out / "melodies" / "after_1.mid"))
        lines |= {
            f"the melodies with {whose} temperature, discount and targets": other.command,
            "more melodies of this tutor, as text and MIDI": f"python -m agents sample {folder} -n 20 --midi{trust}",
            "evaluate it on other melodies": f"python -m agents evaluate {folder} -n {settings.n} {again}{trust}",
            "what each rule pays a MIDI file, bar by bar": f"python -m seqtutor_envs.melody score {midi}",
        }
    if "molecules" in settings.parts:
        folder, n = shlex.quote(str(out / "molecules")), settings.evaluated_molecules
        trust = say_trust(settings.molecule_prior)
        lines |= {
            "more molecules of this tutor": f"python -m agents sample {folder} -n 20{trust}",
            "evaluate it on other molecules": f"python -m agents evaluate {folder} -n {n} {again}{trust}",
        }
    return lines


def say_trust(prior: str) -> str:
    """Return the option without which no command opens a prior that an agent's file names."""
    return "" if prior in shipped_priors() else " --trust"


def write_files(out: Path, results: Mapping[str, Any], parts: Mapping[str, Melodies | Molecules]) -> None:
    """Write all files into `out`. They are made in a folder within it, then moved: Ctrl-C leaves no half of one."""
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as folder:
        staging = Path(folder)
        for name, part in parts.items():
            part.write(staging, results[name])
        tables = [table for name in parts for table in part_tables(name, results[name]).values()]
        text = "\n\n".join([results["commands"][THIS], *map(format_text, tables)])
        (staging / "table.txt").write_text(text + "\n", encoding="utf-8")
        facts = json.dumps(results, indent=1, allow_nan=False)
        (staging / "results.json").write_text(facts + "\n", encoding="utf-8")
        (staging / "report.html").write_text(render_demo(results), encoding="utf-8")
        # within one file system, so that each move is atomic
        for path in sorted(path for path in staging.rglob("*") if path.is_file()):
            target = out / path.relative_to(staging)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)


def fine_tune(
    agent: PsiLearning, seconds: float, min_distinct: float = 0.0, clock: Callable[[], float] = time.process_time
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Learn for `seconds` of the clock, until sequences begin to repeat, or until Ctrl-C.

    Returns facts about the training, and the learning curve.
    """
    budget = SecondsBudget(seconds, clock)
    recorder = LearningCurve(budget, min_distinct)
    interrupted = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            # the budget first: the recorder reads its seconds
            agent.learn(NO_LIMIT, callback=[budget, recorder])
        except KeyboardInterrupt:
            interrupted = True
            early = f"Interrupted after {budget.spent:.0f} of {seconds:g} s"
            print(f"{early}; the report is about what was learned so far.", file=sys.stderr)
    messages = [str(warning.message) for warning in caught]
    for message in messages:
        print(f"Note: {message}", file=sys.stderr)
    facts: dict[str, Any] = {"seconds": budget.spent, "timesteps": agent.num_timesteps, "rounds": agent.rounds}
    facts |= {"asked_seconds": seconds, "n_envs": agent.n_envs}
    facts |= {"interrupted": interrupted, "repeating": recorder.repeating, "warnings": messages}
    return facts, recorder.points


class LearningCurve(BaseCallback):
    """Record the training metrics (`SequenceAgent.training_metrics`), with a progress bar in seconds.

    Args:
        budget: ends the learning; listed before this callback, so that its seconds are up to date.
        min_distinct: the learning ends early if a smaller share of the newest sequences is distinct.
    """

    def __init__(self, budget: SecondsBudget, min_distinct: float = 0.0) -> None:
        super().__init__()
        self.budget, self.min_distinct = budget, min_distinct
        self.repeating = False
        self.points: list[dict[str, float]] = []

    def _on_training_start(self) -> None:
        self.bar = tqdm(
            total=self.budget.seconds,
            desc="Psi-learning",
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {n:.0f} of {total:.0f} s{postfix}",
        )

    def _on_step(self) -> bool:
        spent = self.budget.spent
        # at equal times, because the plot has room for so many points
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
        found = agent.training_metrics()
        self.points.append({"seconds": self.budget.spent, "timesteps": agent.num_timesteps, **found})
        text = f"J {found['j']:.1f}, return {found['task_return']:.3g}, KL {found['kl']:.1f}"
        self.bar.set_postfix_str(text, refresh=False)


class Melodies:
    """The shipped note RNN, and what Psi-learning makes of it under the nine rules.

    Raises ValueError or FileNotFoundError in one line if the prior cannot be loaded.
    """

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        self.keywords: dict[str, Any] = {"c": PAPER_C if settings.paper else OUR_C, "prior": settings.prior}
        # with the agent's default lam, the paper's c = .5 ends in one loop
        options: dict[str, Any] = {"gamma": 0.5, "lam": 0.0} if settings.paper else {}
        self.agent = PsiLearning(MELODY, seed=settings.seed, env_kwargs=self.keywords, **options)

    def run(self) -> dict[str, Any]:
        """Evaluate the prior, learn, evaluate the tutor; returns all results."""
        settings = self.settings
        fixed = FixedPolicy(load_prior(settings.prior), LENGTH)
        print(f"Evaluating the prior on {settings.n:,} melodies ...", flush=True)
        before = evaluate(fixed, MELODY, settings.n, settings.seed, **self.keywords)
        training, curve = fine_tune(self.agent, settings.seconds, settings.min_distinct)
        print(f"Evaluating the tutor on {settings.n:,} melodies ...", flush=True)
        after = evaluate(self.agent, MELODY, settings.n, settings.seed, **self.keywords)
        return {
            "n": settings.n,
            "c": self.agent.c,
            "agent": _describe_agent(self.agent),
            "training": training,
            "metrics": {"prior": before, "tutor": after, "paper_psi": PAPER_TABLE_1["Psi"]},
            "samples": {"prior": self.sample(fixed), "tutor": self.sample(self.agent)},
            "curve": curve,
        }

    def sample(self, agent: Any) -> list[dict[str, Any]]:
        """Sample the first SHOWN melodies of an agent, with their return and log p."""
        # the same seed before and after; nothing is picked
        tokens, _ = agent.sample(SHOWN, self.settings.seed)
        returns = MelodyTask(LENGTH).reward(tokens).sum(axis=1)
        log_p = sequence_log_probs(load_prior(self.settings.prior), tokens)
        return [
            {"tokens": row.tolist(), "notes": render_ansi(row), "task_return": float(paid), "log_p": float(nats)}
            for row, paid, nats in zip(tokens, returns, log_p)
        ]

    def write(self, out: Path, results: Mapping[str, Any]) -> None:
        """Write the tutor, its learning curve, and melodies/before_1.mid, .wav, .png and so on."""
        self.agent.save(out / "agent")
        (out / "learning_curve.png").write_bytes(learning_curve_png("melodies", results))
        folder = out / "melodies"
        folder.mkdir()
        for when, writer in (("before", "prior"), ("after", "tutor")):
            for number, melody in enumerate(results["samples"][writer], start=1):
                tokens, path = np.array(melody["tokens"]), folder / f"{when}_{number}"
                write_midi(tokens, path.with_suffix(".mid"))
                to_wav(tokens, path.with_suffix(".wav"), SAMPLE_RATE)
                figure = Figure(figsize=ROLL_SIZE, dpi=ROLL_DPI, facecolor="#ffffff")
                piano_roll(figure.add_axes(ROLL_AXES), tokens)
                FigureCanvasAgg(figure).print_png(path.with_suffix(".png"))


class Molecules:
    """The shipped SMILES prior, and what Psi-learning makes of it under the default reward.

    Raises ValueError or FileNotFoundError in one line if the prior cannot be loaded or is not for molecules.
    """

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        # a process for each core; none on a single core, which this process fills itself
        self.workers = scoring_processes() if settings.workers is None else settings.workers
        keywords: dict[str, Any] = {"prior": settings.molecule_prior, "workers": self.workers}
        self.agent = PsiLearning(SMILES, seed=settings.seed, env_kwargs=keywords)
        self.molecules: dict[str, list[Molecule]] = {}

    def run(self) -> dict[str, Any]:
        """Evaluate the prior, learn, evaluate the tutor; returns all results."""
        settings, agent, task = self.settings, self.agent, self.agent.task
        n = settings.evaluated_molecules
        assert isinstance(task, SmilesTask)
        try:
            print(f"Evaluating the prior on {n:,} molecules ...", flush=True)
            before, first = self.evaluate(FixedPolicy(load_prior(settings.molecule_prior), task.length), task)
            # wall clock: the process's own would miss the scoring processes
            training, curve = fine_tune(agent, settings.seconds_of_molecules, clock=time.perf_counter)
            print(f"Evaluating the tutor on {n:,} molecules ...", flush=True)
            after, last = self.evaluate(agent, task)
        finally:
            task.close()
        self.molecules = {"prior": first, "tutor": last}
        ranked = rank_distinct(last)
        return {
            "n": n,
            "c": agent.c,
            "workers": self.workers,
            "agent": _describe_agent(agent),
            "training": training,
            "metrics": {"prior": before, "tutor": after},
            "not_valid": {
                writer: dict(Counter(one["reason"] for one in some if one["reason"]).most_common())
                for writer, some in self.molecules.items()
            },
            "distinct": len(ranked),
            "shown": {
                "top": ranked[:SHOWN],
                "median": take_middle(ranked, SHOWN),
                "random": last[:SHOWN],
                "prior": first[:SHOWN],
            },
            "distributions": count_distributions(self.molecules),
            "curve": curve,
        }

    def evaluate(self, policy: Any, task: SmilesTask) -> tuple[dict[str, float], list[Molecule]]:
        """Return what `agents.evaluate.evaluate` says of a policy, and the strings it says it about."""
        prior = load_prior(self.settings.molecule_prior)
        tokens, lengths = policy.sample(self.settings.evaluated_molecules, self.settings.seed)
        found = evaluate_samples(task, tokens, lengths, prior, policy.log_prob(tokens, lengths), self.agent.c)
        log_p = sequence_log_probs(prior, tokens, lengths)
        smiles = task.smiles(tokens, lengths)
        paid = {name: term.sum(axis=1) for name, term in task.terms(tokens, lengths).items()}  # cached by now
        molecules = []
        for i, (text, score) in enumerate(zip(smiles, task.scorer(smiles))):
            known = dict(zip(task.properties, score.values))
            mol = None if score.reason else chem.parse(text)
            known |= {} if mol is None else {"mw": descriptors.DESCRIPTORS["mw"](mol)}
            molecule: Molecule = {"number": i + 1, "smiles": text, "reason": score.reason, "canonical": score.canonical}
            molecule["task_return"] = float(sum(task.weights[name] * paid[name][i] for name in paid))
            molecule |= {f"term_{name}": float(paid[name][i]) for name in paid}
            molecule |= {name: known.get(name) for name in (*task.properties, "mw")}
            molecules.append({**molecule, "log_p": float(log_p[i])})
        return found, molecules

    def write(self, out: Path, results: Mapping[str, Any]) -> None:
        """Write molecules/: the tutor, its learning curve, all evaluated molecules, the best ones' structures."""
        folder = out / "molecules"
        folder.mkdir()
        self.agent.save(folder / "agent")
        (folder / "learning_curve.png").write_bytes(learning_curve_png("molecules", results))
        rows = [{"writer": writer, **molecule} for writer, some in self.molecules.items() for molecule in some]
        (folder / "molecules.csv").write_text(format_csv(rows), encoding="utf-8", newline="")
        best = rank_distinct(self.molecules["tutor"])[:IN_SDF]
        (folder / "top.sdf").write_text(drawing.sdf(best), encoding="utf-8")


def _describe_agent(agent: PsiLearning) -> dict[str, Any]:
    return {"name": type(agent).__name__, "n_envs": agent.n_envs, **agent.settings}


def rank_distinct(molecules: Sequence[Molecule]) -> list[Molecule]:
    """Return every molecule once, the highest return first."""
    found: dict[str, Molecule] = {}
    for molecule in molecules:
        if not molecule["reason"]:
            # the first of equal molecules stands for all
            found.setdefault(molecule["canonical"], molecule)
    return sorted(found.values(), key=lambda molecule: -molecule["task_return"])


def take_middle(ranked: Sequence[Molecule], n: int) -> list[Molecule]:
    """Return the n in the middle."""
    start = max(0, (len(ranked) - n) // 2)
    return list(ranked[start : start + n])


def count_distributions(writers: Mapping[str, Sequence[Molecule]]) -> dict[str, Any]:
    """Compute shares of molecules in bins of each property: of the training data and of each writer's valid ones."""
    names = [one.key for one in PROPERTIES]
    trained = reference.load()
    counts = {"data": trained["histograms"]}
    for writer, molecules in writers.items():
        valid = [molecule for molecule in molecules if not molecule["reason"]]
        counts[writer] = reference.histograms({name: [molecule[name] for molecule in valid] for name in names})
    shares = {
        name: {
            "edges": reference.edges(name).tolist(),
            **{who: [count / max(1, sum(found[name])) for count in found[name]] for who, found in counts.items()},
        }
        for name in names
    }
    means = {f"mean_{name}": value for name, value in trained["means"].items()}
    return {"source": trained["source"], "means": means, "properties": shares}
