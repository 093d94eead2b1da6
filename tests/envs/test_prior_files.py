"""Files of priors: back exactly, refused in one line, never executed; names, paths and objects."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from seqtutor_envs.files import load_arrays, save_arrays
from seqtutor_envs.melody.vocab import MELODY_VOCAB
from seqtutor_envs.prior import RecurrentPrior, TablePrior, load_prior, token_log_probs
from seqtutor_envs.prior import prior as module
from seqtutor_envs.vocab import TokenVocab
from toys.recurrent_toys import CASES, TEXTS, random_prior

END = len(TEXTS) - 1


@pytest.mark.parametrize("cell, num_layers", CASES)
def test_a_saved_prior_comes_back_exactly(tmp_path, cell, num_layers):
    prior = random_prior(cell, num_layers, end=END)
    path = prior.save(tmp_path / "new folder" / "mine")
    assert path == tmp_path / "new folder" / "mine.safetensors"
    loaded = RecurrentPrior.load(path)
    assert loaded.weights.keys() == prior.weights.keys()
    for name, array in prior.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array)
        assert loaded.weights[name].dtype == np.float32
    for name in ("vocab", "length", "cell", "hidden_size", "num_layers"):
        assert getattr(loaded, name) == getattr(prior, name)
    tokens = np.random.default_rng(0).integers(0, len(TEXTS), (3, 6))
    np.testing.assert_array_equal(loaded.log_probs(tokens), prior.log_probs(tokens))
    assert sorted(file.name for file in path.parent.iterdir()) == ["mine.json", "mine.safetensors"]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card == loaded.card
    assert card["note"] == "random" and card["vocabulary"] == list(TEXTS) and card["end"] == END
    path.with_suffix(".json").unlink()
    RecurrentPrior.load(path)  # the card is to be read by people


def broken_files(folder):
    """Name -> a file that is no prior and what its error says."""
    whole = random_prior().save(folder / "whole").read_bytes()
    arrays, card = load_arrays(folder / "whole.safetensors")
    (folder / "garbage").write_bytes(b"not a prior" * 50)
    (folder / "empty").write_bytes(b"")
    (folder / "truncated").write_bytes(whole[:-40])
    (folder / "short").write_bytes(whole[:30])
    save_file(arrays, folder / "foreign")
    save_file(arrays, folder / "foreign facts", metadata={"facts": "{ no json"})
    save_arrays(folder / "no card", arrays, {})
    save_arrays(folder / "list", arrays, ["lstm"])
    save_arrays(folder / "no weights", {}, card)
    save_arrays(folder / "a weight less", {k: v for k, v in arrays.items() if k != "rnn.bias_hh_l0"}, card)
    save_arrays(folder / "flat", {k: v.reshape(-1) for k, v in arrays.items()}, card)
    save_arrays(folder / "cell", arrays, {**card, "cell": "gru"})
    save_arrays(folder / "vocabulary", arrays, {**card, "vocabulary": ["a"]})
    save_arrays(folder / "tampered", {**arrays, "head.bias": arrays["head.bias"] + np.float32(1e-3)}, card)
    save_arrays(folder / "no hash", arrays, {k: v for k, v in card.items() if k != "weights_sha256"})
    return {
        "damaged": ["garbage", "empty", "truncated", "short", "foreign", "foreign facts", "list"],
        "holds no prior": ["no card", "no weights", "a weight less", "flat", "cell", "vocabulary"],
        "hash": ["tampered", "no hash"],
    }


def test_files_that_hold_no_prior_are_refused_in_one_line(tmp_path):
    for reason, names in broken_files(tmp_path).items():
        for name in names:
            with pytest.raises(ValueError, match=reason) as error:
                RecurrentPrior.load(tmp_path / name)
            assert str(tmp_path / name) in str(error.value), name
            assert "\n" not in str(error.value), name


def test_a_missing_file_is_named_with_what_there_is(tmp_path, monkeypatch):
    random_prior().save(tmp_path / "data" / "shipped-one")
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    for given in ("nowhere", tmp_path / "nowhere.safetensors", tmp_path):  # a folder is no prior either
        with pytest.raises(FileNotFoundError, match="shipped-one"):
            RecurrentPrior.load(given)


def test_a_shipped_name_comes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    shipped, own = random_prior(seed=1), random_prior(seed=2)
    shipped.save(tmp_path / "data" / "tune")
    own.save("tune")
    for given, expected in (("tune", shipped), ("./tune", own), ("tune.safetensors", own)):
        got = RecurrentPrior.load(given).weights["head.bias"]
        np.testing.assert_array_equal(got, expected.weights["head.bias"])


class Marker:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_loading_executes_nothing_from_the_file(tmp_path):
    marker = tmp_path / "executed"
    evil = pickle.dumps(Marker(marker))
    pickle.loads(evil).close()
    assert marker.exists()  # else the test could not fail
    marker.unlink()
    (tmp_path / "pickle.safetensors").write_bytes(evil)
    np.save(tmp_path / "array.npy", np.array([Marker(marker)], dtype=object), allow_pickle=True)
    (tmp_path / "array.npy").rename(tmp_path / "array.safetensors")
    for name in ("pickle", "array"):
        with pytest.raises(ValueError, match="damaged"):
            RecurrentPrior.load(tmp_path / name)
    assert not marker.exists()


# -- the shipped prior ------------------------------------------------------------------------------------------------


def test_the_shipped_melody_prior_is_what_its_card_says():
    prior = RecurrentPrior.load("melody")  # which checks the weights' hash
    assert prior.vocab == MELODY_VOCAB and prior.length == 32
    card = json.loads((module.DATA / "melody.json").read_text())
    assert card == prior.card
    assert {source["name"] for source in card["sources"]} == {"oneills", "ryans", "airds", "openewld"}
    assert all(source["licence"] and source["melodies"] and source["tokens"] for source in card["sources"])
    for split in ("validation", "test"):
        assert set(card[split]["by_source"]) == {source["name"] for source in card["sources"]}
        assert card[split]["nll_per_token"] < card["baselines"]["trigram"] < card["baselines"]["bigram"]
    tokens, _ = prior.sample(2000, 0)
    log_p = token_log_probs(prior.log_probs(tokens), tokens)
    assert -log_p.mean() == pytest.approx(card["validation"]["nll_per_token"], abs=0.2)  # it writes what it read


# -- what load_prior takes --------------------------------------------------------------------------------------------


def test_a_path_is_loaded_once_and_shared(tmp_path, monkeypatch):
    path = random_prior(seed=1).save(tmp_path / "prior")
    first = load_prior(path)
    monkeypatch.chdir(tmp_path)
    for same in (str(path), "prior", Path("prior.safetensors")):
        assert load_prior(same) is first
    random_prior(seed=2).save(path)  # written anew: loaded anew
    assert (load_prior(path).weights["head.bias"] != first.weights["head.bias"]).any()


class Foreign:
    """No subclass of ours, but with all that a prior needs."""

    vocab = TokenVocab(("a", "b"))
    initial_state = step = log_probs = sample = None


def test_objects_are_taken_as_they_are():
    for prior in (random_prior(), TablePrior(TokenVocab(("a", "b")), np.zeros((3, 2)), 2), Foreign()):
        assert load_prior(prior) is prior
    with pytest.raises(TypeError, match="vocab, initial_state, step, log_probs, sample; int"):
        load_prior(3)
