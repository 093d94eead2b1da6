"""`python -m seqtutor_envs`: what is installed, and where it comes from."""

from __future__ import annotations

import sys

import gymnasium

from seqtutor_envs.command import HOME, find_conflict, versions


def main() -> None:
    """Print versions, our packages' folder and the ids. Exit with status 1 if another package has the name of one."""
    for name, version in versions().items():
        print(f"{name:18} {version or 'not installed'}")
    print(f"{'folder':18} {HOME}")
    for env_id in sorted(name for name in gymnasium.registry if name.startswith("SeqTutor-")):
        print(env_id)
    conflict = find_conflict()
    if conflict is not None:
        print(f"python -m seqtutor_envs: {conflict}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
