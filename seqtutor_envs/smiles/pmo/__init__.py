"""The 23 molecule-design scores of PMO, offline, as functions of a list of SMILES (Gao et al. 2022, arXiv 2206.12411).

Each is the environment `SeqTutor-PMO-NAME-v0`, and an objective by its name, as in
`objective="seqtutor_envs.smiles.pmo:osimertinib_mpo"`: a function (smiles: Sequence[str]) -> float64 [n] in [0, 1].
`PmoTask` gives the same score with its terms and its targets. Actions, observations, infos and keywords are those of
`seqtutor_envs.smiles.env.SmilesEnv`. docs/pmo.md has the terms of each task, the protocol and results.
"""

from __future__ import annotations

from seqtutor_envs.smiles.pmo import task
from seqtutor_envs.smiles.pmo.task import PMO_NAMES, PMO_TEMPERATURE, PmoTask

__all__ = ["PMO_NAMES", "PMO_TEMPERATURE", "PmoTask"]

# real functions of this module: records give their names, pickle finds them, an unknown name's error lists them
globals().update({name: task.make_objective(name, __name__) for name in PMO_NAMES})
