"""`python -m benchmarks moses WHEEL`: a SMILES prior's figures beside those that MOSES published for its CharRNN."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from seqtutor_envs.command import one_thread
from seqtutor_envs.files import write_atomically

MAX_LENGTH = 100  # tokens, the environment's horizon


def moses(
    wheel: Annotated[Path, tyro.conf.Positional],
    prior: str = "smiles",
    smiles: Path | None = None,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 30_000,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Prints what a prior's samples are like beside MOSES' CharRNN, against MOSES' test set. Ten minutes of one core.

    Novelty is exact, against the training set as MOSES wrote it (2 in 10,000 of its SMILES are spelled otherwise by
    today's RDKit). The Wasserstein distances are from 30,000 molecules of the test set; all else is about the whole.

    Args:
        wheel: MOSES' package, which has its data: pip download --no-deps molsets.
        prior: a shipped prior's name, or the path of one.
        smiles: a file of SMILES to be judged instead of a prior's samples.
        n: molecules to sample, or to take from the file; MOSES' figures are of 30,000.
        seed: of sampling.
        out: a JSON file to write the figures to.
    """
    from seqtutor_envs.checks import positive_integer
    from seqtutor_envs.smiles import metrics
    from seqtutor_envs.smiles.chem import RDKIT_VERSION
    from seqtutor_envs.smiles.molecule_set import MoleculeSet, read_smiles
    from seqtutor_envs.smiles.reading import records

    one_thread()
    positive_integer("n", n)
    trained_on = frozenset(read_smiles(wheel, split="train"))
    reference = MoleculeSet.from_file(wheel, split="test", most=30_000)
    if smiles is None:
        _tell(f"sampling {n:,} molecules")
        written = _samples(prior, n, seed)
    else:
        written = [text for _, text in records(smiles)][:n]
    _tell(f"comparing {len(written):,} strings with {len(reference):,} molecules")
    row = metrics.table(written, reference, novelty=trained_on, max_compared=len(written))
    print(_as_text(row, metrics.MOSES_CHAR_RNN))
    if out is not None:
        facts: dict[str, Any] = {"prior": prior, "seed": seed} if smiles is None else {"smiles": str(smiles)}
        facts |= {"n": len(written), "rdkit": RDKIT_VERSION, "figures": row, "moses_char_rnn": metrics.MOSES_CHAR_RNN}
        write_atomically(out, (json.dumps(facts, indent=1) + "\n").encode())


def _samples(prior: str, n: int, seed: int) -> list[str]:
    from seqtutor_envs.prior import load_prior
    from seqtutor_envs.smiles.vocab import decode

    model = load_prior(prior)
    return [decode(model.vocab, ids) for ids in model.sample(n, seed, length=MAX_LENGTH)[0]]


def _as_text(row: dict[str, float], published: dict[str, float]) -> str:
    """A line for each figure: ours, and the published one where there is one."""
    lines = [f"{'':32}{'ours':>12}{'CharRNN':>12}"]
    for name, value in row.items():
        theirs = f"{published[name]:12.4f}" if name in published else ""
        lines.append(f"{name:32}{value:12.4f}{theirs}".rstrip())
    return "\n".join(lines)


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
