"""Describe an experiment as data: environment, agent, their keywords, budget, seed and the size of its evaluation."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from seqtutor_envs.checks import SEED, Range
from seqtutor_envs.files import hash_bytes

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
DIGITS = 10  # hexadecimal digits of an id: two of 2,000 experiments share one with a probability of 2e-6
KINDS = {**dict.fromkeys(("env", "agent", "label", "group"), str), "env_kwargs": Mapping, "agent_kwargs": Mapping}
DISPLAYED = ("label", "group")  # fields for tables alone, which change no result
RANGES = {
    "steps": Range(1, whole=True, optional=True),
    "seconds": Range(0.0, above=True, optional=True),
    "n": Range(2, whole=True),  # two, so that there are standard errors
    "seed": SEED,
}


@dataclass(frozen=True)
class Experiment:
    """Describe one run of one agent.

    Attributes:
        env: an environment's id, "module:id" where a module registers it.
        agent: "package.module:factory"; factory(env, seed=..., env_kwargs=..., **agent_kwargs) gives an agent: one with
            stable-baselines3's `learn` (ours, theirs), a benchmarks.contestants.Contestant, or one that does not learn.
        env_kwargs, agent_kwargs: keywords of both, of what JSON can hold.
        steps: tokens to learn from; or
        seconds: to learn for, by the clock that benchmarks.domains names for the environment. Without `steps` and
            `seconds` the agent does not learn.
        n: sequences that it is evaluated on.
        seed: of learning; the evaluation has a seed of its own.
        label: its name in tables; experiments that differ in `seed` alone share it. "": the factory's name.
        group: the task within a suite that has several. "": the environment with its keywords.
    """

    env: str
    agent: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    agent_kwargs: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    seconds: float | None = None
    n: int = 10_000
    seed: int = 0
    label: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        for name, kind in KINDS.items():
            if not isinstance(getattr(self, name), kind):
                what = "a text" if kind is str else "a mapping"
                raise ValueError(f"{name} must be {what}, not {getattr(self, name)!r}.")
        if not FACTORY.fullmatch(self.agent):
            raise ValueError(f"An agent is named as package.module:factory, not {self.agent!r}.")
        if self.steps is not None and self.seconds is not None:
            raise ValueError(f"{self.agent} has steps={self.steps} and seconds={self.seconds}: give one of them.")
        for name, found in RANGES.items():
            value, plain = getattr(self, name), found.check(name, getattr(self, name))
            # an integer of seconds stays one: the id is a hash of the text, in which 60 and 60.0 differ
            if isinstance(value, np.generic):
                object.__setattr__(self, name, plain)
        try:
            json.dumps(self.content, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.agent}: keywords must be what JSON can hold ({error}).") from None

    @property
    def content(self) -> dict[str, Any]:
        """Return all that decides the result; the id is its hash."""
        # fields at their defaults are left out, so that a new field changes no id
        plain = {"env": self.env, "agent": self.agent, "n": self.n, "seed": self.seed}
        others = [one for one in fields(self) if one.name not in (*plain, *DISPLAYED)]
        given = {one.name: getattr(self, one.name) for one in others}
        return plain | {one.name: given[one.name] for one in others if given[one.name] not in (one.default, {})}

    @property
    def id(self) -> str:
        """Return the id, a hash of the content: it names the result's file."""
        # sorted, so that the order of keywords changes no id
        text = json.dumps(self.content, sort_keys=True, allow_nan=False)
        digest = hash_bytes(text, DIGITS // 2).hex()
        return f"{self.agent.partition(':')[2].lower()}-seed{self.seed}-{digest}"

    @property
    def name(self) -> str:
        """Return the name for tables."""
        return self.label or self.agent.partition(":")[2]

    @property
    def task(self) -> str:
        """Return the task within which agents are compared: the group, or the environment and its keywords."""
        keywords = ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(self.env_kwargs.items()))
        return self.group or (f"{self.env} ({keywords})" if keywords else self.env)

    @property
    def budget(self) -> str:
        """Describe how long it learns."""
        if self.steps is None and self.seconds is None:
            return "does not learn"
        return f"{self.steps:,} tokens" if self.steps is not None else f"{self.seconds:g} s"

    def matches(self, pattern: str) -> bool:
        """Check whether its id, label or task contains the pattern, or matches it as a glob, in any case."""
        # plain text is found anywhere in a name; a glob must match all of it
        glob = pattern.lower() if any(sign in pattern for sign in "*?[") else f"*{pattern.lower()}*"
        return any(fnmatchcase(text.lower(), glob) for text in (self.id, self.name, self.task))

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Experiment:
        """Make an experiment from its fields, as `asdict` or `content` gave them and JSON kept them."""
        return cls(**content)


def expand(common: Mapping[str, Any], *variants: Mapping[str, Any]) -> tuple[Experiment, ...]:
    """Expand a grid: every combination of its values, with each variant on top.

    A value that is a list, tuple or range is a choice; all else stands for itself. "env_kwargs.c" sets one keyword, and
    leaves the others:

        expand({"env": "SeqTutor-Melody-v0", "env_kwargs.c": [0.5, 2.0], "seed": range(5), "steps": 100_000},
               {"agent": "agents:PsiLearning"}, {"agent": "agents:GLearning", "agent_kwargs.lam": [0.0, 1.0]})

    Raises ValueError if a field is not known or two experiments are the same.
    """
    known = {one.name for one in fields(Experiment)}
    made = []
    for variant in variants or ({},):
        grid = {**common, **variant}
        choices = [value if isinstance(value, (list, tuple, range)) else [value] for value in grid.values()]
        for chosen in itertools.product(*choices):
            values: dict[str, Any] = {}
            for path, value in zip(grid, chosen):
                name, _, keyword = path.partition(".")
                if name not in known:
                    raise ValueError(f"An experiment has no {name!r}; it has {', '.join(sorted(known))}.")
                before = values.get(name, {})
                if keyword:
                    values[name] = {**before, keyword: value}
                else:
                    # a keyword that was named by itself wins over the same one in a whole dict
                    values[name] = {**value, **before} if before else value
            made.append(Experiment(**values))
    return check_distinct(made)


def check_distinct(experiments: Sequence[Experiment]) -> tuple[Experiment, ...]:
    """Return the experiments. Raises ValueError if two are the same."""
    by_id: dict[str, Experiment] = {}
    for one in experiments:
        # they would share a file, and a table would count one run twice
        if one.id in by_id:
            raise ValueError(f"Two experiments are the same: {one.name}, seed {one.seed} ({one.id}).")
        by_id[one.id] = one
    return tuple(experiments)
