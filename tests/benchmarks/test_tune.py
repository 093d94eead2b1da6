"""The search over settings: an agent whose best setting is known, interruptions, fresh seeds."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.experiment import Experiment
from benchmarks.runner import results
from benchmarks.tune import FRESH, Search
from toys.commands import ROOT, refuse

EXACT = "SeqTutor-Exact-v0"
SPACE = {"power": [0.5, 1.0, 2.0]}


def words_of(folder, trials, space=SPACE, extra=()):
    """The command's words."""
    words = f"tune toys.tune_toys:tempered --env {EXACT} --steps 10 -n 300 --seeds 1 --jobs 1 --trials {trials}".split()
    return [*words, "--space", json.dumps(space), "--out", str(folder), *extra]


def tuned(folder, **options):
    main(words_of(folder, **options))


@pytest.fixture(scope="module")
def optuna():
    return pytest.importorskip("optuna", reason="Optuna is not installed: pip install -e '.[sweep]'")


def search_over(space, folder):
    return Search(Experiment(EXACT, "toys.tune_toys:tempered", n=100), space, {}, 1, folder, 1)


@pytest.fixture(scope="module")
def folder(optuna, tmp_path_factory):
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def printed(folder):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        tuned(folder, trials=8, extra=["--fresh-seeds", "2"])
    return output.getvalue()


def found(folder):
    return [results.read(path) for path in sorted(folder.glob("*.json"))]


def test_the_best_settings_are_those_of_the_optimum(printed):
    first = printed.splitlines()[0]
    assert first.endswith('{"power": 1.0}')
    assert float(first.split()[1]) == pytest.approx(gym.make(EXACT).unwrapped.solution()["log_z"], abs=0.01)


def test_the_defaults_are_tried_and_shown(printed, folder):
    assert "the defaults" in printed
    ours = [one for one in found(folder) if not one["experiment"]["agent_kwargs"]]
    assert sorted(one["experiment"]["seed"] for one in ours) == [0, FRESH, FRESH + 1]


def test_best_and_defaults_meet_on_fresh_seeds(printed, folder):
    fresh = [one for one in found(folder) if one["experiment"]["seed"] >= FRESH]
    means = {
        power: np.mean([r["metrics"]["j"] for r in fresh if r["experiment"]["agent_kwargs"].get("power") == power])
        for power in (None, 1.0)
    }
    assert len(fresh) == 4 and means[1.0] > means[None]
    assert f"  best      {means[1.0]:.2f} [" in printed
    assert f"  defaults  {means[None]:.2f} [" in printed
    assert "the best is higher in 100% of the seeds" in printed


def test_the_same_command_again_performs_nothing(printed, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    tuned(folder, trials=8, extra=["--fresh-seeds", "2"])
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.json")} == before


def test_another_budget_needs_another_folder(printed, folder, capsys):
    said = refuse(capsys, main, *words_of(folder, 8, {"power": [3.0]}))
    assert "is about other settings or another budget: give another --out." in said


def test_what_was_cut_short_is_tried_again(optuna, tmp_path):
    search = search_over(SPACE, tmp_path)
    study = search.study(optuna, 0)
    assert search.suggest(study.ask()) == {}, "the defaults come first"
    chosen = search.suggest(study.ask())  # and the process ends here
    again = search.study(optuna, 1)
    assert search.suggest(again.ask()) == {}
    assert search.suggest(again.ask()) == chosen
    assert again.get_trials(states=(optuna.trial.TrialState.COMPLETE,)) == []


def test_settings_that_fail_have_no_score_and_the_others_go_on(optuna, tmp_path, capsys):
    tuned(tmp_path, trials=2, space={"power": [9.0, 1.0]}, extra=["--fresh-seeds", "0"])
    assert '{"power": 9.0}' not in capsys.readouterr().out


def test_where_everything_fails_a_line_says_where_to_look(optuna, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        tuned(tmp_path, trials=2, space={"power": [9.0]}, extra=["--settings", '{"power": 9.0}'])
    assert end.value.code == 2 and "No run ended well" in capsys.readouterr().err


def test_an_interval_is_searched_on_its_scale(optuna, tmp_path):
    search = search_over({"power": {"low": 0.01, "high": 1.0, "log": True}}, tmp_path)
    study = search.study(optuna, 0)
    study.ask()
    powers = [search.suggest(study.ask())["power"] for _ in range(9)]
    assert all(0.01 <= power <= 1.0 for power in powers)
    assert sum(power < 0.1 for power in powers) >= 2, "half of them, on a logarithmic scale"


@pytest.mark.parametrize(
    "args, line",
    [
        (["other:agent"], "What is to be searched for other:agent? Give --space"),
        (["psi", "--trials", "0"], "--trials must be an integer of at least 1, not 0"),
        (["psi", "--space", "[1]"], "--space must be a JSON object"),
    ],
)
def test_a_users_mistake_is_one_line(optuna, args, line, tmp_path, capsys):
    assert line in refuse(capsys, main, "tune", *args, "--out", tmp_path)


def test_without_optuna_a_line_says_how_to_get_it():
    script = "import sys; sys.modules['optuna'] = None; from benchmarks.__main__ import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", script, "tune", "psi"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "python -m benchmarks: Optuna is not installed: pip install optuna (or '.[sweep]').\n"
