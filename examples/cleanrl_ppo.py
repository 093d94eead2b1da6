"""PPO with an LSTM in one file, after CleanRL's ppo_atari_lstm.py:

    python examples/cleanrl_ppo.py --env-id SeqTutor-Exact-v0 --total-timesteps 200000

It maximises J = E[R / c] - KL(pi || p), in nats. The environment pays log p + r_T / c; what J asks besides is the
policy's entropy, so log pi of the action is taken from each reward. N environments, T steps, V tokens, H cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import nn
from torch.distributions import Categorical
from tqdm import tqdm

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.evaluate import evaluate
from agents.evaluate.policies import LogPolicy

Tensors = dict[str, torch.Tensor]
State = tuple[torch.Tensor, torch.Tensor]  # of the LSTM, [N, H] each


@dataclass
class Args:
    env_id: str = "SeqTutor-Melody-v0"
    env_kwargs: dict[str, int | float | str] = field(default_factory=dict)
    """of gym.make, as in: --env-kwargs length 8 c 0.5"""
    seed: int = 0
    total_timesteps: int = 1_000_000
    """tokens, all environments together"""
    num_envs: int = 64
    num_steps: int = 32
    """tokens of each environment between two updates; a sequence may end anywhere among them"""
    learning_rate: float = 3e-3
    """falls linearly to 0"""
    gamma: float = 1.0
    """J counts all tokens alike: with another value something else is maximised"""
    gae_lambda: float = 0.95
    num_minibatches: int = 4
    update_epochs: int = 4
    clip_coef: float = 0.2
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    hidden_size: int = 128
    judged: int = 1000
    """sequences to evaluate at the end; 0: no evaluation"""


class Agent(nn.Module):
    """Policy and value from an LSTM over embedded tokens and steps; the mask excludes forbidden tokens."""

    def __init__(self, observations: gym.spaces.Dict, hidden_size: int) -> None:
        super().__init__()
        token, step, mask = (observations[key] for key in ("token", "step", "action_mask"))
        self.token, self.step = nn.Embedding(token.n, hidden_size), nn.Embedding(step.n, hidden_size)
        self.lstm = nn.LSTMCell(hidden_size, hidden_size)
        self.actor, self.critic = nn.Linear(hidden_size, mask.shape[0]), nn.Linear(hidden_size, 1)
        # .01, as in CleanRL: the policy starts near uniform
        nn.init.orthogonal_(self.actor.weight, 0.01)

    def initial_state(self, n: int) -> State:
        return torch.zeros(n, self.lstm.hidden_size), torch.zeros(n, self.lstm.hidden_size)

    def forward(self, obs: Tensors, start: torch.Tensor, state: State) -> tuple[Categorical, torch.Tensor, State]:
        """Compute policy and values [T, N] of T steps, and the state after them; `start` [T, N] is 1 at a begin."""
        hidden = []
        for x, going in zip(self.token(obs["token"]) + self.step(obs["step"]), 1.0 - start[..., None]):
            state = self.lstm(x, (going * state[0], going * state[1]))
            hidden.append(state[0])
        h = torch.stack(hidden)
        logits = self.actor(h).masked_fill(obs["action_mask"] == 0, -torch.inf)
        return Categorical(logits=logits), self.critic(h)[..., 0], state


def one_step(observation: dict[str, np.ndarray]) -> Tensors:
    """Return [N, ...] as [T, N, ...] with T = 1."""
    return {key: torch.as_tensor(values)[None] for key, values in observation.items()}


def train(args: Args) -> Agent:
    """Train the agent, and return it."""
    torch.manual_seed(args.seed)
    # In SAME_STEP the step that ends a sequence already returns the start of the next one, so every step adds a token
    # and none must be kept out of the loss. In NEXT_STEP a reset takes a step, whose action counts for nothing.
    envs = gym.make_vec(
        args.env_id, num_envs=args.num_envs, obs_mode="dict", autoreset_mode="SameStep", infos="end", **args.env_kwargs
    )
    agent = Agent(envs.single_observation_space, args.hidden_size)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    T, N = args.num_steps, args.num_envs
    actions, logprobs, rewards = torch.zeros(T, N, dtype=torch.int64), torch.zeros(T, N), torch.zeros(T, N)
    starts, values = torch.zeros(T + 1, N), torch.zeros(T + 1, N)

    next_obs, next_start = one_step(envs.reset(seed=args.seed)[0]), torch.ones(1, N)
    state = agent.initial_state(N)
    sums, scores = np.zeros(N), []  # R / c + log p - log pi, so far and of whole sequences: their mean estimates J
    num_iterations = args.total_timesteps // (T * N)
    for iteration in (progress := tqdm(range(num_iterations), unit="update")):
        optimizer.param_groups[0]["lr"] = (1.0 - iteration / num_iterations) * args.learning_rate
        steps, first_state = [], state
        for t in range(T):
            steps.append(next_obs)
            starts[t] = next_start
            with torch.no_grad():
                policy, values[t], state = agent(next_obs, next_start, state)
                action = policy.sample()
                actions[t], logprobs[t] = action, policy.log_prob(action)
            observation, reward, terminated, truncated, _ = envs.step(actions[t].numpy())
            rewards[t] = torch.as_tensor(reward) - logprobs[t]
            done = terminated | truncated  # truncated where an objective's budget is spent: nothing follows either
            next_obs, next_start = one_step(observation), torch.as_tensor(done[None], dtype=torch.float32)
            sums += rewards[t].numpy()
            scores.extend(sums[done])
            sums[done] = 0.0
        if scores:
            progress.set_postfix(J=f"{np.mean(scores[-1000:]):.3f}")

        with torch.no_grad():  # generalised advantage estimation; after an end nothing is worth anything
            starts[T], values[T] = next_start, agent(next_obs, next_start, state)[1]
            advantages, advantage = torch.zeros(T, N), torch.zeros(N)
            for t in reversed(range(T)):
                going = 1.0 - starts[t + 1]
                delta = rewards[t] + args.gamma * going * values[t + 1] - values[t]
                advantages[t] = advantage = delta + args.gamma * args.gae_lambda * going * advantage
            returns = advantages + values[:T]

        obs = {key: torch.cat([step[key] for step in steps]) for key in next_obs}
        for _ in range(args.update_epochs):
            # whole environments, since an LSTM needs its steps in order
            for rows in torch.randperm(N).chunk(args.num_minibatches):  # all T steps of some environments
                mb_obs = {key: part[:, rows] for key, part in obs.items()}
                policy, newvalue, _ = agent(mb_obs, starts[:T, rows], tuple(part[rows] for part in first_state))
                ratio = (policy.log_prob(actions[:, rows]) - logprobs[:, rows]).exp()
                mb_advantages = advantages[:, rows]
                mb_advantages = (mb_advantages - mb_advantages.mean()) / (mb_advantages.std() + 1e-8)
                clipped = ratio.clamp(1.0 - args.clip_coef, 1.0 + args.clip_coef)
                pg_loss = -torch.min(ratio * mb_advantages, clipped * mb_advantages).mean()
                v_loss = 0.5 * (newvalue - returns[:, rows]).square().mean()
                optimizer.zero_grad()
                (pg_loss + args.vf_coef * v_loss).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()
    envs.close()
    return agent


class AgentRows(LogPolicy):
    """Give `evaluate` rows of log pi, token by token."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    @torch.no_grad()
    def step(self, observation: Any, state: Any, episode_start: Any, action_masks: Any = None) -> tuple[Any, State]:
        start = torch.as_tensor(episode_start, dtype=torch.float32)[None]
        policy, _, state = self.agent(one_step(observation), start, state or self.agent.initial_state(start.shape[1]))
        return policy.logits[0], state


if __name__ == "__main__":
    torch.set_num_threads(1)  # more of them wait for each other
    args = tyro.cli(Args)
    agent = train(args)
    if args.judged:
        env_kwargs = {**args.env_kwargs, "obs_mode": "dict"}
        metrics = evaluate(AgentRows(agent), args.env_id, n=args.judged, seed=args.seed, env_kwargs=env_kwargs)
        print({name: round(metrics[name], 3) for name in ("j", "j_se", "kl", "task_return", "distinct")})
