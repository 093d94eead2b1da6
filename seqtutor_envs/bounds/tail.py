"""Bound the prior's mass above a return, by very many samples that are followed no further than they count.

The samples are independent ones of the prior, drawn together: a prefix with its number of samples is one node of a
tree, whose children get their numbers by a multinomial draw. So what many samples share is computed once. A node ends
where the task proves that no sequence beyond it returns enough (`Task.bound_returns`). N nodes, n tokens, V tokens.

Importance sampling needs this: for an upper bound of log Z it must rule out that sequences it has not met weigh
exp(R_max / c), the more so the more samples. With the mass above a return known, it must do so up to that return only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from seqtutor_envs import checks
from seqtutor_envs.bounds.estimate import read_problem
from seqtutor_envs.bounds.intervals import bounds_of_share
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.prior import Prior, State
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR, mask_prior
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vocab import Floats, Tokens

NODES = 4096  # at a time
SAMPLES = checks.Range(1, 10**15, whole=True)
RETURN = checks.Range()


class Tail(NamedTuple):
    """Hold how many samples of the prior return more than a number."""

    above: float  # the return
    samples: int
    hits: int
    nodes: int = 0  # prefixes that were fed to the prior

    def mass(self, delta: float) -> float:
        """Return a number that P(R > above) exceeds with probability delta at most (Clopper and Pearson 1934)."""
        return bounds_of_share(self.hits, self.samples, delta)[1]


class _Nodes(NamedTuple):
    """Hold prefixes of the same length that are not over."""

    tokens: Tokens  # [N, n]
    counts: Tokens  # [N], samples that begin so
    so_far: Floats  # [N], paid, not divided by c
    state: State  # of the prior, before the last token
    last: Tokens  # [N]

    def part(self, rows: Any) -> _Nodes:
        state = tuple(array[rows] for array in self.state)
        return _Nodes(self.tokens[rows], self.counts[rows], self.so_far[rows], state, self.last[rows])


@one_thread()
def draw_tail(env: Any, *, above: float, samples: int, seed: int = 0, progress_bar: bool = False) -> Tail:
    """Draw samples of an environment's prior, and count those whose return R is above a number.

    Args:
        env: as for `log_z`; its task and prior.
        above: the return, not divided by c. The nearer to the greatest, the fewer prefixes are followed.
        samples: how many, 10^15 at most.
        seed: of the draws.
        progress_bar: whether to show one.

    Raises ValueError where a number is out of range, or the environment is none of ours.
    """
    above, samples = RETURN.check("above", above), SAMPLES.check("samples", samples)
    task, prior, _ = read_problem(env)
    prior = mask_prior(prior, task)
    rng = np.random.default_rng((checks.SEED.check("seed", seed), 2))
    weights = np.array(list(task.weights.values()))
    start = np.full(1, task.vocab.start)
    nodes = _Nodes(np.zeros((1, 0), np.int64), np.array([samples]), np.zeros(1), prior.initial_state(1), start)
    waiting, hits, fed = [nodes], 0, 0
    with make_bar(total=samples, desc="tail", unit="", leave=False, disable=not progress_bar) as bar:
        while waiting:
            nodes = waiting.pop()
            if len(nodes.counts) > NODES:  # depth first: what waits fits into memory
                waiting.append(nodes.part(slice(NODES, None)))
                nodes = nodes.part(slice(NODES))
            fed += len(nodes.counts)
            nodes = _grow(prior, nodes, rng)
            n = nodes.tokens.shape[1]
            paid = task.step_terms(nodes.tokens, np.full(len(nodes.tokens), n - 1)) @ weights
            nodes = nodes._replace(so_far=nodes.so_far + paid)
            over = (nodes.last == task.vocab.end) | (n == task.length)
            hits += int(nodes.counts[over & (nodes.so_far > above)].sum())
            hopeful = ~over
            hopeful[hopeful] = task.bound_returns(nodes.tokens[hopeful], nodes.so_far[hopeful]) > above
            if hopeful.any():
                waiting.append(nodes.part(hopeful))
            bar.update(int(nodes.counts[~hopeful].sum()))
    return Tail(above, samples, hits, fed)


def _grow(prior: Prior, nodes: _Nodes, rng: np.random.Generator) -> _Nodes:
    """Draw the next token of every sample; return the longer prefixes, each with its number."""
    rows, state = prior.step(nodes.last, nodes.state)
    chances = np.exp(np.maximum(rows, np.float32(LOG_PROB_FLOOR)).astype(np.float64))
    drawn = rng.multinomial(nodes.counts, chances / chances.sum(axis=1, keepdims=True))
    parents, tokens = np.nonzero(drawn)
    longer = np.concatenate([nodes.tokens[parents], tokens[:, None]], axis=1)
    so_far, state = nodes.so_far[parents], tuple(array[parents] for array in state)
    return _Nodes(longer, drawn[parents, tokens], so_far, state, tokens)
