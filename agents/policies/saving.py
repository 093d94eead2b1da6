"""Save the policy of any agent as a file of weights with a card: exactly where it is one network, else distilled.

n sequences, T tokens; log pi and KL in nats.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from agents.base import SequenceAgent
from agents.baselines import FixedPolicy
from agents.envs import make_machine_kwargs, make_recipe
from agents.evaluate import evaluation
from agents.evaluate.gaps import LOG_Z
from agents.policies.frozen import POLICY, FrozenAgent
from agents.policies.networks import NotOneNetwork, read_network
from agents.saving import hash_prior
from seqtutor_envs.command import versions
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import finite
from seqtutor_envs.metrics import mean_and_error
from seqtutor_envs.prior import Prior, RecurrentPrior
from seqtutor_envs.prior.fit import Settings, fit
from seqtutor_envs.prior.masking import mask_prior

SEED_OF_CHECK, SEED_OF_SAMPLES, SEED_OF_VALIDATION = 2**31, 2**31 + 1, 2**31 + 2  # apart from those of evaluations
CHECKED = 256  # sequences on which an exact export must give the agent's own log pi
TOLERANCE = 1e-2  # nats of a whole sequence: float32 errs by 1e-5 a token
METRICS = ("j", "kl", "task_return", "distinct", "gap", "log_z")  # what a card claims, where it is known
VALIDATION_SHARE = 1 / 8
# the settings of benchmarks/distill.py, on fewer samples; not tuned for agents
DISTILLATION = Settings(epochs=8, batch_size=128, learning_rate=2e-3, warmup=100, max_grad_norm=1.0)


class Distilled(NamedTuple):
    """Hold a network that was fitted to samples of an agent, and KL(agent || network); NaN if log pi is unknown."""

    policy: RecurrentPrior
    kl: float
    kl_se: float


def save_policy(
    agent: Any,
    path: str | os.PathLike[str],
    env_id: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    n: int = 10_000,
    seed: int = 0,
    sequences: int = 32_768,
    note: str = "",
    progress_bar: bool = False,
) -> Path:
    """Write an agent's policy as PATH.safetensors, weights alone, and a card, PATH.json.

    The file is loaded by `agents.load`, evaluated by every command, checked by `python -m benchmarks verify`, and a
    prior wherever one is asked for. A policy that is one LSTM or GRU is written exactly (`networks.read_network` says
    what counts). Any other is distilled: the environment's prior is fine-tuned by maximum likelihood on samples of the
    agent, and the card has KL(agent || file) with its standard error. The card's "claims" are what `evaluate` says of
    the file.

    Args:
        agent: whatever `evaluate` takes, or torch modules (see `read_network`).
        path: of the file, with or without .safetensors.
        env_id, env_kwargs: the environment it is for; None: the one that an agent of ours learned in.
        n, seed: sequences of the evaluation, and its seed.
        sequences: samples to distil from.
        note: for readers of the card.

    Returns:
        PATH.safetensors.

    Raises:
        ValueError: the environment is unknown, needs more than JSON can hold, or its prior is no RecurrentPrior to
            distil into; or an exact copy gives another log pi than the agent.
    """
    env_id, kwargs = _find_env(agent, env_id, env_kwargs)
    # an agent's own obs_mode is needed to ask it, and the file's policy reads tokens; another machine has other cores
    here = {"obs_mode", *make_machine_kwargs(env_id)}
    plain = {name: value for name, value in kwargs.items() if name not in here and value is not None}
    task = FrozenAgent(env_id, plain).task
    is_agent = not isinstance(agent, (tuple, list))  # torch modules alone cannot be asked for samples
    try:
        policy = read_network(agent, task.vocab, task.length)
        frozen = FrozenAgent(env_id, plain, policy)
        how: dict[str, Any] = {"export": "exact"}
        if is_agent:
            how["difference"] = _check_copy(agent, frozen, env_id, kwargs)
    except NotOneNetwork as reason:
        if not is_agent:
            raise
        with closing(evaluation.make_env(agent, env_id, n, kwargs)) as env:
            policy, kl, kl_se = distil(agent, env, sequences, seed, progress_bar)
        frozen = FrozenAgent(env_id, plain, policy)
        how = {"export": "distilled", "reason": str(reason), "kl": kl, "kl_se": kl_se, "sequences": sequences}
    asked = {name: value for name, value in kwargs.items() if name != "obs_mode"}
    card = {
        **_describe(agent),
        POLICY: how,
        "env": make_recipe(env_id, plain),
        "claims": measure(frozen, env_id, asked, n, seed),
        "prior_sha256": hash_prior(frozen.prior),
        "versions": versions(),
        "note": note,
    }
    # anew: the agent may be a prior that others use
    return RecurrentPrior(policy.weights, policy.cell, policy.vocab, policy.length, finite(card)).save(path)


def measure(agent: Any, env_id: str, env_kwargs: Mapping[str, Any], n: int, seed: int) -> dict[str, Any]:
    """Evaluate an agent; return what a card claims of it: n, seed, and METRICS with their standard errors."""
    found = evaluation.evaluate(agent, env_id, n, seed, env_kwargs)
    names = [key for name in METRICS for key in (name, f"{name}_se")]
    return {"n": n, "seed": seed, "metrics": {name: found[name] for name in [*names, *LOG_Z] if name in found}}


def distil(
    agent: Any, env: SequenceTutorVectorEnv, sequences: int, seed: int, progress_bar: bool = False
) -> Distilled:
    """Fine-tune the environment's prior by maximum likelihood on samples of an agent."""
    if not isinstance(env.prior, RecurrentPrior):
        raise ValueError(f"A policy is distilled into the environment's prior, and {type(env.prior).__name__} is none.")
    held_out = max(int(sequences * VALIDATION_SHARE), 2)
    found = evaluation.sample_sequences(agent, env, sequences, seed + SEED_OF_SAMPLES)
    fresh = evaluation.sample_sequences(agent, env, held_out, seed + SEED_OF_VALIDATION)
    rows, held = ([row[:end] for row, end in zip(part.tokens, part.lengths)] for part in (found, fresh))
    start = env.prior
    size = {"hidden_size": start.hidden_size, "num_layers": start.num_layers, "cell": start.cell}
    settings = replace(DISTILLATION, **size, seed=seed)
    with TemporaryDirectory() as folder:
        policy = fit(
            rows, held, env.task.vocab, Path(folder) / "policy", settings, env.task.length,
            start=start, progress_bar=progress_bar,
        )  # fmt: skip
    if fresh.log_probs is None or hasattr(agent, "j_kind"):  # no log pi, or a number in its place
        return Distilled(policy, np.nan, np.nan)
    fitted = FixedPolicy(mask_prior(policy, env.task), env.task.length)
    row = mean_and_error("kl", fresh.log_probs - fitted.log_prob(fresh.tokens, fresh.lengths))
    return Distilled(policy, row["kl"], row["kl_se"])


def _find_env(agent: Any, env_id: str | None, env_kwargs: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    own = getattr(agent, "recipe", None)
    if env_id is None:
        if own is None:
            raise ValueError("This agent does not say which environment it is for: pass env_id, and env_kwargs.")
        env_id, env_kwargs = own["id"], {**own["kwargs"], **(env_kwargs or {})}
    kwargs = dict(env_kwargs or {})
    if make_recipe(env_id, kwargs) is None:
        raise ValueError("A card keeps the environment's keywords as JSON: pass names, paths and numbers.")
    return env_id, kwargs


def _check_copy(agent: Any, frozen: FrozenAgent, env_id: str, kwargs: Mapping[str, Any]) -> float:
    """Return the greatest difference in log pi between an agent and its copy, over samples of the agent."""
    if isinstance(agent, (Prior, FrozenAgent)):
        return 0.0  # it is the copy
    with closing(evaluation.make_env(agent, env_id, CHECKED, kwargs)) as env:
        found = evaluation.sample_sequences(agent, env, CHECKED, SEED_OF_CHECK)
    assert found.log_probs is not None, "networks that can be read know log pi"
    worst = float(np.abs(found.log_probs - frozen.log_prob(found.tokens, found.lengths)).max())
    if not worst <= TOLERANCE:
        raise ValueError(f"The copy of this agent's network gives log pi up to {worst:.3g} nats from the agent's own.")
    return worst


def _describe(agent: Any) -> dict[str, Any]:
    """Return what a card says of the agent itself."""
    if isinstance(agent, SequenceAgent):
        facts = {"settings": agent.settings, "seed": agent.seed, "num_timesteps": agent.learned_timesteps}
        return {"description": f"the policy of {agent!r}", "agent": type(agent).__name__, **facts}
    if isinstance(agent, (tuple, list)):
        return {"description": f"the policy of torch modules: {', '.join(type(one).__name__ for one in agent)}"}
    if isinstance(agent, FrozenAgent):
        return {"description": agent.card.get("description", repr(agent))}
    kind = type(agent)
    facts = {"agent": f"{kind.__module__.split('.')[0]}:{kind.__name__}"}
    if (learned := getattr(agent, "num_timesteps", None)) is not None:
        facts["num_timesteps"] = learned
    return {"description": f"the policy of {kind.__name__} of {kind.__module__.split('.')[0]}", **facts}
