"""One experiment from data to result, on a task of 27 sequences: against the same made by hand."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import gymnasium as gym
import numpy as np
import pytest
import yaml

from agents import PsiLearning
from agents.evaluate import evaluate, evaluate_in_env
from benchmarks.contestants import make_agent
from benchmarks.domains import SEED_APART
from benchmarks.experiment import Experiment
from benchmarks.runner import perform as module
from benchmarks.runner.perform import CurveRecorder, perform, weights_hash
from seqtutor_envs.smiles.chem.designs import measure_designs
from seqtutor_envs.smiles.pmo import PmoTask
from toys.agent_toys import SMALL
from toys.sweep_toys import EXACT, KWARGS, N, T, Table, toy

SETTINGS = {**SMALL, "n_envs": 8}
PSI = Experiment(EXACT, "agents:PsiLearning", KWARGS, SETTINGS, steps=480, n=300, seed=5)
PRIOR = Experiment(EXACT, "benchmarks.contestants:prior", KWARGS, n=300)


@pytest.fixture(scope="module")
def psi():
    """The result, and what was told of progress."""
    told = []
    return perform(PSI, told.append), told


@pytest.fixture(scope="module")
def by_hand():
    """The same agent after the same tokens."""
    return PsiLearning(EXACT, seed=5, env_kwargs=dict(KWARGS), **SETTINGS).learn(480)


def solution():
    return gym.make(EXACT, **KWARGS).unwrapped.solution()


# ---------------------------------------------------------------- what is learned and how it is judged


def test_figures_are_those_of_the_same_agent_made_by_hand(psi, by_hand):
    result, _ = psi
    expected = evaluate(by_hand, EXACT, 300, 5 + SEED_APART, KWARGS)
    assert result["metrics"] == {name: pytest.approx(value, abs=1e-12) for name, value in expected.items()}
    assert result["metrics"]["gap"] == pytest.approx(solution()["log_z"] - result["metrics"]["j"])
    assert result["c"] == KWARGS["c"] and result["seeds"] == {"learning": 5, "judging": 5 + SEED_APART}
    assert result["timesteps"] == by_hand.num_timesteps == 480 and result["sequences"] == 480 // T


def test_weights_are_told_by_a_hash_of_all_that_was_learned(psi, by_hand):
    result, _ = psi
    digest = sha256()
    for part, state in sorted(by_hand.get_parameters().items()):
        for name in sorted(state):
            if hasattr(state[name], "numpy"):
                digest.update(f"{part}.{name}".encode() + state[name].numpy().tobytes())
    assert result["weights"] == digest.hexdigest()
    with_more = PsiLearning(EXACT, seed=5, env_kwargs=dict(KWARGS), **SETTINGS).learn(504)
    assert weights_hash(with_more) != result["weights"]


def test_the_same_experiment_gives_the_same_result_and_another_seed_another(psi):
    first, again, other = psi[0], perform(PSI), perform(replace(PSI, seed=6))

    def told(result):
        curve = [{**point, "seconds": None} for point in result["curve"]]
        return {**result, "curve": curve, "time": None, "peak_memory_mib": None, "finished": None}

    assert told(again) == told(first)
    assert other["weights"] != first["weights"] and other["metrics"] != first["metrics"]


def test_samples_are_the_first_eight_that_were_judged(psi, by_hand):
    tokens, lengths = by_hand.sample(300, 5 + SEED_APART)
    env = gym.make(EXACT, **KWARGS).unwrapped
    found = env.solution()
    place = {tuple(row): i for i, row in enumerate(found["sequences"].tolist())}
    samples = psi[0]["samples"]
    assert len(samples) == 8 and (lengths == T).all()
    for sample, row in zip(samples, tokens.tolist()):
        where = place[tuple(row)]
        assert sample["tokens"] == row and sample["sequence"] == [f"t{token}" for token in row]
        assert sample["task_return"] == pytest.approx(found["task_returns"][where], abs=1e-6)
        assert sample["log_p"] == pytest.approx(found["prior_log_probs"][where], abs=1e-5)
        assert sample["terms"] == {"prefix": pytest.approx(sample["task_return"])}
    assert perform(replace(PRIOR, n=3))["samples"][:3] != [] and len(perform(replace(PRIOR, n=3))["samples"]) == 3


# ---------------------------------------------------------------- the curve


def test_a_curve_goes_from_nothing_learned_to_the_end(psi):
    result, told = psi
    curve = result["curve"]
    steps = [point["timesteps"] for point in curve]
    assert steps[0] == 0 and steps[-1] == result["timesteps"] and steps == sorted(set(steps))
    # a round is 24 tokens, and a point is due every 1 / 11 of 480
    assert steps == [0] + [-(-480 * k // 11 // 24) * 24 for k in range(1, 12)]
    seconds = [point["seconds"] for point in curve]
    assert seconds[0] == pytest.approx(0.0, abs=0.02) and seconds == sorted(seconds)
    assert seconds[-1] <= result["time"]["learning_cpu"] + 1e-3
    assert [entry["share"] for entry in told] == [step / 480 for step in steps]
    assert [entry["j"] for entry in told] == [point["j"] for point in curve]


def test_points_are_judged_on_fewer_sequences(psi, by_hand):
    start = PsiLearning(EXACT, seed=5, env_kwargs=dict(KWARGS), **SETTINGS)
    for agent, point in ((start, psi[0]["curve"][0]), (by_hand, psi[0]["curve"][-1])):
        expected = evaluate(agent, EXACT, 200, 5 + SEED_APART, KWARGS)
        for name in ("j", "j_se", "kl", "task_return", "distinct", "gap"):
            assert point[name] == pytest.approx(expected[name], abs=1e-12)
    agent = make_agent("toys.sweep_toys:table", EXACT, 0, KWARGS, {})
    for n, fewer in ((150, 150), (300, 200), (2_000, 200), (10_000, 1_000)):
        assert CurveRecorder(toy("table", n=n, steps=10), agent, print).n == fewer


@pytest.fixture
def now(monkeypatch):
    """The time in a list, by clocks that stand still but for an evaluation, which takes 1,000 s."""
    now = [0.0]

    def slow(*arguments, **keywords):
        now[0] += 1000.0
        return evaluate_in_env(*arguments, **keywords)

    monkeypatch.setattr(module, "evaluate_in_env", slow)
    monkeypatch.setattr(module, "CLOCKS", {"cpu": lambda: now[0], "wall": lambda: 2 * now[0]})
    return now


def test_clocks_stand_still_while_the_curve_is_judged(now):
    result = perform(toy("table", steps=240))
    assert len(result["curve"]) > 5 and now[0] == 1000.0 * (len(result["curve"]) + 1)  # one at the end
    assert [point["seconds"] for point in result["curve"]] == [0.0] * len(result["curve"])
    assert result["time"]["learning_cpu"] == result["time"]["learning_wall"] == 0.0


def test_a_budget_of_seconds_ends_in_time_and_has_a_curve(monkeypatch, now):
    """A round takes a second, judging a thousand."""
    improve = Table.improve

    def takes_a_second(self):
        now[0] += 1.0
        improve(self)

    monkeypatch.setattr(Table, "improve", takes_a_second)
    result = perform(replace(toy("table"), seconds=22.0))
    # seconds are looked at after each token of a round, the 23rd round ends with its first
    assert result["timesteps"] == 22 * N * T + N
    assert result["time"]["learning_cpu"] == 22.0
    assert [point["seconds"] for point in result["curve"]] == [0.0, *range(2, 23, 2), 22.0]


# ---------------------------------------------------------------- who does not learn, or says little


def test_the_prior_does_not_learn(psi):
    told = []
    result = perform(PRIOR, told.append)
    assert (result["curve"], result["timesteps"], result["weights"], told) == ([], 0, None, [])
    assert result["metrics"]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert set(result["time"]) == {"judging_wall", "total_wall"}
    found = solution()
    mean = np.exp(found["prior_log_probs"]) @ found["task_returns"] / KWARGS["c"]
    assert abs(result["metrics"]["j"] - mean) < 4 * result["metrics"]["j_se"]


def test_without_a_budget_an_agent_is_judged_as_it_starts():
    result = perform(toy("table"))
    assert (result["timesteps"], result["curve"]) == (0, [])
    assert result["weights"] == weights_hash(make_agent("toys.sweep_toys:table", EXACT, 0, KWARGS, {}).model)


def test_an_agent_that_only_predicts_has_no_j_and_the_result_says_why():
    result = perform(toy("only_predicts"))
    assert not {"j", "kl", "gap"} & set(result["metrics"])
    assert result["metrics"]["distinct_sequences"] == 1 and result["samples"][0]["tokens"] == [0, 0, 0]
    assert result["metrics"]["log_z"] == pytest.approx(solution()["log_z"])
    (warning,) = result["warnings"]
    assert warning.startswith("No KL and no J: ")


def test_a_learner_that_only_predicts_has_a_curve_of_returns():
    told = []
    result = perform(toy("learns_and_only_predicts", steps=240), told.append)
    assert result["timesteps"] == 240 and result["weights"] is None
    assert [point["timesteps"] for point in result["curve"]] == list(range(0, 241, 24))
    assert all("j" not in point and "task_return" in point for point in result["curve"])
    assert all(entry["j"] is None for entry in told) and told[-1]["share"] == 1.0
    assert len(result["warnings"]) == 1


# ---------------------------------------------------------------- a budget of scores


def test_every_call_of_a_score_is_kept_in_order_and_gives_the_figures():
    """By PMO's protocol, from the written calls: each molecule scored anew, the area by trapezoids."""
    settings = {"n_envs": 16}
    one = Experiment("SeqTutor-PMO-qed-v0", "agents:Reinvent", {"oracle_budget": 60}, settings, steps=10**6, n=20)
    result = perform(one)
    calls = yaml.safe_load(result["calls"])
    assert [n for _, n in calls.values()] == list(range(1, 61))
    scores = np.array([score for score, _ in calls.values()])
    assert scores == pytest.approx(PmoTask("qed").score(list(calls)), abs=1e-12)
    metrics = result["metrics"]
    best = np.sort(scores)[-10:].mean()
    # from 0 at 0 calls to the mean of the best ten at the last, which is the first point
    assert metrics["auc_top_10"] == pytest.approx(best / 2) and metrics["top_10"] == pytest.approx(best)
    assert (metrics["calls"], metrics["budget"]) == (60, 60)
    assert metrics["repeats"] == pytest.approx(1 - 60 / result["counts"]["valid"]) and metrics["repeats"] < 1
    assert [row["score"] for row in result["best"]] == sorted(scores.tolist(), reverse=True)[:10]
    assert all(calls[row["smiles"]] == [row["score"], row["call"]] for row in result["best"])
    expected = measure_designs(list(calls), scores)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_without_a_budget_no_call_is_kept():
    kwargs = {"objective": "seqtutor_envs.smiles.pmo:qed"}
    one = Experiment("SeqTutor-SMILES-v0", "agents:Reinvent", kwargs, {"n_envs": 8}, steps=200, n=10)
    result = perform(one)
    assert not {"calls", "best"} & set(result) and result["metrics"]["calls"] > 0
    assert "diverse_hits" not in result["metrics"]


def test_the_best_of_the_prior_spend_a_budget_too():
    one = Experiment(
        "SeqTutor-PMO-isomers_c7h8n2o2-v0", "benchmarks.contestants:best_of_prior", {"oracle_budget": 150},
        {"calls": 150}, n=20,
    )  # fmt: skip
    result = perform(one)
    calls = yaml.safe_load(result["calls"])
    scores = np.sort([score for score, _ in calls.values()])
    assert len(calls) == 150 == result["metrics"]["calls"]
    assert result["metrics"]["task_return"] == pytest.approx(scores[-20:].mean())
    assert result["metrics"]["top_10"] == pytest.approx(scores[-10:].mean())
