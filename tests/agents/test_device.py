"""Agents that learn on a GPU.

Where torch has none, its "meta" device stands for one: tensors that have a shape and a type but no memory. Every
operation is watched, and one on tensors of two devices fails as it does on a GPU.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stable_baselines3.common.utils import get_device
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from agents import GLearning, PsiLearning, QLearning, networks
from agents.baselines import PolicyGradient
from agents.networks import find_device
from toys.agent_toys import AGENTS, EXACT, made, sung_batch, toy_batch
from toys.recurrent_toys import needs_bfloat16

HAS_GPU = torch.cuda.is_available()
GPU = "cuda" if HAS_GPU else "meta"
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)  # from one device to another


@contextmanager
def gpu():
    """A block in which agents can learn on the device GPU; gives the list of the devices that autocast is asked for."""
    autocast, asked = torch.autocast, []

    def noted(device_type, *arguments, **keywords):
        asked.append(device_type)
        return autocast(device_type, *arguments, **keywords) if device_type != "meta" else nullcontext()

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*copying from a non-meta parameter")
        warnings.filterwarnings("error", "RNN module weights are not part of single contiguous chunk")
        patch.setattr(torch, "autocast", noted)
        patch.setattr(networks, "WITHOUT_NUMBERS", ())
        with OneDevice(), nullcontext() if HAS_GPU else Numbers():
            yield asked


class OneDevice(TorchDispatchMode):
    """Lets no operation but a copy see tensors of two devices, numbers (tensors []) included."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        devices = {str(leaf.device) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        assert len(devices) < 2 or func in COPIES, f"{func} on {sorted(devices)}"
        return func(*args, **(kwargs or {}))


class Numbers(TorchFunctionMode):
    """What comes back from a device without memory: each number is 1, each array zeros."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (Tensor.item, Tensor.__float__) and args[0].is_meta:
            return 1.0
        if func is Tensor.cpu and args[0].is_meta:
            return torch.zeros(args[0].shape, dtype=args[0].dtype)
        return func(*args, **(kwargs or {}))


def learned(agent):
    """The networks of an agent, the one with gradients first, and its optimiser."""
    if isinstance(agent, PolicyGradient):
        return [agent.network], agent.optimizer
    return [agent.learner.network, agent.learner.target_network], agent.learner.optimizer


def assert_learned_on(device_type, agent):
    networks, optimizer = learned(agent)
    tensors = [tensor for network in networks for tensor in network.parameters()]
    tensors += [tensor.grad for tensor in tensors if tensor.grad is not None]
    moments = [(name, tensor) for state in optimizer.state.values() for name, tensor in state.items()]
    assert len(moments) == 3 * len(list(networks[0].parameters())), "two moments and the count of steps"
    tensors += [tensor for name, tensor in moments if name != "step"]
    assert {tensor.device.type for tensor in tensors} == {device_type}
    # Adam reads its counts, which would wait for a GPU; where a CUDA graph counts, they are there
    counted_on = device_type if optimizer.param_groups[0]["capturable"] else "cpu"
    assert {tensor.device.type for name, tensor in moments if name == "step"} == {counted_on}
    tuned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert tuned == {id(parameter) for parameter in networks[0].parameters()}


def test_operations_on_two_devices_are_found():
    """What the tests below rest on."""
    here, there = torch.arange(3), torch.arange(3, device=GPU)
    for operation in (
        lambda: here < there,
        lambda: there.gather(0, here),
        lambda: torch.cat([here, there]),
        lambda: there * here.sum(),
    ):
        with gpu(), pytest.raises(AssertionError, match="on .*'cpu'"):
            operation()
    with gpu(), pytest.raises(TypeError, match="numpy"):
        there.numpy()


@pytest.mark.parametrize(
    "agent_class, env, settings",
    [
        *((agent_class, env, {}) for agent_class in AGENTS for env in (toy_batch, partial(sung_batch, masked=True))),
        (PsiLearning, partial(sung_batch, cell="gru"), {"lam": 1.0, "gamma": 0.9}),  # v starts at the mean target
        (GLearning, partial(sung_batch, cell="gru"), {"lam": 0.5, "huber": None}),
        (QLearning, partial(sung_batch, cell="gru"), {"anneal": True, "value_rate": 5.0}),
        (PolicyGradient, partial(sung_batch, cell="gru"), {"anneal": True}),
    ],
)
def test_every_agent_learns_on_a_gpu(agent_class, env, settings):
    with gpu():
        agent = made(agent_class, env(), device=GPU, **settings).learn(100)
        assert agent.rounds > 1
        assert agent.device.type == GPU
        assert_learned_on(GPU, agent)
        tokens, lengths = agent.sample(5, seed=0)
        assert agent.log_prob(tokens, lengths).shape == (5,)


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=needs_bfloat16), GPU])
def test_bfloat16_is_asked_for_on_the_device_that_learns(device):
    """On another one it would change nothing there, without an error."""
    with gpu() as asked:
        made(PsiLearning, sung_batch(), device=device, precision="bfloat16").learn(50)
    assert set(asked) == {device}


@pytest.mark.parametrize("agent_class", AGENTS)
def test_a_saved_agent_moves_to_a_gpu_and_back(agent_class, tmp_path):
    agent = made(agent_class, EXACT, n_envs=16).learn(300)
    arrays = agent.state_arrays()
    agent.save(tmp_path / "here")
    with gpu():
        agent_class.load(tmp_path / "here", device=GPU).save(tmp_path / "there")
        there = agent_class.load(tmp_path / "there", device=GPU).learn(100, reset_num_timesteps=False)
        assert_learned_on(GPU, there)
    back = agent_class.load(tmp_path / "there")
    moved = back.state_arrays()
    for name, array in arrays.items():
        assert (moved[name].shape, moved[name].dtype) == (array.shape, array.dtype)
        if HAS_GPU or "replay" in name:
            np.testing.assert_array_equal(moved[name], array, err_msg=name)
    assert back.settings == agent.settings, "a file does not say where its agent learned"
    assert_learned_on("cpu", back.learn(100))


@pytest.mark.parametrize("name", ["cuda:99", "tpu"] + ["cuda"] * (not HAS_GPU))
@pytest.mark.parametrize("agent_class", [PsiLearning, PolicyGradient])
def test_a_device_that_is_not_there_is_named_in_one_line(agent_class, name):
    with pytest.raises(ValueError) as caught:
        agent_class(EXACT, device=name)
    expected = f"device={name!r}: this torch has no {name.upper()} device; device='cpu' works everywhere."
    assert str(caught.value) == expected


@pytest.mark.parametrize("agent_class", [PsiLearning, PolicyGradient])
def test_auto_is_a_gpu_where_there_is_one_and_not_the_default(agent_class):
    assert made(agent_class, device="auto").device.type == get_device("auto").type
    assert made(agent_class).device.type == "cpu"


@pytest.mark.parametrize("there_is_one, expected", [(True, "cuda"), (False, "cpu")])
def test_auto_takes_what_torch_reports(monkeypatch, there_is_one, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_one)
    monkeypatch.setattr(torch, "empty", lambda size, device: SimpleNamespace(device=device))
    assert find_device("auto") == expected


@pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")
@pytest.mark.parametrize("agent_class", AGENTS)
def test_a_gpu_learns_what_the_cpu_learns(agent_class):
    """From the same first weights and the same sequences."""
    sequences = made(PsiLearning, sung_batch()).learn(50).newest
    settings = {} if agent_class is PolicyGradient else {"updates_per_round": 1}
    here, there = (made(agent_class, sung_batch(), device=name, **settings) for name in ("cpu", GPU))
    for name, array in here.state_arrays().items():
        np.testing.assert_array_equal(there.state_arrays()[name], array, err_msg=name)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        figures, others = here.improve(sequences), there.improve(sequences)
    assert others == pytest.approx(figures, rel=1e-3)
    for parameter, other in zip(learned(here)[0][0].parameters(), learned(there)[0][0].parameters()):
        torch.testing.assert_close(other.grad.cpu(), parameter.grad, rtol=1e-3, atol=1e-5)
