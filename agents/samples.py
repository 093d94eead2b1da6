"""Sampled molecules as files that other programs open: .smi, CSV, SDF.

n sequences, T tokens at most.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agents.molecules import sdf_text
from seqtutor_envs.judge import sequence_log_probs

if TYPE_CHECKING:
    from seqtutor_envs.smiles.task import SmilesTask


def written(
    kind: str, agent: Any, task: SmilesTask, tokens: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[str, int]:
    """The text of a "smi", "csv" or "sdf" file of sequences [n, T], and how many of them could not be in it.

    In the first, a line "SMILES number" each, all are as written, valid or not, but for empty ones; in the last are the
    valid ones only.
    """
    if kind == "smi":
        lines = [f"{text} {n}\n" for n, text in enumerate(task.smiles(tokens, lengths), start=1) if text]
        return "".join(lines), len(tokens) - len(lines)
    rows = described(agent, task, tokens, lengths)
    if kind == "csv":
        return csv_text(rows), 0
    valid = [row for row in rows if row["valid"]]
    return sdf_text(valid), len(rows) - len(valid)


def csv_text(rows: list[dict[str, Any]]) -> str:
    """CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def described(
    agent: Any, task: SmilesTask, tokens: NDArray[np.int64], lengths: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Of each sequence: SMILES as written, canonical SMILES, validity, task_return, raw terms, log p and log pi.

    The objective, where there is one, is asked for them.
    """
    smiles = task.smiles(tokens, lengths)
    terms = {name: term.sum(axis=1) for name, term in task.terms(tokens, lengths).items()}
    returns = sum((task.weights[name] * term for name, term in terms.items()), np.zeros(len(smiles)))
    log_p, log_pi = sequence_log_probs(agent.prior, tokens, lengths), agent.log_prob(tokens, lengths)
    return [
        {
            "smiles": text,
            "canonical": score.canonical or "",
            "valid": int(score.canonical is not None),
            "task_return": float(returns[n]),
            **{name: float(term[n]) for name, term in terms.items() if name != "valid"},
            "prior_log_prob": float(log_p[n]),
            "log_prob": float(log_pi[n]),
        }
        for n, (text, score) in enumerate(zip(smiles, task.scorer(smiles)))
    ]


Comparison = Callable[[list[str]], tuple[dict[str, float], list[tuple[str, int]]]]


def comparison(reference: Path | None) -> Comparison:
    """From strings to what `evaluate` says of molecules beside the judge's figures: those that compare them with the
    file `reference`, and the ten commonest Murcko scaffolds.

    Raises FileNotFoundError or ValueError, one line, where the file holds no molecules.
    """
    from seqtutor_envs.smiles import metrics

    theirs = None if reference is None else metrics.MoleculeSet.from_file(reference)

    def compared(smiles: list[str]) -> tuple[dict[str, float], list[tuple[str, int]]]:
        ours = metrics.MoleculeSet(smiles)
        figures: dict[str, float] = {}
        if theirs is not None:
            table = metrics.table(ours, theirs)
            figures = {name: table[name] for name in table if name.startswith(("snn", "frag", "scaf", "wasserstein"))}
            figures |= metrics.nearest(ours, theirs)
        return figures, metrics.commonest_scaffolds(ours)

    return compared
