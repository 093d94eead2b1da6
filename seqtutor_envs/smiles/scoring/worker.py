"""`python -m seqtutor_envs.smiles.scoring.worker`: a scoring process, which pool.py starts and feeds.

Lines of JSON on standard input: first {"spec": ScoreSpec.as_dict(), "limit": seconds}, then lists of SMILES. Lines of
JSON on standard output: first [], when it is ready, then for each list its scores.
"""

from __future__ import annotations

import json
import os
import signal
import sys


def main() -> None:
    """Score until standard input ends, as it does when the parent is gone, however it went."""
    # a copy of standard output for the answers alone
    answers = open(os.dup(1), "w")
    os.dup2(2, 1)  # what anything else prints must not come between the answers
    from seqtutor_envs.smiles.scoring import ScoreSpec, score

    lines = (line for line in sys.stdin if line.endswith("\n"))  # a killed parent may leave half a line
    first = json.loads(next(lines, "{}"))
    if not first:
        return
    spec, limit = ScoreSpec(**first["spec"]), first["limit"]
    score("C", spec)  # reads SA's table, which is no molecule's time
    # RDKit's C++ code lets no Python handler run: the signal's own action ends the process, be there a parent or not
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        print([], file=answers, flush=True)
        for line in lines:
            scores = []
            for smiles in json.loads(line):
                # an alarm for each molecule, not for the list: the limit is one molecule's
                signal.setitimer(signal.ITIMER_REAL, limit)
                scores.append(score(smiles, spec))
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(json.dumps(scores), file=answers, flush=True)
    except BrokenPipeError:
        pass  # nobody reads any more


if __name__ == "__main__":
    main()
