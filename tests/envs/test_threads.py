"""One thread while our own code needs it: nested, after errors, in two threads, after a fork; and where it is held."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seqtutor_envs import threads
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.metrics import sequence_log_probs
from seqtutor_envs.prior import kernels, load_prior
from seqtutor_envs.prior.fit import Settings, fit
from seqtutor_envs.prior.masking import MaskedPrior
from seqtutor_envs.threads import one_blas_thread, one_thread
from toys.agent_toys import Sung, SungWithoutRepeats
from toys.commands import ROOT
from toys.recurrent_toys import random_prior, uneven
from toys.thread_toys import OwnPrior, numbers, spy, two_threads


@pytest.fixture(autouse=True)
def both_have_two():
    with two_threads():
        yield
        assert numbers() == (2, 2), "the numbers are as before"


def run(code, **environment):
    """Run code in a process of its own, in which numpy and torch have two threads; return what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment = {**clean, "OMP_NUM_THREADS": "2", **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert not done.returncode, done.stderr
    return done.stdout.split()


# ---------------------------------------------------------------- the limit


def test_holds_may_be_nested():
    with one_thread():
        with one_thread(), one_blas_thread:
            assert numbers() == (1, 1)
        assert numbers() == (1, 1)
    assert numbers() == (2, 2)


def test_the_step_of_a_prior_leaves_torch_alone():
    with one_blas_thread:
        assert numbers() == (1, 2)
        with one_thread():
            assert numbers() == (1, 1)
        assert numbers() == (1, 2)


def test_an_error_ends_the_hold():
    @one_thread()
    def fail():
        assert numbers() == (1, 1)
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
        assert numbers() == (2, 2)


def test_a_number_that_the_user_sets_meanwhile_stays():
    with one_thread():
        threads.find_blas().set(3)
        torch.set_num_threads(3)
    assert numbers() == (3, 3)
    threads.find_blas().set(2)
    torch.set_num_threads(2)


def test_a_user_who_has_one_thread_keeps_it():
    threads.find_blas().set(1)
    torch.set_num_threads(1)
    with one_thread():
        assert numbers() == (1, 1)
    assert numbers() == (1, 1)
    threads.find_blas().set(2)
    torch.set_num_threads(2)


def in_a_thread(function):
    """What the function returns in a Python thread of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_a_thread_that_begins_to_use_torch_meanwhile_has_its_full_number():
    with one_thread():
        assert in_a_thread(torch.get_num_threads) == 2
        assert in_a_thread(hold) == ((1, 1), (1, 2)), "numpy's number is that of the process, and is still held"


def hold():
    with one_thread():
        within = numbers()
    return within, numbers()


def test_the_last_of_two_threads_gives_numpys_number_back():
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with one_thread():
            entered.set()
            leave.wait(30)

    other = threading.Thread(target=stay)
    with one_thread():
        other.start()
        assert entered.wait(30)
    assert numbers() == (1, 2), "the other thread still needs numpy's; torch's is this thread's own"
    with one_thread():
        assert numbers() == (1, 1)
    leave.set()
    other.join()
    assert numbers() == (2, 2)


def test_many_threads_at_once_leave_the_numbers_as_they_were():
    def enter_often():
        for _ in range(300):
            with one_thread():
                assert numbers() == (1, 1)
        return True

    found = []
    workers = [threading.Thread(target=lambda: found.append(enter_often())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [True] * 4 and numbers() == (2, 2)


FORK = """
import os, threading
import numpy
from seqtutor_envs.threads import find_blas, one_blas_thread, one_thread

def child(report):
    # in the child: the number as it is, within a hold, and after it
    reading, writing = os.pipe()
    if os.fork() == 0:
        report(lambda: os.write(writing, b"%d " % find_blas().get()))
        os._exit(0)
    os.wait()
    return os.read(reading, 100).decode()

def hold(tell):
    tell()
    with one_thread():
        tell()
    tell()

entered, leave = threading.Event(), threading.Event()

def stay():
    with one_thread(), one_blas_thread._lock:  # another thread holds both for ever
        entered.set()
        leave.wait()

thread = threading.Thread(target=stay)
thread.start()
entered.wait()
print(child(hold))
leave.set()
thread.join()
with one_thread():
    print(child(hold))
print(find_blas().get())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_keeps_its_own_holds_and_nobody_elses():
    assert run(FORK) == ["2", "1", "2"] + ["1", "1", "1"] + ["2"]


def test_torch_imported_within_a_hold_is_held_from_the_next_one_on():
    code = """
from seqtutor_envs.threads import one_thread
with one_thread():
    import torch
    print(torch.get_num_threads())
    with one_thread():
        print(torch.get_num_threads())
print(torch.get_num_threads())
"""
    assert run(code) == ["2", "1", "2"]


# ---------------------------------------------------------------- other builds of numpy and torch


@pytest.fixture
def fresh():
    """Nothing is found yet, and nothing of what the test finds is kept."""
    threads.find_blas.cache_clear()
    threads.find_torch.cache_clear()
    yield
    threads.find_blas.cache_clear()
    threads.find_torch.cache_clear()


def loaded(monkeypatch, *libraries):
    """Let these be all libraries of the process."""
    controller = SimpleNamespace(lib_controllers=list(libraries))
    monkeypatch.setattr("threadpoolctl.ThreadpoolController", lambda: controller)


def blas(internal_api="openblas", filepath="/lib/libblas.so", **more):
    return SimpleNamespace(
        user_api="blas", internal_api=internal_api, filepath=filepath, **{"threading_layer": "pthreads", **more}
    )


@pytest.mark.parametrize(
    "name",
    ["scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_",
     "openblas_{}_num_threads"],
)  # fmt: skip
def test_every_build_of_openblas_is_found(monkeypatch, fresh, name):
    library = SimpleNamespace(**{name.format("get"): lambda: 5, name.format("set"): lambda number: None})
    loaded(monkeypatch, blas())
    monkeypatch.setattr(ctypes, "PyDLL", lambda path: library)
    assert threads.find_blas().get() == 5


def test_numpys_blas_is_told_from_scipys(monkeypatch, fresh):
    of_numpy = os.path.join(os.path.dirname(np.__file__) + ".libs", "libscipy_openblas64_.so")
    loaded(monkeypatch, blas(filepath="/site-packages/scipy.libs/libscipy_openblas.so"), blas(filepath=of_numpy))
    paths = []
    symbols = {f"scipy_openblas_{do}_num_threads": int for do in ("get", "set")}
    monkeypatch.setattr(ctypes, "PyDLL", lambda path: paths.append(path) or SimpleNamespace(**symbols))
    threads.find_blas()
    assert paths == [of_numpy]


def test_mkl_is_held_through_threadpoolctl(monkeypatch, fresh):
    number = [4]
    loaded(monkeypatch, blas("mkl", get_num_threads=lambda: number[0], set_num_threads=lambda n: number.append(n)))
    with one_blas_thread:
        assert number == [4, 1]
        number[0] = 1
    assert number == [1, 1, 4]


@pytest.mark.parametrize(
    "libraries", [[], [blas()], [blas(threading_layer="openmp")]], ids=["Accelerate", "no symbols", "OpenMP"]
)
def test_where_no_number_is_found_nothing_happens_and_nothing_fails(monkeypatch, fresh, libraries):
    loaded(monkeypatch, *libraries)
    monkeypatch.setattr(ctypes, "PyDLL", lambda path: SimpleNamespace())
    with one_thread():
        assert random_prior().sample(3, 0)[0].shape == (3, 6)


def test_a_torch_that_hides_mkl_is_held_by_its_own_function(monkeypatch, fresh):
    monkeypatch.setattr(threads, "MKL_LIBRARIES", ())
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert threads.find_torch(torch)[0] is torch.set_num_threads


# ---------------------------------------------------------------- where it is held


def step_batch(prior, n=3, task=None):
    env = SequenceTutorVectorEnv(task or Sung(), prior, num_envs=n, c=1.0)
    env.reset()
    env.step(np.zeros(n, np.int64))


def step_single(prior):
    env = SequenceTutorEnv(Sung(), prior, c=1.0)
    env.reset()
    env.step(0)


TOKENS = np.zeros((3, 6), np.int64)
OF_ANY_PRIOR = {
    "a batch": step_batch,
    "one environment": step_single,
    "sample": lambda prior: prior.sample(3, 0),
    "log_probs": lambda prior: prior.log_probs(TOKENS),
    "log p of sequences": lambda prior: sequence_log_probs(prior, TOKENS),
    "sample of what a task allows": lambda prior: MaskedPrior(prior, SungWithoutRepeats()).sample(3, 0),
}


@pytest.mark.parametrize("use", OF_ANY_PRIOR.values(), ids=OF_ANY_PRIOR)
def test_the_step_of_a_prior_of_ones_own_has_one_thread(monkeypatch, use):
    seen = spy(monkeypatch, OwnPrior, "step")
    use(OwnPrior())
    assert seen == {(1, 1)}


OF_A_RECURRENT_PRIOR = {**OF_ANY_PRIOR, "step": lambda prior: prior.step(TOKENS[:, 0], prior.initial_state(3))}


@pytest.mark.parametrize("use", OF_A_RECURRENT_PRIOR.values(), ids=OF_A_RECURRENT_PRIOR)
def test_the_step_of_a_recurrent_prior_has_one_thread(monkeypatch, use):
    seen = spy(monkeypatch, kernels, "lstm")  # called between its products
    prior = random_prior(end=4)
    # so that a single sequence's product is one that BLAS gives to several threads
    monkeypatch.setattr(prior._step, "_one_is_small", False)
    use(prior)
    assert {number for number, _ in seen} == {1}


def test_a_single_sequence_of_the_shipped_priors_needs_no_hold():
    """OpenBLAS has one thread for a row times a matrix of less than 9,216 numbers (interface/gemv.c)."""
    for name in ("melody", "smiles"):
        prior = load_prior(name)
        assert prior.num_layers == 1 and prior.weights["head.weight"].size < 9_216
        assert prior._step._one_is_small
    assert not random_prior(num_layers=2)._step._one_is_small
    assert not random_prior(hidden_size=2_000)._step._one_is_small


def test_the_task_may_use_all_threads(monkeypatch):
    seen = spy(monkeypatch, Sung, "step_terms")
    step_batch(random_prior(end=4))
    step_batch(OwnPrior())
    assert seen == {(2, 2)}


def test_fitting_has_one_thread_and_its_metrics_of_the_user_have_all(monkeypatch, tmp_path):
    seen, watched = spy(monkeypatch, torch.nn.functional, "one_hot"), []
    sequences, vocab = uneven(), random_prior(end=4).vocab
    settings = Settings(hidden_size=4, epochs=1)
    fit(sequences, sequences, vocab, tmp_path / "prior", settings, watch=lambda prior: watched.append(numbers()) or {})
    assert seen == {(1, 1)} and watched == [(2, 2)]
