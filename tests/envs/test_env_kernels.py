"""What one token changes, compiled, against plain loops over numpy's arrays."""

from __future__ import annotations

import numpy as np
import pytest

from seqtutor_envs import env_kernels
from seqtutor_envs import rewards as formula

N, L, V, K = 7, 5, 4, 3


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "tokens": rng.integers(0, V, (N, L)),
        "steps": rng.integers(0, L, N),
        "over": rng.random(N) < 0.4,
        "chosen": rng.integers(0, V, N),
        "terms": rng.standard_normal((N, K)),
        "weights": rng.standard_normal(K),
        "rows": -np.abs(rng.standard_normal((N, V))).astype(np.float32),  # log p
        "last": np.full(N, V),
        "returns": rng.standard_normal(N),
    }


def advanced(a, length=L, end=2, c=0.5):
    paid = a["terms"], a["weights"], c, a["rows"]
    return env_kernels.advance(*paid, a["over"], a["chosen"], a["steps"], a["last"], a["returns"], length, end)


@pytest.mark.parametrize("bad", [-1, V, 1])
def test_the_first_token_that_cannot_be_is_named_and_none_is_written(bad):
    a = arrays()
    live = np.flatnonzero(~a["over"])
    allowed = np.ones((N, V), np.int8)
    allowed[:, 1] = 0
    a["chosen"][:] = 0
    a["chosen"][a["over"]] = -9  # of those nothing is read
    a["chosen"][live[1:3]] = bad
    before = a["tokens"].copy()
    assert env_kernels.append(a["tokens"], a["steps"], a["over"], a["chosen"], allowed, V) == live[1]
    np.testing.assert_array_equal(a["tokens"], before)


@pytest.mark.parametrize("seed", range(5))
def test_rewards_counts_and_ends_are_those_of_a_loop(seed):
    a, before = arrays(seed), arrays(seed)
    table, rewards, ended, count = advanced(a)
    for n in range(N):
        if before["over"][n]:
            assert not table[:, n].any() and not rewards[n] and not ended[n] and a["over"][n] and a["last"][n] == V
            assert (a["steps"][n], a["returns"][n]) == (before["steps"][n], before["returns"][n])
            continue
        log_p, task_reward = before["rows"][n, before["chosen"][n]], before["terms"][n] @ before["weights"] / 0.5
        np.testing.assert_allclose(table[:, n], [log_p, task_reward, *before["terms"][n]])
        assert a["returns"][n] == pytest.approx(before["returns"][n] + log_p + task_reward)
        assert rewards[n] == pytest.approx(log_p + task_reward)
        assert (a["steps"][n], a["last"][n]) == (before["steps"][n] + 1, before["chosen"][n])
        assert ended[n] == a["over"][n] == (before["steps"][n] + 1 == L or before["chosen"][n] == 2)
    assert count == ended.sum()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308])
def test_where_a_reward_is_not_finite_nothing_is_counted(value):
    a, before = arrays(), arrays()
    a["terms"][np.flatnonzero(~a["over"])[-1]] = value
    a["weights"][:] = 1.0
    assert advanced(a)[3] == -1
    for name in ("steps", "last", "returns", "over"):
        np.testing.assert_array_equal(a[name], before[name])
    a["terms"][:] = before["terms"]
    a["terms"][a["over"]] = value  # of no interest
    assert advanced(a)[3] >= 0


def test_the_reward_is_log_p_plus_the_tasks_reward_over_c():
    assert formula.scaled(3.0, 2.0) == 1.5 and formula.reward(-2.0, 3.0, 0.5) == 4.0
    np.testing.assert_array_equal(formula.reward(np.array([-1.0, -2.0]), np.array([4.0, 0.0]), 2.0), [1.0, -2.0])
