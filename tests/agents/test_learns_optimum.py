"""The agents find the enumerated optimum of small tasks: the short form of `python -m tests.exact_learning`.

Both tasks were chosen because the usual mistakes show there. With them learning ends, by enumeration and when run, at
a KL(optimum || policy) of at least .12 nats: a maximum for the log sum exp (.12), no log p in the reward (.41), log p
twice (.25), G without the next prior (.12), G with log p in its reward (.29), G's policy without the prior (.35), a
value after the last token (over 10). After these timesteps they stand at .11 and more, the right targets below .004.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents import GLearning, PsiLearning, QLearning
from exact_learning import best_sequence, exact, greedy_rollout, policy_kl, trained

TASKS = ({"vocab_size": 3, "length": 3, "seed": 31}, {"vocab_size": 2, "length": 3, "seed": 8})
TIMESTEPS = 30_000
BOUND = 0.02  # nats


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: f"{task['vocab_size']} tokens")
def task(request):
    return request.param


@pytest.fixture(scope="module")
def agents(task):
    return [trained(agent_class, task, 0, TIMESTEPS) for agent_class in (PsiLearning, GLearning)]


def test_psi_and_g_learning_find_the_optimum(agents, task):
    assert max(policy_kl(agent, task) for agent in agents) < BOUND


def test_psi_equals_log_prior_plus_g(agents, task):
    """Both networks against each other and against the enumerated soft values, where the optimum goes."""
    psi, g = agents
    solution = exact(task).solution()
    often = solution["log_probs"] > np.log(0.03)
    assert often.sum() > 4
    tokens = solution["sequences"][often]
    log_p = torch.from_numpy(psi.prior.log_probs(tokens))
    with torch.no_grad():
        of_psi = psi.learner.network.values(torch.from_numpy(tokens), log_p)
        of_g = g.learner.network.values(torch.from_numpy(tokens), log_p)
    taken = torch.from_numpy(tokens)[:, :, None]
    psi_taken, log_p_plus_g = (values.gather(2, taken)[:, :, 0] for values in (of_psi, log_p + of_g))
    torch.testing.assert_close(psi_taken, log_p_plus_g, rtol=0.0, atol=0.1)
    assert of_psi[:, 0].logsumexp(-1).mean().item() == pytest.approx(solution["log_z"], abs=0.05)


def test_greedy_q_learning_writes_the_best_sequence(task):
    agent = trained(QLearning, task, 0, TIMESTEPS)
    assert greedy_rollout(agent, task) == best_sequence(task)
    assert best_sequence(task) != greedy_rollout(trained(QLearning, task, 0, 0), task), "it has something to learn"
