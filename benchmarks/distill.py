"""Distil the optimum into a network: fit a policy of so many cells to samples of the optimum by maximum likelihood.

What such a policy lacks of log Z is not the learner's, which never sees a reward: `python -m benchmarks.distill fit
--hidden-size 512`. `psi` goes on from there by Psi-learning.

pi*(x) = p(x) exp(R(x) / c) / Z is sampled by sequential Monte Carlo from the prior, and all figures but J are then
estimates, since these samples stand in for samples of pi*; or exactly, by rejection from so many calls. Natural logs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from agents import PsiLearning
from agents.baselines import FixedPolicy
from agents.evaluate.evaluation import evaluate_in_env
from agents.learner import SoftQLearner
from agents.networks import ValueNetwork
from agents.samplers import RejectionSampler
from benchmarks.domains import MELODY, SEED_APART, build_env_kwargs
from benchmarks.prior_samples import make_batch
from seqtutor_envs.bounds import run_smc
from seqtutor_envs.bounds.smc import resample
from seqtutor_envs.checks import COUNT, Range
from seqtutor_envs.command import run
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import reading, safetensors_path, write_atomically
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.metrics import mean_and_error, sequence_log_probs
from seqtutor_envs.prior import Prior, RecurrentPrior
from seqtutor_envs.prior.fit import Settings, check_checkpoint, fit
from seqtutor_envs.prior.masking import MaskedPrior, mask_prior
from seqtutor_envs.prior.recurrent_step import GATES
from seqtutor_envs.vocab import Floats, Tokens

PARTICLES = 16_384  # of an SMC run
DRAWN = 8_192  # training samples taken from a run: half its particles, so that few of them are drawn twice
HELD_OUT = 8  # runs of which the validation set is drawn: samples of one run have common beginnings
HELD_OUT_DRAWN = 2_048  # samples of each
HELD_OUT_CALLS = 16_384  # where rejection samples
BLOCK = 4_096  # calls at a time
REPORTED = ("j", "j_se", "kl", "kl_se", "distinct")
SMALL = 0.02  # standard deviation of the weights of added cells: they differ from each other, and disturb little
# ours: 524,288 samples, once each; after more passes the samples' common beginnings are learned by heart
SETTINGS = Settings(epochs=8, epoch_size=65_536, batch_size=128, learning_rate=2e-3, warmup=100, max_grad_norm=1.0)


class Optimum(NamedTuple):
    """Hold n samples of the optimum, as sequential Monte Carlo draws them."""

    tokens: Tokens  # [n, T]
    lengths: Tokens  # [n]
    log_weights: Floats  # [n], log p + R / c, which is log pi* + log Z
    log_z: float  # estimate
    log_z_se: float  # its standard error


def sample_optimum(
    env: SequenceTutorVectorEnv, runs: int, seed: int, drawn: int = DRAWN, progress_bar: bool = False
) -> Optimum:
    """Sample the optimum of an environment: `drawn` samples for each SMC run, runs weighted by their estimates of Z."""
    task, prior = env.task, mask_prior(env.prior, env.task)
    parts, log_z = [], []
    for number in make_bar(range(runs), desc="SMC runs", disable=not progress_bar):
        # a generator for each run: more runs begin with the same ones
        rng = np.random.default_rng((seed, number))
        found = run_smc(task, prior, env.c, runs=1, particles=PARTICLES, rng=rng)
        chosen = resample(found.log_weights, rng, drawn)[0]
        value = found.log_p[0] + found.returns[0] / env.c
        tokens = found.tokens[0].astype(np.min_scalar_type(len(task.vocab)))  # a byte for a melody's token: a million
        parts.append((tokens[chosen], found.lengths[0][chosen], value[chosen]))
        log_z.append(float(found.log_z[0]))
    keep = resample(np.repeat(log_z, drawn)[None], np.random.default_rng((seed, runs)))[0]
    z = np.exp(np.array(log_z) - max(log_z))
    tokens, lengths, value = (np.concatenate(columns)[keep] for columns in zip(*parts))
    error = z.std(ddof=1) / z.mean() / runs**0.5 if runs > 1 else np.nan
    return Optimum(tokens, lengths, value, max(log_z) + float(np.log(z.mean())), float(error))


def sample_exactly(env: SequenceTutorVectorEnv, calls: int, seed: int, progress_bar: bool = False) -> Optimum:
    """Sample the optimum by rejection: all that so many draws of the prior give, each of them scored once.

    Raises ValueError where no bound on the return is known, or fewer than two samples are accepted.
    """
    sampler, rng = RejectionSampler(env), np.random.default_rng(seed)
    parts = []
    with make_bar(total=calls, desc="calls", disable=not progress_bar) as bar:
        for begin in range(0, calls, BLOCK):
            parts.append(sampler.propose(min(BLOCK, calls - begin), rng))
            bar.update(len(parts[-1].lengths))
    tokens, lengths, returns, rates, accepted = (np.concatenate(columns) for columns in zip(*parts))
    tokens, lengths, returns = tokens[accepted], lengths[accepted], returns[accepted]
    if len(tokens) < 2:
        raise ValueError(f"Rejection accepts {len(tokens)} of {calls:,} draws: give more --calls, or a higher --c.")
    mean, error = mean_and_error("rate", rates).values()
    value = sequence_log_probs(sampler.prior, tokens, lengths) + returns / env.c
    return Optimum(tokens, lengths, value, sampler.max_return / env.c + float(np.log(mean)), error / mean)


def widen(prior: RecurrentPrior, cells: int, rng: np.random.Generator) -> RecurrentPrior:
    """Return a prior of one layer of more cells that computes the same.

    The added cells see all cells, but at first neither the head nor the old cells see them.
    """
    old, gates = prior.hidden_size, GATES[prior.cell]
    if prior.num_layers != 1 or cells < old:
        raise ValueError(f"A network of {prior.num_layers} layers of {old} cells cannot be widened to {cells} cells.")

    head = np.zeros((len(prior.vocab), cells))
    head[:, :old] = prior.weights["head.weight"]
    weights: dict[str, NDArray[Any]] = {"head.weight": head, "head.bias": prior.weights["head.bias"]}
    for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"):
        given = prior.weights[name].reshape(gates, old, -1)  # by gate: torch stacks the gates' rows
        inputs = cells if name == "rnn.weight_hh_l0" else given.shape[2]
        new = rng.normal(0.0, SMALL, (gates, cells, inputs))
        new[:, :old] = 0.0
        new[:, :old, : given.shape[2]] = given
        weights[name] = new.reshape(gates * cells, inputs) if "weight" in name else new.reshape(gates * cells)
    return RecurrentPrior(weights, prior.cell, prior.vocab, prior.length, prior.card)


def fit_policy(
    settings: Annotated[Settings, tyro.conf.arg(name="")] = SETTINGS,
    env: str = MELODY,
    c: float = 10.0,
    env_kwargs: str = "{}",
    runs: int = 64,
    calls: int | None = None,
    start: str | None = None,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20_000,
    out: Path = Path("distilled.safetensors"),
    resume: bool = False,
) -> None:
    """Fit a policy to samples of the optimum by maximum likelihood. Write it as a prior, and OUT.results.json.

    Args:
        settings: how to train; hidden_size is the number of cells.
        env: an environment id.
        c: temperature.
        env_kwargs: JSON, further keywords of the environment.
        runs: SMC runs of 16,384 particles that training samples are drawn from, 8,192 each.
        calls: draws of the prior, each scored once, that rejection takes exact samples from instead. The held-out ones
            are of 16,384 further calls.
        start: the prior to start from, by name or path, widened if it has fewer cells. Default: the environment's own,
            or random weights if that is no network.
        n: samples of the policy by which J is estimated at the end; a tenth of them after each epoch.
        out: file to write.
        resume: continue an interrupted run of the same command.
    """
    runs, n = COUNT.check("--runs", runs), Range(20, whole=True).check("-n", n)
    check_checkpoint(out, resume)  # before the minutes that sampling takes
    kwargs = build_env_kwargs(env, env_kwargs) | {"c": c}
    batch = make_batch(env, kwargs)
    apart = settings.seed + SEED_APART
    if calls is None:
        train, how = sample_optimum(batch, runs, settings.seed, progress_bar=True), f"{runs} runs"
        held_out = sample_optimum(batch, HELD_OUT, apart, HELD_OUT_DRAWN)
    else:
        calls = COUNT.check("--calls", calls)
        train = sample_exactly(batch, calls, settings.seed, progress_bar=True)
        held_out, how = sample_exactly(batch, HELD_OUT_CALLS, apart), f"{calls:,} calls, {len(train.tokens):,} accepted"
    measure = Measure(batch, apart, train.log_z, held_out)
    print(f"{env}, c = {c:g}: log Z = {train.log_z:.3f} ± {train.log_z_se:.3f} by {how}")
    card = {"env": env, "env_kwargs": kwargs, "log_z": train.log_z, "log_z_se": train.log_z_se}
    prior = fit(
        list_sequences(train), list_sequences(measure.held_out), batch.task.vocab, out, settings, batch.task.length,
        card, resume, progress_bar=True, watch=lambda policy: measure.estimate_j(policy, n // 10),
        start=first_weights(batch.prior, start, settings),
    )  # fmt: skip
    source = {"runs": runs} if calls is None else {"calls": calls}
    facts = card | {"cells": prior.hidden_size, "settings": asdict(settings) | {"start": start, **source}}
    write_results(out, facts | {"curve": prior.card["training"]["history"]}, measure(prior, n))


def learn_on(
    start: Annotated[Path, tyro.conf.Positional],
    tokens: int = 5_000_000,
    value_tokens: int = 200_000,
    learning_rate: float = 5e-4,
    n_envs: int = 128,
    precision: Literal["float32", "bfloat16"] = "float32",
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20_000,
    seed: int = 0,
    out: Path = Path("distilled-psi.safetensors"),
) -> None:
    """Go on from a fitted policy by Psi-learning. Write the policy as a prior, and OUT.results.json.

    Args:
        start: the policy, a file that `fit` wrote.
        tokens: to learn from, while the learning rate falls to 0.
        value_tokens: to fit v to before that, while the policy rests: it begins as a constant, whose errors would
            unlearn what the policy knows.
        learning_rate: of Adam at first.
        n_envs: sequences in an update.
        precision: of products while learning.
        n: samples of the policy, by which J is estimated.
        seed: of learning.
        out: file to write.
    """
    prior = RecurrentPrior.load(start)
    with reading(start, "was not written by `fit`"):
        facts = {name: prior.card[name] for name in ("env", "env_kwargs", "log_z", "log_z_se")}
    batch = make_batch(facts["env"], facts["env_kwargs"])
    settings: dict[str, Any] = {"learning_rate": learning_rate, "n_envs": n_envs, "precision": precision, "seed": seed}
    agent = start_agent(prior, facts["env"], facts["env_kwargs"], **settings)
    apart = seed + SEED_APART
    held_out = sample_optimum(batch, HELD_OUT, apart, HELD_OUT_DRAWN)
    measure = Measure(batch, apart, facts["log_z"], held_out)
    before, began = measure(prior, n), time.process_time()
    fit_values(agent, value_tokens)
    agent.learn(tokens, progress_bar=True)
    seconds = time.process_time() - began
    found = RecurrentPrior(agent.network.core.weights(), prior.cell, prior.vocab, prior.length, facts)
    found.save(out)
    settings |= {"start": start.name, "tokens": tokens, "value_tokens": value_tokens, "seconds": seconds}
    write_results(out, facts | {"cells": prior.hidden_size, "settings": settings, "before": before}, measure(found, n))


def start_agent(policy: RecurrentPrior, env: str, env_kwargs: dict[str, Any], **settings: Any) -> PsiLearning:
    """Make an agent whose policy is this one, of any size; the prior of its rewards stays the environment's."""
    agent = PsiLearning(env, **settings, anneal=True, env_kwargs=env_kwargs)
    agent.network = ValueNetwork(policy, False, 1.0, torch.Generator().manual_seed(agent.seed))
    agent.learner = SoftQLearner(agent.network, agent.learner.objective, agent.learner.settings)
    return agent


def fit_values(agent: PsiLearning, tokens: int) -> None:
    """Let v learn from so many tokens while the policy of an annealed agent rests."""
    agent.settings["anneal"] = False
    agent.learner.optimizer.param_groups[0]["lr"] = 0.0  # the core's; annealing sets it again
    agent.learn(tokens, progress_bar=True)
    agent.settings["anneal"] = True


def first_weights(own: Prior, start: str | None, settings: Settings) -> RecurrentPrior | None:
    """Return what training starts from; None for random weights."""
    prior = own.inner if isinstance(own, MaskedPrior) else own
    chosen = prior if start is None else RecurrentPrior.load(start)
    if not isinstance(chosen, RecurrentPrior):
        return None
    return widen(chosen, settings.hidden_size, np.random.default_rng(settings.seed))


class Measure:
    """Estimate how far policies are from the optimum of an environment, in both directions.

    Args:
        env: its prior, task and c.
        seed: of a policy's samples, and of the held-out samples of the optimum.
        log_z: an estimate of it.
        held_out: samples of the optimum that no policy was fitted to.
    """

    def __init__(self, env: SequenceTutorVectorEnv, seed: int, log_z: float, held_out: Optimum) -> None:
        self.env, self.seed, self.log_z, self.held_out = env, seed, log_z, held_out
        self.clock = time.process_time()

    def __call__(self, policy: Prior, n: int) -> dict[str, float]:
        """Return J by n samples, KL(pi || pi*) = log Z - J, KL(pi* || pi) by held-out samples, and standard errors."""
        found, (tokens, lengths, values, *_) = self.estimate_j(policy, n), self.held_out
        differences = values - sequence_log_probs(mask_prior(policy, self.env.task), tokens, lengths) - self.log_z
        found |= {"kl_to_optimum": self.log_z - found["j"]} | mean_and_error("kl_from_optimum", differences)
        return {name: value for name, value in found.items() if name != "seconds"}

    def estimate_j(self, policy: Prior, n: int) -> dict[str, float]:
        """Return J, KL to the prior, their errors, distinct, and this process's CPU seconds since the last call."""
        agent = FixedPolicy(mask_prior(policy, self.env.task), self.env.task.length)
        found = evaluate_in_env(self.env, agent, n, self.seed)[0]
        before, self.clock = self.clock, time.process_time()
        return {name: found[name] for name in REPORTED} | {"seconds": self.clock - before}


def list_sequences(samples: Optimum) -> list[Tokens]:
    """Return each sample's tokens."""
    return [row[:length] for row, length in zip(samples.tokens, samples.lengths.tolist())]


def write_results(out: Path, facts: Mapping[str, Any], result: Mapping[str, float]) -> None:
    """Write facts and result beside the policy, as OUT.results.json, and print the result."""
    path = safetensors_path(out).with_suffix(".results.json")
    write_atomically(path, (json.dumps({**facts, "result": dict(result)}, indent=1) + "\n").encode())
    print(", ".join(f"{name} {value:.3f}" for name, value in result.items()))
    print(safetensors_path(out))


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    run({"fit": fit_policy, "psi": learn_on}, "python -m benchmarks.distill", args)


if __name__ == "__main__":
    main()
