"""Is our QED RDKit's on 100,000 molecules of MOSES' test set? `python -m tests.qed_equality WHEEL_OR_CSV [N]`.

Not a test of the suite: it takes some minutes. The file is PyPI's molsets wheel (`pip download --no-deps molsets`), or
a csv (.gz) whose first column is SMILES. Prints how many molecules were compared and how many differ in any bit, with
the microseconds a molecule that each took, in turns; ends with status 1 if any differs.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import time
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rdkit import Chem
from rdkit.Chem import QED

from seqtutor_envs.smiles import chem
from seqtutor_envs.smiles.chem import descriptors
from seqtutor_envs.smiles.chem.exact_qed import qed

IN_WHEEL = "moses/dataset/data/test.csv.gz"


def strings(path: Path) -> Iterator[str]:
    """The first column, without its header."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read(IN_WHEEL)
    else:
        data = path.read_bytes()
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    yield from (row[0] for row in islice(csv.reader(io.StringIO(text.decode())), 1, None) if row)


def main(path: Path, most: int) -> int:
    compared, seconds, theirs_seconds, different = 0, 0.0, 0.0, []
    for smiles in islice(strings(path), most):
        mine, theirs = chem.parse(smiles), Chem.MolFromSmiles(smiles)
        if mine is None:
            continue
        logp = descriptors.logp(mine)  # as where molecules are scored: not part of QED's time
        start = time.thread_time()
        ours = qed(mine, logp)
        middle = time.thread_time()
        expected = QED.qed(theirs)
        theirs_seconds += time.thread_time() - middle
        seconds += middle - start
        compared += 1
        if ours != expected:
            different.append((smiles, ours, expected))
    for smiles, ours, expected in different[:20]:
        print(f"{smiles}: {ours!r}, RDKit {expected!r}")
    print(f"{compared} molecules compared, {len(different)} differ (RDKit {chem.RDKIT_VERSION}).")
    micros = [1e6 * spent / max(compared, 1) for spent in (seconds, theirs_seconds)]
    print(f"QED {micros[0]:.0f} us a molecule (logP known), RDKit's {micros[1]:.0f} us.")
    return int(bool(different) or not compared)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("Usage: python -m tests.qed_equality WHEEL_OR_CSV [N, default 100000]")
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 100_000))
