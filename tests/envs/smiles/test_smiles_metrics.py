"""The metrics of molecules: sets of a few, counted by hand or by RDKit asked directly."""

from __future__ import annotations

import gzip
import math
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import DataStructs, Descriptors, rdFingerprintGenerator

from seqtutor_envs.smiles import metrics
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.smiles.metrics import MOSES_CHAR_RNN, MoleculeSet, commonest_scaffolds, nearest, similarity, table
from seqtutor_envs.smiles.vocab import smiles_vocab
from toys.smiles_toys import BigramPrior, by_rdkit

# ethanol twice, benzene once, toluene three times, chloroethane (MCF4), and two that are no molecule
WRITTEN = ["CCO", "C1CC", "c1ccccc1", "OCC", "Cc1ccccc1", "c1ccccc1C", "C1=CC=CC=C1C", "CCCl", "CC O"]
DISTINCT = ["CCO", "c1ccccc1", "Cc1ccccc1", "CCCl"]
COUNTS = [2, 1, 3, 1]
BIPHENYL, NAPHTHALENE, INDOLE = "c1ccc(-c2ccccc2)cc1", "c1ccc2ccccc2c1", "c1ccc2[nH]ccc2c1"


def rdkits(smiles):
    mol = Chem.MolFromSmiles(smiles)
    values = *by_rdkit(smiles)[:3], Descriptors.MolWt(mol), Descriptors.TPSA(mol)
    return dict(zip(("logp", "sa", "qed", "mw", "tpsa"), values))


def similarities(smiles, others):
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    ours, theirs = ([generator.GetFingerprint(Chem.MolFromSmiles(one)) for one in each] for each in (smiles, others))
    return np.array([DataStructs.BulkTanimotoSimilarity(one, theirs) for one in ours])


def test_a_set_of_nine_strings_counted_by_hand() -> None:
    row = table(WRITTEN, n_unique=(2, 5, 100))
    assert row["valid"] == 7 / 9 and row["valid_molecules"] == 7 and row["distinct_molecules"] == 4
    assert row["unique_2"] == 2 / 2 and row["unique_5"] == 3 / 5  # of the first valid ones
    assert row["unique_100"] == row["unique"] == 4 / 7
    assert row["filters"] == pytest.approx(6 / 7)
    assert row["scaffold_diversity"] == 1 / 4  # benzene is the only one
    assert "novelty" not in row and "snn" not in row and "log_p" not in row


def test_means_over_valid_and_over_distinct_molecules_are_rdkits() -> None:
    row = table(WRITTEN)
    for name in ("logp", "sa", "qed", "mw", "tpsa"):
        values = [rdkits(smiles)[name] for smiles in DISTINCT]
        assert row[f"mean_{name}"] == pytest.approx(np.average(values, weights=COUNTS), rel=1e-9)
        assert row[f"distinct_mean_{name}"] == pytest.approx(np.mean(values), rel=1e-9)
    rings = table(["C1CCCCCCCC1", "C1CCCCC1", "CC", "CC"])  # a ring of nine: three beyond six
    assert rings["mean_ring_penalty"] == 3 / 4 and rings["distinct_mean_ring_penalty"] == 1


def test_internal_diversity_counts_repetitions_as_moses_does() -> None:
    row, pairs = table(WRITTEN), similarities(DISTINCT, DISTINCT)
    shares = np.array(COUNTS) / 7
    assert row["internal_diversity_1"] == pytest.approx(1 - shares @ pairs @ shares, rel=1e-6)
    assert row["internal_diversity_2"] == pytest.approx(1 - shares @ np.sqrt(pairs**2 @ shares), rel=1e-6)
    assert table(["CCO"] * 50)["internal_diversity_1"] == pytest.approx(0)  # one molecule over and over
    limited = table(WRITTEN, max_compared=2)["internal_diversity_1"]
    assert limited == pytest.approx(1 - np.array([2, 1]) @ pairs[:2, :2] @ np.array([2, 1]) / 9, rel=1e-6)


def test_novelty_is_of_distinct_molecules_in_any_spelling() -> None:
    assert table(WRITTEN, novelty=["OCC", "c1ccccc1C"])["novelty"] == 2 / 4
    assert table(WRITTEN, novelty={"OCC", "c1ccccc1"})["novelty"] == 3 / 4  # a set is taken as it is
    assert table(WRITTEN, novelty=MoleculeSet(["OCC"]))["novelty"] == 3 / 4


def test_novelty_by_a_bloom_filter_is_corrected() -> None:
    bloom = BloomFilter(800, 2)
    bloom.add(["CCO", *(f"N{i}" for i in range(100))])
    rate, known = bloom.false_positive_rate, bloom.contains(DISTINCT)
    assert rate > 0.01 and known[0] and known.sum() < 4
    row = table(WRITTEN, novelty=bloom)
    assert row["novelty_false_positive_rate"] == rate
    assert row["novelty"] == pytest.approx(min(1, (1 - known.mean()) / (1 - rate)))


def test_comparison_with_a_reference_by_hand() -> None:
    written, reference = [BIPHENYL, "CCO", BIPHENYL, NAPHTHALENE, "?"], ["CCO", NAPHTHALENE, INDOLE, "CCO", "junk"]
    row = table(written, reference)
    pairs = similarities([BIPHENYL, "CCO", NAPHTHALENE], ["CCO", NAPHTHALENE, INDOLE]).max(axis=1)
    assert pairs[1] == pairs[2] == 1 > pairs[0]
    assert row["snn"] == pytest.approx((2 * pairs[0] + 2) / 4, rel=1e-6)
    # scaffolds of two rings: biphenyl 2, naphthalene 1 against naphthalene 1, indole 1
    assert row["scaf"] == pytest.approx(1 / math.sqrt(5 * 2))
    # fragments: phenyl 4 (two of each biphenyl), ethanol 1, naphthalene 1 against ethanol 2, naphthalene 1, indole 1
    assert row["frag"] == pytest.approx((1 * 2 + 1 * 1) / math.sqrt((16 + 1 + 1) * (4 + 1 + 1)))
    # both four molecules: the distance is that of their sorted values
    for name in ("logp", "sa", "qed", "mw", "tpsa"):
        ours = sorted(rdkits(smiles)[name] for smiles in written[:4])
        theirs = sorted(rdkits(smiles)[name] for smiles in reference[:4])
        expected = np.mean(np.abs(np.subtract(ours, theirs)))
        assert row[f"wasserstein_{name}"] == pytest.approx(expected, rel=1e-9)
        assert table(["CC"], prior_smiles=["CCO"])[f"prior_wasserstein_{name}"] == pytest.approx(
            abs(rdkits("CC")[name] - rdkits("CCO")[name])
        )
    same = table(written, MoleculeSet(written[::-1]))
    assert (same["snn"], same["frag"], same["scaf"], same["wasserstein_qed"]) == pytest.approx((1, 1, 1, 0))


def test_molecules_without_rings_have_no_scaffold_to_compare() -> None:
    row = table(["CCO", "CCC"], ["CCO", BIPHENYL])
    assert math.isnan(row["scaf"]) and row["frag"] > 0 and row["scaffold_diversity"] == 0
    one_ring = table([BIPHENYL, "c1ccccc1"], [BIPHENYL, "Cc1ccccc1", "CC1CCCC1"])
    assert one_ring["scaf"] == pytest.approx(1) and one_ring["scaffold_diversity"] == 1


def test_log_p_is_of_the_tokens_and_the_end() -> None:
    prior = BigramPrior(smiles_vocab(["C", "O", "Cl"]))
    ids = {text: i for i, text in enumerate(prior.vocab.tokens)}
    assert list(ids) == ["C", "Cl", "O", "<end>"]

    def by_hand(*texts):
        chain = [prior.vocab.start, *(ids[text] for text in texts)]
        return sum(float(prior.rows[a, b]) for a, b in zip(chain, chain[1:]))

    expected = [by_hand("C", "C", "O", "<end>"), by_hand("C", "Cl", "<end>"), by_hand("<end>")]
    strings = ["CCO", "CCN", "CCl", "", "C C"]  # N cannot be written, a space is no token, the third is no molecule
    log_pi = np.array([-1.0, -2.0, -3.0, -4.0, -5.0])
    row = table(strings, prior=prior, log_probs=log_pi)
    assert row["unwritable"] == 2 / 5
    assert row["log_p"] == pytest.approx(np.mean(expected), rel=1e-6)
    assert row["log_p_se"] == pytest.approx(np.std(expected, ddof=1) / math.sqrt(3), rel=1e-6)
    ratios = np.array([-1.0, -3.0, -4.0]) - expected
    assert row["kl"] == pytest.approx(ratios.mean(), rel=1e-6)
    assert row["kl_se"] == pytest.approx(ratios.std(ddof=1) / math.sqrt(3), rel=1e-6)
    assert "kl" not in table(strings, prior=prior)


@pytest.mark.parametrize("smiles", [[], ["", "C1CC", "junk"]])
def test_without_a_molecule_all_is_nan_and_nothing_warns(smiles: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prior = BigramPrior(smiles_vocab(["N"]))
        row = table(smiles, ["CCO"], prior, np.zeros(len(smiles)), novelty={"CCO"}, prior_smiles=["CC"])
        bloom = table(smiles, novelty=BloomFilter(8, 1), reference=[])
        near = nearest(smiles, ["CCO"])
    counted = {"valid_molecules": 0.0, "distinct_molecules": 0.0}
    assert {name: row.pop(name) for name in counted} == counted
    if smiles:
        assert row.pop("valid") == 0 and row.pop("unwritable") == 2 / 3
        row = {name: value for name, value in row.items() if not name.startswith(("log_p", "kl"))}  # "" is writable
    assert len(row) > 30 and all(math.isnan(value) for value in row.values())
    assert bloom["novelty_false_positive_rate"] == 0 and math.isnan(bloom["novelty"]) and math.isnan(bloom["snn"])
    assert math.isnan(near["nearest_mean"]) and near["recovered"] == 0


def test_mistakes_are_named() -> None:
    with pytest.raises(TypeError, match="as a list"):
        table("CCO")
    with pytest.raises(ValueError, match="pass prior= as well"):
        table(["C"], log_probs=[0.0])
    with pytest.raises(ValueError, match=r"\[2\], not \[1\]"):
        table(["C", "C"], prior=BigramPrior(smiles_vocab("C")), log_probs=[0.0])


def test_commonest_scaffolds_with_their_counts() -> None:
    smiles = ["Cc1ccccc1", BIPHENYL, "CCc1ccccc1", "C1=CC=CC=C1C", "CCO", NAPHTHALENE, BIPHENYL]
    assert commonest_scaffolds(smiles, 2) == [("c1ccccc1", 3), (BIPHENYL, 2)]
    assert len(commonest_scaffolds(smiles)) == 3


def test_nearest_to_known_actives() -> None:
    actives = ["c1ccccc1C", "CCCCO", "CCCCN"]
    row = nearest(["CCO", "Cc1ccccc1", "C1=CC=CC=C1C", "?", "Nc1ccccc1"], actives)
    best = similarities(["CCO", "Cc1ccccc1", "Nc1ccccc1"], actives).max(axis=1)
    assert best[1] == 1 and sum(best > 0.4) == 2
    assert row["nearest_mean"] == pytest.approx(best.mean(), rel=1e-6)
    assert row["share_above_0.4"] == pytest.approx(2 / 3)
    assert row["recovered"] == 1 and row["recovered_share"] == 1 / 3


def wheel(folder: Path, **splits: list[str]) -> Path:
    with zipfile.ZipFile(folder / "molsets-0.whl", "w") as archive:
        for split, smiles in splits.items():
            content = "\n".join(["SMILES", *smiles, ""]).encode()
            archive.writestr(f"moses/dataset/data/{split}.csv.gz", gzip.compress(content))
    return folder / "molsets-0.whl"


def test_references_from_files(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO ethanol\nOCC\n\njunk\nCC\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"name,molecule\nx,CCO\ny,CC\n"))
    moses_wheel = wheel(tmp_path, test=["CCO", "CC"], train=["C"])
    sets = [
        MoleculeSet.from_file(tmp_path / "a.smi"),
        MoleculeSet.from_file(tmp_path / "b.csv.gz", column="molecule"),
        MoleculeSet.from_file(moses_wheel),
    ]
    assert [each.canonical for each in sets] == [["CCO", "CC"]] * 3 and sets[0].counts.tolist() == [2, 1]
    assert MoleculeSet.from_file(moses_wheel, split="train").canonical == ["C"]
    (tmp_path / "empty.smi").write_text("\njunk\n\n")
    with pytest.raises(ValueError, match="no molecule in 1 records"):
        MoleculeSet.from_file(tmp_path / "empty.smi")
    with pytest.raises(ValueError, match="train, test, test_scaffolds"):
        MoleculeSet.from_file(moses_wheel, split="all")


def test_properties_of_at_most_so_many_evenly_spaced() -> None:
    chains = ["C" * n for n in range(1, 12)]
    weights = [Descriptors.MolWt(Chem.MolFromSmiles(smiles)) for smiles in chains]
    assert MoleculeSet(chains, most=3).properties["mw"].tolist() == [weights[0], weights[5], weights[10]]
    assert MoleculeSet(chains).properties["mw"].tolist() == weights


def test_a_prepared_set_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = MoleculeSet(WRITTEN)
    before = table(prepared)
    monkeypatch.setattr(metrics.MoleculeSet, "_molecules", lambda *_: pytest.fail("measured again"))
    assert table(prepared) == before and len(similarity.nearest(prepared.fingerprints, prepared.fingerprints)) == 4


def test_the_comparison_with_moses_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small wheel in MOSES' place, and fewer samples."""
    text = (Path(__file__).parents[3] / "docs" / "molecules.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    (code,) = [block for block in blocks if "MOSES_CHAR_RNN" in block]
    wheel(tmp_path, test=[BIPHENYL, "CCO"], train=["CC", "CCO"]).rename(tmp_path / "molsets-0.3.1-py3-none-any.whl")
    monkeypatch.chdir(tmp_path)
    left: dict[str, Any] = {}
    exec(code.replace("10_000", "30"), left)
    assert len(left["smiles"]) == 30 and set(MOSES_CHAR_RNN) <= set(left["row"])
    reference, trained_on = MoleculeSet([BIPHENYL, "CCO"]), frozenset(["CC", "CCO"])
    expected = table(left["smiles"], reference, novelty=trained_on, max_compared=30)
    assert left["row"] == pytest.approx(expected, nan_ok=True)
