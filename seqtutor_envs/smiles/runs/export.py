"""Export sampled molecules as CSV and SDF.

n sequences, T tokens at most.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files.text import spreadsheet_cell
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.smiles.chem import drawing
from seqtutor_envs.smiles.task import SmilesTask


def describe_samples(agent: Any, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Describe each sequence: its SMILES and canonical SMILES, validity, task_return, raw terms, log p and log pi.

    The objective, if there is one, is asked for its scores.
    """
    task: SmilesTask = agent.task
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


def format_csv(rows: list[dict[str, Any]]) -> str:
    """Return rows of the same keys as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: spreadsheet_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def format_sdf(records: Iterable[Mapping[str, Any]]) -> str:
    """Return records with a "smiles" as an SDF: 2D coordinates, and all that a record holds as tags, to six digits."""
    return drawing.sdf(
        [
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in record.items()}
            for record in records
        ]
    )
