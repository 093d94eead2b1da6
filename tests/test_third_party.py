"""Agents of other libraries, as their users take them, on all ids in the observation modes that they can read.

Each learns for a few updates from short sequences; where all sequences can be enumerated one of them is shown to learn
what it should. MaskablePPO where tokens are forbidden: test_action_masks.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sb3_contrib import ARS, QRDQN, TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy

from seqtutor_envs.sb3 import make_vec_env
from toys.env_toys import HORIZON, IDS, OBS_MODES

EXACT = "SeqTutor-Exact-v0"
N_ENVS, LENGTH, STEPS = 4, 6, 96  # sequences, tokens of each, timesteps of a training
TINY = {"policy_kwargs": {"net_arch": [16]}}
VALUES = {**TINY, "learning_starts": 16, "batch_size": 16, "target_update_interval": 32}
CLIPPED = {**TINY, "n_steps": 12, "batch_size": 24, "n_epochs": 2}
ALGORITHMS = {
    PPO: CLIPPED,
    MaskablePPO: CLIPPED,
    RecurrentPPO: CLIPPED | {"policy_kwargs": {"net_arch": [16], "lstm_hidden_size": 16}},
    A2C: {**TINY, "n_steps": 6},
    TRPO: {**TINY, "n_steps": 12, "batch_size": 48},
    DQN: VALUES,
    QRDQN: VALUES,
    ARS: {"n_delta": 2, "n_eval_episodes": 4},
}
MODES = dict.fromkeys(ALGORITHMS, OBS_MODES) | {ARS: ("token", "prefix")}  # it reads no dictionaries
EACH = [(algorithm, mode) for algorithm in ALGORITHMS for mode in MODES[algorithm]]


def policy_of(algorithm, obs_mode):
    recurrent = "Lstm" if algorithm is RecurrentPPO else ""
    return f"MultiInput{recurrent}Policy" if obs_mode == "dict" else f"Mlp{recurrent}Policy"


def short(id, obs_mode, n_envs=N_ENVS):
    return make_vec_env(id, n_envs, seed=1, obs_mode=obs_mode, **{HORIZON[id]: LENGTH})


def parameters(agent):
    """What learning is to change; not the target networks, which follow at times."""
    return {k: v.clone() for k, v in agent.policy.state_dict().items() if "target" not in k}


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize(("algorithm", "obs_mode"), EACH, ids=lambda part: getattr(part, "__name__", part))
def test_it_learns_predicts_and_is_saved(id, algorithm, obs_mode, tmp_path):
    env = short(id, obs_mode)
    agent = algorithm(policy_of(algorithm, obs_mode), env, seed=0, device="cpu", **ALGORITHMS[algorithm])
    before = parameters(agent)
    agent.learn(STEPS)
    # ARS counts a vector step once for every sequence that is in it
    assert agent.num_timesteps == STEPS or (algorithm is ARS and agent.num_timesteps > STEPS)
    assert len(agent.ep_info_buffer) >= STEPS // LENGTH
    after = parameters(agent)
    assert not [name for name, values in before.items() if torch.equal(values, after[name])]
    assert all(values.isfinite().all() for values in after.values())

    observations, state = env.reset(), None
    starts = np.ones(N_ENVS, bool)
    for _ in range(LENGTH + 2):
        actions, state = agent.predict(observations, state=state, episode_start=starts)
        assert actions.shape == (N_ENVS,) and ((0 <= actions) & (actions < env.action_space.n)).all()
        observations, _, starts, _ = env.step(actions)
    assert (state is not None) == (algorithm is RecurrentPPO)

    agent.save(tmp_path / "agent")
    again = algorithm.load(tmp_path / "agent", env=short(id, obs_mode), device="cpu")
    one, other = (a.predict(observations, deterministic=True)[0] for a in (agent, again))
    assert one.tolist() == other.tolist()
    done = again.num_timesteps
    assert done == agent.num_timesteps
    assert again.learn(STEPS, reset_num_timesteps=False).num_timesteps >= done + STEPS


def expected_return(solution, log_policy):
    """Exactly: the sum over all sequences of their probability [M] and return, log p + R / c."""
    return float(np.exp(log_policy) @ (solution["prior_log_probs"] + solution["task_returns"] / solution["c"]))


def log_policy_of(agent, sequences, vocab_size):
    """[M] log pi of whole sequences, from the policy's distribution at each of their prefixes."""
    total = np.zeros(len(sequences))
    for t in range(sequences.shape[1]):
        prefixes = np.full_like(sequences, vocab_size)
        prefixes[:, :t] = sequences[:, :t]
        with torch.no_grad():
            distribution = agent.policy.get_distribution(agent.policy.obs_to_tensor(prefixes)[0])
            total += distribution.log_prob(torch.as_tensor(sequences[:, t])).double().numpy()
    return total


def test_ppo_learns_towards_the_enumerated_maximum():
    """Seeds are fixed; others came 66% to 79% of the way from the policy without preferences to the best sequence, and
    the bar is half of it."""
    kwargs = {"obs_mode": "prefix", "env_kwargs": {"seed": 5}}
    env = make_vec_env(EXACT, 32, seed=0, **kwargs)
    settings = {"learning_rate": 1e-3, "n_steps": 8, "batch_size": 128, "n_epochs": 4, "ent_coef": 0.05, "gamma": 1.0}
    agent = PPO("MlpPolicy", env, seed=0, device="cpu", **settings).learn(12_288)
    solution = env.native.solution()
    log_policy = log_policy_of(agent, solution["sequences"], 3)
    assert np.exp(log_policy).sum() == pytest.approx(1.0, abs=1e-5)
    returns = solution["prior_log_probs"] + solution["task_returns"] / solution["c"]
    expected, best = expected_return(solution, log_policy), returns.max()
    nothing = expected_return(solution, np.full(81, np.log(1 / 81)))
    assert (nothing + best) / 2 < expected < best

    spread = np.sqrt(np.exp(log_policy) @ (returns - expected) ** 2)
    mean, _ = evaluate_policy(agent, make_vec_env(EXACT, 20, **kwargs), n_eval_episodes=400, deterministic=False)
    # what the environment pays is what is enumerated; four standard errors are a level of 6e-5
    assert abs(mean - expected) < 4 * spread / np.sqrt(400) + 1e-4
