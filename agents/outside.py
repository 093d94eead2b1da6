"""Deprecated until 0.3: import from agents.evaluate.policies."""

from seqtutor_envs.files import redirect

__getattr__ = redirect(__name__, "agents.evaluate.policies")
