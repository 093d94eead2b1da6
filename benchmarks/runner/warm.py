"""Prepare the process that workers are forked from, once for all of them: import this module.

Besides benchmarks.runner.perform and torch it imports what those import late, at the first agent, sample and
evaluation: two seconds of each experiment.
"""

import benchmarks.runner.perform  # noqa: F401
from agents.evaluate import evaluate
from benchmarks.contestants import make_agent
from seqtutor_envs.command import set_threads

set_threads(1)
# It must not learn: torch's autograd starts a thread, and a process that has one cannot be forked.
_task = {"length": 2}
_settings = {"n_envs": 2, "batch_size": 2, "buffer_size": 2}
_agent = make_agent("agents:PsiLearning", "SeqTutor-Exact-v0", 0, _task, _settings)
evaluate(_agent.model, "SeqTutor-Exact-v0", 2, 0, _task)
_agent.env.close()
