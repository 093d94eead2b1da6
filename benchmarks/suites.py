"""The shipped suites: tuples of experiments, what each of them asks, and what they cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from benchmarks.domains import MELODY, SMILES
from benchmarks.experiment import Experiment, distinct, expand

EXACT = "SeqTutor-Exact-v0"


@dataclass(frozen=True)
class Suite:
    """Experiments that answer a question together.

    Attributes:
        name: of its folder of results.
        question: in a sentence.
        path: the file that it comes from; None of a shipped one.
    """

    name: str
    question: str
    experiments: tuple[Experiment, ...]
    path: Path | None = None

    def chosen(self, patterns: Sequence[str]) -> tuple[Experiment, ...]:
        """The experiments that match one of the patterns; all where there is none. Raises ValueError if none does."""
        if not patterns:
            return self.experiments
        found = tuple(one for one in self.experiments if any(one.matches(pattern) for pattern in patterns))
        if not found:
            some = ", ".join(dict.fromkeys(one.name for one in self.experiments))
            raise ValueError(f"No experiment of {self.name} matches {' or '.join(patterns)}; labels are {some}.")
        return found


PSI, G, Q = "agents:PsiLearning", "agents:GLearning", "agents:QLearning"
RL, PG = "agents:RLOnly", "agents.baselines:PolicyGradient"
OTHERS = "benchmarks.contestants"
PRIOR: dict[str, Any] = {"agent": f"{OTHERS}:prior", "label": "prior", "steps": None, "seconds": None, "seed": 0}
UNIFORM = {**PRIOR, "agent": f"{OTHERS}:uniform", "label": "uniform"}
TUTORS: tuple[dict[str, Any], ...] = (
    {"agent": PSI, "label": "Ψ"},
    {"agent": G, "label": "G"},
    {"agent": Q, "label": "Q"},
    {"agent": RL, "label": "RL only"},
)
GRADIENT = {"agent": PG, "label": "policy gradient"}

SMOKE = (
    *expand(
        {"env": EXACT, "env_kwargs.seed": 0, "seed": [0, 1], "steps": 20_000, "n": 2_000},
        UNIFORM,
        PRIOR,
        *TUTORS[:3],
        GRADIENT,
    ),
    *expand(
        {"env": MELODY, "seed": [0, 1], "steps": 100_000, "n": 2_000},
        PRIOR,
        *TUTORS,
        GRADIENT,
    ),
    *expand({"env": SMILES, "seed": 0, "steps": 20_000, "n": 200}, PRIOR, TUTORS[0]),
)

# On 81 and 243 sequences every agent can be held against the optimum. Exploration of Q and RL-only falls over half of
# the budget, as in the paper.
EXACT_TASKS = (
    {"env_kwargs.vocab_size": 3, "env_kwargs.length": 4, "env_kwargs.seed": [0, 1, 2]},
    {"env_kwargs.vocab_size": 3, "env_kwargs.length": 5, "env_kwargs.seed": [3]},
)
EXACT_PPO = {"agent_kwargs.n_envs": 64, "agent_kwargs.learning_rate": 1e-3}
EXACT_SUITE = tuple(
    experiment
    for task in EXACT_TASKS
    for experiment in expand(
        {"env": EXACT, **task, "seed": range(5), "steps": 250_000, "n": 20_000},
        UNIFORM,
        PRIOR,
        *TUTORS,
        GRADIENT,
        {"agent": f"{OTHERS}:ppo", "label": "PPO", **EXACT_PPO},
    )
)

# The paper's temperature and discount. huber=100 and a falling rate: at c = .5 a broken rule costs 200 nats.
PAPER_MELODY = expand(
    {
        "env": MELODY,
        "env_kwargs.c": 0.5,
        "agent_kwargs.gamma": 0.5,
        "agent_kwargs.huber": 100.0,
        "agent_kwargs.anneal": True,
        "seed": range(5),
        "steps": 1_000_000,
    },
    *TUTORS,
) + expand({"env": MELODY, "env_kwargs.c": 0.5}, PRIOR)

PAPER_SMILES = expand(
    {"env": SMILES, "seed": range(5), "steps": 400_000, "n": 2_000}, PRIOR, *TUTORS, GRADIENT
)

FRONTIER_MELODY = expand(
    {"env": MELODY, "env_kwargs.c": [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0], "seed": range(3), "steps": 2_000_000},
    PRIOR,
    *TUTORS[:2],
    GRADIENT,
)

FRONTIER_SMILES = expand(
    {"env": SMILES, "env_kwargs.c": [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5], "seed": range(3), "n": 2_000}
    | {"steps": 400_000},
    PRIOR,
    *TUTORS[:2],
    GRADIENT,
)

THIRD_PARTY = expand(
    {"env": MELODY, "seed": range(5), "seconds": 60.0},
    PRIOR,
    *TUTORS[:2],
    GRADIENT,
    {"agent": f"{OTHERS}:ppo", "label": "PPO"},
    {"agent": f"{OTHERS}:maskable_ppo", "label": "MaskablePPO"},
    {"agent": f"{OTHERS}:recurrent_ppo", "label": "RecurrentPPO"},
    {"agent": f"{OTHERS}:recurrent_ppo_prior", "label": "RecurrentPPO from the prior"},
)

ABLATIONS = expand(
    {"env": MELODY, "seed": range(3), "steps": 500_000},
    PRIOR,
    {"agent": PSI, "label": "Ψ"},
    {"agent": PSI, "label": "Ψ, γ .9", "agent_kwargs.gamma": 0.9},
    {"agent": PSI, "label": "Ψ, γ .5", "agent_kwargs.gamma": 0.5},
    {"agent": PSI, "label": "Ψ, one-step targets", "agent_kwargs.lam": 0.0},
    {"agent": PSI, "label": "Ψ, one-step, target rate .01", "agent_kwargs.lam": 0.0, "agent_kwargs.tau": 0.01},
    {"agent": PSI, "label": "Ψ, one-step, no lag", "agent_kwargs.lam": 0.0, "agent_kwargs.tau": 1.0},
    {"agent": PSI, "label": "Ψ, squared loss", "agent_kwargs.huber": None},
    {"agent": PSI, "label": "Ψ, huber 5", "agent_kwargs.huber": 5.0},
    {"agent": PSI, "label": "Ψ, head from 0", "agent_kwargs.head": "zero"},
    {"agent": G, "label": "G"},
    {"agent": G, "label": "G, head of the prior", "agent_kwargs.head": "prior"},
    {"agent": Q, "label": "Q"},
    {"agent": Q, "label": "Q, double", "agent_kwargs.double": True},
    {"agent": Q, "label": "Q, ε from .1", "agent_kwargs.epsilon_start": 0.1},
    {"agent": Q, "label": "Q, ε stays 1", "agent_kwargs.epsilon_end": 1.0},
)

SUITES = {
    suite.name: suite
    for suite in (
        Suite("smoke", "Does everything run, and learn a little?", SMOKE),
        Suite("exact", "How far from the optimum, log Z, does each agent end?", EXACT_SUITE),
        Suite("paper-melody", "Do the paper's findings on melodies hold, at its c = .5 and γ = .5?", PAPER_MELODY),
        Suite("paper-smiles", "Which agent makes better molecules without leaving the prior?", PAPER_SMILES),
        Suite("frontier-melody", "What return does each nat of KL buy, in melodies?", FRONTIER_MELODY),
        Suite("frontier-smiles", "What score does each nat of KL buy, in molecules?", FRONTIER_SMILES),
        Suite("third-party", "Do PPO and its kin do better in the same CPU time?", THIRD_PARTY),
        Suite("ablations", "Which part of the agents does the work?", ABLATIONS),
    )
}

# Core-seconds for 1,000 tokens learned, and for 1,000 sequences judged, on one core of a shared Xeon server; others are
# guessed by the agent's kin. `list` and the time left rest on them, no result does.
LEARNING = {MELODY: 0.018, SMILES: 0.10, EXACT: 0.05}
JUDGING = {MELODY: 0.4, SMILES: 7.0, EXACT: 0.05}
SLOWER = {"recurrent_ppo": 12.0, "recurrent_ppo_prior": 12.0, "ppo": 4.0, "maskable_ppo": 4.0}
START = 1.5  # core-seconds of a process
OF_CURVE = 1.2  # sequences judged while learning, over those at the end


def cost(experiment: Experiment) -> float:
    """Core-seconds that an experiment may take."""
    name = experiment.agent.partition(":")[2]
    judging = experiment.n / 1000 * JUDGING.get(experiment.env, 1.0) * SLOWER.get(name, 1.0)
    if experiment.steps is None and experiment.seconds is None:
        return START + judging
    rate = LEARNING.get(experiment.env, 0.1) * SLOWER.get(name, 1.0)
    learning = experiment.seconds or (experiment.steps or 0) / 1000 * rate
    return START + learning + judging * (1.0 + OF_CURVE)


def suite_named(name: str) -> Suite:
    """A shipped suite, or that of a Python file. Raises ValueError or FileNotFoundError in one line."""
    if name in SUITES:
        return SUITES[name]
    if not name.endswith(".py"):
        raise ValueError(f"No suite is called {name!r}: {', '.join(SUITES)}, or a Python file that defines SUITE.")
    return of_file(Path(name))


def of_file(path: Path) -> Suite:
    """SUITE of a user's file: experiments, or a Suite. Its folder can be imported from, as in `python FILE`."""
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = spec_from_file_location(f"suite_{path.stem}", path)  # a file may be called as one of our packages is
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the file is the user's, and so is what it raises
        raise ValueError(" ".join(f"{path}: {type(error).__name__}: {error}".split())) from error
    found = getattr(module, "SUITE", None)
    given = found.experiments if isinstance(found, Suite) else found
    if not (isinstance(given, (tuple, list)) and given and all(isinstance(one, Experiment) for one in given)):
        raise ValueError(f"{path} must define SUITE, a tuple of Experiments: see benchmarks/suites.py.")
    if isinstance(found, Suite):
        return Suite(found.name, found.question, distinct(given), path)
    return Suite(path.stem, (module.__doc__ or "").strip().partition("\n")[0], distinct(given), path)
