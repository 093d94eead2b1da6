"""`python -m benchmarks demo`, short: what is said of molecules is so, and the two parts stand beside each other."""

from __future__ import annotations

import csv
import signal
from collections import Counter

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import QED, Crippen, Descriptors, rdFingerprintGenerator

from agents import PsiLearning
from agents.__main__ import main as agents
from agents.baselines import FixedPolicy
from agents.evaluate import evaluate
from benchmarks.demo.learning import LearningCurve
from benchmarks.demo.molecules import OBJECTIVE, C, rank_distinct, take_middle
from benchmarks.report.demo_page import MOLECULE_OBJECTIVE, render_demo
from benchmarks.report.metrics import MOLECULE_SETS, PROPERTIES, PROPERTY_MEANS, SEARCH
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import load_prior
from seqtutor_envs.smiles.metrics import reference
from seqtutor_envs.smiles.vocab import smiles_vocab
from toys.demo_toys import Page, assert_fetches_nothing, demo, files_in, results_of, small_prior

N, SEED, ENV = 24, 5, "SeqTutor-SMILES-v0"
MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1 << 20)  # folded, with hardly a collision
CELECOXIB = MORGAN.GetCountFingerprint(Chem.MolFromSmiles("CC1=CC=C(C=C1)C1=CC(=NN1C1=CC=C(C=C1)S(N)(=O)=O)C(F)(F)F"))


@pytest.fixture(scope="module")
def priors(tmp_path_factory):
    """Paths of a melody and of a molecule prior that have learned nothing."""
    folder = tmp_path_factory.mktemp("priors")
    melody, molecule = (folder / "melody", MELODY_VOCAB, 32), (folder / "molecule", smiles_vocab(["C", "N", "O"]), 12)
    return {"prior": small_prior(*melody), "molecule_prior": small_prior(*molecule)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Molecules alone, by the shipped prior."""
    out = tmp_path_factory.mktemp("demo") / "out"
    demo(out=out, seed=SEED, only="molecules", molecule_seconds=0.5, n_molecules=N, workers=0)
    return out


@pytest.fixture(scope="module")
def both(tmp_path_factory, priors):
    """Both parts by priors that write hardly any molecule; a Ctrl-C ends the learning of melodies."""
    out, budgets = tmp_path_factory.mktemp("both") / "out", []

    def interrupt(self):
        budgets.append(self.budget.seconds)
        if budgets == [500 / 3] * 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(LearningCurve, "_on_rollout_end", interrupt)
        demo(out=out, seconds=500, n=20, molecule_seconds=0.2, n_molecules=8, workers=0, **priors)
    assert end.value.code == 130
    return out


@pytest.fixture(scope="module")
def part(folder):
    return results_of(folder)["molecules"]


@pytest.fixture(scope="module")
def rows(folder):
    """molecules.csv by writer."""
    with open(folder / "molecules" / "molecules.csv", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    return {writer: [row for row in found if row["writer"] == writer] for writer in ("prior", "tutor")}


def test_each_part_has_its_files_and_there_are_no_others(folder, both):
    found, all_found = map(files_in, (folder, both))
    names = ("agent.safetensors", "learning_curve.png", "molecules.csv", "top.sdf")
    molecules = {"report.html", "table.txt", "results.json"} | {f"molecules/{name}" for name in names}
    melodies = {name for name in all_found if name.startswith("melodies/")}
    assert found == molecules and len(melodies) == 2 * 8 * 3
    assert all_found == molecules | melodies | {"learning_curve.png", "agent.safetensors"}


def test_figures_are_what_the_judge_says_of_the_prior_and_of_the_saved_tutor(folder, part):
    tutor = PsiLearning.load(folder / "molecules" / "agent", trust=True)
    assert tutor.num_timesteps == part["training"]["timesteps"] and part["training"]["seconds"] >= 0.5
    for writer, agent in (("tutor", tutor), ("prior", FixedPolicy(load_prior("smiles"), 100))):
        said = evaluate(agent, ENV, N, SEED, objective=OBJECTIVE, c=C)
        assert part["metrics"][writer] == pytest.approx({k: v if np.isfinite(v) else None for k, v in said.items()})
    assert part["metrics"]["prior"]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert part["metrics"]["prior"]["j"] == pytest.approx(part["metrics"]["prior"]["task_return"] / part["c"])


def test_csv_has_every_judged_string_with_rdkits_figures(part, rows):
    tutor = part["shown"]["random"]
    assert [row["smiles"] for row in rows["tutor"][: len(tutor)]] == [molecule["smiles"] for molecule in tutor]
    for writer in ("prior", "tutor"):
        assert len(rows[writer]) == N
        paid = [float(row["task_return"]) for row in rows[writer]]
        assert np.mean(paid) == pytest.approx(part["metrics"][writer]["task_return"])
        assert Counter(row["reason"] for row in rows[writer] if row["reason"]) == part["not_valid"][writer]
    valid = [row for row in rows["tutor"] if not row["reason"]]
    assert len(valid) > N / 2
    for row in valid:
        mol = Chem.MolFromSmiles(row["smiles"])
        expected = {"logp": Crippen.MolLogP(mol), "qed": QED.qed(mol), "mw": Descriptors.MolWt(mol)}
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, abs=1e-9)
        similarity = DataStructs.TanimotoSimilarity(MORGAN.GetCountFingerprint(mol), CELECOXIB)
        assert float(row["task_return"]) == float(row["term_objective"]) == pytest.approx(similarity, abs=0.02)
        assert row["canonical"] == Chem.MolToSmiles(mol) and float(row["log_p"]) < 0


def test_as_many_molecules_are_scored_of_the_prior_as_of_the_tutor(part):
    search, best = part["search"], part["best"]
    learned_from = part["training"]["rounds"] * part["training"]["n_envs"]
    assert 0.9 * learned_from < search["tutor"]["scored"] <= learned_from  # without invalid and repeated ones
    assert search["prior"]["scored"] == search["tutor"]["scored"]
    for writer in ("prior", "tutor"):
        returns = [molecule["task_return"] for molecule in best[writer]]
        assert returns == sorted(returns, reverse=True) and len(set(one["canonical"] for one in best[writer])) == 8
        assert returns[0] == search[writer]["top_1"] > search[writer]["top_10"] > search[writer]["top_100"]
        for molecule in best[writer]:
            mol = Chem.MolFromSmiles(molecule["smiles"])
            similarity = DataStructs.TanimotoSimilarity(MORGAN.GetCountFingerprint(mol), CELECOXIB)
            assert molecule["task_return"] == pytest.approx(similarity, abs=0.02)


def test_grids_are_of_the_best_the_middle_and_the_first(part, rows):
    molecules = {}  # canonical -> return, of the first spelling
    for row in rows["tutor"]:
        if not row["reason"]:
            molecules.setdefault(row["canonical"], float(row["task_return"]))
    returns = sorted(molecules.values(), reverse=True)
    start = (len(returns) - 8) // 2
    picked = {kind: [molecule["task_return"] for molecule in some] for kind, some in part["shown"].items()}
    assert picked["top"] == pytest.approx(returns[:8]) and part["distinct"] == len(returns) > 16
    assert picked["median"] == pytest.approx(returns[start : start + 8])
    assert [molecule["number"] for molecule in part["shown"]["prior"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [molecule["smiles"] for molecule in part["shown"]["prior"]] == [row["smiles"] for row in rows["prior"][:8]]


def test_ranking_leaves_out_repeats_and_what_is_no_molecule():
    made = [("CC", "CC", "", 0.5), ("C(C)", "CC", "", 0.5), ("C(", None, "syntax", 0.0)]
    made += [("O=C", "C=O", "", 0.9), ("CN", "CN", "", 0.7)]
    molecules = [dict(zip(("smiles", "canonical", "reason", "task_return"), one)) for one in made]
    assert [molecule["smiles"] for molecule in rank_distinct(molecules)] == ["O=C", "CN", "CC"]
    assert take_middle("abcdefg", 3) == ["c", "d", "e"] and take_middle("ab", 3) == ["a", "b"]


def test_sdf_opens_and_its_first_molecule_is_the_best(folder, part):
    found = list(Chem.SDMolSupplier(str(folder / "molecules" / "top.sdf")))
    assert len(found) == part["distinct"] and all(mol.GetNumConformers() for mol in found)
    assert float(found[0].GetProp("task_return")) == pytest.approx(part["shown"]["top"][0]["task_return"])
    assert Chem.MolToSmiles(found[0]) == part["shown"]["top"][0]["canonical"]


def test_distributions_are_shares_of_the_valid_molecules(part, rows):
    properties = part["distributions"]["properties"]
    assert set(properties) == {"logp", "sa", "qed", "mw", "task_return"}
    scores = properties.pop("task_return")
    for who in ("prior", "tutor"):
        valid = [float(row["task_return"]) for row in rows[who] if not row["reason"]]
        assert scores[who][5] == pytest.approx(sum(0.1 <= score < 0.12 for score in valid) / len(valid))
    for name, found in properties.items():
        assert all(len(found[who]) == len(found["edges"]) - 1 for who in ("data", "prior", "tutor"))
        assert all(sum(found[who]) == pytest.approx(1.0) for who in ("data", "prior", "tutor"))
        values = [float(row[name]) for row in rows["tutor"] if not row["reason"]]
        low, high = found["edges"][10:12]
        inside = sum(low <= value < high for value in values)
        assert found["tutor"][10] == pytest.approx(inside / len(values)), name
    assert any(0 < share < 1 for share in properties["mw"]["tutor"])


def test_values_beyond_the_bins_count_in_the_outer_ones():
    far = {name: [-1e6, 1e6, 0.5 * sum(reference.BINS[name][:2])] for name in reference.BINS}
    for name, counts in reference.histograms(far).items():
        assert (counts[0], counts[-1], sum(counts), len(counts)) == (1, 1, 3, reference.BINS[name][2])


def test_the_shipped_histograms_are_of_molecules_like_moses():
    facts = reference.load()
    assert facts["made_by"].startswith("python -m seqtutor_envs.smiles.metrics.reference make")
    assert set(facts["histograms"]) == set(reference.BINS)
    assert {sum(counts) for counts in facts["histograms"].values()} == {facts["molecules"]} == {20_000}
    for name, counts in facts["histograms"].items():
        edges = reference.edges(name)
        middle_mean = np.average((edges[1:] + edges[:-1]) / 2, weights=counts)
        assert middle_mean == pytest.approx(facts["means"][name], abs=edges[1] - edges[0])
    mw = np.array(facts["histograms"]["mw"])
    assert mw[(reference.edges("mw")[:-1] >= 250) & (reference.edges("mw")[1:] <= 350)].sum() > 19_900  # MOSES' rule


def test_page_is_made_of_results_json_alone(folder):
    source, results = (folder / "report.html").read_text(encoding="utf-8"), results_of(folder)
    assert source == render_demo(results)
    results["molecules"]["metrics"]["tutor"]["mean_mw"] = 123.4
    assert ">123.4<" in render_demo(results) and ">123.4<" not in source


def test_page_shows_all_figures_and_molecules_and_fetches_nothing(folder, part):
    source = (folder / "report.html").read_text(encoding="utf-8")
    read = assert_fetches_nothing(source)
    words = " ".join(read.text)
    assert len(source) < 2_000_000
    shown = (*MOLECULE_OBJECTIVE, *MOLECULE_SETS, *PROPERTY_MEANS)
    known = [row for row in shown if row.key in part["metrics"]["prior"]]
    assert len(known) >= 16
    for row in known:
        assert row.title in read.text
        assert {row.format(part["metrics"][writer][row.key]) for writer in ("prior", "tutor")} <= set(read.text)
    for one in SEARCH:
        assert one.title in read.text
        assert {one.format(part["search"][writer][one.key]) for writer in ("prior", "tutor")} <= set(read.text)
    assert f"{part['search']['tutor']['scored']:,} molecules scored" in words and OBJECTIVE in read.text
    drawn = [attributes["alt"] for tag, attributes in read.tags if "image/svg" in attributes.get("src", "")]
    best, first = part["best"], part["shown"]
    some = [*best["tutor"], *best["prior"], *first["random"], *first["prior"], *first["median"]]
    expected = [f"Molecule {molecule['smiles']}" for molecule in some if not molecule["reason"]]
    assert drawn[1:] == expected and drawn[0].startswith("Molecule Cc1ccc(-c2cc(C(F)(F)F)nn2")  # what is asked for
    assert words.count("Not a molecule:") == sum(bool(molecule["reason"]) for molecule in some)
    assert sum(text.startswith("Distribution of") for text in read.text) == len(PROPERTIES) + 1 == 5


def test_both_parts_are_on_one_page(both):
    source = (both / "report.html").read_text(encoding="utf-8")
    read = Page(source)
    assert read.open == [] and len(source) < 2_000_000
    assert {"melodies", "molecules", "again"} <= {attributes.get("id") for _, attributes in read.tags}
    links = [attributes["href"] for tag, attributes in read.tags if tag == "a"]
    assert links == ["#main", "#melodies", "#molecules", "#again"]
    assert "Excessively repeated" in read.text and "Ring penalty" in read.text
    text = (both / "table.txt").read_text(encoding="utf-8")
    assert "Excessively repeated" in text and "Ring penalty, distinct" in text and "--molecule-seconds 0.2" in text


def test_ctrl_c_ends_the_learning_of_one_part_and_the_other_goes_on(both):
    results = results_of(both)
    melodies, molecules = results["melodies"]["training"], results["molecules"]["training"]
    assert melodies["interrupted"] and melodies["rounds"] == 2
    assert not molecules["interrupted"] and molecules["seconds"] >= 0.2
    assert (both / "report.html").read_text(encoding="utf-8").count("Ctrl-C ended the fine-tuning") == 1


def test_agents_sample_takes_the_folder(folder, capsys):
    agents(["sample", str(folder / "molecules"), "-n", "3", "--seed", "1"])
    assert len(capsys.readouterr().out.splitlines()) == 3
