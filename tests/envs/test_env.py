"""The dynamics beyond what registered ids show: end tokens, action masks, sequences out of step, impossible tokens."""

from __future__ import annotations

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.prior import TablePrior
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR, allowed_log_probs
from seqtutor_envs.vocab import TokenVocab
from toys.env_toys import AUTORESET_MODES, HORIZON, IDS, OBS_MODES, PMO, ToyTask, assert_same, toy_prior, walk

END, START = ToyTask.vocab.end, ToyTask.vocab.start
each_mask = pytest.mark.parametrize("masked", [False, True])
each_autoreset_mode = pytest.mark.parametrize("autoreset_mode", AUTORESET_MODES)


def single(masked=False, **kwargs):
    return SequenceTutorEnv(ToyTask(masked=masked), toy_prior(), **({"c": 2.0} | kwargs))


def vector(num_envs, masked=False, **kwargs):
    return SequenceTutorVectorEnv(ToyTask(masked=masked), toy_prior(), num_envs=num_envs, **({"c": 2.0} | kwargs))


class CountingPrior(TablePrior):
    """Remembers what each step fed."""

    fed: list[list[int]]

    def step(self, tokens, state):
        self.fed = [*getattr(self, "fed", []), tokens.tolist()]
        return super().step(tokens, state)


@pytest.mark.parametrize("infos", ["full", "end"])
@each_mask
@pytest.mark.parametrize("obs_mode", OBS_MODES)
@each_autoreset_mode
def test_sequences_out_of_step_equal_sync(autoreset_mode, obs_mode, masked, infos):
    native = vector(4, masked, obs_mode=obs_mode, autoreset_mode=autoreset_mode, infos=infos)
    full = vector(4, masked, obs_mode=obs_mode, autoreset_mode=autoreset_mode)
    reference = SyncVectorEnv([lambda: single(masked, obs_mode=obs_mode)] * 4, autoreset_mode=autoreset_mode)
    lengths, partial_ends = set(), 0
    for call, (of_full, ours, theirs) in walk([full, native, reference], calls=60):
        if infos == "full":
            assert_same(ours, theirs, call)
        assert_same(ours[:-1], theirs[:-1], call)
        assert ours[0] in native.observation_space
        if call == "step" and ours[2].any():
            final = ours[-1].get("final_info", ours[-1])
            lengths |= {len(one) for one in final["sequence"] if one}
            partial_ends += not ours[2].all()
            assert_same(final["_task_reward"][ours[2]], ours[2][ours[2]])
    assert lengths >= {2, 3, 5} and partial_ends > 10  # so that the interesting case was met


def test_a_forbidden_action_is_an_error_that_names_it():
    env = single(masked=True)
    _, info = env.reset()
    assert info["action_mask"].tolist() == [1, 1, 1, 0]
    with pytest.raises(ValueError, match=r"Action 3 \(\.\) .* forbidden .* \[0, 1, 2\]"):
        env.step(3)
    _, _, _, _, info = env.step(1)
    assert info["action_mask"].tolist() == [1, 0, 1, 1]
    with pytest.raises(ValueError, match=r"Action 1 \(b\)"):
        env.step(1)


def test_a_mask_that_allows_nothing_is_an_error():
    class Stuck(ToyTask):
        def action_mask(self, tokens, steps):
            return np.repeat((steps < 2).astype(np.int8)[:, None], 4, axis=1)

    env = SequenceTutorEnv(Stuck(), toy_prior(), c=1.0)
    env.reset()
    env.step(0)
    with pytest.raises(ValueError, match=r"allows no token after \[0, 1\]"):
        env.step(1)


def test_a_mask_may_begin_later():
    class Late(ToyTask):
        def action_mask(self, tokens, steps):
            return np.array([[1, 0, 1, 1]], np.int8).repeat(len(steps), axis=0) if steps.max() == 2 else None

    env = SequenceTutorEnv(Late(), toy_prior(), c=1.0)
    for _ in range(2):
        masks = [env.reset()[-1]["action_mask"].tolist()]
        masks += [env.step(0)[-1]["action_mask"].tolist() for _ in range(3)]
        assert masks == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]]


def test_an_impossible_token_costs_the_floor():
    env = single(c=4.0)
    _, info = env.reset()
    assert info["prior_log_probs"][2] == LOG_PROB_FLOOR == pytest.approx(-87.336, abs=1e-3)
    _, reward, _, _, info = env.step(2)
    assert reward == pytest.approx(LOG_PROB_FLOOR - 1.0 / 4.0)


def test_allowed_log_probs_by_hand():
    with np.errstate(divide="ignore"):
        row = np.log(np.array([[0.5, 0.25, 0.25, 0.0]], np.float32))
    np.testing.assert_allclose(np.exp(allowed_log_probs(row, None)), [[0.5, 0.25, 0.25, 0.0]], atol=1e-7)
    masked = allowed_log_probs(row, np.array([[1, 1, 0, 1]], np.int8))
    np.testing.assert_allclose(np.exp(masked), [[2 / 3, 1 / 3, 0.0, 0.0]], atol=1e-7)
    only_impossible = allowed_log_probs(row, np.array([[0, 0, 0, 1]], np.int8))
    assert only_impossible[0, 3] == 0.0 and np.isfinite(masked).all() and np.isfinite(only_impossible).all()


def test_sequences_that_are_over_are_fed_nothing_but_the_start_token():
    prior = CountingPrior(ToyTask.vocab, np.zeros((341, 4)), 5)
    env = SequenceTutorVectorEnv(ToyTask(), prior, num_envs=3, c=1.0, autoreset_mode="NextStep")
    assert prior.fed == [[START]]  # once for all
    env.reset()
    env.step(np.array([0, END, 0]))
    env.step(np.array([0, 0, 0]))  # the second one starts anew
    env.step(np.array([END, END, END]))
    env.step(np.array([0, 0, 0]))  # all start anew
    env.step(np.array([0, 1, 2]))
    assert prior.fed[1:] == [[0, START, 0], [0, START, 0], [0, 1, 2]]


def test_an_ignored_action_may_be_anything():
    env = vector(2, masked=True, autoreset_mode="NextStep")
    env.reset()
    env.step(np.array([0, 0]))
    env.step(np.array([END, 1]))
    observations, rewards, terminated, _, infos = env.step(np.array([-5, 0]))
    assert observations.tolist() == [4, 0] and rewards[0] == 0.0 and not terminated[0]
    assert infos["_task_reward"].tolist() == [False, True] and infos["_action_mask"].tolist() == [True, True]
    with pytest.raises(ValueError, match="Action 3"):
        env.step(np.array([3, 1]))


def test_task_and_prior_must_share_a_vocabulary():
    for tokens, end, says in (
        (("a", "b", "c"), None, "4 tokens against 3"),
        (("a", "b", "x", "."), 3, "token 2 is 'c' against 'x'"),
        (("a", "b", "c", "."), None, "end token is 3 against None"),
    ):
        prior = TablePrior(TokenVocab(tokens, end), np.zeros((1, len(tokens))), 1)
        with pytest.raises(ValueError, match=says):
            SequenceTutorEnv(ToyTask(length=1), prior, c=1.0)


def test_a_reward_that_is_not_finite_names_its_term():
    class Broken(ToyTask):
        def step_terms(self, tokens, steps):
            return super().step_terms(tokens, steps) * [1.0, np.nan]

    env = SequenceTutorEnv(Broken(), toy_prior(), c=1.0)
    env.reset()
    with pytest.raises(ValueError, match="Broken .* step"):
        env.step(0)


def test_a_prior_without_rows_of_v_is_an_error():
    class Wrong(TablePrior):
        def step(self, tokens, state):
            rows, state = super().step(tokens, state)
            return rows[:, :3], state

    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        SequenceTutorEnv(ToyTask(), Wrong(ToyTask.vocab, np.zeros((341, 4)), 5), c=1.0)


# those of PMO are their task
@pytest.mark.parametrize("id", sorted(set(IDS) - {"SeqTutor-Exact-v0", "SeqTutor-Planted-v0"} - PMO))
def test_a_prior_or_a_task_of_the_users_own_goes_through_make(id):
    env = gymnasium.make(id, task=ToyTask(), prior=toy_prior(), c=1.0, render_mode="ansi")
    env.reset()
    env.step(1)
    assert env.render() == "b" and env.action_space.n == 4
    for beside in ({"term_weights": {"letter": 2.0}}, {HORIZON[id]: 7}):
        with pytest.raises(ValueError, match="brings its own"):
            gymnasium.make(id, task=ToyTask(), prior=toy_prior(), **beside)


def test_a_picture_is_told_the_sum_of_rewards():
    class Told(ToyTask):
        def render_rgb(self, tokens, episode_return):
            told.append((tokens.tolist(), episode_return))
            return np.zeros((1, 1, 3), np.uint8)

    told = []
    env = SequenceTutorEnv(Told(), toy_prior(), c=2.0, render_mode="rgb_array")
    for _ in range(2):
        env.reset()
        env.render()
        total = env.step(0)[1] + env.step(1)[1]
        env.render()
        assert told == [([], 0.0), ([0, 1], pytest.approx(total))]
        told.clear()


def test_infos_are_the_callers_to_change():
    env, untouched = vector(2), vector(2)
    for one in (env, untouched):
        one.reset()
    observation, infos = env.reset()
    observation[:] = 1
    infos["prior_log_probs"][:] = 0.0
    infos["action_mask"][:] = 0
    infos["_action_mask"][:] = False
    _, _, terminated, _, infos = env.step(np.array([0, 1]))
    assert infos["_prior_log_probs"].all() and infos["_terms"].all()
    infos["_terms"][:] = False
    terminated[:] = True
    untouched.step(np.array([0, 1]))
    assert infos["_task_reward"].all()
    assert_same(env.step(np.array([1, 0])), untouched.step(np.array([1, 0])))


@each_autoreset_mode
def test_pickled_batches_out_of_step_continue_identically(autoreset_mode):
    env = vector(3, masked=True, autoreset_mode=autoreset_mode)
    env.reset()
    env.step(np.array([0, 1, 2]))
    env.step(np.array([1, END, 0]))
    copy = pickle.loads(pickle.dumps(env))
    if autoreset_mode == "Disabled":
        options = {"reset_mask": np.array([False, True, False])}
        assert_same(env.reset(options=options), copy.reset(options=options))
    for actions in ([0, 0, 1], [1, 1, 0], [0, 2, END]):
        assert_same(env.step(np.array(actions)), copy.step(np.array(actions)))


@pytest.mark.parametrize("num_envs", [1, 3])
def test_arrays_of_a_wrong_shape_are_named_before_compiled_code_reads_them(num_envs):
    class Short(ToyTask):
        def step_terms(self, tokens, steps):
            return super().step_terms(tokens, steps)[:, :1]

    env = SequenceTutorVectorEnv(Short(), toy_prior(), num_envs=num_envs, c=1.0)
    env.reset()
    with pytest.raises(ValueError, match=rf"Short.step_terms must return an array \[{num_envs}, 2\], not"):
        env.step(np.zeros(num_envs, np.int64))

    class Narrow(TablePrior):
        def step(self, tokens, state):
            rows, state = super().step(tokens, state)
            return (rows if state[0].max() == 0 else rows[:, :2]), state

    env = SequenceTutorVectorEnv(ToyTask(), Narrow(ToyTask.vocab, np.zeros((341, 4)), 5), num_envs=num_envs, c=1.0)
    env.reset()
    with pytest.raises(ValueError, match=rf"The prior's step must return an array \[{num_envs}, 4\], not"):
        env.step(np.zeros(num_envs, np.int64))
