"""Check arguments where they enter the library. Every error is one line that names the choices or the fix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # task.py imports this file; the prior loads numba, which commands that check an argument do without
    from seqtutor_envs.prior import Prior
    from seqtutor_envs.task import Task
    from seqtutor_envs.vocab import TokenVocab

# Nats that one step may pay at most, r_T / c. Agents learn in float32, which holds 1e9 to within 64 nats and whose
# largest number, 3e38, is above the square of a whole return.
MAX_REWARD = 1e9
SUM_TOLERANCE = 1e-3  # of the probabilities in a row; float32 log-probabilities err by 1e-6 or so


class Diverged(ArithmeticError, ValueError):
    """Say in one line that learning met a number that is not finite. What was learned before is kept."""


@dataclass(frozen=True)
class Range:
    """Describe the numbers that an argument takes, the ends included. bool is no number, numpy's numbers are.

    Attributes:
        low, high: the ends; math.inf is none, but the number must be finite.
        whole: whether it is an integer.
        above: whether `low` itself is left out.
        optional: whether None is taken too.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    above: bool = False
    optional: bool = False

    def check(self, name: str, value: Any) -> Any:
        """Return `value` as int or float. Raise ValueError, naming the argument, unless it is one of these numbers."""
        if value is None and self.optional:
            return None
        number: Any = value  # mypy knows no comparison of numbers.Real
        # bool is a subclass of int: num_envs=True would otherwise count as 1
        if isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool):
            # NaN compares as false with anything
            inside = self.low <= number <= self.high and -math.inf < number < math.inf
            if inside and not (self.above and number == self.low):
                try:
                    return int(number) if self.whole else float(number)
                except OverflowError:  # an integer beyond float's largest number
                    pass
        raise ValueError(f"{name} must be {self}, not {shorten(repr(value), 80, placeholder='...')}.")

    def __str__(self) -> str:
        kind = "an integer" if self.whole else "a positive, finite number" if self.low > 0 else "a finite number"
        low, high = (f"{end:,}" if self.whole else f"{end:g}" for end in (self.low, self.high))
        if self.above:
            kind += f" above {low}" + (f" and at most {high}" if self.high < math.inf else "")
        elif self.high < math.inf:
            kind += f" from {low} to {high}"
        elif self.low > -math.inf:
            kind += f" of at least {low}"
        return kind + (" or None" if self.optional else "")


Ranges = Mapping[str, Range]  # by the argument's name
COUNT = Range(1, whole=True)
SEED = Range(0, 2**63 - 1, whole=True)  # torch takes no more
SEED_OR_NONE = Range(0, 2**63 - 1, whole=True, optional=True)
# smaller ones make rewards that float32 cannot tell apart, greater ones leave only the prior
TEMPERATURE = Range(1e-6, 1e6)
SCORE = Range(-MAX_REWARD, MAX_REWARD)  # a term's raw value or its weight


def numbers(ranges: Ranges, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` with the numbers that `ranges` names checked, as int or float. Raise ValueError at the first."""
    return {name: ranges[name].check(name, value) if name in ranges else value for name, value in given.items()}


def positive_integer(name: str, value: Any) -> int:
    """Raise ValueError unless `value` is an integer of at least 1."""
    return int(COUNT.check(name, value))


def temperature(c: Any) -> float:
    """Raise ValueError unless c is one of TEMPERATURE."""
    return float(TEMPERATURE.check("c", c))


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """Raise ValueError, with the choices, unless `value` is one of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}.")
    return value


def same_vocabulary(task: Task | Prior, prior: Prior, what: str = "task") -> None:
    """Raise ValueError, naming the first difference, unless both have the same tokens and the same end.

    `what` names the first in the error.
    """
    ours, theirs = task.vocab, prior.vocab
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        difference = f"{len(ours)} tokens against {len(theirs)}"
    elif ours.tokens != theirs.tokens:
        i = next(i for i, (a, b) in enumerate(zip(ours.tokens, theirs.tokens)) if a != b)
        difference = f"token {i} is {ours.tokens[i]!r} against {theirs.tokens[i]!r}"
    else:
        difference = f"the end token is {ours.end} against {theirs.end}"
    said = f"{what.capitalize()} and prior must have the same vocabulary; {what} against prior"
    raise ValueError(f"{said}: {difference}.")


def nothing_beside_task(given: Mapping[str, bool]) -> None:
    """Raise ValueError if keywords that describe a task were given together with `task`; `given`: name -> whether."""
    names = ", ".join(name for name, was_given in given.items() if was_given)
    if names:
        raise ValueError(f"A task brings its own {names}: give them to it, not beside `task`.")


def check_actions(actions: Any, num_envs: int, vocab: TokenVocab) -> NDArray[np.int64]:
    """Return actions as int64 [N], a copy. Raise ValueError unless they are N integers."""
    # no dtype here: asking for int64 would turn 1.7 into 1 without a word
    array = np.asarray(actions)
    if array.shape != (num_envs,) or array.dtype.kind not in "iu":
        found = f"{actions!r} ({array.dtype}, shape {list(array.shape)})"
        raise ValueError(f"Actions must be integers 0..{len(vocab) - 1} of shape [{num_envs}], not {found}.")
    # a copy: the caller may reuse its array while the environment still reads this one
    return array.astype(np.int64)


def refused_action(token: int, sequence: int, vocab: TokenVocab, allowed: NDArray[np.int8]) -> ValueError:
    """Make the error for a token that is out of range, or that allowed [V] forbids to a sequence."""
    if not 0 <= token < len(vocab):
        return ValueError(
            f"Action {token} of sequence {sequence} is out of range: actions are token ids 0..{len(vocab) - 1}."
        )
    what = f"Action {token} ({vocab.tokens[token]}) of sequence {sequence}"
    return ValueError(f"{what} is forbidden by the task here; allowed: {np.flatnonzero(allowed).tolist()}.")


def check_action_mask(task: Task, mask: NDArray[np.int8], tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> None:
    """Raise ValueError where a mask is not [n, V] or leaves no token."""
    if mask.shape != (shape := (len(tokens), len(task.vocab))):
        raise wrong_shape(f"{type(task).__name__}.action_mask", mask, shape)
    stuck = np.flatnonzero(~mask.any(axis=1))
    if len(stuck):
        prefix = tokens[stuck[0], : steps[stuck[0]]].tolist()
        raise ValueError(f"{type(task).__name__}.action_mask allows no token after {prefix}.")


def check_rewards(task: Task, task_rewards: NDArray[np.float64], terms: NDArray[np.float64], c: float) -> None:
    """Raise ValueError, naming a term, where a reward r_T / c [n] of terms [n, K] is NaN or beyond MAX_REWARD."""
    # the greatest is NaN if any is
    if not np.abs(task_rewards).max(initial=0.0) <= MAX_REWARD:
        raise bad_reward(task, terms, c)


def bad_reward(task: Task, terms: NDArray[np.float64], c: float) -> ValueError:
    """Make the error for terms [n, K] whose weighted sum over c is beyond MAX_REWARD; it names the worst term."""
    with np.errstate(over="ignore", invalid="ignore"):
        paid = np.abs(terms * np.array(list(task.weights.values())))
    # NaN first: whatever is added to it is lost
    row, column = np.unravel_index(np.argmax(np.where(np.isnan(paid), np.inf, paid)), paid.shape)
    name, value = list(task.weights)[column], terms[row, column]
    fix = "return a finite value" if not np.isfinite(value) else "scale the term or its weight down, or raise c"
    found = f"term {name} is {value:g} (weight {task.weights[name]:g}, c {c:g})"
    return ValueError(
        f"{type(task).__name__} must pay finite rewards r_T / c of at most {MAX_REWARD:g} nats; {found}: {fix}."
    )


def check_paid(rewards: NDArray[np.floating[Any]]) -> None:
    """Raise ValueError where an environment of somebody else's paid a reward that is NaN or beyond MAX_REWARD."""
    if not np.abs(rewards).max(initial=0.0) <= MAX_REWARD:
        worst = rewards[np.argmax(np.where(np.isnan(rewards), np.inf, np.abs(rewards)))]
        raise ValueError(f"The environment paid {worst:g}; rewards must be finite and at most {MAX_REWARD:g} nats.")


def check_log_probs(log_probs: NDArray[np.floating[Any]], what: str) -> None:
    """Raise ValueError where rows of log p [..., V] hold NaN or a probability above 1; cheap."""
    greatest = log_probs.max(initial=-math.inf)
    if not greatest <= SUM_TOLERANCE:
        raise ValueError(f"{what} must return normalised log-probabilities, in nats; it returned {greatest:g}.")


def check_normalised(rows: NDArray[np.floating[Any]], what: str) -> None:
    """Raise ValueError, with the sum, unless the probabilities of each row of log p [..., V] add up to one."""
    with np.errstate(over="ignore"):
        sums = np.exp(rows.astype(np.float64)).sum(axis=-1)
    wrong = sums[~(np.abs(sums - 1.0) <= SUM_TOLERANCE)]
    if wrong.size:
        raise ValueError(f"{what} must return normalised log-probabilities; those of a row sum to {wrong.flat[0]:g}.")


def wrong_shape(what: str, array: NDArray[Any], shape: tuple[int, ...]) -> ValueError:
    """Make the error for an array whose shape is not the one that `what` must return."""
    return ValueError(f"{what} must return an array {list(shape)}, not {list(array.shape)}.")


def first_seed(seed: Any, num_envs: int) -> int | None:
    """Return the seed of the generator that serves all sequences: the first integer of a list with one for each.

    Raises ValueError at a list of another length, and at what is no seed.
    """
    if not isinstance(seed, (list, tuple, np.ndarray)):
        return SEED_OR_NONE.check("seed", seed)
    if len(seed) != num_envs:
        raise ValueError(f"A list of seeds must have {num_envs}, one for each sequence, not {len(seed)}.")
    # one generator serves all sequences, so the other seeds of the list have nothing to seed
    checked = [SEED_OR_NONE.check("seed", one) for one in seed]
    return next((one for one in checked if one is not None), None)


def reset_mask(options: dict[str, Any] | None, num_envs: int) -> NDArray[np.bool_]:
    """Return which sequences to reset, bool [N]: all, or `options["reset_mask"]`. Errors are SyncVectorEnv's."""
    if options is None or "reset_mask" not in options:
        return np.ones(num_envs, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"options['reset_mask'] must be a numpy array of dtype bool, not {mask!r}.")
    if mask.shape != (num_envs,):
        raise ValueError(f"options['reset_mask'] must have shape ({num_envs},), not {mask.shape}.")
    if not mask.any():
        raise ValueError("options['reset_mask'] must name at least one sequence.")
    return mask
