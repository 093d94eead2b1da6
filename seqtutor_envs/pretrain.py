"""`python -m seqtutor_envs.pretrain melody | smiles`: train a prior on data of your own."""

from __future__ import annotations

from seqtutor_envs.command import run, warnings_in_one_line


def main(args: list[str] | None = None) -> None:
    """Run the command line: one subcommand a domain."""
    # imported here: both load torch, which takes seconds
    from seqtutor_envs.melody.pretraining import melody
    from seqtutor_envs.smiles.pretraining import smiles

    with warnings_in_one_line():
        run({"melody": melody, "smiles": smiles}, "python -m seqtutor_envs.pretrain", args)


if __name__ == "__main__":
    main()
