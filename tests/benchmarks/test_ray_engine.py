"""Experiments on a Ray cluster of several nodes on this machine, one of which is killed while it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.experiment import expand
from benchmarks.runner import results
from benchmarks.runner.local_engine import Engine, LocalEngine
from benchmarks.runner.run import plan, sweep

ROOT = Path(__file__).parents[2]
EXPERIMENTS = expand(
    {"env": "SeqTutor-Exact-v0", "env_kwargs.length": 3, "seed": range(2), "n": 300, "steps": 12_000},
    {"agent": "agents:PsiLearning"},
    {"agent": "agents:GLearning"},
)
SAME = ("metrics", "samples", "weights", "timesteps", "c", "seeds")  # of a result, wherever it was computed


class KillsANode(Engine):
    """An engine under which a node dies as soon as an experiment tells from there how far it is."""

    def __init__(self, engine, cluster, node):
        self.engine, self.cluster, self.node, self.lost = engine, cluster, node, []

    @property
    def slots(self):
        return self.engine.slots

    def start(self, experiment):
        self.engine.start(experiment)

    def wait(self, seconds):
        events = self.engine.wait(seconds)
        if self.node is not None and len([one for one in self.engine._tasks.values() if one.begin]) == self.slots:
            self.cluster.remove_node(self.node, allow_graceful=False)  # all nodes are at work
            self.node = None
        self.lost += [event.experiment.id for event in events if event.kind == "lost"]
        return events

    def stop(self):
        self.engine.stop()


def written(folder):
    """What does not depend on when and where, by id; a curve without its seconds."""
    found = {}
    for one in EXPERIMENTS:
        result = results.read(results.result_path(folder, one), one)
        found[one.id] = {name: result[name] for name in SAME}
        found[one.id]["curve"] = [{**point, "seconds": None} for point in result["curve"]]
    return found


def test_a_lost_nodes_experiments_are_run_again_and_results_equal_those_of_one_machine(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's own 15 would let everything else on the machine go first
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[sweep]'")
    from ray.cluster_utils import Cluster

    from benchmarks.runner.ray_engine import RayEngine

    local, there = tmp_path / "local", tmp_path / "ray"
    sweep(plan(local, EXPERIMENTS, False), local, LocalEngine(1, local))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        engine = KillsANode(RayEngine(None, cluster.address, None, None), cluster, node)
        assert engine.slots == 2
        sweep(plan(there, EXPERIMENTS, False), there, engine)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert engine.node is None and len(engine.lost) == 1, "one node, one core, one experiment"
    assert written(there) == written(local)
    assert f"lost    {'PsiLearning' if 'psi' in engine.lost[0] else 'GLearning'}" in capfd.readouterr().err


def test_without_ray_a_line_says_how_to_get_it(tmp_path):
    script = "import sys; sys.modules['ray'] = None; from benchmarks.__main__ import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "run", "smoke", "--engine", "ray", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    line = "python -m benchmarks: Ray is not installed: pip install ray (or '.[sweep]'), or leave out --engine ray.\n"
    assert done.stderr == line
    assert not list(tmp_path.glob("*.json"))
