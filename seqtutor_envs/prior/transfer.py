"""Transfer learning: start from the weights of a base prior, with tokens that it lacks, and measure what changed.

V tokens, H cells; nll in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.files import safetensors_path
from seqtutor_envs.prior import RecurrentPrior, find_prior, weights_sha256
from seqtutor_envs.prior.batches import Sequences
from seqtutor_envs.prior.fit import Settings, token_nll
from seqtutor_envs.prior.network import RecurrentNetwork
from seqtutor_envs.vocab import TokenVocab

PATIENCE = 3  # epochs without a better validation nll
SAMPLES = 2_000  # of the base prior, on which base and new prior are compared
SEED = 1  # of these; the samples on a card have seed 0


class Transfer:
    """Start a training from a base prior, and compare what comes out with it.

    Args:
        name: a shipped name or a path.
        out: where the new prior is written. Raise ValueError if that is the base prior's own file.

    Attributes:
        base: the base prior.
        start: what training starts from; set by `extend`.
    """

    def __init__(self, name: str, out: Path) -> None:
        if find_prior(name) == safetensors_path(out).resolve():
            raise ValueError(f"--out would overwrite {name}, the prior of --from: choose another --out.")
        self.name, self.base = Path(name).name, RecurrentPrior.load(name)
        self.start = self.base

    def with_network(self, settings: Settings) -> Settings:
        """Return the settings with the base's network. Raise ValueError if they ask for another one."""
        own = {name: getattr(self.base, name) for name in ("hidden_size", "num_layers", "cell")}
        for name, value in own.items():
            if (asked := getattr(settings, name)) and asked != value:  # 0 and "": not asked for
                option = f"--{name.replace('_', '-')} {asked}"
                raise ValueError(f"{option} cannot be had: the network is that of {self.name}, {value}. Leave it out.")
        return replace(settings, **own)

    def extend(
        self, vocab: TokenVocab, counts: Sequence[int], relative: Callable[[str], str] | None = None
    ) -> RecurrentPrior:
        """Set and return `start`, the base with the vocabulary of the corpus: see `extend_prior`."""
        self.start = extend_prior(self.base, vocab, counts, relative)
        return self.start

    def facts(self) -> dict[str, Any]:
        """Return where the weights come from, for the card."""
        new = [token for token in self.start.vocab.tokens if token not in self.base.vocab.tokens]
        return {"from": self.name, "weights_sha256": weights_sha256(self.base.weights), "new_tokens": new}

    def share_with_new(self, vocab: TokenVocab, tokens: NDArray[np.int64]) -> float:
        """Return the share of sequences [n, T] that hold a token that the base lacks."""
        new = [i for i, token in enumerate(vocab.tokens) if token not in self.base.vocab.tokens]
        return float(np.isin(tokens, new).any(axis=1).mean())

    def measure(self, prior: RecurrentPrior, validation: Sequences) -> dict[str, Any]:
        """Add to the facts the nll before and after, on both corpora.

        Before the corpus is measured under `start`: the base gives a sequence with a new token no probability at all.
        The corpus of the base is not at hand, so samples of it stand in: what their nll rises by is KL(base || prior).
        """
        tokens, lengths = self.base.sample(SAMPLES, SEED)
        samples = [row[:length] for row, length in zip(tokens, lengths)]
        # by text: the new vocabulary may have other ids
        ids = self.start.vocab.encode(self.base.vocab.tokens)
        corpus = {"before": mean_nlls(self.start, validation), "after": mean_nlls(prior, validation)}
        base = {"before": mean_nlls(self.base, samples), "after": mean_nlls(prior, [ids[row] for row in samples])}
        return {
            **self.facts(),
            "corpus": {"what": f"{len(validation):,} held-out sequences", **corpus},
            "base": {"what": f"{SAMPLES:,} samples of {self.name}", **base},
        }


def mean_nlls(prior: RecurrentPrior, sequences: Sequences) -> dict[str, float]:
    """Compute the mean nll a token and a sequence."""
    losses = token_nll(RecurrentNetwork.from_weights(prior.weights, prior.cell), sequences)
    nll = np.concatenate(losses)
    return {"nll_per_token": float(nll.mean()), "nll_per_sequence": float(nll.sum() / len(losses))}


def format_comparison(card: Mapping[str, Any]) -> list[str]:
    """Format what `Transfer.measure` returned, and samples if there, as a table of two columns: before and after."""
    new = card["new_tokens"]
    lines = [f"from {card['from']}" + (f", with {len(new)} new tokens: {' '.join(new)}" if new else "")]
    lines.append(f"{'':28} {'before':>12} {'after':>12}")
    for corpus in ("corpus", "base"):
        for name, before in card[corpus]["before"].items():
            label = f"{name.replace('_', ' ')}, {corpus}"
            lines.append(f"{label:28} {before:12.4f} {card[corpus]['after'][name]:12.4f}   {card[corpus]['what']}")
    samples = card.get("samples", {"before": {}, "after": {}})
    for name, before in samples["before"].items():
        lines.append(f"{name:28} {before:12.4f} {samples['after'][name]:12.4f}")
    return lines


def say_worse_than(nll: float, baselines: Mapping[str, float]) -> list[str]:
    """Return no line, or one that says which n-gram tables of the same corpus a prior does not beat."""
    better = [f"{name} ({value:.4f})" for name, value in baselines.items() if value <= nll]
    return [f"validation nll {nll:.4f} a token is no better than its own {', '.join(better)}"] if better else []


def extend_prior(
    prior: RecurrentPrior, vocab: TokenVocab, counts: Sequence[int], relative: Callable[[str], str] | None = None
) -> RecurrentPrior:
    """Return a prior of a vocabulary that holds all tokens of `prior`, whatever their ids, and further ones.

    Among the old tokens it gives the same distribution as before. A new token starts as its relative, an old token:
    with the same input column and the same row of the head, and a bias that makes the two as probable as they are often
    in the corpus. So it stands where its relative stands. Without a relative, column and row are the means of all old
    tokens, and the bias compares it with all other tokens. (439 charged molecules of ZINC: validation nll
    1.30 a token before the first update; 2.17 if no token has a relative.)

    Args:
        counts: [V], how often each token of `vocab` is in the corpus.
        relative: from a new token's text to that of the token that it is like, if `prior` has it.

    Raises:
        ValueError: `vocab` lacks a token of `prior`.
    """
    old = {token: i for i, token in enumerate(prior.vocab.tokens)}
    if lost := [token for token in old if token not in vocab.tokens]:
        raise ValueError(f"The vocabulary lacks {', '.join(lost)} of the prior to start from.")
    columns = prior.weights["rnn.weight_ih_l0"]  # [gates H, V + 1]; the start token's is the last, id V
    rows, biases = prior.weights["head.weight"], prior.weights["head.bias"]
    mean = columns[:, :-1].mean(axis=1), rows.mean(axis=0), biases.mean()
    extended = []
    for token, count in zip(vocab.tokens, counts):
        like = token if token in old else relative(token) if relative else ""
        i = old.get(like)
        column, row, bias = mean if i is None else (columns[:, i], rows[i], biases[i])
        if token not in old:
            others = sum(counts) - count if i is None else counts[vocab.tokens.index(like)]
            bias = bias + np.log(max(count, 1) / max(others, 1))
        extended.append((column, row, bias))
    new_columns, new_rows, new_biases = zip(*extended)
    weights = {
        **prior.weights,
        "rnn.weight_ih_l0": np.stack([*new_columns, columns[:, -1]], axis=1),
        "head.weight": np.stack(new_rows),
        "head.bias": np.array(new_biases),
    }
    return RecurrentPrior(weights, prior.cell, vocab, prior.length)
