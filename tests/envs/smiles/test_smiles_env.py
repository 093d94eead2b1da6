"""SeqTutor-SMILES-v0 beyond the contract: its keywords, what is paid when, and what infos say."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from agents.evaluate import evaluate
from seqtutor_envs.prior import load_prior
from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.corpus.bloom import BloomFilter
from seqtutor_envs.smiles.env import find_bloom
from seqtutor_envs.smiles.vocab import tokenize
from seqtutor_envs.vocab import TokenVocab
from toys.env_toys import toy_prior
from toys.smiles_toys import BENZENE, VOCAB, BigramPrior, by_rdkit, encoded

ID = "SeqTutor-SMILES-v0"
END = VOCAB.end


def make(**kwargs):
    return gymnasium.make(ID, **({"prior": BigramPrior()} | kwargs))


def make_vec(num_envs, **kwargs):
    defaults = {"prior": BigramPrior(), "autoreset_mode": "SameStep"}
    return gymnasium.make_vec(ID, num_envs=num_envs, **(defaults | kwargs))


def written(env, smiles):
    """What each step of a molecule returned, the end token's too."""
    env.reset()
    return [env.step(token) for token in (*VOCAB.encode(tokenize(smiles)), END)]


def test_the_shipped_prior_and_the_defaults():
    env = gymnasium.make(ID).unwrapped
    assert env.prior is load_prior("smiles") and env.task.vocab == env.prior.vocab
    assert (env.c, env.task.length, env.obs_mode) == (0.05, 100, "token")
    assert env.task.weights == dict.fromkeys(["valid", "qed", "logp", "sa", "ring"], 0.2)
    assert env.task.known == find_bloom("smiles")


def test_c_is_the_authors_with_their_reward_and_anyones_when_given():
    assert make(shaping="prefix").unwrapped.c == pytest.approx(1 / 0.35)
    assert make(task=SmilesTask(vocab=VOCAB, shaping="prefix")).unwrapped.c == pytest.approx(1 / 0.35)
    assert make(task=SmilesTask(vocab=VOCAB)).unwrapped.c == 0.05
    assert make(shaping="prefix", c=2.0).unwrapped.c == make(c=2).unwrapped.c == 2.0


def test_the_return_is_log_p_with_the_end_tokens_and_the_mean_score_over_c():
    prior = BigramPrior()
    steps = written(make(prior=prior, c=0.1), BENZENE)
    tokens = [VOCAB.start, *VOCAB.encode(tokenize(BENZENE)), END]
    log_p = sum(float(prior.rows[before, token]) for before, token in zip(tokens, tokens[1:]))
    logp, sa, qed, _ = by_rdkit(BENZENE)
    assert 1 < logp < 4 and sa < 2  # so both terms are 1
    assert sum(step[1] for step in steps) == pytest.approx(log_p + (4 + qed) / 5 / 0.1, abs=1e-5)
    *before, (_, reward, terminated, truncated, info) = steps
    assert all(step[4]["task_reward"] == 0 and not any(step[4]["terms"].values()) for step in before)
    assert info["prior_log_prob"] == pytest.approx(prior.rows[tokens[-2], END], abs=1e-6) and reward > 0
    assert terminated and not truncated and info["sequence"] == BENZENE
    assert info["terms"] == pytest.approx({"valid": 1, "qed": qed, "logp": 1, "sa": 1, "ring": 1})


def test_an_objective_is_asked_once_for_what_ends_together():
    asked = []

    def objective(smiles):
        asked.append(smiles)
        return [len(one) / 10 for one in smiles]

    env = make_vec(4, objective=objective, c=0.5)
    env.reset()
    for tokens in zip(*(VOCAB.encode([*text]) for text in ("CCO", "OCC", "CCC", "*CC"))):
        env.step(np.array(tokens))
    *_, infos = env.step(np.full(4, END))
    assert asked == [["CCO", "CCC"]]
    assert infos["final_info"]["terms"]["objective"].tolist() == [0.3, 0.3, 0.3, 0.0]
    assert infos["final_info"]["task_reward"] == pytest.approx([0.6, 0.6, 0.6, 0.0])


def test_a_spent_budget_truncates_what_is_still_being_written():
    env = make_vec(2, objective=lambda smiles: np.ones(len(smiles)), oracle_budget=1, autoreset_mode="Disabled")
    env.reset()
    env.step(VOCAB.encode(["C", "C"]))
    _, _, terminated, truncated, infos = env.step(np.array([END, VOCAB.encode("C")[0]]))
    assert terminated.tolist() == [True, False] and truncated.tolist() == [False, True]
    assert infos["oracle_budget_spent"].tolist() == [True, True] and list(infos["sequence"]) == ["C", "CC"]


def test_keywords_reach_the_task():
    weights = {"qed": 0, "logp": 0, "ring": 0}
    env = make(term_weights=weights, max_length=30, forbid="[#7]", checks=["carbon"], elements=["C"], workers=2)
    task = env.unwrapped.task
    assert task.weights == {"valid": 0.5, "sa": 0.5} and task.length == 30 and task.scorer.workers == 2
    assert task.scorer.spec.constraints.forbid == ("[#7]",) and task.scorer.spec.checks == ("carbon",)
    env.close()
    soft = make(require="C", constraints="soft", objective="toys.smiles_toys:ones", minimize=True, clip=(0, 1))
    assert list(soft.unwrapped.task.weights) == ["constraints", "objective"]


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"max_length": 50}, "max_length"),
        ({"term_weights": {"qed": 2}}, "term_weights"),
        ({"objective": len, "workers": 2}, "objective, workers"),
    ],
)
def test_a_task_beside_its_own_keywords_is_an_error(keywords, named):
    with pytest.raises(ValueError, match=f"its own {named}:"):
        make(task=SmilesTask(vocab=VOCAB), **keywords)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"prior": toy_prior(), "task": SmilesTask(vocab=VOCAB)}, "same vocabulary"),
        ({"prior": BigramPrior(TokenVocab(("C", "O")))}, "end token"),
        ({"prior": "nonsense"}, "nonsense"),
        ({"c": "warm"}, "positive"),
    ],
)
def test_what_cannot_be_is_an_error_of_one_line(keywords, says):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        make(**keywords)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_prior_with_another_vocabulary_makes_its_own_task():
    vocab = TokenVocab(("O", "C", "N", "<end>"), end=3)
    env = make(prior=BigramPrior(vocab))
    env.reset()
    for token in (1, 1, 0, 3):
        *_, info = env.step(token)
    assert env.action_space.n == 4 and info["sequence"] == "CCO" and info["terms"]["valid"] == 1.0


def test_workers_start_with_the_first_full_batch_and_end_with_the_environment():
    env = make_vec(6, workers=2)
    pool = env.unwrapped.task.scorer._pool
    env.reset()
    env.step(np.full(6, VOCAB.encode("C")[0]))
    env.step(np.array([*VOCAB.encode("CCON"), END, END]))
    assert not pool.running  # two molecules are not worth starting them
    *_, infos = env.step(np.full(6, END))
    assert infos["final_info"]["terms"]["valid"].tolist() == [1, 1, 1, 1, 0, 0] and pool.running
    env.close()
    assert not pool.running


def test_evaluate_reports_the_molecules_metrics(tmp_path):
    """Four strings: two spellings of ethanol, benzene, an invalid one; ethanol is known."""

    class Agent:
        def sample(self, n, seed):
            return encoded(["CCO", "OCC", BENZENE, "CC("])

    known = BloomFilter.sized(10)
    known.add(["CCO"])
    known = known.save(tmp_path / "known")
    with pytest.warns(UserWarning, match="No KL and no J"):
        row = evaluate(Agent(), ID, 4, 0, prior=BigramPrior(), known=known)
    assert row["valid"] == row["term_valid"] == 0.75 and row["valid_molecules"] == 3
    assert row["unique"] == pytest.approx(2 / 3) and row["novelty"] == pytest.approx(0.5, abs=0.01)
    assert row["distinct"] == 1.0 and np.isfinite(row["log_p"])
    assert row["mean_qed"] == pytest.approx((2 * by_rdkit("CCO")[2] + by_rdkit(BENZENE)[2]) / 3)
    with pytest.warns(UserWarning, match="No KL and no J"):
        assert "novelty" not in evaluate(Agent(), ID, 4, 0, prior=BigramPrior())


def test_the_bloom_filter_beside_a_prior_is_found(tmp_path):
    load_prior("smiles").save(tmp_path / "own")
    path = tmp_path / "own.safetensors"
    assert find_bloom(path) is None and find_bloom(load_prior("smiles")) is None
    saved = BloomFilter.sized(1).save(tmp_path / "own")
    assert find_bloom(path) == saved == gymnasium.make(ID, prior=path).unwrapped.task.known
