"""Deprecated until 0.3: import from benchmarks.runner.perform."""

from seqtutor_envs.files import redirect

__getattr__ = redirect(__name__, "benchmarks.runner.perform")
