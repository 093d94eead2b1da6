"""Bounds and estimates of log Z, the greatest J that any policy can have; samplers' particles; twists; variety."""

from seqtutor_envs.bounds.collapse import Collapse, Variety, collapse_temperature
from seqtutor_envs.bounds.estimate import log_z
from seqtutor_envs.bounds.known import find_bounds
from seqtutor_envs.bounds.result import Bounds
from seqtutor_envs.bounds.smc import Particles, Twist, run_smc
from seqtutor_envs.bounds.tail import Tail, draw_tail

__all__ = [
    "Bounds", "Collapse", "Particles", "Tail", "Twist", "Variety", "collapse_temperature", "draw_tail", "find_bounds",
    "log_z", "run_smc",
]
