"""J, KL and return against plain loops and against the enumerated optimum."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import seqtutor_envs  # noqa: F401
from seqtutor_envs import metrics
from seqtutor_envs.exact import kl_policy_optimum
from seqtutor_envs.metrics import evaluate_samples
from toys.env_toys import ToyTask, toy_prior

TOKENS = np.array([[0, 3, 9, 9], [2, 2, 1, 0], [1, 1, 3, -5]])  # 9 and -5: filler
LENGTHS = np.array([2, 4, 3])


def test_a_plain_loop_gives_the_same_figures(monkeypatch):
    monkeypatch.setattr(metrics, "ROWS", 4)  # one sequence at a time
    task, prior = ToyTask(4, weights={"step": 2.0}), toy_prior(4, impossible=False)
    log_pi = np.array([-1.0, -2.0, -4.0])
    value = (1.0, 0.0, -1.0, 0.5)
    returns, log_p = [], []
    for row, length in zip(TOKENS, LENGTHS):
        returns.append(sum(value[token] + 2.0 * 0.25 * t for t, token in enumerate(row[:length])))
        state, last, total = prior.initial_state(1), np.array([4]), 0.0
        for token in row[:length]:
            rows, state = prior.step(last, state)
            total, last = total + float(rows[0, token]), np.array([token])
        log_p.append(total)
    figures = evaluate_samples(task, TOKENS, LENGTHS, prior, log_pi, c=0.5)
    j = np.array(returns) / 0.5 + np.array(log_p) - log_pi
    assert figures["task_return"] == pytest.approx(np.mean(returns))
    assert figures["log_p"] == pytest.approx(np.mean(log_p), abs=1e-5)
    assert figures["log_p_per_step"] == pytest.approx(np.sum(log_p) / 9, abs=1e-5)
    assert figures["kl"] == pytest.approx(np.mean(log_pi - np.array(log_p)), abs=1e-5)
    assert figures["j"] == pytest.approx(j.mean(), abs=1e-5)
    assert figures["j_se"] == pytest.approx(j.std(ddof=1) / np.sqrt(3), abs=1e-5)
    assert figures["distinct_sequences"] == 3


def test_the_tasks_own_metrics_are_left_out_if_they_are_not_wanted(monkeypatch):
    task = ToyTask(4)
    monkeypatch.setattr(task, "metrics", lambda tokens, lengths: {"own": 1.0})
    every, others = evaluate_samples(task, TOKENS, LENGTHS), evaluate_samples(task, TOKENS, LENGTHS, task_metrics=False)
    assert every == others | {"own": 1.0} and "task_return" in others


def test_filler_does_not_make_sequences_distinct():
    task = ToyTask(4)
    same = np.array([[0, 3, 1, 2], [0, 3, 2, 2]])
    assert evaluate_samples(task, same, np.array([2, 2]))["distinct_sequences"] == 1


def test_samples_of_the_optimum_have_j_equal_to_log_z():
    env = gym.make("SeqTutor-Exact-v0", seed=3).unwrapped
    solution = env.solution()
    rng = np.random.default_rng(0)
    drawn = rng.choice(len(solution["sequences"]), size=500, p=np.exp(solution["log_probs"]))
    tokens, log_pi = solution["sequences"][drawn], solution["log_probs"][drawn]
    figures = evaluate_samples(env.task, tokens, None, env.prior, log_pi, env.c)
    # at the optimum R/c + log p - log pi is log Z for every single sequence
    assert figures["j"] == pytest.approx(solution["log_z"], abs=1e-4)
    assert figures["j_se"] < 1e-5
    assert kl_policy_optimum(solution, solution["log_probs"]) == pytest.approx(0.0, abs=1e-9)
