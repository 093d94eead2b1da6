"""Results that nobody measured: small suites with figures that are plausible and known, for tests of the report."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from benchmarks.experiment import expand
from benchmarks.report.data import Results
from seqtutor_envs.melody.metrics import PAPER_TABLE_1

MELODY, EXACT, SMILES = "SeqTutor-Melody-v0", "SeqTutor-Exact-v0", "SeqTutor-SMILES-v0"
PRIOR = "agents.baselines:PriorSampler"
LABELS = {"prior": PRIOR, "Ψ": "agents:PsiLearning", "G": "agents:GLearning", "PG": "agents.baselines:PolicyGradient"}
RULES = "key tonic repetition autocorrelation motif repeated_motif interval leap unique_extremes".split()
SHARES = "starts_with_tonic leaps_resolved unique_maximum unique_minimum in_motif in_repeated_motif".split()
STRINGS = ("CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC(C)Cc1ccc(cc1)C(C)C(=O)O")
STRINGS += ("c1ccc(cc1", "O=C(O)c1ccccc1")
# of each label: J, KL, R; those of PG lie within G's spread
MELODIES = {"prior": (-42.4, 0.0, -84.8), "Ψ": (61.4, 33.2, 189.2), "G": (39.8, 11.1, 101.8), "PG": (41.0, 27.7, 137.4)}
SPREAD = {"prior": 0.0, "Ψ": 0.4, "G": 4.0, "PG": 9.0}


def result(experiment, metrics, *, curve=(), samples=(), c=2.0, cpu=60.0, **more):
    """A result file's content."""
    wall = {"learning_cpu": cpu, "learning_wall": 1.1 * cpu, "judging_wall": 3.0, "total_wall": 1.1 * cpu + 4.0}
    content = {"id": experiment.id, "experiment": asdict(experiment), "c": c, "metrics": metrics}
    content |= {"curve": list(curve), "samples": list(samples), "weights": None, "warnings": []}
    content |= {"timesteps": (experiment.steps or 0) + 384 * bool(experiment.steps)}
    content |= {"time": wall, "finished": f"2026-11-26T1{experiment.seed % 10}:00:00+00:00", "peak_memory_mib": 512.0}
    content |= {"seeds": {"learning": experiment.seed, "judging": 1_000_000}}
    content |= {"versions": {"seqtutor": "0.2.0", "python": "3.11.9", "torch": "2.13.0"}}
    content |= {"git": {"commit": "21107bb" + 33 * "0", "dirty": False}}
    content |= {"machine": {"host": "desk", "cpu": "Some CPU", "cores": 2, "memory_gib": 23.5, "os": "Linux"}}
    return {**content, **more}


def failure(experiment, reason="killed by signal 9 (out of memory?)", log="step 1\nstep 2\n"):
    """A failure file's content."""
    facts = {"reason": reason, "log": log, "seconds": 12.0, "finished": "2026-11-26T16:00:00+00:00"}
    return {"id": experiment.id, "experiment": asdict(experiment), **facts, "versions": {}, "git": None, "machine": {}}


def rising(start, metrics, steps, rng, points=12):
    """A learning curve from (J, KL, R) to those of the metrics, fast at first, with noise; none without steps."""
    made, end = [], (metrics["j"], metrics["kl"], metrics["task_return"])
    for k in range(points if steps else 0):
        share = 1 - np.exp(-4 * k / (points - 1))
        j, kl, earned = (float(a + share * (b - a) + rng.normal(0, 0.01 * abs(b - a))) for a, b in zip(start, end))
        place = {"timesteps": steps * k // (points - 1), "seconds": 5.0 * k}
        made.append({**place, "j": j, "j_se": 1.0, "kl": kl, "task_return": earned, "distinct": 1.0})
    return made


def melody(rng, tonal=1.0):
    """32 tokens: pitches of C major (or any, where not tonal), held now and then."""
    scale = [14, 16, 18, 19, 21, 23, 25, 26]
    tokens = [14]
    for _ in range(31):
        chance = rng.random()
        pitch = int(rng.choice(scale) if rng.random() < tonal else rng.integers(2, 38)) if chance >= 0.45 else 0
        tokens.append(1 if chance < 0.4 else pitch)
    return tokens


def melody_samples(rng, tonal):
    drawn = ({"tokens": melody(rng, tonal), "task_return": float(rng.normal(100 * tonal, 9))} for _ in range(8))
    return [{**one, "sequence": [], "log_p": -44.0, "terms": {}} for one in drawn]


def melody_metrics(label, rng):
    """The judge's figures of one run; the rules sum up to R."""
    j, kl, earned = (mean + SPREAD[label] * float(rng.normal()) * (k != 1) for k, mean in enumerate(MELODIES[label]))
    good = {"prior": 0.2, "Ψ": 0.96, "G": 0.7, "PG": 0.72}[label]
    noise = 0.01 * float(rng.normal()) * (label != "prior")
    parts = rng.dirichlet(np.full(len(RULES), 3.0)) * earned
    found = {"j": j, "j_se": 0.4, "kl": kl, "kl_se": 0.1, "task_return": earned, "task_return_se": 0.8}
    found |= {"log_p": -44.0, "log_p_per_step": -1.375, "distinct": good}
    found |= {name: min(max(good + noise, 0.0), 1.0) for name in SHARES}
    found |= {"excessively_repeated": (1 - good) / 50 * (1 + noise), "not_in_key": (1 - good) / 80}
    found |= {f"autocorrelation_{lag}": 0.3 * (-1) ** lag * (1 - good) + noise for lag in (1, 2, 3)}
    return found | {f"term_{name}": float(part) for name, part in zip(RULES, parts)}


def experiments(env, labels, seeds=3, steps=400_000, n=10_000, **env_kwargs):
    """A label for each agent; the prior, if it is among them, does not learn and runs once."""
    made = []
    for label in labels:
        learns = {} if label == "prior" else {"steps": steps, "seed": range(seeds)}
        agent = {"agent": LABELS[label], "label": label, "n": n, **learns}
        made += expand({"env": env, "env_kwargs": [env_kwargs], **agent})
    return tuple(made)


def melodies(seeds=3, labels=tuple(LABELS), **env_kwargs):
    """A melody suite: the prior and learners on one task."""
    rng = np.random.default_rng(0)
    every = experiments(MELODY, labels, seeds, **env_kwargs)
    results = []
    for one in every:
        found = melody_metrics(one.name, rng)
        curve = rising(MELODIES["prior"], found, one.steps, rng)
        samples = melody_samples(rng, 0.5 if one.name == "prior" else 1.0)
        results.append(result(one, found, curve=curve, samples=samples))
    return Results("melody", "Which objective learns melodies best?", every, results, source="melody")


def exact(tasks=2, seeds=3):
    """Tasks whose log Z is known: Psi nearest to it, G and PG within each other's reach."""
    rng = np.random.default_rng(1)
    every = tuple(one for task in range(tasks) for one in experiments(EXACT, LABELS, seeds, 250_000, seed=task))
    log_z = {task: 2.0 + task for task in range(tasks)}
    results = []
    for one in every:
        top = log_z[one.env_kwargs["seed"]]
        low, high = {"prior": (2.0, 2.0), "Ψ": (0.0003, 0.003), "G": (0.01, 0.09), "PG": (0.02, 0.08)}[one.name]
        gap = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        found = {"j": top - gap, "j_se": 0.01, "kl": 0.0 if one.name == "prior" else 1.2, "kl_se": 0.01}
        found |= {"task_return": 2.5 - gap, "task_return_se": 0.01, "distinct": 0.01}
        found |= {"log_z": top, "gap": gap, "gap_se": 0.002}
        curve = rising((top - 2.0, 0.0, 0.5), found, one.steps, rng)
        results.append(result(one, found, curve=curve, c=1.0, cpu=20.0))
    return Results("exact", "How near to the optimum does each agent come?", every, results, source="exact")


def frontier(cs=(0.5, 1.0, 2.0, 4.0), seeds=3, labels=("prior", "Ψ", "G")):
    """A label on tasks that differ in c: the smaller it is, the more return and KL."""
    rng = np.random.default_rng(2)
    every = tuple(one for c in cs for one in experiments(MELODY, labels, seeds, c=c))
    results = []
    for one in every:
        c, found = one.env_kwargs["c"], melody_metrics(one.name, rng)
        if one.name != "prior":
            kl = {"Ψ": 40.0, "G": 24.0}[one.name] / (0.5 + c) + float(rng.normal(0, 0.8))
            earned = {"Ψ": 34.0, "G": 38.0}[one.name] * kl**0.5 + float(rng.normal(0, 4))
            found |= {"kl": kl, "task_return": earned, "j": earned / c - kl}
        else:
            found["j"] = found["task_return"] / c
        curve = rising((MELODIES["prior"][2] / c, 0.0, MELODIES["prior"][2]), found, one.steps, rng)
        samples = melody_samples(rng, 0.5 if one.name == "prior" else 1.0)
        results.append(result(one, found, curve=curve, c=c, samples=samples))
    return Results("frontier", "What does return cost in KL?", every, results, source="frontier")


def molecules(seeds=2):
    """Molecules, with one experiment that failed and one that is missing."""
    rng = np.random.default_rng(3)
    every = experiments(SMILES, ("prior", "Ψ", "G"), seeds)
    *ended, failed, missing = every
    results = []
    for one in ended:
        high = one.name != "prior"
        earned = (0.86 if high else 0.77) + float(rng.normal(0, 0.003)) * high
        kl = (0.56 + float(rng.normal(0, 0.02))) * high
        found = {"j": earned / 0.05 - kl, "j_se": 0.02, "kl": kl, "kl_se": 0.01, "distinct": 0.998}
        found |= {"task_return": earned, "task_return_se": 0.001, "log_p": -35.0, "log_p_per_step": -0.9}
        found |= {"valid": 0.964, "unique": 0.998, "unique_1000": 1.0, "novelty": 0.86}
        found |= {"internal_diversity_1": 0.85, "scaffold_diversity": 0.7, "filters": 0.99}
        found |= {f"term_{name}": 0.9 + 0.02 * high for name in ("valid", "qed", "logp", "sa", "ring")}
        means = {"qed": 0.80 + 0.05 * high, "logp": 2.4, "sa": 2.5, "mw": 306.0, "ring_penalty": 0.01}
        found |= {f"distinct_mean_{name}": value for name, value in means.items()}
        curve = rising((15.4, 0.0, 0.77), found, one.steps, rng)
        common = {"tokens": [1, 2, 3], "task_return": 0.8, "log_p": -30.0, "terms": {"qed": 0.7}}
        texts = [{**common, "sequence": text} for text in STRINGS]
        results.append(result(one, found, curve=curve, samples=texts, c=0.05))
    question, ended = "Which agent has the better molecules?", (results, [failure(failed)], (missing,))
    return Results("molecules", question, every, *ended, source="molecules")


def demo_results(warning="Few are distinct."):
    """What results.json of the demonstration holds: prior and Ψ of the toys above."""
    rng = np.random.default_rng(4)
    training = {"seconds": 3.2, "asked_seconds": 3.0, "timesteps": 9000, "rounds": 8, "n_envs": 64}
    training |= {"interrupted": True, "repeating": False, "warnings": [warning]}
    common = {"agent": {"name": "PsiLearning", "n_envs": 64, "gamma": 1.0, "lam": None}, "training": training}
    made = {}
    for name, suite, c in (("melodies", melodies(seeds=1), 2.0), ("molecules", molecules(seeds=1), 0.05)):
        prior, tutor = suite.results[:2] if name == "melodies" else (suite.results[0], molecules().results[1])
        found = {"prior": prior["metrics"], "tutor": tutor["metrics"]}
        made[name] = {**common, "n": 500, "c": c, "metrics": found, "curve": tutor["curve"]}
    made["melodies"]["metrics"]["paper_psi"] = dict(PAPER_TABLE_1["Psi"])  # a copy, which is added to below
    made["melodies"]["samples"] = {"prior": melody_samples(rng, 0.5), "tutor": melody_samples(rng, 1.0)}
    rhythm = {"sixteenths": 0.2, "eighths": 0.6, "length_entropy": 1.1, "length_distance": 0.03, "pitches": 6.8}
    for found in made["melodies"]["metrics"].values():
        found |= rhythm
    tutor = {key: made["melodies"][key] for key in ("training", "curve")} | {"samples": melody_samples(rng, 1.0)}
    made["melodies"]["tutors"] = {
        f"c = {c:g}": {**tutor, "c": c, "metrics": made["melodies"]["metrics"]["tutor"]} for c in (20.0, 10.0, 2.0)
    }
    known = {"task_return": 0.9, "log_p": -30.0, "logp": 2.0, "sa": 2.0, "qed": 0.8, "mw": 300.0}
    reasons = ["" if text.count("(") == text.count(")") else "syntax" for text in STRINGS]
    drawn = [{**known, "smiles": text, "reason": reason} for text, reason in zip(STRINGS, reasons)]
    shares = {"edges": [0.0, 0.5, 1.0], "data": [0.5, 0.5], "prior": [0.4, 0.6], "tutor": [0.1, 0.9]}
    properties = dict.fromkeys(("logp", "sa", "qed", "mw", "task_return"), shares)
    distributions = {"source": "some molecules", "means": {"mean_qed": 0.8}, "properties": properties}
    made["molecules"] |= {"workers": 2, "distinct": 490, "not_valid": {"prior": {}, "tutor": {"syntax": 3}}}
    made["molecules"] |= {"shown": dict.fromkeys(("top", "median", "random", "prior"), drawn)}
    made["molecules"] |= {"distributions": distributions, "best": {"prior": drawn, "tutor": drawn}}
    best = {"scored": 480, "top_1": 0.4, "top_10": 0.3, "top_100": 0.2}
    made["molecules"]["search"] = {"prior": best, "tutor": {**best, "top_1": 0.6}}
    made["molecules"]["objective"] = {"function": "drugs:aspirin", "name": "aspirin", "smiles": "CC(=O)Oc1ccccc1C(=O)O"}
    settings = {"seed": 3, "min_distinct": 0.995, "paper": False}
    commands = {"this page": "python -m benchmarks demo"}
    return {"commands": commands, "settings": settings, **made, "versions": {"torch": "2.13.0"}, "wall_seconds": 12.0}
