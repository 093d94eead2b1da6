"""RDKit called directly, as a script of a few lines would call it: the limit that scoring is measured against.

`python -m benchmarks.speed.chem_alone` is one process of it, which `AllCores` starts and feeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from rdkit import Chem, rdBase
from rdkit.Chem import QED, Crippen
from rdkit.Contrib.SA_Score import sascorer

Scores = tuple[float, float, float]  # QED, SA, logP


def score(smiles: str) -> Scores | None:
    """QED, SA and logP; None for what RDKit does not read."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return None
    return QED.qed(molecule), sascorer.calculateScore(molecule), Crippen.MolLogP(molecule)  # type: ignore[attr-defined]


class AllCores:
    """`all_cores(smiles)` -> the scores of each string, by several processes that each take an equal part."""

    def __init__(self, processes: int) -> None:
        command = (sys.executable, "-m", "benchmarks.speed.chem_alone")
        pipe = subprocess.PIPE
        self._processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(processes)]
        self(["C"] * processes)  # until all have read SA's table

    def __call__(self, smiles: Sequence[str]) -> list[Scores | None]:
        step = len(self._processes)
        for i, process in enumerate(self._processes):
            assert process.stdin is not None
            process.stdin.write(json.dumps(smiles[i::step]) + "\n")
            process.stdin.flush()
        found: list[Scores | None] = [None] * len(smiles)
        for i, process in enumerate(self._processes):
            assert process.stdout is not None
            found[i::step] = json.loads(process.stdout.readline())
        return found

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.communicate()  # their standard input ends


def main() -> None:
    """Answers each line, a JSON list of strings, by the list of their scores."""
    for line in sys.stdin:
        print(json.dumps([score(smiles) for smiles in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
