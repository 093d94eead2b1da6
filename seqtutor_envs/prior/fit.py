"""Fit a RecurrentPrior to token sequences by maximum likelihood.

Every sequence is read from its start token with its true context: batches of sequences of similar length go through
the network in chunks, the state carried from chunk to chunk and gradients cut there (truncated backpropagation through
time). An epoch is a pure function of (weights, optimiser, seed, epoch number), so a resumed run equals an uninterrupted
one.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqtutor_envs import checks
from seqtutor_envs.checks import COUNT, SEED, Diverged, Range
from seqtutor_envs.files import load_arrays, of_prefix, reading, safetensors_path, save_arrays, with_prefix
from seqtutor_envs.files.progress import make_bar
from seqtutor_envs.prior import RecurrentPrior, weights_sha256
from seqtutor_envs.prior.batches import Sequences, carry_state, chunks, deal_epoch, shuffled_batches
from seqtutor_envs.prior.network import RecurrentNetwork, adam_arrays, load_weights, resolve_precision, restore_adam
from seqtutor_envs.threads import one_thread
from seqtutor_envs.vocab import TokenVocab

Watch = Callable[[RecurrentPrior], dict[str, float]]  # a domain's own metrics after an epoch
Vary = Callable[[Sequences, int], Sequences]  # other forms of the same data, drawn for this epoch

WARMUP_SHARE = 0.1  # of all batches: a small corpus would else never leave a warm-up made for a large one

RANGES = {
    "hidden_size": Range(1, 2**14, whole=True),
    "num_layers": Range(1, 32, whole=True),
    "epochs": COUNT,
    "epoch_size": Range(0, whole=True),
    "batch_size": COUNT,
    "chunk": COUNT,
    "learning_rate": Range(0.0, 100.0),  # Adam moves each weight by about so much an update
    "warmup": Range(0, whole=True),
    "weight_decay": Range(0.0, 1.0),
    "dropout": Range(0.0, 0.99),
    "max_grad_norm": Range(0.0, 1e9, above=True),
    "seed": SEED,
}

SIZES = ("hidden_size", "num_layers")


@dataclass(frozen=True)
class Settings:
    """Hold the settings of a training run. `--resume` refuses a change of any of them but `precision`."""

    hidden_size: int = 128  # with --from the prior's own, for which 0 stands
    num_layers: int = 1  # with --from the prior's own, for which 0 stands
    cell: str = "lstm"  # or gru; with --from the prior's own, for which '' stands
    epochs: int = 60  # melodies: the shipped prior's loss is flat by then
    epoch_size: int = 0  # sequences in an epoch, each pass over the data being dealt out to several; 0: all of them
    batch_size: int = 64
    chunk: int = 64  # tokens between cuts of the gradient: four bars of sixteenths, a whole molecule
    learning_rate: float = 4e-3  # Adam, cosine to zero over `epochs`
    warmup: int = 0  # batches over which the learning rate rises to that cosine; at most a tenth of all
    weight_decay: float = 0.0
    dropout: float = 0.0  # on the last layer's outputs
    max_grad_norm: float = 5.0  # global norm
    # of products; weights and losses are float32 either way. auto: bfloat16 if the CPU has instructions for it
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        # 0: a size that another prior will give; `fit` does not take it
        given = {name: value for name, value in vars(self).items() if name not in SIZES or value != 0}
        for name, value in checks.numbers(RANGES, given).items():
            object.__setattr__(self, name, value)


def options(settings: Any, default: Any = Settings()) -> list[str]:
    """Return the command-line options by which a dataclass, such as Settings, differs from `default`."""
    given = {name: value for name, value in asdict(settings).items() if value != getattr(default, name)}
    return [f"--{name.replace('_', '-')} {value}" for name, value in given.items()]


def fit(
    train: Sequences,
    validation: Sequences,
    vocab: TokenVocab,
    out: Path,
    settings: Settings = Settings(),
    length: int = 32,
    card: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress_bar: bool = False,
    watch: Watch | None = None,
    start: RecurrentPrior | None = None,
    patience: int = 0,
    vary: Vary | None = None,
    varied: int = 0,
    beside: Callable[[], object] | None = None,
) -> RecurrentPrior:
    """Train, keep the best weights by validation nll in `out` (.safetensors and card) and return them.

    Interrupted (KeyboardInterrupt), it leaves the best weights so far in `out` (in the first epoch, the present ones)
    and raises on; `resume=True` goes on from the last whole epoch, kept in OUT.checkpoint, to the same weights as an
    uninterrupted run. A finished run removes the checkpoint.

    Args:
        train, validation: token arrays [T_i], ids 0..V-1.
        length: how many tokens the prior's `sample` generates.
        card: facts to be written beside the training's own; its "data_sha256", if there, names the data for `resume`.
        watch: its metrics of the present prior go beside the losses of every epoch.
        start: weights to begin with, of this vocabulary; random ones if None. If no epoch is better, they are the best.
        patience: epochs without a better validation nll after which training ends; 0: never. Varied epochs do not
            count.
        vary: what the first `varied` epochs train on in place of the epoch's own sequences; a pure function.
        beside: writes what belongs to these weights, just before the first are written: until then, what another run
            left in `out` is whole.

    Raises:
        Diverged: a loss or gradient is not finite. The best weights so far stay in `out`.
        ValueError: sequences that cannot be trained on, a checkpoint of another run, a precision that this CPU does not
            have.
        FileNotFoundError: nothing to resume.

    Warns:
        UserWarning: the checkpoint was written under another precision.
    """
    _check_sequences(train, validation, vocab)
    if patience < 0:
        raise ValueError(f"patience must be a number of epochs, or 0 for never, not {patience}.")
    checks.numbers(RANGES, vars(settings))
    settings = replace(settings, precision=resolve_precision(settings.precision))
    # the user's card last: a domain may name its data by a hash of its own
    card = {"data_sha256": _hash_sequences(train, validation), **(card or {})}
    check_checkpoint(out, resume)
    run = _Run(vocab, settings, safetensors_path(out), length, card, start, varied, beside)
    if start is not None:
        run.start_nll = mean_nll(run.network, validation)
    if resume:
        run.restore()
    else:
        run.write_checkpoint()  # a place where nothing can be written shows before the first epoch
        if start is not None:
            run.save_weights(run.start_nll)
    bar = make_bar(total=settings.epochs, initial=len(run.history), unit="epoch", disable=not progress_bar)
    try:
        for epoch in range(len(run.history), settings.epochs):
            if patience and epoch - max(run.best()[0], varied) >= patience:
                break
            train_nll = run.epoch(train, epoch, bar, vary if epoch < varied else None)
            run.record_epoch(train_nll, mean_nll(run.network, validation), watch)
            bar.set_postfix({name: f"{value:.4f}" for name, value in run.history[-1].items() if name != "epoch"})
            bar.update()
    except KeyboardInterrupt:
        if math.isinf(run.best()[1]):
            # before the first whole epoch there are no best weights yet: the present ones are better than none
            run.save_weights(mean_nll(run.network, validation))
        kept = f"{run.out} holds the best weights so far"
        raise KeyboardInterrupt(f"{kept}; --resume goes on from the last whole epoch.") from None
    finally:
        bar.close()
    prior = RecurrentPrior.load(run.out)
    prior.card["training"]["history"] = run.history  # the file's own ends with the best epoch
    prior.save(run.out)
    run.checkpoint.unlink(missing_ok=True)
    return prior


class _Run:
    """Hold the state of one training; `history` has the losses of each whole epoch.

    Attributes:
        start_nll: validation nll of the weights that were given to begin with; infinity if they are random.
    """

    def __init__(
        self, vocab: TokenVocab, settings: Settings, out: Path, length: int, card: dict[str, Any],
        start: RecurrentPrior | None = None, varied: int = 0, beside: Callable[[], object] | None = None,
    ) -> None:
        self.vocab, self.settings, self.out, self.length, self.card = vocab, settings, out, length, card
        self.start_sha256 = None if start is None else weights_sha256(start.weights)
        self.start_nll, self.varied, self.beside = math.inf, varied, beside
        with torch.random.fork_rng():  # layers draw their first weights from the global generator: leave that as it was
            torch.manual_seed(settings.seed)
            self.network = RecurrentNetwork(len(vocab), settings.hidden_size, settings.num_layers, settings.cell)
        if start is not None:
            load_weights(self.network, start.weights)
        parameters = self.network.parameters()
        self.optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
        self.history: list[dict[str, float]] = []

    @property
    def checkpoint(self) -> Path:
        return self.out.with_suffix(".checkpoint")

    @one_thread()
    def epoch(self, train: Sequences, epoch: int, bar: Any, vary: Vary | None = None) -> float:
        """Train for one epoch; return the mean nll under the moving weights, in nats per token."""
        settings = self.settings
        # a generator of this epoch alone, so that a resumed run draws what an uninterrupted one does
        rng = np.random.default_rng((settings.seed, epoch))
        # a second generator, torch's: dropout must not take draws from the order of the batches
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        train = deal_epoch(train, settings.epoch_size, settings.seed, epoch)
        train = train if vary is None else vary(train, epoch)
        batches = shuffled_batches(train, settings.batch_size, rng)
        warmup = min(settings.warmup, int(WARMUP_SHARE * settings.epochs * len(batches)))
        total, count, done = 0.0, 0, 0
        for i, batch in enumerate(batches):
            cosine = 0.5 * (1 + math.cos(math.pi * (epoch + done / len(train)) / settings.epochs))
            rise = min(1.0, (epoch * len(batches) + i + 1) / (warmup + 1))
            self.optimizer.param_groups[0]["lr"] = settings.learning_rate * cosine * rise
            state: Any = None
            for inputs, targets, live in chunks([train[j] for j in batch], len(self.vocab), settings.chunk):
                state = carry_state(state, live)  # truncated backpropagation: no gradient into the last piece
                # autocast, not .bfloat16(): weights, gradients and Adam's moments stay float32
                with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bfloat16"):
                    hidden, state = self.network.hidden(inputs, state)
                    if settings.dropout:
                        kept = torch.rand(hidden.shape, generator=noise) >= settings.dropout
                        hidden = hidden * kept / (1.0 - settings.dropout)
                    logits = self.network.head(hidden)
                # float32 before the softmax: bfloat16 holds only two to three digits
                losses = _losses(logits.float(), targets)
                tokens = int((targets >= 0).sum())
                self.optimizer.zero_grad()
                # by tokens, not by sequences: a step weighs every token alike, however long its sequence is
                (losses.sum() / tokens).backward()
                norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_grad_norm))
                # detached: the sum over an epoch would otherwise keep every graph alive
                loss = float(losses.detach().sum())
                if not math.isfinite(norm + loss):
                    raise Diverged(self.explain_divergence(epoch, loss / tokens, norm))
                self.optimizer.step()
                total, count = total + loss, count + tokens
            done += len(batch)
            bar.set_description(f"epoch {epoch + 1} {done}/{len(train)}")
        return total / count

    def explain_divergence(self, epoch: int, loss: float, norm: float) -> str:
        """Say which number is not finite, what is kept, and what to do. Without a whole epoch nothing is kept."""
        kept = f"{self.out} holds the best weights so far; delete {self.checkpoint} to start again"
        if not self.history:
            self.checkpoint.unlink(missing_ok=True)
            kept = "nothing is kept"
        found = f"training diverged in epoch {epoch + 1}: the loss is {loss:g}, the norm of its gradient {norm:g}"
        fix = f"try a smaller learning_rate than {self.settings.learning_rate:g} or a smaller max_grad_norm"
        return f"{found}. {fix.capitalize()}; {kept}."

    def record_epoch(self, train_nll: float, validation_nll: float, watch: Watch | None) -> None:
        """Record an epoch, save its weights if they are the best, write the checkpoint."""
        epoch = len(self.history) + 1
        # checked here: NaN is neither better nor worse than the best, so a diverged run would go on unseen
        if not math.isfinite(validation_nll):
            raise Diverged(f"Validation nll is {validation_nll} after epoch {epoch}: try a smaller learning rate.")
        losses = {"epoch": epoch, "train_nll": train_nll, "validation_nll": validation_nll}
        self.history.append(losses | ({} if watch is None else watch(self.prior())))
        # only strictly better weights: of equal epochs the first is kept
        if self.best()[0] == epoch:
            self.save_weights(validation_nll)
        self.write_checkpoint()

    def best(self) -> tuple[int, float]:
        """Return the first epoch with the lowest validation nll, and that nll; epoch 0 is the start."""
        nlls = [self.start_nll, *(losses["validation_nll"] for losses in self.history)]
        return nlls.index(min(nlls)), min(nlls)

    def write_checkpoint(self) -> None:
        """Write all that `restore` needs."""
        arrays = with_prefix("network", self.network.weights()) | with_prefix("adam", adam_arrays(self.optimizer))
        best_epoch, best_nll = self.best()
        progress = {"epoch": len(self.history), "best_nll": best_nll, "best_epoch": best_epoch, "history": self.history}
        save_arrays(self.checkpoint, arrays, {"settings": asdict(self.settings), "progress": progress, **self._data()})

    def _data(self) -> dict[str, Any]:
        """Return the hashes, and the number of varied epochs, that a resumed run must share."""
        hashes = {"data_sha256": self.card["data_sha256"], "start_sha256": self.start_sha256}
        return {**hashes, "varied": self.varied or None}  # None: checkpoints of before have none

    def save_weights(self, validation_nll: float) -> None:
        """Write the present weights to `out`, after what belongs to them."""
        if self.beside is not None:
            self.beside()
            self.beside = None  # once
        training = {**asdict(self.settings), "best_epoch": self.best()[0], "history": self.history}
        self.prior({"training": training, "validation": {"nll_per_token": validation_nll}}).save(self.out)

    def prior(self, facts: Mapping[str, Any] | None = None) -> RecurrentPrior:
        """Make a prior of the present weights, with the card and further facts."""
        card = {**self.card, **(facts or {})}
        return RecurrentPrior(self.network.weights(), self.settings.cell, self.vocab, self.length, card)

    def restore(self) -> None:
        """Go on from the checkpoint. Raise ValueError if it is of another run, FileError if it is damaged."""
        arrays, facts = load_arrays(self.checkpoint)
        with reading(self.checkpoint, problem := "is no checkpoint of `pretrain`"):
            made_with = {**facts, **facts["settings"]}
            history = list(facts["progress"]["history"])
        for name, value in {**asdict(self.settings), **self._data()}.items():
            was = made_with.get(name)
            if name == "precision" and was != value:  # of products alone: the same weights go on in the other one
                note = f"{self.checkpoint} was written with {was} products; going on with {value}."
                warnings.warn(note, stacklevel=3)
            elif was != value:
                raise ValueError(f"Cannot resume: {self.checkpoint} was made with {name}={was}, not {value}.")
        self.history = history
        with reading(self.checkpoint, problem):
            load_weights(self.network, of_prefix("network", arrays))
            restore_adam(self.optimizer, of_prefix("adam", arrays))


def check_checkpoint(out: Path, resume: bool) -> None:
    """Check whether a run that writes `out` can start, or be resumed.

    Commands that read their data for minutes call this first.

    Raises ValueError where an interrupted run would be lost, FileNotFoundError where there is nothing to resume.
    """
    checkpoint = safetensors_path(out).with_suffix(".checkpoint")
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"Nothing to resume: no {checkpoint}. Leave out --resume to start.")
    if not resume and checkpoint.exists():
        found = f"{checkpoint} is of an interrupted run"
        raise ValueError(f"{found}: add --resume to go on with it, or delete it to start again.")


@one_thread()
def token_nll(network: RecurrentNetwork, sequences: Sequences, batch_size: int = 256) -> list[NDArray[np.float64]]:
    """Compute the nll in nats of every token of every sequence, each with its whole context."""
    result: list[NDArray[np.float64]] = [np.empty(0)] * len(sequences)
    order = np.argsort([len(tokens) for tokens in sequences])  # similar lengths in a batch: little padding
    for batch in (order[i : i + batch_size] for i in range(0, len(order), batch_size)):
        chosen = [sequences[i] for i in batch]
        # one chunk as long as the longest: no context is cut when a prior is measured
        inputs, targets, _ = next(chunks(chosen, network.vocab_size, max(len(tokens) for tokens in chosen)))
        with torch.no_grad():
            losses = _losses(network(inputs)[0], targets).double().numpy()
        for i, tokens, row in zip(batch, chosen, losses):
            result[i] = row[: len(tokens)]
    return result


def mean_nll(network: RecurrentNetwork, sequences: Sequences) -> float:
    """Compute the mean nll in nats per token."""
    return float(np.concatenate(token_nll(network, sequences)).mean())


def _check_sequences(train: Sequences, validation: Sequences, vocab: TokenVocab) -> None:
    if not len(train) or not len(validation):
        found = f"{len(train)} to train on, {len(validation)} to validate"
        raise ValueError(f"Training needs sequences in both splits: {found}.")
    for tokens in (*train, *validation):
        if not len(tokens) or tokens.min() < 0 or tokens.max() >= len(vocab):
            raise ValueError(f"A sequence needs at least one token, all in 0..{len(vocab) - 1}; found {tokens}.")


def _hash_sequences(*splits: Sequences) -> str:
    digest = hashlib.sha256()
    for sequences in splits:
        for tokens in sequences:
            # the length before the tokens, so that moving a token to the next sequence changes the hash
            digest.update(len(tokens).to_bytes(8, "little") + np.asarray(tokens, "<i8").tobytes())
        digest.update(b"split")
    return digest.hexdigest()


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute -log p of each target [B, T], 0 where there is none."""
    return nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-1, reduction="none")
