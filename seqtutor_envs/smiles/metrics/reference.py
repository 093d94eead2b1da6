"""Means and histograms of the shipped prior's training data: two kilobytes, without its SMILES.

`python -m seqtutor_envs.smiles.metrics.reference make WHEEL` makes data/smiles_reference.json anew; half a minute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from seqtutor_envs.command import run
from seqtutor_envs.files import write_atomically

FILE = Path(__file__).parents[2] / "data" / "smiles_reference.json"
# Edges of equal bins: first, last, number; they hold all but the strangest molecules
BINS = {"logp": (-4.0, 10.0, 56), "sa": (1.0, 8.0, 56), "qed": (0.0, 1.0, 40), "mw": (0.0, 800.0, 80)}


def make(wheel: Annotated[Path, tyro.conf.Positional], n: int = 20_000, out: Path = FILE) -> None:
    """Write the histograms of MOSES' training set.

    Args:
        wheel: pip download --no-deps molsets.
        n: molecules, evenly spaced over the set.
        out: the JSON file to write.
    """
    from seqtutor_envs.smiles.chem import RDKIT_VERSION
    from seqtutor_envs.smiles.metrics.molecule_set import MoleculeSet, read_smiles

    everything = read_smiles(wheel, split="train")
    molecules = MoleculeSet(everything[:: max(1, len(everything) // n)][:n])
    facts = {
        "made_by": f"python -m seqtutor_envs.smiles.metrics.reference make {wheel.name} --n {n}",
        "source": f"MOSES (Polykovskiy et al. 2020, from ZINC), {len(molecules):,} of {len(everything):,} molecules",
        "rdkit": RDKIT_VERSION,
        "molecules": len(molecules),
        "means": {name: round(float(values.mean()), 4) for name, values in molecules.properties.items()},
        "histograms": histograms(molecules.properties),
    }
    write_atomically(out, (json.dumps(facts) + "\n").encode())
    print(f"{out}: {facts['source']}")


def histograms(values: Mapping[str, NDArray[np.float64] | Sequence[float]]) -> dict[str, list[int]]:
    """Count values in the bins of BINS, of each property; a value beyond them counts in the first or last bin."""
    found = {}
    # clipped: np.histogram would leave out what lies beyond the edges
    for name in BINS:
        limits = edges(name)
        found[name] = np.histogram(np.clip(values[name], limits[0], limits[-1]), limits)[0].tolist()
    return found


def edges(name: str) -> NDArray[np.float64]:
    """Return the edges of a property's bins, [B + 1]."""
    first, last, number = BINS[name]
    return np.linspace(first, last, number + 1)


def load() -> dict[str, Any]:
    """Read what `make` wrote of the shipped prior's training data."""
    facts: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return facts


if __name__ == "__main__":
    run({"make": make}, "python -m seqtutor_envs.smiles.metrics.reference")
