"""One thread for the products of numpy and torch, held while our own code needs it and given back afterwards.

These matrices are small: a second thread saves little on an idle machine, and on a busy one the first waits for it, up
to a thousand times as long as the product takes.

numpy's BLAS has one number for the whole process. torch has one for each thread, and one that new threads start with:
`torch.set_num_threads` sets both. So this thread's number is set where torch reads it, in OpenMP and MKL. Otherwise
another thread that begins to use torch in the meantime would keep one thread for ever.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

TORCH_IS_THERE = "torch.backends.mkl"  # not "torch", which is in sys.modules before it can be used
MKL_LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll")  # torch's MKL is linked into these


def one_thread() -> OneThread:
    """Hold numpy's BLAS and torch at one thread: `with one_thread():`, or `@one_thread()` above a function.

    Holds may be nested, and Python threads may hold it at the same time. Of torch, if it is imported by now, only the
    calling thread is held. The last exit puts back the numbers from before the first entry, also after an exception,
    unless somebody has set others in the meantime. Where a library has no such number (Apple's Accelerate), nothing
    happens. A generator must not hold it across a `yield`.
    """
    return _one_thread


class OneBlasThread(ContextDecorator):
    """Hold numpy's BLAS at one thread, see `one_thread`; torch stays as it is. For steps that last microseconds."""

    def __init__(self) -> None:
        self._threads, self._before = 0, 1  # how many hold it, and the number before the first of them did
        self._own = _OfThisThread()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
            os.register_at_fork(after_in_child=self._forget_other_threads)

    def __enter__(self) -> None:
        own = self._own
        own.holds += 1
        if own.holds > 1:  # the hot path: a hold within another one
            return
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                get, set_ = find_blas()
                self._before = get()
                if self._before != 1:
                    set_(1)

    def __exit__(self, *error: object) -> None:
        own = self._own
        own.holds -= 1
        if own.holds:
            return
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._restore()

    def _restore(self) -> None:
        get, set_ = find_blas()
        # another number was set by somebody else in the meantime: it stays
        if self._before != 1 and get() == 1:
            set_(self._before)

    def _forget_other_threads(self) -> None:
        """Count the calling thread alone, after a fork: the others do not live on in the child, and cannot leave."""
        self._lock = threading.Lock()  # another thread may have held the old one
        before, self._threads = self._threads, int(self._own.holds > 0)
        if before and not self._threads:
            self._restore()


class OneThread(ContextDecorator):
    """Hold numpy's BLAS and torch at one thread, see `one_thread`."""

    def __init__(self) -> None:
        self._own = _OfThisThread()

    def __enter__(self) -> None:
        own = self._own
        own.holds += 1
        if own.holds == 1:
            one_blas_thread.__enter__()
        # not only in the outermost hold: it may have begun before torch was imported
        if own.restore is None and TORCH_IS_THERE in sys.modules:
            own.restore = _limit_torch(sys.modules["torch"])

    def __exit__(self, *error: object) -> None:
        own = self._own
        own.holds -= 1
        if own.holds:
            return
        restore, own.restore = own.restore, None
        if restore is not None:
            restore()
        one_blas_thread.__exit__()


class _OfThisThread(threading.local):
    """Hold what each Python thread has of its own: the number of its holds, and what puts back its number in torch."""

    holds = 0
    restore: Callable[[], None] | None = None


one_blas_thread = OneBlasThread()
_one_thread = OneThread()


# ---------------------------------------------------------------- numpy's BLAS


class Threads(NamedTuple):
    """Read and set the number of threads of a library."""

    get: Callable[[], int]
    set: Callable[[int], Any]


@cache
def find_blas() -> Threads:
    """Find the number of threads of numpy's BLAS; of one that has none it is always 1."""
    from threadpoolctl import ThreadpoolController  # a few milliseconds, which importing the package must not take

    libraries = [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]
    # scipy brings a BLAS of its own; numpy's lies in numpy.libs or numpy/.dylibs
    home = os.path.dirname(os.path.realpath(np.__file__))
    libraries.sort(key=lambda library: not os.path.realpath(library.filepath).startswith(home))
    for library in libraries:
        if library.internal_api != "openblas":
            return Threads(library.get_num_threads, library.set_num_threads)
        # over OpenMP it has a number for each thread, by which processes cannot be held
        if library.threading_layer != "openmp" and (found := _find_openblas(library.filepath)) is not None:
            return found
    return Threads(lambda: 1, lambda number: None)


def _find_openblas(path: str) -> Threads | None:
    """Find the functions of an OpenBLAS; their names differ from build to build.

    They are called directly: threadpoolctl takes three times as long, and sets nothing in a second Python thread.
    """
    library = ctypes.PyDLL(path)  # PyDLL keeps the interpreter's lock: giving it away takes longer than the call
    for prefix in ("scipy_openblas", "openblas"):
        for suffix in ("64_", "_64", ""):
            try:
                return Threads(*(getattr(library, f"{prefix}_{do}_num_threads{suffix}") for do in ("get", "set")))
            except AttributeError:
                continue
    return None


# ---------------------------------------------------------------- torch


def _limit_torch(torch: ModuleType) -> Callable[[], None] | None:
    """Set the calling thread's number in torch to one; return what undoes it, or None if there is nothing to undo."""
    number = torch.get_num_threads()
    if number <= 1:
        return None
    set_openmp, set_mkl = find_torch(torch)
    set_openmp(1)
    mkl = set_mkl(1)

    def restore() -> None:
        if torch.get_num_threads() == 1:  # else the user has set another number within the hold
            set_openmp(number)
            set_mkl(mkl)

    return restore


@cache
def find_torch(torch: ModuleType) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """Find what sets the calling thread's number in torch: OpenMP's function, and MKL's, which returns the last number.

    Where they are not found it is `torch.set_num_threads`, which also sets the number that new threads start with.
    """
    from threadpoolctl import ThreadpoolController

    set_mkl = _find_mkl(torch)
    if set_mkl is not None:
        for library in ThreadpoolController().lib_controllers:
            if library.user_api == "openmp":
                set_openmp = ctypes.PyDLL(library.filepath).omp_set_num_threads
                if _is_torchs(torch, set_openmp):
                    return set_openmp, set_mkl
    return torch.set_num_threads, lambda number: None


def _is_torchs(torch: ModuleType, set_openmp: Callable[[int], Any]) -> bool:
    """Return whether this OpenMP, of the several that may be loaded, is the one whose number torch reads."""
    before = torch.get_num_threads()
    set_openmp(before + 1)
    is_torchs = bool(torch.get_num_threads() == before + 1)
    set_openmp(before)
    return is_torchs


def _find_mkl(torch: ModuleType) -> Callable[[int], Any] | None:
    """Find what sets the calling thread's number in torch's MKL; None if it has one whose function is hidden."""
    if not torch.backends.mkl.is_available():
        return lambda number: None
    for name in MKL_LIBRARIES:
        path = os.path.join(os.path.dirname(str(torch.__file__)), "lib", name)
        try:
            return ctypes.PyDLL(path).MKL_Set_Num_Threads_Local
        except (OSError, AttributeError):
            continue
    return None
