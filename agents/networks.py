"""The recurrent value network, started from the prior's weights, and the policy it acts by.

B sequences, T steps, V tokens, H cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqtutor_envs.checks import Diverged
from seqtutor_envs.prior import Prior, RecurrentPrior, State
from seqtutor_envs.prior.masking import LOG_PROB_FLOOR, MaskedPrior
from seqtutor_envs.prior.network import RecurrentNetwork, shifted
from seqtutor_envs.prior.recurrent_step import RecurrentStep, log_softmax
from seqtutor_envs.vocab import Floats

WITHOUT_NUMBERS = ("meta",)  # devices whose tensors have a shape alone
FRESH_CELLS = 64  # LSTM cells where the prior has no weights to start from (tables, foreign priors)
VALUE_CELLS = 128  # hidden units of v
# logit of a token that the task forbids (its log p is at the floor): no policy chooses it, no number overflows
FORBIDDEN = -1e9


class ValueNetwork(nn.Module):
    """Values = log pi(a|s) + v(s) (- log p(a|s) for G): a recurrent core with a logits head, and v beside it.

    Started from a recurrent prior, Q and Psi are log p exactly and G is 0, so that every policy is p at first: the
    core is the prior's, the logits head too (zeros for G), and v starts at 0. In this form log sum exp of Psi is v
    itself. With the other `head` Q and Psi begin uniform, and G at p squared, as the paper's public code does.

    v reads the core's outputs but sends no gradient back into it: returns of a hundred nats, regressed through the
    core, pull the policy off the prior (after 20 s of Psi-learning at c = 2: J 27 nats and KL 4 without, J 3 and KL 30
    with it).

    Args:
        prior: gives the vocabulary and, if it is recurrent, the weights to start from.
        residual: True for G, whose policy is softmax(log p + G).
        prior_weight: factor on log p.
        generator: of the weights that the prior does not give; on the CPU, so that a seed gives the same weights on
            every device. `to` moves the network afterwards.
        head: what the logits head starts as, "prior" or "zero"; None: zero for G, else the prior's.
    """

    def __init__(
        self,
        prior: Prior,
        residual: bool,
        prior_weight: float,
        generator: torch.Generator,
        head: str | None = None,
    ) -> None:
        super().__init__()
        if head not in (None, "prior", "zero"):
            raise ValueError(f"head must be prior or zero, not {head!r}.")
        self.residual, self.prior_weight, self.start = residual, prior_weight, prior.vocab.start
        self.precision = "float32"  # of the core's products; all else is float32 either way
        # a mask has no weights; the prior inside it may have some
        learned = prior.inner if isinstance(prior, MaskedPrior) else prior
        self.shielded = isinstance(learned, RecurrentPrior)  # a fresh core holds nothing that v's gradient could spoil
        if isinstance(learned, RecurrentPrior):
            self.core = RecurrentNetwork.from_weights(learned.weights, learned.cell)
        else:
            self.core = RecurrentNetwork(len(prior.vocab), FRESH_CELLS)
            _draw(self.core, generator)
        if head == "zero" or residual and head is None:
            _zero(self.core.head)
        cells = self.core.head.in_features
        self.state_value = nn.Sequential(nn.Linear(cells, VALUE_CELLS), nn.Tanh(), nn.Linear(VALUE_CELLS, 1))
        # after the core: the order of draws decides what a seed gives
        _draw(self.state_value, generator)
        _zero(self.state_value[-1])

    @property
    def device(self) -> torch.device:
        """Return the device of the weights, on which the arguments of `forward` must be."""
        return self.core.head.weight.device

    def forward(self, tokens: Tensor, prior_log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log pi [B, T, V] and v [B, T] before each of the tokens.

        Args:
            tokens: [B, T].
            prior_log_probs: [B, T, V], not weighted.
        """
        log_policy, hidden = self._log_policy(tokens, prior_log_probs)
        # v's errors of a hundred nats would pull the core off the prior: see the class
        features = hidden.detach() if self.shielded else hidden
        return log_policy, self.state_value(features).squeeze(-1)

    def _log_policy(self, tokens: Tensor, prior_log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute log pi [B, T, V] and the core's outputs [B, T, H]."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            hidden, _ = self.core.hidden(shifted(tokens, self.start))
        # bfloat16 has three digits: fine inside the core, too few for log-probabilities
        hidden = hidden.float()
        logits = self.core.head(hidden)
        if self.residual:
            logits = logits + self.prior_weight * prior_log_probs
        # the floor marks what the task forbids
        logits = logits.masked_fill(prior_log_probs <= LOG_PROB_FLOOR, FORBIDDEN)
        return logits.log_softmax(-1), hidden

    def values(self, tokens: Tensor, prior_log_probs: Tensor, with_v: bool = True) -> Tensor:
        """Compute Q, Psi or G [B, T, V]; without v if only their differences within a step are needed."""
        if with_v:
            log_policy, state_values = self(tokens, prior_log_probs)
            values = log_policy + state_values.unsqueeze(-1)
        else:
            values, _ = self._log_policy(tokens, prior_log_probs)
        return values - self.prior_weight * prior_log_probs if self.residual else values


def start_at_mean(networks: Iterable[ValueNetwork], error: Tensor, mask: Tensor) -> Tensor:
    """Start v at the mean target instead of 0, before the first update; return what was added to it, a tensor [].

    Otherwise v climbs there over hundreds of updates. Meanwhile that distance times grad log pi is noise, many times
    larger than what tells a good sequence from a bad one.

    Args:
        networks: to be raised.
        error: targets less present values [B, T]; it carries no gradient.
        mask: 1 within the sequences, 0 after them, [B, T].
    """
    distance = (error * mask).sum() / mask.sum()
    if not math.isfinite(mean := float(distance)):
        raise Diverged(f"the mean target before the first update is {mean}; raise c.")
    with torch.no_grad():  # in place: a CUDA graph reads the bias where it lay when it was recorded
        for network in networks:
            network.state_value[-1].bias += distance  # type: ignore[operator]
    return distance


def find_device(name: str) -> torch.device:
    """Find torch's device of that name; "auto" is a GPU if torch has one, else the CPU, as in stable-baselines3.

    Raises:
        ValueError: torch has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # torch.device accepts devices that do not exist; making a tensor fails, and turns "cuda" into "cuda:0"
        device = torch.empty(0, device=name).device
        if str(device) in WITHOUT_NUMBERS:
            raise RuntimeError("its tensors hold no numbers")
        return device
    # a torch without CUDA; no driver, no such GPU, an unknown name; a backend that is not built in
    except (AssertionError, RuntimeError, NotImplementedError, ImportError) as error:
        raise ValueError(
            f"device={name!r}: this torch has no {name.upper()} device; device='cpu' works everywhere."
        ) from error


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    """Draw torch's own first weights, U(-1/sqrt(inputs), 1/sqrt(inputs)), from our generator."""
    for parameter in module.parameters():
        bound = max(parameter.shape[-1], FRESH_CELLS) ** -0.5
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Policy(Prior):
    """pi(a|s) of a ValueNetwork as of now: a sequence model like the prior, stepped in numpy on the CPU.

    It copies the network's weights, from whatever device they are on, and sees none of their later changes: agents make
    one for each rollout.

    Its state is the network's, followed by the prior's if log p is part of the policy (G) or may forbid tokens: by the
    task's mask, or as impossible.

    Attributes:
        network: if it is on a GPU, the network itself, which can sample there (cuda_graphs.py); else None.
    """

    def __init__(self, network: ValueNetwork, prior: Prior, length: int) -> None:
        self.vocab, self.length = prior.vocab, length
        self.network = network if network.device.type == "cuda" else None
        # a recurrent network holds nothing impossible, and a step of it costs as much as one of the policy's own
        self._prior = prior if network.residual or not isinstance(prior, RecurrentPrior) else None
        self._share = np.float32(network.prior_weight if network.residual else 0.0)  # of log p in the logits
        self._step = RecurrentStep(network.core.weights(), network.core.cell)
        # arrays of the joint state that are the network's; the prior's follow
        self.parts = len(self._step.initial_state(0))

    def initial_state(self, n: int) -> State:
        return self._step.initial_state(n) + (self._prior.initial_state(n) if self._prior else ())

    def step(
        self, tokens: NDArray[np.int64], state: State, prior_rows: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], State]:
        """Step as Prior.step does, but return rows of log pi.

        Args:
            tokens: [N].
            state: as `initial_state` or the last call returned it.
            prior_rows: [N, V] if known, which saves the prior's own step; the prior's state then rests.
        """
        logits, own = self._step(tokens, state[: self.parts])
        prior_state: Any = state[self.parts :]
        if self._prior:
            if prior_rows is None:
                prior_rows, prior_state = self._prior.step(tokens, prior_state)
                prior_rows = np.maximum(prior_rows, LOG_PROB_FLOOR)  # 0 * -inf would be NaN
            logits += self._share * prior_rows
        if prior_rows is not None:
            logits[prior_rows <= LOG_PROB_FLOOR] = FORBIDDEN
        return log_softmax(logits), own + prior_state


class ValueTwist:
    """Guide sequential Monte Carlo by a ValueNetwork as of now: a `seqtutor_envs.bounds.Twist`, stepped in numpy.

    One step of the core gives both its policy and v. Like Policy it copies the weights.

    Args:
        network, prior, length: as for Policy.
        c: temperature at which v was learned.
        notes: lines that say why v is no soft value, if it is none; `bounds.log_z` repeats them.
    """

    def __init__(self, network: ValueNetwork, prior: Prior, length: int, c: float, notes: Iterable[str] = ()) -> None:
        self.policy, self.vocab = Policy(network, prior, length), prior.vocab
        self.c: float | None = c
        self.notes = tuple(notes)
        # of the arrays of the core's state, the one that is its output: h of the last layer, before an LSTM's c
        self._output = self.policy.parts - (2 if network.core.cell == "lstm" else 1)
        # copies: of a network on the CPU these arrays are its own memory
        learned = {name: part.cpu().numpy().T.copy() for name, part in network.state_value.state_dict().items()}
        self._layers = [(learned[f"{i}.weight"], learned[f"{i}.bias"]) for i in (0, 2)]  # 1 is the tanh

    def initial_state(self, n: int) -> State:
        """Return the state of n sequences that have not consumed the start token."""
        return self.policy.initial_state(n)

    def step(self, tokens: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], Floats, State]:
        """Feed tokens [N]; return log pi of the next one [N, V], v of what was read [N], and the state."""
        rows, state = self.policy.step(tokens, state)
        (inner, bias), (outer, last) = self._layers
        values = np.tanh(state[self._output] @ inner + bias) @ outer + last
        return rows, values[:, 0].astype(np.float64), state
