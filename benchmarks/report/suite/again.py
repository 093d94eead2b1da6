"""How to run it again: each configuration's commands and settings; and what failed, with its last words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from benchmarks.experiment import Experiment
from benchmarks.report.suite.data import Arm, Findings
from benchmarks.report.suite.pieces import folded
from benchmarks.report.suite.theme import Style, swatch


def command(findings: Findings, experiment: Experiment) -> str:
    """What runs one experiment."""
    return f"{findings.command} --only {experiment.id}"


def settings(experiment: Experiment) -> dict[str, str]:
    """What it is made of, in words."""
    return {
        "Environment": f"{experiment.env} {_keywords(experiment.env_kwargs)}".strip(),
        "Agent": f"{experiment.agent} {_keywords(experiment.agent_kwargs)}".strip(),
        "Budget": experiment.budget,
        "Judged on": f"{experiment.n:,} sequences",
    }


def _keywords(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False) if values else ""


def rerun(findings: Findings, arms: list[Arm], styles: Mapping[str, Style]) -> str:
    """Each configuration's settings and its commands, one for each seed."""
    return "".join(_arm(findings, arm, styles) for arm in arms)


def _arm(findings: Findings, arm: Arm, styles: Mapping[str, Style]) -> str:
    lines = "".join(
        f"<dt>Seed {run.experiment.seed}</dt><dd><code>{escape(command(findings, run.experiment))}</code></dd>"
        for run in arm.runs
    )
    told = "".join(f"<dt>{what}</dt><dd>{escape(text)}</dd>" for what, text in settings(arm.runs[0].experiment).items())
    summary = f"{swatch(styles[arm.label])} <b>{escape(arm.label)}</b> <span>{escape(arm.task)}</span>"
    return folded(summary, f'<dl class="lines">{told}{lines}</dl>')


def failed(findings: Findings) -> str:
    """Each failure: whose, why, its log's last lines and its command."""
    return "".join(_failure(findings, one) for one in findings.failures)


def _failure(findings: Findings, one: Mapping[str, Any]) -> str:
    experiment = Experiment.of(one["experiment"])
    head = f"<b>{escape(experiment.name)}</b>, seed {experiment.seed} <span>{escape(experiment.task)}</span>"
    reason = f'<p class="reason">{escape(one.get("reason") or "No reason is known.")}</p>'
    log = one.get("log") or "It printed nothing."
    inner = f'<pre tabindex="0" role="region" aria-label="Last lines of its log">{escape(log)}</pre>'
    inner += f"<p><code>{escape(command(findings, experiment))}</code></p>"
    details = folded("Last lines of its log, and its command", inner)
    return f'<article class="failure"><h3>{head}</h3>{reason}{details}</article>'
