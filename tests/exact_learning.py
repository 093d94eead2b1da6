"""Learn exact tasks and compare with the enumerated optimum: what the tests' short form and the full form share.

`python -m tests.exact_learning` runs the full form, ten minutes of one core: two tasks, three seeds, 250,000 timesteps
each of Psi-, G- and Q-learning with their defaults.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents import GLearning, PsiLearning, QLearning
from agents.tutor import Tutor
from seqtutor_envs.exact import ExactEnv, kl_optimum_policy

EXACT = "SeqTutor-Exact-v0"
TASKS = ({"vocab_size": 3, "length": 4, "seed": 0}, {"vocab_size": 3, "length": 4, "seed": 1})
SEEDS = (0, 1, 2)
NUM_ENVS = 64
FULL_TIMESTEPS = 250_000
FULL_BOUND = 0.005  # nats


def trained(agent_class: type[Tutor], env_kwargs: dict[str, Any], seed: int, timesteps: int, **settings: Any) -> Tutor:
    """Train an agent with default settings, gamma 1 and 64 environments, after so many timesteps."""
    agent = agent_class(EXACT, seed=seed, n_envs=NUM_ENVS, gamma=1.0, env_kwargs=env_kwargs, **settings)
    return agent.learn(timesteps)


def exact(env_kwargs: dict[str, Any]) -> ExactEnv:
    """Make the environment itself."""
    return gym.make(EXACT, **env_kwargs).unwrapped  # type: ignore[return-value]


def policy_kl(agent: Tutor, env_kwargs: dict[str, Any]) -> float:
    """Compute KL(optimum || policy) in nats of the agent as it is."""
    solution = exact(env_kwargs).solution()
    return kl_optimum_policy(solution, agent.log_prob(solution["sequences"]))


def best_sequence(env_kwargs: dict[str, Any]) -> list[int]:
    """Find the sequence with the largest sum of log p + r_T / c: the greedy one at Q-learning's optimum."""
    solution = exact(env_kwargs).solution()
    returns = solution["prior_log_probs"] + solution["task_returns"] / solution["c"]
    return solution["sequences"][int(returns.argmax())].tolist()


def greedy_rollout(agent: Tutor, env_kwargs: dict[str, Any]) -> list[int]:
    """Generate the agent's sequence step by step in a single environment, deterministically."""
    env = gym.make(EXACT, **env_kwargs)
    observation, _ = env.reset()
    tokens: list[int] = []
    state, over, start = None, False, True
    while not over:
        action, state = agent.predict(observation, state, np.array([start]), deterministic=True)
        observation, _, over, _, _ = env.step(action)
        tokens.append(int(action))
        start = False
    return tokens


def main() -> None:
    """Print one line for each agent, task and seed; exit with status 1 if one misses the bound."""
    missed = 0
    for agent_class in (PsiLearning, GLearning, QLearning):
        for env_kwargs in TASKS:
            for seed in SEEDS:
                begin = time.process_time()
                agent = trained(agent_class, env_kwargs, seed, FULL_TIMESTEPS)
                seconds = time.process_time() - begin
                kl, best = policy_kl(agent, env_kwargs), greedy_rollout(agent, env_kwargs) == best_sequence(env_kwargs)
                missed += not best if agent_class is QLearning else kl >= FULL_BOUND
                name = f"{agent_class.__name__:12} {env_kwargs} seed {seed}"
                print(f"{name}: KL {kl:.5f}, greedy rollout is best: {best}, {seconds:.0f} s")
    raise SystemExit(missed > 0)


if __name__ == "__main__":
    main()
