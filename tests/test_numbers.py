"""Every number that a user can pass has a range: one table of arguments, fed with what is no such number."""

from __future__ import annotations

import math
from functools import partial

import gymnasium as gym
import numpy as np
import pytest

from agents import BestOfN, PsiLearning, RejectionSampler, SMCSampler
from agents.__main__ import main as agents_main
from agents.baselines import PolicyGradient
from agents.store.diversity import RANGES as DIVERSITY
from agents.store.diversity import make_diversity
from agents.evaluate import evaluate
from agents.learner import RANGES as LEARNER
from agents.learner import LearnerSettings
from agents.sb3.budget import SecondsBudget
from agents.sb3.prior_guide import KLPenaltyCallback
from agents.train.checkpoints import Checkpoints
from benchmarks.__main__ import main as benchmarks_main
from benchmarks.experiment import Experiment
from benchmarks.runner.local_engine import LocalEngine
from seqtutor_envs import exact, prior
from seqtutor_envs.bounds import collapse_temperature, log_z
from seqtutor_envs.melody import MelodyTask
from seqtutor_envs.melody.midi import to_midi, to_wav
from seqtutor_envs.metrics import evaluate_samples
from seqtutor_envs.prior import fit
from seqtutor_envs.sb3 import make_vec_env
from seqtutor_envs.smiles import SmilesTask
from seqtutor_envs.smiles.chem.constraints import Constraints
from seqtutor_envs.smiles.corpus import Rules
from seqtutor_envs.smiles.metrics import MoleculeSet
from seqtutor_envs.smiles.objective.oracle import OracleCounter
from seqtutor_envs.smiles.objective.transforms import Transform
from seqtutor_envs.smiles.scoring import Scorer, ScoreSpec
from seqtutor_envs.wrappers import penalty_weight
from toys.agent_toys import EXACT, made
from toys.commands import refuse
from toys.env_toys import IDS, ToyTask

WHOLE, SIGNED, ENDLESS = "whole", "signed", "endless"  # an integer; may be negative; may be infinite


def score(smiles):
    return [0.0] * len(smiles)


def call(function, name, *arguments, **keywords):
    """The function of one value, which is its argument `name`."""
    return lambda value: function(*arguments, **keywords, **{name: value})


def of_settings(function, ranges):
    """Arguments of a function that takes settings by name, as its table of ranges describes them."""
    return {name: (call(function, name), {WHOLE} if found.whole else set()) for name, found in ranges.items()}


def sampled(name, value):
    return prior.load_prior("melody").sample(**({"n": 1, "seed": 0, "length": 2} | {name: value}))


def experiment(**keywords):
    return Experiment(EXACT, "agents:PsiLearning", **keywords)


def reset(make, value):
    return make().reset(seed=value)


SOLVED = exact.make_random_task(2, 2, 0)
TOKENS = np.zeros((2, 5), np.int64)
smiles = partial(SmilesTask, objective=score)
tutor, gradient = partial(PsiLearning, EXACT), partial(PolicyGradient, EXACT)
# where it is passed and its name -> the call, and what it is beside a number above 0
TABLE = {
    **{f"{id} {name}": (call(gym.make_vec, name, id), kind)
       for id in IDS for name, kind in {"c": set(), "num_envs": {WHOLE}}.items()},
    **{f"gym.make {id} c": (call(gym.make, "c", id), set()) for id in IDS},
    **{f"Exact {name}": (call(gym.make_vec, name, EXACT), {WHOLE}) for name in ("vocab_size", "length", "seed")},
    **{f"Planted {name}": (call(gym.make_vec, name, "SeqTutor-Planted-v0"), {WHOLE}) for name in ("length", "every")},
    **{f"reset {id} seed": (partial(reset, partial(gym.make, id)), {WHOLE}) for id in IDS},
    **{f"reset of a batch of {id} seed": (partial(reset, partial(gym.make_vec, id)), {WHOLE}) for id in IDS},
    "reset of a batch, one of a list: seed": (lambda value: gym.make_vec(EXACT, 2).reset(seed=[0, value]), {WHOLE}),
    "MelodyTask length": (call(MelodyTask, "length"), {WHOLE}),
    "MelodyTask weights 'key'": (lambda value: MelodyTask(weights={"key": value}), {SIGNED}),
    "SmilesTask weights 'qed'": (lambda value: SmilesTask(weights={"qed": value}), set()),
    "SmilesTask max_length": (call(SmilesTask, "max_length"), {WHOLE}),
    "SmilesTask workers": (call(SmilesTask, "workers"), {WHOLE}),
    "SmilesTask score_timeout": (call(SmilesTask, "score_timeout", workers=1), set()),
    "SmilesTask oracle_budget budget": (call(smiles, "oracle_budget"), {WHOLE}),
    "SmilesTask invalid_score": (call(smiles, "invalid_score"), {SIGNED}),
    "SmilesTask clip": (lambda value: smiles(clip=(value, None)), {SIGNED, ENDLESS}),
    "Transform low": (lambda value: Transform.of({"name": "step", "low": value}), {SIGNED, ENDLESS, "text"}),
    "Constraints mw": (lambda value: Constraints(ranges={"mw": (value, 500)}), {SIGNED, ENDLESS}),
    "Scorer cache_size": (call(Scorer, "cache_size", ScoreSpec()), {WHOLE}),
    "OracleCounter.top k": (lambda value: OracleCounter().top(value), {WHOLE}),
    "OracleCounter.auc k": (lambda value: OracleCounter().auc(value), {WHOLE}),
    "OracleCounter.auc every": (lambda value: OracleCounter().auc(every=value), {WHOLE}),
    "MoleculeSet most": (call(MoleculeSet, "most", ["C"]), {WHOLE}),
    "Rules max_length": (call(Rules, "max_length"), {WHOLE}),
    "to_midi qpm": (call(to_midi, "qpm", [14]), set()),
    "to_wav sample_rate": (lambda value: to_wav([14], "no.wav", value), {WHOLE}),
    "make_vec_env n_envs": (call(make_vec_env, "n_envs", EXACT), {WHOLE}),
    "make_vec_env seed": (call(make_vec_env, "seed", EXACT), {WHOLE}),
    "solve c": (lambda value: exact.solve(*SOLVED, c=value), set()),
    "solve gamma": (lambda value: exact.solve(*SOLVED, c=1.0, gamma=value), set()),
    "evaluate_samples c": (call(evaluate_samples, "c", ToyTask(), TOKENS), set()),
    "KLPenalty weight": (penalty_weight, set()),
    "KLPenaltyCallback weight": (KLPenaltyCallback, set()),
    "TablePrior length": (lambda value: prior.TablePrior(ToyTask.vocab, np.zeros((1, 4)), value), {WHOLE}),
    "Prior.sample n": (partial(sampled, "n"), {WHOLE}),
    "Prior.sample seed": (partial(sampled, "seed"), {WHOLE}),
    "Prior.sample length": (partial(sampled, "length"), {WHOLE}),
    "Prior.sample temperature": (partial(sampled, "temperature"), set()),
    **of_settings(fit.Settings, fit.RANGES),
    **{f"PsiLearning {name}": found for name, found in of_settings(tutor, PsiLearning.ranges).items()},
    **{f"PolicyGradient {name}": found for name, found in of_settings(gradient, PolicyGradient.ranges).items()},
    **{f"LearnerSettings {name}": found for name, found in of_settings(LearnerSettings, LEARNER).items()},
    **{f"{kind.__name__} {name}": (call(kind, name, EXACT), {WHOLE})
       for kind in (PsiLearning, PolicyGradient) for name in ("seed", "n_envs")},
    **{f"diversity {name}": (lambda value, name=name: make_diversity(ToyTask(), {name: value}, 1.0),
                             ({WHOLE} if found.whole else set()) | ({SIGNED} if found.low < 0 else set()))
       for name, found in DIVERSITY.items()},
    "learn total_timesteps": (lambda value: made(PsiLearning).learn(value), set()),
    "learn log_interval": (lambda value: made(PsiLearning).learn(1, log_interval=value), {WHOLE}),
    "agent.sample n": (lambda value: made(PsiLearning).sample(value, 0), {WHOLE}),
    "agent.sample seed": (lambda value: made(PsiLearning).sample(1, value), {WHOLE}),
    "agent.sample temperature": (lambda value: made(PsiLearning).sample(1, 0, value), set()),
    "agent.sample particles": (lambda value: made(PsiLearning).sample(1, 0, particles=value), {WHOLE}),
    "log_z samples": (call(log_z, "samples", EXACT), {WHOLE}),
    "log_z seconds": (call(log_z, "seconds", EXACT), set()),
    "log_z seed": (call(log_z, "seed", EXACT), {WHOLE}),
    "collapse_temperature samples": (call(collapse_temperature, "samples", EXACT), {WHOLE}),
    "collapse_temperature seed": (call(collapse_temperature, "seed", EXACT), {WHOLE}),
    "collapse_temperature c": (lambda value: collapse_temperature(EXACT, temperatures=[value]), set()),
    "SMCSampler particles": (call(SMCSampler, "particles", EXACT), {WHOLE}),
    "SMCSampler seed": (call(SMCSampler, "seed", EXACT), {WHOLE}),
    "SMCSampler.sample n": (lambda value: SMCSampler(EXACT).sample(value, 0), {WHOLE}),
    "SMCSampler.sample seed": (lambda value: SMCSampler(EXACT).sample(1, value), {WHOLE}),
    "SMCSampler.sample per_run": (lambda value: SMCSampler(EXACT).sample(1, 0, value), {WHOLE}),
    "RejectionSampler max_return": (call(RejectionSampler, "max_return", EXACT), {SIGNED}),
    "BestOfN n": (call(BestOfN, "n", EXACT), {WHOLE}),
    "agent.set_random_seed seed": (lambda value: made(PsiLearning).set_random_seed(value), {WHOLE}),
    "evaluate n": (lambda value: evaluate(made(PsiLearning, EXACT), EXACT, value), {WHOLE}),
    "evaluate seed": (lambda value: evaluate(made(PsiLearning, EXACT), EXACT, 2, value), {WHOLE}),
    "SecondsBudget seconds": (SecondsBudget, {ENDLESS}),
    "Checkpoints checkpoint_seconds": (lambda value: Checkpoints(None, None, None, value), set()),
    "Experiment steps": (call(experiment, "steps"), {WHOLE}),
    "Experiment seconds": (call(experiment, "seconds"), set()),
    "Experiment n": (call(experiment, "n"), {WHOLE}),
    "Experiment seed": (call(experiment, "seed"), {WHOLE}),
    "LocalEngine time-limit": (lambda value: LocalEngine(1, None, value), set()),
}


def no_numbers(kinds):
    """Return values that an argument of these kinds must refuse."""
    yield from (math.nan, np.float32("nan"), True)
    if "text" not in kinds:
        yield "1"
    if not kinds & {ENDLESS, SIGNED}:
        yield from (-math.inf, -1, np.int64(-1))
    if ENDLESS not in kinds:
        yield math.inf
        yield from (1.5, np.float64(2.0)) if WHOLE in kinds else (10**400,)


@pytest.mark.parametrize("entry", TABLE)
def test_what_is_no_such_number_is_one_line_that_names_the_argument(entry):
    function, kinds = TABLE[entry]
    name = entry.rpartition(" ")[2].strip("'")
    for value in no_numbers(kinds):
        with pytest.raises(ValueError) as error:
            function(value)
        said = str(error.value)
        assert name in said and "\n" not in said and len(said) < 300, f"{value!r}: {said}"


COMMANDS = [
    (agents_main, ["train", EXACT, "--c", "nan"], "c must be"),
    (agents_main, ["train", EXACT, "--c", "1e-45"], "c must be"),
    (agents_main, ["train", EXACT, "--seed", "-1"], "seed must be"),
    (agents_main, ["train", EXACT, "--gamma", "nan"], "gamma must be"),
    (agents_main, ["train", EXACT, "--lam", "2"], "lam must be"),
    (agents_main, ["train", EXACT, "--checkpoint-seconds", "nan"], "checkpoint_seconds must be"),
    (agents_main, ["train", EXACT, "--term-weights", '{"prefix": NaN}'], "The weight of 'prefix' must be"),
    (agents_main, ["train", EXACT, "--diversity", '{"seen": Infinity}'], "diversity: seen must be"),
    (agents_main, ["train", EXACT, "--settings", '{"max_grad_norm": NaN}'], "max_grad_norm must be"),
    (agents_main, ["train", EXACT, "--settings", '{"epsilon_end": "1"}'], "epsilon_end must be"),
    (agents_main, ["train", EXACT, "--settings", '{"n_envs": 1.5}'], "n_envs must be"),
    (benchmarks_main, ["run", "--env", EXACT, "--c", "nan"], "c must be"),
    (benchmarks_main, ["run", "--env", EXACT, "--seconds", "nan"], "seconds must be"),
    (benchmarks_main, ["run", "--env", EXACT, "--seeds", "-1"], "seed must be"),
    (benchmarks_main, ["run", "--env", EXACT, "--agents", "psi", "--time-limit", "nan"], "--time-limit must be"),
    (benchmarks_main, ["bounds", EXACT, "--samples", "0"], "samples must be"),
    (benchmarks_main, ["bounds", EXACT, "--seconds", "nan"], "seconds must be"),
    (benchmarks_main, ["bounds", EXACT, "--seed", "-1"], "seed must be"),
    (benchmarks_main, ["bounds", EXACT, "--c", "2", "nan"], "c must be"),
    (benchmarks_main, ["speed", "--seconds", "nan"], "--seconds must be"),
]


@pytest.mark.parametrize(("main", "words", "says"), COMMANDS, ids=lambda value: "")
def test_a_command_refuses_such_a_number_in_one_line(main, words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = refuse(capsys, main, *words)
    assert said.partition(": ")[2].startswith(says), said
    # of a suite the folder with its plan may exist: results are what is missing
    assert not list(tmp_path.rglob("*.safetensors"))
