"""What the tests of environments share: the ids, toy tasks, a walk over two environments, an exact comparison."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import seqtutor_envs  # noqa: F401  registers the ids
from seqtutor_envs.prior import TablePrior
from seqtutor_envs.task import Task, named_weights
from seqtutor_envs.vocab import TokenVocab

REGISTERED = sorted(id for id in gymnasium.registry if id.startswith("SeqTutor-"))
PMO = {f"SeqTutor-PMO-{name}-v0" for name in ("isomers_c9h10n2o2pf2cl", "gsk3b", "osimertinib_mpo")}
IDS = [id for id in REGISTERED if "PMO" not in id or id in PMO]
SLOW_IDS = [pytest.param(id, marks=pytest.mark.slow) for id in REGISTERED if id not in IDS]  # as those three
OBS_MODES = ("token", "prefix", "dict", "one_hot")
# the ids whose default is another obs_mode are the same environments in the others, and so are those of PMO
ID_OBS_MODES = [
    (id, mode)
    for id in IDS
    for mode in OBS_MODES
    if ("OneHot" not in id or mode == "one_hot") and ("PMO" not in id or mode == "token")
]
SLOW_ID_OBS_MODES = [pytest.param(id, "token", marks=pytest.mark.slow) for id in REGISTERED if id not in IDS]
AUTORESET_MODES = ("NextStep", "SameStep", "Disabled")
# what the horizon's keyword is called
HORIZON = {id: "max_length" if "SMILES" in id or "PMO" in id else "length" for id in REGISTERED}


class ToyTask(Task):
    """Sequences of a, b, c that end with "." or at the horizon, so lengths differ.

    With `masked`, "." may not come first and no token may follow itself.
    """

    vocab = TokenVocab(("a", "b", "c", "."), end=3)

    def __init__(self, length=5, masked=False, weights=None):
        self.length = length
        self.masked = masked
        self.weights = named_weights(["letter", "step"], weights)

    def step_terms(self, tokens, steps):
        chosen = tokens[np.arange(len(tokens)), steps]
        return np.stack([np.array([1.0, 0.0, -1.0, 0.5])[chosen], 0.25 * steps], axis=1)

    def action_mask(self, tokens, steps):
        if not self.masked:
            return None
        mask = np.ones((len(tokens), 4), np.int8)
        mask[steps == 0, 3] = 0
        last = tokens[np.arange(len(tokens)), steps - 1]
        mask[steps > 0, last[steps > 0]] = 0
        return mask


def toy_prior(length=5, seed=7, impossible=True):
    """Random logits over all prefixes; with `impossible`, "c" after the start has probability 0."""
    logits = np.random.default_rng(seed).standard_normal((sum(4**t for t in range(length)), 4))
    if impossible:
        logits[0, 2] = -np.inf
    return TablePrior(ToyTask.vocab, logits, length)


def walk(envs, calls, seed=0):
    """Steps the given vector environments with the same random allowed actions; yields (name of the call, results).

    All are reset first and half-way; sequences that end are reset by mask where the autoreset mode is Disabled.
    """
    rng = np.random.default_rng(seed)
    num_envs, size = envs[0].num_envs, envs[0].single_action_space.n
    allowed = np.ones((num_envs, size), np.int8)

    def called(call, results):
        infos = results[0][-1]
        if "action_mask" in infos:
            allowed[infos["_action_mask"]] = infos["action_mask"][infos["_action_mask"]]
        return call, results

    yield called("reset", [env.reset(seed=seed) for env in envs])
    for t in range(calls):
        if t == calls // 2:
            yield called("reset in between", [env.reset() for env in envs])
        actions = (rng.random((num_envs, size)) * allowed).argmax(axis=1)
        results = [env.step(actions) for env in envs]
        yield called("step", results)
        over = results[0][2]
        if over.any() and envs[0].metadata["autoreset_mode"].value == "Disabled":
            yield called("reset some", [env.reset(options={"reset_mask": over.copy()}) for env in envs])


def of_some(infos, mask):
    """Infos of a batch as they would be if only the sequences of `mask` [N] had any."""
    kept = {}
    for key, values in infos.items():
        present = infos.get(f"_{key}", np.zeros(len(mask), bool)) & mask
        if present.any() and isinstance(values, dict):
            kept |= {key: of_some(values, mask), f"_{key}": present}
        elif present.any():
            values = values.copy()
            values[~present] = None if values.dtype == object else 0
            kept |= {key: values, f"_{key}": present}
    return kept


def assert_same(a, b, at="result"):
    """Types, keys, shapes, dtypes, integers, masks and texts exactly; floats to 1e-5."""
    assert type(a) is type(b), at
    if isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            assert_same(a[key], b[key], f"{at}[{key!r}]")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), at
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{at}[{i}]")
    elif isinstance(a, np.ndarray):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), at
        if a.dtype == object:
            assert_same(list(a), list(b), at)
        elif np.issubdtype(a.dtype, np.floating):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=at)
        else:
            np.testing.assert_array_equal(a, b, err_msg=at)
    elif isinstance(a, float):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=at)
    else:
        assert a == b, at
