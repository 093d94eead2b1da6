"""The molecule environment: its specification, and its keywords."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.prior import Prior, find_prior, load_prior
from seqtutor_envs.smiles.bloom import SUFFIX
from seqtutor_envs.smiles.shaping import SCALE
from seqtutor_envs.smiles.task import SmilesTask
from seqtutor_envs.task import Task

# with scores in [0, 1]; at 1 nothing is won: the optimum for QED over MOSES has mean QED .817, and the prior .808
TEMPERATURE = 0.05
PREFIX_TEMPERATURE = 1 / SCALE  # the authors'

TASK_KEYWORDS = frozenset(inspect.signature(SmilesTask).parameters) - {"weights", "vocab"}  # the environment's names


class SmilesVectorEnv(SequenceTutorVectorEnv):
    """N molecules of a SmilesEnv at once; besides its arguments num_envs, autoreset_mode and infos."""

    # one score a molecule, and some strings worth nothing: the mean over 64 is mostly noise. J of QED after 2,000,000
    # tokens of Psi-learning (c = .05, annealed, 140-160 s) is 16.29 nats with 256, 16.21 with 64; the prior's is 15.47
    round_size = 256
    task_type = SmilesTask

    def __init__(
        self,
        *,
        c: float | None = None,
        prior: str | os.PathLike[str] | Prior = "smiles",
        term_weights: Mapping[str, float] | None = None,
        task: Task | None = None,
        **kwargs: Any,
    ) -> None:
        asked = {name: kwargs.pop(name) for name in TASK_KEYWORDS & kwargs.keys()}
        model = load_prior(prior)
        if task is None:
            asked.setdefault("known", beside(prior))
            task = SmilesTask(weights=term_weights, vocab=model.vocab, **asked)
        elif asked or term_weights is not None:
            names = ", ".join(sorted(asked) + ["term_weights"] * (term_weights is not None))
            raise ValueError(f"A task brings its own {names}: give them to it, not beside `task`.")
        if c is None:
            c = PREFIX_TEMPERATURE if isinstance(task, SmilesTask) and task.shaping else TEMPERATURE
        super().__init__(task, model, c=c, **kwargs)


def beside(prior: str | os.PathLike[str] | Prior) -> Path | None:
    """The Bloom filter of a prior's training molecules, by the prior's name or path; None if there is none."""
    if not isinstance(prior, (str, os.PathLike)):
        return None
    path = find_prior(prior).with_suffix(SUFFIX)
    return path if path.is_file() else None


class SmilesEnv(SequenceTutorEnv):
    """A molecule, written as a SMILES token by token under a prior learned from drug-like molecules.

    ## Description
    The second task of Jaques et al., "Sequence Tutor" (ICML 2017), made anew. A recurrent network has learned p(a|s)
    from the MOSES set; the reward adds its log p to the score of the finished molecule, so that an agent which
    maximises it with an entropy bonus (J = E[R / c] - KL(pi || p)) writes molecules that score well and still look like
    those of the set, as far as the temperature c allows. With `objective=` the score is the user's own.

    ## Action Space
    `Discrete(V)`: the next token, of the prior's vocabulary: atoms, bonds, parentheses, ring bonds (two-letter and
    bracket atoms are one token each), and V - 1, the end token. Nothing is forbidden: most sequences of actions are no
    molecule.

    ## Observation Space
    By `obs_mode`: "token", `Discrete(V + 1)`, the last token, V (the start token) at the start. "prefix", `Box(0, V,
    (max_length,), int64)`, the tokens so far, then V as filler. "dict", `Dict(token=Discrete(V + 1),
    step=Discrete(max_length + 1), action_mask=Box(0, 1, (V,), int8))`. Only "prefix" shows the whole state.

    ## Rewards
    log p(a|s) + r_T(s, a) / c, in nats and always finite (log p is at least -87.3); the end token has its log p too.
    r_T is paid once, when the molecule is finished, and is 0 at all other steps and for an invalid molecule. Else it is
    the weighted mean of terms in [0, 1] (weights at least 0, all 1 by default; `task.weights` are those divided by
    their sum). A term of weight 0 is not computed, and is absent from `terms` (QED costs a millisecond).

    - valid: 1. RDKit reads the string, and it passes the `checks`: one fragment, no wildcard, no radical, a carbon at
      least, no elements but H B C N O F Si P S Cl Br I.
    - qed: QED (Bickerton et al. 2012).
    - logp: of Crippen's logP, 1 within [1, 4], falling linearly to 0 at -1 and 6.
    - sa: clip((6 - SA) / 4, 0, 1) of the synthetic accessibility SA (Ertl & Schuffenhauer 2009; 1 easy to 10 hard).
    - ring: 1 / (1 + ring_penalty), the atoms beyond six of the largest ring.
    - objective, with `objective=`, a function `f(list[str]) -> array of float`, higher is better: its own value, in any
      range. Weight 1; the five above then have 0 where `term_weights` is silent. It is called once for each batch of
      finished molecules, in this process, with the canonical SMILES of those that are valid, distinct and not yet
      known: two spellings of a molecule score the same. An invalid molecule has `invalid_score`.
    - constraints, with `constraints="soft"`: the share of constraints that are met. Weight 1. With "hard", a molecule
      that fails one counts as invalid.

    `shaping="prefix"`: instead of all that, the dense reward of the paper's authors with their constants
    (`seqtutor_envs.smiles.shaping`), a plain weighted sum of the terms prefix, logp, sa, ring, qed, valid, length,
    short, carbon_run; a molecule is valid there if RDKit reads it.

    The molecules' counts by reason ("valid", "syntax", "wildcard", "constraint: ...", ...) are in `task.counts`.

    ## Starting State
    The start token, no token chosen. Deterministic, as is everything after it: actions alone decide.

    ## Episode End
    `terminated` by the end token or after `max_length` tokens (the string is then scored as it stands). `truncated`
    once `oracle_budget` is spent, with `info["oracle_budget_spent"]`.

    ## Information
    `reset` and `step`: `prior_log_probs` float32 [V], the row that judges the next action, and `action_mask` int8 [V],
    all ones; absent after the end. `step` besides: `prior_log_prob`, `task_reward` (r_T / c; their sum is the reward),
    `terms` (name -> raw term, before its weight). At the end: `sequence`, the SMILES.

    ## Arguments
    - `c=None`: temperature, .05; 1 / .35 with `shaping="prefix"`.
    - `prior="smiles"`: a shipped name, a path, or a Prior whose vocabulary has an end token; loaded once per process.
    - `obs_mode="token"`, `render_mode=None` ("ansi": the SMILES so far and whether it is a molecule; "rgb_array": the
      molecule drawn, with its properties).
    - `max_length=100`: tokens, the end token included; osimertinib needs 62 and the end.
    - `term_weights=None`: name -> weight.
    - `task=None`: a Task of one's own, instead of the keywords below and `max_length` and `term_weights`.
    - `objective=None`: a function, or "package.module:function". With it: `invalid_score=0.0`, the final score of an
      invalid molecule; `minimize=False`; `clip=None`, (low, high); `transform=None`, a desirability by name;
      `oracle_budget=None`, the most molecules that it may be asked to score.
    - `shaping=None`: or "prefix".
    - `require=()`, `forbid=()`: SMARTS; `ranges=None`: name -> (low, high) of mw, logp, tpsa, hbd, hba,
      rotatable_bonds, rings, charge; `constraints="hard"` or "soft".
    - `checks=None`: names of the checks above, all of them (none with `shaping="prefix"`); `elements`: symbols.
    - `workers=0`: scoring processes, 0 for none besides this; `score_timeout=None`: seconds a molecule.
    - `known`: the file of a Bloom filter of molecules that are not novel, for the judge's figures; by default the one
      beside the prior's file, if there is one.
    - `gymnasium.make_vec` besides: `num_envs`, `autoreset_mode` (enum or string), `infos` ("full"; "end": a step's
      only where an episode ends).

    ## Version History
    - v0: first version.
    """

    vector_class = SmilesVectorEnv
