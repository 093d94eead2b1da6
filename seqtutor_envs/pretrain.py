"""`python -m seqtutor_envs.pretrain melody | smiles`: train a prior on data of your own."""

from __future__ import annotations

from seqtutor_envs.command import one_thread, report_errors, run, warnings_in_one_line

PROGRAM = "python -m seqtutor_envs.pretrain"


def main(args: list[str] | None = None) -> None:
    """Run the command line: one subcommand a domain."""
    with report_errors(PROGRAM):
        # imported here: both load torch, which `one_thread` then finds, and in these seconds Ctrl-C may come
        from seqtutor_envs.melody.pretraining import melody
        from seqtutor_envs.smiles.pretraining import smiles

        one_thread()
    with warnings_in_one_line():
        run({"melody": melody, "smiles": smiles}, PROGRAM, args)


if __name__ == "__main__":
    main()
