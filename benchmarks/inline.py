"""An inline suite: experiments that the options of `python -m benchmarks run` describe, instead of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.experiment import FACTORY, Experiment, check_distinct, expand
from benchmarks.named_agents import AGENTS, DOES_NOT_LEARN
from benchmarks.suite import Suite
from seqtutor_envs.checks import temperature
from seqtutor_envs.command import json_object
from seqtutor_envs.files import hash_bytes

SECONDS = (60.0,)  # the budget where none is given
DIGITS = 6  # hexadecimal digits of the hash in a name


@dataclass(frozen=True)
class Inline:
    """Describe experiments without a suite: agents side by side on one environment, and the prior beside them.

    Args:
        env: environment id. The options below need it.
        agents: psi, g, q, rl (no prior), pg (policy gradient), reinvent, ahc (Augmented Hill-Climb), tb (trajectory
            balance), kl_ppo, ppo, maskable_ppo, recurrent_ppo, recurrent_ppo_prior (started as the prior), smc,
            rejection and best_of_n (samplers), best_of_prior, uniform, another prior's .safetensors file, or
            MODULE:FACTORY for your own.
        seconds: seconds of learning; each budget is a run of its own. Default: 60, unless --steps is given.
        steps: tokens to learn from, instead of seconds.
        seeds: one run for each seed.
        c: temperatures, one run for each. Default: the environment's own.
        n: sequences that each agent is evaluated on.
        settings: JSON, keywords of the constructors of all agents that learn, such as '{"lam": 0.0}', or of one agent
            by its name, such as '{"smc": {"particles": 1024}}'.
        weights: JSON, weights of the reward's terms, such as '{"repeated_motif": 0}'.
        env_kwargs: JSON, further keywords of the environment, such as '{"max_length": 60}'.
    """

    env: str | None = None
    agents: tuple[str, ...] = ("psi", "g", "pg")
    seconds: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    c: tuple[float, ...] = ()
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10_000
    settings: str = "{}"
    weights: str = "{}"
    env_kwargs: str = "{}"

    def suite(self) -> Suite:
        """Return the suite. Its name is the same for any number of seeds, so that more seeds join the same folder."""
        if self.seconds and self.steps:
            raise ValueError("Give --seconds or --steps, not both.")
        env = str(self.env)
        given = json_object(self.env_kwargs, "--env-kwargs")
        if weights := json_object(self.weights, "--weights"):
            given["term_weights"] = weights
        tasks = [{**given, "c": temperature(c)} for c in self.c] or [given]
        experiments = check_distinct([one for env_kwargs in tasks for one in self._of_task(env, env_kwargs)])
        # seed and label are left out of the name, so that more seeds continue the same results
        content = "\n".join(dict.fromkeys(replace(one, seed=0).id for one in experiments))
        domain = env.rpartition(":")[2].removeprefix("SeqTutor-").partition("-v")[0].lower().replace("/", "-")
        name = f"inline-{domain}-{hash_bytes(content, DIGITS // 2).hex()}"
        return Suite(name, f"How do {', '.join(self.agents)} compare on {env}?", experiments)

    def _of_task(self, env: str, env_kwargs: Mapping[str, Any]) -> list[Experiment]:
        """Return the experiments at one temperature; the prior and other agents that do not learn come first."""
        common = {"env": env, "env_kwargs": env_kwargs, "n": self.n}
        budgets: list[dict[str, Any]] = [{"steps": steps} for steps in self.steps]
        budgets = budgets or [{"seconds": seconds} for seconds in self.seconds or SECONDS]
        still: list[dict[str, Any]] = []
        learning: list[dict[str, Any]] = []
        # the prior always runs: J and KL mean little without it
        for name in dict.fromkeys(("prior", *self.agents)):
            variant = self._variant(name)
            (learning if _learns(variant) else still).append(variant)
        common_settings = [name for name, value in self._read_settings().items() if not isinstance(value, dict)]
        if common_settings and not learning:
            example = f'{{"{self.agents[0]}": {{"{common_settings[0]}": ...}}}}'
            raise ValueError(f"--settings are for agents that learn, and none here does; name the agent: {example}.")
        experiments = []
        for budget in budgets if learning else ():
            for one in expand({**common, "seed": self.seeds, **budget}, *learning):
                # runs that share a label are taken for seeds of one agent
                experiments.append(one if len(budgets) == 1 else replace(one, label=f"{one.label}, {one.budget}"))
        return [*expand(common, *still), *experiments]

    def _read_settings(self) -> dict[str, Any]:
        return json_object(self.settings, "--settings")

    def _variant(self, name: str) -> dict[str, Any]:
        """Return the factory, label and settings of an agent. Raises ValueError if the name is not known."""
        if name.endswith(".safetensors"):
            variant = {**AGENTS["prior"], "label": Path(name).stem, "agent_kwargs": {"file": check_prior(name)}}
        elif name in AGENTS:
            variant = AGENTS[name]
        elif FACTORY.fullmatch(name):
            variant = {"agent": name, "label": name}
        else:
            known = f"{', '.join(AGENTS)}, the .safetensors file of a prior, or MODULE:FACTORY for your own"
            raise ValueError(f"No agent is called {name!r}: {known}.")
        settings = self._read_settings()
        # a JSON object under an agent's name is for that agent; all else is for all that learn
        own = {key: settings.pop(key) for key in (*AGENTS, *self.agents) if isinstance(settings.get(key), dict)}
        if strangers := [key for key in own if key not in ("prior", *self.agents)]:
            raise ValueError(f"--settings has some for {strangers[0]}, which is not among --agents.")
        common = settings if _learns(variant) else {}
        return {**variant, "agent_kwargs": {**variant.get("agent_kwargs", {}), **common, **own.get(name, {})}}


def check_prior(name: str) -> str:
    """Return the name of a prior's file. Raise FileNotFoundError if there is none."""
    from seqtutor_envs.prior import find_prior

    find_prior(name)
    return name


def _learns(variant: Mapping[str, Any]) -> bool:
    return not DOES_NOT_LEARN.items() <= variant.items()
