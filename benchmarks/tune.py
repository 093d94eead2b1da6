"""`python -m benchmarks tune`: search an agent's settings for the highest J at a fixed budget, by Optuna.

A trial is a choice of settings; its score is the mean J over a few seeds, each an experiment with a result file like
any other. At the end the best settings meet the agent's own defaults on seeds that no trial has seen: the best of many
trials is lucky, and only what holds there is better.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks.domains import MELODY, SCORED_BY_PROCESSES, build_env_kwargs
from benchmarks.experiment import Experiment
from benchmarks.named_agents import AGENTS
from benchmarks.report.statistics import interval, mean, probability_of_improvement
from benchmarks.runner import results
from benchmarks.runner.local_engine import LocalEngine, count_jobs
from benchmarks.runner.run import plan, sweep
from seqtutor_envs.checks import COUNT, SEED, Range
from seqtutor_envs.command import json_object
from seqtutor_envs.files.locks import lock_folder
from seqtutor_envs.files.progress import make_bar

# a list is a choice; "low" and "high" are an interval, on a logarithmic scale where "log" says so
LEARNER = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "value_rate": {"low": 0.5, "high": 50.0, "log": True},
    "huber": {"low": 2.0, "high": 200.0, "log": True},
    "max_grad_norm": {"low": 0.1, "high": 10.0, "log": True},
    "n_envs": [32, 64, 128],
}
TUTOR = {**LEARNER, "lam": [0.9, 0.95, 1.0]}
ONE_STEP = {**LEARNER, "tau": {"low": 0.01, "high": 1.0, "log": True}}
SPACES: dict[str, dict[str, Any]] = {
    "psi": TUTOR,
    "g": TUTOR,
    "q": ONE_STEP,
    "rl": ONE_STEP,
    "pg": {
        "learning_rate": LEARNER["learning_rate"],
        "lam": [0.9, 0.95, 1.0],
        "value_weight": {"low": 0.05, "high": 5.0, "log": True},
        "max_grad_norm": LEARNER["max_grad_norm"],
        "n_envs": [32, 64, 128],
    },
}
FRESH = 1_000  # seeds of the last comparison are these and the following ones
STUDY = "study.journal"


def tune(
    agent: Annotated[str, tyro.conf.Positional],
    env: str = MELODY,
    steps: int = 300_000,
    trials: int = 40,
    seeds: int = 2,
    fresh_seeds: int = 5,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 2_000,
    space: str = "{}",
    settings: str = "{}",
    env_kwargs: str = "{}",
    out: Path = Path("tuning"),
    jobs: int | None = None,
    sampler_seed: int = 0,
) -> None:
    """Search an agent's settings for the highest J after a fixed number of tokens; the first trial is its defaults.

    Ctrl-C stops; the same command goes on, and with more --trials it goes further.

    Args:
        agent: psi, g, q, rl, pg, or package.module:factory.
        env: an environment id.
        steps: tokens that each run learns from.
        trials: settings that are tried, in all.
        seeds: runs of each.
        fresh_seeds: runs of the best settings and of the defaults in the end; 0 leaves that out.
        n: sequences that each run is evaluated on.
        space: JSON, keyword -> list of choices, or {"low": ..., "high": ..., "log": true}. Default: the agent's own.
        settings: JSON, keywords that stay the same.
        env_kwargs: JSON, keywords of the environment.
        out: folder of the study and of the results.
        jobs: experiments at once. Default: one for each core.
        sampler_seed: seed of the search.
    """
    optuna = import_optuna()
    factory = AGENTS[agent]["agent"] if agent in AGENTS else agent
    by_factory = {AGENTS[name]["agent"]: found for name, found in SPACES.items()}
    searched = json_object(space, "--space") or by_factory.get(factory)
    if not searched:
        raise ValueError(f"What is to be searched for {agent}? Give --space, such as '{{\"learning_rate\": [0.001]}}'.")
    for name, value in {"steps": steps, "trials": trials, "seeds": seeds}.items():
        COUNT.check(f"--{name}", value)
    Range(0, whole=True).check("--fresh-seeds", fresh_seeds)
    SEED.check("--sampler-seed", sampler_seed)
    check_space(searched)
    # experiments already take all cores, so that each scores its molecules by itself
    kwargs = build_env_kwargs(env, env_kwargs, workers=0 if env in SCORED_BY_PROCESSES else None)
    base = Experiment(env, factory, kwargs, steps=steps, n=n)
    search = Search(base, searched, json_object(settings, "--settings"), seeds, out, count_jobs(jobs))
    with lock_folder(out):
        study = search.study(optuna, sampler_seed)
        search.run(optuna, study, trials)
        print(format_trials(study))
        if fresh_seeds:
            print(search.compare_with_defaults(dict(study.best_params), fresh_seeds))


def check_space(space: Mapping[str, Any]) -> None:
    """Raise ValueError unless every interval of a space has two finite ends, the lower one first."""
    for name, values in space.items():
        if isinstance(values, Mapping):
            low = Range().check(f"low of --space {name}", values.get("low"))
            # Optuna's logarithmic scale begins above 0
            Range(0.0, above=True).check(f"low of --space {name}", low) if values.get("log") else None
            Range(low).check(f"high of --space {name}", values.get("high"))
        elif not isinstance(values, list) or not values:
            wanted = 'a list of choices or {"low": ..., "high": ...}'
            raise ValueError(f"--space {name} must be {wanted}, not {values!r}.")


def import_optuna() -> Any:
    """Import Optuna. Raises ImportError in one line if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ImportError("Optuna is not installed: pip install optuna (or '.[sweep]').") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@dataclass(frozen=True)
class Search:
    """Hold what a study's trials share.

    Attributes:
        base: the experiment without what is searched.
        space: keyword -> choices or interval.
        settings: keywords that stay the same.
        seeds: runs of each trial.
        folder: of the study and of the results.
        jobs: experiments at once.
    """

    base: Experiment
    space: Mapping[str, Any]
    settings: Mapping[str, Any]
    seeds: int
    folder: Path
    jobs: int

    def study(self, optuna: Any, seed: int) -> Any:
        """Open the study in the folder, or create one whose first trial is the defaults. Retry unfinished trials.

        Raises ValueError where the folder's study is about something else.
        """
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(self.folder / STUDY))
        )
        # constant_liar: trials that run at once do not all try the same place
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        # through JSON, because Optuna stores it so: tuples come back as lists
        about = json.loads(json.dumps({"content": self.base.content, "space": self.space, "settings": self.settings}))
        study = optuna.create_study(
            storage=storage, sampler=sampler, study_name="tune", direction="maximize", load_if_exists=True
        )
        if study.user_attrs.get("about", about) != about:
            other = f"The study in {self.folder} is about other settings or another budget"
            raise ValueError(f"{other}: give another --out.")
        if "about" not in study.user_attrs:
            study.set_user_attr("about", about)
            # the defaults first: the search then shows at once what it gains
            study.enqueue_trial({}, user_attrs={"defaults": True})
        # trials that Ctrl-C or a crash has cut short; their results on disk are used again
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
        return study

    def run(self, optuna: Any, study: Any, trials: int) -> None:
        """Run trials until so many have a score, a few at once."""
        states = (optuna.trial.TrialState.COMPLETE,)
        have = len(study.get_trials(states=states))
        # each trial is several experiments; more trials at once than cores teach the sampler nothing
        at_once = max(1, self.jobs // self.seeds)
        with make_bar(total=trials, initial=min(have, trials), desc="trials", unit="trial") as bar:
            while have < trials:
                asked = [study.ask() for _ in range(min(at_once, trials - have))]
                chosen = [self.suggest(trial) for trial in asked]
                scores = [float(np.mean(j)) for j in self.run_choices(chosen, range(self.seeds))]
                for trial, score in zip(asked, scores):
                    failed = {"state": optuna.trial.TrialState.FAIL} if math.isnan(score) else {}
                    study.tell(trial, None if failed else score, **failed)
                # otherwise a mistake in the settings would be tried for ever
                if all(math.isnan(score) for score in scores) and not have:
                    raise ValueError(f"No run ended well; {self.folder}/*{results.FAILED} say why.")
                have += sum(not math.isnan(score) for score in scores)
                bar.update(have - bar.n)
                bar.set_postfix_str(f"best J {study.best_value:.2f}")

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Return the settings of a trial; none for the defaults."""
        if trial.user_attrs.get("defaults"):
            return {}
        chosen = {}
        for name, values in self.space.items():
            if isinstance(values, Mapping):
                chosen[name] = trial.suggest_float(name, **values)
            else:
                chosen[name] = trial.suggest_categorical(name, list(values))
        return chosen

    def run_choices(self, chosen: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[list[float]]:
        """Return J of each choice at each seed, [choices][seeds]. NaN if a run failed. Existing results are used."""
        wanted = [
            [replace(self.base, agent_kwargs={**self.settings, **settings}, seed=seed) for seed in seeds]
            for settings in chosen
        ]
        # by id, because two trials may choose the same settings
        todo = plan(self.folder, list({one.id: one for row in wanted for one in row}.values()), retry_failed=False)
        if todo.todo:
            sweep(todo, self.folder, LocalEngine(self.jobs, self.folder), quiet=True)
        return [[self.read_j(one) for one in row] for row in wanted]

    def read_j(self, experiment: Experiment) -> float:
        """Read its J; NaN if it failed."""
        path = results.result_path(self.folder, experiment)
        value = results.read(path, experiment)["metrics"].get("j") if path.exists() else None
        return math.nan if value is None else float(value)

    def compare_with_defaults(self, best: Mapping[str, Any], seeds: int) -> str:
        """Compare the best settings with the defaults on seeds that the search has not seen."""
        fresh = range(FRESH, FRESH + seeds)
        tuned, defaults = (np.array(row) for row in self.run_choices([best, {}], fresh))
        chance = probability_of_improvement([tuned], [defaults])
        lines = [f"On {seeds} fresh seeds, mean J and its 95% interval:"]
        sides = (("best", tuned), ("defaults", defaults))
        for name, row in sides:
            found = interval(mean, [row])
            # a single seed has no interval
            ends = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
            lines.append(f"  {name:9} {found.value:.2f}{ends}")
        return "\n".join([*lines, f"  the best is higher in {chance.value:.0%} of the seeds"])


def format_trials(study: Any, rows: int = 5) -> str:
    """Format the best trials and the first one: J and settings."""
    done = [trial for trial in study.trials if trial.value is not None]
    best = sorted(done, key=lambda trial: -trial.value)[:rows]
    first = [trial for trial in done if trial.user_attrs.get("defaults") and trial not in best]
    lines = []
    for trial in [*best, *first]:
        rounded = {name: float(f"{x:.3g}") if isinstance(x, float) else x for name, x in trial.params.items()}
        settings = json.dumps(rounded) if rounded else "the defaults"
        lines.append(f"J {trial.value:8.3f}  trial {trial.number:3}  {settings}")
    return "\n".join(lines)
