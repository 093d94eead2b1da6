"""Check arguments where they enter the library. Every error is one line that names the choices or the fix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.task import Task
from seqtutor_envs.vocab import TokenVocab

if TYPE_CHECKING:  # it loads numba, which commands that check an argument do without
    from seqtutor_envs.prior import Prior


def positive_integer(name: str, value: Any) -> int:
    """Raise ValueError unless `value` is an integer of at least 1."""
    # bool is a subclass of int: num_envs=True would otherwise count as 1
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, not {value!r}.")
    return int(value)


def temperature(c: Any) -> float:
    """Raise ValueError unless c is a positive, finite number."""
    if isinstance(c, bool) or not isinstance(c, (int, float, np.number)) or not 0 < c < math.inf:
        raise ValueError(f"c must be a positive, finite number, not {c!r}.")
    return float(c)


def one_of(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """Raise ValueError, with the choices, unless `value` is one of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}.")
    return value


def same_vocabulary(task: Task, prior: Prior) -> None:
    """Raise ValueError, naming the first difference, unless task and prior have the same tokens and the same end."""
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
    raise ValueError(f"Task and prior must have the same vocabulary; task against prior: {difference}.")


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
    """Raise ValueError where a mask [n, V] leaves no token."""
    stuck = np.flatnonzero(~mask.any(axis=1))
    if len(stuck):
        prefix = tokens[stuck[0], : steps[stuck[0]]].tolist()
        raise ValueError(f"{type(task).__name__}.action_mask allows no token after {prefix}.")


def finite_reward(task: Task, task_reward: NDArray[np.float64], terms: NDArray[np.float64]) -> None:
    """Raise ValueError, naming the terms [n, K], where a reward is not finite."""
    # one sum tells: it is NaN or infinite if any summand is, and costs less than a test of each
    if not math.isfinite(np.add.reduce(task_reward)):
        raise not_finite(task, terms)


def not_finite(task: Task, terms: NDArray[np.float64]) -> ValueError:
    """Make the error for terms [n, K] that are not finite, or whose weighted sum is not; it names them."""
    bad = [name for name, column in zip(task.weights, terms.T) if not np.isfinite(column).all()]
    terms_said = f"its terms {', '.join(bad)} are not" if bad else "their weighted sum overflows"
    return ValueError(f"{type(task).__name__} must pay a finite reward; {terms_said}.")


def wrong_shape(what: str, array: NDArray[Any], shape: tuple[int, ...]) -> ValueError:
    """Make the error for an array whose shape is not the one that `what` must return."""
    return ValueError(f"{what} must return an array {list(shape)}, not {list(array.shape)}.")


def first_seed(seed: int | list[int | None] | None, num_envs: int) -> int | None:
    """Return the seed of the generator that serves all sequences: the first integer of a list with one for each.

    Raises ValueError at a list of another length.
    """
    if seed is None or isinstance(seed, (int, np.integer)):
        return None if seed is None else int(seed)
    if len(seed) != num_envs:
        raise ValueError(f"A list of seeds must have {num_envs}, one for each sequence, not {len(seed)}.")
    # one generator serves all sequences, so the other seeds of the list have nothing to seed
    return next((int(one) for one in seed if one is not None), None)


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
