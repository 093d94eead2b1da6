"""PMO's scores: published check values, spellings, invalid strings, the old form, and their use as objectives.

The values were computed with GuacaMol's own code (20 tasks) and with scikit-learn (the three classifiers, in
test_pmo_classifiers.py).
"""

from __future__ import annotations

import math
import pickle
import re
import subprocess
import sys
import warnings
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rdkit import Chem

import seqtutor_envs  # noqa: F401
from seqtutor_envs.smiles import SmilesTask, pmo
from seqtutor_envs.smiles.objective.oracle import find_function, name_function
from seqtutor_envs.smiles.pmo import PMO_NAMES, PmoTask
from seqtutor_envs.smiles.pmo.chem_tasks import definitions
from toys.commands import ROOT, run_module

MOLECULES = [
    "CC(=O)Nc1ccc(OCC(O)CNC(C)(C)C)cc1",
    "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(F)cc2)cc1",
    "O=C(Nc1ccccc1F)c1ccc2[nH]cnc2c1",
    "CN(C=O)Cc1ccc(-c2ccccc2)cc1",
]
# task: names of its targets; scores of the first target (None: no target) and of MOLECULES, as printed
VALUES = {
    "albuterol_similarity": ("albuterol", 1.000000, 0.500000, 0.180556, 0.181818, 0.273504),
    "amlodipine_mpo": ("amlodipine", 0.367879, 0.007073, 0.332018, 0.410051, 0.140304),
    "celecoxib_rediscovery": ("celecoxib", 1.000000, 0.116071, 0.753247, 0.200000, 0.237113),
    "deco_hop": ("hop", 0.500000, 0.518527, 0.534824, 0.536863, 0.506604),
    "fexofenadine_mpo": ("fexofenadine", 0.597340, 0.281540, 7.576e-05, 0.090916, 0.000175),
    "isomers_c7h8n2o2": ("", None, 1.876e-21, 1.021e-08, 0.000335, 1.482e-07),
    "isomers_c9h10n2o2pf2cl": ("", None, 3.561e-09, 0.002809, 0.144064, 0.009067),
    "median1": ("camphor menthol", 0.400000, 0.064103, 0.015456, 0.000000, 0.022792),
    "median2": ("tadalafil sildenafil", 0.362372, 0.085533, 0.104640, 0.111872, 0.095469),
    "mestranol_similarity": ("mestranol", 1.000000, 0.216713, 0.072982, 0.049383, 0.100840),
    "osimertinib_mpo": ("osimertinib", 0.133342, 0.233961, 2.052e-05, 0.049574, 0.000162),
    "perindopril_mpo": ("perindopril", 0.018316, 0.119883, 0.045112, 0.066612, 0.160128),
    "qed": ("", None, 0.742534, 0.607236, 0.739240, 0.732512),
    "ranolazine_mpo": ("ranolazine", 0.049237, 0.016835, 0.017270, 0.052514, 0.013002),
    "scaffold_hop": ("hop", 0.666667, 0.361330, 0.385957, 0.389037, 0.343313),
    "sitagliptin_mpo": ("sitagliptin", 3.727e-06, 0.039369, 5.340e-21, 0.000875, 1.195e-09),
    "thiothixene_rediscovery": ("thiothixene", 1.000000, 0.130081, 0.155039, 0.186441, 0.218182),
    "troglitazone_rediscovery": ("troglitazone", 1.000000, 0.206897, 0.119403, 0.119048, 0.144068),
    "valsartan_smarts": ("", None, 0.000000, 0.000000, 0.000000, 1.555e-19),
    "zaleplon_mpo": ("zaleplon", 0.466499, 0.012357, 0.051365, 0.001842, 0.048013),
}
CLASSIFIERS = ("drd2", "gsk3b", "jnk3")
HOPS = ("deco_hop", "scaffold_hop")
OF_A_FORMULA = ("isomers_c7h8n2o2", "isomers_c9h10n2o2pf2cl", "sitagliptin_mpo", "zaleplon_mpo")
PAGE = ROOT / "docs" / "pmo.md"
CHAINS = ["C" * n + "O" for n in range(1, 5)]
SITAGLIPTIN = "Fc1cc(c(F)cc1F)CC(N)CC(=O)N3Cc2nnc(n2CC3)C(F)(F)F"


def test_there_are_the_23_published_names():
    assert len(PMO_NAMES) == 23
    assert list(PMO_NAMES) == sorted([*VALUES, *CLASSIFIERS]) == list(definitions())


@pytest.mark.parametrize("name", VALUES)
def test_scores_are_the_published_ones(name):
    targets, of_target, *of_molecules = VALUES[name]
    task = PmoTask(name)
    assert list(task.targets) == targets.split()
    assert task.score(MOLECULES) == pytest.approx(of_molecules, abs=1e-6)
    # small values are printed with four digits
    small = [n for n, value in enumerate(of_molecules) if 0 < value < 1e-4]
    assert task.score(MOLECULES)[small] == pytest.approx([of_molecules[n] for n in small], rel=5e-4)
    if of_target is not None:
        assert task.score([next(iter(task.targets.values()))]) == pytest.approx([of_target], abs=1e-6)


@pytest.mark.parametrize("name", PMO_NAMES)
def test_a_score_is_the_mean_of_its_terms(name):
    task = PmoTask(name)
    smiles = MOLECULES[2:] if name in HOPS else [*MOLECULES, SITAGLIPTIN]
    terms, scores = task.terms(smiles), task.score(smiles)
    assert scores.dtype == np.float64
    for n, score in enumerate(scores):
        values = [float(term[n]) for term in terms.values()]
        assert all(0 <= value <= 1 for value in values)
        mean = sum(values) / len(values) if name in HOPS else math.prod(values) ** (1 / len(values))
        assert score == pytest.approx(mean, rel=1e-12)


def test_terms_have_names_that_say_what_they_are():
    assert list(PmoTask("osimertinib_mpo").terms([])) == ["fcfp4", "ecfp6", "tpsa", "logp"]
    assert list(PmoTask("isomers_c9h10n2o2pf2cl").terms([])) == ["C", "H", "N", "O", "P", "F", "Cl", "atoms"]
    # valsartan's pattern is in the last one alone, all of whose other terms are far off
    assert PmoTask("valsartan_smarts").terms(MOLECULES)["biaryl_amide"].tolist() == [0, 0, 0, 1]


def test_the_hops_ask_for_opposite_sides_of_one_molecule():
    """The two have patterns of the same names in PyTDC, where one could get the other's."""
    hop, ethanol = PmoTask("deco_hop").targets["hop"], "CCO"
    deco, scaffold = PmoTask("deco_hop").terms([hop, ethanol]), PmoTask("scaffold_hop").terms([hop, ethanol])
    assert (deco["phco"][0], scaffold["phco"][0]) == (1, 1)
    wanted = {"no_sulfone": [0, 1], "no_benzothiazole": [0, 1], "quinazoline": [1, 0]}
    assert {term: deco[term].tolist() for term in wanted} == wanted
    assert [scaffold[term].tolist() for term in ("decoration", "no_quinazoline")] == [[1, 0], [0, 1]]


@pytest.mark.parametrize("name", PMO_NAMES)
def test_every_spelling_has_the_same_score(name):
    task = PmoTask(name)
    for smiles in [MOLECULES[2]] if name in HOPS else [*MOLECULES, SITAGLIPTIN, *task.targets.values()]:
        spellings = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 4, randomSeed=7)
        assert len({smiles, *spellings}) > 3
        scores = task.score([smiles, *spellings])
        assert np.ptp(scores) <= 1e-12


@pytest.mark.parametrize("name", PMO_NAMES)
def test_what_is_no_molecule_has_0(name):
    task = PmoTask(name)
    smiles = ["", "C1CC", MOLECULES[2], "CCO junk", "C(C)(C)(C)(C)C", "c1cccc1"]
    for values in (task.score(smiles), *task.terms(smiles).values()):
        assert np.delete(values, 2).tolist() == [0] * 5
    assert task.score(smiles)[2] == task.score([MOLECULES[2]])[0]
    assert task.score([]).shape == task.score(["C1CC"])[:0].shape == (0,)


def test_a_batch_has_the_scores_of_its_molecules_one_by_one():
    for name in set(PMO_NAMES) - set(HOPS):
        task = PmoTask(name)
        assert task.score(MOLECULES).tolist() == [task.score([smiles])[0] for smiles in MOLECULES]


# ---------------------------------------------------------------- the old form


@pytest.mark.parametrize(
    "name, smiles, old, new",
    [
        ("isomers_c7h8n2o2", "NC(=O)c1ccc(O)cc1N", 0.00744658, 1.0),
        ("isomers_c7h8n2o2", "CC(=O)Oc1ccccc1C(=O)O", 0.00822975, None),
        ("sitagliptin_mpo", SITAGLIPTIN, 2.2137e-06, 1.0),
        # C17H15N5O, not the formula that its task asks for
        ("zaleplon_mpo", "O=C(C)N(CC)C1=CC=CC(C2=CC=NC3=C(C=NN23)C#N)=C1", 4.0903e-13, 0.466499**2),
    ],
)
def test_legacy_formulas_have_the_values_of_2022(name, smiles, old, new):
    def formula(legacy):
        task = PmoTask(name, legacy)
        return task.terms([smiles]).get("formula", task.score([smiles]))

    assert formula(legacy=True) == pytest.approx([old], rel=2e-5)
    if new is not None:
        assert formula(legacy=False) == pytest.approx([new], abs=1e-6)


def test_the_right_isomer_has_1_unless_counted_the_old_way():
    # 7 C, 8 H, 2 N, 2 O; the text has N, C, O, O, N: 5 for 19 atoms, which are 7 sigma off
    isomer = "NC(=O)c1ccc(O)cc1N"
    assert PmoTask("isomers_c7h8n2o2").score([isomer]).tolist() == [1.0]
    old = PmoTask("isomers_c7h8n2o2", legacy=True).terms([isomer])
    assert {name: value.tolist() for name, value in old.items() if name != "atoms"} == dict.fromkeys("CHNO", [1.0])
    assert old["atoms"] == pytest.approx([math.exp(-(7**2) / 2)])


def test_legacy_changes_the_tasks_of_a_formula_alone():
    for name in set(PMO_NAMES) - set(HOPS):
        same = np.array_equal(PmoTask(name, legacy=True).score(MOLECULES), PmoTask(name).score(MOLECULES))
        assert same == (name not in OF_A_FORMULA), name
    for name in HOPS:
        smiles = MOLECULES[2:3]
        assert PmoTask(name, legacy=True).score(smiles) == PmoTask(name).score(smiles)


# ---------------------------------------------------------------- use


def test_an_unknown_name_is_answered_by_all_names():
    with pytest.raises(ValueError, match="No PMO task is called 'aripiprazole'") as error:
        PmoTask("aripiprazole")
    assert all(name in str(error.value) for name in PMO_NAMES) and "\n" not in str(error.value)


def test_one_string_is_no_list():
    with pytest.raises(TypeError, match="as a list"):
        PmoTask("qed").score("CCO")


def test_a_task_can_be_pickled():
    task = pickle.loads(pickle.dumps(PmoTask("zaleplon_mpo", legacy=True)))
    assert (task.name, task.legacy) == ("zaleplon_mpo", True)
    assert task.score(MOLECULES).tolist() == PmoTask("zaleplon_mpo", legacy=True).score(MOLECULES).tolist()


@pytest.mark.parametrize("name", PMO_NAMES)
def test_each_is_an_objective_by_its_name(name):
    path = f"seqtutor_envs.smiles.pmo:{name}"
    function = find_function(path)
    assert name_function(function) == path
    assert pickle.loads(pickle.dumps(function)) is function
    smiles = MOLECULES[2:3]
    assert function(smiles).tolist() == PmoTask(name).score(smiles).tolist()


def test_an_environment_takes_one_by_name():
    name = "seqtutor_envs.smiles.pmo:osimertinib_mpo"
    env = gym.make("seqtutor_envs:SeqTutor-SMILES-v0", objective=name)
    assert env.unwrapped.task.objective.path == name
    scores = SmilesTask(objective=name).scores([*MOLECULES, "C(", "CC.CC"])[:, 0]
    # the objective is given canonical SMILES, whose logP differs in its last bits
    assert scores == pytest.approx([*PmoTask("osimertinib_mpo").score(MOLECULES), 0, 0], abs=1e-12)


def test_a_misspelt_objective_is_answered_by_all_names():
    with pytest.raises(AttributeError, match="no osimertinib; its functions are: albuterol_similarity, ") as error:
        find_function("seqtutor_envs.smiles.pmo:osimertinib")
    assert str(error.value).endswith("valsartan_smarts, zaleplon_mpo.")


def test_the_names_are_there_without_rdkit():
    code = f"import sys, {pmo.__name__}; print('rdkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


# -- as environments --------------------------------------------------------------------------------------------------


def test_each_task_is_an_id() -> None:
    ids = {f"SeqTutor-PMO-{name}-v0" for name in PMO_NAMES}
    assert {one for one in gym.registry if "PMO" in one} == ids
    for name in PMO_NAMES:
        kwargs = gym.spec(f"SeqTutor-PMO-{name}-v0").kwargs
        assert kwargs == {
            "objective": f"seqtutor_envs.smiles.pmo:{name}", "c": 0.002, "prior": "smiles-zinc", "checks": (),
        }  # fmt: skip


def test_the_reward_of_a_molecule_is_its_score_over_c() -> None:
    env = gym.make("SeqTutor-PMO-osimertinib_mpo-v0", c=0.1)
    env.reset()
    vocab = env.unwrapped.task.vocab
    for token in env.unwrapped.task.encode(MOLECULES[0]).tolist():
        _, reward, terminated, truncated, info = env.step(token)
    assert terminated and not truncated and info["sequence"] == MOLECULES[0] and vocab.end == token
    assert info["task_reward"] == pytest.approx(0.233961 / 0.1, abs=1e-5)
    assert reward == pytest.approx(info["task_reward"] + info["prior_log_prob"])
    env.reset()
    *_, info = env.step(vocab.end)
    assert info["task_reward"] == 0.0


def test_a_prior_that_lacks_an_element_is_named_and_goes_on() -> None:
    with pytest.warns(UserWarning) as said:
        env = gym.make("SeqTutor-PMO-isomers_c9h10n2o2pf2cl-v0", prior="smiles")
    (warning,) = [str(one.message) for one in said if "prior" in str(one.message)]
    assert "The prior smiles cannot write P, which isomers_c9h10n2o2pf2cl asks for" in warning and "\n" not in warning
    assert env.reset()[1]["prior_log_probs"].shape == (25,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gym.make("SeqTutor-PMO-isomers_c7h8n2o2-v0", prior="smiles")
        for name in PMO_NAMES:
            gym.make(f"SeqTutor-PMO-{name}-v0")


def test_elements_are_those_of_targets_and_formulas() -> None:
    assert PmoTask("isomers_c9h10n2o2pf2cl").elements == ("C", "Cl", "F", "N", "O", "P")
    assert PmoTask("celecoxib_rediscovery").elements == ("C", "F", "N", "O", "S")
    assert PmoTask("ranolazine_mpo").elements == ("C", "F", "N", "O")
    assert PmoTask("valsartan_smarts").elements == ("C", "N", "O")
    assert PmoTask("qed").elements == PmoTask("jnk3").elements == ()


@pytest.mark.parametrize("name", ["deco_hop", "sitagliptin_mpo", "drd2"])
def test_processes_give_the_same_scores(name: str) -> None:
    scores = []
    for workers in (0, 2):
        with closing(SmilesTask(objective=f"seqtutor_envs.smiles.pmo:{name}", workers=workers)) as task:
            # asked for while others are under way, and again
            task.scorer.begin(MOLECULES)
            scores += [task.scores([*MOLECULES, "C1", *CHAINS])[:, 0], task.scores([*MOLECULES, "C1", *CHAINS])[:, 0]]
            assert (task.scorer._pool is not None and task.scorer._pool.running) == bool(workers)
    for other in scores:
        assert other.tolist() == scores[0].tolist()
    assert scores[0][:4] == pytest.approx(PmoTask(name).score(MOLECULES), abs=1e-12) and scores[0][4] == 0.0


def test_a_molecule_that_a_process_is_lost_at_has_no_score() -> None:
    task = SmilesTask(objective="seqtutor_envs.smiles.pmo:deco_hop", workers=1, score_timeout=0.5)
    with closing(task), pytest.warns(UserWarning, match="took more than 0.5 s"):
        # the features of a chain of 990 carbons take seconds to find
        found = task.objective(["C" * 990, MOLECULES[0]])
    assert found[0].reason == "objective failed" and found[0].value == 0.0
    assert found[1].value == pytest.approx(0.518527, abs=1e-6)


@pytest.mark.parametrize(
    "command",
    [
        ("agents", "train", "SeqTutor-PMO-osimertinib-v0"),
        ("benchmarks", "run", "--env", "SeqTutor-PMO-osimertinib-v0", "--agents", "psi", "--steps", "100"),
    ],
)
def test_an_unknown_task_is_one_line_that_names_the_tasks(command: tuple[str, ...], capsys: Any) -> None:
    assert run_module(*command) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "PMO has no SeqTutor-PMO-osimertinib" in said
    assert all(name in said for name in PMO_NAMES)


def test_the_page_lists_every_task_with_its_terms_and_its_mean() -> None:
    rows = re.findall(r"^\| (\w+) \| ([^|]*) \| (–|geometric|arithmetic) \|$", PAGE.read_text("utf-8"), re.M)
    assert tuple(name for name, *_ in rows) == PMO_NAMES
    for name, terms, mean in rows:
        definition = definitions()[name]
        expected = "–" if len(definition.terms) == 1 else definition.mean.__name__.removesuffix("_mean")
        assert mean == expected, name
        named = re.findall(r"(?:^|[;,] )(\w+)(?=[:;,]|$)", re.sub(r": [^;]*", ":", terms))
        assert [term for term in named if term in definition.terms] == list(definition.terms), name
