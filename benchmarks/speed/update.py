"""One learner's update beside a bare forward and backward pass of its network, and where the time of a round goes.

CPU time. The bare pass is what no update can do without: the network once over the batch, and gradients; no target
network, no targets, no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from agents import GLearning, PsiLearning, QLearning
from agents.networks import ValueNetwork
from agents.replay import Sequences
from agents.tutor import Tutor
from benchmarks.domains import MELODY, SMILES
from benchmarks.speed.options import Options
from benchmarks.speed.rows import Aim, Row, Times, rate_row, time_row
from benchmarks.speed.turns import STILL, in_turns, typical
from benchmarks.speed.writing import written
from seqtutor_envs.prior import Prior, load_prior

HEAD = "One update beside the bare forward and backward pass of its network on the same batch; the parts of a round"
AGENTS: tuple[tuple[str, type[Tutor]], ...] = (("Psi", PsiLearning), ("G", GLearning), ("Q", QLearning))
MELODIES = 64  # in a round
MOLECULES = (64, 256)
ROUNDS = 10  # in one call of `learn`, of which each tenth round writes to the log
SEED = 0
Sides = dict[str, Callable[[], Any]]
PARTS = {  # of a round
    "collect": "collect()",
    "writing": "steps of policy and prior alone",
    "improve": "improve() after it",
    "bare": "forward and backward alone",
}


def rows(options: Options) -> Iterator[Row]:
    """Updates of all agents; then, for melodies, rounds from end to end and their parts."""
    melodies, molecules = load_prior(options.melody_prior), load_prior(options.smiles_prior)
    agents = {name: still(kind, MELODY, melodies, MELODIES) for name, kind in AGENTS}
    for name, agent in agents.items():
        yield update(f"{name}, {MELODIES} melodies", agent, options.seconds)
    for n in MOLECULES:
        yield update(f"Psi, {n} molecules", still(PsiLearning, SMILES, molecules, n), options.seconds)
    for name, agent in agents.items():
        yield from a_round(name, agent, options.seconds)


def still(kind: type[Tutor], env_id: str, prior: Prior, n: int, **settings: Any) -> Tutor:
    """An agent at its defaults that has had its first round, which alone raises v to the mean target, and learns next
    to nothing from now on."""
    agent = kind(env_id, seed=SEED, n_envs=n, learning_rate=STILL, env_kwargs={"prior": prior}, **settings)
    return agent.learn(1)


def update(name: str, agent: Tutor, seconds: float) -> Row:
    """Milliseconds of an update, on the batch that `improve` learns from: a round of the policy, which is the prior."""
    batch = agent.collect()[0].cut()
    sides: Sides = {"update": lambda: agent.learner.update(batch), "bare": bare_pass(agent.learner.network, batch)}
    times = in_turns(sides, seconds)
    return time_row(
        f"update, {name}", times, "update", "bare", 1, "ms", "bare forward and backward", Aim(1.5, at_most=True)
    )


def bare_pass(network: ValueNetwork, batch: Sequences) -> partial[None]:
    """One forward pass over the batch, the mean of the taken values, its gradients."""
    tokens, _, _, prior_log_probs = batch.tensors(network.device)
    network.train()
    return partial(_pass, network, tokens, prior_log_probs)


def _pass(network: ValueNetwork, tokens: Any, prior_log_probs: Any) -> None:
    network.values(tokens, prior_log_probs).gather(-1, tokens.unsqueeze(-1)).mean().backward()
    network.zero_grad(set_to_none=True)


def a_round(name: str, agent: Tutor, seconds: float) -> Iterator[Row]:
    """Melodies learned per second, by `learn` from end to end, and the share of each part."""
    times = round_times(agent, seconds)
    both = typical(times["both"]) / typical(times["round"])
    bound, note = "writing and a bare pass alone", f"collect() and improve() together: {both:.0%} of a round"
    whole = rate_row(f"{name} round, learn()", times, "round", "least", agent.n_envs, "melodies/s", bound)
    yield replace(whole, note=note)
    for part, what in PARTS.items():
        row = time_row(f"{name} round, {what}", times, part, "round", 1, "ms", "a round of learn()")
        yield replace(row, note="share of a round")


def round_times(agent: Tutor, seconds: float) -> Times:
    """Seconds of a whole round, and of each part alone; "least": what a round cannot do without."""
    policy, rng = agent.current_policy(), np.random.default_rng(SEED)
    batch = agent.collect()[0].cut()
    sides: Sides = {
        "round": lambda: agent.learn(ROUNDS * agent.n_envs * agent.horizon, reset_num_timesteps=False),
        "collect": agent.collect,
        "writing": lambda: written(policy, agent.prior, agent.n_envs, agent.horizon, rng),
        # never improve() alone: what it does depends on what the collect() before has done already
        "both": lambda: agent.improve(agent.collect()[0]),
        "bare": bare_pass(agent.learner.network, batch),
    }
    times = in_turns(sides, seconds)
    times["round"] /= ROUNDS
    return {**times, "improve": times["both"] - times["collect"], "least": times["writing"] + times["bare"]}
