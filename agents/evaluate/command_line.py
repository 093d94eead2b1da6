"""Load the agent or prior that a command line names, and find the environment to use it in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.envs import make_machine_kwargs
from agents.evaluate import sb3_zips
from agents.evaluate.load import find_agent_file, find_prior_file, load_model, load_ours
from agents.evaluate.priors import choose_results_file, find_recipe
from agents.policies.frozen import FrozenAgent
from agents.train.checkpoints import find_saved_class, read_facts
from seqtutor_envs.command import warnings_in_one_line
from seqtutor_envs.registry import Untrusted


def load_with_env(
    path: Path, env: str | None, given: dict[str, Any], trust: bool, algorithm: str | None
) -> tuple[Any, str, dict[str, Any], Path]:
    """Load the agent at `path`, and find the environment to evaluate it in.

    Returns:
        The agent, the environment's id and keywords, and the file to write the metrics to.
    """
    model = find_prior_file(path) if algorithm is None else None
    if model is not None:
        agent = load_model(model, trust)
        if isinstance(agent, FrozenAgent):
            env_id, own = agent.recipe["id"], agent.recipe["kwargs"]
            if env is not None:
                env_id, own = env, make_machine_kwargs(env)
            return agent.move(env_id, own | given), env_id, own | given, choose_results_file(path)
        env, kwargs = find_recipe(path, env)
        return agent, env, kwargs | given, choose_results_file(path)
    zipped = sb3_zips.find_zip(path)
    file = find_agent_file(path) if zipped is None else zipped
    if zipped is not None:
        known = sb3_zips.identify_algorithm(zipped)  # before anything else, for it says what is wrong with the file
        if env is None:
            raise ValueError(f"{zipped} does not say what it learned in: add --env ID, and its --env-kwargs, if any.")
        agent = sb3_zips.load_zip(zipped, trust, known if algorithm is None else algorithm)
    elif algorithm is not None:
        raise ValueError("--algorithm is for zips of stable-baselines3.")
    else:
        saved = find_saved_class(file, trust)
        unscored = saved.task_type.run_options().sample.unscored_kwargs(saved_kwargs(file))
        own = {name: given[name] for name in saved.user_keywords if name in given}
        agent = load_to_evaluate(file, trust, own if env is None else unscored)
    kept_at = path / "evaluation.json" if zipped is None and path.is_dir() else file.with_suffix(".evaluation.json")
    if env is None:
        return agent, agent.recipe["id"], agent.recipe["kwargs"] | given, kept_at
    return agent, env, make_machine_kwargs(env) | given, kept_at


def load_to_evaluate(file: Path, trust: bool, stand_ins: dict[str, Any]) -> Any:
    """Load an agent of ours for sampling. A budget of scores counts for training only, so it is left out.

    Args:
        file: of the agent.
        trust: whether to use what the file names.
        stand_ins: keywords of the environment in place of those that need `trust`.
    """
    kwargs = find_saved_class(file, trust).task_type.run_options().train.evaluation_kwargs()
    with warnings_in_one_line():
        try:
            return load_ours(file, kwargs, trust=trust)
        except Untrusted as error:
            if not error.named.keys() <= stand_ins.keys():
                raise
        return load_ours(file, kwargs | stand_ins)


def saved_kwargs(file: Path) -> dict[str, Any]:
    """Return the environment's keywords in an agent's file; none if it has none that are keywords."""
    recipe = read_facts(file).get("env")
    kwargs = recipe.get("kwargs") if isinstance(recipe, dict) else None
    return kwargs if isinstance(kwargs, dict) else {}
