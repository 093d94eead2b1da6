"""Scoring processes: the same scores as without, and what happens when one is lost.

A faulty worker is the real one with `score` wrapped: it hangs at one molecule, is killed at another and slow at some.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import pytest

import seqtutor_envs
from seqtutor_envs.smiles.scoring import Score, Scorer, ScoreSpec
from seqtutor_envs.smiles.scoring import pool as pools
from seqtutor_envs.smiles.scoring import score, score_from_json
from seqtutor_envs.smiles.scoring.pool import WorkerPool

SPEC = ScoreSpec(properties=("logp", "ring_penalty"))
HANGS, KILLS, KILLS_ONCE = "CCCCF", "CCCCCl", "CCCCBr"
FAULTY = """
import ctypes, os, signal, sys, time
from seqtutor_envs.smiles import scoring
from seqtutor_envs.smiles.scoring import worker
real = scoring.score
def faulty(smiles, spec):
    if smiles == "CCCCF":
        ctypes.PyDLL(None).sleep(1000)  # as C++ code that hangs: it keeps the interpreter's lock
    if smiles.startswith("S"):
        time.sleep(0.1)
    once = smiles == "CCCCBr" and not os.path.exists(sys.argv[1])
    if once:
        open(sys.argv[1], "w").close()
    if smiles == "CCCCCl" or once:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(smiles, spec)
scoring.score = faulty
worker.main()
"""
MOLECULES = ["C" * n + end for n in range(1, 40) for end in ("O", "N", "(", "c1ccccc1", "C1CCCCCCC1")]


def faulty_pool(tmp_path: Path, workers: int, timeout: float | None) -> WorkerPool:
    command = [sys.executable, "-c", FAULTY, str(tmp_path / "killed")]
    return WorkerPool(SPEC.as_dict(), workers, timeout, command)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # a zombie has ended: nobody has asked for its exit code yet
    return not Path("/proc/self").exists() or ") Z " not in Path(f"/proc/{pid}/stat").read_text()


def gone(pids: list[int], seconds: float) -> bool:
    """Whether all of these processes end within this time."""
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_workers_give_the_same_scores_in_the_same_order() -> None:
    workers = 3
    pool = WorkerPool(SPEC.as_dict(), workers)
    expected = [score(text, SPEC) for text in MOLECULES]
    assert {result.reason for result in expected} == {"", "syntax"}
    for batch in (MOLECULES, MOLECULES[::-1], MOLECULES[:1], []):
        answers = [score_from_json(answer) for answer in pool(batch)]
        assert answers == (expected[::-1] if batch == MOLECULES[::-1] else expected[: len(batch)])
    assert len(set(pool.pids)) == workers
    pool.close()


def test_what_is_no_text_travels_too() -> None:
    odd = ["", " ", "C\n", '"', "\\", "é", "\ud800", "\0", "C C", "[" * 70_000]  # more than a pipe holds
    scorer = Scorer(SPEC, workers=1, score_timeout=60)
    assert [result.reason for result in scorer(odd)] == ["syntax"] * len(odd)
    scorer.close()


def test_a_molecule_that_hangs_or_kills_its_worker_is_reported_and_the_rest_scored(tmp_path: Path) -> None:
    pool = faulty_pool(tmp_path, 2, 0.5)
    batch = [KILLS, *MOLECULES[:30], HANGS, *MOLECULES[30:60]]
    with pytest.warns(UserWarning) as caught:
        answers = [score_from_json(answer) for answer in pool(batch)]
    assert sorted(str(warning.message) for warning in caught) == [
        "Scoring 'CCCCCl' ended its scoring process: it counts as invalid (worker died).",
        "Scoring 'CCCCF' took more than 0.5 s: it counts as invalid (timeout).",
    ]
    assert (answers[0], answers[31]) == (Score("worker died"), Score("timeout"))
    assert answers[1:31] + answers[32:] == [score(text, SPEC) for text in MOLECULES[:60]]
    assert len(pool.pids) == 2
    pool.close()


def test_the_time_is_that_of_one_molecule_and_not_of_a_chunk(tmp_path: Path) -> None:
    pool = faulty_pool(tmp_path, 1, 0.6)
    slow = ["S" + "C" * n for n in range(16)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool(["C"])
        pids, begin = pool.pids, time.monotonic()
        answers = [score_from_json(answer) for answer in pool(slow)]
    assert time.monotonic() - begin > 0.8  # the first chunk alone, of eight
    assert answers == [score(text, SPEC) for text in slow]
    assert pool.pids == pids
    pool.close()


def test_a_worker_that_dies_of_something_else_changes_no_score(tmp_path: Path) -> None:
    pool = faulty_pool(tmp_path, 1, None)
    batch = [*MOLECULES[:10], KILLS_ONCE, *MOLECULES[10:30]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = [score_from_json(answer) for answer in pool(batch)]
        assert (tmp_path / "killed").exists()
        os.kill(pool.pids[0], signal.SIGKILL)  # and one that dies between two batches
        again = [score_from_json(answer) for answer in pool(batch)]
    assert answers == again == [score(text, SPEC) for text in batch]
    pool.close()


def test_a_stopped_worker_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "GRACE", 0.2)
    pool = WorkerPool(SPEC.as_dict(), 1, 0.3)
    pool(MOLECULES[:2])
    stopped, begin = pool.pids[0], time.monotonic()
    os.kill(stopped, signal.SIGSTOP)
    assert [score_from_json(answer) for answer in pool(MOLECULES[:4])] == [score(text, SPEC) for text in MOLECULES[:4]]
    assert time.monotonic() - begin < 30  # 1 s, and the time of a start on a busy machine
    assert pool.pids[0] != stopped and gone([stopped], 5)
    pool.close()


def test_after_an_exception_in_a_batch_no_answer_is_taken_for_another(tmp_path: Path) -> None:
    pool = faulty_pool(tmp_path, 2, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the report of the timeout ends the call
        with pytest.raises(UserWarning):
            pool([*MOLECULES[:30], HANGS, *MOLECULES[30:]])
    assert not pool.running
    batch = MOLECULES[50:60]
    assert [score_from_json(answer) for answer in pool(batch)] == [score(text, SPEC) for text in batch]
    pool.close()


def test_closing_ends_the_workers_and_may_be_done_twice() -> None:
    pool = WorkerPool(SPEC.as_dict(), 2)
    pool(MOLECULES[:4])
    pids = pool.pids
    pool.close()
    pool.close()
    assert gone(pids, 5) and not pool.running
    pool(MOLECULES[:4])
    pids = pool.pids
    del pool
    assert gone(pids, 5)


def test_a_worker_that_cannot_start_is_an_error_and_not_a_loop() -> None:
    pool = WorkerPool(SPEC.as_dict(), 2, command=[sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match=r"ended before it could score \(exit code 3\); use workers=0"):
        pool(MOLECULES[:4])
    assert not pool.running


def test_a_pool_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="pickle the Scorer"):
        WorkerPool(SPEC.as_dict(), 1).__reduce__()


def script(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    """A user's script that runs in another directory, without a main guard, in a session of its own as a terminal's."""
    file = tmp_path / "script.py"
    setup = """
        import os, sys
        from seqtutor_envs.smiles.scoring import Scorer, ScoreSpec
        scorer = Scorer(ScoreSpec(properties=("logp",)), workers=2)
    """
    file.write_text(textwrap.dedent(setup) + textwrap.dedent(body))
    # a relative path of modules, which is another one once the script has changed its directory
    checkout = Path(seqtutor_envs.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.path.relpath(checkout, tmp_path)}
    return subprocess.Popen(
        [sys.executable, str(file)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_workers_need_no_main_guard_and_serve_daemons_and_forked_children(tmp_path: Path) -> None:
    process = script(
        tmp_path,
        """
        import multiprocessing
        os.chdir("/")
        batch = ["C" * n for n in range(1, 9)]
        expected = [score.values for score in scorer(batch)]
        mine = set(scorer._pool.pids)

        def child():
            assert not scorer._pool.running
            scorer._cache.clear()
            assert [score.values for score in scorer(batch)] == expected
            assert not mine & set(scorer._pool.pids)
            scorer.close()

        process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
        process.start()
        process.join()
        assert process.exitcode == 0
        scorer._cache.clear()
        assert [score.values for score in scorer(batch)] == expected and mine == set(scorer._pool.pids)
        print("done")
        """,
    )
    output, errors = process.communicate(timeout=60)
    assert (output, errors, process.returncode) == ("done\n", "", 0)


def test_ctrl_c_prints_nothing_of_the_workers(tmp_path: Path) -> None:
    process = script(
        tmp_path,
        """
        scorer(["C", "CC", "CCC", "CCCC"])
        print(*scorer._pool.pids, flush=True)
        try:
            while True:
                scorer._cache.clear()
                scorer(["C" * n for n in range(1, 200)])
        except KeyboardInterrupt as interrupt:
            raise interrupt from None  # a KeyError that the cache handles would be a second traceback
        """,
    )
    assert process.stdout is not None
    pids = list(map(int, process.stdout.readline().split()))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    assert len(pids) == 2 and gone(pids, 10)


def test_workers_end_with_a_parent_that_is_killed_even_where_they_hang(tmp_path: Path) -> None:
    body = f"""
        import threading, time
        from seqtutor_envs.smiles.scoring.pool import WorkerPool
        command = [sys.executable, "-c", {FAULTY!r}, "killed"]
        scorer(["C", "CC", "CCC", "CCCC"])
        hanging = WorkerPool(scorer.spec.as_dict(), 1, 1.0, command)
        hanging(["C"])
        child = os.fork()  # it has the pipes' ends too, and must not keep the workers alive
        if child == 0:
            time.sleep(60)
        print(*scorer._pool.pids, *hanging.pids, child, flush=True)
        hanging(["{HANGS}"])
        """
    process = script(tmp_path, body)
    assert process.stdout is not None
    *pids, child = map(int, process.stdout.readline().split())
    time.sleep(0.3)  # until the third one hangs
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert alive(child) and len(pids) == 3
    assert gone(pids, 10)
    os.kill(child, signal.SIGKILL)
    process.communicate()
