"""Check the KL penalty against plain loops and its sum against the enumerated J, and Gymnasium's statistics."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.exact import objective, solve
from seqtutor_envs.wrappers import KLPenalty
from toys.env_toys import AUTORESET_MODES, ToyTask, assert_same, toy_prior, walk
from toys.forbidding import FORBIDDING

N = 5
each_mode = pytest.mark.parametrize("mode", AUTORESET_MODES)


def toy(mode, **kwargs):
    prior = toy_prior(impossible=False)
    return SequenceTutorVectorEnv(ToyTask(), prior, num_envs=N, c=1.0, autoreset_mode=mode, **kwargs)


def played(env, bare, calls=40, weight=1.0):
    """Steps a penalised environment and a bare one with the same actions and random log pi.

    Yields (results of both, log pi, which sequences wrote a token), each as a plain loop over the sequences knows them.
    """
    rng = np.random.default_rng(0)
    for one in (env, bare):
        one.reset(seed=0)
    over = [False] * N
    for _ in range(calls):
        actions, log_pi = rng.integers(0, 4, N), -rng.exponential(size=N)
        env.report(log_pi)
        results = env.step(actions), bare.step(actions)
        yield results, log_pi, [not one for one in over]
        done = results[1][2] | results[1][3]
        mode = bare.metadata["autoreset_mode"]
        over = done.tolist() if mode is AutoresetMode.NEXT_STEP else [False] * N
        if mode is AutoresetMode.DISABLED and done.any():
            for one in (env, bare):
                one.reset(options={"reset_mask": done.copy()})


@each_mode
@pytest.mark.parametrize("infos", ["full", "end"])
def test_each_token_written_costs_its_log_pi(mode, infos):
    weight, begun, ended, told = 0.7, 0, 0, 0
    for results, log_pi, wrote in played(KLPenalty(toy(mode, infos=infos), weight), toy(mode, infos=infos)):
        (observations, rewards, *flags, own), (expected, plain, *others, bare) = results
        for i in range(N):
            assert rewards[i] == pytest.approx(plain[i] - weight * log_pi[i] if wrote[i] else 0.0)
        assert_same((observations, flags), (expected, others))
        for where, reference in [(own, bare), (own.get("final_info", {}), bare.get("final_info", {}))]:
            if "prior_log_prob" not in reference:
                continue
            told += 1
            for i in range(N):
                present = reference["_prior_log_prob"][i]
                assert where["_log_pi"][i] == where["_kl"][i] == present
                assert where["log_pi"][i] == (log_pi[i] if present else 0.0)
                kl = log_pi[i] - reference["prior_log_prob"][i] if present else 0.0
                assert where["kl"][i] == pytest.approx(kl)
            for key in ("log_pi", "_log_pi", "kl", "_kl"):
                del where[key]
        assert_same(own, bare)
        begun, ended = begun + N - sum(wrote), ended + int(flags[0].sum())
    assert told and ended > N and (begun > N) == (mode == "NextStep")


@each_mode
def test_native_and_sync_vector_envs_are_the_same_within_it(mode):
    def single():
        return SequenceTutorEnv(ToyTask(), toy_prior(impossible=False), c=1.0)

    rng = np.random.default_rng(1)
    envs = [KLPenalty(toy(mode)), KLPenalty(SyncVectorEnv([single] * N, autoreset_mode=mode))]
    assert_same(*(env.reset(seed=1) for env in envs))
    for _ in range(20):
        actions, log_pi = rng.integers(0, 4, N), -rng.exponential(size=N)
        for env in envs:
            env.report(log_pi)
        native, sync = (env.step(actions) for env in envs)
        assert_same(native, sync)
        done = native[2] | native[3]
        if mode == "Disabled" and done.any():
            assert_same(*(env.reset(options={"reset_mask": done.copy()}) for env in envs))


@each_mode
def test_the_expected_sum_of_an_episode_is_j(mode):
    """All sequences of an exact task are written at once; their samples of J, weighted by pi, are J as enumerated."""
    task, prior, policy = ToyTask(length=3), toy_prior(3, impossible=False), toy_prior(3, seed=1, impossible=False)
    solution = solve(task, prior, c=0.5)
    sequences, lengths = solution["sequences"], solution["lengths"]
    rows = policy.log_probs(sequences, lengths)
    n = len(sequences)
    penalised = KLPenalty(SequenceTutorVectorEnv(task, prior, num_envs=n, c=0.5, autoreset_mode=mode))
    env = RecordEpisodeStatistics(penalised)
    env.reset()
    samples, log_probs, over = np.full(n, np.nan), np.zeros(n), np.zeros(n, bool)
    for t in range(task.length):
        actions = np.where(t < lengths, sequences[:, t], 0)
        log_pi = rows[np.arange(n), t, actions].astype(float)
        log_probs += np.where(t < lengths, log_pi, 0.0)
        penalised.report(log_pi)
        *_, infos = env.step(actions)
        first = infos.get("_episode", np.zeros(n, bool)) & ~over
        samples[first] = infos["episode"]["r"][first]
        over |= first
        if mode == "Disabled" and first.any() and t + 1 < task.length:
            env.reset(options={"reset_mask": infos["_episode"].copy()})
    assert over.all() and len(set(lengths)) == 3
    assert np.exp(log_probs) @ samples == pytest.approx(objective(solution, log_probs), abs=1e-5)


def test_a_call_that_only_begins_anew_takes_any_log_pi():
    env = KLPenalty(toy("NextStep"))
    env.reset()
    env.report(np.zeros(N))
    env.step(np.array([3, 0, 3, 0, 0]))  # 3 ends a sequence
    env.report([np.nan, -1.0, np.inf, -2.0, -3.0])
    _, rewards, *_ = env.step(np.array([3, 0, 3, 3, 0]))
    assert (rewards[[0, 2]] == 0.0).all() and (rewards[[1, 3, 4]] != 0.0).all()
    with pytest.raises(ValueError, match="sequence 0 has nan"):  # begun now
        env.report([np.nan, -1.0, -1.0, np.nan, -3.0])
    env.reset()
    with pytest.raises(ValueError, match="sequence 3 has nan"):  # begun by the reset
        env.report([-1.0, -1.0, -1.0, np.nan, -3.0])


@pytest.mark.parametrize("inner", [lambda env: env, RecordEpisodeStatistics])
def test_what_a_mask_has_reset_writes_at_once(inner):
    """Also where a wrapper within takes the mask out of the options."""
    env = KLPenalty(inner(toy("NextStep")))
    env.reset()
    env.report(np.zeros(N))
    env.step(np.array([3, 3, 0, 0, 0]))  # 3 ends a sequence
    env.reset(options={"reset_mask": np.array([True, False, False, True, False])})
    env.report(np.full(N, -100.0))
    _, rewards, *_ = env.step(np.zeros(N, int))
    assert rewards[1] == 0.0 and (rewards[[0, 2, 3, 4]] > 50.0).all()


def test_what_is_reported_is_checked():
    env = KLPenalty(toy("NextStep"))
    env.reset()
    with pytest.raises(RuntimeError, match="report"):
        env.step(np.zeros(N, int))
    for wrong, message in [
        (np.zeros((N, 1)), r"shape \[5\].*not \[5, 1\]"),
        (0.0, r"not \[\]"),
        ([0, 0, np.nan, 0, 0], "sequence 2 has nan"),
        ([0, -np.inf, 0, 0, 0], "sequence 1 has -inf"),
        ([-1, -1, -1, -1, 0.3], "at most 0.*sequence 4 has 0.3"),
    ]:
        with pytest.raises(ValueError, match=message):
            env.report(wrong)
    env.report(np.zeros(N))
    env.step(np.zeros(N, int))
    with pytest.raises(RuntimeError, match="report"):  # each report serves one step
        env.step(np.zeros(N, int))
    env.report(np.zeros(N))
    env.reset()
    with pytest.raises(RuntimeError, match="report"):  # and none outlives a reset
        env.step(np.zeros(N, int))


def test_what_is_reported_is_copied():
    env, log_pi = KLPenalty(toy("NextStep")), np.full(N, -1.0)
    env.reset()
    env.report(log_pi)
    log_pi[:] = -5.0
    _, rewards, *_, infos = env.step(np.zeros(N, int))
    np.testing.assert_allclose(rewards, infos["prior_log_prob"] + infos["task_reward"] + 1.0)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, "1", True])
def test_a_weight_is_a_number(weight):
    with pytest.raises(ValueError, match="weight must be a finite number"):
        KLPenalty(toy("NextStep"), weight)


@each_mode
def test_statistics_are_plain_sums(mode):
    env = RecordEpisodeStatistics(gymnasium.make_vec(FORBIDDING, num_envs=N, autoreset_mode=mode))
    returns, lengths, over, seen = np.zeros(N), np.zeros(N, int), np.zeros(N, bool), set()
    for call, ((_, *result),) in walk([env], calls=40):
        begun = over if call in ("step", "reset some") else np.ones(N, bool)
        returns[begun] = lengths[begun] = 0
        if call != "step":
            over[:] = False
            continue
        rewards, terminated, _, infos = result
        writes = ~over | (mode != "NextStep")  # there the call that begins a sequence writes nothing
        over[:] = terminated
        returns += np.where(writes, rewards, 0)
        lengths += writes
        if over.any():
            np.testing.assert_allclose(infos["episode"]["r"], np.where(over, returns, 0), atol=1e-6)
            np.testing.assert_array_equal(infos["episode"]["l"], np.where(over, lengths, 0))
            seen |= set(lengths[over].tolist())
    assert seen >= {2, 3, 4, 5, 6}
