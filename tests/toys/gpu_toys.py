"""A GPU for tests on machines without one."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import torch

from agents import cuda_graphs


class PlayedGpu:
    """torch.cuda as `GraphedFunction` uses it, on the CPU: `notes` has what was asked for, in order."""

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
        monkeypatch.setattr(cuda_graphs, "is_on_gpu", lambda tensor: True)

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
