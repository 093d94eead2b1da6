"""What a reader must know first: what ran, where, with what, and what is doubtful about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.report.suite.data import Arm, Findings
from benchmarks.report.suite.names import shared

MOST_WARNINGS = 5
NUMBER = re.compile(r"\d[\d,.]*")  # warnings that differ in numbers alone are one


def counts(findings: Findings) -> dict[str, int]:
    """How many experiments are done, failed, missing."""
    return {"done": len(findings.results), "failed": len(findings.failures), "missing": len(findings.missing)}


def notices(findings: Findings) -> list[str]:
    """What is doubtful: what failed or is missing, code that differs or was changed, machines that differ, warnings."""
    said = list(findings.notes)
    of = len(findings.experiments)
    if findings.failures:
        said.append(f"{len(findings.failures)} of {of} experiments failed; the reasons are below.")
    if findings.missing:
        said.append(f"{len(findings.missing)} of {of} experiments have not run: what is below is of those that have.")
    return said + _code(findings.results) + _machines(findings.results) + warnings(findings)


def _code(results: Iterable[Mapping[str, Any]]) -> list[str]:
    states = [one.get("git") for one in results]
    commits = Counter(state["commit"][:7] for state in states if state)
    said = []
    if len(commits) > 1:
        told = ", ".join(f"{commit} ({n})" for commit, n in commits.most_common())
        said.append(f"The results come from {len(commits)} commits: {told}. They need not be comparable.")
    if dirty := sum(bool(state and state.get("dirty")) for state in states):
        said.append(f"{dirty} {_plural('result', dirty)} came from code that was changed since its commit.")
    return said


def _machines(results: list[dict[str, Any]]) -> list[str]:
    if len(machines(results)) < 2:
        return []
    return [f"The results come from {len(machines(results))} kinds of machine: seconds cannot be compared."]


def warnings(findings: Findings) -> list[str]:
    """What agents warned of, with how many runs did; the commonest first."""
    said: dict[str, list[str]] = {}
    for one in findings.results:
        for alike, text in {NUMBER.sub("#", text): text for text in one.get("warnings") or ()}.items():
            said.setdefault(alike, []).append(text)
    ranked = sorted(said.values(), key=len, reverse=True)
    told = [
        f"{len(texts)} {_plural('run', len(texts))} warned{_like(texts)}: {texts[0]}"
        for texts in ranked[:MOST_WARNINGS]
    ]
    rest = len(said) - MOST_WARNINGS
    return told + [f"{rest} other {_plural('warning', rest)} stand in the result files."] * (rest > 0)


def _like(texts: list[str]) -> str:
    return "" if len(set(texts)) == 1 else ", each with its own numbers"


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"


def machines(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each kind of machine, in words; its name is no part of it."""
    found = [one.get("machine") or {} for one in results]
    told = [", ".join(_machine(one)) for one in found if one]
    return list(dict.fromkeys(told))


def _machine(one: Mapping[str, Any]) -> list[str]:
    cores = "{} core" if one.get("cores") == 1 else "{} cores"
    written = {"cpu": "{}", "cores": cores, "memory_gib": "{:.0f} GiB", "os": "{}"}
    return [text.format(one[name]) for name, text in written.items() if one.get(name)]


def versions(results: Iterable[Mapping[str, Any]]) -> str:
    """Every package with its version, or versions."""
    seen: dict[str, dict[str, None]] = {}
    for one in results:
        for name, version in (one.get("versions") or {}).items():
            if version:
                seen.setdefault(name, {})[str(version)] = None
    return ", ".join(f"{name} {' or '.join(found)}" for name, found in seen.items())


def budgets(arms: Iterable[Arm]) -> str:
    """How long agents learn, and on how much they are judged."""
    members = list(arms)
    learn = dict.fromkeys(run.experiment.budget for arm in members if arm.learns for run in arm.runs)
    judged = dict.fromkeys(f"{run.experiment.n:,}" for arm in members for run in arm.runs)
    learned = f"learned for {' or '.join(learn)}, " if learn else ""
    return f"{learned}judged on {' or '.join(judged)} sequences each" if judged else ""


def facts(findings: Findings, arms: list[Arm]) -> dict[str, str]:
    """Budgets, seeds, machines, versions and times, each in a line."""
    results = findings.results
    seeds = sorted({run.experiment.seed for arm in arms for run in arm.runs})
    commits = dict.fromkeys(one["git"]["commit"][:7] for one in results if one.get("git"))
    finished = sorted(str(one["finished"])[:16].replace("T", " ") for one in results if one.get("finished"))
    wall = sum((one.get("time") or {}).get("total_wall") or 0 for one in results)
    lines = {
        "Environment": "; ".join(shared(run.experiment for arm in arms for run in arm.runs)),
        "Budget": budgets(arms),
        "Seeds": ", ".join(map(str, seeds)),
        "Machine": "; ".join(machines(results)),
        "Versions": versions(results),
        "Code": ", ".join(commits),
        "Finished": " to ".join(dict.fromkeys(finished[:1] + finished[-1:])) + " UTC" if finished else "",
        "All in all": f"{wall / 60:,.1f} minutes of experiments, added up" if wall else "",
    }
    return {name: text for name, text in lines.items() if text}
