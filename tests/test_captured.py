"""Functions as CUDA graphs. Without a GPU, its graphs are played by objects that note what is asked of them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from agent_toys import made, sung_batch

from agents import PsiLearning, captured
from agents.captured import MOST_GRAPHS, WARM_UP, Captured

HAS_GPU = torch.cuda.is_available()


def test_on_the_cpu_it_is_the_function_itself():
    seen = []

    def function(*arguments):
        seen.append(arguments)
        return arguments

    x, y = torch.ones(2), torch.ones(3)
    called = Captured(function)
    for _ in range(WARM_UP + 3):
        outputs = called(x, y)
        assert outputs is seen[-1] and outputs[0] is x and outputs[1] is y
    assert len(seen) == WARM_UP + 3


class Gpu:
    """torch.cuda as `Captured` uses it, on the CPU: `notes` has what was asked for, in order."""

    def __init__(self, monkeypatch, function, state):
        self.notes, self.function, self.state, self.capturing, self.streams = [], function, state, None, 0
        gpu = self

        class Stream:
            def __init__(self):
                gpu.streams += 1
                self.name = f"side {gpu.streams}"

            def wait_stream(self, other):
                gpu.notes.append(f"{self.name} waits for {other.name}")

        class Graph:
            def __init__(self):
                self.inputs = self.outputs = None

            def replay(self):
                gpu.notes.append("replay")
                for old, new in zip(self.outputs, gpu.function(*self.inputs)):
                    old.copy_(new)

        main = Stream()
        main.name, self.now = "main", main
        for name, value in {
            "device": lambda device: nullcontext(),
            "Stream": Stream,
            "current_stream": lambda: gpu.now,
            "stream": self.on,
            "CUDAGraph": Graph,
            "graph": self.capture,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(captured, "on_gpu", lambda tensor: True)

    @contextmanager
    def on(self, stream):
        self.now, before = stream, self.now
        yield
        self.now = before

    @contextmanager
    def capture(self, graph, stream):
        """What runs while a graph is recorded changes nothing."""
        before, self.capturing = self.state.clone(), graph
        with self.on(stream):
            yield
        self.state.copy_(before)
        self.capturing = None

    def __call__(self, *arguments):
        """The function, which notes where it runs."""
        outputs = self.function(*arguments)
        if self.capturing is None:
            self.notes.append(f"run on {self.now.name}")
        else:
            self.notes.append("capture")
            self.capturing.inputs, self.capturing.outputs = arguments, outputs
        return outputs


@pytest.fixture
def counting(monkeypatch):
    """A function that adds its argument to a total in place, on a played GPU."""
    total = torch.zeros(())

    def function(x):
        total.add_(x.sum())
        return total.clone(), 2.0 * x

    return Gpu(monkeypatch, function, total), total


def test_three_calls_aside_then_one_graph_which_is_replayed(counting):
    gpu, total = counting
    called = Captured(gpu)
    for _ in range(WARM_UP + 3):
        called(torch.ones(2))
    aside = []
    for side in ("side 2", "side 3", "side 4"):
        aside += [f"{side} waits for main", f"run on {side}", f"main waits for {side}"]
    assert gpu.notes == [*aside, "capture", "replay", "replay", "replay"]
    assert WARM_UP == 3


def test_every_call_does_its_work_once_with_its_own_inputs(counting):
    gpu, total = counting
    called, expected, kept = Captured(gpu), 0.0, []
    for i in range(WARM_UP + 4):
        x = torch.tensor([1.0 * i, 10.0])
        expected += i + 10.0
        kept.append((x, called(x), expected))
        assert float(total) == expected
    for i, (x, (sums, doubled), expected) in enumerate(kept):  # none was overwritten by a later call
        assert (x.tolist(), float(sums), doubled.tolist()) == ([i, 10.0], expected, [2.0 * i, 20.0])
    assert gpu.notes.count("capture") == 1


def test_every_shape_has_a_graph_of_its_own_up_to_a_bound(counting):
    gpu, total = counting
    called = Captured(gpu)
    for size in range(1, MOST_GRAPHS + 3):
        gpu.notes.clear()
        for _ in range(WARM_UP + 2):
            assert called(torch.ones(size))[1].tolist() == [2.0] * size
        if size <= MOST_GRAPHS:
            assert gpu.notes[-3:] == ["capture", "replay", "replay"]
        else:
            assert gpu.notes == ["run on main"] * (WARM_UP + 2)
    gpu.notes.clear()
    called(torch.ones(3))
    assert gpu.notes == ["replay"], "those that have one keep it"


def test_what_is_forgotten_warms_up_again(counting):
    gpu, total = counting
    called = Captured(gpu)
    for _ in range(WARM_UP + 1):
        called(torch.ones(2))
    called.forget()
    gpu.notes.clear()
    for _ in range(WARM_UP + 1):
        called(torch.ones(2))
    assert [note for note in gpu.notes if "waits" not in note][-2:] == ["capture", "replay"]
    assert sum(note.startswith("run on side") for note in gpu.notes) == WARM_UP


# -- on a GPU ---------------------------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")


def learned(device, eager=False, given=None, rounds=8, **settings):
    """An agent after some rounds, its statistics of each, and the sequences: its own, or those given. All have one
    length, as melodies do, and each update is about a whole round, so that the replay draws nothing."""
    whole = {"batch_size": 16, "buffer_size": 16, "updates_per_round": 1}
    agent = made(PsiLearning, sung_batch(16, end=None), device=device, lam=1.0, **whole, **settings)
    if eager:
        agent.learner._captured = agent.learner._step
    statistics, seen = [], []
    agent.total_timesteps = rounds * agent.n_envs * agent.horizon
    for i in range(rounds):
        seen.append(agent.collect()[0] if given is None else given[i])
        statistics.append(agent.improve(seen[-1]))
        agent.num_timesteps += int(seen[-1].lengths.sum())
        agent._policy = None
    return agent, statistics, seen


def assert_captured_updates_are_eager_ones(device, **settings):
    agent, one, seen = learned(device, **settings)
    plain, other, _ = learned(device, eager=True, given=seen, **settings)
    for a, b in zip(one, other, strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)
    for a, b in zip(agent.learner.network.parameters(), plain.learner.network.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    return agent


def assert_rounds_are_the_cpus(device):
    """While nothing is learned, which would let rounding grow."""
    _, _, here = learned("cpu", learning_rate=1e-9)
    agent, _, there = learned(device, learning_rate=1e-9)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_allclose(a.prior_log_probs, b.prior_log_probs, atol=1e-4)
    return agent


def assert_an_agent_put_back_goes_on_from_there(device):
    agent, _, seen = learned(device)
    arrays = agent.state_arrays()
    expected = agent.improve(seen[-1])
    agent.load_state_arrays(arrays)
    assert not agent.learner._captured._recordings, "a graph would change the moments that were replaced"
    assert agent.improve(seen[-1]) == pytest.approx(expected, rel=1e-4)


def test_what_is_asked_of_a_gpu_below_holds_on_the_cpu():
    """Nothing is captured there, but the comparisons are run."""
    assert_captured_updates_are_eager_ones("cpu", anneal=True)
    assert_rounds_are_the_cpus("cpu")
    assert_an_agent_put_back_goes_on_from_there("cpu")


@needs_gpu
@pytest.mark.parametrize("settings", [{}, {"anneal": True}, {"precision": "bfloat16"}, {"tau": 1.0}])
def test_captured_updates_are_eager_ones(settings):
    agent = assert_captured_updates_are_eager_ones("cuda", **settings)
    assert agent.learner._captured._recordings, "there was a graph"


@needs_gpu
def test_a_captured_round_is_the_cpus():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        agent = assert_rounds_are_the_cpus("cuda")
    assert agent.rollouts._writer._written._recordings, "there was a graph"


@needs_gpu
def test_an_agent_put_back_goes_on_from_there():
    assert_an_agent_put_back_goes_on_from_there("cuda")
