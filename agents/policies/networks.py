"""Read the policy of an agent, ours or another library's, as one LSTM or GRU: the same policy, not a copy of its ways.

V tokens; the network reads one-hot ids [V + 1], the last of them the start token, and gives logits [V].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.linalg import block_diag
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from agents.base import SequenceAgent
from agents.policies.frozen import FrozenAgent
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior.masking import MaskedPrior
from seqtutor_envs.prior.recurrent_step import GATES
from seqtutor_envs.vocab import TokenVocab

Weights = Mapping[str, NDArray[np.float32]]


class NotOneNetwork(ValueError):
    """Say why a policy is no single recurrent network."""


def read_network(agent: Any, vocab: TokenVocab, length: int) -> RecurrentPrior:
    """Read the policy of an agent as a RecurrentPrior.

    Args:
        agent: ours; a RecurrentPrior; RecurrentPPO of sb3-contrib, or its policy; or torch modules in the order in
            which a loop of your own calls them: (nn.LSTM or nn.GRU, nn.Linear), or (nn.Embedding, nn.LSTM or nn.GRU,
            nn.Linear), which read the ids of tokens, V the start token.
        vocab, length: of the environment: its tokens, and how many a sequence has at most.

    Raises:
        NotOneNetwork: it is none, and why.
    """
    if isinstance(agent, SequenceAgent):
        return _read_ours(agent)
    if isinstance(agent, FrozenAgent):
        agent = agent.model  # `policy` has the task's masks
    if isinstance(agent, RecurrentPrior):
        return agent
    if isinstance(agent, (tuple, list)):
        return _make(_read_modules(agent), agent[-2], vocab, length)
    policy = getattr(agent, "policy", agent)
    if isinstance(core := getattr(policy, "lstm_actor", None), nn.LSTM):
        return _make(_read_recurrent_ppo(policy), core, vocab, length)
    raise NotOneNetwork(f"{type(agent).__name__} is not recurrent")


def _read_ours(agent: SequenceAgent) -> RecurrentPrior:
    network, prior = agent.network, agent.prior
    weights: Weights = network.core.weights()
    cell, layers = network.core.cell, network.core.rnn.num_layers
    if network.residual:  # G-learning: logits of G beside log p
        inner = prior.inner if isinstance(prior, MaskedPrior) else prior
        if not isinstance(inner, RecurrentPrior) or (inner.cell, inner.num_layers) != (cell, layers):
            raise NotOneNetwork("its policy is log p + G, and its prior is no network of the same kind")
        weights = _join(inner.weights, weights, GATES[cell], network.prior_weight)
    return RecurrentPrior(weights, cell, prior.vocab, agent.horizon)


def _join(first: Weights, second: Weights, gates: int, share: float) -> Weights:
    """Put two networks side by side as one, whose logits are share times the first's plus the second's.

    The cells of neither see the other's. What log p differs from the prior's logits by is one number a row, which the
    policy's softmax does not see.
    """
    joined = {}
    for name in first.keys() - {"head.weight", "head.bias"}:
        parts = [np.split(weights[name], gates) for weights in (first, second)]
        # a block of each for every gate: rows are gates of cells; inputs are shared in the first layer alone
        separate = name.startswith("rnn.weight") and name != "rnn.weight_ih_l0"
        blocks = [block_diag(*pair) if separate else np.concatenate(pair) for pair in zip(*parts)]
        joined[name] = np.concatenate(blocks)
    joined["head.weight"] = np.concatenate([share * first["head.weight"], second["head.weight"]], axis=1)
    joined["head.bias"] = share * first["head.bias"] + second["head.bias"]
    return {name: array.astype(np.float32) for name, array in joined.items()}


def _read_recurrent_ppo(policy: Any) -> dict[str, Tensor]:
    if not isinstance(policy.observation_space, spaces.Discrete):
        raise NotOneNetwork("its LSTM reads more than the last token")
    if not isinstance(policy.features_extractor, FlattenExtractor):
        raise NotOneNetwork(f"a {type(policy.features_extractor).__name__} stands before its LSTM")
    if len(policy.mlp_extractor.policy_net):
        raise NotOneNetwork("an MLP stands between its LSTM and its action head")
    return _name(policy.lstm_actor, policy.action_net)


def _read_modules(modules: Sequence[Any]) -> dict[str, Tensor]:
    *before, core, head = (None, None, *modules)[-max(len(modules), 2) :]
    known = isinstance(core, (nn.LSTM, nn.GRU)) and isinstance(head, nn.Linear)
    if not known or len(before) > 1 or not all(isinstance(module, nn.Embedding) for module in before):
        wanted = "(LSTM or GRU, Linear) or (Embedding, LSTM or GRU, Linear)"
        found = ", ".join(type(module).__name__ for module in modules)
        raise NotOneNetwork(f"modules must be {wanted}, not ({found})")
    weights = _name(core, head)
    for embedding in before:  # whose rows are what a one-hot id selects
        weights["rnn.weight_ih_l0"] = weights["rnn.weight_ih_l0"] @ embedding.weight.detach().T
    return weights


def _name(core: nn.RNNBase, head: nn.Module) -> dict[str, Tensor]:
    """Return weights by the names of a RecurrentPrior."""
    if core.bidirectional or core.proj_size or not core.bias or getattr(head, "bias", None) is None:
        raise NotOneNetwork("its network is not a plain one: bidirectional, projected, or without biases")
    named = {f"rnn.{name}": value for name, value in core.named_parameters()}
    named |= {f"head.{name}": value for name, value in head.named_parameters()}
    return {name: value.detach().cpu() for name, value in named.items()}


def _make(weights: dict[str, Tensor], core: nn.Module, vocab: TokenVocab, length: int) -> RecurrentPrior:
    inputs, outputs = weights["rnn.weight_ih_l0"].shape[1], len(weights["head.bias"])
    if (inputs, outputs) != (len(vocab) + 1, len(vocab)):
        found = f"{inputs} inputs and {outputs} outputs"
        raise NotOneNetwork(f"its network has {found}; {len(vocab)} tokens need {len(vocab) + 1} and {len(vocab)}")
    arrays = {name: value.numpy().astype(np.float32) for name, value in weights.items()}
    return RecurrentPrior(arrays, "gru" if isinstance(core, nn.GRU) else "lstm", vocab, length)
