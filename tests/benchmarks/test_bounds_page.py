"""The table of docs/bounds.md shows the shipped bounds."""

from __future__ import annotations

import math
from pathlib import Path

from seqtutor_envs.bounds import Bounds
from seqtutor_envs.bounds.known import SHIPPED, read_entries

PAGE = Path(__file__).parents[2] / "docs" / "bounds.md"
TASKS = {  # environment, and weights of its terms or its objective -> what the table calls them
    ("SeqTutor-Melody-v0", ""): "melodies",
    ("SeqTutor-Melody-v0", "repeated_motif unique_extremes"): "melodies, weights of `table-1`",
    ("SeqTutor-SMILES-v0", ""): "molecules",
    ("SeqTutor-SMILES-v0", "logp ring sa valid"): "molecules, QED alone",
    **{
        ("SeqTutor-SMILES-v0", f"seqtutor_envs.smiles.pmo:{name}"): f"molecules, `{name}`"
        for name in ("albuterol_similarity", "celecoxib_rediscovery", "osimertinib_mpo")
    },
}


def shown(number):
    return f"{number:.2f}".replace("-", "−") if math.isfinite(number) else ""


def table_rows():
    """One row for each entry of the shipped file, by task and falling temperature."""
    rows = []
    for entry in read_entries(SHIPPED):
        terms = entry["env_kwargs"].get("objective", " ".join(sorted(entry["env_kwargs"].get("term_weights", {}))))
        found = Bounds.from_json(entry["bounds"])
        cells = [shown(one) for one in (found.lower, found.upper, found.estimate, *found.interval)]
        ends = " .. ".join(cells[3:]) if cells[4] else f"from {cells[3]}"
        name = TASKS[entry["env"], terms]
        row = f"| {name} | {entry['c']:g} | {' | '.join(cells[:3])} | {ends} |"
        rows.append((list(TASKS.values()).index(name), -entry["c"], row))
    return [row for _, _, row in sorted(rows)]


def test_the_page_has_the_shipped_bounds():
    expected = "\n".join(table_rows())
    assert expected in PAGE.read_text("utf-8"), f"docs/bounds.md should have these rows:\n{expected}"
