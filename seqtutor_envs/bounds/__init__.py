"""Bounds and estimates of log Z, the greatest J that any policy can have; samplers' particles; twists."""

from seqtutor_envs.bounds.estimate import log_z
from seqtutor_envs.bounds.result import Bounds
from seqtutor_envs.bounds.smc import Particles, Twist, run_smc

__all__ = ["Bounds", "Particles", "Twist", "log_z", "run_smc"]
