"""The molecule task: terms by name and weight, the user's objective, the authors' dense reward."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from seqtutor_envs.checks import one_of, positive_integer
from seqtutor_envs.prior import load_prior, padded
from seqtutor_envs.smiles.chem.checks import CHECKS, ELEMENTS, check_names
from seqtutor_envs.smiles.chem.constraints import Constraints
from seqtutor_envs.smiles.max_return import bound_dense_return, bound_mean_return
from seqtutor_envs.smiles.objective import UserObjective
from seqtutor_envs.smiles.pmo.task import find_pmo_name
from seqtutor_envs.smiles.rewards import DENSE_PROPERTIES, FROM_PROPERTY, MOLECULE_TERMS, PREFIX_TERMS, prefix_terms
from seqtutor_envs.smiles.scoring import Score, Scorer, ScoreSpec
from seqtutor_envs.smiles.vocab import END, encode
from seqtutor_envs.task import RunLog, RunOptions, Task, named_weights
from seqtutor_envs.vocab import Floats, Tokens, TokenVocab

MAX_LENGTH = 100  # tokens, the end token included; MOSES needs 55, osimertinib 63


class SmilesTask(Task):
    """Reward a finished molecule with the weighted mean of its terms; unfinished and invalid ones earn 0.

    A sequence is over with its first end token or with `max_length` tokens; its string, that of its tokens without the
    end token, is scored as written. Terms, `shaping` and the other arguments as SmilesEnv says; a term of weight 0 is
    not computed and is not in `weights`.

    Args:
        max_length: the horizon in tokens.
        weights: name -> weight, at least 0; `self.weights` are these divided by their sum.
        vocab: the tokens, with an end token; None: the shipped prior's.
        checks: None: all of CHECKS, or none with shaping.
        known: a Bloom filter's file, of canonical SMILES that are not novel; None: `metrics` says nothing of novelty.

    Attributes:
        counts: finished molecules by reason: "valid", or why one is not. It changes no reward.

    Raises:
        ValueError, TypeError: one line that names the argument that cannot be.
    """

    writes = "molecules"

    def __init__(
        self,
        max_length: int = MAX_LENGTH,
        weights: Mapping[str, float] | None = None,
        *,
        vocab: TokenVocab | None = None,
        objective: Callable[[list[str]], Any] | str | None = None,
        shaping: str | None = None,
        workers: int = 0,
        score_timeout: float | None = None,
        invalid_score: float = 0.0,
        minimize: bool = False,
        clip: tuple[float, float] | None = None,
        transform: str | Mapping[str, Any] | None = None,
        require: str | Sequence[str] = (),
        forbid: str | Sequence[str] = (),
        ranges: Mapping[str, tuple[float | None, float | None]] | None = None,
        constraints: str = "hard",
        checks: Sequence[str] | None = None,
        elements: Sequence[str] = ELEMENTS,
        oracle_budget: int | None = None,
        known: str | os.PathLike[str] | None = None,
    ) -> None:
        self.length = positive_integer("max_length", max_length)
        # the shipped prior's vocabulary is the default, since most tasks are used with it
        self.vocab = load_prior("smiles").vocab if vocab is None else vocab
        if self.vocab.end is None:
            raise ValueError("Molecules differ in length: the vocabulary, which is the prior's, needs an end token.")
        self._end = self.vocab.end
        self.shaping: str | None = one_of("shaping", shaping, (None, "prefix"))
        self.constraints = Constraints(require, forbid, ranges)
        soft = one_of("constraints", constraints, ("hard", "soft")) == "soft"
        options: dict[str, Any] = dict(
            invalid_score=invalid_score, minimize=minimize, clip=clip, transform=transform, oracle_budget=oracle_budget
        )
        given = [name for name, value in options.items() if value]  # all of their defaults are false
        if objective is None and given:
            raise ValueError(f"{given[0]} belongs to an objective: pass objective= as well.")
        self.objective = None if objective is None else UserObjective(objective, **options)
        if self.shaping and (self.objective or len(self.constraints)):
            raise ValueError("shaping='prefix' is the authors' reward as it is: leave out objective and constraints.")
        self.weights = self._shares(weights, soft and len(self.constraints) > 0)
        if self.objective is not None and "objective" not in self.weights:  # then nothing is asked or counted
            if oracle_budget is not None:
                raise ValueError("oracle_budget counts the scores of an objective, and its weight is 0: leave out one.")
            self.objective = None
        # only properties whose terms have a weight are computed: QED takes most of a score's time
        terms = [FROM_PROPERTY[name] for name in self.weights if name in FROM_PROPERTY]
        self.properties = DENSE_PROPERTIES if self.shaping else tuple(name for name, _ in terms)
        default = () if self.shaping else CHECKS
        asked = check_names(default if checks is None else checks, elements)
        spec, name = ScoreSpec(self.properties, *asked, self.constraints, not soft), find_pmo_name(objective)
        self.scorer = Scorer(spec, workers, score_timeout, pmo_task=name)
        if self.objective is not None and name is not None:
            self.objective.scorer = self.scorer
        self.known = known
        self.counts: Counter[str] = Counter()

    def _shares(self, weights: Mapping[str, float] | None, soft: bool) -> dict[str, float]:
        """Compute the weight of each term that is computed. Raise ValueError where they make no weighted mean."""
        if self.shaping:
            return named_weights(PREFIX_TERMS, weights)
        default = dict.fromkeys(MOLECULE_TERMS, 0.0 if self.objective else 1.0)
        default |= {"constraints": 1.0} if soft else {}
        default |= {"objective": 1.0} if self.objective else {}
        # the user's weights over the defaults, in the defaults' order
        full = named_weights(default, {**default, **(weights or {})})
        negative = [name for name, weight in full.items() if weight < 0]
        if negative:
            raise ValueError(f"The weight of {negative[0]!r} must be at least 0, not {full[negative[0]]:g}.")
        total = sum(full.values())
        if not total:
            raise ValueError(f"At least one of the weights must be above 0: those of {', '.join(full)}.")
        return {name: weight / total for name, weight in full.items() if weight}

    # ---------------------------------------------------------------- rewards

    def step_terms(self, tokens: Tokens, steps: Tokens) -> Floats:
        tokens, steps = np.asarray(tokens, dtype=np.int64), np.asarray(steps, dtype=np.int64)
        chosen = tokens[np.arange(len(tokens)), steps]
        over = (chosen == self._end) | (steps + 1 == self.length)
        # with shaping every step pays, else only the last
        paid = np.arange(len(tokens)) if self.shaping else np.flatnonzero(over)
        terms = np.zeros((len(tokens), len(self.weights)))
        # a sequence that ended before this step is filler here and earns nothing
        if len(paid):
            past = ((tokens[paid] == self._end) & (np.arange(tokens.shape[1]) < steps[paid, None])).any(axis=1)
            paid = paid[~past]
        if len(paid):
            smiles = self.smiles(tokens[paid], steps[paid] + 1)
            wrote = chosen[paid] != self._end
            terms[paid] = self._dense(smiles, over[paid], wrote) if self.shaping else self.scores(smiles)
        return terms

    def terms(self, tokens: Tokens, lengths: Tokens | None = None) -> dict[str, Floats]:
        """Compute raw terms of every step: name -> [N, T]; all molecules are scored in one call.

        Filler after `lengths` may be any number. A sequence that is not over (no end token, fewer tokens than
        `max_length`) is paid as a prefix.
        """
        tokens, until = self._checked(tokens, lengths)
        n, horizon = tokens.shape
        is_end = (tokens == self._end) & (np.arange(horizon) < until[:, None])
        over = is_end.any(axis=1) | (until == self.length)
        # the end token's own step is the last that pays
        until = np.where(is_end.any(axis=1), is_end.argmax(axis=1) + 1, until)
        table = np.zeros((n, horizon, len(self.weights)))
        if self.shaping:
            rows, steps = np.nonzero(np.arange(horizon) < until[:, None])
            finished = over[rows] & (steps + 1 == until[rows])
            # every prefix of every sequence, flat: one call of the scorer for all
            table[rows, steps] = self._dense(self._prefixes(tokens, until), finished, tokens[rows, steps] != self._end)
        else:
            table[over, until[over] - 1] = self.scores(self.smiles(tokens[over], until[over]))
        return {name: table[:, :, k] for k, name in enumerate(self.weights)}

    def max_return(self) -> float:
        if self.shaping:
            writes = [text for token, text in enumerate(self.vocab.tokens) if token != self._end]
            return bound_dense_return(self.weights, writes, self.length)
        asked = self.objective
        scores = (0.0, 0.0) if asked is None else (asked.max_score(), asked.invalid_score)
        return bound_mean_return(self.weights, *scores)

    def announce(self, tokens: Tokens, lengths: Tokens) -> None:
        """Let scoring processes begin with these finished molecules."""
        if not self.shaping:  # it pays for every prefix
            self.scorer.begin(self.smiles(tokens, lengths))

    def _checked(self, tokens: Tokens, lengths: Tokens | None) -> tuple[Tokens, Tokens]:
        """Return tokens [N, T], 0 as filler, and lengths [N]. Raise ValueError where they cannot be this task's."""
        if lengths is None or np.ndim(tokens) != 2:
            tokens = self.checked(tokens)
            return tokens, np.full(len(tokens), tokens.shape[1])
        n, horizon = np.shape(tokens)
        until = np.asarray(lengths)
        if until.shape != (n,) or until.dtype.kind not in "iu" or not ((0 <= until) & (until <= horizon)).all():
            raise ValueError(f"lengths must be [{n}] integers in 0..{horizon}, one for each sequence, not {lengths}.")
        return self.checked(padded(tokens, until)), until.astype(np.int64)

    def scores(self, smiles: Sequence[str]) -> Floats:
        """Compute raw terms of n finished molecules, [n, K].

        One call of the scorer, and at most one of the objective.
        """
        scores = self.scorer(smiles)
        reasons = [score.reason for score in scores]
        terms = np.zeros((len(scores), len(self.weights)))
        if "objective" in self.weights:
            terms[:, list(self.weights).index("objective")], reasons = self._by_objective(scores)
        # reasons of the objective replace the scorer's: a failed score makes a molecule invalid
        good = [n for n, reason in enumerate(reasons) if not reason]
        values = np.array([scores[n].values for n in good]).reshape(len(good), len(self.properties))
        for k, name in enumerate(self.weights):
            if name == "valid":
                terms[good, k] = 1.0
            elif name == "constraints":
                terms[good, k] = [1 - len(scores[n].unmet) / len(self.constraints) for n in good]
            elif name in FROM_PROPERTY:
                needed, worth = FROM_PROPERTY[name]
                terms[good, k] = worth(values[:, self.properties.index(needed)])
        self.counts.update(reason or "valid" for reason in reasons)
        return terms

    def _by_objective(self, scores: Sequence[Score]) -> tuple[Floats, list[str]]:
        """Ask the objective for the score of each molecule [n]. Return the scores and the reasons of invalid ones."""
        assert self.objective is not None
        values = np.full(len(scores), self.objective.invalid_score)
        reasons = [score.reason for score in scores]
        canonical = {n: score.canonical for n, score in enumerate(scores) if score.canonical is not None}
        for n, scored in zip(canonical, self.objective(list(canonical.values()))):
            values[n], reasons[n] = scored
        self.spent = self.objective.oracle.spent
        return values, reasons

    def budget_used(self) -> float | None:
        """Return the share of `oracle_budget` that is used; None where there is none."""
        if self.objective is None or self.objective.oracle.budget is None:
            return None
        return self.objective.oracle.calls / self.objective.oracle.budget

    def summarize_calls(self) -> dict[str, float]:
        """Return what the objective was asked for, and how good the best are; with a budget, what else they are worth.

        See `OracleCounter.summarize` and `chem.designs.measure_designs`. Empty without an objective.
        """
        from seqtutor_envs.smiles.chem.designs import measure_designs

        if self.objective is None:
            return {}
        oracle = self.objective.oracle
        found = {name: float(value) for name, value in oracle.summarize().items() if value is not None}
        return found | (measure_designs(oracle.molecules, oracle.scores) if oracle.molecules else {})

    def _dense(self, smiles: list[str], finished: NDArray[np.bool_], wrote: NDArray[np.bool_]) -> Floats:
        """Compute the authors' terms of n strings so far, [n, K]."""
        scores = self.scorer(smiles)
        valid = np.array([not score.reason for score in scores])
        # NaN: reading a property of an invalid string would show at once
        table = np.full((len(scores), len(self.properties)), np.nan)
        for n in np.flatnonzero(valid):
            table[n] = scores[n].values
        self.counts.update(score.reason or "valid" for score, over in zip(scores, finished) if over)
        columns = {name: table[:, k] for k, name in enumerate(self.properties)}
        return prefix_terms(smiles, valid, columns, finished, wrote)

    # ---------------------------------------------------------------- words, pictures, metrics

    def smiles(self, tokens: Tokens, lengths: Tokens | None = None) -> list[str]:
        """Spell sequences [N, T]: their tokens up to the first end token, at most `lengths` [N] of them."""
        rows = np.asarray(tokens).tolist()
        until = [len(row) for row in rows] if lengths is None else np.asarray(lengths).tolist()
        return [self._text(row[:length]) for row, length in zip(rows, until)]

    def _text(self, row: list[int]) -> str:
        texts = self.vocab.tokens
        return "".join([texts[token] for token in (row[: row.index(self._end)] if self._end in row else row)])

    def _prefixes(self, tokens: Tokens, until: Tokens) -> list[str]:
        """Return the strings after each token of each sequence [N, T], `until` [N] of each.

        The end token adds nothing.
        """
        # by id: the end token writes nothing, so prefixes can be summed up
        texts = [text if token != self._end else "" for token, text in enumerate(self.vocab.tokens)]
        rows = zip(tokens.tolist(), until.tolist())
        return [string for row, last in rows for string in accumulate(texts[token] for token in row[:last])]

    def sequence(self, tokens: Tokens) -> str:
        """Return the SMILES of one sequence [T]."""
        return self._text(np.asarray(tokens).tolist())

    def encode(self, text: str) -> Tokens:
        """Return the tokens [T] of a SMILES, the end token last; it need be no molecule.

        Raise ValueError where the vocabulary lacks a token of it, TypeError where it is no string.
        """
        if not isinstance(text, str):
            raise TypeError(f"A SMILES is a string, not {text!r}.")
        return encode(self.vocab, text)

    def derive(self, kind: str, tokens: Tokens, lengths: Tokens, returns: Floats, n: int, rng: Any) -> list[str]:
        """Return at most n SMILES: random spellings of valid molecules [N, T] in turn, or children by a graph GA.

        Raise ImportError where children are asked for and mol-ga is not installed.
        """
        from seqtutor_envs.smiles.chem.graph_ga import children
        from seqtutor_envs.smiles.chem.spelling import spellings

        texts = self.smiles(tokens, lengths)
        if kind == "child":
            return children(texts, returns.tolist(), n, rng)
        one_of("kind", kind, ("spelling", "child"))
        return [spelled for text in texts[:n] for spelled in spellings(text, max(1, n // len(texts)), rng)]

    def identities(self, tokens: Tokens, lengths: Tokens | None = None) -> list[tuple[str, str]]:
        """Return canonical SMILES and Murcko scaffold (canonical SMILES, "" without rings).

        Both "" if it is invalid.
        """
        from seqtutor_envs.smiles.chem.comparison import find_scaffold

        names = [score.canonical or "" for score in self.scorer(self.smiles(*self._checked(tokens, lengths)))]
        return [(name, find_scaffold(name)) for name in names]

    def features(self, tokens: Tokens, lengths: Tokens) -> csr_array:
        """Count substructures, [N, 4096], of molecules; zeros of what is none: see chem/features.py."""
        from seqtutor_envs.smiles.chem.features import count_features

        return count_features(self.smiles(*self._checked(tokens, lengths)))

    def descriptors(self, tokens: Tokens, lengths: Tokens) -> Floats:
        """Describe molecules by 15 numbers each; zeros of what is none: see chem/features.py."""
        from seqtutor_envs.smiles.chem.features import describe

        return describe(self.smiles(*self._checked(tokens, lengths)))

    def metrics(self, tokens: Tokens, lengths: Tokens | None = None) -> dict[str, float]:
        """Compute `metrics.table` of the strings, with novelty where `known` says what is not new."""
        from seqtutor_envs.smiles import metrics
        from seqtutor_envs.smiles.corpus.bloom import BloomFilter

        # loaded at each call: metrics are rare, and a filter takes megabytes
        known = None if self.known is None else BloomFilter.load(self.known)
        return metrics.table(self.smiles(*self._checked(tokens, lengths)), novelty=known)

    def render_ansi(self, tokens: Tokens) -> str:
        """Write the SMILES so far and whether it is a molecule: "c1ccccc1  (valid so far)"."""
        return f"{self.sequence(tokens)}  ({self._verdict(tokens)})"

    def render_rgb(self, tokens: Tokens, episode_return: float) -> NDArray[np.uint8]:
        """Draw the molecule, or its SMILES so far where it is none; its properties, and the rewards' sum in nats."""
        from seqtutor_envs.smiles import chem
        from seqtutor_envs.smiles.chem.drawing import picture

        smiles = self.sequence(tokens)
        lines = [f"step {len(tokens)} of {self.length}, {self._verdict(tokens)}"]
        lines[0] += f", reward so far {episode_return:+.2f} nats".replace("-", "\u2212")  # a true minus sign
        found = chem.properties([smiles])
        if found["valid"][0]:
            logp, sa, qed, ring_penalty = (float(found[name][0]) for name in chem.PROPERTIES)
            lines.append(f"QED {qed:.2f}   logP {logp:.2f}   SA {sa:.2f}   ring penalty {ring_penalty:.0f}")
        return picture(smiles, lines)

    def _verdict(self, tokens: Tokens) -> str:
        """Say whether the tokens so far [t] are a molecule, and why not."""
        reason = self.scorer([self.sequence(tokens)])[0].reason
        over = self._end in tokens or len(tokens) == self.length
        return ("invalid" if reason else "valid") + ("" if over else " so far") + (f": {reason}" if reason else "")

    @classmethod
    def has_tokens_of(cls, vocab: TokenVocab) -> bool:
        return vocab.end is not None and vocab.tokens[vocab.end] == END

    @classmethod
    def run_options(cls) -> RunOptions:
        from seqtutor_envs.smiles.runs import options

        return RunOptions(options.MoleculeTrainOptions, options.MoleculeSampleOptions, options.MoleculeEvaluateOptions)

    @classmethod
    def run_log(cls) -> type[RunLog]:
        from seqtutor_envs.smiles.runs.log import MoleculeLog

        return MoleculeLog

    def close(self) -> None:
        """End the scoring processes; the next score starts them again."""
        self.scorer.close()
