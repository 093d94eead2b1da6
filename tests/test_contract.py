"""The public contract, as data: what users' code, commands and files rest on.

A name or key that is listed here is never renamed or removed without a re-export. Things may be added: tables are
compared as "at least these", unless a test says otherwise. Import paths are the documented ones alone; those under
MAY_MOVE may warn of their deprecation.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import importlib.util
import inspect
import json
import re
import warnings
from functools import reduce
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode
from safetensors import safe_open

import seqtutor_envs  # noqa: F401  (registers the ids)
from agents.evaluate import evaluate
from benchmarks.experiment import Experiment
from toys.commands import GROWING, ROOT, run_module, show_help
from toys.sweep_toys import write_suite

FIXTURES = Path("tests/fixtures")  # relative, as the agents' files name their priors
RESULTS = sorted((ROOT / "docs/results").glob("*/*.json"))
EXACT, MELODY, SMILES = "SeqTutor-Exact-v0", "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0"
PLANTED = "SeqTutor-Planted-v0"
PMO = "SeqTutor-PMO-osimertinib_mpo-v0"  # and 22 more, alike but for their objective
ONE_HOT = {"SeqTutor-MelodyOneHot-v0": MELODY, "SeqTutor-SMILESOneHot-v0": SMILES}  # ids of another default obs_mode
REQUIRED = inspect.Parameter.empty  # a parameter without a default

# ---------------------------------------------------------------- names

NAMES = {
    "seqtutor_envs": "__version__",
    "seqtutor_envs.bounds": "Bounds Twist log_z",
    "seqtutor_envs.prior": "Prior RecurrentPrior TablePrior State find_prior load_prior padded token_log_probs"
    " weights_sha256",
    "seqtutor_envs.task": "Task",
    "seqtutor_envs.melody": "MelodyTask",
    "seqtutor_envs.melody.metrics": "table",
    "seqtutor_envs.melody.midi": "from_midi to_midi to_wav write_midi",
    "seqtutor_envs.smiles": "SmilesTask",
    "seqtutor_envs.smiles.chem": "properties",
    "seqtutor_envs.smiles.metrics": "table",
    "seqtutor_envs.sb3": "make_vec_env",
    "agents": "BestOfN GLearning PsiLearning QLearning RejectionSampler RLOnly SMCSampler",
    "agents.baselines": "PolicyGradient",
    "agents.evaluate": "evaluate",
    "agents.targets": "discounts g_target psi_target q_target shifted_left soft_return taken within OBJECTIVES"
    " Objective",
    "benchmarks.contestants": "Contestant maskable_ppo ppo prior recurrent_ppo recurrent_ppo_prior sb3 uniform",
}

# Documented before 0.2; users' stable-baselines3 zips pickle some of them by reference.
MAY_MOVE = {
    "agents.features": "OneHotPrefix",
    "agents.guide": "KLPenaltyCallback recurrent_policy_kwargs start_as_prior",
    "agents.outside": "LogPolicy",
    "agents.budget": "SecondsBudget NO_LIMIT",
    "seqtutor_envs.wrappers": "KLPenalty",
    "benchmarks.contestants": "Learner",
    "benchmarks.experiment": "Experiment expand",
    "benchmarks.perform": "perform",
}

RUNNABLE = ["agents", "benchmarks", "seqtutor_envs.pretrain", "seqtutor_envs.melody", "tests.exact_learning"]
RUNNABLE += ["tests.qed_equality", "seqtutor_envs.smiles.scoring.worker"]  # the last is what scoring processes run


def pairs(table):
    return [(module, name) for module, names in table.items() for name in names.split()]


def found(module, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module, name", pairs(NAMES))
def test_names_are_imported_without_a_warning(module, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize("module, name", pairs(MAY_MOVE))
def test_names_that_may_move_are_still_where_they_were(module, name):
    assert found(module, name) is not None


MOVED = {
    "agents.features": "agents.sb3.one_hot_prefix",
    "agents.guide": "agents.sb3.prior_guide",
    "agents.outside": "agents.evaluate.policies",
    "agents.budget": "agents.sb3.budget",
}


@pytest.mark.parametrize("old, new", MOVED.items())
def test_moved_names_are_the_same_objects_and_say_where_they_went(old, new):
    for name in MAY_MOVE[old].split():
        with pytest.warns(DeprecationWarning, match=f"{old} goes in 0.3: import {name} from {new}"):
            moved = getattr(importlib.import_module(old), name)
        assert moved is getattr(importlib.import_module(new), name)


@pytest.mark.parametrize("module", RUNNABLE)
def test_modules_that_are_run_are_there(module):
    spec = importlib.util.find_spec(module)
    assert spec is not None
    if spec.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


# ---------------------------------------------------------------- signatures


def read_parameters(text):
    """Read "name, name=default" into {name: default}."""
    return {name: one.default for name, one in inspect.signature(eval(f"(lambda {text}: 0)")).parameters.items()}


def read_signatures(text):
    """Read lines "module:name(parameters)" into {"module:name": {parameter: default}}."""
    found = re.findall(r"^(\S+?)\(((?:.|\n)*?)\)$", text, re.M)
    return {path: read_parameters(parameters) for path, parameters in found}


SIGNATURES = read_signatures(  # "self" is left out
    """
seqtutor_envs.melody:MelodyTask(length=32, weights=None, rules=None)
seqtutor_envs.smiles:SmilesTask(max_length=100, weights=None, vocab=None, objective=None, shaping=None, workers=0,
    score_timeout=None, invalid_score=0.0, minimize=False, clip=None, transform=None, require=(), forbid=(),
    ranges=None, constraints="hard", checks=None, oracle_budget=None, known=None)
seqtutor_envs.melody.metrics:table(tokens, prior=None, log_probs=None, task=None, c=2.0, reference=None)
seqtutor_envs.melody.midi:to_midi(qpm=80.0)
seqtutor_envs.melody.midi:from_midi()
seqtutor_envs.smiles.chem:properties(smiles)
seqtutor_envs.smiles.metrics:table(smiles, reference=None, prior=None, log_probs=None, novelty=None,
    prior_smiles=None, n_unique=(1_000, 10_000), max_compared=10_000)
seqtutor_envs.bounds:log_z(env, samples=65_536, seconds=None, seed=0, twist=None, sequences=None)
seqtutor_envs.sb3:make_vec_env(id, n_envs=1, seed=None, infos="end", env_kwargs=None)
agents.evaluate:evaluate(agent, env_id, n=10_000, seed=0, env_kwargs=None, trust=False)
agents:SMCSampler(env, particles=256, twist=None, seed=0, env_kwargs=None)
agents:SMCSampler.sample(n, seed=None, per_run=1)
agents:RejectionSampler(env, max_return=None, seed=0, env_kwargs=None)
agents:RejectionSampler.sample(n, seed=None)
agents:BestOfN(env, n, seed=0, env_kwargs=None)
agents:BestOfN.sample(n, seed=None)
agents.sb3.prior_guide:KLPenaltyCallback(weight=1.0)
agents.sb3.prior_guide:recurrent_policy_kwargs(prior)
agents.sb3.prior_guide:start_as_prior(model, prior=None)
agents.sb3.budget:SecondsBudget(seconds)
seqtutor_envs.wrappers:KLPenalty(env, weight=1.0)
benchmarks.experiment:Experiment(env, agent, steps=None, seconds=None, n=10_000, seed=0, label="", group="")
benchmarks.contestants:sb3(algorithm, policy="MlpPolicy", n_envs=64, kl_penalty=True)
seqtutor_envs.prior:Prior.initial_state(n)
seqtutor_envs.prior:Prior.step(tokens, state)
seqtutor_envs.prior:Prior.log_probs(tokens, lengths=None)
seqtutor_envs.prior:Prior.sample(n, seed, length=None, temperature=1.0)
seqtutor_envs.prior:RecurrentPrior.load(name_or_path)
seqtutor_envs.prior:RecurrentPrior.save(path)
seqtutor_envs.prior:RecurrentPrior.sample(n, seed, length=None, temperature=1.0)
seqtutor_envs.task:Task.step_terms(tokens, steps)
seqtutor_envs.task:Task.terms(tokens, lengths=None)
seqtutor_envs.task:Task.reward(tokens, lengths=None)
seqtutor_envs.task:Task.metrics(tokens, lengths=None)
seqtutor_envs.task:Task.identities(tokens, lengths=None)
seqtutor_envs.task:Task.announce(tokens, lengths)
seqtutor_envs.task:Task.action_mask(tokens, steps)
seqtutor_envs.task:Task.checked(tokens)
seqtutor_envs.task:Task.max_return()
seqtutor_envs.task:Task.sequence(tokens)
seqtutor_envs.task:Task.sequences(tokens, lengths)
seqtutor_envs.task:Task.render_ansi(tokens)
seqtutor_envs.task:Task.render_rgb(tokens, episode_return)
seqtutor_envs.task:Task.close()
agents.evaluate.policies:LogPolicy.step(observation, state, episode_start, action_masks=None)
"""
)
TARGET = read_parameters("task_reward, prior_log_probs, actions, values, discount, lam=0.0")
SIGNATURES |= {f"agents.targets:{name}_target": TARGET for name in ("q", "psi", "g")}
OF_AGENTS = """
CLASS.learn(total_timesteps, callback=None, log_interval=10, reset_num_timesteps=True, progress_bar=False)
CLASS.predict(observation, state=None, episode_start=None, deterministic=False)
CLASS.sample(n, seed, temperature=1.0, particles=None)
CLASS.twist()
CLASS.log_prob(tokens, lengths=None)
CLASS.save(path)
CLASS.load(path, env=None, prior=None, env_kwargs=None, trust=False)
CLASS.get_env()
CLASS.set_env(env)
CLASS.get_parameters()
CLASS.set_parameters(load_path_or_dict, exact_match=True)
CLASS.set_logger(logger)
CLASS.set_random_seed(seed=None)
"""
AGENTS = {"psi": "PsiLearning", "q": "QLearning", "g": "GLearning", "rl": "RLOnly", "pg": "PolicyGradient"}


def agent_class(name):
    return found("agents.baselines" if name == "PolicyGradient" else "agents", name)


for one in AGENTS.values():
    module = "agents.baselines" if one == "PolicyGradient" else "agents"
    SIGNATURES |= read_signatures(OF_AGENTS.replace("CLASS", f"{module}:{one}"))


def check_signature(function, expected):
    """The parameters are there with these defaults, in this order where they can be given by position."""
    given = inspect.signature(function).parameters
    assert expected.keys() <= given.keys()
    for name, default in expected.items():
        assert given[name].default is default or given[name].default == default, name
    by_position = [name for name, one in given.items() if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    assert [name for name in by_position if name in expected] == [name for name in expected if name in by_position]


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures(path):
    module, _, names = path.partition(":")
    first, *method = names.split(".")
    check_signature(reduce(getattr, method, found(module, first)), SIGNATURES[path])


def test_what_a_prior_of_ones_own_must_give_stays_little():
    assert found("seqtutor_envs.prior", "Prior").__abstractmethods__ == {"initial_state", "step"}
    assert found("seqtutor_envs.task", "Task").__abstractmethods__ == {"step_terms"}


# ---------------------------------------------------------------- environments

EVERY = {"obs_mode": "token", "render_mode": None, "flat_infos": False, "term_weights": None, "task": None}
KEYWORDS = {  # of gym.make and gym.make_vec alike, with their defaults
    EXACT: {**EVERY, "vocab_size": 3, "length": 4, "seed": 0, "c": 1.0, "prior": None},
    MELODY: {**EVERY, "c": 2.0, "prior": "melody", "length": 32},
    PLANTED: {name: default for name, default in EVERY.items() if name != "task"}
    | {"c": 1.0, "prior": "melody", "policy": None, "length": 32, "every": None},
    SMILES: {
        **EVERY,
        "c": None,
        "prior": "smiles",
        **{
            name: default
            for name, default in SIGNATURES["seqtutor_envs.smiles:SmilesTask"].items()
            if name not in ("weights", "vocab", "known")  # `term_weights`, and what belongs to the prior
        },
    },
}
FLAT = {"obs_mode": "one_hot", "flat_infos": True}
KEYWORDS |= {one: KEYWORDS[other] | FLAT for one, other in ONE_HOT.items()}
OF_PMO = {"objective": "seqtutor_envs.smiles.pmo:osimertinib_mpo", "prior": "smiles-zinc", "c": 0.002, "checks": ()}
KEYWORDS[PMO] = KEYWORDS[SMILES] | OF_PMO
OF_BATCHES = {"num_envs": 1, "autoreset_mode": AutoresetMode.NEXT_STEP, "infos": "full"}
TEMPERATURE = {EXACT: 1.0, MELODY: 2.0, SMILES: 0.05, PLANTED: 1.0, PMO: 0.002}
HORIZON = {EXACT: 4, MELODY: 32, SMILES: 100, PLANTED: 32, PMO: 100}
TOKENS = {EXACT: 3, MELODY: 38, SMILES: 25, PLANTED: 38, PMO: 51}
TERMS = {
    EXACT: "prefix".split(),
    MELODY: "key tonic repetition autocorrelation motif repeated_motif interval leap unique_extremes".split(),
    SMILES: "valid qed logp sa ring".split(),
    PLANTED: "planted".split(),
    PMO: "objective".split(),
}
for table in (TEMPERATURE, HORIZON, TOKENS, TERMS):
    table |= {one: table[other] for one, other in ONE_HOT.items()}
IDS = list(KEYWORDS)

ROW_INFOS = {"prior_log_probs", "action_mask"}  # of reset and of steps, absent after the end
STEP_INFOS = {"prior_log_prob", "task_reward", "terms"}
END_INFOS = {"sequence"}


def step_infos(env_id):
    """The keys of a step; with flat_infos each term stands beside the others."""
    flat = {f"term_{name}" for name in TERMS[env_id]}
    return STEP_INFOS - {"terms"} | flat if env_id in ONE_HOT else STEP_INFOS


def end_infos(env_id):
    return set() if env_id in ONE_HOT else END_INFOS


def masked(keys):
    """The keys of a batch: each stands beside a mask."""
    return set(keys) | {f"_{key}" for key in keys}


@pytest.fixture(scope="module", params=IDS)
def env_id(request):
    return request.param


def default_of(env_id, name):
    """The default of an environment's keyword, from the first signature that names it."""
    spec = gym.spec(env_id)
    if name in spec.kwargs:
        return spec.kwargs[name]
    classes = [load_env_creator(path) for path in (spec.entry_point, spec.vector_entry_point)]
    for cls in [one for top in classes for one in top.__mro__] + [found("seqtutor_envs.smiles", "SmilesTask")]:
        own = inspect.signature(cls).parameters.get(name)
        if own is not None and own.default is not REQUIRED:
            return own.default
    raise AssertionError(f"{env_id} has no keyword {name}.")


@pytest.mark.parametrize("env_id, name", [(one, name) for one in IDS for name in (*KEYWORDS[one], *OF_BATCHES)])
def test_keywords_have_their_defaults(env_id, name):
    assert default_of(env_id, name) == {**KEYWORDS[env_id], **OF_BATCHES}[name]


def test_all_keywords_at_their_defaults_make_the_same_environment(env_id):
    plain, given = (gym.make(env_id, **kwargs).unwrapped for kwargs in ({}, KEYWORDS[env_id]))
    for env in (plain, given):
        mode = KEYWORDS[env_id]["obs_mode"]
        assert (env.c, env.obs_mode, env.task.length) == (TEMPERATURE[env_id], mode, HORIZON[env_id])
        assert list(env.task.weights) == TERMS[env_id]
        assert env.action_space == Discrete(TOKENS[env_id]) and env.prior.vocab.start == TOKENS[env_id]
    assert plain.task.weights == given.task.weights
    rows = [env.reset()[1]["prior_log_probs"] for env in (plain, given)]
    np.testing.assert_array_equal(*rows)
    batch = gym.make_vec(env_id, num_envs=2, **KEYWORDS[env_id])
    assert batch.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    batch.close()


def test_a_single_environment_knows_nothing_of_batches(env_id):
    for name in OF_BATCHES:
        with pytest.raises(TypeError, match=name):
            gym.make(env_id, **{name: OF_BATCHES[name]})


def test_an_id_needs_no_import_when_it_names_the_package():
    assert gym.make(f"seqtutor_envs:{EXACT}").unwrapped.c == 1.0


def test_autoreset_modes_are_given_as_enum_or_string():
    for mode in (AutoresetMode.SAME_STEP, "SameStep", "NextStep", "Disabled", AutoresetMode.DISABLED):
        batch = gym.make_vec(EXACT, num_envs=2, autoreset_mode=mode)
        assert batch.metadata["autoreset_mode"] is AutoresetMode(getattr(mode, "value", mode))


@pytest.mark.parametrize("mode", ["token", "prefix", "dict", "one_hot"])
def test_observation_spaces(env_id, mode):
    v, length = TOKENS[env_id], HORIZON[env_id]
    spaces = {
        "token": Discrete(v + 1),
        "prefix": Box(0, v, (length,), np.int64),
        "dict": Dict(token=Discrete(v + 1), step=Discrete(length + 1), action_mask=Box(0, 1, (v,), np.int8)),
        "one_hot": Box(0, 1, (length * (v + 1),), np.float32),
    }
    assert gym.make(env_id, obs_mode=mode).observation_space == spaces[mode]


def test_infos_of_one_environment(env_id):
    env = gym.make(env_id, disable_env_checker=True)
    _, info = env.reset()
    assert info.keys() == ROW_INFOS
    assert (info["prior_log_probs"].dtype, info["prior_log_probs"].shape) == (np.float32, (TOKENS[env_id],))
    assert (info["action_mask"].dtype, info["action_mask"].shape) == (np.int8, (TOKENS[env_id],))
    row, over, steps = info["prior_log_probs"], False, 0
    while not over:
        _, reward, terminated, truncated, info = env.step(5 % TOKENS[env_id])
        over, steps = terminated or truncated, steps + 1
        assert info.keys() == step_infos(env_id) | (end_infos(env_id) if over else ROW_INFOS)
        assert env_id in ONE_HOT or list(info["terms"]) == TERMS[env_id]
        assert info["prior_log_prob"] == pytest.approx(float(row[5 % TOKENS[env_id]]))
        assert reward == pytest.approx(info["prior_log_prob"] + info["task_reward"])
        row = info.get("prior_log_probs")
    assert terminated and steps == HORIZON[env_id]
    assert env_id in ONE_HOT or isinstance(info["sequence"], str if env_id in (SMILES, PMO) else list)


@pytest.mark.parametrize("infos", ["full", "end"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_infos_of_a_batch(env_id, mode, infos):
    batch = gym.make_vec(env_id, num_envs=2, autoreset_mode=mode, infos=infos)
    _, info = batch.reset()
    assert info.keys() == masked(ROW_INFOS)
    actions = np.full(2, 5 % TOKENS[env_id])
    for step in range(HORIZON[env_id]):
        *_, info = batch.step(actions)
        if step < HORIZON[env_id] - 1:
            assert info.keys() == (masked(step_infos(env_id) | ROW_INFOS) if infos == "full" else set())
    if mode == "NextStep":
        assert info.keys() == masked(step_infos(env_id) | end_infos(env_id))
        *_, info = batch.step(actions)
        assert info.keys() == masked(ROW_INFOS)
    else:
        assert info.keys() == masked(ROW_INFOS | {"final_obs", "final_info"})
        assert info["final_info"].keys() == masked(step_infos(env_id) | end_infos(env_id))
    batch.close()


def test_the_planted_solution():
    best = gym.make(PLANTED, length=4).unwrapped.solution()
    assert best["log_z"] == 0.0 and best["policy"].sample(2, 0)[0].shape == (2, 4)


def test_the_exact_solution():
    best = gym.make(EXACT, vocab_size=2, length=3, seed=1, c=0.5).unwrapped.solution(gamma=1.0)
    assert best.keys() >= {"sequences", "log_probs", "log_z"}
    assert best["sequences"].shape == (8, 3) and np.exp(best["log_probs"]).sum() == pytest.approx(1.0)


# ---------------------------------------------------------------- metrics

EVERY_METRIC = "distinct_sequences distinct task_return task_return_se log_p log_p_se log_p_per_step kl kl_se j j_se"
EVERY_METRIC = set(EVERY_METRIC.split())
TABLE_1 = set(
    """
    excessively_repeated repeated_pitches not_in_key in_motif in_repeated_motif long_holds starts_with_tonic
    leaps_resolved unique_maximum unique_minimum autocorrelation_1 autocorrelation_2 autocorrelation_3 distinct_4grams
""".split()
)
RHYTHM = set(
    """
    sixteenths eighths dotted_eighths quarters longer_notes holds notes pitches pitch_range length_entropy
    interval_entropy commonest_opening
""".split()
)
PROPERTIES = ["logp", "sa", "qed", "mw", "tpsa", "ring_penalty"]
MOLECULES = {f"{kind}mean_{name}" for kind in ("", "distinct_") for name in PROPERTIES} | set(
    """
    valid valid_molecules distinct_molecules unique_1000 unique_10000 unique internal_diversity_1 internal_diversity_2
    filters scaffold_diversity
""".split()
)
WITH_REFERENCE = {"snn", "frag", "scaf", *(f"wasserstein_{name}" for name in PROPERTIES)}
NOVELTY = {"novelty", "novelty_false_positive_rate"}
LOG_Z = {"log_z_lower", "log_z_upper", "log_z_estimate"}
METRICS = {
    EXACT: EVERY_METRIC | {"log_z", "gap", "gap_se"},
    PLANTED: EVERY_METRIC | {"log_z", "gap", "gap_se"},
    MELODY: EVERY_METRIC | LOG_Z | TABLE_1 | RHYTHM,
    SMILES: EVERY_METRIC | LOG_Z | MOLECULES | NOVELTY,
    PMO: EVERY_METRIC | MOLECULES | NOVELTY,
}
METRICS |= {one: METRICS[other] for one, other in ONE_HOT.items()}


def test_metrics_of_evaluate(env_id):
    prior = found("benchmarks.contestants", "prior")(env_id, seed=0, env_kwargs={})
    metrics = evaluate(prior, env_id, n=20)
    assert metrics.keys() >= METRICS[env_id] | {f"term_{name}" for name in TERMS[env_id]}
    assert all(np.ndim(value) == 0 for value in metrics.values())


def test_tables_of_metrics():
    melodies = found("seqtutor_envs.melody.metrics", "table")(np.full((4, 32), 14))
    assert melodies.keys() >= TABLE_1 | RHYTHM | {"distinct", "distinct_melodies", "task_return", "task_return_se"}
    molecules = found("seqtutor_envs.smiles.metrics", "table")(["CCO", "c1ccccc1", "C("], ["CCO"], novelty={"CCO"})
    assert molecules.keys() >= MOLECULES | WITH_REFERENCE | {"novelty"}
    properties = found("seqtutor_envs.smiles.chem", "properties")(["CCO"])
    assert properties.keys() >= {"valid", "logp", "sa", "qed", "ring_penalty", "canonical"}


# ---------------------------------------------------------------- agents

# keywords that a file does not keep among the settings
OF_EVERY_AGENT = read_parameters(
    'seed=0, n_envs=None, prior=None, device="cpu", verbose=0, tensorboard_log=None, env_kwargs=None'
)
TUTOR = read_parameters(
    """
    gamma=1.0, lam=None, prior_weight=1.0, learning_rate=None, value_rate=None, anneal=False, tau=0.1,
    max_grad_norm=1.0, huber=20.0, double=False, head=None, precision="float32", batch_size=None, buffer_size=None,
    updates_per_round=None, epsilon_start=1.0, epsilon_end=0.1, epsilon_steps=None, diversity=None
"""
)
GRADIENT = read_parameters(
    "gamma=1.0, lam=0.95, learning_rate=1e-3, value_weight=0.5, max_grad_norm=1.0, anneal=False, diversity=None"
)
# what stands in a signature for a number that depends on whether scores are free
CHOSEN_BY_SCORES = {"tau": None, "max_grad_norm": None, "huber": "auto"}
SETTINGS = {name: TUTOR for name in ("PsiLearning", "QLearning", "GLearning")}
SETTINGS |= {"RLOnly": {**TUTOR, "prior_weight": 0.0}, "PolicyGradient": GRADIENT}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_agents_have_their_defaults(name):
    cls, settings = agent_class(name), SETTINGS[name]
    for agent in (cls(EXACT), cls(EXACT, **OF_EVERY_AGENT, **settings)):
        assert {key: agent.settings[key] for key in settings} == settings
        assert (agent.seed, agent.n_envs, agent.num_timesteps) == (0, 64, 0)
    given = inspect.signature(cls).parameters
    for key, default in {**OF_EVERY_AGENT, **settings}.items():
        # not in: taken with **others
        assert key not in given or given[key].default in (default, CHOSEN_BY_SCORES.get(key, default))


# ---------------------------------------------------------------- commands

FIT = """
    --hidden-size --num-layers --cell --epochs --epoch-size --batch-size --chunk --seed --learning-rate --warmup
    --weight-decay --dropout --max-grad-norm --precision --out --resume --note --from --patience
"""
COMMANDS = {  # options; an argument without a name is left out
    ("agents", "train"): """
        --agent --steps --seed --out --resume --prior --trust --c --gamma --lam --diversity --term-weights
        --env-kwargs --settings --device --checkpoint-seconds --objective --minimize --clip --transform
        --invalid-score --oracle-budget --require --forbid --range --constraints --shaping --workers
    """,
    ("agents", "sample"): "-n --n --seed --temperature --format --out --midi --env --trust",
    ("agents", "evaluate"): "-n --n --seed --env --env-kwargs --trust --algorithm --reference --objective",
    ("agents", "export"): "--out --note --trust",
    ("benchmarks", "demo"): "--out --seconds --paper --seed --n --prior --min-distinct --only --molecule-seconds"
    " --n-molecules --molecule-prior --workers",
    ("benchmarks", "run"): "--out --jobs --only --retry-failed --dry-run --engine --address --time-limit --trust",
    ("benchmarks", "list"): "--out",
    ("benchmarks", "report"): "--out --to --html --markdown --csv --parquet --pictures",
    ("benchmarks", "tune"): "--env --steps --trials --seeds --fresh-seeds -n --n --space --settings --env-kwargs"
    " --out --jobs --sampler-seed",
    ("benchmarks", "speed"): "--out --only --seconds --markdown",
    ("seqtutor_envs.pretrain", "melody"): FIT + "--midi --corpus --tokens --exclude --transpose",
    ("seqtutor_envs.pretrain", "smiles"): FIT
    + "--file --moses --zinc250k --column --standardize --salts --stereo --max-length --vocabulary",
    ("seqtutor_envs.melody", "score"): "--prior",
}
CHOICES = {  # of options, by the words of --help
    ("agents", "train", "--agent"): AGENTS,
    ("agents", "sample", "--format"): ["text", "smi", "csv", "sdf"],
    ("benchmarks", "run", "--engine"): ["local", "ray"],
    ("benchmarks", "demo", "--only"): ["melodies", "molecules"],
}


def help_of(*command):
    """Lines of `--help` that begin with an option, without the frame."""
    return [line.lstrip("│ ") for line in show_help(*command).splitlines() if re.match("(│ | {1,3})-", line)]


@pytest.mark.parametrize("module, command", COMMANDS)
def test_options_of_commands(module, command):
    lines = help_of(module, command)
    assert set(COMMANDS[module, command].split()) <= set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", " ".join(lines)))


@pytest.mark.parametrize("module, command, option", CHOICES)
def test_choices_of_options(module, command, option):
    line = next(line for line in help_of(module, command) if line.startswith(f"{option} "))
    assert set(CHOICES[module, command, option]) <= set(re.findall(r"[a-z]+", line))


# ---------------------------------------------------------------- files

RUN = "id env_kwargs agent settings n_envs seed c prior_sha256 objective num_timesteps rounds sessions".split()
SESSION = ["command", "started", "ended", "from_timestep", "to_timestep", "versions"]
AGENT_FACTS = "agent settings env n_envs seed num_timesteps rounds rng prior_sha256 versions".split()
AGENT_ARRAYS = {"PsiLearning": ["network", "target", "adam", "replay"], "PolicyGradient": ["network", "adam"]}
PROGRESS = [f"rollout/{name}" for name in "ep_rew_mean ep_len_mean j kl log_p task_return distinct".split()]
PROGRESS += [f"time/{name}" for name in ("fps", "iterations", "time_elapsed", "total_timesteps")]
PROGRESS += [f"train/{name}" for name in ("learning_rate", "n_updates", "grad_norm")]
MOLECULE_COLUMNS = ["smiles", "task_return", "valid", "qed", "logp", "sa", "ring"]
LOGGED_COLUMNS = [*MOLECULE_COLUMNS, "prior_log_prob", "first_step", "last_step", "times_seen"]
SAMPLE_COLUMNS = "smiles canonical valid task_return qed logp sa ring prior_log_prob log_prob".split()
CARD = "cell hidden_size num_layers length vocabulary end weights_sha256".split()
CARD += "data_sha256 description sources split skipped command note training validation baselines".split()
OF_MOLECULES = ["changes", "vocabulary_note", "rdkit", "samples"]  # a SMILES prior's card besides
BLOOM_FACTS = ["scheme", "num_hashes", "count", "false_positive_rate", "facts"]
RESULT = """
    id experiment c metrics j_kind samples curve timesteps sequences scored counts time peak_memory_mib weights warnings
    seeds versions machine finished git
""".split()
OF_A_RESULT = {
    "experiment": "env agent env_kwargs agent_kwargs steps seconds n seed label group".split(),
    "time": "learning_cpu learning_wall judging_wall total_wall".split(),
    "seeds": "learning judging".split(),
    "versions": "python seqtutor torch numpy numba gymnasium stable-baselines3 sb3-contrib rdkit".split(),
    "machine": "host cpu cores memory_gib os".split(),
}
CURVE_POINT = ["timesteps", "seconds", "j", "j_se", "kl", "task_return", "distinct", "gap"]
SAMPLE = ["tokens", "sequence", "task_return", "log_p", "terms"]
RESULT_COLUMNS = [f"metrics.{name}" for name in sorted(METRICS[EXACT])]
RESULT_COLUMNS += """
    j_kind log_z_lower log_z_upper log_z_estimate gap
    id task label seed env agent env_kwargs agent_kwargs steps seconds n c timesteps peak_memory_mib time.learning_cpu
    machine.cpu git.commit versions.torch warnings finished
""".split()
CURVE_COLUMNS = ["id", "task", "label", "seed", *CURVE_POINT]


def facts_of(path):
    """Names of arrays, and the JSON facts, of one of our safetensors files."""
    with safe_open(path, framework="numpy") as file:
        return list(file.keys()), json.loads(file.metadata()["facts"])


def columns_of(path):
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def holds(expected, found):
    missing = set(expected) - set(found)
    assert not missing
    return True


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What our commands write today: runs of `train`, priors of `pretrain`, a suite's results and their report."""
    folder = tmp_path_factory.mktemp("made")
    small = ["--seed", "1", "--steps", "700", "--settings", '{"n_envs": 4, "buffer_size": 4}']  # a row of the log
    assert run_module("agents", "train", EXACT, *small, "--out", folder / "exact") == 0
    kwargs = json.dumps({"prior": str(FIXTURES / "priors/smiles.safetensors"), "max_length": 40})
    molecules = ["--workers", "0", "--env-kwargs", kwargs, "--out", folder / "molecules"]
    assert run_module("agents", "train", SMILES, *small, *molecules) == 0
    assert run_module("agents", "evaluate", folder / "exact", "-n", "50") == 0
    sample = ["-n", "5", "--format", "csv", "--out", folder / "sample.csv", "--trust"]  # its prior is a file
    assert run_module("agents", "sample", folder / "molecules", *sample) == 0

    tiny = ["--hidden-size", "4", "--epochs", "1"]
    (folder / "midi").mkdir()
    write_midi = found("seqtutor_envs.melody.midi", "write_midi")
    for number, tokens in enumerate(found("seqtutor_envs.prior", "load_prior")("melody").sample(12, 0)[0]):
        write_midi(tokens, folder / f"midi/{number}.mid")
    melodies = ["--midi", folder / "midi", "--no-transpose", "--out", folder / "melody.safetensors"]
    assert run_module("seqtutor_envs.pretrain", "melody", *tiny, *melodies) == 0
    smiles = ["--file", FIXTURES / "molecules.smi", "--precision", "float32", "--out", folder / "smiles.safetensors"]
    assert run_module("seqtutor_envs.pretrain", "smiles", *tiny, *smiles) == 0

    write_suite(folder / "suite.py", [Experiment(EXACT, "agents:PsiLearning", steps=2000, n=100)])
    results = ["--out", folder / "results"]
    assert run_module("benchmarks", "run", folder / "suite.py", "--jobs", "1", *results) == 0
    assert run_module("benchmarks", "report", folder / "suite.py", "--csv", *results) == 0
    return folder


@pytest.mark.parametrize("name, agent", [("exact", "PsiLearning"), ("molecules", "PsiLearning")])
def test_a_run_folder(made, name, agent):
    record = json.loads((made / name / "run.json").read_text())
    assert holds(RUN, record) and holds(SESSION, record["sessions"][0])
    assert (record["agent"], record["id"]) == (agent, EXACT if name == "exact" else SMILES)
    terms = [f"rollout/term_{term}" for term in TERMS[record["id"]]]
    assert holds([*PROGRESS, *terms], columns_of(made / name / "progress.csv"))
    arrays, facts = facts_of(made / name / "agent.safetensors")
    assert holds(AGENT_FACTS, facts) and holds(SETTINGS[agent], facts["settings"])
    assert {array.partition(".")[0] for array in arrays} >= set(AGENT_ARRAYS[agent])


def test_a_run_folder_of_molecules(made):
    record = json.loads((made / "molecules/run.json").read_text())
    assert holds(["counts", "distinct_molecules", "oracle"], record)
    assert columns_of(made / "molecules/molecules.csv.gz") == LOGGED_COLUMNS
    assert (made / "molecules/top.sdf").is_file()
    assert columns_of(made / "sample.csv") == SAMPLE_COLUMNS


def test_what_evaluate_keeps(made):
    kept = json.loads((made / "exact/evaluation.json").read_text())
    assert holds([*METRICS[EXACT], "n", "seed", "env", "env_kwargs"], kept)


@pytest.mark.parametrize("name, more", [("melody", []), ("smiles", OF_MOLECULES)])
def test_a_prior_and_its_card(made, name, more):
    arrays, facts = facts_of(made / f"{name}.safetensors")
    assert holds([*CARD, *more], facts)
    assert json.loads((made / f"{name}.json").read_text()) == facts
    layer = {f"rnn.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")}
    assert set(arrays) == {"head.bias", "head.weight"} | layer


def test_a_bloom_filter(made):
    arrays, facts = facts_of(made / "smiles.bloom")
    assert arrays == ["bloom"] and holds(BLOOM_FACTS, facts)


def test_a_result_file(made):
    (path,) = (made / "results").glob("*.json")
    result = json.loads(path.read_text())
    assert result["id"] == path.stem
    assert holds(RESULT, result) and holds(METRICS[EXACT], result["metrics"])
    assert all(holds(names, result[part]) for part, names in OF_A_RESULT.items())
    assert holds(CURVE_POINT, result["curve"][0]) and holds(SAMPLE, result["samples"][0])
    assert (result["seeds"], len(result["samples"])) == ({"learning": 0, "judging": 1_000_000}, 8)


def test_tables_of_results(made):
    assert holds(RESULT_COLUMNS, columns_of(made / "results/results.csv"))
    assert holds(CURVE_COLUMNS, columns_of(made / "results/results-curves.csv"))


# ---------------------------------------------------------------- results in docs/

FOLDERS = sorted({path.parent.name for path in RESULTS})


def read_results(folder):
    return {path.stem: json.loads(path.read_text()) for path in RESULTS if path.parent.name == folder}


def test_there_are_results():
    assert len(RESULTS) >= 397 and len(FOLDERS) >= 7


@pytest.mark.parametrize("folder", FOLDERS)
def test_ids_of_results_are_those_of_their_experiments(folder):
    results = read_results(folder)
    made = {name: (result["id"], Experiment(**result["experiment"]).id) for name, result in results.items()}
    assert made == {name: (name, name) for name in results}


@pytest.mark.parametrize("folder", FOLDERS)
def test_agents_of_results_can_be_imported(folder):
    for agent in {result["experiment"]["agent"] for result in read_results(folder).values()}:
        assert callable(found(*agent.split(":")))


@pytest.mark.parametrize("folder", FOLDERS)
def test_suites_have_the_experiments_of_their_results(folder, capsys):
    assert run_module("benchmarks", "run", folder, "--dry-run", "--out", f"docs/results/{folder}") == 0
    printed = capsys.readouterr().out
    left = int(re.search(r"(\d+) to run into", printed)[1])
    assert f"{len(read_results(folder))} have results" in printed and (left == 0 or folder in GROWING)
