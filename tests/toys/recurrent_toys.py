"""What the tests of recurrent priors share: random weights as torch draws them, and what torch computes from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.prior.network import RecurrentNetwork, supports_bfloat16
from seqtutor_envs.vocab import TokenVocab

TEXTS = ("do", "re", "mi", "fa", ".")
needs_bfloat16 = pytest.mark.skipif(not supports_bfloat16(), reason="this torch and CPU have no LSTM in bfloat16")
CASES = [(cell, layers) for cell in ("lstm", "gru") for layers in (1, 2, 3)]


def random_weights(cell="lstm", num_layers=1, vocab_size=5, hidden_size=7, seed=0, scale=3.0):
    """Weights by torch's names, large enough for gates to saturate and for the order of layers and gates to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = RecurrentNetwork(vocab_size, hidden_size, num_layers, cell)
    return {name: scale * array for name, array in network.weights().items()}


def random_prior(cell="lstm", num_layers=1, end=None, length=6, seed=0, hidden_size=7):
    weights = random_weights(cell, num_layers, len(TEXTS), hidden_size, seed)
    return RecurrentPrior(weights, cell, TokenVocab(TEXTS, end), length, {"note": "random"})


def torch_logits(weights, cell, inputs):
    """Logits [B, T, V] of torch's own stacked LSTM or GRU for input ids [B, T], by one-hot vectors; float64."""
    vocab_size, hidden_size = weights["head.weight"].shape
    num_layers = sum(name.startswith("rnn.weight_hh") for name in weights)
    core = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(
        vocab_size + 1, hidden_size, num_layers, batch_first=True, dtype=torch.float64
    )
    core.load_state_dict(
        {name.removeprefix("rnn."): torch.tensor(array) for name, array in weights.items() if name.startswith("rnn.")}
    )
    one_hot = torch.tensor(np.eye(vocab_size + 1)[inputs])
    with torch.no_grad():
        hidden = core(one_hot)[0].numpy()
    return hidden @ weights["head.weight"].T.astype(np.float64) + weights["head.bias"]


def torch_log_probs(weights, cell, tokens):
    """Rows [B, T, V] of log p before each of tokens [B, T], from the start token on; float64."""
    start = np.full((len(tokens), 1), len(weights["head.bias"]))
    logits = torch_logits(weights, cell, np.concatenate([start, tokens[:, :-1]], axis=1))
    return torch.log_softmax(torch.tensor(logits), dim=-1).numpy()


def uneven(n=13, seed=0, longest=23):
    """Random sequences of 1 to `longest` of four tokens: most are longer than a chunk of 5, and no multiple of it."""
    rng = np.random.default_rng(seed)
    lengths = [1, longest, *rng.integers(1, longest + 1, n - 2)]
    return [rng.integers(0, 4, length) for length in lengths]


def plain_nll(weights, cell, sequences):
    """nll of each token, each sequence alone through torch's own module; as one array."""
    per_sequence = []
    for tokens in sequences:
        rows = torch_log_probs(weights, cell, np.asarray(tokens, np.int64)[None])[0]
        per_sequence.append(-rows[np.arange(len(tokens)), tokens])
    return per_sequence


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
