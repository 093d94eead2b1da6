"""Tasks of any size whose optimum is a given policy: planted tasks, and their environment.

N sequences, T steps, V tokens; log p and log pi* in nats. The undivided reward is c (log pi*(a | s) - log p(a | s)), so
log p + R / c of a whole sequence is log pi* of it. Then log Z = log sum_x pi*(x) = 0 for every c, the optimum is pi*,
and J(pi) = -KL(pi || pi*).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from seqtutor_envs import checks
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.exact import draw_grid
from seqtutor_envs.prior import Prior, State, list_shipped, load_prior
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR, allowed_log_probs
from seqtutor_envs.task import Task, named_weights
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vector_env import SequenceTutorVectorEnv
from seqtutor_envs.vocab import Floats, Tokens

LENGTH = 32
SHIPPED = ("planted-melody", "planted-smiles")  # policies, found by the prior's tokens
NEGLIGIBLE = 1e-6  # probability in a row that pi* may give to tokens that the prior forbids: float32 sees no more
TRIED = 16  # sequences of pi* whose prefixes are checked when a task is made
EVERY = checks.Range(1, whole=True, optional=True)


class PlantedPolicy(Prior):
    """Compute pi* as a planted task scores it.

    Tokens that pi* holds impossible get LOG_PROB_FLOOR, then each row is normalised in float64: log Z is 0 to the
    accuracy of that. A state is the prior's, followed by that of the policy given.

    Args:
        policy: pi*.
        prior: p, over the same tokens.
        length: the horizon of the task.
    """

    def __init__(self, policy: Prior, prior: Prior, length: int) -> None:
        checks.same_vocabulary(policy, prior, "policy")
        self.inner, self.prior, self.vocab, self.length = policy, prior, prior.vocab, length
        self._parts = len(prior.initial_state(0))  # of the joint state, those that are the prior's

    def initial_state(self, n: int) -> State:
        return (*self.prior.initial_state(n), *self.inner.initial_state(n))

    def step(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], State]:
        _, log_pi, state = self.step_both(tokens, state)
        return log_pi.astype(np.float32), state

    def step_both(self, tokens: Tokens, state: State) -> tuple[NDArray[np.float32], Floats, State]:
        """Feed tokens [N]; return the rows of log p and log pi*, both [N, V], and the next state.

        Raises ValueError where pi* allows what the prior forbids.
        """
        rows, prior_state = self.prior.step(tokens, state[: self._parts])
        log_p = allowed_log_probs(rows, None)
        rows, policy_state = self.inner.step(tokens, state[self._parts :])
        log_pi = allowed_log_probs(rows, None).astype(np.float64)
        forbidden = log_p <= LOG_PROB_FLOOR
        if forbidden.any():
            lost = np.exp(log_pi, where=forbidden, out=np.zeros_like(log_pi))
            if lost.sum(axis=1).max() > NEGLIGIBLE:
                token = self.vocab.tokens[int(lost.max(axis=0).argmax())]
                raise ValueError(
                    f"The policy allows what the prior forbids: token {token!r} has probability {lost.max():.3g} where "
                    "the prior's is 0; give a policy that is 0 there too, or another prior."
                )
        # no row is near -inf throughout, so exp needs no shift
        log_pi -= np.log(np.exp(log_pi).sum(axis=1, keepdims=True))
        return log_p, log_pi, (*prior_state, *policy_state)


class _Seen(NamedTuple):
    """Hold what `step_terms` was asked last, so that the next call goes on from there: M prefixes."""

    prefixes: Tokens  # [M, T], start id as filler
    state: State  # arrays [M, ...], of PlantedPolicy: all but the last token were fed
    unpaid: Floats  # [M], of the block that is not complete

    def find(self, prefixes: Tokens) -> Tokens:
        """Return the row of each of prefixes [N, T]; -1 where it was not seen."""
        n = len(prefixes)
        if prefixes.shape == self.prefixes.shape:
            # an environment asks for the same sequences in the same order as long as none of them ends
            found = np.where((prefixes == self.prefixes).all(axis=1), np.arange(n), -1)
        else:
            found = np.full(n, -1)
        missing = np.flatnonzero(found < 0)
        if len(missing) and prefixes.shape[1:] == self.prefixes.shape[1:]:
            rows = {row.tobytes(): i for i, row in enumerate(self.prefixes)}
            found[missing] = [rows.get(prefixes[i].tobytes(), -1) for i in missing]
        return found


class PlantedTask(Task):
    """Pay one term, `planted`: c (log pi* - log p) of the newest tokens.

    An environment of this task must have the same prior and the same c.

    Args:
        prior: p: a shipped name, a path or a Prior.
        policy: pi*, likewise; None is the shipped one of the prior's vocabulary.
        c: temperature.
        length: the horizon.
        every: tokens that are paid for together; None, or a number beyond `length`, pays one sum at the end. An
            unfinished block is paid when the sequence ends.
        weights: {"planted": weight}; only at 1 is pi* the optimum.

    Raises:
        ValueError: the two have other tokens, or pi* allows what the prior forbids. The prefixes of 16 of its
            sequences are tried at once, others when a sequence gets there.
    """

    def __init__(
        self, prior: str | os.PathLike[str] | Prior, policy: str | os.PathLike[str] | Prior | None = None, *,
        c: float = 1.0, length: int = LENGTH, every: int | None = None, weights: Mapping[str, float] | None = None,
    ) -> None:
        self.prior, self.c = load_prior(prior), checks.temperature(c)
        self.vocab, self.length = self.prior.vocab, checks.positive_integer("length", length)
        self.every = min(EVERY.check("every", every) or self.length, self.length)
        self.weights = named_weights(["planted"], weights)
        self.policy = PlantedPolicy(_find_policy(policy, self.prior), self.prior, self.length)
        self.policy.sample(TRIED, seed=0)  # raises where it allows what the prior forbids
        self._seen = _Seen(np.empty((0, self.length), np.int64), self.policy.initial_state(0), np.empty(0))

    def solution(self) -> dict[str, Any]:
        """Return the optimum: `policy`, a Prior, and `log_z`, 0. Raise ValueError where the term's weight is not 1."""
        if self.weights["planted"] != 1.0:
            raise ValueError("The optimum of a planted task is known only where the weight of 'planted' is 1.")
        return {"policy": self.policy, "log_z": 0.0}

    @one_thread()
    def step_terms(self, tokens: Tokens, steps: Tokens) -> Floats:
        # the networks' states are kept: to feed them the whole prefix at each step would cost T times as much
        each = np.arange(len(tokens))
        last = np.where(steps > 0, tokens[each, steps - 1], self.vocab.start)
        state, unpaid = self._recall(tokens, steps)
        paid, unpaid, state = self._pay(last, tokens[each, steps], steps, state, unpaid)
        self._seen = _Seen(self._prefixes(tokens, steps + 1), state, unpaid)
        return paid[:, None]

    @one_thread()
    def all_terms(self, tokens: Tokens) -> Floats:
        return self._pay_all(tokens)[0][:, :, None]

    def _prefixes(self, tokens: Tokens, counts: Tokens) -> Tokens:
        """Return the first counts [N] tokens of each sequence, [N, T] with the start id as filler."""
        return np.where(np.arange(tokens.shape[1]) < counts[:, None], tokens, self.vocab.start)

    def _recall(self, tokens: Tokens, steps: Tokens) -> tuple[State, Floats]:
        """Return the state and the unpaid sum [N] of the first steps [N] tokens, kept or computed again."""
        seen, before = self._seen, self._prefixes(tokens, steps)
        rows = seen.find(before)
        if np.array_equal(rows, np.arange(len(seen.unpaid))):
            return seen.state, seen.unpaid
        # copies: what is written here must be ours
        state, unpaid = tuple(np.array(part) for part in self.policy.initial_state(len(tokens))), np.zeros(len(tokens))

        def put(where: NDArray[np.bool_], parts: State, sums: Floats) -> None:
            unpaid[where] = sums
            for whole, part in zip(state, parts):
                whole[where] = part

        known = rows >= 0
        put(known, tuple(part[rows[known]] for part in seen.state), seen.unpaid[rows[known]])
        for step in np.unique(steps[~known]):
            here = ~known & (steps == step)
            _, parts, sums = self._pay_all(before[here, :step])
            put(here, parts, sums)
        return state, unpaid

    def _pay_all(self, tokens: Tokens) -> tuple[Floats, State, Floats]:
        """Pay for every step of tokens [N, T], [N, T]; 0 after an end token.

        Return besides the state before the last token is fed and the unpaid sum, of sequences without an end token.
        """
        n, horizon = tokens.shape
        paid, live, last = np.zeros((n, horizon)), np.arange(n), np.full(n, self.vocab.start)
        state, unpaid = self.policy.initial_state(n), np.zeros(n)
        for t in range(horizon):
            chosen = tokens[live, t]
            paid[live, t], unpaid, state = self._pay(last, chosen, np.full(len(live), t), state, unpaid)
            last, going = chosen, chosen != self.vocab.end
            if not going.all():  # a sequence that is over leaves the batch
                live, last, unpaid = live[going], last[going], unpaid[going]
                state = tuple(part[going] for part in state)
        return paid, state, unpaid

    def _pay(
        self, last: Tokens, chosen: Tokens, steps: Tokens, state: State, unpaid: Floats
    ) -> tuple[Floats, Floats, State]:
        """Feed the last tokens [N]; return what chosen [N] are paid, what is left to pay, and the next state."""
        log_p, log_pi, state = self.policy.step_both(last, state)
        each = np.arange(len(chosen))
        unpaid = unpaid + self.c * (log_pi[each, chosen] - log_p[each, chosen])
        due = ((steps + 1) % self.every == 0) | (steps + 1 == self.length) | (chosen == self.vocab.end)
        return np.where(due, unpaid, 0.0), np.where(due, 0.0, unpaid), state

    def render_rgb(self, tokens: Tokens, episode_return: float) -> NDArray[np.uint8]:
        return draw_grid(tokens, len(self.vocab), self.length)


def _find_policy(policy: str | os.PathLike[str] | Prior | None, prior: Prior) -> Prior:
    """Load the policy; None is the shipped one that has the prior's tokens. Raise ValueError if there is none."""
    if policy is not None:
        return load_prior(policy)
    for name in SHIPPED:
        shipped = load_prior(name)
        if shipped.vocab == prior.vocab:
            return shipped
    raise ValueError(f"None of {', '.join(SHIPPED)} has this prior's tokens: give policy=, a Prior or a prior's file.")


class PlantedVectorEnv(SequenceTutorVectorEnv):
    """Generate N sequences at once, each as PlantedEnv specifies."""

    task_type = PlantedTask
    user_keywords = {**SequenceTutorVectorEnv.user_keywords, "policy": tuple(list_shipped())}
    task: PlantedTask

    def __init__(
        self,
        *,
        num_envs: int = 1,
        c: float = 1.0,
        prior: str | os.PathLike[str] | Prior = "melody",
        policy: str | os.PathLike[str] | Prior | None = None,
        length: int = LENGTH,
        every: int | None = None,
        term_weights: Mapping[str, float] | None = None,
        obs_mode: str = "token",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        flat_infos: bool = False,
        infos: str = "full",
    ) -> None:
        task = PlantedTask(prior, policy, c=c, length=length, every=every, weights=term_weights)
        super().__init__(
            task, task.prior, num_envs=num_envs, c=c, obs_mode=obs_mode, autoreset_mode=autoreset_mode,
            render_mode=render_mode, flat_infos=flat_infos, infos=infos,
        )

    def solution(self) -> dict[str, Any]:
        """Return the optimum: see PlantedTask.solution."""
        return self.task.solution()


class PlantedEnv(SequenceTutorEnv):
    """Generate a sequence of a task whose optimum is a given policy, at any length.

    ## Description
    The optimum of KL-controlled fine-tuning is known exactly only for toys that can be enumerated, such as those of
    `SeqTutor-Exact-v0`. Here it is put in: pi* is given, and the reward is what makes it the optimum. For every
    temperature c, log Z = 0, and J(pi) = -KL(pi || pi*) for every policy, at 16 tokens or 512. An agent's gap is -J.

    How hard that is depends on `every`. Paid at each token, every soft value is 0: each reward alone says what to do,
    which is a check that an agent works. Paid in blocks or at the end, the agent must find out which token earned it.

    >>> import gymnasium as gym
    >>> env = gym.make("seqtutor_envs:SeqTutor-Planted-v0", length=4, every=2)
    >>> env.action_space, env.observation_space
    (Discrete(38), Discrete(39))
    >>> solution = env.unwrapped.solution()
    >>> tokens, lengths = solution["policy"].sample(1, seed=0)
    >>> _ = env.reset()
    >>> steps = [env.step(token) for token in tokens[0]]
    >>> [info["task_reward"] != 0.0 for *_, info in steps]  # each second token is paid, for two
    [False, True, False, True]
    >>> from seqtutor_envs.prior import token_log_probs
    >>> log_pi = token_log_probs(solution["policy"].log_probs(tokens), tokens).sum()
    >>> bool(abs(sum(reward for _, reward, *_ in steps) - log_pi) < 1e-5)  # a whole sequence's reward is its log pi*
    True

    ## Action Space
    `Discrete(V)`: the next token of the prior's vocabulary.

    ## Observation Space
    With `obs_mode="token"`, the default, `Discrete(V + 1)`: the last token; V, the start token, at the start. The other
    modes and the infos are those of every environment: see `help(seqtutor_envs.env.SequenceTutorEnv)`.

    ## Rewards
    log p(a | s) + r_T(s, a) / c, in nats. r_T is one term, `planted`: the sum of c (log pi* - log p) over the tokens
    that are not yet paid, at the end of every block of `every` tokens and at the end of the sequence; else 0. Tokens
    that pi* holds impossible have log pi* = -87.3, the floor of log p, and each row of pi* is normalised. A pi* that
    allows what the prior forbids is an error.

    ## Starting State
    The start token, no token chosen. Deterministic, as is everything after it.

    ## Episode End
    `terminated` by the vocabulary's end token, if it has one, or after `length` tokens; never truncated.

    ## Arguments
    | keyword | default | meaning |
    |---|---|---|
    | `prior` | "melody" | a shipped name, a path, or a Prior |
    | `policy` | None | pi*: a Prior, a path or a shipped name; None: "planted-melody" or "planted-smiles", by tokens |
    | `length` | 32 | the horizon; 100 leaves molecules their usual room |
    | `every` | None | tokens paid for together, from 1; None: all at the end |
    | `c` | 1.0 | temperature; it scales r_T, and changes neither the rewards r_T / c nor the optimum |
    | `obs_mode` | "token" | "token", "prefix", "dict" or "one_hot" |
    | `term_weights` | None | {"planted": weight}; only at 1 is the optimum pi* |
    | `render_mode` | None | "ansi" or "rgb_array" |
    | `flat_infos` | False | True: infos of numbers only, nothing nested, for TorchRL |

    `gymnasium.make_vec` takes besides `num_envs`, `autoreset_mode` and `infos`.

    ## Version History
    - v0: first version.
    """

    vector_class = PlantedVectorEnv

    def __init__(
        self,
        *,
        c: float = 1.0,
        prior: str | os.PathLike[str] | Prior = "melody",
        policy: str | os.PathLike[str] | Prior | None = None,
        length: int = LENGTH,
        every: int | None = None,
        term_weights: Mapping[str, float] | None = None,
        obs_mode: str = "token",
        render_mode: str | None = None,
        flat_infos: bool = False,
    ) -> None:
        task = PlantedTask(prior, policy, c=c, length=length, every=every, weights=term_weights)
        super().__init__(task, task.prior, c=c, obs_mode=obs_mode, render_mode=render_mode, flat_infos=flat_infos)

    def solution(self) -> dict[str, Any]:
        """Return the optimum: see PlantedTask.solution."""
        found: dict[str, Any] = self.task.solution()
        return found
