"""`python -m agents train | sample | evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from seqtutor_envs.command import one_thread, run

Folder = Annotated[Path, tyro.conf.Positional]
Count = Annotated[int, tyro.conf.arg(aliases=["-n"])]
AGENT_FILE = "agent.safetensors"


def train(
    env: Annotated[str, tyro.conf.Positional],
    agent: Literal["psi", "q", "g", "rl", "pg"] = "psi",
    steps: int = 2_000_000,
    seed: int = 0,
    out: Path = Path("tutor"),
    resume: bool = False,
    c: float | None = None,
    gamma: float | None = None,
    lam: float | None = None,
    env_kwargs: str = "{}",
    settings: str = "{}",
) -> None:
    """Trains an agent; OUT then holds agent.safetensors, progress.csv (progress-STEPS.csv from each --resume on) and
    TensorBoard's events.

    Ctrl-C keeps what was learned; --resume goes on from there to the same end.

    Args:
        env: an environment id, such as SeqTutor-Melody-v0.
        agent: Psi-, Q- or G-learning, reinforcement learning alone, or the policy gradient.
        steps: tokens to learn from, in all.
        seed: of everything random.
        out: the folder to write.
        resume: go on with the agent in OUT; --seed, --agent and the settings are then the saved ones.
        c: temperature of the reward log p + r_T / c; None is the environment's own.
        gamma: discount; None is the agent's own.
        lam: of the multi-step soft return (psi, g); None is the agent's own.
        env_kwargs: further keywords of the environment as JSON, such as '{"length": 64}'.
        settings: further keywords of the agent as JSON, such as '{"n_envs": 64, "tau": 0.05}'.
    """
    from gymnasium.error import Error as GymnasiumError
    from stable_baselines3.common.logger import Logger, make_output_format

    path = out / AGENT_FILE
    if resume:
        learner = _load(out)
    elif path.exists():
        raise ValueError(f"{path} exists: add --resume to go on with it, or choose another --out.")
    else:
        given = {name: value for name, value in {"gamma": gamma, "lam": lam}.items() if value is not None}
        keywords = {**_json(env_kwargs, "--env-kwargs"), **({} if c is None else {"c": c})}
        try:
            learner = agent_classes()[agent](
                env, seed=seed, env_kwargs=keywords, **given, **_json(settings, "--settings")
            )
        except TypeError as error:
            raise ValueError(f"Unknown keyword: {error}.") from None
        except GymnasiumError as error:
            raise ValueError(str(error)) from None
    left = steps - learner.num_timesteps
    if left <= 0:
        raise ValueError(f"The agent in {out} has {learner.num_timesteps:,} steps already: ask for more --steps.")
    out.mkdir(parents=True, exist_ok=True)
    suffix = f"-{learner.num_timesteps}" if learner.num_timesteps else ""  # what was logged before stays
    formats = ["csv", "tensorboard"] if _has_tensorboard() else ["csv"]
    learner.set_logger(Logger(str(out), [make_output_format(name, str(out), suffix) for name in formats]))
    try:
        learner.learn(left, reset_num_timesteps=False, progress_bar=True)
    finally:  # on Ctrl-C too
        learner.logger.close()
        if learner.rounds:
            learner.save(path)
            print(f"{path}: {type(learner).__name__} after {learner.num_timesteps:,} tokens")


def sample(out: Folder, n: Count = 20, seed: int = 0, temperature: float = 1.0, midi: bool = False) -> None:
    """Prints n sequences of a trained agent.

    Args:
        out: the folder of `train`.
        n: how many.
        seed: same seed, same sequences.
        temperature: below 1 nearer to the most probable tokens.
        midi: also write them as MIDI files to OUT/samples.
    """
    from seqtutor_envs import checks
    from seqtutor_envs.melody.vocab import MELODY_VOCAB

    checks.positive_integer("n", n)
    agent = _load(out)
    task = _task(agent)
    if midi and task.vocab.tokens != MELODY_VOCAB.tokens:
        raise ValueError("--midi is for agents that write melodies.")
    tokens, lengths = agent.sample(n, seed, temperature)
    for number, (row, length) in enumerate(zip(tokens, lengths), start=1):
        print(f"{number:3}  {task.render_ansi(row[:length])}")
        if midi:
            from seqtutor_envs.melody.midi import write_midi

            (out / "samples").mkdir(exist_ok=True)
            write_midi(row[:length], out / "samples" / f"{number:03}.mid")
    if midi:
        print(f"{n} MIDI files in {out / 'samples'}")


def evaluate(out: Folder, n: Count = 10_000, seed: int = 0) -> None:
    """Judges a trained agent on n sequences; OUT/evaluation.json keeps the figures.

    Args:
        out: the folder of `train`.
        n: how many.
        seed: of the sampling.
    """
    from agents import evaluate as judge
    from seqtutor_envs.files import write_atomically

    agent = _load(out)
    if agent.recipe is None:
        raise ValueError("This agent's environment cannot be made from an id: use agents.evaluate in a program.")
    figures = judge.evaluate(agent, agent.recipe["id"], n, seed, agent.recipe["kwargs"])
    for name, value in figures.items():
        if not name.endswith("_se"):
            error = figures.get(f"{name}_se")
            print(f"{name:28} {value:12.4f}" + (f" ± {error:.4f}" if error is not None else ""))
    write_atomically(out / "evaluation.json", (json.dumps({"n": n, "seed": seed, **figures}, indent=1) + "\n").encode())


def agent_classes() -> dict[str, Any]:
    from agents import GLearning, PsiLearning, QLearning, RLOnly
    from agents.baselines import PolicyGradient

    return {"psi": PsiLearning, "q": QLearning, "g": GLearning, "rl": RLOnly, "pg": PolicyGradient}


def _load(folder: Path) -> Any:
    """The agent in a folder, whatever its class."""
    from seqtutor_envs.files import load_arrays

    path = folder / AGENT_FILE
    if not path.is_file():
        raise FileNotFoundError(f"No agent in {folder}: `python -m agents train` writes {AGENT_FILE} there.")
    known = {one.__name__: one for one in agent_classes().values()}
    name = load_arrays(path)[1].get("agent")
    if name not in known:
        raise ValueError(f"{path} holds no agent of this library.")
    return known[name].load(path)


def _task(agent: Any) -> Any:
    from agents.rollouts import env_attribute

    return env_attribute(agent.get_env(), "task")


def _json(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} must be a JSON object such as '{{\"length\": 64}}': {error}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{option} must be a JSON object, not {text}.")
    return value


def _has_tensorboard() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None


def main(args: list[str] | None = None) -> None:
    """The command line."""
    import torch  # noqa: F401  (so that it runs on one thread, too)

    one_thread()
    run({"train": train, "sample": sample, "evaluate": evaluate}, "python -m agents", args)


if __name__ == "__main__":
    main()
