"""Task, the base class of rewards: named, weighted terms over tokens; and its hooks into the commands.

Conventions: N sequences, T tokens, K terms, V tokens in the vocabulary. A sequence that is shorter than T
is followed by filler, which is ignored. r_T is the weighted sum of the terms, before division by c.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from seqtutor_envs.checks import SCORE
from seqtutor_envs.vocab import Floats, Tokens, TokenVocab


def named_weights(names: Iterable[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return the weight of each term, by default 1. Raise ValueError on an unknown name."""
    # every name at 1 first: the order of the terms is the task's, not the user's
    full = dict.fromkeys(names, 1.0)
    for name, weight in (weights or {}).items():
        if name not in full:
            raise ValueError(f"No reward term is called {name!r}; the terms are: {', '.join(full)}.")
        full[name] = SCORE.check(f"The weight of {name!r}", weight)
    return full


@dataclass(frozen=True)
class TrainOptions:
    """Add options to `python -m agents train`: each field is one, and a keyword of the environment if it is changed."""

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name."""
        # compared with the default, as tyro does not tell which options were typed
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}

    def env_kwargs(self) -> dict[str, Any]:
        """Return the keywords of a new run's environment, of JSON's types. Raise ValueError on a bad option."""
        return self.given()

    @classmethod
    def machine_kwargs(cls) -> dict[str, Any]:
        """Return keywords of the machine, such as its processes. The user's come first; --resume takes none saved."""
        return {}

    @classmethod
    def evaluation_kwargs(cls) -> dict[str, Any]:
        """Return the keywords that replace the saved ones where a trained agent is sampled from or evaluated."""
        return cls.machine_kwargs()

    def resumed_kwargs(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords that replace the saved ones with --resume. Raise ValueError on any other option.

        An option that says what is saved is allowed: a file that names a program is not its user's word.
        """
        machine = self.machine_kwargs()
        for name, value in self.given().items():
            if name not in machine and (not isinstance(value, str) or value != saved.get(name)):
                raise ValueError(f"--{name.replace('_', '-')} is the saved one with --resume: leave it out.")
        return machine | self.given()


@dataclass(frozen=True)
class SampleOptions:
    """Add options, formats and files to `python -m agents sample`.

    Args:
        format: of what is printed, or written to --out: text.
    """

    formats: ClassVar[tuple[str, ...]] = ("text",)
    format: str = "text"

    @classmethod
    def unscored_kwargs(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords in place of the saved ones with which no program of the user's scores the samples."""
        return {}

    def export(self, agent: Any, tokens: Tokens, lengths: Tokens) -> tuple[str, int]:
        """Return sequences [n, T] of an agent as `format`, and how many of them it cannot hold."""
        rows = enumerate(zip(tokens, lengths.tolist()), start=1)
        return "".join(f"{number:3}  {agent.task.render_ansi(row[:length])}\n" for number, (row, length) in rows), 0

    def write_files(self, folder: Path, tokens: Tokens, lengths: Tokens) -> str | None:
        """Write further files below the agent's folder. Return a line that says which, or None (the default)."""
        return None


class FurtherResults(NamedTuple):
    """Hold what a task adds to an evaluation: metrics and facts for its JSON file, and lines to print."""

    metrics: Mapping[str, float] = {}
    facts: Mapping[str, Any] = {}
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluateOptions:
    """Add options and the metrics that they ask for to `python -m agents evaluate`."""

    def env_kwargs(self) -> dict[str, Any]:
        """Return the keywords of the environment that its user gives in place of the saved ones."""
        return {}

    def evaluator(self) -> Callable[[Any, Tokens, Tokens], FurtherResults]:
        """Read what the options name, and return a function from the task and samples [n, T] to further results."""
        return lambda task, tokens, lengths: FurtherResults()


class RunOptions(NamedTuple):
    """Name the options that a task adds to the commands of `python -m agents`."""

    train: type[TrainOptions] = TrainOptions
    sample: type[SampleOptions] = SampleOptions
    evaluate: type[EvaluateOptions] = EvaluateOptions


class Round(NamedTuple):
    """Hold one round of a run: N sequences, their log p and their reward terms."""

    tokens: Tokens  # [N, T]
    lengths: Tokens  # [N]
    prior_log_probs: NDArray[np.float32]  # [N, T, V]
    terms: Mapping[str, Floats] | None  # raw terms summed over steps, [N]; None if they are not known
    num_timesteps: int  # of the run, at the end of the round


class RunLog:
    """Record a training run for its task, in the run's folder.

    A run calls `add` after every round; `commit`, and less often `export`, at checkpoints; `close` at its end.
    A log for a task of one's own overrides what it needs; each method here does nothing.

    Args:
        folder: of the run.
        task: of the run's environment.
        num_timesteps: of the agent. Above 0 the run goes on: raise ValueError or FileNotFoundError if the folder does
            not hold the log of just these timesteps.
    """

    files: ClassVar[tuple[str, ...]] = ()  # names of what `export` writes

    def __init__(self, folder: Path, task: Any, num_timesteps: int) -> None:
        self.folder, self.task = folder, task

    @classmethod
    def committed_timesteps(cls, folder: Path) -> int | None:
        """Return the timesteps of the last commit in a folder, 0 before the first.

        A checkpoint is two files, agent and log: a run that is killed between them goes on from the moment that this
        names. None (the default): this log keeps no timesteps.
        """
        return None

    def add(self, newest: Round) -> None:
        """Add the newest round."""

    def commit(self, num_timesteps: int) -> None:
        """Save what was added. A later kill loses only what is added after this."""

    def export(self) -> None:
        """Write `files` anew, each atomically (`seqtutor_envs.files.write_atomically`)."""

    def close(self) -> None:
        """Drop what was added since the last commit, and close open files."""

    def facts(self) -> dict[str, Any]:
        """Return what run.json says of the run, of JSON's types."""
        return {}

    def changes(self, earlier: Mapping[str, Any]) -> list[str]:
        """Return one line for each thing that differs from earlier sessions, whose run.json is `earlier`."""
        return []

    def summary(self) -> list[str]:
        """Return the lines that the command prints at the end."""
        return []


class Task(ABC):
    """Define a reward over prefixes of tokens. Subclass it for a task of your own, and pass that as `task=`.

    A task can add options and files to the commands of `python -m agents`. They find it by the environment's id, whose
    vector environment names it:

        @dataclass(frozen=True)
        class Options(TrainOptions):
            '''
            Args:
                key: the key to write in.
            '''
            key: str = "C"                       # --key G is MyVectorEnv(key="G")

        class Log(RunLog):
            files = ("best.txt",)

            def add(self, newest): ...           # tokens, lengths, log p and terms of a round
            def export(self): ...                # write best.txt

        class MyTask(Task):
            writes = "tunes"

            @classmethod
            def run_options(cls):
                return RunOptions(train=Options)

            @classmethod
            def run_log(cls):
                return Log

        class MyVectorEnv(SequenceTutorVectorEnv):
            task_type = MyTask

        gymnasium.register("My-v0", vector_entry_point=MyVectorEnv)

    In the module `mine`, that is `python -m agents train mine:My-v0 --key G`.

    Attributes:
        vocab: the tokens.
        length: the horizon in tokens; a sequence that reaches it is over.
        weights: term name -> weight; its order is the order of the columns of `step_terms`.
        spent: True once nothing more can be scored, a budget of scores being used up: running episodes are then
            truncated.
        writes: what the sequences are, in the plural.
    """

    writes: ClassVar[str] = "sequences"
    vocab: TokenVocab
    length: int
    weights: dict[str, float]
    spent: bool = False

    @classmethod
    def run_options(cls) -> RunOptions:
        """Return the options that this task adds to the commands. By default none."""
        return RunOptions()

    @classmethod
    def run_log(cls) -> type[RunLog]:
        """Return the class of the log that a training run keeps. By default it keeps nothing."""
        return RunLog

    @classmethod
    def has_tokens_of(cls, vocab: TokenVocab) -> bool:
        """Return whether a prior of this vocabulary generates what the task is about, so that commands can choose it.

        By default False: they ask for --env.
        """
        return False

    @abstractmethod
    def step_terms(self, tokens: Tokens, steps: Tokens) -> Floats:
        """Compute raw terms of the step just taken: a pure function of `tokens[n, : steps[n] + 1]`.

        Args:
            tokens: [N, T]; `tokens[n, steps[n]]` is the token just chosen, what lies beyond is ignored. It may be any
                id, also V, that of the start token.
            steps: [N], counted from 0. Steps after a sequence's end are asked for too, and what they pay is dropped.

        Returns:
            [N, K], unweighted.
        """

    def terms(self, tokens: Tokens, lengths: Tokens | None = None) -> dict[str, Floats]:
        """Compute raw terms of every step: name -> [N, T], zero after a sequence's length."""
        # the filler is scored too and zeroed below: one call for a rectangle is cheaper than one for each row
        table = self.all_terms(self.checked(tokens))
        if lengths is not None:
            table[np.arange(table.shape[1]) >= np.asarray(lengths)[:, None]] = 0.0
        return {name: table[:, :, k] for k, name in enumerate(self.weights)}

    def all_terms(self, tokens: Tokens) -> Floats:
        """Compute raw terms of every step of tokens [N, T] that were checked, [N, T, K], whatever the lengths.

        Override it where all steps at once cost less than `step_terms` of each.
        """
        n, horizon = tokens.shape
        table = np.zeros((n, horizon, len(self.weights)))
        for step in range(horizon):
            table[:, step] = self.step_terms(tokens, np.full(n, step))
        return table

    def reward(self, tokens: Tokens, lengths: Tokens | None = None) -> Floats:
        """Compute r_T(s, a) of every step, [N, T]: the weighted sum of the terms, before division by c."""
        terms = self.terms(tokens, lengths)
        # a loop over terms, not a product: the sum has the same order of rounding as the environment's
        return sum((self.weights[name] * term for name, term in terms.items()), np.zeros(np.shape(tokens)))

    def announce(self, tokens: Tokens, lengths: Tokens) -> None:
        """Begin to score finished sequences [N, T] in other processes if that takes long; by default, do nothing."""

    def metrics(self, tokens: Tokens, lengths: Tokens | None = None) -> dict[str, float]:
        """Compute a domain's own metrics of finished sequences, beside `metrics.evaluate_samples`; default: none."""
        return {}

    def identities(self, tokens: Tokens, lengths: Tokens | None = None) -> list[tuple[str, str]]:
        """Return for each sequence a name that only sequences of the same meaning share, and one for its kind.

        Here the tokens themselves, and no kind. "" is the name of what should never count as seen.
        """
        rows = self.checked(tokens).tolist()
        until = [len(row) for row in rows] if lengths is None else np.asarray(lengths).tolist()
        return [(" ".join(self.vocab.decode(row[:end])), "") for row, end in zip(rows, until)]

    def features(self, tokens: Tokens, lengths: Tokens) -> csr_array | None:
        """Count features of finished sequences [N, T], [N, d], by which a model may predict what they return.

        A row of zeros alone is a sequence that is not worth a prediction. None (the default): there are no features.
        """
        return None

    def descriptors(self, tokens: Tokens, lengths: Tokens) -> Floats | None:
        """Return further numbers about finished sequences, [N, k], that help to predict returns; default: none."""
        return None

    def max_return(self) -> float:
        """Return a proved upper bound on the return R, before division by c; infinity (the default): none is known."""
        return float("inf")

    def budget_used(self) -> float | None:
        """Return the share of the budget of scores that is used, 0..1; None (the default): there is no budget."""
        return None

    def bound_returns(self, tokens: Tokens, so_far: Floats) -> Floats:
        """Return proved upper bounds [N] on R of all sequences that begin alike; by default `max_return()` of each.

        `bounds.tail` asks for them, and goes no further where they are low.

        Args:
            tokens: [N, n], prefixes that are not over.
            so_far: what they have been paid, weighted, [N].
        """
        return np.full(len(tokens), self.max_return())

    def close(self) -> None:
        """Release what the task holds open, such as processes; it may be asked to score again."""

    def checked(self, tokens: Any) -> Tokens:
        """Check tokens and return them as int64 [N, T].

        Raise ValueError where they cannot be sequences of this task.
        """
        # contiguous int64: for any other layout numba would compile the rules once more
        array = np.ascontiguousarray(tokens, dtype=np.int64)
        if array.ndim != 2:
            shape = list(array.shape)
            raise ValueError(f"Tokens must have shape [N, T], not {shape}; wrap one sequence as tokens[None].")
        if array.shape[1] > self.length:
            raise ValueError(f"Cannot score {array.shape[1]} tokens: this task's length is {self.length}.")
        if array.size and (array.min() < 0 or array.max() >= len(self.vocab)):
            raise ValueError(f"Tokens must be in 0..{len(self.vocab) - 1}, not {array.min()}..{array.max()}.")
        return array

    def action_mask(self, tokens: Tokens, steps: Tokens) -> NDArray[np.int8] | None:
        """Return 1 for each token allowed next, int8 [N, V]; None (the default): all.

        `steps` [N] tokens are chosen so far. It is not asked where a sequence is over.
        """
        return None

    def sequence(self, tokens: Tokens) -> Any:
        """Spell one finished sequence [T] in the domain's own words, never an ndarray: the list of token texts."""
        return self.vocab.decode(tokens)

    def sequences(self, tokens: Tokens, lengths: Tokens) -> list[Any]:
        """Return `sequence` of each of tokens [N, T] up to lengths [N]."""
        # the quick way is right only where `sequence` is the default
        if type(self).sequence is Task.sequence:
            return self.vocab.decode_rows(tokens, lengths)
        return [self.sequence(row[:length]) for row, length in zip(tokens, lengths.tolist())]

    def encode(self, text: Any) -> Tokens:
        """Return the tokens [T] of one finished sequence in the domain's own words, as `sequence` spells it.

        Raise ValueError where it has none. The default takes a list of token texts.
        """
        return self.vocab.encode(text)

    def derive(self, kind: str, tokens: Tokens, lengths: Tokens, returns: Floats, n: int, rng: Any) -> list[Any]:
        """Return some n sequences, as `encode` takes them, made of finished ones [N, T] that returned `returns` [N].

        `kind` is "spelling", the same in other tokens, or "child", new ones from pairs. The default knows neither.
        """
        raise ValueError(f"{type(self).__name__} derives no {kind} from sequences: leave that setting at 0.")

    def render_ansi(self, tokens: Tokens) -> str:
        """Write the tokens so far [t] as text."""
        return " ".join(self.vocab.decode(tokens))

    def render_rgb(self, tokens: Tokens, episode_return: float) -> NDArray[np.uint8]:
        """Draw the tokens so far [t] as a picture [height, width, 3], with the sum of environment rewards so far."""
        raise ValueError(f"{type(self).__name__} draws no pictures; use render_mode='ansi'.")
