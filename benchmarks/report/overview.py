"""What a reader must know first: what ran, where and with what, what is doubtful about it, and what the words mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.report.data import Results
from benchmarks.report.names import shared_environments

MOST_WARNINGS = 5
NUMBER = re.compile(r"\d[\d,.]*")  # warnings that differ in numbers alone are one
DEFINITIONS = {
    "J": "E[R / c] − KL(π ‖ p), in nats: the objective. R is the task’s return, c its temperature.",
    "KL": "KL(π ‖ p) of whole sequences, in nats: how far the agent π has moved from the prior p.",
    "Gap": "log Z − J = KL(π ‖ optimum), in nats, where the optimum is known; 0 is the best there is. Closed: the "
    "share of log Z − J(prior) by which an agent has come nearer.",
    "Mean and interval": "means over seeds, with 95% percentile intervals of a bootstrap (2,000 draws) of runs, "
    "stratified by task: about other seeds on these tasks. One run has no interval. Few runs make them too short: "
    "of normal scores, nominal 95% cover the true mean in about 75, 84, 90 of 100 cases with 3, 5, 10 runs.",
    "IQM": "interquartile mean: the mean of all runs but the lowest and the highest quarter, which single lucky "
    "or failed runs move little (Agarwal et al., NeurIPS 2021).",
    "Probability of improvement": "P(x > y) + P(x = y) / 2 over pairs of runs with the same seed.",
    "Performance profile": "which share of runs has a gap below each value, averaged over tasks.",
    "Tokens": "one token in one sequence is one timestep of learning. CPU: seconds of this process; scoring "
    "processes are not included, so molecules have wall-clock seconds.",
}


def counts(results: Results) -> dict[str, int]:
    """Count the experiments that are done, failed, missing."""
    return {"done": len(results.results), "failed": len(results.failures), "missing": len(results.missing)}


def notices(results: Results) -> list[str]:
    """List what is doubtful: failures, missing runs, code or machines that differ, warnings."""
    lines, of = list(results.notes), len(results.experiments)
    if results.failures:
        lines.append(f"{len(results.failures)} of {of} experiments failed; the reasons are below.")
    if results.missing:
        lines.append(f"{len(results.missing)} of {of} experiments have not run: this report is about those that have.")
    states = [state for one in results.results if (state := one.get("git"))]
    commits = Counter(state["commit"][:7] for state in states)
    if len(commits) > 1:
        names = ", ".join(f"{commit} ({n})" for commit, n in commits.most_common())
        lines.append(f"The results come from {len(commits)} commits: {names}. They may not be comparable.")
    if dirty := sum(bool(state.get("dirty")) for state in states):
        lines.append(f"{_number(dirty, 'result')} came from code that was changed since its commit.")
    if (kinds := len(machines(results.results))) > 1:
        lines.append(f"The results come from {kinds} kinds of machine: seconds cannot be compared.")
    return lines + warnings(results)


def warnings(results: Results) -> list[str]:
    """List the agents' warnings with the number of runs that warned, the most frequent first."""
    found: dict[str, list[str]] = {}
    for one in results.results:
        for alike, text in {NUMBER.sub("#", text): text for text in one.get("warnings") or ()}.items():
            found.setdefault(alike, []).append(text)
    lines = []
    for texts in sorted(found.values(), key=len, reverse=True)[:MOST_WARNINGS]:
        differ = ", each with its own numbers" if len(set(texts)) > 1 else ""
        lines.append(f"{_number(len(texts), 'run')} warned{differ}: {texts[0]}")
    rest = len(found) - MOST_WARNINGS
    return lines + [f"The result files hold {_number(rest, 'other warning')}."] * (rest > 0)


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def machines(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Describe each kind of machine, without its name."""
    found = []
    for one in (result.get("machine") or {} for result in results):
        parts = {"cpu": one.get("cpu"), "cores": one.get("cores") and _number(one["cores"], "core")}
        parts |= {"memory": one.get("memory_gib") and f"{one['memory_gib']:.0f} GiB", "os": one.get("os")}
        found += [", ".join(filter(None, parts.values()))] * bool(one)
    return list(dict.fromkeys(found))


def versions(results: Iterable[Mapping[str, Any]]) -> str:
    """List every package with its version or versions."""
    seen: dict[str, dict[str, None]] = {}
    for one in results:
        for name, version in (one.get("versions") or {}).items():
            if version:
                seen.setdefault(name, {})[str(version)] = None
    return ", ".join(f"{name} {' or '.join(found)}" for name, found in seen.items())


def facts(results: Results) -> dict[str, str]:
    """Describe budgets, seeds, machines, versions and times, each in a line."""
    files = results.results
    ran = [one for arm in results.arms for one in arm.experiments]
    budgets = dict.fromkeys(one.budget for arm in results.arms if arm.learns for one in arm.experiments)
    sizes = dict.fromkeys(f"{one.n:,}" for one in ran)
    finished = sorted(str(one["finished"])[:16].replace("T", " ") for one in files if one.get("finished"))
    wall = sum((one.get("time") or {}).get("total_wall") or 0 for one in files)
    budget = f"learned for {' or '.join(budgets)}, " if budgets else ""
    lines = {
        "Environment": "; ".join(shared_environments(ran)),
        "Budget": f"{budget}evaluated on {' or '.join(sizes)} sequences each" if sizes else "",
        "Seeds": ", ".join(map(str, sorted({one.seed for one in ran}))),
        "Machine": "; ".join(machines(files)),
        "Versions": versions(files),
        "Code": ", ".join(dict.fromkeys(one["git"]["commit"][:7] for one in files if one.get("git"))),
        "Finished": " to ".join(dict.fromkeys(finished[:1] + finished[-1:])) + " UTC" if finished else "",
        "Total time": f"{wall / 60:,.1f} minutes of experiments, added up" if wall else "",
    }
    return {name: text for name, text in lines.items() if text}
