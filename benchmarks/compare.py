"""`python -m benchmarks compare`: agents side by side under the same seconds, judged at several marks.

One JSON file for each run and mark, so that an interrupted comparison goes on where it stopped. The prior itself is
judged beside them, and so are the best of its samples at as many scores as a run has asked for.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.domains import CLOCKS, MELODY, SEED_APART, Clock, domain, keywords
from seqtutor_envs.command import json_object, one_thread

Name = Literal["psi", "g", "q", "rl", "pg", "ppo", "recurrent_ppo", "recurrent_ppo_prior"]
NAMES: tuple[str, ...] = get_args(Name)
BOTH = {"cpu_seconds": time.process_time, "wall_seconds": time.perf_counter}  # of learning, whichever one stops it
# beside a domain's own figures: distinct molecules scored while learning, the share of log Z - J(prior) that is closed
# with its standard error, log Z
BESIDE = ("scored", "share_closed", "share_closed_se", "log_z")
PRIOR, BEST = "prior", "best-of"
WIDTH = 22  # of a column; wider where its head is


def compare(
    env: str = MELODY,
    agents: tuple[Name, ...] = ("psi", "g", "pg"),
    seconds: tuple[float, ...] = (60.0, 300.0),
    steps: int | None = None,
    seeds: tuple[int, ...] = (0,),
    c: tuple[float, ...] = (),
    gamma: float = 1.0,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10_000,
    out: Path = Path("comparison"),
    label: str = "",
    settings: str = "{}",
    weights: str = "{}",
    env_kwargs: str = "{}",
    prior: str | None = None,
    clock: Clock | None = None,
    workers: int | None = None,
    samples: Path | None = None,
    best_of: int = 0,
) -> None:
    """Trains agents from the same prior and prints each figure's mean and standard deviation over seeds.

    Args:
        env: an environment id.
        agents: which ones: Psi-, G-, Q-learning, reinforcement learning alone, policy gradient; of stable-baselines3
            PPO on the tokens so far, of sb3-contrib RecurrentPPO, from scratch or started as the prior (all three with
            the KL penalty, so that they maximise J).
        seconds: marks, in seconds of learning, at which an agent is judged.
        steps: learn from so many tokens instead, and judge at the end.
        seeds: one run each.
        c: temperatures, a run each; none: the environment's own.
        gamma: discount.
        n: sequences judged at each mark.
        out: folder of the JSON files; runs that are in it already are not repeated.
        label: distinguishes settings within a folder.
        settings: further keywords of the agents' constructors as JSON, such as '{"lam": 0.0}', or of one of them, such
            as '{"q": {"epsilon_steps": 500000}}' (whose half of `learn`'s timesteps is never reached by the clock) or
            '{"ppo": {"n_epochs": 4}}'.
        weights: of the reward's terms, as JSON, such as '{"repeated_motif": 0}'.
        env_kwargs: further keywords of the environment as JSON, such as '{"max_length": 60}'.
        prior: a shipped name or a path; none: the environment's own.
        clock: of the marks: cpu, of this process alone; wall, which counts the work of scoring processes too. None: cpu
            for melodies, wall for molecules.
        workers: scoring processes of molecules; none: one for each core.
        samples: a file that `python -m benchmarks log-z` made in the same environment: shows the share of log Z -
            J(prior) that is closed.
        best_of: also judges the best n among so many distinct molecules of those samples; a run's file says under
            "scored" how many it has asked for.
    """
    import torch  # noqa: F401  (so that it runs on one thread, too)

    from benchmarks.contestants import check_installed

    one_thread()
    check_installed(agents)
    marks = [float(steps)] if steps is not None else sorted(seconds)
    if not marks or min(marks) <= 0:
        raise ValueError("Give marks of more than 0 seconds, or more than 0 steps.")
    if best_of and samples is None:
        raise ValueError("--best-of takes the best of --samples FILE: `python -m benchmarks log-z` makes one.")
    common = keywords(env, env_kwargs, weights, prior, workers)
    given = {"gamma": gamma, **json_object(settings, "--settings")}
    out.mkdir(parents=True, exist_ok=True)
    if samples is not None:
        of_prior(samples, env, common)  # what does not fit is known before the work
    plans = [
        Plan(
            env=env,
            marks=tuple(marks),
            unit="s" if steps is None else "steps",
            clock=clock or domain(env).clock,
            n=n,
            settings=given,
            env_kwargs={**common, **({} if value is None else {"c": value})},
            label=label + ("" if value is None else f"-c{value:g}"),
        )
        for value in (c or (None,))
    ]
    for plan in plans:
        plan.judge_prior(out)
        if best_of:
            assert samples is not None
            plan.judge_best(out, samples, best_of)
        for seed in seeds:
            for agent in agents:
                plan.run(out, agent, seed)
    heads = [head for plan in plans for head in plan.heads(agents, best_of)]
    print(summary(out, heads, domain(env).shown, None if samples is None else of_prior(samples, env, common).returns))


@dataclass(frozen=True)
class Plan:
    """What all runs of one temperature share."""

    env: str
    marks: tuple[float, ...]
    unit: str  # of the marks: "s", seconds of the clock, or "steps", tokens
    clock: Clock
    n: int
    settings: dict[str, Any]  # of the agents; what stands under the name of one is its own
    env_kwargs: dict[str, Any]
    label: str  # behind an agent's name in its files

    def heads(self, agents: Sequence[str], best_of: int) -> list[tuple[str, str]]:
        """The table's columns: each one's head and the pattern of its files."""
        found = [(f"{PRIOR}{self.label}", f"{PRIOR}{self.label}.json")]
        if best_of:
            found.append((f"{BEST}-{best_of}{self.label}", f"{BEST}-{best_of}{self.label}.json"))
        return found + [
            (f"{agent}{self.label} {end}", f"{agent}{self.label}-seed*-{end}.json")
            for agent in agents
            for end in self.ends
        ]

    @property
    def ends(self) -> list[str]:
        """The marks in names."""
        return [f"{int(mark) if mark == int(mark) else mark}{self.unit}" for mark in self.marks]

    def facts(self, agent: str = "") -> dict[str, Any]:
        """What must be the same where a file is taken for a run that has been done."""
        return {"n": self.n, "env": self.env_kwargs, **({"settings": self.settings_of(agent)} if agent else {})}

    def settings_of(self, agent: str) -> dict[str, Any]:
        """Those of all agents, then its own."""
        common = {name: value for name, value in self.settings.items() if name not in NAMES}
        return {**common, **self.settings.get(agent, {})}

    def missing(self, path: Path, agent: str = "") -> bool:
        """Whether the file is still to be made. Raises ValueError if it is of another run."""
        if not path.exists():
            return True
        was = json.loads(path.read_text())
        for name, value in self.facts(agent).items():
            if name in was and was[name] != value:
                found = f"{path} is of a run with {name}={json.dumps(was[name])}, not {json.dumps(value)}"
                raise ValueError(f"{found}: choose another --out or --label.")
        return False

    def run(self, out: Path, name: str, seed: int) -> None:
        """One agent, judged at each mark; writes one file a mark."""
        from agents.budget import NO_LIMIT
        from agents.evaluate import evaluate
        from benchmarks.contestants import contestant

        paths = [out / f"{name}{self.label}-seed{seed}-{end}.json" for end in self.ends]
        if not any([self.missing(path, name) for path in paths]):
            return
        agent = contestant(name, self.env, seed, self.env_kwargs, self.settings_of(name))
        model, spent = agent.model, 0.0
        used = dict.fromkeys(BOTH, 0.0)
        for mark, path in zip(self.marks, tqdm(paths, desc=f"{name}{self.label} seed {seed}", unit="mark")):
            goal, seconds = (NO_LIMIT, mark - spent) if self.unit == "s" else (int(mark), math.inf)
            begin = {which: clock() for which, clock in BOTH.items()}
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                spent += agent.learn(goal, seconds, CLOCKS[self.clock])
            used = {which: used[which] + clock() - begin[which] for which, clock in BOTH.items()}
            facts = {"agent": name, "seed": seed, "seconds": spent, "clock": self.clock, **used, "c": agent.c}
            facts |= {**self.facts(name), "timesteps": model.num_timesteps, **agent.written()}
            facts |= {"counts": dict(getattr(agent.task, "counts", {}))}
            facts |= {"warnings": [str(entry.message) for entry in caught]}
            write(path, facts, evaluate(model, self.env, self.n, seed + SEED_APART, agent.env_kwargs))
        agent.env.close()

    def judge_prior(self, out: Path) -> None:
        """The prior as an agent that does not learn."""
        from agents.evaluate import evaluate
        from benchmarks.contestants import prior
        from benchmarks.prior_samples import made

        path = out / f"{PRIOR}{self.label}.json"
        if not self.missing(path):
            return
        env = made(self.env, self.env_kwargs)
        env.close()
        agent = prior(self.env, seed=0, env_kwargs=self.env_kwargs)
        figures = evaluate(agent, self.env, self.n, SEED_APART, self.env_kwargs)
        write(path, {"agent": PRIOR, "c": env.c, **self.facts()}, figures)

    def judge_best(self, out: Path, path: Path, calls: int) -> None:
        """The n best of so many distinct samples of the prior; KL and J are those of always keeping that share."""
        from benchmarks.prior_samples import best_of, made
        from seqtutor_envs.judge import evaluate_samples

        target = out / f"{BEST}-{calls}{self.label}.json"
        if not self.missing(target):
            return
        samples = of_prior(path, self.env, self.env_kwargs)
        rows, drawn = best_of(samples, calls, self.n)
        env = made(self.env, self.env_kwargs)
        figures = evaluate_samples(env.task, samples.tokens[rows], samples.lengths[rows], env.prior, c=env.c)
        env.close()
        figures["kl"] = math.log(drawn / self.n)
        figures["j"] = figures["task_return"] / env.c - figures["kl"]
        figures["j_se"] = figures["task_return_se"] / env.c
        write(target, {"agent": BEST, "scored": calls, "drawn": drawn, "c": env.c, **self.facts()}, figures)


def of_prior(path: Path, env: str, env_kwargs: Mapping[str, Any]) -> Any:
    """The samples in a file. Raises ValueError if they are of another environment or prior."""
    from benchmarks.prior_samples import PriorSamples, facts_of, made

    batch = made(env, env_kwargs)
    batch.close()
    return PriorSamples.load(path, facts_of(batch, env, env_kwargs))


def write(path: Path, facts: Mapping[str, Any], figures: Mapping[str, float]) -> None:
    """One run at one mark."""
    from seqtutor_envs.files import write_atomically

    write_atomically(path, (json.dumps({**facts, "figures": figures}, indent=1) + "\n").encode())


def summary(out: Path, heads: Sequence[tuple[str, str]], shown: Sequence[str], returns: Any = None) -> str:
    """Mean and standard deviation over seeds of each figure: a line a figure, a column an agent and mark.

    Args:
        heads: each column's head, and the pattern of its files in `out`.
        shown: figures in this order; a line without any is left out.
        returns: [N], of samples of the prior, for what is said of log Z.
    """
    columns = {
        f"{head} ({len(files)})": [row_of(json.loads(path.read_text()), returns) for path in files]
        for head, pattern in heads
        if (files := sorted(out.glob(pattern)))
    }
    widths = [max(len(head) + 2, WIDTH) for head in columns]
    lines = [" " * WIDTH + "".join(f"{head:>{width}}" for head, width in zip(columns, widths))]
    for figure in (*shown, *BESIDE):
        cells = [np.array([row[figure] for row in rows if figure in row], float) for rows in columns.values()]
        if any(len(cell) for cell in cells):
            texts = ((f"{cell.mean():.4f} ± {cell.std():.4f}" if len(cell) else "") for cell in cells)
            lines.append(f"{figure:{WIDTH}}" + "".join(text.rjust(width) for text, width in zip(texts, widths)))
    return "\n".join(lines)


def row_of(run: Mapping[str, Any], returns: Any = None) -> dict[str, float]:
    """The figures of one run, and with returns of the prior's samples what log Z makes of them."""
    from benchmarks.log_z import estimate, share_closed

    row = {**run["figures"], **({"scored": run["scored"]} if "scored" in run else {})}
    if returns is not None and "j" in row:
        row["log_z"] = estimate(returns, run["c"]).value
        row["share_closed"], row["share_closed_se"] = share_closed(row["j"], row.get("j_se", 0.0), returns, run["c"])
    return row
