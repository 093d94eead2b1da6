"""Gymnasium environments whose reward is a prior's log p plus a task's reward. Importing registers their ids.

Nothing heavy is imported here: torch, numba and rdkit wait until an environment or an agent needs them.
"""

from __future__ import annotations

from gymnasium.envs.registration import register

from seqtutor_envs.smiles.pmo import PMO_NAMES, PMO_TEMPERATURE

__version__ = "0.2.0"

# No max_episode_steps: the horizon belongs to the task, so its end is `terminated`.
register(
    id="SeqTutor-Melody-v0",
    entry_point="seqtutor_envs.melody.env:MelodyEnv",
    vector_entry_point="seqtutor_envs.melody.env:MelodyVectorEnv",
)
register(
    id="SeqTutor-SMILES-v0",
    entry_point="seqtutor_envs.smiles.env:SmilesEnv",
    vector_entry_point="seqtutor_envs.smiles.env:SmilesVectorEnv",
)
# for programs that take an id alone and read vectors of floats
register(
    id="SeqTutor-MelodyOneHot-v0",
    entry_point="seqtutor_envs.melody.env:MelodyEnv",
    vector_entry_point="seqtutor_envs.melody.env:MelodyVectorEnv",
    kwargs={"obs_mode": "one_hot", "flat_infos": True},
)
register(
    id="SeqTutor-SMILESOneHot-v0",
    entry_point="seqtutor_envs.smiles.env:SmilesEnv",
    vector_entry_point="seqtutor_envs.smiles.env:SmilesVectorEnv",
    kwargs={"obs_mode": "one_hot", "flat_infos": True},
)
register(
    id="SeqTutor-Exact-v0",
    entry_point="seqtutor_envs.exact:ExactEnv",
    vector_entry_point="seqtutor_envs.exact:ExactVectorEnv",
)
register(
    id="SeqTutor-Planted-v0",
    entry_point="seqtutor_envs.planted:PlantedEnv",
    vector_entry_point="seqtutor_envs.planted:PlantedVectorEnv",
)
# by the benchmark's rules: what RDKit reads is a molecule, and the prior is of the data that its methods start from
for name in PMO_NAMES:
    register(
        id=f"SeqTutor-PMO-{name}-v0",
        entry_point="seqtutor_envs.smiles.env:SmilesEnv",
        vector_entry_point="seqtutor_envs.smiles.env:SmilesVectorEnv",
        kwargs={
            "objective": f"seqtutor_envs.smiles.pmo:{name}",
            "c": PMO_TEMPERATURE,
            "prior": "smiles-zinc",
            "checks": (),
        },
    )
del name
