"""Check an agent before and after it generates sequences for an evaluation.

n sequences. Every error is a ValueError of one line that says how to fix it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.evaluate.policies import PREDICT, LogPolicy, convert_to_floats
from seqtutor_envs import checks
from seqtutor_envs.env import SequenceTutorVectorEnv
from seqtutor_envs.prior import Prior

LOG_PROB_TOLERANCE = 1e-3  # float32 errs; above 0 by more, a number is no log-probability


def check_agent(agent: Any) -> None:
    """Raise ValueError unless this looks like an agent; the message says what an agent needs."""
    if isinstance(agent, type):
        raise ValueError(f"{agent.__name__} is a class: pass an agent that was made from it.")
    if not (hasattr(agent, "sample") or hasattr(agent, "predict") or callable(agent) or isinstance(agent, LogPolicy)):
        raise ValueError(
            f"An object of type {type(agent).__name__} is no agent: it needs sample(n, seed) and log_prob(tokens,"
            f" lengths), or {PREDICT}, or to be a function observation -> probabilities [N, V]; a saved agent is"
            " named by its path."
        )


def check_spaces(agent: Any, env: SequenceTutorVectorEnv) -> None:
    """Raise ValueError unless the agent's actions and observations, if it says which, are the environment's."""
    actions, prior = getattr(agent, "action_space", None), getattr(agent, "prior", agent)
    if isinstance(actions, spaces.Discrete):
        check_num_actions(int(actions.n), env)
    elif isinstance(actions, spaces.Space):
        wanted = _line(env.single_action_space)
        raise ValueError(f"This agent's actions are {_line(actions)}, those of {_name(env)} are {wanted}.")
    # the same number of tokens is not enough: token 3 must mean the same
    if isinstance(prior, Prior):
        checks.same_vocabulary(env.task, prior)
    seen, shown = getattr(agent, "observation_space", None), env.single_observation_space
    # an agent with `sample` never sees an observation
    if isinstance(seen, spaces.Space) and seen != shown and not hasattr(agent, "sample"):
        raise ValueError(
            f"This agent learned from observations {_line(seen)}, {_name(env)} shows {_line(shown)}: evaluate it with"
            " the keywords of the environment that it learned in, such as its obs_mode and length."
        )


def check_num_actions(actions: int, env: SequenceTutorVectorEnv) -> None:
    """Raise ValueError unless an agent chooses among as many actions as there are tokens."""
    tokens = len(env.task.vocab)
    if actions != tokens:
        raise ValueError(
            f"This agent chooses among {actions} actions, {_name(env)} has {tokens} tokens: evaluate it in the"
            " environment that it learned in."
        )


def ask_log_probs(agent: Any, tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ask the agent's `log_prob` about its sequences, [n]. Raise ValueError if the answer cannot be log pi of them."""
    log_probs = convert_to_floats(agent.log_prob(tokens, lengths), "An agent's log_prob must return numbers")
    n = len(tokens)
    if log_probs.shape != (n,):
        wanted = f"log pi of each sequence, [{n}]"
        raise ValueError(f"This agent's log_prob must return {wanted}, not {list(log_probs.shape)}.")
    wrong = ~(np.isfinite(log_probs) & (log_probs <= LOG_PROB_TOLERANCE))
    if wrong.any():
        found = f"{log_probs[wrong][0]:.4g} for {wrong.sum()} of {n} sequences that the agent wrote"
        raise ValueError(f"This agent's log_prob gives {found}: log pi must be finite and not above 0.")
    return log_probs


def explain_missing_log_pi(agent: Any) -> str:
    """Explain why there is no KL and no J, and what would give them."""
    name = f"{type(agent).__name__}.{'sample' if hasattr(agent, 'sample') else 'predict'}"
    return (
        f"{name} does not say how probable its sequences are. Give the agent log_prob(tokens, lengths) -> [n], log pi"
        " of whole sequences, or pass a function observation -> probabilities [N, V]."
    )


def _name(env: SequenceTutorVectorEnv) -> str:
    return type(env).__name__ if env.spec is None else env.spec.id


def _line(space: spaces.Space[Any]) -> str:
    return " ".join(str(space).split())
