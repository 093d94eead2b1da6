"""Deprecated until 0.3: import from agents.sb3.budget."""

from seqtutor_envs.files import redirect

__getattr__ = redirect(__name__, "agents.sb3.budget")
