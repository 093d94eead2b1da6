"""Compare environments and their batches, rules, sampling and start-up with their limits.

N sequences, T steps, V tokens. All sides of a comparison play or read the same samples of the prior, because a rule's
cost and a molecule's length depend on the tokens.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env as make_dummy_vec_env

import seqtutor_envs  # noqa: F401  (registers the ids)
from benchmarks.domains import MELODY, SMILES
from benchmarks.speed.measure import SEED, Aim, Comparison, Options, Sides
from seqtutor_envs.melody.metrics import table
from seqtutor_envs.melody.rules import melody_rules, step_rules
from seqtutor_envs.prior import Prior, find_prior, load_prior
from seqtutor_envs.sb3 import make_vec_env

Tokens = NDArray[np.int64]
EXACT = "SeqTutor-Exact-v0"
LENGTH = 32  # tokens of a melody
ROOT = Path(__file__).parents[2]
LEAST = "import gymnasium, numpy"
FIRST_STEP = """
import gymnasium, seqtutor_envs
env = gymnasium.make({id!r}, **{kwargs!r})
env.reset(seed=0)
env.step(0)
"""
END = "\nimport os; os._exit(0)"  # the end of a process is not part of its start


# ---------------------------------------------------------------- the bare prior


def load(options: Options, env_id: str) -> Prior:
    """Return the prior that the command names for an id."""
    return load_prior(options.melody_prior if env_id == MELODY else options.smiles_prior)


def prior_steps(prior: Prior, tokens: Tokens, lengths: Tokens | None = None) -> Callable[[], None]:
    """Return a function that takes the prior's bare steps along `tokens` [N, T], the start token's first.

    Sequences leave the batch after `lengths` [N] tokens, as they do in `Prior.sample`; None keeps all of them.
    """
    # prepared outside of `run`, so that only the prior's steps are timed
    live, fed = np.arange(len(tokens)), []
    for t in range(tokens.shape[1] - 1):
        going = np.ones(len(live), bool) if lengths is None else lengths[live] > t + 1
        live = live[going]
        fed.append((tokens[live, t], None if going.all() else going))

    def run() -> None:
        _, state = prior.step(np.full(len(tokens), prior.vocab.start), prior.initial_state(len(tokens)))
        for last, going in fed:
            if going is not None:
                state = tuple(part[going] for part in state)
            _, state = prior.step(last, state)

    return run


def endless_samples(prior: Prior, n: int, steps: int) -> Tokens:
    """Return tokens [n, steps]: in each row the prior's samples, one after the other.

    For environments that start a sequence anew in the step that ends one.
    """
    # more than n, because molecules are shorter than `steps`
    tokens, lengths = prior.sample(4 * n, SEED, steps)
    samples, rows = cycle([row[:length] for row, length in zip(tokens, lengths)]), []
    for _ in range(n):
        row = next(samples)
        while len(row) < steps:
            row = np.concatenate([row, next(samples)])
        rows.append(row[:steps])
    return np.array(rows)


# ---------------------------------------------------------------- environments


def play(env: Any, actions: Any) -> None:
    """Reset an environment of any kind and take the actions."""
    env.reset()
    for action in actions:
        env.step(action)


def batch_and_prior(options: Options, env_id: str, n: int, infos: str) -> Sides:
    """Compare a native batch with the bare prior's steps along the same tokens.

    Melodies end all at once. Molecules end at different times, so those that end start anew in the same step; their
    scores are known after the first call.
    """
    prior = load(options, env_id)
    # the default would spend a step on each reset, which the bare prior does not
    mode: dict[str, Any] = {} if env_id == MELODY else {"autoreset_mode": "SameStep"}
    env: Any = gym.make_vec(env_id, num_envs=n, prior=prior, infos=infos, **mode)
    tokens = endless_samples(prior, n, env.task.length)
    limits = {"bare prior": prior_steps(prior, tokens)}
    return Sides(partial(play, env, columns(tokens)), limits, tokens.size)


def columns(tokens: Tokens) -> list[Tokens]:
    """Return the T steps of tokens [N, T], [N] each."""
    return list(np.ascontiguousarray(tokens.T))


def single_and_prior(options: Options, wrapped: bool) -> Sides:
    """Compare one environment, as `gym.make` gives it or unwrapped, with the bare prior on one sequence."""
    prior = load(options, MELODY)
    env: Any = gym.make(MELODY, prior=prior)
    tokens = endless_samples(prior, 1, LENGTH)
    limits = {"bare prior, one sequence": prior_steps(prior, tokens)}
    return Sides(partial(play, env if wrapped else env.unwrapped, tokens[0].tolist()), limits, LENGTH)


def batch_and_singles(options: Options, n: int) -> Sides:
    """Compare the native batch with Gymnasium's batch of single environments."""
    prior = load(options, MELODY)
    ours, singles = (gym.make_vec(MELODY, n, mode, prior=prior) for mode in ("vector_entry_point", "sync"))
    steps = columns(endless_samples(prior, n, LENGTH))
    return Sides(partial(play, ours, steps), {"SyncVectorEnv": partial(play, singles, steps)}, n * LENGTH)


def vec_env(options: Options, env_id: str, n: int, infos: str, dummy: bool = False) -> Sides:
    """Compare `make_vec_env` with the native batch that it wraps, or with stable-baselines3's own DummyVecEnv.

    Both environments share one task, which keeps the scores.
    """
    native: Any = gym.make_vec(env_id, num_envs=n, autoreset_mode="SameStep", prior=load(options, env_id), infos=infos)
    shared: dict[str, Any] = {"prior": native.prior, "task": native.task}
    rival = make_dummy_vec_env(env_id, n, env_kwargs=shared) if dummy else native
    steps = columns(endless_samples(native.prior, n, native.task.length))
    name = "DummyVecEnv (Monitor)" if dummy else f"native, infos={infos!r}"
    ours = make_vec_env(env_id, n, infos=infos, **shared)
    return Sides(partial(play, ours, steps), {name: partial(play, rival, steps)}, n * len(steps))


# ---------------------------------------------------------------- rules, sampling, start-up


def rules_and_prior(options: Options, n: int) -> Sides:
    """Compare the nine rules, one step after the other as the environment asks for them, with the bare prior."""
    prior = load(options, MELODY)
    tokens, at = endless_samples(prior, n, LENGTH), [np.full(n, step) for step in range(LENGTH)]

    def rules() -> None:
        for steps in at:
            step_rules(tokens, steps, LENGTH)

    return Sides(rules, {f"bare prior, {n:,}": prior_steps(prior, tokens)}, tokens.size / 1e6)


def table_and_rules(options: Options, n: int) -> Sides:
    """Compare `metrics.table` of n melodies with the rules, which it cannot do without."""
    # repeated, because the rules take the same time on equal melodies, and sampling 100,000 takes longer
    few = endless_samples(load(options, MELODY), 2_000, LENGTH)
    tokens = np.resize(few, (n, LENGTH))
    return Sides(lambda: table(tokens), {"melody_rules": lambda: melody_rules(tokens, LENGTH)})


def sample_and_prior(options: Options, env_id: str, n: int) -> Sides:
    """Compare `prior.sample` with the bare prior's steps along the same tokens; sequences that are over leave both."""
    prior = load(options, env_id)
    tokens, lengths = prior.sample(n, SEED)
    return Sides(lambda: prior.sample(n, SEED), {"bare prior": prior_steps(prior, tokens, lengths)}, n)


def start_and_imports(options: Options, env_id: str) -> Sides:
    """Compare a new process, up to its first step of an id, with the least imports.

    The first call, which is not counted, fills numba's cache and the operating system's.
    """
    names = {MELODY: options.melody_prior, SMILES: options.smiles_prior}
    kwargs = {"prior": str(find_prior(names[env_id]))} if env_id in names else {}
    code = FIRST_STEP.format(id=env_id, kwargs=kwargs)
    return Sides(partial(run_python, code), {LEAST: partial(run_python, LEAST)})


def run_python(code: str) -> None:
    """Run code in a new process. Raises RuntimeError with the last line of its error output if it fails."""
    # one thread, as all other sides have
    command, environment = [sys.executable, "-c", code + END], os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise RuntimeError(f"a new process ended with status {done.returncode}: {reason}")


STEPS, DOMAINS = "steps/s", (("melodies", MELODY), ("molecules", SMILES))
FORTY_THOUSAND = Aim(40_000, of="value")
A_SECOND, SOON = Aim(1.0, of="value", at_most=True), Aim(1.5, of="value", at_most=True)
ENVIRONMENTS = (
    ("melodies", MELODY, 64, "full", Aim(0.70)),
    ("melodies", MELODY, 256, "full", Aim(0.80)),
    ("melodies", MELODY, 256, "end", Aim(0.90)),
    ("melodies", MELODY, 1024, "full", Aim(0.85)),
    ("melodies", MELODY, 1024, "end", Aim(0.90)),
    ("molecules", SMILES, 64, "full", None),
    ("molecules", SMILES, 256, "full", None),
)
VEC_ENVS = (
    ("melodies", MELODY, 1, "end", False, None),
    ("melodies", MELODY, 64, "end", False, Aim(0.80)),
    ("melodies", MELODY, 256, "end", False, Aim(0.80)),
    ("melodies", MELODY, 1024, "end", False, None),
    ("melodies", MELODY, 64, "full", False, None),
    ("melodies", MELODY, 64, "end", True, None),
    ("molecules", SMILES, 64, "end", False, None),
)
COMPARISONS = (
    *(
        Comparison(
            section="environment",
            name=f"{what}, batch of {n:,}, infos={infos!r}",
            unit=STEPS,
            setup=partial(batch_and_prior, env_id=env_id, n=n, infos=infos),
            aim=aim,
        )
        for what, env_id, n, infos, aim in ENVIRONMENTS
    ),
    Comparison("single", "one melody, gym.make", STEPS, partial(single_and_prior, wrapped=True), FORTY_THOUSAND),
    Comparison("single", "one melody, unwrapped", STEPS, partial(single_and_prior, wrapped=False), FORTY_THOUSAND),
    Comparison("single", "8 melodies, native", STEPS, partial(batch_and_singles, n=8)),
    Comparison("single", "64 melodies, native", STEPS, partial(batch_and_singles, n=64)),
    *(
        Comparison(
            section="vec-env",
            name=f"{what}, batch of {n:,}, infos={infos!r}",
            unit=STEPS,
            setup=partial(vec_env, env_id=env_id, n=n, infos=infos, dummy=dummy),
            aim=aim,
        )
        for what, env_id, n, infos, dummy, aim in VEC_ENVS
    ),
    Comparison("rules", "nine rules, step by step", "Msteps/s", partial(rules_and_prior, n=256)),
    Comparison("rules", "metrics.table, 100,000 melodies", "s", partial(table_and_rules, n=100_000), A_SECOND),
    *(
        Comparison("sampling", f"{what}, batch of {n:,}", f"{what}/s", partial(sample_and_prior, env_id=env_id, n=n))
        for what, env_id in DOMAINS
        for n in (64, 256, 1024)
    ),
    *(
        Comparison("startup", f"{env_id}, first step", "s", partial(start_and_imports, env_id=env_id), SOON, wall=True)
        for env_id in (MELODY, SMILES, EXACT)
    ),
)
