"""`python -m benchmarks bounds`: between which numbers log Z, the greatest J, lies, at each temperature of a task."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.domains import CLOCKS, MELODY, SCORED_BY_PROCESSES, SMILES, build_env_kwargs, choose_clock
from benchmarks.runner.results import BOUNDS_FILE
from benchmarks.suites import SUITES
from seqtutor_envs import __version__
from seqtutor_envs.checks import temperature
from seqtutor_envs.command import blame, scoring_processes, set_threads
from seqtutor_envs.files import hash_bytes
from seqtutor_envs.files.locks import exclusive, lock_file
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.files.text import printable

if TYPE_CHECKING:  # these load numba, which other commands do without
    from benchmarks.stored_sequences import Stored
    from seqtutor_envs.bounds import Tail, Twist

Entry = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """Hold an environment with its keywords, and the temperatures at which log Z is asked for."""

    env: str
    env_kwargs: Mapping[str, Any]
    temperatures: tuple[float, ...]


class Settings(NamedTuple):
    """Hold how bounds are computed: see `bounds`."""

    samples: int
    seconds: float | None
    seed: int
    twist: Twist | None
    twist_name: str | None
    stored: Stored | None
    tail: tuple[float, int] | None


@exclusive(lock_file)
def bounds(
    env: Annotated[str | None, tyro.conf.Positional] = None,
    every: Annotated[bool, tyro.conf.arg(name="all")] = False,
    c: tuple[float, ...] = (),
    twist: Path | None = None,
    trust: bool = False,
    results: tuple[Path, ...] = (),
    samples: int = 65_536,
    seconds: float | None = None,
    seed: int = 0,
    tail: tuple[float, int] | None = None,
    weights: str = "{}",
    env_kwargs: str = "{}",
    prior: str | None = None,
    workers: int | None = None,
    out: Path = Path(BOUNDS_FILE),
) -> None:
    """Bound and estimate log Z, the greatest J of any policy, at each temperature.

    OUT keeps the rows, also those that earlier commands wrote there: a row of the same task, temperature and options is
    taken from it. A report reads OUT if it is FOLDER/bounds.json, in a folder of results.

    Args:
        env: an environment id.
        every: instead of an id: melodies and molecules at every temperature of the shipped suites.
        c: temperatures. Default: the environment's own.
        twist: a trained agent of ours, file or folder, whose values guide the sampling.
        trust: use the programs, modules and paths that the agent's file names.
        results: folders whose result files hold sequences: their sum is a lower bound.
        samples: how many are drawn for each temperature.
        seconds: the most that one temperature may take, without the tail.
        seed: of the samples.
        tail: RETURN SAMPLES: rule out by so many samples of the prior, followed no further than they count, that much
            of it returns more than RETURN. That lowers the upper bound.
        weights: JSON, weights of the reward's terms.
        env_kwargs: JSON, further keywords of the environment.
        prior: a shipped prior's name, or the path of one. Default: the environment's own.
        workers: processes that score molecules. Default: one for each core.
        out: the file that keeps the rows.
    """
    from benchmarks.stored_sequences import read_stored, say_damaged

    set_threads(1)
    if every:
        if env or c or prior or {weights, env_kwargs} != {"{}"}:
            raise ValueError("--all has its own environments: leave out ID, --c, --weights, --env-kwargs and --prior.")
        questions = list_questions(workers)
    elif env is None:
        raise ValueError(f"Which environment? Give an id, such as {MELODY}, or --all.")
    else:
        questions = [ask(env, build_env_kwargs(env, env_kwargs, weights, prior, workers), c)]
    stored = read_stored(results) if results else None
    if stored is not None:
        say_damaged(stored)
    guide, guide_name = (None, None) if twist is None else load_twist(twist, trust)
    settings = Settings(samples, seconds, seed, guide, guide_name, stored, tail)
    done: list[Entry] = []
    total = sum(len(one.temperatures) for one in questions)
    try:
        with make_bar(total=total, desc="log Z", unit="row", leave=False) as bar:
            for question in questions:
                for entry in compute_entries(question, settings, out):
                    done.append(entry)
                    bar.update()
    except KeyboardInterrupt:
        kept = f"{len(done)} of {total} rows are in {out}"
        raise KeyboardInterrupt(f"{kept}; the same command computes the other {total - len(done)}.") from None
    finally:
        if done:
            print(printable(format_entries(done)))
            print(out)


def ask(env_id: str, env_kwargs: Mapping[str, Any], temperatures: Sequence[float]) -> Question:
    """Make the question for an environment, by default at its own temperature. Raise ValueError at a bad one."""
    kwargs = {name: value for name, value in env_kwargs.items() if name != "c"}
    if not temperatures:
        from benchmarks.prior_samples import make_batch

        with blame("--env-kwargs"), closing(make_batch(env_id, env_kwargs)) as batch:
            temperatures = (batch.c,)
    return Question(env_id, kwargs, tuple(dict.fromkeys(temperature(c) for c in temperatures)))


def list_questions(workers: int | None = None) -> list[Question]:
    """List what bounds are shipped for: melodies and molecules under the shipped priors, at each c of the suites."""
    from seqtutor_envs.bounds.known import describe_task, make_key

    found: dict[str, Question] = {}
    shipped = {env: describe_task(env, {}) for env in (MELODY, SMILES)}
    for one in (one for suite in SUITES.values() for one in suite.experiments):
        task = describe_task(one.env, one.env_kwargs)
        usual = shipped.get(task["env"]) if task else None
        # an exact task is enumerated at once, others' priors are not shipped, and the calls of an objective are few
        if task is None or usual is None or task["prior"] != usual["prior"] or "objective" in one.env_kwargs:
            continue
        key = make_key({**task, "c": None})
        before = found[key].temperatures if key in found else ()
        processes = {"workers": scoring_processes() if workers is None else workers}
        further = processes if task["env"] in SCORED_BY_PROCESSES else {}
        temperatures = tuple(sorted({*before, task["c"]}))
        found[key] = Question(task["env"], {**task["env_kwargs"], **further}, temperatures)
    return list(found.values())


def compute_entries(question: Question, settings: Settings, out: Path) -> Iterator[Entry]:
    """Yield the entry of each temperature, from OUT or else computed and written there.

    Raises ValueError in one line if the environment is not ours, or no stored sequence is of its tokens.
    """
    from benchmarks.prior_samples import make_batch
    from benchmarks.stored_sequences import select_sequences
    from seqtutor_envs.bounds import log_z
    from seqtutor_envs.bounds.known import describe_task, make_key, read_entries, write_entries

    with blame("--env-kwargs"):
        made_batch = make_batch(question.env, question.env_kwargs)
    with closing(made_batch) as batch:
        remember_scores(batch.task, settings.samples)
        sequences = None
        if settings.stored is not None:
            sequences = select_sequences(settings.stored, question.env, batch.task)
        made: dict[str, Any] = {
            "samples": settings.samples, "limit": settings.seconds, "seed": settings.seed, "twist": settings.twist_name,
            "sequences": describe_sequences(sequences), "seqtutor": __version__,
        } | ({} if settings.tail is None else {"tail": list(settings.tail)})
        for c in question.temperatures:
            task = describe_task(question.env, {**question.env_kwargs, "c": c})
            if task is None:
                raise ValueError(f"{question.env}: its keywords or its prior cannot be kept in a file.")
            before = {make_key(entry): entry for entry in (read_entries(out) if out.exists() else [])}
            known = before.get(make_key(task))
            asked = {"tail": None, **made}  # a row with a tail is no answer to a command without
            if known is not None and asked.items() <= {"tail": None, **known.get("made", {})}.items():
                yield known
                continue
            # one environment for all c: its scorer remembers molecules, which are the same at each
            batch.c = c
            if getattr(batch.task, "c", c) != c:  # a task whose rewards depend on c themselves, as planted ones do
                batch.task = make_batch(question.env, {**question.env_kwargs, "c": c}).task
            clock = CLOCKS[choose_clock(question.env)]
            begin = clock()
            tail = None if settings.tail is None else find_tail(batch, {**task, "made": made}, before.values())
            found = log_z(
                batch, samples=settings.samples, seconds=settings.seconds, seed=settings.seed, twist=settings.twist,
                sequences=sequences, tail=tail, progress_bar=True,
            ).to_json()
            found["diagnostics"] = round_numbers(found["diagnostics"])
            entry = {**task, "bounds": found, "made": {**made, "seconds": round(clock() - begin, 1)}}
            before[make_key(task)] = entry
            write_entries(out, list(before.values()))
            yield entry


def find_tail(env: Any, asked: Entry, known: Iterable[Entry]) -> Tail:
    """Return the tail of the prior that an entry asks for: from a known one of another temperature, or else drawn."""
    from seqtutor_envs.bounds import Tail, draw_tail
    from seqtutor_envs.bounds.known import make_key

    above, samples = asked["made"]["tail"]
    for entry in known:
        same = all(entry.get("made", {}).get(name) == asked["made"][name] for name in ("tail", "seed", "seqtutor"))
        if same and make_key({**entry, "c": None}) == make_key({**asked, "c": None}):
            return Tail(**entry["bounds"]["diagnostics"]["tail"])
    return draw_tail(env, above=above, samples=samples, seed=asked["made"]["seed"], progress_bar=True)


def load_twist(path: Path, trust: bool) -> tuple[Twist, str]:
    """Load an agent of ours and return its twist, and a text that says which it is.

    Raises ValueError or FileNotFoundError, in one line, for anything else.
    """
    from agents.evaluate.load import find_agent_file, load_ours
    from benchmarks.runner.perform import weights_hash
    from seqtutor_envs.registry import Untrusted

    try:
        agent = load_ours(find_agent_file(path), trust=trust)
    except Untrusted as error:
        raise ValueError(f"{error.reason}: add --trust if you trust where it comes from.") from None
    agent.env.close()
    # two agents may have one name
    return agent.twist(), f"{path.name} {str(weights_hash(agent))[:12]}"


def describe_sequences(sequences: tuple[NDArray[np.int64], NDArray[np.int64]] | None) -> str:
    """Say how many sequences there are, and in a hash which: two folders may hold as many."""
    return "" if sequences is None else f"{len(sequences[0])} {hash_bytes(sequences[0].tobytes().hex()).hex()}"


def remember_scores(task: Any, samples: int) -> None:
    """Let a scorer of molecules keep the scores of all samples, which each temperature asks for."""
    # those of both methods and the given ones: a cache that is too small by one forgets each before its turn
    size = 3 * samples
    if (scorer := getattr(task, "scorer", None)) is not None and size > scorer.cache_size:
        task.scorer = type(scorer)(scorer.spec, scorer.workers, scorer.score_timeout, size)


def round_numbers(value: Any, digits: int = 5) -> Any:
    """Round the numbers in lists and mappings of JSON to so many digits, and replace infinite ones by None."""
    if isinstance(value, Mapping):
        return {name: round_numbers(inner, digits) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [round_numbers(inner, digits) for inner in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def format_entries(entries: Sequence[Entry]) -> str:
    """Format a table for each task, a line for each temperature, with its notes below."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        name = ", ".join((entry["env"], *(f"{key}={json.dumps(value)}" for key, value in entry["env_kwargs"].items())))
        groups.setdefault(name, []).append(entry)
    return "\n\n".join(f"{name}\n{format_table(rows)}" for name, rows in groups.items())


def format_table(entries: Sequence[Entry]) -> str:
    """Format a line for each entry of one task: bounds with their methods, estimate, interval, diagnostics, seconds."""
    from seqtutor_envs.bounds import Bounds

    heads = ("c", "log Z >=", "by", "log Z <=", "by", "estimate", "by", "95% interval", "effective", "distinct")
    rows, notes = [], []
    for entry in entries:
        one = Bounds.from_json(entry["bounds"])
        importance, smc = (one.diagnostics.get(name, {}) for name in ("importance_sampling", "smc"))
        rows.append((
            f"{entry['c']:g}",
            f"{one.lower:.3f}", _method(one.lower_method, one.lower_probability),
            f"{one.upper:.3f}", _method(one.upper_method, one.upper_probability),
            f"{one.estimate:.3f}", one.estimate_method, "{:.3f} .. {:.3f}".format(*one.interval),
            f"{importance['effective']:,.0f}" if importance else "",
            f"{smc['distinct']:.0%}" if smc else "",
            f"{one.diagnostics['value_at_start']:.3f}" if "value_at_start" in one.diagnostics else "",
            f"{entry['made']['seconds']:.1f}",
        ))
        notes += [f"c = {entry['c']:g}: {note}" for note in one.notes]
    table = tabulate(rows, headers=(*heads, "v(s_0)", "s"), tablefmt="plain", disable_numparse=True)
    return "\n".join((table, *notes))


def _method(name: str, probability: float) -> str:
    return name if probability == 1 else f"{name}, P {probability:g}"
