"""Distil the optimum into a network: fit a policy of so many cells to samples of the optimum by maximum likelihood.

What such a policy lacks of log Z is the network's, not a learner's: `python -m benchmarks.distill fit --cells 512`.

pi*(x) = p(x) exp(R(x) / c) / Z is sampled by sequential Monte Carlo from the prior. Natural logs. All figures but J are
estimates, since these samples stand in for samples of pi*.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from agents.baselines import FixedPolicy
from agents.evaluate.evaluation import evaluate_in_env
from benchmarks.domains import MELODY, SEED_APART, build_env_kwargs
from benchmarks.prior_samples import make_batch
from seqtutor_envs.bounds import run_smc
from seqtutor_envs.checks import COUNT
from seqtutor_envs.command import run
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.files import safetensors_path, write_atomically
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.prior import Prior, RecurrentPrior
from seqtutor_envs.prior.fit import Settings, fit
from seqtutor_envs.prior.masking import MaskedPrior, mask_prior
from seqtutor_envs.prior.recurrent_step import GATES
from seqtutor_envs.vocab import Floats, Tokens

PARTICLES = 16_384  # of an SMC run
DRAWN = 8_192  # samples taken from a run: half its particles, so that few of them are drawn twice
HELD_OUT = 2  # runs of which the validation set is drawn
SMALL = 0.02  # standard deviation of the weights of added cells: they differ from each other, and disturb little
SETTINGS = Settings(
    epochs=30, epoch_size=131_072, batch_size=256, learning_rate=2e-3, warmup=100, max_grad_norm=1.0
)  # ours: see docs/results.md


class Optimum(NamedTuple):
    """Hold n samples of the optimum, as sequential Monte Carlo draws them."""

    tokens: Tokens  # [n, T]
    lengths: Tokens  # [n]
    log_weights: Floats  # [n], log p + R / c, which is log pi* + log Z
    log_z: float  # estimate
    log_z_se: float  # its standard error


def sample_optimum(env: SequenceTutorVectorEnv, runs: int, seed: int, progress_bar: bool = False) -> Optimum:
    """Sample the optimum of an environment: DRAWN samples for each SMC run, each run weighted by its estimate of Z."""
    task, prior = env.task, mask_prior(env.prior, env.task)
    parts, log_z = [], []
    for number in make_bar(range(runs), desc="SMC runs", disable=not progress_bar):
        # a generator for each run: more runs begin with the same ones
        rng = np.random.default_rng((seed, number))
        found = run_smc(task, prior, env.c, runs=1, particles=PARTICLES, rng=rng)
        chosen = draw_systematic(np.exp(found.log_weights[0]), DRAWN, rng)
        value = found.log_p[0] + found.returns[0] / env.c
        tokens = found.tokens[0].astype(np.min_scalar_type(len(task.vocab)))  # a byte for a melody's token: a million
        parts.append((tokens[chosen], found.lengths[0][chosen], value[chosen]))
        log_z.append(float(found.log_z[0]))
    z = np.exp(np.array(log_z) - max(log_z))
    keep = draw_systematic(np.repeat(z, DRAWN), runs * DRAWN, np.random.default_rng((seed, runs)))
    tokens, lengths, value = (np.concatenate(columns)[keep] for columns in zip(*parts))
    error = z.std(ddof=1) / z.mean() / runs**0.5 if runs > 1 else np.nan
    return Optimum(tokens, lengths, value, max(log_z) + float(np.log(z.mean())), float(error))


def draw_systematic(weights: Floats, n: int, rng: np.random.Generator) -> Tokens:
    """Draw n indices by their weights, each as often as expected but for less than one."""
    edges = np.cumsum(weights)
    return np.searchsorted(edges, (rng.random() + np.arange(n)) / n * edges[-1], side="right").clip(max=len(edges) - 1)


def widen(prior: RecurrentPrior, cells: int, rng: np.random.Generator) -> RecurrentPrior:
    """Return a prior of one layer of more cells that computes the same.

    The added cells see all others, but neither the head nor the old cells see them at first.
    """
    old, gates = prior.hidden_size, GATES[prior.cell]
    if prior.num_layers != 1 or cells < old:
        raise ValueError(f"A network of {prior.num_layers} layers of {old} cells cannot be widened to {cells} cells.")

    def grow(name: str, array: Any) -> Any:
        rows = (len(prior.vocab) if name.startswith("head") else gates * cells, cells)
        shape = rows[:1] if array.ndim == 1 else rows if name != "rnn.weight_ih_l0" else (rows[0], array.shape[1])
        new = np.zeros(shape, np.float32) if name.startswith("head") else rng.normal(0, SMALL, shape)
        new = new.astype(np.float32)
        if name.startswith("head"):
            new[..., : array.shape[-1]] = array
            return new
        # by gate: torch stacks the gates' rows
        by_gate, given = new.reshape(gates, cells, *shape[1:]), array.reshape(gates, old, *array.shape[1:])
        if name == "rnn.weight_hh_l0":
            by_gate[:, :old] = 0.0
            by_gate[:, :old, :old] = given
        else:
            by_gate[:, :old] = given
        return new

    weights = {name: grow(name, array) for name, array in prior.weights.items()}
    return RecurrentPrior(weights, prior.cell, prior.vocab, prior.length, prior.card)


def distill(
    settings: Annotated[Settings, tyro.conf.arg(name="")] = SETTINGS,
    env: str = MELODY,
    c: float = 10.0,
    env_kwargs: str = "{}",
    runs: int = 128,
    start: str | None = None,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 4_000,
    out: Path = Path("distilled.safetensors"),
    resume: bool = False,
) -> None:
    """Fit a policy to samples of the optimum. Write it as a prior, and OUT.curve.json.

    Args:
        settings: how to train; hidden_size is the number of cells.
        env: an environment id.
        c: temperature.
        env_kwargs: JSON, further keywords of the environment.
        runs: SMC runs of 16,384 particles that training samples are drawn from, 8,192 each.
        start: the prior to start from, by name or path, widened if it has fewer cells. Default: the environment's own,
            or random weights if it has none.
        n: samples of the policy, by which J is estimated after each epoch.
        out: file to write.
        resume: continue an interrupted run of the same command.
    """
    kwargs = build_env_kwargs(env, env_kwargs) | {"c": c}
    batch = make_batch(env, kwargs)
    train = sample_optimum(batch, COUNT.check("--runs", runs), settings.seed, progress_bar=True)
    held_out = sample_optimum(batch, HELD_OUT, settings.seed + SEED_APART)
    print(f"{env}, c = {c:g}: log Z = {train.log_z:.3f} ± {train.log_z_se:.3f} by {runs} runs")
    watch = Watch(batch, COUNT.check("-n", n), settings.seed + SEED_APART)
    prior = fit(
        list_sequences(train), list_sequences(held_out), batch.task.vocab, out, settings, batch.task.length,
        {"environment": env, "environment_keywords": kwargs, "log_z": train.log_z}, resume, progress_bar=True,
        watch=watch, start=first_weights(batch.prior, start, settings),
    )  # fmt: skip
    curve = [complete(row, train, held_out) for row in prior.card["training"]["history"]]
    facts = {"env": env, "env_kwargs": kwargs, "cells": prior.hidden_size, "log_z": train.log_z}
    write_curve(out, facts | {"log_z_se": train.log_z_se, "curve": curve})
    print(f"{out}: J {curve[-1]['j']:.3f} ± {curve[-1]['j_se']:.3f}")


def first_weights(own: Prior, start: str | None, settings: Settings) -> RecurrentPrior | None:
    """Return what training starts from; None for random weights."""
    prior = own.inner if isinstance(own, MaskedPrior) else own
    chosen = prior if start is None else RecurrentPrior.load(start)
    if not isinstance(chosen, RecurrentPrior):
        return None
    return widen(chosen, settings.hidden_size, np.random.default_rng(settings.seed))


class Watch:
    """Estimate J of a policy in an environment by n samples, and measure the seconds since the last call."""

    def __init__(self, env: SequenceTutorVectorEnv, n: int, seed: int) -> None:
        self.env, self.n, self.seed, self.clock = env, n, seed, time.process_time()

    def __call__(self, policy: Prior) -> dict[str, float]:
        """Return J, its standard error, KL to the prior and the seconds of this process's CPU time."""
        agent = FixedPolicy(mask_prior(policy, self.env.task), self.env.task.length)
        found = evaluate_in_env(self.env, agent, self.n, self.seed)[0]
        before, self.clock = self.clock, time.process_time()
        return {name: found[name] for name in ("j", "j_se", "kl", "kl_se")} | {"seconds": self.clock - before}


def list_sequences(samples: Optimum) -> list[Tokens]:
    """Return each sample's tokens."""
    return [row[:length] for row, length in zip(samples.tokens, samples.lengths.tolist())]


def complete(row: Mapping[str, float], train: Optimum, held_out: Optimum) -> dict[str, float]:
    """Add to an epoch's losses the KL to the optimum, log Z - J, and from it, E_pi*[log p + R/c - log pi] - log Z."""
    log_pi = -row["validation_nll"] * held_out.lengths.sum() / len(held_out.lengths)
    kls = {"kl_to_optimum": train.log_z - row["j"], "kl_from_optimum": held_out.log_weights.mean() - log_pi - train.log_z}
    return {**row, **kls}


def write_curve(out: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts beside the policy, as OUT.curve.json."""
    path = safetensors_path(out).with_suffix(".curve.json")
    write_atomically(path, (json.dumps(facts, indent=1) + "\n").encode())


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    run({"fit": distill}, "python -m benchmarks.distill", args)


if __name__ == "__main__":
    main()
