"""The molecule environment: its specification and its keywords."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode

from seqtutor_envs.checks import nothing_beside_task
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.prior import Prior, find_prior, load_prior
from seqtutor_envs.smiles.chem.checks import ELEMENTS
from seqtutor_envs.smiles.corpus.bloom import SUFFIX
from seqtutor_envs.smiles.objective import SHIPPED_OBJECTIVES
from seqtutor_envs.smiles.pmo.task import PmoTask, find_pmo_name
from seqtutor_envs.smiles.rewards import SCALE
from seqtutor_envs.smiles.task import MAX_LENGTH, SmilesTask
from seqtutor_envs.task import Task
from seqtutor_envs.vector_env import SequenceTutorVectorEnv

# with scores in [0, 1]; at 1 nothing is won: the optimum for QED over MOSES has mean QED .817, and the prior .808
TEMPERATURE = 0.05
PREFIX_TEMPERATURE = 1 / SCALE  # the authors'
OF_PRIOR = "prior"  # as `known`: the Bloom filter beside the prior's file, if there is one

DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(SmilesTask).parameters.items()}
DEFAULTS["known"] = OF_PRIOR


class SmilesVectorEnv(SequenceTutorVectorEnv):
    """Generate N molecules at once, each as SmilesEnv specifies."""

    # one score a molecule, and some strings worth nothing: the mean over 64 is mostly noise. J of QED after 2,000,000
    # tokens of Psi-learning (c = .05, annealed, 140-160 s) is 16.29 nats with 256, 16.21 with 64; the prior's is 15.47
    round_size = 256
    task_type = SmilesTask
    user_keywords = {
        **SequenceTutorVectorEnv.user_keywords,
        "objective": SHIPPED_OBJECTIVES,
        "known": (),
    }

    def __init__(
        self,
        *,
        num_envs: int = 1,
        c: float | None = None,
        prior: str | os.PathLike[str] | Prior = "smiles",
        max_length: int = MAX_LENGTH,
        term_weights: Mapping[str, float] | None = None,
        task: Task | None = None,
        objective: Callable[[list[str]], Any] | str | None = None,
        invalid_score: float = 0.0,
        minimize: bool = False,
        clip: tuple[float, float] | None = None,
        transform: str | Mapping[str, Any] | None = None,
        oracle_budget: int | None = None,
        shaping: str | None = None,
        require: str | Sequence[str] = (),
        forbid: str | Sequence[str] = (),
        ranges: Mapping[str, tuple[float | None, float | None]] | None = None,
        constraints: str = "hard",
        checks: Sequence[str] | None = None,
        elements: Sequence[str] = ELEMENTS,
        workers: int = 0,
        score_timeout: float | None = None,
        known: str | os.PathLike[str] | None = OF_PRIOR,
        obs_mode: str = "token",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        flat_infos: bool = False,
        infos: str = "full",
    ) -> None:
        options = dict(
            max_length=max_length, weights=term_weights, objective=objective, invalid_score=invalid_score,
            minimize=minimize, clip=clip, transform=transform, oracle_budget=oracle_budget, shaping=shaping,
            require=require, forbid=forbid, ranges=ranges, constraints=constraints, checks=checks, elements=elements,
            workers=workers, score_timeout=score_timeout, known=known,
        )
        asked, model = _task(task, prior, options)
        super().__init__(
            asked, model, num_envs=num_envs, c=_temperature(c, asked), obs_mode=obs_mode,
            autoreset_mode=autoreset_mode, render_mode=render_mode, flat_infos=flat_infos, infos=infos,
        )


class SmilesEnv(SequenceTutorEnv):
    """Generate a molecule as a SMILES, token by token, under a prior learned from drug-like molecules.

    ## Description
    The second task of Jaques et al., "Sequence Tutor" (ICML 2017), made anew. A recurrent network has learned p(a | s)
    from the MOSES set; the reward adds its log p to the score of the finished molecule. An agent that maximises it with
    an entropy bonus (J = E[R / c] - KL(pi || p)) generates molecules that score well and still look like those of the
    set, as far as the temperature c allows. With `objective=` the score is your own.

    >>> import gymnasium as gym
    >>> env = gym.make("seqtutor_envs:SeqTutor-SMILES-v0", objective=lambda smiles: [len(text) for text in smiles])
    >>> env.action_space, env.observation_space
    (Discrete(25), Discrete(26))
    >>> observation, info = env.reset()
    >>> for token in ("C", "C", "O", "<end>"):
    ...     action = env.unwrapped.task.vocab.tokens.index(token)
    ...     observation, reward, terminated, truncated, info = env.step(action)
    >>> terminated, info["sequence"], info["terms"]
    (True, 'CCO', {'objective': 3.0})
    >>> round(info["task_reward"], 6)  # 3 / c
    60.0

    ## Action Space
    `Discrete(V)`: the next token, of the prior's vocabulary: atoms, bonds, parentheses, ring bonds (two-letter and
    bracket atoms are one token each), and V - 1, the end token. V is 25 for the shipped prior. Nothing is forbidden:
    most sequences of actions are no molecule.

    ## Observation Space
    With `obs_mode="token"`, the default, `Discrete(V + 1)`: the last token; V, the start token, at the start. The other
    modes and the infos are those of every environment: see `help(seqtutor_envs.env.SequenceTutorEnv)`. The id
    `SeqTutor-SMILESOneHot-v0` has `obs_mode="one_hot"`, `Box(0, 1, (100 * 26,), float32)`, 10.4 kB each, and
    `flat_infos=True` as its defaults, for programs that take an id alone.
    A replay buffer of a million such observations takes 10 GB: give it fewer places, or shorten `max_length`.

    ## Rewards
    log p(a | s) + r_T(s, a) / c, in nats; the end token has its log p too. r_T is paid once, when the molecule is
    finished, and is 0 at all other steps and for an invalid molecule. Else it is the weighted mean of these terms
    (weights at least 0; `task.weights` are those divided by their sum). A term of weight 0 is not computed and is
    absent from `terms` (QED costs a millisecond).

    | term | default weight | pays |
    |---|---|---|
    | valid | 1 | 1: RDKit reads the string, and it passes the `checks` |
    | qed | 1 | QED (Bickerton et al. 2012) |
    | logp | 1 | of Crippen's logP, 1 within [1, 4], falling linearly to 0 at -1 and 6 |
    | sa | 1 | clip((6 - SA) / 4, 0, 1) of the synthetic accessibility SA (Ertl & Schuffenhauer 2009) |
    | ring | 1 | 1 / (1 + the atoms beyond six of the largest ring) |
    | objective | 1, the five above 0 | with `objective=`: its own value, in any range |
    | constraints | 1 | with `constraints="soft"`: the share of constraints that are met |

    `objective` is a function `f(list[str]) -> array of float`, higher is better. It is called once for each batch of
    finished molecules, in this process, with the canonical SMILES of those that are valid, distinct and not yet known.
    An invalid molecule has `invalid_score`. With `constraints="hard"` a molecule that fails one counts as invalid.

    The ids `SeqTutor-PMO-NAME-v0`, one for each of the 23 tasks of the PMO benchmark (Gao et al. 2022), are this
    environment with its score as the objective and defaults of their own: `objective="seqtutor_envs.smiles.pmo:NAME"`,
    `prior="smiles-zinc"`, `c=.002`, `checks=()`. Their scores lie in [0, 1]; `seqtutor_envs.smiles.pmo.PmoTask(NAME)`
    has the terms behind one and the target molecules. docs/pmo.md has the names, the protocol and results.

    `shaping="prefix"`: instead of all that, the dense reward of the paper's authors with their constants
    (`seqtutor_envs.smiles.rewards.prefix_terms`), a plain weighted sum of the terms prefix, logp, sa, ring, qed, valid,
    length, short, carbon_run; a molecule is valid there if RDKit reads it.

    Recommended are c = .005 to .2 with scores in [0, 1]. At .2 the optimum is close to the prior. At least half
    of 1,000 samples of the optimum are distinct down to c = .0007, of the default task and of QED (docs/bounds.md).
    No molecule's return exceeds .98969 with the default terms, or .94845 with QED alone (proved).

    Molecules are counted by reason ("valid", "syntax", "wildcard", "constraint: ...", ...) in `task.counts`.

    ## Starting State
    The start token, no token chosen. Deterministic, as is everything after it.

    ## Episode End
    `terminated` by the end token or after `max_length` tokens (the string is then scored as it stands). `truncated`
    once `oracle_budget` is spent, with `info["oracle_budget_spent"]`.

    ## Arguments
    | keyword | default | meaning |
    |---|---|---|
    | `c` | None | temperature: .05, or 1 / .35 with `shaping="prefix"` |
    | `prior` | "smiles" | a shipped name, a path, or a Prior with an end token; loaded once per process |
    | `obs_mode` | "token" | "token", "prefix", "dict" or "one_hot" |
    | `max_length` | 100 | tokens, the end token included; osimertinib needs 62 and the end |
    | `term_weights` | None | name -> weight |
    | `task` | None | a Task of your own, in place of `max_length`, `term_weights` and all keywords below |
    | `objective` | None | a function, or "package.module:function" |
    | `invalid_score` | 0.0 | with an objective: the final score of an invalid molecule |
    | `minimize` | False | with an objective: whether lower is better |
    | `clip` | None | with an objective: (low, high), the limits of its raw scores |
    | `transform` | None | with an objective: a desirability, "sigmoid:low=2,high=5"; see objective/transforms.py |
    | `oracle_budget` | None | with an objective: the most molecules that it may be asked to score |
    | `shaping` | None | or "prefix" |
    | `require`, `forbid` | () | SMARTS that a molecule must and must not hold |
    | `ranges` | None | name -> (low, high) of mw, logp, tpsa, hbd, hba, rotatable_bonds, rings, charge |
    | `constraints` | "hard" | how `require`, `forbid` and `ranges` count: "hard" or "soft" |
    | `checks` | None | names out of fragments, wildcard, radical, carbon, elements; all, or none with `shaping` |
    | `elements` | H B C N O F Si P S Cl Br I | symbols that the check "elements" allows |
    | `workers` | 0 | scoring processes, 0 for none besides this |
    | `score_timeout` | None | seconds a molecule |
    | `known` | "prior" | a Bloom filter's file, of molecules that are not novel; "prior": that beside the prior |
    | `render_mode` | None | "ansi": the SMILES so far and whether it is valid; "rgb_array": the molecule drawn |
    | `flat_infos` | False | True: infos of numbers only, nothing nested, for TorchRL |

    `gymnasium.make_vec` takes besides `num_envs`, `autoreset_mode` and `infos`.

    ## Version History
    - v0: first version.
    """

    vector_class = SmilesVectorEnv

    def __init__(
        self,
        *,
        c: float | None = None,
        prior: str | os.PathLike[str] | Prior = "smiles",
        max_length: int = MAX_LENGTH,
        term_weights: Mapping[str, float] | None = None,
        task: Task | None = None,
        objective: Callable[[list[str]], Any] | str | None = None,
        invalid_score: float = 0.0,
        minimize: bool = False,
        clip: tuple[float, float] | None = None,
        transform: str | Mapping[str, Any] | None = None,
        oracle_budget: int | None = None,
        shaping: str | None = None,
        require: str | Sequence[str] = (),
        forbid: str | Sequence[str] = (),
        ranges: Mapping[str, tuple[float | None, float | None]] | None = None,
        constraints: str = "hard",
        checks: Sequence[str] | None = None,
        elements: Sequence[str] = ELEMENTS,
        workers: int = 0,
        score_timeout: float | None = None,
        known: str | os.PathLike[str] | None = OF_PRIOR,
        obs_mode: str = "token",
        render_mode: str | None = None,
        flat_infos: bool = False,
    ) -> None:
        options = dict(
            max_length=max_length, weights=term_weights, objective=objective, invalid_score=invalid_score,
            minimize=minimize, clip=clip, transform=transform, oracle_budget=oracle_budget, shaping=shaping,
            require=require, forbid=forbid, ranges=ranges, constraints=constraints, checks=checks, elements=elements,
            workers=workers, score_timeout=score_timeout, known=known,
        )
        asked, model = _task(task, prior, options)
        super().__init__(
            asked, model, c=_temperature(c, asked), obs_mode=obs_mode, render_mode=render_mode, flat_infos=flat_infos
        )


def find_bloom(prior: str | os.PathLike[str] | Prior) -> Path | None:
    """Find the Bloom filter of a prior's training molecules by the prior's name or path; None if there is none."""
    if not isinstance(prior, (str, os.PathLike)):
        return None
    path = find_prior(prior).with_suffix(SUFFIX)
    return path if path.is_file() else None


def _task(task: Task | None, prior: str | os.PathLike[str] | Prior, options: dict[str, Any]) -> tuple[Task, Prior]:
    """Return the user's task or make one of these options; and the prior. Raise ValueError where both are given."""
    model = load_prior(prior)
    _warn_of_missing_elements(options["objective"], prior, model)
    if task is None:
        known = find_bloom(prior) if options["known"] == OF_PRIOR else options["known"]
        return SmilesTask(**{**options, "vocab": model.vocab, "known": known}), model
    given = {name: value != DEFAULTS[name] for name, value in options.items()}
    nothing_beside_task({"term_weights" if name == "weights" else name: was for name, was in given.items()})
    return task, model


def _warn_of_missing_elements(objective: Any, prior: Any, model: Prior) -> None:
    """Name the elements that a task of PMO needs for a full score, and the prior cannot write."""
    name = find_pmo_name(objective)
    missing = [] if name is None else PmoTask(name).list_missing(model.vocab)
    if missing:
        whose = f"The prior {prior}" if isinstance(prior, (str, os.PathLike)) else "This prior"
        fix = "a full score is out of its reach. The id's own prior, smiles-zinc, can write them"
        warnings.warn(f"{whose} cannot write {', '.join(missing)}, which {name} asks for: {fix}.", stacklevel=4)


def _temperature(c: float | None, task: Task) -> float:
    """Return c, or the default of this task's rewards."""
    dense = isinstance(task, SmilesTask) and task.shaping
    return c if c is not None else PREFIX_TEMPERATURE if dense else TEMPERATURE
