"""The demonstration's molecules: the shipped SMILES prior, and what Psi-learning makes of it in search of a drug."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agents import PsiLearning
from agents.baselines import FixedPolicy
from agents.evaluate.evaluation import evaluate_in_env
from benchmarks.demo.learning import describe_agent, fine_tune
from benchmarks.demo.settings import DemoSettings
from benchmarks.domains import SMILES
from benchmarks.report.demo_page import SHOWN, learning_curve_png
from benchmarks.report.metrics import PROPERTIES
from seqtutor_envs.command import scoring_processes
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior import load_prior
from seqtutor_envs.smiles import SmilesTask, chem
from seqtutor_envs.smiles.chem import descriptors, drawing, rediscovery
from seqtutor_envs.smiles.metrics import reference
from seqtutor_envs.smiles.runs.export import format_csv
from seqtutor_envs.vocab import Tokens

IN_SDF = 100  # of the tutor's best molecules
BEST = (1, 10, 100)  # molecules, of which a search's mean scores are
SCORE_EDGES = np.linspace(0.0, 1.0, 51)
BATCH = 1_000  # samples of the prior at a time
OBJECTIVE = "seqtutor_envs.smiles.chem.rediscovery:celecoxib"
TARGET = {"name": "celecoxib", "smiles": rediscovery.celecoxib.target}
# A minute has few rollouts of the domain's usual 256, so they are smaller and the steps larger. After some 44 CPU
# seconds, 1,000 samples, with these (the first excepted, whose similarities are those of bits, not of counts):
#   c                               prior   .002, n_envs 256, rate 1e-3   .002   .01    .02    .03
#   molecules scored                                              7,829   3,709  3,736  4,542  5,416
#   mean similarity                   .15                           .14     .50    .55    .39    .27
#   best of those scored              .39 of 6,000                  .35     .64    .67    .60    .55
#   different among valid ones, %    99.9                          99.8    10.0   17.6   54.0   94.1
#   KL, nats                            0                           1.4    16.9   15.4    8.5    3.9
C = 0.03
AGENT: dict[str, Any] = {"n_envs": 64, "learning_rate": 3e-3}

Molecule = dict[str, Any]  # a string, why it is no molecule ("" if it is one), and its metrics


class Molecules:
    """The shipped SMILES prior, and what Psi-learning makes of it in search of molecules like TARGET.

    Raises ValueError or FileNotFoundError in one line if the prior cannot be loaded or is not for molecules.
    """

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        # a process for each core; none on a single core, which this process fills itself
        self.workers = scoring_processes() if settings.workers is None else settings.workers
        keywords = {"prior": settings.molecule_prior, "objective": OBJECTIVE, "c": C, "workers": self.workers}
        self.agent = PsiLearning(SMILES, seed=settings.seed, env_kwargs=keywords, **AGENT)
        self.molecules: dict[str, list[Molecule]] = {}

    def run(self) -> dict[str, Any]:
        """Evaluate the prior, learn, evaluate the tutor, ask the prior for as many molecules; returns all results."""
        settings, agent, task = self.settings, self.agent, self.agent.task
        n = settings.evaluated_molecules
        assert isinstance(task, SmilesTask)
        fixed = FixedPolicy(load_prior(settings.molecule_prior), task.length)
        best = {"prior": Best(task), "tutor": Best(task)}
        try:
            print(f"Evaluating the prior on {n:,} molecules ...", flush=True)
            before, first = self.evaluate(fixed, task)
            # wall clock: the process's own would miss the scoring processes
            training, curve = fine_tune(
                agent, settings.seconds_of_molecules, clock=time.perf_counter, callbacks=[BestCallback(best["tutor"])]
            )
            print(f"Evaluating the tutor on {n:,} molecules ...", flush=True)
            after, last = self.evaluate(agent, task)
            scored = best["tutor"].scored
            print(f"Sampling {scored:,} molecules of the prior ...", flush=True)
            best["prior"].sample(fixed, scored, settings.seed + 1)
        finally:
            task.close()
        self.molecules = {"prior": first, "tutor": last}
        ranked = rank_distinct(last)
        return {
            "n": n,
            "c": agent.c,
            "workers": self.workers,
            "objective": {"function": OBJECTIVE, **TARGET},
            "agent": describe_agent(agent),
            "training": training,
            "metrics": {"prior": before, "tutor": after},
            "search": {writer: found.metrics() for writer, found in best.items()},
            "best": {writer: [describe(*one) for one in found.top(SHOWN)] for writer, found in best.items()},
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
        n, seed = self.settings.evaluated_molecules, self.settings.seed
        found, (tokens, lengths, _) = evaluate_in_env(self.agent.env, policy, n, seed)
        log_p = sequence_log_probs(load_prior(self.settings.molecule_prior), tokens, lengths)
        smiles = task.smiles(tokens, lengths)
        scored = zip(smiles, task.scorer(smiles), task.scores(smiles)[:, 0].tolist(), log_p.tolist())  # cached by now
        return found, [
            {"number": i + 1, **describe(text, worth, known.reason), "log_p": nats}
            for i, (text, known, worth, nats) in enumerate(scored)
        ]

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


class Best:
    """Keep the distinct valid molecules of a writer with their scores by a task's objective.

    Args:
        task: its only term is the objective.
    """

    def __init__(self, task: SmilesTask) -> None:
        self.task = task
        self.scores: dict[str, float] = {}  # by canonical SMILES

    @property
    def scored(self) -> int:
        """Count the molecules."""
        return len(self.scores)

    def add(self, tokens: Tokens, lengths: Tokens, most: float = math.inf) -> None:
        """Add those of the sequences [N, T] that are molecules, until there are `most`."""
        smiles = self.task.smiles(tokens, lengths)
        for known, score in zip(self.task.scorer(smiles), self.task.scores(smiles)[:, 0].tolist()):
            if known.canonical is not None and not known.reason and len(self.scores) < most:
                self.scores[known.canonical] = score

    def sample(self, policy: FixedPolicy, most: int, seed: int) -> None:
        """Add samples of a policy until there are `most` molecules, or until a batch brings no new one."""
        before = -1
        while before < self.scored < most:
            before = self.scored
            self.add(*policy.sample(BATCH, seed), most)
            seed += 1

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the best k, the best first."""
        return heapq.nlargest(k, self.scores.items(), key=itemgetter(1))

    def metrics(self) -> dict[str, float]:
        """Return how many were scored, and means of the best: `benchmarks.report.metrics.SEARCH`."""
        best = [score for _, score in self.top(max(BEST))]
        return {"scored": self.scored, **{f"top_{k}": float(np.mean(best[:k])) if best else np.nan for k in BEST}}


class BestCallback(BaseCallback):
    """Add what an agent samples while it learns."""

    def __init__(self, best: Best) -> None:
        super().__init__()
        self.best = best

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        newest = self.model.newest  # type: ignore[attr-defined]
        self.best.add(newest.tokens, newest.lengths)


def describe(smiles: str, score: float, reason: str = "") -> Molecule:
    """Return a string's canonical SMILES, score and properties; None where it is no molecule for this reason."""
    mol = None if reason else chem.parse(smiles)
    values = (None,) * len(chem.PROPERTIES) if mol is None else descriptors.values(mol)
    return {
        "smiles": smiles,
        "reason": reason,
        "canonical": None if mol is None else chem.canonical_of(mol),
        "task_return": score,
        "term_objective": score,
        **dict(zip(chem.PROPERTIES, values)),
        "mw": None if mol is None else descriptors.DESCRIPTORS["mw"](mol),
    }


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
    """Compute shares of molecules in bins of each property: of the training data and of each writer's valid ones.

    The training data's scores by the objective are not known.
    """
    names = [one.key for one in PROPERTIES]
    trained = reference.load()
    properties: dict[str, Any] = {name: {"edges": reference.edges(name).tolist()} for name in names}
    properties["task_return"] = {"edges": SCORE_EDGES.tolist()}
    counts = {"data": trained["histograms"]}
    for writer, molecules in writers.items():
        valid = [molecule for molecule in molecules if not molecule["reason"]]
        counts[writer] = reference.histograms({name: [molecule[name] for molecule in valid] for name in names})
        scores = [molecule["task_return"] for molecule in valid]
        counts[writer]["task_return"] = np.histogram(scores, SCORE_EDGES)[0].tolist()
    for who, found in counts.items():
        for name, shares in found.items():
            properties[name][who] = [count / max(1, sum(shares)) for count in shares]
    means = {f"mean_{name}": value for name, value in trained["means"].items()}
    return {"source": trained["source"], "means": means, "properties": properties}
