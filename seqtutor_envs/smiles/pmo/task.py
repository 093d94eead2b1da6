"""One task of PMO: its score, the terms of it and its target molecules. RDKit is imported with the first task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from seqtutor_envs.smiles import vocab as vocabulary
from seqtutor_envs.vocab import TokenVocab

Floats = NDArray[np.float64]

PMO_NAMES = (
    "albuterol_similarity", "amlodipine_mpo", "celecoxib_rediscovery", "deco_hop", "drd2", "fexofenadine_mpo", "gsk3b",
    "isomers_c7h8n2o2", "isomers_c9h10n2o2pf2cl", "jnk3", "median1", "median2", "mestranol_similarity",
    "osimertinib_mpo", "perindopril_mpo", "qed", "ranolazine_mpo", "scaffold_hop", "sitagliptin_mpo",
    "thiothixene_rediscovery", "troglitazone_rediscovery", "valsartan_smarts", "zaleplon_mpo",
)  # in the published order, the alphabet's
PMO_TEMPERATURE = 0.002  # of the ids SeqTutor-PMO-NAME-v0


class PmoTask:
    """Score molecules by one task of PMO, 0 to 1, higher is better.

    The definitions are those of the corrected oracles (PyTDC 0.3.7 and later); `chem_tasks.py` has them as a table.

    Args:
        name: one of PMO_NAMES.
        legacy: count atoms as PyTDC 0.3.6 did, to compare with figures of 2022 (see `chem_terms.formula_terms`). It
            changes the four tasks that ask for a formula: both isomers, sitagliptin_mpo and zaleplon_mpo. All others
            accept it and stay as they are.

    Attributes:
        targets: name of a molecule -> SMILES of the molecules that the task compares with; empty if there is none.

    Raises ValueError, in one line, for an unknown name.
    """

    def __init__(self, name: str, legacy: bool = False) -> None:
        if name not in PMO_NAMES:
            raise ValueError(f"No PMO task is called {name!r}; the tasks are: {', '.join(PMO_NAMES)}.")
        from seqtutor_envs.smiles.pmo.chem_tasks import TARGETS, definitions

        self.name, self.legacy = name, bool(legacy)
        self._definition = definitions(self.legacy)[name]
        self.targets = {target: TARGETS[target] for target in self._definition.targets}

    @property
    def elements(self) -> tuple[str, ...]:
        """Return the symbols that a molecule needs for a full score, C first as in a formula; none if any will do."""
        from seqtutor_envs.smiles.pmo.chem_tasks import find_elements

        return find_elements(self.name, self._definition)

    def list_missing(self, vocab: TokenVocab) -> list[str]:
        """Return those of `elements` that a vocabulary cannot write."""
        writes = vocabulary.find_elements(vocab)
        return [element for element in self.elements if element not in writes]

    def terms(self, smiles: Sequence[str]) -> dict[str, Floats]:
        """Compute what the score is the mean of: name -> float64 [n], in [0, 1]; 0 where a string is no molecule.

        A task with a single term has that alone.

        Raises:
            TypeError: one string instead of several, or something else than strings.
        """
        from seqtutor_envs.smiles.chem import check_strings, parse

        mols = [parse(text) for text in check_strings(smiles)]
        valid = [n for n, mol in enumerate(mols) if mol is not None]
        terms = {}
        for name, term in self._definition.terms.items():
            terms[name] = np.zeros(len(mols))
            if valid:
                terms[name][valid] = term([mols[n] for n in valid])
        return terms

    def score(self, smiles: Sequence[str]) -> Floats:
        """Compute the score of n SMILES, float64 [n] in [0, 1]; 0 where a string is no molecule. TypeError as `terms`.

        Any spelling of a molecule has the same score, up to the last bits of a float.
        """
        return self._definition.mean(np.stack(list(self.terms(smiles).values())))

    def __reduce__(self) -> tuple[type[PmoTask], tuple[str, bool]]:
        """Pickle by name: the terms are closures, which cannot be pickled."""
        return PmoTask, (self.name, self.legacy)


def find_pmo_name(objective: object) -> str | None:
    """Return the task of an objective that is given by its name here, as the ids SeqTutor-PMO-NAME-v0 give it."""
    module, _, name = objective.partition(":") if isinstance(objective, str) else ("", "", "")
    return name if module == __package__ and name in PMO_NAMES else None


def make_objective(name: str, module: str) -> Callable[[Sequence[str]], Floats]:
    """Make the function `name` of `module` that scores by the task of this name; the task is made at its first call."""

    def score(smiles: Sequence[str]) -> Floats:
        return _cached(name).score(smiles)

    score.__name__ = score.__qualname__ = name
    score.__module__ = module
    score.__doc__ = f"Score n SMILES by PMO's {name}: float64 [n] in [0, 1], 0 where a string is no molecule."
    return score


@lru_cache(maxsize=None)
def _cached(name: str) -> PmoTask:
    return PmoTask(name)
