"""`python -m seqtutor_envs.pretrain melody | smiles`: train a prior on data of your own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from seqtutor_envs.command import run, warnings_in_one_line


def main(args: list[str] | None = None) -> None:
    """Run the command line: one subcommand a domain."""
    # imported here: both load torch, which takes seconds
    from seqtutor_envs.melody import pretraining as melodies
    from seqtutor_envs.smiles import pretraining as molecules

    commands: dict[str, Callable[..., None]] = {"melody": melodies.melody, "smiles": molecules.smiles}
    argv = sys.argv[1:] if args is None else args
    if any(word.partition("=")[0] == "--from" for word in argv):
        # other defaults, which --help then shows too; what is typed holds in either case
        commands["melody"] = functools.partial(melodies.melody, settings=melodies.TRANSFER)
        commands["smiles"] = functools.partial(molecules.smiles, settings=molecules.TRANSFER)
    with warnings_in_one_line():
        run(commands, "python -m seqtutor_envs.pretrain", args)


if __name__ == "__main__":
    main()
