"""An id whose task forbids tokens, as no shipped one does: `import forbidding` registers it.

Sequences of a, b, c that end with "." or after six tokens; "." may not come first and no token may follow itself.
"""

from __future__ import annotations

from gymnasium.envs.registration import register

from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.exact import solve
from toys.env_toys import ToyTask, toy_prior

FORBIDDING = "Forbidding-v0"
END, LENGTH = 3, 6


class ForbiddingVectorEnv(SequenceTutorVectorEnv):
    def __init__(self, *, length=LENGTH, c=1.0, **kwargs):
        super().__init__(ToyTask(length, masked=True), toy_prior(length, impossible=False), c=c, **kwargs)


class ForbiddingEnv(SequenceTutorEnv):
    vector_class = ForbiddingVectorEnv

    def __init__(self, *, length=LENGTH, c=1.0, **kwargs):
        super().__init__(ToyTask(length, masked=True), toy_prior(length, impossible=False), c=c, **kwargs)

    def solution(self):
        return solve(self.task, self.prior, self.c)


def is_legal(tokens):
    """Whether the tokens, a sequence or its beginning, keep the rules as they are written above."""
    return tokens[0] != END and all(a != b for a, b in zip(tokens, tokens[1:]))


register(FORBIDDING, entry_point=ForbiddingEnv, vector_entry_point=ForbiddingVectorEnv)
