"""Run one experiment, from data to result: make an agent, let it learn under its budget, evaluate it."""

from __future__ import annotations

import math
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import Any

import numpy as np

from agents.evaluate import evaluate_in_env, make_env
from agents.samplers import Sampler
from agents.sb3.budget import NO_LIMIT
from benchmarks.contestants import Contestant, make_agent
from benchmarks.domains import CLOCKS, SEED_APART, Clock, choose_clock
from benchmarks.experiment import Experiment
from benchmarks.runner.provenance import collect_provenance
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior.masking import mask_prior

POINTS = 12  # of a learning curve, with its start and its end
CURVE_SHARE, CURVE_LEAST = 10, 200  # a point is evaluated on n / 10 sequences, but on 200 or all n at least
CURVE = ("j", "j_se", "kl", "task_return", "distinct", "gap")
SAMPLES = 8  # sequences that a result keeps
BEST = 10  # molecules that it keeps of those scored with a budget
OnProgress = Callable[[dict[str, Any]], None]


class Stopwatch:
    """Read a clock that stands still within `paused()`: evaluations are no part of a budget."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._left_out = clock, 0.0
        self._stopped_at: float | None = None

    def __call__(self) -> float:
        return (self._clock() if self._stopped_at is None else self._stopped_at) - self._left_out

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._stopped_at = self._clock()
        yield
        # no try: if the evaluation raises, the experiment has failed and nobody reads the clock
        self._left_out += self._clock() - self._stopped_at
        self._stopped_at = None


class CurveRecorder:
    """Record a learning curve: evaluate an agent on a few sequences after each share of its budget.

    Args:
        experiment: what is learned.
        agent: who learns.
        on_progress: called with each point.
    """

    def __init__(self, experiment: Experiment, agent: Contestant, on_progress: OnProgress) -> None:
        self.experiment, self.agent, self.on_progress = experiment, agent, on_progress
        self.clocks = {name: Stopwatch(clock) for name, clock in CLOCKS.items()}
        self.points: list[dict[str, Any]] = []
        self.n = min(experiment.n, max(CURVE_LEAST, experiment.n // CURVE_SHARE))
        self._begin = {name: clock() for name, clock in self.clocks.items()}

    def clock(self) -> float:
        """Read the clock of the budget."""
        return self.clocks[choose_clock(self.experiment.env)]()

    def spent(self, which: Clock | None = None) -> float:
        """Return the seconds of learning, by the clock of that name or of the budget."""
        name = which or choose_clock(self.experiment.env)
        return self.clocks[name]() - self._begin[name]

    def after_round(self) -> None:
        """Add a point if one is due. Called after each round."""
        steps, seconds = self.experiment.steps, self.experiment.seconds
        # the share of the budget, in the unit of the budget
        share = self.agent.model.num_timesteps / steps if steps is not None else self.spent() / (seconds or math.inf)
        # points are due at equal shares; a round longer than a share gives one, not several
        if (POINTS - 1) * share >= len(self.points):
            self.add_point(min(1.0, share))

    def add_point(self, share: float) -> None:
        """Evaluate the agent and add the point, while the clocks stand still."""
        # both clocks: a result reports the seconds of learning by both
        with self.clocks["cpu"].paused(), self.clocks["wall"].paused(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the evaluation at the end gives them again
            # the same sequences of random numbers at each point, apart from those of learning
            seed = self.experiment.seed + SEED_APART
            model, kwargs = self.agent.model, without_budget(self.agent.env_kwargs)
            with closing(make_env(model, self.experiment.env, self.n, kwargs)) as env:
                # a point keeps CURVE alone
                metrics, _ = evaluate_in_env(env, model, self.n, seed, task_metrics=False)
            point = {"timesteps": int(self.agent.model.num_timesteps), "seconds": round(self.spent(), 3)}
            self.points.append(point | {name: float(metrics[name]) for name in CURVE if name in metrics})
            self.on_progress({"share": share, "j": metrics.get("j"), "task_return": metrics["task_return"]})


def perform(experiment: Experiment, on_progress: OnProgress = lambda progress: None) -> dict[str, Any]:
    """Run an experiment in this process and return its result, as benchmarks.runner.results writes it.

    Args:
        on_progress: called with {"share": of the budget, "j", "task_return"}.

    Raises whatever the agent or the environment raises.
    """
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as noted:
        # Python shows a warning once per place; here each run must record its own
        warnings.simplefilter("always", UserWarning)
        agent = make_agent(
            experiment.agent, experiment.env, experiment.seed, experiment.env_kwargs, experiment.agent_kwargs
        )
        if isinstance(agent, Contestant):
            learned = learn(experiment, agent, on_progress)
            model, sampled, kwargs = agent.model, agent.evaluated, agent.env_kwargs
        else:
            learned = {"curve": [], "timesteps": 0}
            model, sampled, kwargs = agent, agent, dict(experiment.env_kwargs)
        # separates learning from evaluation in the times of the result
        learned_at = time.perf_counter()
        evaluated = evaluate_agent(experiment, sampled, without_budget(kwargs))
        if "oracle_budget" in kwargs and not isinstance(agent, Contestant):
            # an agent that does not learn asks for scores when it samples
            learned |= summarize_calls(getattr(getattr(model, "env", None), "task", None))
        evaluated["metrics"] |= learned.pop("oracle", {})
        if isinstance(sampled, Sampler):
            # beside those that a guide has learned from
            before = learned.get("sequences", 0), learned.get("scored", 0)
            learned |= {"sequences": before[0] + sampled.scored, "scored": before[1] + sampled.scored}
    end = time.perf_counter()
    learning: dict[str, float] = learned.pop("seconds", {})
    seconds = learning | {"judging_wall": end - learned_at, "total_wall": end - begin}
    return {
        **evaluated,
        **learned,
        "time": {name: round(value, 3) for name, value in seconds.items()},
        "peak_memory_mib": round(peak_memory_mib(), 1),
        "weights": weights_hash(model),
        # once each, in the order in which they came
        "warnings": list(dict.fromkeys(str(entry.message) for entry in noted)),
        "seeds": {"learning": experiment.seed, "judging": experiment.seed + SEED_APART},
        **collect_provenance(),
    }


def learn(experiment: Experiment, agent: Contestant, on_progress: OnProgress) -> dict[str, Any]:
    """Let the agent learn under its budget. Return the curve, the counts and the seconds."""
    curve = CurveRecorder(experiment, agent, on_progress)
    try:
        if experiment.steps is not None or experiment.seconds is not None:
            # the start, so that curves show how far an agent has come
            curve.add_point(0.0)
            agent.learn(experiment.steps or NO_LIMIT, experiment.seconds or math.inf, curve.clock, curve.after_round)
        seconds = {f"learning_{name}": curve.spent(name) for name in CLOCKS}
        # unless the last round has just added it
        if curve.points and curve.points[-1]["timesteps"] < agent.model.num_timesteps:
            curve.add_point(1.0)
    finally:
        if agent.env is not None:
            # ends the scoring processes, also when learning fails; the evaluation starts its own
            agent.env.close()
    return {
        "curve": curve.points,
        "timesteps": int(agent.model.num_timesteps),
        **agent.count_sequences(),
        "counts": dict(getattr(getattr(agent, "task", None), "counts", {})),
        **summarize_calls(getattr(agent, "task", None)),
        "seconds": seconds,
    }


def summarize_calls(task: Any) -> dict[str, Any]:
    """Return what a user's objective was asked for: `oracle`, metrics; with a budget all `calls`, and the `best`."""
    objective = getattr(task, "objective", None)
    if objective is None:
        return {"oracle": {}}
    # a user's own objective may have failed for some valid molecules
    valid = sum(task.counts[reason] for reason in ("valid", "objective failed"))
    metrics = task.summarize_calls() | {"repeats": 1 - objective.oracle.calls / valid if valid else 0.0}
    if objective.oracle.budget is None:
        return {"oracle": metrics}
    best = [dict(zip(("smiles", "score", "call"), row)) for row in objective.oracle.best(BEST)]
    return {"oracle": metrics, "calls": objective.oracle.format_calls(), "best": best}


def without_budget(env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Lift a budget of scores, which was to learn with: an evaluation's do not count."""
    return {name: None if name == "oracle_budget" else value for name, value in env_kwargs.items()}


def evaluate_agent(experiment: Experiment, model: Any, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate the agent. Return its metrics, the temperature, and the first of the sequences."""
    with closing(make_env(model, experiment.env, experiment.n, env_kwargs)) as env:
        metrics, (tokens, lengths, _) = evaluate_in_env(env, model, experiment.n, experiment.seed + SEED_APART)
        tokens, lengths = tokens[:SAMPLES], lengths[:SAMPLES]
        # under the prior as the environment masks it, as in the reward
        log_p = sequence_log_probs(mask_prior(env.prior, env.task), tokens, lengths)
        terms = {name: term.sum(axis=1) for name, term in env.task.terms(tokens, lengths).items()}
        returns = env.task.reward(tokens, lengths).sum(axis=1)
        samples = [
            {
                "tokens": row[:length].tolist(),
                "sequence": env.task.sequence(row[:length]),
                "task_return": float(returns[i]),
                "log_p": float(log_p[i]),
                "terms": {name: float(term[i]) for name, term in terms.items()},
            }
            for i, (row, length) in enumerate(zip(tokens, lengths))
        ]
        metrics = {name: float(value) for name, value in metrics.items()}
        kind = getattr(model, "j_kind", "estimate")
        return {"c": float(env.c), "metrics": metrics, "j_kind": kind, "samples": samples}


def weights_hash(model: Any) -> str | None:
    """Return the sha256 of the weights of one of our agents or a stable-baselines3 model; None without weights."""
    if not hasattr(model, "get_parameters"):
        return None
    digest = sha256()
    for part, state in sorted(model.get_parameters().items()):
        for name, value in sorted(state.items()):
            if hasattr(value, "detach"):  # numbers are the optimiser's
                digest.update(f"{part}.{name}".encode())
                digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
    return digest.hexdigest()


def peak_memory_mib() -> float:
    """Return the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, Linux in KiB
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
