"""Which library's algorithm trains in which environment and obs_mode: each cell of docs/compatibility.json, tried.

The slow cells run with `-m slow`. `python -m pytest tests/test_compatibility.py --rewrite-compatibility` tries all
cells and writes the JSON file, and docs/compatibility.md from it.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import pytest
import torch
from stable_baselines3.common.logger import Logger

import seqtutor_envs
from agents.evaluate.load import get_agent_classes
from seqtutor_envs.command import installed
from seqtutor_envs.files import write_atomically
from seqtutor_envs.sb3 import make_vec_env

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "examples" / "cleanrl_ppo.py"
COMMAND = "python -m pytest tests/test_compatibility.py --rewrite-compatibility"
VERSIONS = ("gymnasium", "stable-baselines3", "sb3-contrib", "torchrl", "torch", "numpy")
IDS = ("SeqTutor-Melody-v0", "SeqTutor-SMILES-v0", "SeqTutor-Exact-v0")
COLUMNS = [f"{env_id} {obs_mode}" for env_id in IDS for obs_mode in ("token", "prefix", "one_hot", "dict")]
SLOW = [column for column in COLUMNS if "Exact" not in column and "dict" not in column]  # half a minute of one core
WORKS = ("trains", "steps")

N_ENVS = 4
STEPS = 16  # of each environment in a rollout
TOKENS = 3 * STEPS * N_ENVS  # three rollouts
ROLLOUT = {"n_steps": STEPS}
BATCHES = {**ROLLOUT, "batch_size": 32}
EPOCHS = {**BATCHES, "n_epochs": 1}
REPLAY = {"learning_starts": 32, "train_freq": 4, "batch_size": 32, "buffer_size": 1000}

HEAD = """# What trains where

Each cell was tried: a few updates of the library's algorithm in the environment, with that `obs_mode`. "trains" means
that parameters changed and are finite. "steps" means that the wrapper stepped; nothing learns there. A number in
brackets means that it failed, and names the error below.
"""


# -- a few updates of each algorithm: these raise where the library does, and where nothing was learned ---------------


def check_changed(before, after):
    """Raise RuntimeError unless some tensor has changed and all are finite."""
    if all(value.equal(after[name]) for name, value in before.items()):
        raise RuntimeError("it ran, but no parameter has changed")
    if not all(value.isfinite().all() for value in after.values()):
        raise RuntimeError("it ran, but a parameter is not finite")


def check_learns(model, timesteps):
    """Train what has stable-baselines3's `learn` and `get_parameters`."""

    def tensors():  # without the optimisers' states, which are nested
        parts = model.get_parameters().items()
        values = ((f"{part}.{name}", value) for part, state in parts for name, value in state.items())
        return {name: value for name, value in values if hasattr(value, "equal")}

    model.set_logger(Logger(None, []))  # one of its own would leave a temporary folder
    before = {name: value.clone() for name, value in tensors().items()}
    model.learn(timesteps)
    check_changed(before, tensors())


def train_ours(name, env_id, obs_mode):
    agent = get_agent_classes()[name](env_id, n_envs=N_ENVS, env_kwargs={"obs_mode": obs_mode})
    check_learns(agent, 3 * N_ENVS * agent.horizon)


def train_sb3(module, name, settings, policy, env_id, obs_mode):
    """`policy` is what the names of the algorithm's policies end with."""
    env = make_vec_env(env_id, N_ENVS, obs_mode=obs_mode)
    kind = "MultiInput" if obs_mode == "dict" else "Mlp"
    algorithm = getattr(importlib.import_module(module), name)
    model, file = algorithm(kind + policy, env, seed=0, device="cpu", **settings), io.BytesIO()
    check_learns(model, TOKENS)
    model.save(file)
    loaded, observations = algorithm.load(file, env=env, device="cpu"), env.reset()
    actions, others = (one.predict(observations, deterministic=True)[0].tolist() for one in (model, loaded))
    if actions != others or loaded.num_timesteps != model.num_timesteps:
        raise RuntimeError("what was loaded is not what was saved")
    check_learns(loaded, TOKENS)


def train_torchrl(batched, env_id, obs_mode):
    """Three updates by TorchRL's clipped PPO loss (a batch) or its A2C loss (a single environment), linear networks."""
    from tensordict.nn import TensorDictModule
    from torchrl.envs import DTypeCastTransform, GymEnv, GymWrapper, TransformedEnv
    from torchrl.modules import MLP, OneHotCategorical, ProbabilisticActor, ValueOperator
    from torchrl.objectives import A2CLoss, ClipPPOLoss

    if batched:  # TorchRL itself resets what is over
        env = GymWrapper(gym.make_vec(env_id, num_envs=N_ENVS, autoreset_mode="Disabled", obs_mode=obs_mode))
    else:
        env = GymEnv(env_id, obs_mode=obs_mode)
    keys = ["token", "step"] if obs_mode == "dict" else ["observation"]
    if obs_mode != "one_hot":  # which has floats
        env = TransformedEnv(env, DTypeCastTransform(torch.int64, torch.float32, in_keys=keys))
    logits = TensorDictModule(MLP(out_features=env.action_spec.shape[-1], num_cells=[]), keys, ["logits"])
    actor = ProbabilisticActor(logits, ["logits"], distribution_class=OneHotCategorical, return_log_prob=True)
    critic = ValueOperator(MLP(out_features=1, num_cells=[]), keys)
    actor(critic(env.reset()))  # gives the lazy layers their sizes
    loss = (ClipPPOLoss if batched else A2CLoss)(actor, critic)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    for _ in range(3):
        with torch.no_grad():
            batch = env.rollout(STEPS, actor, break_when_any_done=False)
        optimizer.zero_grad()
        sum(value for name, value in loss(batch).items() if name.startswith("loss_")).backward()
        optimizer.step()
    check_changed(before, loss.state_dict())
    env.close()


def train_cleanrl(env_id, obs_mode):
    if obs_mode != "dict":
        raise ValueError("the example reads observations of obs_mode 'dict'")
    spec = spec_from_file_location(EXAMPLE.stem, EXAMPLE)  # by its path: other distributions have folders `examples`
    example = sys.modules[EXAMPLE.stem] = module_from_spec(spec)
    spec.loader.exec_module(example)
    sizes = {"num_envs": N_ENVS, "num_steps": STEPS}
    before, after = (example.train(example.Args(env_id, total_timesteps=n, **sizes)) for n in (0, TOKENS))
    check_changed(before.state_dict(), after.state_dict())


def step_wrapped(wrapper, env_id, obs_mode):
    """Random tokens through one of Gymnasium's vector wrappers, until sequences have ended and begun anew."""
    native = gym.make_vec(env_id, num_envs=N_ENVS, obs_mode=obs_mode)
    env = getattr(gym.wrappers.vector, wrapper)(native)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(native.task.length + 2):
        env.step(env.action_space.sample())
    env.close()


class Row(NamedTuple):
    """One row of the table; `module` must be there to import."""

    library: str
    algorithm: str
    run: Callable[[str, str], None]
    module: str = "seqtutor_envs"


def sb3_row(name, settings, module="stable_baselines3", policy="Policy"):
    return Row(module.replace("_", "-"), name, partial(train_sb3, module, name, settings, policy), module)


contrib_row = partial(sb3_row, module="sb3_contrib")
ROWS = (
    Row("seqtutor", "Psi-learning", partial(train_ours, "psi")),
    Row("seqtutor", "G-learning", partial(train_ours, "g")),
    Row("seqtutor", "Q-learning", partial(train_ours, "q")),
    Row("seqtutor", "policy gradient", partial(train_ours, "pg")),
    sb3_row("PPO", EPOCHS),
    sb3_row("A2C", ROLLOUT),
    sb3_row("DQN", REPLAY),
    sb3_row("SAC", REPLAY),
    sb3_row("TD3", REPLAY),
    contrib_row("RecurrentPPO", EPOCHS, policy="LstmPolicy"),
    contrib_row("MaskablePPO", EPOCHS),
    contrib_row("TRPO", BATCHES),
    contrib_row("QRDQN", REPLAY),
    contrib_row("ARS", {"n_delta": 2, "n_eval_episodes": 4}),
    Row("torchrl", "GymEnv, A2C loss", partial(train_torchrl, False), "torchrl"),
    Row("torchrl", "GymWrapper of the native batch, PPO loss", partial(train_torchrl, True), "torchrl"),
    Row("cleanrl", "PPO with an LSTM (examples/cleanrl_ppo.py)", train_cleanrl),
    *(
        Row("gymnasium", f"vector.{name}", partial(step_wrapped, name))
        for name in (
            "RecordEpisodeStatistics", "NormalizeReward", "NormalizeObservation", "FlattenObservation", "DictInfoToList"
        )
    ),
)


def try_cell(row, column):
    """Return "trains" or "steps", or the first line of what was raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            row.run(*column.split())
        except Exception as error:  # whatever another library raises is the answer
            lines = str(error).strip().splitlines()
            return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return "steps" if row.library == "gymnasium" else "trains"


# -- the table --------------------------------------------------------------------------------------------------------


def committed():
    return json.loads((DOCS / "compatibility.json").read_text("utf-8"))


def render_markdown(table):
    """Return the document: the table, the reasons, and what it was made with."""
    rows = table["rows"]
    reasons = list(dict.fromkeys(row[column] for row in rows for column in COLUMNS if row[column] not in WORKS))
    heads = ["library", "algorithm", *(column.replace("SeqTutor-", "").replace("-v0", "") for column in COLUMNS)]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [row[column] if row[column] in WORKS else f"({reasons.index(row[column]) + 1})" for column in COLUMNS]
        lines.append([row["library"], row["algorithm"], *cells])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    numbered = "".join(f"{i}. `{reason}`\n" for i, reason in enumerate(reasons, 1))
    versions = ", ".join(f"{name} {number}" for name, number in table["versions"].items())
    return f"{HEAD}\n{text}\n\n{numbered}\n{versions}; `{table['command']}`\n"


def rewrite(results, folder=DOCS):
    """Write both files from {(algorithm, column): result}, unless a cell was not tried. Return a line that says so."""
    missing = [(row.algorithm, column) for row in ROWS for column in COLUMNS if (row.algorithm, column) not in results]
    if missing:
        return f"The table stays as it was: {len(missing)} cells were not tried, such as {' in '.join(missing[0])}."
    rows = [
        {"library": row.library, "algorithm": row.algorithm, **{name: results[row.algorithm, name] for name in COLUMNS}}
        for row in ROWS
    ]
    versions = {"seqtutor": seqtutor_envs.__version__, **{name: installed(name) for name in VERSIONS}}
    table = {"command": COMMAND, "versions": versions, "rows": rows}
    write_atomically(folder / "compatibility.json", (json.dumps(table, indent=1) + "\n").encode())
    write_atomically(folder / "compatibility.md", render_markdown(table).encode())
    return f"{folder / 'compatibility.json'} and .md are rewritten."


@pytest.fixture(scope="module")
def own_process():
    """A process for torchrl, whose import sets multiprocessing's start method to spawn."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("column", [pytest.param(c, marks=pytest.mark.slow if c in SLOW else ()) for c in COLUMNS])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.algorithm)
def test_the_cell_is_what_the_table_says(row, column, own_process, record_property, request):
    if find_spec(row.module) is None:
        pytest.skip(f"{row.module} is not installed: pip install -e '.[third-party]'")
    apart = row.library == "torchrl"
    result = own_process.submit(try_cell, row, column).result() if apart else try_cell(row, column)
    if request.config.getoption("rewrite_compatibility"):
        record_property("compatibility", [row.algorithm, column, result])  # for conftest.py, which calls `rewrite`
        return
    table = committed()
    told = {one["algorithm"]: one for one in table["rows"]}[row.algorithm][column]
    if installed(row.library) != table["versions"].get(row.library) and result not in WORKS:
        assert told not in WORKS, result  # another version says it in other words
    else:
        assert result == told, f"if this is right, `{COMMAND}`"


def test_what_should_train_trains():
    """All but what needs continuous actions, and what reads one obs_mode only."""
    fails = {(row["algorithm"], name) for row in committed()["rows"] for name in COLUMNS if row[name] not in WORKS}
    example = "PPO with an LSTM (examples/cleanrl_ppo.py)"
    expected = {(name, column) for name in ("SAC", "TD3") for column in COLUMNS}
    expected |= {(name, f"{env_id} dict") for name in ("ARS", "vector.NormalizeObservation") for env_id in IDS}
    expected |= {(example, f"{env_id} {obs_mode}") for env_id in IDS for obs_mode in ("token", "prefix", "one_hot")}
    assert fails == expected


def test_the_document_is_the_json_file_s():
    table = committed()
    assert (DOCS / "compatibility.md").read_text("utf-8") == render_markdown(table)
    assert [(row["library"], row["algorithm"]) for row in table["rows"]] == [row[:2] for row in ROWS]


def test_a_table_is_rewritten_whole_or_not_at_all(tmp_path):
    results = {(row.algorithm, column): "trains" for row in ROWS for column in COLUMNS} | {("PPO", COLUMNS[0]): "E: x"}
    assert "rewritten" in rewrite(results, tmp_path)
    assert "| stable-baselines3 | PPO | (1) | trains " in (tmp_path / "compatibility.md").read_text()
    rows = json.loads((tmp_path / "compatibility.json").read_text())["rows"]
    assert {(row["algorithm"], column): row[column] for row in rows for column in COLUMNS} == results
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    del results["TRPO", COLUMNS[3]]
    assert rewrite(results, tmp_path).endswith(f"1 cells were not tried, such as TRPO in {COLUMNS[3]}.")
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before


def test_nothing_learned_is_no_success():
    zeros = {"w": torch.zeros(2), "b": torch.zeros(1)}
    check_changed(zeros, {"w": torch.zeros(2), "b": torch.ones(1)})
    with pytest.raises(RuntimeError, match="no parameter has changed"):
        check_changed(zeros, {"w": torch.zeros(2), "b": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="not finite"):
        check_changed(zeros, {"w": torch.ones(2), "b": torch.tensor([torch.nan])})
