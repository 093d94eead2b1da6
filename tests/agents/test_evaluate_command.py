"""`python -m agents evaluate`: models of stable-baselines3, files of ours, and one line for each mistake."""

from __future__ import annotations

import json

import pytest
from stable_baselines3 import A2C

from agents import PsiLearning
from agents.__main__ import main
from agents.evaluate import evaluate
from seqtutor_envs.sb3 import make_vec_env
from toys.agent_toys import EXACT, made
from toys.molecule_runs import SMILES, refused, working_folder
from toys.sb3_toys import KWARGS, exact_env, learned

WHERE = ["--env", EXACT, "--env-kwargs", json.dumps(KWARGS)]


@pytest.fixture(scope="module")
def ppo():
    return learned("PPO")


@pytest.fixture
def folder(ppo, tmp_path):
    ppo.save(tmp_path / "model")
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def printed_figures(text):
    """name -> (value, standard error or None) of the lines that show figures."""
    parts = [line.split() for line in text.splitlines()]
    return {one[0]: (float(one[1]), float(one[3]) if "±" in one else None) for one in parts if one[0] != "kl,"}


@pytest.mark.parametrize("name", ["model.zip", "model"])
def test_a_zip_is_judged_and_its_figures_are_kept_beside_it(name, ppo, folder, capsys):
    main(["evaluate", str(folder / name), "--trust", *WHERE, "-n", "200", "--seed", "2"])
    expected = evaluate(ppo, EXACT, 200, 2, KWARGS)
    assert names(folder) == ["model.evaluation.json", "model.zip"]
    kept = json.loads((folder / "model.evaluation.json").read_text())
    assert kept == {"n": 200, "seed": 2, "env": EXACT, "env_kwargs": KWARGS, **expected}
    shown = printed_figures(capsys.readouterr().out)
    assert shown["gap"] == (pytest.approx(expected["gap"], abs=1e-4), pytest.approx(expected["gap_se"], abs=1e-4))
    assert shown["log_z"] == (pytest.approx(expected["log_z"], abs=1e-4), None)
    assert set(shown) == {figure for figure in expected if not figure.endswith("_se")}


def test_an_agent_without_log_pi_is_said_to_have_no_j(tmp_path, capsys, recwarn):
    ars = pytest.importorskip("sb3_contrib", reason="ARS is sb3-contrib's, which is optional").ARS
    ars("LinearPolicy", exact_env(), seed=0, device="cpu").save(tmp_path / "ars")
    main(["evaluate", str(tmp_path / "ars"), "--trust", "--algorithm", "sb3_contrib:ARS", *WHERE, "-n", "20"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kl, j ")]
    assert len(lines) == 1 and "unknown" in lines[0] and "ARS.predict does not say how probable" in lines[0]
    assert "log_prob(tokens, lengths)" in lines[0]
    kept = json.loads((tmp_path / "ars.evaluation.json").read_text())
    assert "task_return" in kept and not {"j", "kl", "gap"} & set(kept)
    assert not [warning for warning in recwarn if "No KL" in str(warning.message)]


def test_a_model_of_molecules_is_compared_with_a_reference(tmp_path, monkeypatch, capsys):
    for home in working_folder(tmp_path, monkeypatch):
        kwargs = {"prior": str(home / "prior.safetensors"), "max_length": 8}
        env = make_vec_env(SMILES, 4, env_kwargs={**kwargs, "workers": 0})
        A2C("MlpPolicy", env, seed=0, device="cpu").save(home / "model")
        (home / "actives.smi").write_text("C known\nCC known\nOCC(N)(S)CCO rare\n")
        asked = ["--env", SMILES, "--env-kwargs", json.dumps({**kwargs, "workers": 0}), "--trust", "-n", "200"]
        main(["evaluate", "model.zip", *asked, "--reference", "actives.smi"])
        kept = json.loads((home / "model.evaluation.json").read_text())
        assert kept["recovered"] == 2 and kept["reference"] == "actives.smi" and "j" in kept
        assert "recovered" in capsys.readouterr().out
        (home / "actives.csv").write_text("name,structure\nmethane,C\nethane,CC\n")
        table = ["evaluate", "model.zip", *asked, "--reference", "actives.csv"]
        assert "name one of them with --column: name, structure" in refused(capsys, *table)
        main([*table, "--column", "structure"])
        kept = json.loads((home / "model.evaluation.json").read_text())
        assert kept["recovered"] == 2 and kept["column"] == "structure"
        assert "add --reference FILE" in refused(capsys, "evaluate", "model.zip", *asked, "--column", "structure")


def test_a_file_of_ours_is_judged_as_its_folder_is(tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=16, env_kwargs=KWARGS).learn(200)
    agent.save(tmp_path / "agent")
    expected = {"n": 50, "seed": 0, "env": EXACT, "env_kwargs": KWARGS, **evaluate(agent, EXACT, 50, env_kwargs=KWARGS)}
    for path in ("", "agent", "agent.safetensors"):
        main(["evaluate", str(tmp_path / path), "-n", "50"])
        kept = tmp_path / ("agent.evaluation.json" if path else "evaluation.json")
        assert json.loads(kept.read_text()) == expected
        kept.unlink()


def test_an_agent_of_ours_can_be_judged_elsewhere(tmp_path):
    agent = made(PsiLearning, EXACT, n_envs=16, env_kwargs=KWARGS)
    agent.save(tmp_path / "agent")
    kept = tmp_path / "evaluation.json"
    main(["evaluate", str(tmp_path), "-n", "50", "--env-kwargs", '{"c": 2}'])
    assert json.loads(kept.read_text())["j"] == evaluate(agent, EXACT, 50, env_kwargs={**KWARGS, "c": 2})["j"]
    main(["evaluate", str(tmp_path), "-n", "50", "--env", EXACT, "--env-kwargs", '{"length": 3, "c": 2}'])
    assert json.loads(kept.read_text())["j"] == evaluate(agent, EXACT, 50, length=3, c=2)["j"]


@pytest.mark.parametrize(
    "args, says",
    [
        (["model.zip", "--trust"], "model.zip does not say what it learned in: add --env ID"),
        (["model.zip", *WHERE], "holds pickles, and loading one runs whatever code is in it"),
        (["model.zip", "--trust", *WHERE, "-n", "0"], "n must be an integer of at least 1"),
        (["model.zip", "--trust", "--env", EXACT, "--env-kwargs", "[]"], "--env-kwargs must be a JSON object"),
        (["model.zip", "--trust", "--algorithm", "PPO", *WHERE], "form package.module:name"),
        (["model.zip", "--trust", *WHERE, "--reference", "x.smi"], "--reference is for agents that write molecules"),
        (["", "--algorithm", "sb3_contrib:ARS"], "--algorithm is for zips of stable-baselines3"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(args, says, folder, capsys):
    assert says in refused(capsys, "evaluate", folder / args[0], *args[1:])
    assert names(folder) == ["model.zip"]
