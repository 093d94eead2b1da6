"""`python -m seqtutor_envs.pretrain melody`: a note RNN and its card, from MIDI files, music21's corpus or an .npz."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from seqtutor_envs.files.locks import exclusive, lock_file
from seqtutor_envs.files.text import printable
from seqtutor_envs.melody import metrics as melody_metrics
from seqtutor_envs.melody.corpus import SPLITS, Corpus, from_midi_folder, from_music21, from_npz, split_of
from seqtutor_envs.melody.vocab import LOWEST_TOKEN, MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior, ngram
from seqtutor_envs.prior.fit import Settings, check_checkpoint, fit, options, token_nll
from seqtutor_envs.prior.network import RecurrentNetwork
from seqtutor_envs.prior.transfer import PATIENCE, Transfer, format_comparison, say_worse_than

EPISODE = 32  # tokens that the prior's `sample` writes: the paper's melodies
# with --from; 0 and "" are the prior's own
TRANSFER = Settings(hidden_size=0, num_layers=0, cell="", epochs=20, batch_size=16, learning_rate=1e-3)
FEW = 500  # melodies: fewer make no prior from scratch
SAMPLES, SEED = 2_000, 0  # melodies that are compared
COMPARED = ("distinct", "not_in_key", "excessively_repeated", "in_motif", "leaps_resolved", "autocorrelation_1")
REMEDY = "Start from a prior that writes melodies already: --from melody."

ENCODERS = "ABC by named volunteers, in music21's corpus with the encoders' permission"
LICENCES = {
    "oneills": f"O'Neill's Music of Ireland, 1903: public domain by age; {ENCODERS}",
    "ryans": f"Ryan's Mammoth Collection, 1883: public domain by age; {ENCODERS}",
    "airds": f"Aird's Airs, 1778-1801: public domain by age; {ENCODERS}",
    "openewld": "OpenEWLD: scores meant to be in the public domain; the set itself MIT",
}


@exclusive(lock_file)
def melody(
    settings: Annotated[Settings, tyro.conf.arg(name="")],
    midi: Path | None = None,
    corpus: Literal["music21"] | None = None,
    tokens: Path | None = None,
    out: Path = Path("melody-prior.safetensors"),
    exclude: tuple[str, ...] = (),
    transpose: bool = True,
    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None,
    patience: int | None = None,
    resume: bool = False,
    note: str = "",
) -> None:
    """Train a melody prior. Give one of --midi, --corpus and --tokens.

    Ctrl-C leaves the best weights so far in OUT; --resume goes on from the last whole epoch. For fewer than 500
    melodies add --from melody; `melody --help --from melody` shows the settings that it goes with.

    Args:
        settings: how to train.
        midi: a folder of MIDI files; those that hold no melody are named, counted and skipped.
        corpus: "music21" takes O'Neill's, Ryan's Mammoth and Aird's from an installed music21
            (`pip install 'seqtutor[corpus]'`).
        tokens: an .npz as `Corpus.save` writes it.
        out: where to write the prior; its card goes beside it as .json.
        exclude: sources of the .npz to leave out.
        transpose: False keeps the keys of the MIDI files instead of moving every melody to C.
        from_: a prior (a shipped name or a file) whose weights to start from.
        patience: epochs without a better validation loss after which training ends, 0 for never. By default 3 with
            --from, else 0.
        resume: go on with an interrupted run of the same command.
        note: a remark for the card.
    """
    if sum(given is not None for given in (midi, corpus, tokens)) != 1:
        raise ValueError("Give exactly one of --midi FOLDER, --corpus music21 and --tokens FILE.npz.")
    check_checkpoint(out, resume)
    out.parent.mkdir(parents=True, exist_ok=True)  # before minutes of reading
    transfer, start = None, None
    used = settings
    if from_ is not None:
        transfer = Transfer(from_, out)
        if transfer.base.vocab != MELODY_VOCAB:
            raise ValueError(f"{from_} is no prior of melodies: its tokens are others.")
        start, used = transfer.start, transfer.with_network(settings)
    if midi is not None:
        data = from_midi_folder(midi, transpose)
    elif tokens is not None:
        data = from_npz(tokens, exclude)
    else:
        data = from_music21()
    for name, reason in data.skipped:
        print(printable(f"skipped {name}: {reason}"))
    if data.skipped:
        print(f"skipped {len(data.skipped)} in all")
    counts = ", ".join(f"{n} {name}" for name, n in data.counts().items())
    print(f"{len(data)} melodies, {len(data.tokens):,} tokens: {counts}")
    data, split_by = with_validation(data)

    # the command that makes this prior again, defaults left out
    words = ["python -m seqtutor_envs.pretrain melody"]
    words.append(f"--midi {midi}" if midi else f"--tokens {tokens.name}" if tokens else "--corpus music21")
    words += ["--exclude " + shlex.join(exclude)] if exclude else []
    words += [] if transpose else ["--no-transpose"]
    words += [f"--from {transfer.name}"] if transfer else []
    words += [f"--patience {patience}"] if patience is not None else []
    words += options(settings, TRANSFER if transfer else Settings())
    card = {**_data_card(data, split_by), "command": " ".join(words), "note": note}
    card |= {"transfer": transfer.facts()} if transfer else {}
    train, validation = data.melodies("train"), data.melodies("validation")
    if transfer is None and len(data) < FEW:
        warnings.warn(f"{len(data):,} melodies are few for a prior from scratch. {REMEDY}")
    patience = (PATIENCE if transfer else 0) if patience is None else patience
    # the card is completed after training: measuring needs the best weights
    prior = fit(
        train, validation, MELODY_VOCAB, out, used, EPISODE, card, resume, True, start=start, patience=patience
    )
    prior.card |= measure_prior(prior, data)
    if transfer is not None:
        prior.card["transfer"] = compare_priors(transfer, prior, validation)
    path = prior.save(out)
    nll = prior.card["validation"]
    print(f"{path}: validation nll {nll['nll_per_token']:.4f} per token, {nll['nll_per_onset']:.4f} per onset")
    print("baselines per token: " + ", ".join(f"{name} {nll:.4f}" for name, nll in prior.card["baselines"].items()))
    if transfer is not None:
        print("\n".join(format_comparison(prior.card["transfer"])))
    if weak := say_worse_than(nll["nll_per_token"], prior.card["baselines"]):
        remedy = "More melodies would help." if transfer else REMEDY
        warnings.warn(f"Of {len(train):,} melodies came a weak prior: {weak[0]}. {remedy}")


def with_validation(data: Corpus) -> tuple[Corpus, str]:
    """Split a corpus into melodies to train and to validate on, and say what decided the split.

    Of a few melodies the hash of their opening may leave none on one side; then every tenth, the first included, is
    held out. Raises ValueError where there is only one.
    """
    if data.melodies("train") and data.melodies("validation"):
        if (data.split != [split_of(data.melody(i)) for i in range(len(data))]).any():
            return data, "the data's own labels"
        return data, "a hash of the first seven pitch intervals, so that variants with one opening stay on one side"
    if len(data) < 2:
        raise ValueError("Only one melody is usable: training needs another one to validate on.")
    split = np.where(np.arange(len(data)) % 10 == 0, SPLITS.index("validation"), SPLITS.index("train"))
    return dataclasses.replace(data, split=split.astype(np.uint8)), "every tenth melody, since there are so few"


def measure_prior(prior: RecurrentPrior, data: Corpus) -> dict[str, Any]:
    """Measure a trained prior on held-out melodies for its card, in nats.

    nll_per_onset is the whole nll divided by the number of onsets: what a note costs with its length, however fine the
    grid is. nll_at_onsets is the mean nll of the tokens that are onsets.
    """
    network = RecurrentNetwork.from_weights(prior.weights, prior.cell)
    metrics: dict[str, Any] = {}
    for split in ("validation", "test"):
        chosen = np.flatnonzero(data.split == SPLITS.index(split))
        if not len(chosen):
            continue
        melodies = data.melodies(split)
        scored = list(zip(token_nll(network, melodies), melodies))
        by_source: dict[str, list[Any]] = {}
        for i, pair in zip(chosen, scored):
            by_source.setdefault(data.source_names[data.source[i]], []).append(pair)
        metrics[split] = {**_nll(scored), "by_source": {name: _nll(by_source[name]) for name in sorted(by_source)}}
    metrics["baselines"] = ngram.baselines(data.melodies("train"), data.melodies("validation"), len(MELODY_VOCAB))
    return metrics


def compare_priors(transfer: Transfer, prior: RecurrentPrior, validation: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Compare a prior with the base that it was started from: nll on both corpora, and metrics of samples of each."""
    samples = {}
    for when, model in (("before", transfer.base), ("after", prior)):
        row = melody_metrics.table(model.sample(SAMPLES, SEED, EPISODE)[0])
        samples[when] = {name: row[name] for name in COMPARED}
    return {**transfer.measure(prior, validation), "samples": samples}


def _nll(scored: Sequence[tuple[NDArray[np.float64], NDArray[np.uint8]]]) -> dict[str, Any]:
    """Average the nll [T] of melodies [T]."""
    nll, tokens = (np.concatenate(part) for part in zip(*scored))
    onsets = tokens >= LOWEST_TOKEN
    return {
        "nll_per_token": float(nll.mean()),
        "nll_per_onset": float(nll.sum() / onsets.sum()),
        "nll_at_onsets": float(nll[onsets].mean()),
        "melodies": len(scored),
        "tokens": len(nll),
    }


def _data_card(data: Corpus, split_by: str) -> dict[str, Any]:
    """Describe the data: sources with their licences, the split and a hash of the data."""
    lengths = np.diff(data.offsets)
    # tokens, offsets and split: the same notes in another split are other data
    digest = hashlib.sha256()
    for array in (data.tokens, data.offsets, data.split):
        digest.update(np.ascontiguousarray(array).tobytes())
    sources = [
        {
            "name": name,
            "melodies": count,
            "tokens": int(lengths[data.source == data.source_names.index(name)].sum()),
            "licence": LICENCES.get(name, "the user's own"),
        }
        for name, count in data.counts().items()
    ]
    return {
        "description": "p(token | melody so far) of one-voice melodies in sixteenths, a start token before each",
        "sources": sources,
        "split": {"by": split_by, **{split: int((data.split == i).sum()) for i, split in enumerate(SPLITS)}},
        "skipped": dict(Counter(reason for _, reason in data.skipped)),
        "data_sha256": digest.hexdigest(),
    }
