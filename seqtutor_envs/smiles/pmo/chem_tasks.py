"""The 23 definitions of PMO as one table, and the molecules that they compare with.

Fingerprints, modifiers and means are GuacaMol's (Brown et al. 2019, BenevolentAI/guacamol); which of them, with which
targets and thresholds, is PMO's (Gao et al. 2022, wenhao-gao/mol_opt and mims-harvard/TDC).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from seqtutor_envs.smiles.chem import parse
from seqtutor_envs.smiles.chem.descriptors import parse_formula
from seqtutor_envs.smiles.pmo.chem_terms import (
    Fingerprint,
    aromatic_rings,
    atom_pairs,
    bertz,
    drd2,
    ecfp4,
    ecfp6,
    fcfp4,
    fluorine,
    formula,
    formula_terms,
    gsk3b,
    has,
    jnk3,
    logp,
    no,
    phco,
    qed,
    rings,
    similarity,
    tpsa,
)
from seqtutor_envs.smiles.pmo.modifiers import (
    Floats,
    Term,
    above,
    arithmetic_mean,
    below,
    clip,
    gauss,
    geometric_mean,
)

# GuacaMol's spellings
TARGETS = {
    "albuterol": "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1",
    "amlodipine": r"Clc1ccccc1C2C(=C(/N/C(=C2/C(=O)OCC)COCCN)C)\C(=O)OC",
    "camphor": "CC1(C)C2CCC1(C)C(=O)C2",
    "celecoxib": "CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F",
    "fexofenadine": "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4",
    "hop": "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C",  # without a name in GuacaMol
    "menthol": "CC(C)C1CCC(C)CC1O",
    "mestranol": "COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1",
    "osimertinib": "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34",
    "perindopril": "O=C(OCC)C(NC(C(=O)N1C(C(=O)O)CC2CCCCC12)C)CCC",
    "ranolazine": "COc1ccccc1OCC(O)CN2CCN(CC(=O)Nc3c(C)cccc3C)CC2",
    "sildenafil": "CCCC1=NN(C2=C1N=C(NC2=O)C3=C(C=CC(=C3)S(=O)(=O)N4CCN(CC4)C)OCC)C",
    "sitagliptin": "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F",
    "tadalafil": "O=C1N(CC(N2C1CC3=C(C2C4=CC5=C(OCO5)C=C4)NC6=C3C=CC=C6)=O)C",
    "thiothixene": "CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1",
    "troglitazone": "Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O",
    "zaleplon": "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1",
}
# SMARTS: the core of `hop`, its two ends, and its propoxy side with the benzothiazole at the right distance
QUINAZOLINE = "[#7]-c1n[c;h1]nc2[c;h1]c(-[#8])[c;h0][c;h1]c12"
SULFONE = "CS([#6])(=O)=O"
BENZOTHIAZOLE = "[#7]-c1ccc2ncsc2c1"
DECORATION = "[#6]-[#6]-[#6]-[#8]-[#6]~[#6]~[#6]~[#6]~[#6]-[#7]-c1ccc2ncsc2c1"
BIARYL_AMIDE = "CN(C=O)Cc1ccc(c2ccccc2)cc1"  # of valsartan
SITAGLIPTIN_LOGP, SITAGLIPTIN_TPSA = 2.0165, 77.04  # its own values
VALSARTAN_BERTZ = 896.3805
FORMULAS = {
    "isomers_c7h8n2o2": "C7H8N2O2",
    "isomers_c9h10n2o2pf2cl": "C9H10N2O2PF2Cl",
    "sitagliptin_mpo": "C16H15F6N5O",
    "zaleplon_mpo": "C19H17N3O2",  # zaleplon is C17H15N5O; the task asks for another one
}
# beyond those of targets and formulas: of the fluorine that is counted, and of a SMARTS
FURTHER_ELEMENTS = {"ranolazine_mpo": "F", "valsartan_smarts": "CNO"}


class Definition(NamedTuple):
    """Say how one score is made: the `mean` of `terms`, which compare with `targets`, keys of TARGETS."""

    mean: Callable[[Floats], Floats]
    terms: dict[str, Term]
    targets: tuple[str, ...]


def gm(*targets: str, **terms: Term) -> Definition:
    """Define a score as the geometric mean of its terms."""
    return Definition(geometric_mean, terms, targets)


def am(*targets: str, **terms: Term) -> Definition:
    """Define a score as the arithmetic mean of its terms."""
    return Definition(arithmetic_mean, terms, targets)


def one(*targets: str, **terms: Term) -> Definition:
    """Define a score as its only term."""
    (_,) = terms
    return Definition(arithmetic_mean, terms, targets)


def to(target: str, fingerprint: Fingerprint) -> Term:
    """Return the similarity to one of TARGETS."""
    return similarity(fingerprint, TARGETS[target])


@lru_cache(maxsize=2)
def definitions(legacy: bool = False) -> dict[str, Definition]:
    """Return the definitions of all tasks by name; with `legacy`, formulas as in PyTDC 0.3.6."""
    return {
        "albuterol_similarity": one("albuterol", fcfp4=clip(to("albuterol", fcfp4), 0.75)),
        "amlodipine_mpo": gm("amlodipine", ecfp4=to("amlodipine", ecfp4), rings=gauss(rings, 3, 0.5)),
        "celecoxib_rediscovery": one("celecoxib", ecfp4=to("celecoxib", ecfp4)),
        "deco_hop": am(
            "hop",
            phco=clip(to("hop", phco), 0.85),
            no_sulfone=no(SULFONE),
            no_benzothiazole=no(BENZOTHIAZOLE),
            quinazoline=has(QUINAZOLINE),
        ),
        "drd2": one(drd2=drd2),
        "fexofenadine_mpo": gm(
            "fexofenadine",
            atom_pairs=clip(to("fexofenadine", atom_pairs), 0.8),
            tpsa=above(tpsa, 90, 10),
            logp=below(logp, 4, 1),
        ),
        "gsk3b": one(gsk3b=gsk3b),
        "isomers_c7h8n2o2": gm(**formula_terms(FORMULAS["isomers_c7h8n2o2"], legacy)),
        "isomers_c9h10n2o2pf2cl": gm(**formula_terms(FORMULAS["isomers_c9h10n2o2pf2cl"], legacy)),
        "jnk3": one(jnk3=jnk3),
        "median1": gm("camphor", "menthol", camphor=to("camphor", ecfp4), menthol=to("menthol", ecfp4)),
        "median2": gm("tadalafil", "sildenafil", tadalafil=to("tadalafil", ecfp6), sildenafil=to("sildenafil", ecfp6)),
        "mestranol_similarity": one("mestranol", atom_pairs=clip(to("mestranol", atom_pairs), 0.75)),
        "osimertinib_mpo": gm(
            "osimertinib",
            fcfp4=clip(to("osimertinib", fcfp4), 0.8),
            ecfp6=below(to("osimertinib", ecfp6), 0.85, 0.1),
            tpsa=above(tpsa, 100, 10),
            logp=below(logp, 1, 1),
        ),
        "perindopril_mpo": gm(
            "perindopril", ecfp4=to("perindopril", ecfp4), aromatic_rings=gauss(aromatic_rings, 2, 0.5)
        ),
        "qed": one(qed=qed),
        "ranolazine_mpo": gm(
            "ranolazine",
            atom_pairs=clip(to("ranolazine", atom_pairs), 0.7),
            logp=above(logp, 7, 1),
            tpsa=above(tpsa, 95, 20),
            fluorine=gauss(fluorine, 1, 1),
        ),
        "scaffold_hop": am(
            "hop", phco=clip(to("hop", phco), 0.75), decoration=has(DECORATION), no_quinazoline=no(QUINAZOLINE)
        ),
        "sitagliptin_mpo": gm(
            "sitagliptin",
            ecfp4=gauss(to("sitagliptin", ecfp4), 0, 0.1),
            logp=gauss(logp, SITAGLIPTIN_LOGP, 0.2),
            tpsa=gauss(tpsa, SITAGLIPTIN_TPSA, 5),
            formula=formula(FORMULAS["sitagliptin_mpo"], legacy),
        ),
        "thiothixene_rediscovery": one("thiothixene", ecfp4=to("thiothixene", ecfp4)),
        "troglitazone_rediscovery": one("troglitazone", ecfp4=to("troglitazone", ecfp4)),
        "valsartan_smarts": gm(
            biaryl_amide=has(BIARYL_AMIDE),
            logp=gauss(logp, SITAGLIPTIN_LOGP, 0.2),
            tpsa=gauss(tpsa, SITAGLIPTIN_TPSA, 5),
            bertz=gauss(bertz, VALSARTAN_BERTZ, 30),
        ),
        "zaleplon_mpo": gm(
            "zaleplon", ecfp4=to("zaleplon", ecfp4), formula=formula(FORMULAS["zaleplon_mpo"], legacy)
        ),
    }


def find_elements(name: str, definition: Definition) -> tuple[str, ...]:
    """Return the elements of a task's targets and formula, and FURTHER_ELEMENTS, but H: C first, then the alphabet."""
    mols = [parse(TARGETS[target]) for target in definition.targets]
    found = {atom.GetSymbol() for mol in mols if mol is not None for atom in mol.GetAtoms()}
    found |= {*parse_formula(FORMULAS.get(name, "")), *FURTHER_ELEMENTS.get(name, "")} - {"H"}
    return tuple(sorted(found, key=lambda element: (element != "C", element)))
