"""`python -m seqtutor_envs.smiles.scoring.worker`: a scoring process, which pool.py starts and feeds.

Lines of JSON on standard input: first {"spec": ScoreSpec.as_dict(), "limit": seconds, "pmo_task": name or null}, then
[question, list of SMILES]. Lines of JSON on standard output: first [], when it is ready, then the answers of each list.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Score until standard input ends, as it does when the parent is gone, however it went."""
    # a copy of standard output for the answers alone
    answers = open(os.dup(1), "w")
    os.dup2(2, 1)  # what anything else prints must not come between the answers
    from seqtutor_envs.smiles.scoring import ScoreSpec, score
    from seqtutor_envs.smiles.scoring.pool import OBJECTIVE, SCORE

    lines = (line for line in sys.stdin if line.endswith("\n"))  # a killed parent may leave half a line
    first = json.loads(next(lines, "{}"))
    if not first:
        return
    spec, limit = ScoreSpec(**first["spec"]), first["limit"]
    answer: dict[str, Callable[[str], Any]] = {SCORE: lambda smiles: score(smiles, spec)}
    if first["pmo_task"] is not None:
        from seqtutor_envs.smiles.pmo import PmoTask

        task = PmoTask(first["pmo_task"])
        answer[OBJECTIVE] = lambda smiles: float(task.score([smiles])[0])
    for function in answer.values():
        function("C")  # reads SA's table and the like, which is no molecule's time
    # RDKit's C++ code lets no Python handler run: the signal's own action ends the process, be there a parent or not
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        print([], file=answers, flush=True)
        for line in lines:
            question, strings = json.loads(line)
            found = []
            for smiles in strings:
                # an alarm for each molecule, not for the list: the limit is one molecule's
                signal.setitimer(signal.ITIMER_REAL, limit)
                found.append(answer[question](smiles))
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(json.dumps(found), file=answers, flush=True)
    except BrokenPipeError:
        pass  # nobody reads any more


if __name__ == "__main__":
    main()
