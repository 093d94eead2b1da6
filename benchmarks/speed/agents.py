"""Compare rounds and updates of our agents with what they cannot do without, and with other libraries' agents.

`learning_rate=STILL` keeps every policy what it was, so that all turns do the same work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from agents import GLearning, PsiLearning, QLearning
from agents.networks import ValueNetwork
from agents.store.replay import Sequences
from agents.tutor import Tutor
from benchmarks import contestants
from benchmarks.domains import MELODY, SMILES
from benchmarks.speed.chemistry import UNIT, DirectRDKit, sample_smiles, score
from benchmarks.speed.environments import LENGTH, load, prior_steps
from benchmarks.speed.measure import SEED, STILL, Aim, Comparison, Options, Sides

N = 64  # melodies of a round beside other libraries
SAMPLED = 512  # molecules that tell the share of valid ones
WEIGHTS = {"valid": 0.0, "ring": 0.0}  # the terms that are left are QED, SA and logP


def make_agent(options: Options, kind: type[Tutor], env_id: str, n: int, **settings: Any) -> Tutor:
    """Return an agent at its defaults after its first round, which alone raises v to the mean target."""
    env_kwargs = {"prior": load(options, env_id), **settings.pop("env_kwargs", {})}
    return kind(env_id, seed=SEED, n_envs=n, learning_rate=STILL, env_kwargs=env_kwargs, **settings).learn(1)


def update_and_bare_pass(options: Options, kind: type[Tutor], env_id: str, n: int) -> Sides:
    """Compare an update with a bare forward and backward pass of its network over the same batch.

    The bare pass has no target network, no targets and no optimiser.
    """
    agent = make_agent(options, kind, env_id, n)
    # collected once: only the update is timed
    batch = agent.collect()[0].cut()
    limits = {"bare forward and backward": bare_pass(agent.learner.network, batch)}
    return Sides(lambda: agent.learner.update(batch), limits)


def bare_pass(network: ValueNetwork, batch: Sequences) -> Callable[[], None]:
    """Return a function: one forward pass, the mean of the taken tokens' values, its gradients."""
    tokens, _, _, prior_log_probs = batch.tensors(network.device)
    network.train()

    def run() -> None:
        network.values(tokens, prior_log_probs).gather(-1, tokens.unsqueeze(-1)).mean().backward()
        network.zero_grad(set_to_none=True)

    return run


def rounds_and_parts(options: Options, env_id: str, n: int, precision: str) -> Sides:
    """Compare a round of `learn` with its parts one after the other: sampling, of molecules RDKit, and updating.

    The sum of the parts is no bound: our scoring is faster than RDKit called directly, and `learn` scores in the
    meantime. The amount of molecules is that of valid ones.
    """
    scored = {"workers": options.workers, "term_weights": WEIGHTS} if env_id == SMILES else {}
    agent = make_agent(options, PsiLearning, env_id, n, precision=precision, env_kwargs=scored)
    policy, rng = agent.current_policy(), np.random.default_rng(SEED)
    prior = prior_steps(agent.prior, *agent.prior.sample(n, SEED, agent.horizon))
    sequences, _ = agent.collect()
    rdkit = DirectRDKit(options.workers)
    smiles = sample_smiles(options, SAMPLED) if env_id == SMILES else []
    valid = sum(score(text) is not None for text in smiles) / SAMPLED if smiles else 1.0

    def parts() -> None:
        # sampling: the policy's steps with the drawing of tokens, and the prior's steps, which the reward needs
        policy.sample(n, rng, agent.horizon)
        prior()
        if smiles:
            rdkit(smiles[:n])
        agent.improve(sequences)

    def close() -> None:
        agent.env.close()
        rdkit.close()

    one_round = partial(agent.learn, 1, reset_num_timesteps=False)
    return Sides(one_round, {"its parts, one after the other": parts}, n * valid, close)


def agent_and_peer(options: Options, peer: Callable[..., Any], name: str) -> Sides:
    """Compare Psi-learning with an agent of stable-baselines3's kind: tokens learned from in a second.

    A call learns from one melody from each environment. The peers are tuned: four epochs, where the libraries' default
    is ten. They run without callbacks of ours.
    """
    ours = make_agent(options, PsiLearning, MELODY, N)
    kwargs = {"prior": load(options, MELODY)}
    theirs = peer(MELODY, seed=SEED, env_kwargs=kwargs, learning_rate=STILL, n_envs=N).model
    learn, rival = (partial(model.learn, N * LENGTH, reset_num_timesteps=False) for model in (ours, theirs))
    return Sides(learn, {name: rival}, N * LENGTH)


UPDATES: tuple[tuple[str, type[Tutor], str, int], ...] = (
    ("Psi, 64 melodies", PsiLearning, MELODY, 64),
    ("G, 64 melodies", GLearning, MELODY, 64),
    ("Q, 64 melodies", QLearning, MELODY, 64),
    ("Psi, 64 molecules", PsiLearning, SMILES, 64),
    ("Psi, 256 molecules", PsiLearning, SMILES, 256),
)
PEERS = (("PPO of stable-baselines3", contestants.ppo), ("RecurrentPPO of sb3-contrib", contestants.recurrent_ppo))
COMPARISONS = (
    *(
        Comparison(
            section="molecules",
            name=f"rounds of {n}, {precision}, learn()",
            unit=UNIT,
            setup=partial(rounds_and_parts, env_id=SMILES, n=n, precision=precision),
            aim=Aim(0.75),
            wall=True,
        )
        for n in (64, 256)
        for precision in ("float32", "bfloat16")
    ),
    *(
        Comparison(
            section="update",
            name=f"update, {name}",
            unit="ms",
            setup=partial(update_and_bare_pass, kind=kind, env_id=env_id, n=n),
            aim=Aim(1.5, at_most=True),
        )
        for name, kind, env_id, n in UPDATES
    ),
    Comparison(
        section="update",
        name="Psi, rounds of 64, learn()",
        unit="melodies/s",
        setup=partial(rounds_and_parts, env_id=MELODY, n=64, precision="float32"),
    ),
    *(
        Comparison("peers", f"Psi beside {name}", "timesteps/s", partial(agent_and_peer, peer=peer, name=name))
        for name, peer in PEERS
    ),
)
