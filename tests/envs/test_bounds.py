"""`log_z` against enumeration: what it calls bounds, estimates and intervals.

Statistical tests fix their seeds. "Covers" is a binomial test of the number of misses at significance .001.
"""

from __future__ import annotations

import json
import math

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import binom

from seqtutor_envs.bounds import Bounds, estimate, intervals, log_z
from seqtutor_envs.bounds.certified import CertifiedSum
from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.exact import make_random_task, solve
