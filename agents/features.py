"""Deprecated until 0.3: import from agents.sb3.one_hot_prefix."""

from seqtutor_envs.files import redirect

__getattr__ = redirect(__name__, "agents.sb3.one_hot_prefix")
