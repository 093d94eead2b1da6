"""`python -m seqtutor_envs.pretrain melody | smiles`: train a prior on data of your own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

from seqtutor_envs.command import report_errors, run, warnings_in_one_line

PROGRAM = "python -m seqtutor_envs.pretrain"


def main(args: list[str] | None = None) -> None:
    """Run the command line: one subcommand a domain."""
    with report_errors(PROGRAM):
        # imported here: both load torch, which takes seconds, in which Ctrl-C may come
        from seqtutor_envs.melody import pretraining as melodies
        from seqtutor_envs.smiles import pretraining as molecules

    commands: dict[str, Callable[..., None]] = {"melody": melodies.melody, "smiles": molecules.smiles}
    argv = sys.argv[1:] if args is None else args
    if any(word.partition("=")[0] == "--from" for word in argv):
        # other defaults, which --help then shows too; what is typed holds in either case
        commands["melody"] = functools.partial(melodies.melody, settings=melodies.TRANSFER)
        commands["smiles"] = functools.partial(molecules.smiles, settings=molecules.TRANSFER)
    with warnings_in_one_line():
        run(commands, PROGRAM, args)


if __name__ == "__main__":
    main()
