"""The molecule part: the shipped SMILES prior, and what Psi-learning makes of it under the default reward."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents import PsiLearning
from agents.baselines import FixedPolicy
from benchmarks.demo.learning import fine_tune
from benchmarks.demo.settings import Settings
from benchmarks.report.figures import MOLECULE_CURVES, curves_png
from benchmarks.report.molecule_rows import DISTINCT, LIKES, OBJECTIVE, PROPERTIES, SUMMARY, TERMS, WRITES
from benchmarks.report.rows import text_table
from seqtutor_envs.judge import evaluate_samples, sequence_log_probs
from seqtutor_envs.prior import Prior, load_prior
from seqtutor_envs.smiles import SmilesTask, chem, chem_draw, chem_scores, histograms
from seqtutor_envs.smiles.runs.export import csv_text

ENV = "SeqTutor-SMILES-v0"
SHOWN = 8  # molecules of each kind
IN_SDF = 100  # of the tutor's best

Molecule = dict[str, Any]  # a string, why it is no molecule ("" if it is one), and its figures


def tutor(settings: Settings) -> PsiLearning:
    """The agent that has not learned yet. Raises in one line where the prior cannot be had, or is not for molecules."""
    keywords: dict[str, Any] = {"prior": settings.molecule_prior, "workers": settings.scoring_workers}
    return PsiLearning(ENV, seed=settings.seed, env_kwargs=keywords)


def run(settings: Settings, agent: PsiLearning) -> tuple[dict[str, Any], Callable[[Path], None]]:
    """Judges the prior, learns, judges the tutor. Returns all results, and what writes files into a folder."""
    n, seed, prior = settings.judged_molecules, settings.seed, load_prior(settings.molecule_prior)
    assert isinstance(agent.task, SmilesTask)
    task = agent.task
    try:
        print(f"Judging the prior on {n:,} molecules ...", flush=True)
        before, first = judge(FixedPolicy(prior, task.length), task, prior, agent.c, n, seed)
        # by the clock on the wall: this process's own would miss the scoring processes
        training, curve = fine_tune(agent, settings.seconds_of_molecules, clock=time.perf_counter)
        print(f"Judging the tutor on {n:,} molecules ...", flush=True)
        after, last = judge(agent, task, prior, agent.c, n, seed)
    finally:
        task.close()
    ranked = distinct(last)
    results = {
        "n": n,
        "c": agent.c,
        "workers": settings.scoring_workers,
        "agent": {"name": type(agent).__name__, "n_envs": agent.n_envs, **agent.settings},
        "training": training,
        "metrics": {"prior": before, "tutor": after},
        "not_valid": {"prior": reasons(first), "tutor": reasons(last)},
        "distinct": len(ranked),
        "shown": {
            "top": ranked[:SHOWN],
            "median": middle(ranked, SHOWN),
            "random": last[:SHOWN],
            "prior": first[:SHOWN],
        },
        "distributions": distributions({"prior": first, "tutor": last}),
        "curve": curve,
    }
    return results, lambda out: write(out, results, agent, {"prior": first, "tutor": last})


def judge(
    agent: Any, task: SmilesTask, prior: Prior, c: float, n: int, seed: int
) -> tuple[dict[str, float], list[Molecule]]:
    """What agents.evaluate.evaluate says of the agent, and the n strings that it says it of."""
    tokens, lengths = agent.sample(n, seed)
    metrics = evaluate_samples(task, tokens, lengths, prior, agent.log_prob(tokens, lengths), c)
    log_p = sequence_log_probs(prior, tokens, lengths)
    smiles = task.smiles(tokens, lengths)
    terms = task.terms(tokens, lengths)  # which the task's cache knows by now
    paid = {name: term.sum(axis=1) for name, term in terms.items()}
    molecules = []
    for i, (text, score) in enumerate(zip(smiles, task.scorer(smiles))):
        known = dict(zip(task.properties, score.values))
        mol = None if score.reason else chem.parse(text)
        known |= {} if mol is None else {"mw": chem_scores.mw(mol)}
        molecule: Molecule = {"number": i + 1, "smiles": text, "reason": score.reason, "canonical": score.canonical}
        molecule["task_return"] = float(sum(task.weights[name] * paid[name][i] for name in paid))
        molecule |= {f"term_{name}": float(paid[name][i]) for name in paid}
        molecule |= {name: known.get(name) for name in (*task.properties, "mw")}
        molecules.append({**molecule, "log_p": float(log_p[i])})
    return metrics, molecules


def distinct(molecules: Sequence[Molecule]) -> list[Molecule]:
    """Every molecule once, the best first."""
    found: dict[str, Molecule] = {}
    for molecule in molecules:
        if not molecule["reason"]:
            found.setdefault(molecule["canonical"], molecule)
    return sorted(found.values(), key=lambda molecule: -molecule["task_return"])


def middle(ranked: Sequence[Molecule], n: int) -> list[Molecule]:
    """The n in the middle."""
    start = max(0, (len(ranked) - n) // 2)
    return list(ranked[start : start + n])


def reasons(molecules: Sequence[Molecule]) -> dict[str, int]:
    """Why strings are no molecules: how many, by reason."""
    return dict(Counter(molecule["reason"] for molecule in molecules if molecule["reason"]).most_common())


def distributions(writers: Mapping[str, Sequence[Molecule]]) -> dict[str, Any]:
    """Shares of molecules in bins of each property, of the training data and of each writer's valid molecules."""
    names = [row.key for row in PROPERTIES]
    trained = histograms.load()
    counts = {"data": trained["histograms"]}
    for writer, molecules in writers.items():
        valid = [molecule for molecule in molecules if not molecule["reason"]]
        counts[writer] = histograms.histograms({name: [molecule[name] for molecule in valid] for name in names})
    shares = {
        name: {"edges": histograms.edges(name).tolist(), **{who: _shares(found[name]) for who, found in counts.items()}}
        for name in names
    }
    means = {f"mean_{name}": value for name, value in trained["means"].items()}
    return {"source": trained["source"], "means": means, "properties": shares}


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]


def commands(settings: Settings) -> dict[str, str]:
    """What may be typed next: purpose -> command line."""
    out = shlex.quote(str(settings.out / "molecules"))
    again = f"-n {settings.judged_molecules} --seed {settings.seed + 1}"
    return {
        "more molecules of this tutor": f"python -m agents sample {out} -n 20",
        "judge it again on other molecules": f"python -m agents evaluate {out} {again}",
    }


def summary(results: Mapping[str, Any]) -> str:
    """The rows for the terminal."""
    training = results["training"]
    learned = f"{training['timesteps']:,} tokens in {training['seconds']:.0f} s"
    return text_table(f"{results['n']:,} molecules each; Psi-learning on {learned}", SUMMARY, results["metrics"])


def full_text(results: Mapping[str, Any]) -> str:
    """All tables as text."""
    metrics = results["metrics"]
    tables = [
        text_table("The objective (means over strings, ± standard error; nats)", OBJECTIVE, metrics),
        text_table("What each term pays a molecule on average", TERMS, metrics),
        text_table("What the networks write", WRITES, metrics),
        text_table("What the molecules are like", (*LIKES, *DISTINCT), metrics),
    ]
    return "\n\n".join(tables)


def write(
    out: Path, results: Mapping[str, Any], agent: PsiLearning, molecules: Mapping[str, Sequence[Molecule]]
) -> None:
    """molecules/: the tutor, its learning curve, all judged molecules as a table, the tutor's best as structures."""
    folder = out / "molecules"
    folder.mkdir()
    agent.save(folder / "agent")
    metrics = results["metrics"]
    curves = curves_png(MOLECULE_CURVES, results["curve"], metrics["prior"], metrics["tutor"], "seconds")
    (folder / "learning_curve.png").write_bytes(curves)
    rows = [{"writer": writer, **molecule} for writer, some in molecules.items() for molecule in some]
    (folder / "molecules.csv").write_text(csv_text(rows), encoding="utf-8", newline="")
    (folder / "top.sdf").write_text(chem_draw.sdf(distinct(molecules["tutor"])[:IN_SDF]), encoding="utf-8")
