"""The demonstration's melodies: the shipped note RNN, and what Psi-learning makes of it at several temperatures."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents import PsiLearning
from agents.baselines import FixedPolicy
from agents.evaluate.evaluation import evaluate_in_env
from agents.evaluate.gaps import find_log_z
from benchmarks.demo.learning import describe_agent, fine_tune
from benchmarks.demo.settings import DemoSettings
from benchmarks.domains import MELODY
from benchmarks.report.demo_page import SHOWN, learning_curve_png
from seqtutor_envs.melody.env import LENGTH
from seqtutor_envs.melody.metrics import PAPER_TABLE_1
from seqtutor_envs.melody.midi import to_wav, write_midi
from seqtutor_envs.melody.render import piano_roll, render_ansi
from seqtutor_envs.melody.rhythm import compute_distances
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior import load_prior

SAMPLE_RATE = 12_000  # Hz: the highest partial of the highest note is 5.9 kHz
ROLL_SIZE, ROLL_AXES, ROLL_DPI = (5.0, 2.5), (0.065, 0.1, 0.922, 0.875), 140  # inches; shares; note names are legible
# In the order of learning: each begins with what the one before has learned. 20 is the tutor's that is saved as
# OUT/agent.safetensors. After 20 CPU seconds each, in one chain, 4,000 melodies:
#   c                            prior    100     50     20     10      5      2
#   return R                       -79    -15     13     45     61     77     93
#   KL, nats                         0     .2     .7    1.8    3.0    5.0    9.6
#   entropy of note lengths       1.12   1.14   1.09    .83    .63    .46    .38
#   commonest opening, %           1.0    1.0     .8     .8    1.4    2.4   10.2
# (100 and 50 in a chain of their own, 15 s each.) G in its place has J .1, .3 and .6 nats higher at 20, 10 and 5, and
# rhythms a little further from the prior's.
TEMPERATURES = (50.0, 20.0, 5.0)
OUR_C, PAPER_C = 20.0, 0.5


def name_temperature(c: float) -> str:
    """Return the label of the tutor of a temperature: "c = 10"."""
    return f"c = {c:g}"


class Melodies:
    """The shipped note RNN, and what Psi-learning makes of it under the nine rules.

    Raises ValueError or FileNotFoundError in one line if the prior cannot be loaded.
    """

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        # with the agent's default lam, the paper's c = .5 ends in one loop
        options: dict[str, Any] = {"gamma": 0.5, "lam": 0.0} if settings.paper else {}
        self.agents = {
            c: PsiLearning(MELODY, seed=settings.seed, env_kwargs={"c": c, "prior": settings.prior}, **options)
            for c in ((PAPER_C,) if settings.paper else TEMPERATURES)
        }
        self.c = PAPER_C if settings.paper else OUR_C

    def run(self) -> dict[str, Any]:
        """Learn and evaluate a tutor at each temperature, evaluate the prior; returns all results.

        Once Ctrl-C ends the learning at one temperature, those that follow are left out.
        """
        settings = self.settings
        fixed = FixedPolicy(load_prior(settings.prior), LENGTH)
        # other melodies than the prior's own below: its distance from them shows how much chance is in such a number
        self.reference, _ = fixed.sample(settings.n, settings.seed + 1)
        tutors: dict[float, dict[str, Any]] = {}
        warmer: PsiLearning | None = None
        for c, agent in self.agents.items():
            if warmer is not None:
                # a copy, as Adam's state would else be shared by both
                agent.set_parameters(copy.deepcopy(warmer.get_parameters()))
            tutors[c] = self.tutor(agent)
            warmer = agent
            if tutors[c]["training"]["interrupted"]:
                break
        self.c = self.c if self.c in tutors else list(tutors)[-1]
        chosen = tutors[self.c]
        print(f"Evaluating the prior on {settings.n:,} melodies ...", flush=True)
        # last, as its J is that of the chosen temperature
        before = self.evaluate(fixed, self.agents[self.c])
        return {
            "n": settings.n,
            "c": self.c,
            "agent": describe_agent(self.agents[self.c]),
            "training": chosen["training"],
            "metrics": {"prior": before, "tutor": chosen["metrics"], "paper_psi": PAPER_TABLE_1["Psi"]},
            "samples": {"prior": self.sample(fixed), "tutor": chosen["samples"]},
            "curve": chosen["curve"],
            "tutors": {name_temperature(c): one for c, one in tutors.items()},
        }

    def tutor(self, agent: PsiLearning) -> dict[str, Any]:
        """Let an agent learn for its share of the time; returns its results."""
        settings = self.settings
        training, curve = fine_tune(
            agent, settings.seconds / len(self.agents), settings.min_distinct, name=name_temperature(agent.c)
        )
        print(f"Evaluating the tutor at {name_temperature(agent.c)} on {settings.n:,} melodies ...", flush=True)
        found = {"training": training, "metrics": self.evaluate(agent, agent), "samples": self.sample(agent)}
        return {"c": agent.c, **found, "curve": curve}

    def evaluate(self, policy: Any, agent: PsiLearning) -> dict[str, float]:
        """Return what `agents.evaluate.evaluate` says of a policy at the temperature of an agent, and its distances."""
        found, samples = evaluate_in_env(agent.env, policy, self.settings.n, self.settings.seed)
        log_z = find_log_z(policy, MELODY, {"c": agent.c, "prior": self.settings.prior})
        return found | compute_distances(samples.tokens, self.reference) | log_z

    def sample(self, agent: Any) -> list[dict[str, Any]]:
        """Sample the first SHOWN melodies of an agent, with their return and log p."""
        # the same seed for all; nothing is picked
        tokens, _ = agent.sample(SHOWN, self.settings.seed)
        returns = MelodyTask(LENGTH).reward(tokens).sum(axis=1)
        log_p = sequence_log_probs(load_prior(self.settings.prior), tokens)
        return [
            {"tokens": row.tolist(), "notes": render_ansi(row), "task_return": float(paid), "log_p": float(nats)}
            for row, paid, nats in zip(tokens, returns, log_p)
        ]

    def write(self, out: Path, results: Mapping[str, Any]) -> None:
        """Write the tutors, a learning curve, and melodies/before_1.mid, .wav, .png and so on.

        The tutor of `results["c"]` is OUT/agent.safetensors and its melodies are after_1 to after_8; that of another
        temperature is OUT/c5/agent.safetensors, and its melodies are c5_1 to c5_8.
        """
        (out / "learning_curve.png").write_bytes(learning_curve_png("melodies", results))
        folder = out / "melodies"
        folder.mkdir()
        write_melodies(folder, "before", results["samples"]["prior"])
        for one in results["tutors"].values():
            is_chosen, short = one["c"] == results["c"], f"c{one['c']:g}"
            at = out if is_chosen else out / short
            at.mkdir(exist_ok=True)
            self.agents[one["c"]].save(at / "agent")
            write_melodies(folder, "after" if is_chosen else short, one["samples"])


def write_melodies(folder: Path, name: str, samples: list[dict[str, Any]]) -> None:
    """Write FOLDER/NAME_1.mid, .wav and .png, and so on."""
    for number, melody in enumerate(samples, start=1):
        tokens, path = np.array(melody["tokens"]), folder / f"{name}_{number}"
        write_midi(tokens, path.with_suffix(".mid"))
        to_wav(tokens, path.with_suffix(".wav"), SAMPLE_RATE)
        figure = Figure(figsize=ROLL_SIZE, dpi=ROLL_DPI, facecolor="#ffffff")
        piano_roll(figure.add_axes(ROLL_AXES), tokens)
        FigureCanvasAgg(figure).print_png(path.with_suffix(".png"))
