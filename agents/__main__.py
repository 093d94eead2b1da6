"""`python -m agents train | sample | evaluate`."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents.loading import agent_classes
from agents.molecule_options import MoleculeOptions, objective_exists, writes_molecules
from seqtutor_envs.command import json_object, one_thread, run, scoring_processes, warnings_in_one_line

Folder = Annotated[Path, tyro.conf.Positional]
Count = Annotated[int, tyro.conf.arg(aliases=["-n"])]


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
    diversity: str | None = None,
    term_weights: str | None = None,
    env_kwargs: str = "{}",
    settings: str = "{}",
    device: str = "cpu",
    checkpoint_seconds: float = 60.0,
    molecules: Annotated[MoleculeOptions, tyro.conf.arg(name="")] = MoleculeOptions(),
    command: tyro.conf.Suppress[str] = "",
) -> None:
    """Trains an agent; OUT then holds agent.safetensors, run.json (what was run), progress.csv (progress-STEPS.csv from
    each --resume on) and TensorBoard's events; of molecules besides molecules.csv.gz (each distinct one, with the raw
    terms of its reward) and top.sdf (the 100 best).

    All but the log are written at checkpoints. Ctrl-C keeps what was learned, a killed run its last checkpoint;
    --resume goes on from there to the same end.

    Args:
        env: an environment id, such as SeqTutor-Melody-v0 or SeqTutor-SMILES-v0.
        agent: Psi-, Q- or G-learning, reinforcement learning alone, or the policy gradient.
        steps: tokens to learn from, in all.
        seed: of everything random.
        out: the folder to write.
        resume: go on with the agent in OUT; --seed, --agent, the settings and all that is said of the environment are
            then the saved ones, but --workers.
        c: temperature of the reward log p + r_T / c; None is the environment's own.
        gamma: discount; None is the agent's own.
        lam: of the multi-step soft return (psi, g); None is the agent's own.
        diversity: "on", or settings as JSON such as '{"bucket_size": 10}': what was written before is learned from at a
            lower reward.
        term_weights: weights of the reward's terms as JSON, such as '{"qed": 2, "sa": 0}'.
        env_kwargs: further keywords of the environment as JSON, such as '{"length": 64}'.
        settings: further keywords of the agent as JSON, such as '{"n_envs": 64, "tau": 0.05}'.
        device: where the networks learn: "cpu", "cuda", or "auto", a GPU where torch has one; it may differ from the
            saved agent's.
        checkpoint_seconds: time between checkpoints.
        molecules: for SMILES only.
    """
    from gymnasium.error import Error as GymnasiumError

    from agents import loading, training
    from agents.checkpoints import AGENT_FILE, recover

    recover(out)
    if resume:
        molecules.refuse("is the saved one with --resume: leave it out.", but=("workers",))
        workers = scoring_processes() if molecules.workers is None else molecules.workers
        with warnings_in_one_line():
            learner = loading.ours(out / AGENT_FILE, {"workers": workers}, device=device)
    elif (out / AGENT_FILE).exists():
        raise ValueError(f"{out / AGENT_FILE} exists: add --resume to go on with it, or choose another --out.")
    else:
        given: dict[str, Any] = {"gamma": gamma, "lam": lam}
        given = {name: value for name, value in given.items() if value is not None}
        if diversity is not None:
            given["diversity"] = True if diversity == "on" else json_object(diversity, "--diversity")
        try:
            weights = None if term_weights is None else json_object(term_weights, "--term-weights")
            keywords = _env_kwargs(env, env_kwargs, molecules, c=c, term_weights=weights)
            learner = agent_classes()[agent](
                env, seed=seed, device=device, env_kwargs=keywords, **given, **json_object(settings, "--settings")
            )
        except TypeError as error:
            what = "Unknown keyword: " if "unexpected keyword" in str(error) else ""
            raise ValueError(f"{what}{error}.") from None
        except GymnasiumError as error:
            raise ValueError(str(error)) from None
    training.run(learner, out, steps, checkpoint_seconds, command, _writes_molecules(learner))


def sample(
    folder: Folder,
    n: Count = 20,
    seed: int = 0,
    temperature: float = 1.0,
    format: Literal["text", "smi", "csv", "sdf"] = "text",
    out: Path | None = None,
    midi: bool = False,
) -> None:
    """Writes n sequences of a trained agent.

    Args:
        folder: that of `train`.
        n: how many.
        seed: same seed, same sequences.
        temperature: below 1 nearer to the most probable tokens.
        format: of molecules: "smi" is a line "SMILES number" each; "csv" has validity, raw terms, log p and log pi
            besides; "sdf" the valid ones with 2D coordinates and the same figures.
        out: the file to write; None prints.
        midi: of melodies: also write them as MIDI files to FOLDER/samples.
    """
    from agents import samples
    from agents.checkpoints import AGENT_FILE
    from seqtutor_envs import checks
    from seqtutor_envs.files import write_atomically
    from seqtutor_envs.melody.vocab import MELODY_VOCAB

    checks.positive_integer("n", n)
    agent = _judged_only(folder / AGENT_FILE)
    task = agent.task
    if midi and task.vocab.tokens != MELODY_VOCAB.tokens:
        raise ValueError("--midi is for agents that write melodies.")
    if format != "text" and not _writes_molecules(agent):
        raise ValueError(f"--format {format} is for agents that write molecules.")
    tokens, lengths = agent.sample(n, seed, temperature)
    if format == "text":
        lines = enumerate(zip(tokens, lengths), start=1)
        text = "".join(f"{number:3}  {task.render_ansi(row[:length])}\n" for number, (row, length) in lines)
    else:
        text, left_out = samples.written(format, agent, task, tokens, lengths)
        if left_out:
            print(f"{left_out} of {n} are no molecules and left out of the {format.upper()}.", file=sys.stderr)
    if out is None:
        print(text, end="")
    else:
        write_atomically(out, text.encode())
    if midi:
        from seqtutor_envs.melody.midi import write_midi

        (folder / "samples").mkdir(exist_ok=True)
        for number, (row, length) in enumerate(zip(tokens, lengths), start=1):
            write_midi(row[:length], folder / "samples" / f"{number:03}.mid")
        print(f"{n} MIDI files in {folder / 'samples'}")


def evaluate(
    path: Annotated[Path, tyro.conf.Positional],
    n: Count = 10_000,
    seed: int = 0,
    env: str | None = None,
    env_kwargs: str = "{}",
    trust: bool = False,
    algorithm: str | None = None,
    reference: Path | None = None,
) -> None:
    """Judges a trained agent, ours or stable-baselines3's, on n sequences; the figures are also kept as JSON.

    They are in FOLDER/evaluation.json of a folder, and beside a file, as NAME.evaluation.json.

    Args:
        path: folder of `train`, a file of ours, or a zip that stable-baselines3 or sb3-contrib wrote.
        n: how many.
        seed: of the sampling.
        env: an environment id, needed for a zip; by default the agent's own.
        env_kwargs: keywords of the environment as JSON, such as '{"length": 64}'; without --env they are added to the
            agent's own.
        trust: load a zip, which holds pickles: they can run any code.
        algorithm: class that wrote the zip, module:Class, where it cannot be told from the zip.
        reference: of molecules: a file of SMILES, such as known actives, to compare with.
    """
    from contextlib import closing

    from agents import admission, samples
    from agents import evaluate as judge
    from seqtutor_envs import checks
    from seqtutor_envs.files import finite, write_atomically

    checks.positive_integer("n", n)
    agent, env_id, kwargs, kept_at = _to_judge(path, env, json_object(env_kwargs, "--env-kwargs"), trust, algorithm)
    molecules = _of_molecules(env_id)
    if reference is not None and not molecules:
        raise ValueError("--reference is for agents that write molecules.")
    compare = samples.comparison(reference) if molecules else None
    scaffolds: list[tuple[str, int]] = []
    with closing(judge.make_env(agent, env_id, n, kwargs)) as batch:
        tokens, lengths, log_probs = judge.sample_sequences(agent, batch, n, seed)
        figures = judge.compute_metrics(batch, tokens, lengths, log_probs)
        if compare is not None:
            further, scaffolds = compare(batch.task.smiles(tokens, lengths))  # type: ignore[attr-defined]
            figures |= further
    for name, value in figures.items():
        if not name.endswith("_se"):
            error = figures.get(f"{name}_se")
            print(f"{name:28} {value:12.4f}" + (f" ± {error:.4f}" if error is not None else ""))
    if log_probs is None:
        print(f"{'kl, j':28} {'unknown':>12} {admission.explain_missing_log_pi(agent)}")
    for scaffold, count in scaffolds:
        print(f"{'scaffold':28} {count:12,} {scaffold}")
    facts: dict[str, Any] = {"env": env_id, "env_kwargs": kwargs}
    facts |= {"reference": str(reference)} if reference is not None else {}
    facts |= {"commonest_scaffolds": scaffolds} if scaffolds else {}
    kept = finite({"n": n, "seed": seed, **facts, **figures})
    write_atomically(kept_at, (json.dumps(kept, indent=1) + "\n").encode())


def _to_judge(
    path: Path, env: str | None, given: dict[str, Any], trust: bool, algorithm: str | None
) -> tuple[Any, str, dict[str, Any], Path]:
    """The agent at `path`, the id and keywords of the environment to judge it in, and the file that keeps the
    figures."""
    from agents import loading, zips

    zipped = zips.find_zip(path)
    if zipped is None:
        if algorithm is not None:
            raise ValueError("--algorithm is for zips of stable-baselines3.")
        file = loading.agent_file(path)
        agent = _judged_only(file)
        kept_at = path / "evaluation.json" if path.is_dir() else file.with_suffix(".evaluation.json")
        if env is not None:
            return agent, env, _for_molecules(env, given), kept_at
        return agent, agent.recipe["id"], agent.recipe["kwargs"] | given, kept_at
    known = zips.identify_algorithm(zipped)  # before anything else, for it says what is wrong with the file
    if env is None:
        raise ValueError(f"{zipped} does not say what it learned in: add --env ID, and --env-kwargs where it had any.")
    kwargs = _for_molecules(env, given)
    agent = zips.load_zip(zipped, trust, known if algorithm is None else algorithm)
    return agent, env, kwargs, zipped.with_suffix(".evaluation.json")


def _for_molecules(env: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keywords of an environment to judge in; of molecules with our default of workers."""
    if _of_molecules(env):
        kwargs = {"workers": scoring_processes()} | kwargs
        objective_exists(kwargs)
    return kwargs


def _of_molecules(env: str) -> bool:
    """Whether an id is of an environment that writes molecules. Raises ValueError where there is no such id."""
    from gymnasium.error import Error as GymnasiumError

    try:
        return writes_molecules(env)
    except GymnasiumError as error:
        raise ValueError(str(error)) from None


def _env_kwargs(env: str, given: str, molecules: MoleculeOptions, **options: Any) -> dict[str, Any]:
    """Keywords of the environment out of all options that say any; those of JSON text come after our defaults, and
    before what has an option of its own."""
    kwargs = json_object(given, "--env-kwargs") | {name: value for name, value in options.items() if value is not None}
    if not writes_molecules(env):
        molecules.refuse(f"is for environments that write molecules; {env} writes none.")
        return kwargs
    kwargs = {"workers": scoring_processes()} | kwargs | molecules.env_kwargs()
    objective_exists(kwargs)
    return kwargs


def _judged_only(file: Path) -> Any:
    """The agent in a file of ours, to sample from; the budget of the objective's calls was to learn with."""
    from agents import loading

    with warnings_in_one_line():
        return loading.ours(file, {"workers": scoring_processes(), "oracle_budget": None})


def _writes_molecules(agent: Any) -> bool:
    return agent.recipe is not None and writes_molecules(agent.recipe["id"])


def main(args: list[str] | None = None) -> None:
    """The command line."""
    import torch  # noqa: F401  (so that it runs on one thread, too)

    one_thread()
    command = shlex.join(["python", "-m", "agents", *(sys.argv[1:] if args is None else args)])
    commands: dict[str, Callable[..., None]] = {"sample": sample, "evaluate": evaluate}
    run({"train": functools.partial(train, command=command), **commands}, "python -m agents", args)


if __name__ == "__main__":
    main()
