"""The melody task: the nine rules by name and weight, and the user's own rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.checks import positive_integer
from seqtutor_envs.melody import paper_table, rhythm
from seqtutor_envs.melody.max_return import bound_return
from seqtutor_envs.melody.prefix_bound import bound_prefixes
from seqtutor_envs.melody.rules import RULE_NAMES, melody_rules, step_rules
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.task import RunOptions, SampleOptions, Task, named_weights
from seqtutor_envs.vocab import Floats, Tokens, TokenVocab

Rule = Callable[[Tokens, int], float]


@dataclass(frozen=True)
class MelodySampleOptions(SampleOptions):
    """Choose which files of melodies are written.

    Args:
        midi: also write them as MIDI files to FOLDER/samples.
    """

    midi: bool = False

    def write_files(self, folder: Path, tokens: Tokens, lengths: Tokens) -> str | None:
        """Write each melody as FOLDER/samples/NUMBER.mid if MIDI files are asked for."""
        from seqtutor_envs.melody.midi import write_midi

        if not self.midi:
            return None
        samples = folder / "samples"
        samples.mkdir(exist_ok=True)
        for number, (row, length) in enumerate(zip(tokens, lengths.tolist()), start=1):
            write_midi(row[:length], samples / f"{number:03}.mid")
        return f"{len(tokens)} MIDI files in {samples}"


class MelodyTask(Task):
    """Pay a melody: r_T(s, a) = sum of weight * rule over the nine rules of rules.py and the user's own.

    A rule of your own is a plain Python function `(tokens, step) -> float`: `tokens` [step + 1] are the tokens so far,
    read-only, the last of them the one just chosen. It is called once a step and sequence, so it is slow (the nine are
    compiled), and the task can be pickled if the function can. Example:
    `rules={"high": lambda tokens, step: tokens[-1] > 30}`.

    Args:
        length: the melody's steps N, one per sixteenth; 32 is the paper's.
        weights: name -> weight, 1 where it is silent; the values of Magenta's `rl_tuner` are already in the rules.
        rules: name -> function, the user's own, after the nine.

    Raises:
        ValueError, TypeError: one line that names the rule, the weight or the length that cannot be.
    """

    vocab = MELODY_VOCAB
    writes = "melodies"

    def __init__(
        self, length: int = 32, weights: Mapping[str, float] | None = None, rules: Mapping[str, Rule] | None = None
    ) -> None:
        self.length = positive_integer("length", length)
        self.rules: dict[str, Rule] = dict(rules or {})
        for name, rule in self.rules.items():
            if name in RULE_NAMES:
                raise ValueError(f"A rule cannot be called {name!r}: that is one of {', '.join(RULE_NAMES)}.")
            if not callable(rule):
                raise TypeError(f"The rule {name!r} must be a function (tokens, step) -> float, not {rule!r}.")
        self.weights = named_weights((*RULE_NAMES, *self.rules), weights)

    def step_terms(self, tokens: Tokens, steps: Tokens) -> Floats:
        tokens = np.ascontiguousarray(tokens, dtype=np.int64)
        terms = step_rules(tokens, np.ascontiguousarray(steps, dtype=np.int64), self.length)
        return terms if not self.rules else np.concatenate([terms, self._own_terms(tokens, steps)], axis=1)

    # compiled over all steps at once, instead of one call a step
    def all_terms(self, tokens: Tokens) -> Floats:
        nine = melody_rules(tokens, self.length)
        if not self.rules:
            return nine
        own = np.empty((*tokens.shape, len(self.rules)))
        for step in range(tokens.shape[1]):
            own[:, step] = self._own_terms(tokens, np.full(len(tokens), step))
        return np.concatenate([nine, own], axis=2)

    def _own_terms(self, tokens: Tokens, steps: Tokens) -> Floats:
        """Call the user's rules at one step of each melody: tokens [N, T], steps [N] -> [N, number of rules]."""
        own = np.empty((len(tokens), len(self.rules)))
        for n, step in enumerate(steps.tolist()):
            prefix = tokens[n, : step + 1]
            prefix.flags.writeable = False  # a rule that writes would change the episode
            for k, (name, rule) in enumerate(self.rules.items()):
                own[n, k] = _finite(name, rule(prefix, step), step)
        return own

    def max_return(self) -> float:
        """Return a proved bound on R; infinity if a rule of the user's own counts.

        At 32 steps and weights 1 it is the greatest return, rounded up: see max_return_proof.py.
        """
        if any(self.weights[name] != 0.0 for name in self.rules):
            return math.inf
        return bound_return(self.length, self.weights)

    def bound_returns(self, tokens: Tokens, so_far: Floats) -> Floats:
        """Return upper bounds [N] on R of melodies that begin so: prefix_bound.py; max_return() if a weight is < 0."""
        most = self.max_return()
        if not math.isfinite(most) or min(self.weights.values()) < 0.0:
            return np.full(len(tokens), most)
        weights = tuple(float(self.weights[name]) for name in RULE_NAMES)
        return np.minimum(bound_prefixes(tokens, so_far, self.length, weights), most)

    def metrics(self, tokens: Tokens, lengths: Tokens | None = None) -> dict[str, float]:
        tokens = self.checked(tokens)
        return paper_table.compute_rows(tokens) | rhythm.compute_rows(tokens)

    @classmethod
    def has_tokens_of(cls, vocab: TokenVocab) -> bool:
        return vocab == MELODY_VOCAB

    @classmethod
    def run_options(cls) -> RunOptions:
        return RunOptions(sample=MelodySampleOptions)

    def render_ansi(self, tokens: Tokens) -> str:
        from seqtutor_envs.melody.render import render_ansi

        return render_ansi(tokens)

    def render_rgb(self, tokens: Tokens, episode_return: float) -> NDArray[np.uint8]:
        from seqtutor_envs.melody.render import render_rgb

        return render_rgb(tokens, episode_return, self.length)


def _finite(name: str, value: float, step: int) -> float:
    """Return a rule's value as a float. Raise TypeError or ValueError that names the rule and the step."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"The rule {name!r} must return a number, not {value!r} (step {step}).") from None
    if not math.isfinite(number):
        raise ValueError(f"The rule {name!r} must return a finite number, not {number} (step {step}).")
    return number
