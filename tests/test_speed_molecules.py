"""`python -m benchmarks speed --domain smiles`: figures are there, and the parts are what they are called."""

from __future__ import annotations

import json
import os
import time
from functools import cache

import numpy as np
import pytest
from recurrent_toys import random_weights
from smiles_toys import ASPIRIN, CAFFEINE, GLUCOSE, by_rdkit

from benchmarks.__main__ import main
from benchmarks.speed import molecules
from benchmarks.speed.chem_alone import AllCores, score
from benchmarks.speed.turns import in_turns, typical
from seqtutor_envs.prior import RecurrentPrior
from seqtutor_envs.smiles.vocab import smiles_vocab

VOCAB = smiles_vocab(["C", "O", "N"])


@cache
def small():
    """Chains of C, O and N; some are molecules with a carbon."""
    return RecurrentPrior(random_weights("lstm", 1, len(VOCAB), 6, scale=1.0), "lstm", VOCAB, 30)


def test_rdkit_alone_gives_rdkits_numbers():
    for string in (ASPIRIN, GLUCOSE):
        logp, sa, qed, _ = by_rdkit(string)
        assert score(string) == (qed, sa, logp)
    assert score("C(C") is None


def test_all_cores_answer_in_order_and_end():
    alone = AllCores(2)
    smiles = [ASPIRIN, "C(C", GLUCOSE, CAFFEINE, ASPIRIN]
    for batch in (smiles, smiles[:1], smiles[::-1]):
        assert [one and tuple(one) for one in alone(batch)] == [score(string) for string in batch]
    processes = alone._processes
    alone.close()
    assert [process.returncode for process in processes] == [0, 0]


def test_the_wall_clock_sees_what_others_do():
    times = in_turns({"sleep": lambda: time.sleep(0.02)}, 0.0, time.perf_counter)
    assert typical(times["sleep"]) == pytest.approx(0.02, rel=0.5)


def test_sampling_alone_writes_what_a_round_writes():
    """Tokens of one step each, until all sequences are over; distributed as the prior's samples."""
    learner = molecules.tutor(small(), 16, 0)
    rng, policy = np.random.default_rng(0), learner.current_policy()
    steps = [molecules.written(policy, small(), 16, 30, rng) for _ in range(200)]
    assert all(len(columns[0]) == 16 and len(columns) <= 30 for columns in steps)
    for columns in steps:
        for now, after in zip(columns, columns[1:]):
            assert len(after) == (now != VOCAB.end).sum()
    lengths = sum(len(column) for columns in steps for column in columns) / 3_200
    expected = small().sample(3_200, 1, 30)[1]
    assert abs(lengths - expected.mean()) < 5 * expected.std() / 3_200**0.5
    assert len(molecules.written(policy, small(), 16, 1, rng)) == 1


def test_all_figures_are_printed_and_written(tmp_path, capsys, monkeypatch):
    for name, value in (("BATCHES", (4,)), ("ROUNDS", (4,)), ("SCORED", 6), ("KEPT", 8), ("CHECKS", 2)):
        monkeypatch.setattr(molecules, name, value)
    prior = small().save(tmp_path / "small")
    out = tmp_path / "speed.json"
    options = ["--domain", "smiles", "--seconds", "0.01", "--workers", "1", "--memory", "16", "--prior", str(prior)]
    main(["speed", "--out", str(out), *options])
    results = json.loads(out.read_text())["results"]
    assert set(results) == {"score", "sampling", "loop", "memory"} and set(results["memory"]) == {"8", "16"}
    assert all(0 < value < np.inf for rows in results.values() for row in rows.values() for value in row.values())
    row = results["loop"]["4"]
    assert row["parts_us"] == pytest.approx(row["sampling_us"] + row["rdkit_us"] + row["update_us"])
    assert row["parts_to_loop"] == pytest.approx(row["parts_us"] / row["loop_us"]) and row["valid"] <= 1
    assert row["valid_per_s"] == pytest.approx(1e6 / row["loop_us"])
    assert 50 < results["memory"]["16"]["this_mib"] < 5_000 and results["memory"]["16"]["workers_mib"] > 50
    printed = capsys.readouterr().out
    assert "parts_to_loop" in printed and "LSTM-6" in printed and str(out) in printed


def test_memory_in_use_is_seen():
    before = molecules.resident(os.getpid())
    block = np.ones(64 * 2**17)  # 64 MiB
    assert molecules.resident(os.getpid()) - before == pytest.approx(64, abs=8)
    del block


@pytest.mark.parametrize(
    "options", [["--workers", "2"], ["--memory", "10"], ["--domain", "smiles", "--memory", "-1"]]
)
def test_what_cannot_be_is_one_line_and_status_2(tmp_path, capsys, options):
    with pytest.raises(SystemExit) as end:
        main(["speed", "--out", str(tmp_path / "speed.json"), *options])
    assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1
