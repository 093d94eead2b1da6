"""Run the paper's molecule experiment as its authors set it up: a small character-level prior, primed, their reward.

`python -m benchmarks.authors_smiles train --file mine.smi` trains the prior; the suite `authors-smiles` tunes it.
Importing this module registers the suite's environment.

Priming: a random character is fed to the network and then dropped from the string. Here it is the first token of a
sequence. All characters are equally likely under prior and policy, so it costs no KL and cannot be chosen, and it is no
part of what is scored. The network was trained on whole strings and takes it for their first character: after a "(" or
a "1" it goes on to close what the string never opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from gymnasium.envs.registration import register
from numpy.typing import NDArray

from agents import GLearning, PsiLearning, QLearning
from agents.networks import Policy, ValueNetwork
from agents.store.replay import Sequences
from agents.tutor import Tutor
from seqtutor_envs.command import run
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.prior import Prior, RecurrentPrior, State
from seqtutor_envs.prior.fit import Settings, fit
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR
from seqtutor_envs.smiles.corpus.reading import read_moses, read_records
from seqtutor_envs.smiles.env import PREFIX_TEMPERATURE
from seqtutor_envs.smiles.task import SmilesTask
from seqtutor_envs.smiles.vocab import END
from seqtutor_envs.task import Task
from seqtutor_envs.vocab import TokenVocab

LONGEST, MOLECULES = 120, 250_000  # characters, and strings, of the authors' training set, by their public code
HELD_OUT = 5_000
SETTINGS = Settings(  # 100 cells are the authors'; the rest is ours: about a minute of one core
    hidden_size=100, epochs=10, epoch_size=5_000, chunk=LONGEST + 1, warmup=200, max_grad_norm=1.0
)
TIE = 1e-5  # nats; what a greedy choice among equally likely characters is left to


def primer_row(vocab: TokenVocab) -> NDArray[np.float32]:
    """Return log p [V] of the first token: all characters equally likely, the end impossible."""
    row = np.full(len(vocab), -np.log(len(vocab) - 1), np.float32)
    row[vocab.end] = LOG_PROB_FLOOR
    return row


class PrimedPrior(RecurrentPrior):
    """Make the first token of a recurrent prior a random character."""

    @classmethod
    def of(cls, prior: RecurrentPrior) -> PrimedPrior:
        """Return the same network, with room for the primer."""
        return cls(prior.weights, prior.cell, prior.vocab, prior.length + 1, prior.card)

    def step(self, tokens: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        rows, state = super().step(tokens, state)
        # the network has read the start token and does not know that a random one follows
        rows[np.asarray(tokens) == self.vocab.start] = primer_row(self.vocab)
        return rows, state


class PrimedPolicy(Policy):
    """Make the first token of an agent's policy the same random character.

    Args:
        rng: breaks ties of the first token, for whoever takes the most probable one.
    """

    def __init__(
        self, network: ValueNetwork, prior: Prior, length: int, rng: np.random.Generator | None = None
    ) -> None:
        super().__init__(network, prior, length)
        self.rng = rng

    def step(
        self, tokens: NDArray[np.int64], state: State, prior_rows: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], State]:
        rows, state = super().step(tokens, state, prior_rows)
        first = np.asarray(tokens) == self.vocab.start
        rows[first] = primer_row(self.vocab)
        if self.rng is not None:
            rows[first] += TIE * self.rng.random((int(first.sum()), len(self.vocab)), np.float32)
        return rows, state


class PrimedTask(Task):
    """Score all tokens but the first, which earns nothing."""

    def __init__(self, inner: SmilesTask) -> None:
        self.inner = inner
        self.vocab, self.length, self.weights = inner.vocab, inner.length + 1, inner.weights

    def step_terms(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
        terms = np.zeros((len(tokens), len(self.weights)))
        later = np.flatnonzero(np.asarray(steps) > 0)
        # the inner task knows no primer: its tokens and steps begin one later
        terms[later] = self.inner.step_terms(np.asarray(tokens)[later, 1:], np.asarray(steps)[later] - 1)
        return terms

    def terms(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        tokens = np.asarray(tokens)
        until = None if lengths is None else np.asarray(lengths) - 1
        none = np.zeros((len(tokens), 1))
        by_name = self.inner.terms(tokens[:, 1:], until)
        return {name: np.concatenate([none, term], axis=1) for name, term in by_name.items()}

    def smiles(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[str]:
        """Return the strings of sequences [N, T], without their primers."""
        return self.inner.smiles(np.asarray(tokens)[:, 1:], np.asarray(lengths) - 1)

    def sequence(self, tokens: NDArray[np.int64]) -> str:
        return self.inner.sequence(np.asarray(tokens)[1:])

    def metrics(self, tokens: NDArray[np.int64], lengths: NDArray[np.int64] | None = None) -> dict[str, float]:
        until = None if lengths is None else np.asarray(lengths) - 1
        return self.inner.metrics(np.asarray(tokens)[:, 1:], until)

    def close(self) -> None:
        self.inner.close()


class AuthorsSmilesVectorEnv(SequenceTutorVectorEnv):
    """Step N primed molecules at once, with the authors' dense reward (`shaping="prefix"`) and temperature.

    Args:
        prior: path of a character-level prior.
        c: temperature; default 1 / .35.
        workers: scoring processes.
        num_envs, obs_mode, autoreset_mode, infos: as for SeqTutor-SMILES-v0.
    """

    round_size = 32

    def __init__(self, *, prior: str, c: float = PREFIX_TEMPERATURE, workers: int = 0, **kwargs: Any) -> None:
        model = RecurrentPrior.load(prior)
        task = PrimedTask(SmilesTask(LONGEST + 1, vocab=model.vocab, shaping="prefix", workers=workers))
        super().__init__(task, PrimedPrior.of(model), c=c, **kwargs)


register("SeqTutor-AuthorsSMILES-v0", vector_entry_point="benchmarks.authors_smiles:AuthorsSmilesVectorEnv")


def primed(agent_class: type[Tutor]) -> type[Tutor]:
    """Return the agent class with a random first character in all that it samples."""

    class Primed(agent_class):  # type: ignore[misc, valid-type]
        def policy(self) -> Policy:
            return PrimedPolicy(self.learner.network, self.prior, self.horizon)

        def collect(self) -> tuple[Sequences, NDArray[np.float64]]:
            policy: Any = PrimedPolicy(self.learner.network, self.prior, self.horizon, self.rng)
            epsilon = self.epsilon() if self.learner.objective.greedy else None
            return self.rollouts.collect(policy, self.rng, epsilon)

    Primed.__name__ = f"Primed{agent_class.__name__}"
    return Primed


def make_factory(agent_class: type[Tutor]) -> Callable[..., Tutor]:
    """Return a factory, as an Experiment names one, of this agent with a random first character."""

    def make(env: str, *, seed: int, env_kwargs: Mapping[str, Any], **settings: Any) -> Tutor:
        return primed(agent_class)(env, seed=seed, env_kwargs=dict(env_kwargs), **settings)

    return make


psi, g, q = map(make_factory, (PsiLearning, GLearning, QLearning))


# ---------------------------------------------------------------- the prior


def train_prior(
    settings: Annotated[Settings, tyro.conf.arg(name="")] = SETTINGS,
    file: Path | None = None,
    moses: Path | None = None,
    column: str | None = None,
    molecules: int = MOLECULES,
    out: Path = Path("authors-prior.safetensors"),
    resume: bool = False,
) -> None:
    """Train the character-level prior that the suite `authors-smiles` expects in the current folder.

    Args:
        settings: how to train.
        file: SMILES to train on: .smi, .csv, .tsv, also as .gz.
        moses: the wheel of MOSES (`pip download --no-deps molsets`), or its train.csv.
        column: of the table.
        molecules: at most so many strings of the file, drawn at random.
        out: file to write; its card goes beside it as .json.
        resume: continue an interrupted run of the same command.
    """
    strings = read_strings(file, moses, column, molecules, settings.seed)
    vocab = character_vocab(strings)
    sequences = encode_characters(strings, vocab)
    # the strings are in random order already
    held_out = min(HELD_OUT, max(1, len(sequences) // 100))
    card = {"data": str((file or moses or Path()).name), "strings": len(strings), "characters": len(vocab) - 1}
    prior = fit(
        sequences[held_out:], sequences[:held_out], vocab, out, settings, LONGEST + 1, card, resume, progress_bar=True
    )
    print(f"{out}: validation nll {prior.card['validation']['nll_per_token']:.4f} per character")


def read_strings(file: Path | None, moses: Path | None, column: str | None, n: int, seed: int) -> list[str]:
    """Return at most n random strings of at most LONGEST characters. Raises ValueError if there are fewer than two."""
    if (file is None) == (moses is None):
        raise ValueError("Give one of --file FILE and --moses WHEEL_OR_CSV.")
    lines = read_records(file, column) if file is not None else read_moses(moses or "")
    found = [text for _, text in lines if text and len(text) <= LONGEST and text.isascii() and text.isprintable()]
    if len(found) < 2:
        raise ValueError(f"{file or moses} has {len(found)} strings of 1 to {LONGEST} characters: 2 are needed.")
    chosen = np.random.default_rng(seed).permutation(len(found))[:n]
    return [found[i] for i in chosen]


def character_vocab(strings: Iterable[str]) -> TokenVocab:
    """Return a vocabulary with one token for each character, the end token last."""
    texts = sorted(set().union(*map(set, strings)))
    return TokenVocab((*texts, END), end=len(texts))


def encode_characters(strings: Sequence[str], vocab: TokenVocab) -> list[NDArray[np.uint8]]:
    """Return the ids of each string's characters, the end token last."""
    ids = {text: i for i, text in enumerate(vocab.tokens)}
    return [np.array([*(ids[character] for character in string), vocab.end], np.uint8) for string in strings]


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    run({"train": train_prior}, "python -m benchmarks.authors_smiles", args)


if __name__ == "__main__":
    main()
