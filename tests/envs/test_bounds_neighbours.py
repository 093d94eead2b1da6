"""Neighbours of known sequences: all of them, none twice, and never more than log Z."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqtutor_envs.bounds import log_z
from seqtutor_envs.bounds.certified import CertifiedSum, score_known
from seqtutor_envs.bounds.neighbours import add_neighbours, make_neighbours, worth_it
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.smiles.task import SmilesTask

# 32 notes, four times the same eight, with R = 247.93 and log p = -34.70: at c = 2 a mass of e**89.26
LOOP = np.array([[26, 23, 21, 19, 18, 16, 14, 1] * 4])


def exact(c=0.2):
    return gym.make("SeqTutor-Exact-v0", vocab_size=3, length=5, seed=3, c=c).unwrapped


def start(env, rows):
    known = CertifiedSum(env.c, env.task.length)
    known.add(*score_known(env.task, env.prior, np.array(rows), np.full(len(rows), env.task.length))[:4])
    return known


def test_they_differ_in_one_token_that_is_not_the_end():
    """By a plain loop; token 24 is the end of the shipped molecules' prior."""
    task = SmilesTask(max_length=4)
    rows = np.array([[3, 7, 24, -1], [5, 5, 5, 5], [24, -1, -1, -1]], np.int32)
    expected = set()
    for row in ([3, 7, 24], [5, 5, 5, 5]):
        for step in range(len(row)):
            for token in range(24):
                if row[step] not in (24, token):
                    expected.add((*row[:step], token, *row[step + 1 :]))
    tokens, lengths = make_neighbours(rows, task)
    found = [tuple(row[:length]) for row, length in zip(tokens.tolist(), lengths)]
    assert len(found) == len(set(found)) and set(found) == expected


def test_the_sum_grows_to_the_whole_of_z_and_not_beyond():
    """All 243 sequences of the exact task are neighbours of neighbours."""
    env = exact()
    whole = env.solution()["log_z"]
    known, sums = start(env, [[0, 0, 0, 0, 0]]), []
    for scores in (10, 80, 800, 10_000):
        add_neighbours(known, env.task, env.prior, scores)
        sums.append(known.log_sum())
    assert sums == sorted(sums) and sums[0] < whole - 0.1
    assert len(known) == 243 and sums[-1] == pytest.approx(whole, abs=1e-5)


def test_it_ends_when_all_have_had_their_turn():
    env = exact()
    known = start(env, [[0, 0, 0, 0, 0]])
    assert add_neighbours(known, env.task, env.prior, 10**9) == 243 * 5 * 2


def test_the_best_ones_come_first():
    env = exact()
    solution = env.solution()
    order = np.argsort(solution["log_probs"])
    known = start(env, solution["sequences"][order[[0, -1]]])
    assert known.best(1).tolist() == [solution["sequences"][order[-1]].tolist()]
    assert known.best(5).tolist() == solution["sequences"][order[[-1, 0]]].tolist()


def test_they_are_worth_it_where_what_is_known_has_a_twentieth():
    known = start(exact(), [[0, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    assert worth_it(known, known.log_sum() + 2.9) and not worth_it(known, known.log_sum() + 3.1)


def test_a_known_loop_certifies_more_with_its_neighbours_and_not_at_a_high_temperature():
    env, tokens = gym.make("SeqTutor-Melody-v0", c=2.0).unwrapped, (LOOP, np.array([32]))
    near = np.concatenate([LOOP, *(np.where(np.arange(32) == t, a, LOOP) for t in range(32) for a in range(38))])
    near = np.unique(near, axis=0)
    masses = sequence_log_probs(env.prior, near, np.full(len(near), 32)) + env.task.reward(near).sum(axis=1) / 2.0
    assert len(near) == 1 + 32 * 37 and masses.max() == pytest.approx(89.26, abs=0.01)
    cold = log_z(env, samples=512, sequences=tokens)
    assert np.logaddexp.reduce(masses) - 1e-5 <= cold.lower < 89.6
    assert cold.lower_method == "certified sum" and cold.lower_probability == 1
    assert cold.diagnostics["certified"]["neighbours"] >= 512
    warm = log_z(gym.make("SeqTutor-Melody-v0", c=20.0), samples=512, sequences=tokens)
    assert warm.diagnostics["certified"]["neighbours"] == 0
