"""Solve small tasks by enumerating all sequences; and a random such task as an environment.

M sequences, T steps, V tokens. Natural logs. The optimum maximises J(pi) = E_pi[R / c] - KL(pi || p) (at gamma = 1);
its soft values are V(s) = logsumexp_a(reward(s, a) + gamma V(s')), with 0 after the end, its policy is
the softmax of what stands in the bracket, and log Z = V(start). Then log Z - J(pi) = KL(pi || optimum).
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from seqtutor_envs import checks
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.prior import Prior, RecurrentPrior, TablePrior
from seqtutor_envs.prior.masking import allowed_log_probs
from seqtutor_envs.rewards import reward, scaled
from seqtutor_envs.task import Task, named_weights
from seqtutor_envs.vector_env import SequenceTutorVectorEnv
from seqtutor_envs.vocab import Floats, Tokens, TokenVocab

MAX_SEQUENCES = 1_000_000  # enumerated: a minute and a few hundred MiB for the longest
SUM_TOLERANCE = 1e-3  # of a policy's total probability; float32 log-probabilities err by 1e-6 or so a step
LENGTH = 4  # of a random task
CELL = 16  # pixels of one token in a picture


class TooManySequences(ValueError):
    """Say that a task has too many sequences to enumerate."""


class ExactTask(Task):
    """Pay one term, `prefix`: a number for every prefix that is not empty.

    Args:
        vocab: V tokens, none of which ends a sequence.
        rewards: [nodes], nodes = sum of V^t for t = 0..length, numbered breadth first as TablePrior numbers them (0
            is the empty prefix, child(node, a) = node V + 1 + a); the first is never paid.
        length: the horizon.
        weights: {"prefix": weight}.
    """

    def __init__(
        self, vocab: TokenVocab, rewards: Floats, length: int, weights: dict[str, float] | None = None
    ) -> None:
        nodes = sum(len(vocab) ** t for t in range(length + 1))
        if np.shape(rewards) != (nodes,):
            found = list(np.shape(rewards))
            raise ValueError(f"{length} steps of {len(vocab)} tokens need rewards [{nodes}], not {found}.")
        self.vocab, self.length = vocab, length
        self.rewards = np.array(rewards, dtype=np.float64)
        self.weights = named_weights(["prefix"], weights)

    def step_terms(self, tokens: Tokens, steps: Tokens) -> Floats:
        # breadth first: the child of a node follows from its number, so no tree is stored
        nodes = np.zeros(len(tokens), np.int64)
        for t in range(int(steps.max(initial=-1)) + 1):
            nodes = np.where(t <= steps, nodes * len(self.vocab) + 1 + tokens[:, t], nodes)
        return self.rewards[nodes][:, None]

    def max_return(self) -> float:
        paid, size = self.rewards * self.weights["prefix"], len(self.vocab)
        # backwards, level by level: a prefix's best continuation, then its own reward; the empty prefix is not paid
        best, end = np.zeros(size**self.length), len(paid)
        for t in range(self.length, 0, -1):
            begin = end - size**t
            best = (paid[begin:end] + best).reshape(-1, size).max(axis=1)
            end = begin
        return float(best[0])

    def render_rgb(self, tokens: Tokens, episode_return: float) -> NDArray[np.uint8]:
        return draw_grid(tokens, len(self.vocab), self.length)


def draw_grid(tokens: Tokens, size: int, length: int) -> NDArray[np.uint8]:
    """Draw tokens [t] as a grid, ids 0..size-1 upwards and steps to the right: chosen cells dark, cells to come white.
    """
    cells = np.full((size, length, 3), 255, np.uint8)
    cells[:, : len(tokens)] = 200
    # row 0 of a picture is the top, token 0 belongs at the bottom
    cells[size - 1 - np.asarray(tokens, dtype=np.int64), np.arange(len(tokens))] = 40
    return cells.repeat(CELL, axis=0).repeat(CELL, axis=1)


def make_random_task(
    vocab_size: int, length: int, seed: int, weights: dict[str, float] | None = None, recurrent: bool = False
) -> tuple[ExactTask, TablePrior | RecurrentPrior]:
    """Make a task and its prior: logits of the prior and rewards of all prefixes standard normal, from the seed.

    Args:
        vocab_size, length, seed: of the task.
        weights: {"prefix": weight}.
        recurrent: whether an LSTM of random weights is the prior, in place of the table.

    Raises ValueError where a size is no positive integer, or enumeration is out of reach.
    """
    vocab_size = checks.positive_integer("vocab_size", vocab_size)
    length = checks.positive_integer("length", length)
    if vocab_size**length > MAX_SEQUENCES:
        raise ValueError(f"{vocab_size} tokens and length {length} make too many sequences, over {MAX_SEQUENCES:,}.")
    # no end token: all sequences have the same length, which keeps the enumeration a plain product
    vocab = TokenVocab(tuple(f"t{i}" for i in range(vocab_size)))
    prefixes = sum(vocab_size**t for t in range(length))
    # the logits are drawn before the rewards: the order is part of what a seed means
    rng = np.random.default_rng(checks.SEED.check("seed", seed))
    logits = rng.standard_normal((prefixes, vocab_size))
    rewards = rng.standard_normal(prefixes + vocab_size**length)
    task = ExactTask(vocab, rewards, length, weights)
    return task, make_random_lstm(vocab, length, rng) if recurrent else TablePrior(vocab, logits, length)


def _fill_in(
    task: Task | None, prior: Any, vocab_size: int, length: int, seed: int, weights: dict[str, float] | None
) -> tuple[Task, Any]:
    """Return a user's task and prior, random ones in place of None. Raise ValueError where both describe a task."""
    if task is not None:
        # agents pass on the task's own length, which is no contradiction
        checks.nothing_beside_task({"length": length not in (LENGTH, task.length), "term_weights": weights is not None})
    random, own = make_random_task(vocab_size, length, seed, weights, recurrent=prior == "lstm")
    return random if task is None else task, own if prior is None or prior == "lstm" else prior


def make_random_lstm(vocab: TokenVocab, length: int, rng: np.random.Generator) -> RecurrentPrior:
    """Make an LSTM of 16 cells whose weights are three times those that torch begins with: its rows are not uniform."""
    size, cells, bound = len(vocab), 16, 0.75
    shapes = {
        "rnn.weight_ih_l0": (4 * cells, size + 1), "rnn.weight_hh_l0": (4 * cells, cells),
        "rnn.bias_ih_l0": (4 * cells,),
        "rnn.bias_hh_l0": (4 * cells,), "head.weight": (size, cells), "head.bias": (size,),
    }  # fmt: skip
    weights = {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}
    return RecurrentPrior(weights, "lstm", vocab, length)


class _Level(NamedTuple):
    """Hold one level of the tree: the n unfinished prefixes of one length, and their m children."""

    log_probs: Floats  # [n, V], -inf where the task forbids the token
    rewards: Floats  # [n, V], r_T
    parents: Tokens  # [m]
    chosen: Tokens  # [m], the child's last token
    ended: NDArray[np.bool_]  # [m]; the others are the next level, in this order
    finished: Tokens  # [number ended, L]


def enumerable(task: Task) -> bool:
    """Return whether `solve` is worth a try: the sequences are few, or a mask may leave few of them."""
    masked = type(task).action_mask is not Task.action_mask
    return masked or are_few(len(task.vocab), task.length)


def are_few(vocab_size: int, length: int) -> bool:
    """Return whether all sequences of so many tokens can be enumerated, whatever a mask leaves out."""
    return vocab_size**length <= MAX_SEQUENCES


def solve(task: Task, prior: Prior, c: float, gamma: float = 1.0) -> dict[str, Any]:
    """Compute the optimum of any small task by enumeration.

    Args:
        task, prior, c: as an environment's.
        gamma: discount of the soft values, 0..1. Only at 1 is the optimum that of J.

    Returns:
        sequences [M, T] (start id as filler) and lengths [M]: all that the task allows, in order of their tokens
        where all are equally long; log_probs [M] of the optimal policy; prior_log_probs [M]; task_returns [M], R
        before division by c; c; log_z, the soft value of the start.

    Raises ValueError where there are more than 1,000,000 sequences.
    """
    c = checks.temperature(c)
    gamma = checks.Range(0.0, 1.0).check("gamma", gamma)
    levels = _enumerate_levels(task, prior)
    # backwards: a prefix's value needs those of its children
    policies = []  # log pi [n, V] of each level, the last one first
    values = np.zeros(0)  # [n], soft values of the level below
    for level in reversed(levels):
        # a child that ended keeps 0: V is 0 after the end
        after = np.zeros_like(level.rewards)
        going = ~level.ended
        after[level.parents[going], level.chosen[going]] = values
        psi = reward(level.log_probs, level.rewards, c) + gamma * after
        # logaddexp, not log(sum(exp)): with a small c, exp overflows
        values = np.logaddexp.reduce(psi, axis=1)
        policies.append(psi - values[:, None])
    return {
        "sequences": np.concatenate([level.finished for level in levels]),
        "lengths": np.concatenate([np.full(len(level.finished), t + 1) for t, level in enumerate(levels)]),
        "log_probs": _sum_along(levels, policies[::-1]),
        "prior_log_probs": _sum_along(levels, [level.log_probs for level in levels]),
        "task_returns": _sum_along(levels, [level.rewards for level in levels]),
        "c": c,
        "log_z": float(values[0]),
    }


def solve_if_small(task: Task, prior: Prior, c: float) -> dict[str, Any] | None:
    """Return what `solve` returns, or None where there are too many sequences."""
    try:
        return solve(task, prior, c) if enumerable(task) else None
    except TooManySequences:  # a mask left more than hoped for
        return None


def objective(solution: dict[str, Any], log_probs: NDArray[np.floating[Any]]) -> float:
    """Return J = E_pi[R / c] - KL(pi || p) of a policy, log pi [M] on `solution["sequences"]`; <= log_z at gamma 1."""
    log_pi = _check_policy(solution, log_probs)
    task_rewards = scaled(solution["task_returns"], solution["c"])
    return float(np.exp(log_pi) @ task_rewards) - _kl(log_pi, solution["prior_log_probs"])


def kl_policy_optimum(solution: dict[str, Any], log_probs: NDArray[np.floating[Any]]) -> float:
    """Return KL(pi || optimum) of a policy with log pi [M] on `solution["sequences"]`; log_z - J at gamma 1."""
    return _kl(_check_policy(solution, log_probs), solution["log_probs"])


def kl_optimum_policy(solution: dict[str, Any], log_probs: NDArray[np.floating[Any]]) -> float:
    """Return KL(optimum || pi): infinite for a policy that never generates something that the optimum does."""
    return _kl(solution["log_probs"], _check_policy(solution, log_probs))


def _kl(log_p: Floats, log_q: Floats) -> float:
    # -inf - -inf would be NaN, so the sum leaves out what pi never generates
    some = log_p > -np.inf  # 0 log 0 = 0
    return float(np.exp(log_p[some]) @ (log_p[some] - log_q[some]))


def _check_policy(solution: dict[str, Any], log_probs: NDArray[np.floating[Any]]) -> Floats:
    """Return log pi as float64 [M]. Raise ValueError where they are not those of all sequences."""
    # float64: J is compared with log Z, to more digits than float32 has
    log_pi = np.asarray(log_probs, dtype=np.float64)
    if log_pi.shape != solution["log_probs"].shape:
        wanted = list(solution["log_probs"].shape)
        raise ValueError(f"log pi must have shape {wanted}, one for each sequence, not {list(log_pi.shape)}.")
    total = np.exp(log_pi).sum()
    if not abs(total - 1) < SUM_TOLERANCE:
        raise ValueError(f"The probabilities of all sequences must sum to 1; this policy's sum to {total:.6g}.")
    return log_pi


def _enumerate_levels(task: Task, prior: Prior) -> list[_Level]:
    """List the prefixes by length, from the empty one."""
    tokens = np.full((1, task.length), task.vocab.start)  # [n, L]
    last, state = tokens[:, 0], prior.initial_state(1)
    weights = np.array(list(task.weights.values()))
    levels: list[_Level] = []
    # all prefixes of one length go on together: one batch of the prior, not one call a prefix
    sequences = 0
    for step in range(task.length):
        rows, state = prior.step(last, state)
        mask = task.action_mask(tokens, np.full(len(tokens), step))
        allowed = np.ones(rows.shape, np.bool_) if mask is None else mask != 0
        parents, chosen = np.nonzero(allowed)
        # checked level by level: a task's mask or end token may keep the tree far below V ** length
        if sequences + len(parents) > MAX_SEQUENCES:
            raise TooManySequences(f"Too many sequences to enumerate: over {MAX_SEQUENCES:,} after {step + 1} tokens.")
        children = tokens[parents]
        children[:, step] = chosen
        rewards = np.zeros(rows.shape)
        rewards[parents, chosen] = task.step_terms(children, np.full(len(children), step)) @ weights
        ended = np.full(len(children), step + 1 == task.length)
        if task.vocab.end is not None:
            ended |= chosen == task.vocab.end
        log_probs = np.where(allowed, allowed_log_probs(rows, mask).astype(np.float64), -np.inf)
        levels.append(_Level(log_probs, rewards, parents, chosen, ended, children[ended]))
        sequences += int(ended.sum())
        # only the sequences that go on; those that ended stand in their level
        tokens, last, state = children[~ended], chosen[~ended], tuple(part[parents[~ended]] for part in state)
        if not len(tokens):
            break
    return levels


def _sum_along(levels: list[_Level], tables: list[Floats]) -> Floats:
    """Sum [n, V] tables along each sequence, [M]."""
    so_far, finished = np.zeros(1), []
    for level, table in zip(levels, tables):
        sums = so_far[level.parents] + table[level.parents, level.chosen]
        finished.append(sums[level.ended])
        so_far = sums[~level.ended]
    return np.concatenate(finished)


class ExactVectorEnv(SequenceTutorVectorEnv):
    """Generate N sequences at once, each as ExactEnv specifies."""

    user_keywords = {"prior": (*SequenceTutorVectorEnv.user_keywords["prior"], "lstm")}

    def __init__(
        self,
        *,
        num_envs: int = 1,
        vocab_size: int = 3,
        length: int = LENGTH,
        seed: int = 0,
        c: float = 1.0,
        term_weights: dict[str, float] | None = None,
        task: Task | None = None,
        prior: str | os.PathLike[str] | Prior | None = None,
        obs_mode: str = "token",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        flat_infos: bool = False,
        infos: str = "full",
    ) -> None:
        super().__init__(
            *_fill_in(task, prior, vocab_size, length, seed, term_weights), num_envs=num_envs, c=c, obs_mode=obs_mode,
            autoreset_mode=autoreset_mode, render_mode=render_mode, flat_infos=flat_infos, infos=infos,
        )

    def solution(self, gamma: float = 1.0) -> dict[str, Any]:
        """Compute the optimum by enumeration, as `solve` returns it."""
        return solve(self.task, self.prior, self.c, gamma)


class ExactEnv(SequenceTutorEnv):
    """Generate a sequence of a small random task whose optimum is known.

    ## Description
    A vocabulary of a few tokens, a horizon of a few steps, a prior that is a table over all prefixes and a reward
    that is a table over all prefixes, both standard normal and both from `seed`. All sequences can be enumerated, so
    any agent can be compared with the optimum, in seconds. `objective`, `kl_policy_optimum` and `kl_optimum_policy` of
    this module evaluate a policy from its log pi of all sequences.

    >>> import gymnasium as gym
    >>> env = gym.make("seqtutor_envs:SeqTutor-Exact-v0", vocab_size=2, length=3)
    >>> env.action_space, env.observation_space
    (Discrete(2), Discrete(3))
    >>> solution = env.unwrapped.solution()
    >>> solution["sequences"].tolist()[:3]
    [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    >>> j = objective(solution, solution["log_probs"])  # of the optimal policy
    >>> round(j - solution["log_z"], 9)
    0.0

    ## Action Space
    `Discrete(V)`: the next token, V = `vocab_size`.

    ## Observation Space
    With `obs_mode="token"`, the default, `Discrete(V + 1)`: the last token; V, the start token, at the start. The other
    modes and the infos are those of every environment: see `help(seqtutor_envs.env.SequenceTutorEnv)`.

    ## Rewards
    log p(a | s) + r_T(s, a) / c, in nats. r_T is one term, `prefix`: the table's number of the prefix that ends with a.

    Recommended are c = 1 to 5. By enumeration of the default task: below c = .72 samples of the optimum hold fewer
    than half as many distinct sequences as samples of the prior; at c = 10 the prior is .03 nats from the optimum.

    ## Starting State
    The start token, no token chosen. Deterministic, as is everything after it.

    ## Episode End
    `terminated` after `length` tokens; never truncated.

    ## Arguments
    | keyword | default | meaning |
    |---|---|---|
    | `vocab_size`, `length` | 3, 4 | V and the horizon; at most 1,000,000 sequences |
    | `seed` | 0 | of the two tables (`reset(seed=...)` changes nothing) |
    | `c` | 1.0 | temperature |
    | `obs_mode` | "token" | "token", "prefix", "dict" or "one_hot" |
    | `term_weights` | None | {"prefix": weight} |
    | `task`, `prior` | None | a Task or Prior of your own in place of the random one; prior="lstm": a random LSTM |
    | `render_mode` | None | "ansi" or "rgb_array" |
    | `flat_infos` | False | True: infos of numbers only, nothing nested, for TorchRL |

    `gymnasium.make_vec` takes besides `num_envs`, `autoreset_mode` and `infos`.

    ## Version History
    - v0: first version.
    """

    vector_class = ExactVectorEnv

    def __init__(
        self,
        *,
        vocab_size: int = 3,
        length: int = LENGTH,
        seed: int = 0,
        c: float = 1.0,
        term_weights: dict[str, float] | None = None,
        task: Task | None = None,
        prior: str | os.PathLike[str] | Prior | None = None,
        obs_mode: str = "token",
        render_mode: str | None = None,
        flat_infos: bool = False,
    ) -> None:
        super().__init__(
            *_fill_in(task, prior, vocab_size, length, seed, term_weights), c=c, obs_mode=obs_mode,
            render_mode=render_mode, flat_infos=flat_infos,
        )

    def solution(self, gamma: float = 1.0) -> dict[str, Any]:
        """Compute the optimum by enumeration, as `solve` returns it."""
        return solve(self.task, self.prior, self.c, gamma)
