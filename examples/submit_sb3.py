"""Train an agent of stable-baselines3 or sb3-contrib on melodies, and save its policy for the leaderboard.

    python examples/submit_sb3.py recurrent_ppo --out recurrent-ppo
    python -m benchmarks verify recurrent-ppo.safetensors

RecurrentPPO starts as the prior, and its LSTM is saved as it is; PPO reads prefixes, and is distilled into an LSTM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from agents import save_policy
from agents.sb3.one_hot_prefix import OneHotPrefix
from agents.sb3.prior_guide import KLPenaltyCallback, recurrent_policy_kwargs, start_as_prior
from seqtutor_envs.sb3 import make_vec_env

ENV, NUM_ENVS = "SeqTutor-Melody-v0", 256


def main(
    agent: tyro.conf.Positional[Literal["recurrent_ppo", "ppo"]],
    out: Path,
    c: float = 7.0,
    steps: int = 1_000_000,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10_000,
    sequences: int = 32_768,
    seed: int = 0,
) -> None:
    """Train, save and say what the file reaches.

    Args:
        agent: RecurrentPPO of sb3-contrib, or PPO of stable-baselines3.
        out: the file to write, and its card.
        c: temperature.
        steps: tokens to learn from.
        n: sequences that the card's claims rest on.
        sequences: samples to distil from.
        seed: of everything random.
    """
    recurrent = agent == "recurrent_ppo"
    env = make_vec_env(ENV, NUM_ENVS, env_kwargs={"c": c, "obs_mode": "token" if recurrent else "prefix"})
    # as benchmarks/contestants.py has tuned them
    settings = {"gamma": 1.0, "learning_rate": 2e-3, "n_epochs": 4, "max_grad_norm": 100.0, "seed": seed}
    settings |= {"n_steps": 32, "batch_size": 16 * NUM_ENVS, "device": "cpu"}
    if recurrent:
        model = RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=recurrent_policy_kwargs("melody"), **settings)
        start_as_prior(model)
    else:
        model = PPO("MlpPolicy", env, policy_kwargs={"features_extractor_class": OneHotPrefix}, **settings)
    model.learn(steps, callback=KLPenaltyCallback(), progress_bar=True)
    print(save_policy(model, out, ENV, {"c": c}, n=n, sequences=sequences, progress_bar=True))


if __name__ == "__main__":
    tyro.cli(main)
