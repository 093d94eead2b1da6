"""Metrics of a set of molecules: validity, variety, properties, and comparison with other sets.

N strings, among them valid ones (RDKit reads them, see chem.parse), among them M distinct molecules (by canonical
SMILES). Shares are in 0..1; what is undefined is NaN. log p and log pi in nats. MOSES: Polykovskiy et al. 2020,
doi:10.3389/fphar.2020.565644; here as version 0.3.1 of its package computes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.metrics import mean_and_error, sequence_log_probs
from seqtutor_envs.prior import Prior
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.smiles.metrics import similarity
from seqtutor_envs.smiles.metrics.molecule_set import PROPERTIES, MoleculeSet
from seqtutor_envs.smiles.vocab import encode

N_UNIQUE = (1_000, 10_000)  # MOSES'
MAX_COMPARED = 10_000  # distinct molecules, all pairs of which take 2 s
SIMILAR = 0.4  # Tanimoto similarity of Morgan fingerprints, from which two molecules pass for similar

# CharRNN's row in the table of MOSES' README (github.com/molecularsets/moses), means of three models, 30,000 molecules
# each, against its test set. The last four, which are not in that table: means of metrics_char_rnn_1, _2, _3.csv in
# its data/samples/char_rnn.
MOSES_CHAR_RNN: dict[str, float] = {
    "valid": 0.9748,
    "unique_1000": 1.0,
    "unique_10000": 0.9994,
    "novelty": 0.8419,
    "internal_diversity_1": 0.8562,
    "internal_diversity_2": 0.8503,
    "filters": 0.9943,
    "snn": 0.6015,
    "frag": 0.9998,
    "scaf": 0.9242,
    "wasserstein_logp": 0.0578,
    "wasserstein_sa": 0.0170,
    "wasserstein_qed": 0.0022,
    "wasserstein_mw": 2.523,
}

Molecules = Iterable[str] | MoleculeSet


def table(
    smiles: Molecules,
    reference: Molecules | None = None,
    prior: Prior | None = None,
    log_probs: Any = None,
    *,
    novelty: BloomFilter | Molecules | None = None,
    prior_smiles: Molecules | None = None,
    n_unique: Sequence[int] = N_UNIQUE,
    max_compared: int = MAX_COMPARED,
) -> dict[str, float]:
    """Compute all metrics of N strings. About 25 s of one core for 10,000 distinct molecules, half of it their QED.

    Always:
        `valid`: share of the strings that are molecules. `valid_molecules`, `distinct_molecules`: counts.
        `unique_<k>`: distinct / k among the first k valid ones, or among all where there are fewer (as MOSES);
        `unique`: among all valid ones.
        `internal_diversity_1`, `_2`: similarity.internal_diversity of the valid ones, repetitions included.
        `filters`: share of the valid ones that pass MOSES' filters (chem/comparison.py: MCF, PAINS and limits).
        `scaffold_diversity`: distinct Murcko scaffolds / distinct molecules.
        `mean_<property>` over valid ones and `distinct_mean_<property>` over distinct ones: logp, sa (1 easy to 10
        hard), qed, mw (Da), tpsa (square angstrom), ring_penalty (atoms of the largest ring beyond six).
    With `novelty`:
        `novelty`: share of the distinct molecules that are not among those; for a Bloom filter corrected for what it
        wrongly takes for known, whose share is `novelty_false_positive_rate`.
    With `reference`:
        `snn`: mean similarity of the valid ones to the most similar reference molecule. `frag`, `scaf`: cosine
        between the counts of BRICS fragments, and of Murcko scaffolds with two rings or more.
        `wasserstein_<property>`: Wasserstein-1 distance of the valid ones' property from the reference's.
    With `prior_smiles`:
        `prior_wasserstein_<property>`: the same, from the prior's samples.
    With `prior`:
        `log_p`: mean over the strings, each read as its tokens and the end token, valid or not, that the prior's
        vocabulary can write; `unwritable`: share of those it cannot. With `log_probs` besides `kl`, the mean of
        log pi - log p: an estimate of KL(pi || p) where the strings are samples of pi. `log_p_se`, `kl_se`: standard
        errors.

    Args:
        smiles: N strings, or a MoleculeSet of them, which keeps what was computed.
        reference: strings, or a MoleculeSet, such as MoleculeSet.from_file(path), if it is to be used again.
        prior: p, over SMILES tokens with an end token.
        log_probs: [N], log pi of each string, its end included; needs the prior.
        novelty: molecules trained on: a Bloom filter; a set of canonical SMILES, taken as they are; or others.
        prior_smiles: samples of the prior.
        n_unique: the k of `unique_<k>`.
        max_compared: internal diversity and snn are about so many distinct molecules, the first ones.

    Raises:
        TypeError: one string instead of several, or something else than strings.
        ValueError: log_probs without a prior, or not [N].
    """
    molecules = _set(smiles)
    row = _measure_variety(molecules, n_unique, max_compared)
    values, counts = molecules.properties, molecules.counts[molecules.chosen]
    row |= {f"mean_{name}": _mean(values[name], counts) for name in PROPERTIES}
    row |= {f"distinct_mean_{name}": _mean(values[name]) for name in PROPERTIES}
    if novelty is not None:
        row |= _measure_novelty(molecules, novelty)
    if reference is not None:
        reference = _set(reference)
        # the first distinct molecules, with their counts: all pairs of a large sample would take minutes
        head = molecules.counts[:max_compared]
        closest = similarity.nearest(molecules.fingerprints[:max_compared], reference.fingerprints)
        row["snn"] = _mean(closest, head)
        row["frag"] = cosine(molecules.fragment_counts, reference.fragment_counts)
        row["scaf"] = cosine(molecules.large_scaffold_counts, reference.large_scaffold_counts)
        row |= {f"wasserstein_{name}": distance for name, distance in _measure_distances(molecules, reference).items()}
    if prior_smiles is not None:
        distances = _measure_distances(molecules, _set(prior_smiles))
        row |= {f"prior_wasserstein_{name}": distance for name, distance in distances.items()}
    return row | _measure_likelihood(molecules.strings, prior, log_probs)


def commonest_scaffolds(smiles: Molecules, k: int = 10) -> list[tuple[str, int]]:
    """Return the k commonest Murcko scaffolds and how many of the strings have each.

    Molecules without rings have none.
    """
    return _set(smiles).scaffold_counts.most_common(k)


def nearest(smiles: Molecules, reference: Molecules) -> dict[str, float]:
    """Measure how near the distinct molecules come to a reference, known actives for example.

    `nearest_mean`: mean Tanimoto similarity to the most similar reference molecule (Morgan, radius 2, 1,024 bits);
    `share_above_0.4`: of those similarities. `recovered`: how many reference molecules are among them;
    `recovered_share`: of the reference's distinct ones.
    """
    molecules, reference = _set(smiles), _set(reference)
    closest = similarity.nearest(molecules.fingerprints, reference.fingerprints)
    recovered = len(set(molecules.canonical) & set(reference.canonical))
    return {
        "nearest_mean": _mean(closest),
        f"share_above_{SIMILAR}": _mean(np.where(np.isnan(closest), np.nan, closest > SIMILAR)),
        "recovered": recovered,
        "recovered_share": recovered / len(reference) if len(reference) else np.nan,
    }


def cosine(ours: Counter[str], theirs: Counter[str]) -> float:
    """Compute the cosine between two vectors of counts; NaN if one of them is empty."""
    if not ours or not theirs:
        return np.nan
    product = sum(count * theirs[name] for name, count in ours.items())
    squares = [sum(count**2 for count in counts.values()) for counts in (ours, theirs)]
    # floats: np.sqrt takes no Python integer of more than 64 bits
    return float(product / np.sqrt(float(squares[0]) * float(squares[1])))


def _set(smiles: Molecules) -> MoleculeSet:
    return smiles if isinstance(smiles, MoleculeSet) else MoleculeSet(smiles)


def _measure_variety(molecules: MoleculeSet, n_unique: Sequence[int], max_compared: int) -> dict[str, float]:
    n, valid, distinct = len(molecules.strings), len(molecules.spelling), len(molecules)
    row: dict[str, float] = {"valid": valid / n if n else np.nan}
    row |= {"valid_molecules": valid, "distinct_molecules": distinct}
    for k in n_unique:
        first = molecules.spelling[:k]
        row[f"unique_{k}"] = len(np.unique(first)) / len(first) if len(first) else np.nan
    row["unique"] = distinct / valid if valid else np.nan
    fingerprints, counts = molecules.fingerprints[:max_compared], molecules.counts[:max_compared]
    for p in (1, 2):
        row[f"internal_diversity_{p}"] = similarity.internal_diversity(fingerprints, counts, p)
    row["filters"] = _mean(molecules.passes_filters, molecules.counts)
    row["scaffold_diversity"] = len(molecules.scaffold_counts) / distinct if distinct else np.nan
    return row


def _measure_novelty(molecules: MoleculeSet, trained_on: BloomFilter | Molecules) -> dict[str, float]:
    if isinstance(trained_on, BloomFilter):
        novel = trained_on.novel_share(_mean(trained_on.contains(molecules.canonical)))
        return {"novelty": novel, "novelty_false_positive_rate": trained_on.false_positive_rate}
    names = trained_on if isinstance(trained_on, Set) else set(_set(trained_on).canonical)
    return {"novelty": _mean(np.array([name not in names for name in molecules.canonical]))}


def _measure_distances(molecules: MoleculeSet, others: MoleculeSet) -> dict[str, float]:
    from scipy.stats import wasserstein_distance

    if not len(molecules) or not len(others):
        return dict.fromkeys(PROPERTIES, np.nan)
    ours, theirs = molecules.properties, others.properties
    counts = [each.counts[each.chosen] for each in (molecules, others)]
    return {name: float(wasserstein_distance(ours[name], theirs[name], *counts)) for name in PROPERTIES}


def _measure_likelihood(strings: Sequence[str], prior: Prior | None, log_probs: Any) -> dict[str, float]:
    log_pi = None if log_probs is None else np.asarray(log_probs, dtype=np.float64)
    if log_pi is not None and log_pi.shape != (len(strings),):
        raise ValueError(f"log_probs must be log pi of each string, [{len(strings)}], not {list(log_pi.shape)}.")
    if prior is None:
        if log_pi is not None:
            raise ValueError("KL compares log_probs with log p: pass prior= as well.")
        return {}
    log_p = string_log_probs(strings, prior)
    writable = np.isfinite(log_p)
    row = mean_and_error("log_p", log_p[writable])
    row["unwritable"] = _mean(~writable)
    return row if log_pi is None else row | mean_and_error("kl", (log_pi - log_p)[writable])


def string_log_probs(strings: Sequence[str], prior: Prior) -> NDArray[np.float64]:
    """Return log p of each string's tokens and the end token, [N]; -inf where the vocabulary lacks a token."""
    sequences: dict[int, NDArray[np.int64]] = {}
    for n, string in enumerate(strings):
        try:
            sequences[n] = encode(prior.vocab, string)
        except ValueError:
            continue  # a prior gives no probability to what it cannot write
    log_p = np.full(len(strings), -np.inf)
    if sequences:
        lengths = np.array([len(sequence) for sequence in sequences.values()])
        tokens = np.zeros((len(sequences), lengths.max()), np.int64)
        for sequence, into in zip(sequences.values(), tokens):
            into[: len(sequence)] = sequence
        log_p[list(sequences)] = sequence_log_probs(prior, tokens, lengths)
    return log_p


def _mean(values: NDArray[Any], counts: NDArray[Any] | None = None) -> float:
    """Compute the mean of values [m] that are there `counts` times (once); NaN of none."""
    return float(np.average(values, weights=counts)) if len(values) else np.nan
