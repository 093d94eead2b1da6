"""Run `python -m agents train | sample | evaluate | export`."""

from __future__ import annotations

import functools
import inspect
import json
import shlex
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

from seqtutor_envs.command import report_errors

PROGRAM = "python -m agents"

with report_errors(PROGRAM):  # these take a second, in which Ctrl-C may come
    import tyro

    from agents.train.task_options import check_format, field_names, find_task_options, say_how_to_allow
    from seqtutor_envs import checks
    from seqtutor_envs.command import blame, json_object, run, set_threads, warnings_in_one_line
    from seqtutor_envs.files import finite, write_atomically
    from seqtutor_envs.files.locks import exclusive, lock_folder
    from seqtutor_envs.files.text import printable
    from seqtutor_envs.prior import load_prior
    from seqtutor_envs.task import EvaluateOptions, SampleOptions, TrainOptions

Folder = Annotated[Path, tyro.conf.Positional]
Count = Annotated[int, tyro.conf.arg(aliases=["-n"])]
Unnamed = tyro.conf.arg(name="")  # the options of a task stand beside the command's own


@exclusive(lock_folder)
def train(
    env: Annotated[str, tyro.conf.Positional],
    agent: Literal["psi", "q", "g", "rl", "pg", "reinvent", "ahc", "tb", "kl_ppo"] = "psi",
    steps: int = 2_000_000,
    seed: int = 0,
    out: Path = Path("tutor"),
    resume: bool = False,
    prior: str | None = None,
    trust: bool = False,
    c: float | None = None,
    gamma: float | None = None,
    lam: float | None = None,
    diversity: str | None = None,
    term_weights: str | None = None,
    env_kwargs: str = "{}",
    settings: str = "{}",
    device: str = "cpu",
    checkpoint_seconds: float = 60.0,
    options: Annotated[TrainOptions, Unnamed] = TrainOptions(),
    command: tyro.conf.Suppress[str] = "",
) -> None:
    """Train an agent. `train ENV --help` shows the options of one environment alone.

    OUT then holds agent.safetensors, run.json (what was run), progress.csv (progress-STEPS.csv after a --resume),
    TensorBoard's events and the files of the task's own log.

    The agent and run.json are written at checkpoints. Ctrl-C keeps all that was learned; a killed run keeps its last
    checkpoint. --resume goes on from there to the same end.

    Args:
        env: an environment id, such as SeqTutor-Melody-v0 or SeqTutor-SMILES-v0.
        agent: Psi-, Q- or G-learning, reinforcement learning alone, the policy gradient, REINVENT, Augmented
            Hill-Climb, trajectory balance, or PPO with a KL penalty.
        steps: tokens to learn from, in all.
        seed: of everything random.
        out: the folder to write.
        resume: go on with the agent in OUT. --seed, --agent, the settings and the environment's options are then the
            saved ones; --workers may differ.
        prior: to learn from, a shipped name or a file; None is the environment's own.
        trust: with --resume, use the programs, modules and paths that the saved agent names.
        c: temperature of the reward log p + r_T / c; None is the environment's own.
        gamma: discount; None is the agent's own.
        lam: of the multi-step soft return (psi, g); None is the agent's own.
        diversity: "on", or settings as JSON such as '{"bucket_size": 10}': a sequence that was generated before is
            learned from at a lower reward.
        term_weights: weights of the reward's terms as JSON, such as '{"qed": 2, "sa": 0}'.
        env_kwargs: further keywords of the environment as JSON, such as '{"length": 64}'.
        settings: further keywords of the agent as JSON, such as '{"n_envs": 64, "tau": 0.05}'.
        device: where the networks learn: "cpu", "cuda", or "auto", a GPU where torch has one; it may differ from the
            saved agent's.
        checkpoint_seconds: time between checkpoints.
        options: of the environment.
    """
    # imported here, as in each command: they load torch, which takes seconds, and --help does without it
    from agents.evaluate.command_line import saved_kwargs
    from agents.evaluate.load import get_agent_classes, load_ours
    from agents.train import run_folder
    from agents.train.checkpoints import AGENT_FILE, recover

    set_threads(1)
    # first of all: a killed run may have left the agent and its log at two different moments
    recover(out, trust)
    if resume:
        with warnings_in_one_line():
            given = options.resumed_kwargs(saved_kwargs(out / AGENT_FILE)) | without_none(prior=prior)
            learner = load_ours(out / AGENT_FILE, given, device=device, trust=trust)
    elif (out / AGENT_FILE).exists():
        raise ValueError(f"{out / AGENT_FILE} exists: add --resume to go on with it, or choose another --out.")
    else:
        memory = None if diversity is None else diversity == "on" or json_object(diversity, "--diversity")
        weights = None if term_weights is None else json_object(term_weights, "--term-weights")
        kwargs = options.machine_kwargs() | json_object(env_kwargs, "--env-kwargs")
        # later ones win: an option of its own says more than an entry of --env-kwargs
        kwargs |= without_none(prior=prior, c=c, term_weights=weights) | options.env_kwargs()
        kind, further = get_agent_classes()[agent], without_none(gamma=gamma, lam=lam, diversity=memory)
        for name in further:
            if name not in inspect.signature(kind).parameters:
                raise ValueError(f"--{name}: {kind.__name__} has none: leave it out, or take another --agent.")
        further |= json_object(settings, "--settings")
        with blame("--settings, --env-kwargs or --term-weights"):
            learner = kind(env, seed=seed, device=device, env_kwargs=kwargs, **further)
    run_folder.run(learner, out, steps=steps, checkpoint_seconds=checkpoint_seconds, command=command)


def without_none(**options: Any) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def sample(
    folder: Folder,
    n: Count = 20,
    seed: int = 0,
    temperature: float = 1.0,
    out: Path | None = None,
    env: str | None = None,
    trust: bool = False,
    options: Annotated[SampleOptions, Unnamed] = SampleOptions(),
) -> None:
    """Generate n sequences with a trained agent or a prior. `sample FOLDER --help` shows the options of one alone.

    Args:
        folder: that of `train`; or a prior, its file or its shipped name.
        n: how many.
        seed: same seed, same sequences.
        temperature: below 1 nearer to the most probable tokens.
        out: the file to write; None prints.
        env: an environment id, for a prior whose tokens are not those of one of ours.
        trust: use the programs, modules and paths that the agent's file names; an objective scores the samples then.
        options: of the environment.
    """
    from agents.envs import make_machine_kwargs
    from agents.evaluate.command_line import load_to_evaluate, saved_kwargs
    from agents.evaluate.load import find_prior_file, load_model
    from agents.evaluate.priors import find_recipe
    from agents.policies.frozen import FrozenAgent
    from agents.train.checkpoints import AGENT_FILE

    set_threads(1)
    checks.positive_integer("n", n)
    check_format(options)
    model = find_prior_file(folder)
    if model is not None:
        agent: Any = load_model(model, trust)
        if not isinstance(agent, FrozenAgent):
            agent = FrozenAgent(*find_recipe(folder, env))
        elif env is not None:
            agent = agent.move(env, make_machine_kwargs(env))
        folder = folder.parent  # where further files go
    else:
        file = folder / AGENT_FILE
        unscored = options.unscored_kwargs(saved_kwargs(file))
        agent = load_to_evaluate(file, trust, unscored)
        if unscored and not trust and options.format != "text":
            note = "The program that scored this agent's sequences is not asked for scores of these: add --trust."
            print(note, file=sys.stderr)
    tokens, lengths = agent.sample(n, seed, temperature)
    text, left_out = options.export(agent, tokens, lengths)
    if left_out:
        of = f"{left_out} of {n} are no {agent.task.writes}"
        # on stderr, so that stdout holds sequences only
        print(f"{of} and left out of the {options.format.upper()}.", file=sys.stderr)
    if out is None:
        print(printable(text), end="")
    else:
        write_atomically(out, text.encode())
    said = options.write_files(folder, tokens, lengths)
    if said is not None:
        print(printable(said))


def evaluate(
    path: Annotated[Path, tyro.conf.Positional],
    n: Count = 10_000,
    seed: int = 0,
    env: str | None = None,
    env_kwargs: str = "{}",
    trust: bool = False,
    algorithm: str | None = None,
    spellings: int = 0,
    options: Annotated[EvaluateOptions, Unnamed] = EvaluateOptions(),
) -> None:
    """Evaluate a trained agent, ours or stable-baselines3's, or a prior, on n sequences; keep the metrics as JSON.

    The metrics of a folder are written to FOLDER/evaluation.json, those of a file to NAME.evaluation.json beside it.

    Args:
        path: folder of `train`, a file of ours, a zip that stable-baselines3 or sb3-contrib wrote, or a prior, its file
            or its shipped name. A prior is the environment's too, unless --env-kwargs has another one.
        n: how many.
        seed: of the sampling.
        env: an environment id, needed for a zip; by default the agent's own, or that of a prior's tokens.
        env_kwargs: keywords of the environment as JSON, such as '{"length": 64}'; without --env they are added to the
            agent's own.
        trust: load a zip, which holds pickles: they can run any code. Use the programs, modules and paths that an
            agent's file names.
        algorithm: class that wrote the zip, module:Class, where it cannot be told from the zip.
        spellings: of each molecule, for the KL over molecules beside that over strings: kl_molecules.
        options: of the environment.
    """
    from agents.evaluate import checks as agent_checks
    from agents.evaluate import evaluation
    from agents.evaluate.command_line import load_with_env
    from agents.evaluate.gaps import describe_gap, find_log_z
    from agents.evaluate.spellings import compute_kl_over_molecules

    set_threads(1)
    checks.positive_integer("n", n)
    given = json_object(env_kwargs, "--env-kwargs") | options.env_kwargs()
    agent, env_id, kwargs, kept_at = load_with_env(path, env, given, trust, algorithm)
    # reads the task's reference file, so that a wrong path fails before the long sampling
    evaluate_further = options.evaluator()
    with closing(evaluation.make_env(agent, env_id, n, kwargs)) as batch:
        samples = evaluation.sample_sequences(agent, batch, n, seed)
        further = evaluate_further(batch.task, samples.tokens, samples.lengths)
        metrics = {**evaluation.compute_metrics(batch, samples), **further.metrics}
        if spellings:
            number = checks.positive_integer("--spellings", spellings)
            metrics |= compute_kl_over_molecules(agent, batch, samples, number, seed)
    log_z = {} if "log_z" in metrics else find_log_z(agent, env_id, kwargs)
    for name, value in metrics.items():
        # a standard error is printed in the line of its mean
        if not name.endswith("_se"):
            error = metrics.get(f"{name}_se")
            print(f"{printable(name):28} {value:12.4f}" + (f" ± {error:.4f}" if error is not None else ""))
    if samples.log_probs is None:
        print(f"{'kl, j':28} {'unknown':>12} {agent_checks.explain_missing_log_pi(agent)}")
    for name, text in describe_gap(metrics | log_z).items():
        print(f"{name:28} {text}")
    for line in further.lines:
        print(printable(line))
    # JSON has no NaN: what could not be computed is null
    kept = finite({"n": n, "seed": seed, "env": env_id, "env_kwargs": kwargs, **further.facts, **metrics, **log_z})
    write_atomically(kept_at, (json.dumps(kept, indent=1) + "\n").encode())


def export(
    path: Annotated[Path, tyro.conf.Positional],
    out: Path,
    env: str | None = None,
    env_kwargs: str = "{}",
    n: Count = 10_000,
    seed: int = 0,
    sequences: int = 32_768,
    note: str = "",
    trust: bool = False,
    algorithm: str | None = None,
) -> None:
    """Write the policy of a trained agent, ours or stable-baselines3's, as a file of weights and a card beside it.

    A policy that is one LSTM or GRU is written exactly, any other is distilled into one. The card says which, and what
    the file reaches; `python -m benchmarks verify` checks that. Every prior= and --prior takes such a file; as policy=
    of SeqTutor-Planted-v0 it is the optimum of a task.

    Args:
        path: folder of `train`, a file of ours, or a zip that stable-baselines3 or sb3-contrib wrote.
        out: the file to write.
        env: an environment id, needed for a zip; by default the agent's own.
        env_kwargs: keywords of the environment as JSON; without --env they are added to the agent's own.
        n: sequences that the file's claims rest on.
        seed: of these sequences, and of distilling.
        sequences: samples of the agent to distil from.
        note: to keep in the card.
        trust: load a zip, which holds pickles: they can run any code. Use the programs, modules and paths that an
            agent's file names.
        algorithm: class that wrote the zip, module:Class, where it cannot be told from the zip.
    """
    from agents.evaluate.command_line import load_with_env
    from agents.policies.saving import save_policy

    set_threads(1)
    given = json_object(env_kwargs, "--env-kwargs")
    agent, env_id, kwargs, _ = load_with_env(path, env, given, trust, algorithm)
    file = save_policy(agent, out, env_id, kwargs, n=n, seed=seed, sequences=sequences, note=note, progress_bar=True)
    card = load_prior(file).card  # type: ignore[attr-defined]
    how = card["policy"]
    if how["export"] == "exact":
        print(f"{file}: an exact copy")
    else:
        kl = "unknown" if how["kl"] is None else f"{how['kl']:.3f} ± {how['kl_se']:.3f} nats"
        print(f"{file}: distilled, since {how['reason']}; KL(agent || file) is {kl}")


# to whose options a task adds its own
COMMANDS: dict[str, Callable[..., None]] = {"train": train, "sample": sample, "evaluate": evaluate}


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    argv = sys.argv[1:] if args is None else args
    commands: dict[str, Callable[..., None]] = {**COMMANDS, "export": export}
    names = set[str]()
    if argv and argv[0] in COMMANDS:
        # tyro shows the fields of the default's own class: with --help too, only those of this task
        own = inspect.signature(COMMANDS[argv[0]]).parameters
        with report_errors(PROGRAM), say_how_to_allow(PROGRAM, argv, names):
            options = find_task_options(argv, own)
            names = {*own, *field_names(options)}
            commands[argv[0]] = functools.partial(commands[argv[0]], options=options())
    # run.json keeps the command line, so that a run can be repeated
    commands["train"] = functools.partial(commands["train"], command=shlex.join([*PROGRAM.split(), *argv]))
    run(commands, PROGRAM, args, say_how_to_allow(PROGRAM, argv, names))


if __name__ == "__main__":
    main()
