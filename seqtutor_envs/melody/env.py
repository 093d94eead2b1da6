"""The melody environment: its specification, and its keywords."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from seqtutor_envs.env import SequenceTutorEnv, SequenceTutorVectorEnv
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.prior import Prior
from seqtutor_envs.task import Task

LENGTH = 32  # sixteenths, two bars of 4/4: the paper's


class MelodyVectorEnv(SequenceTutorVectorEnv):
    """N melodies of a MelodyEnv at once; besides its arguments num_envs, autoreset_mode and infos."""

    task_type = MelodyTask

    def __init__(
        self,
        *,
        c: float = 2.0,
        prior: str | os.PathLike[str] | Prior = "melody",
        length: int = LENGTH,
        term_weights: Mapping[str, float] | None = None,
        task: Task | None = None,
        **kwargs: Any,
    ) -> None:
        if task is None:
            task = MelodyTask(length, term_weights)
        elif term_weights is not None or length not in (LENGTH, task.length):
            raise ValueError("A task brings its own length and weights: give them to it, not beside `task`.")
        super().__init__(task, prior, c=c, **kwargs)


class MelodyEnv(SequenceTutorEnv):
    """A melody, written note by note under a prior learned from folk tunes and nine rules of music theory.

    ## Description
    The melody task of Jaques et al., "Sequence Tutor" (ICML 2017). A recurrent network has learned p(a|s) from
    melodies; the reward adds its log p to the rules' verdict, so that an agent which maximises it with an entropy
    bonus (J = E[R / c] - KL(pi || p)) keeps what was learned and follows the rules as far as the temperature c
    demands.

    ## Action Space
    `Discrete(38)`: what happens in the next sixteenth. 0 = note off, 1 = hold what sounds (or the rest), 2..37 = a
    new note of MIDI pitch 48..83 (token = pitch - 46, so 14 is middle C); it ends the note before.

    ## Observation Space
    By `obs_mode`: "token", `Discrete(39)`, the last token, 38 (the start token) at the start. "prefix", `Box(0, 38,
    (length,), int64)`, the tokens so far, then 38 as filler. "dict", `Dict(token=Discrete(39), step=Discrete(length +
    1), action_mask=Box(0, 1, (38,), int8))`. Only "prefix" shows the whole state.

    ## Rewards
    log p(a|s) + r_T(s, a) / c, in nats and always finite (log p is at least -87.3). r_T is the weighted sum of nine
    terms, each a pure function of the tokens so far (`seqtutor_envs.melody.rules`): key, tonic, repetition,
    autocorrelation, motif, repeated_motif, interval, leap, unique_extremes.

    ## Starting State
    The start token, no token chosen. Deterministic, as is everything after it: actions alone decide.

    ## Episode End
    `terminated` after `length` tokens; never truncated.

    ## Information
    `reset` and `step`: `prior_log_probs` float32 [38], the row that judges the next action, and `action_mask` int8
    [38], all ones; absent after the end. `step` besides: `prior_log_prob`, `task_reward` (r_T / c; their sum is the
    reward), `terms` (name -> raw term, before its weight). At the end: `sequence`, the list of note names.

    ## Arguments
    - `c=2.0`: temperature; the paper's .5 lets the rules rule.
    - `prior="melody"`: a shipped name, a path, or a Prior; loaded once per process.
    - `obs_mode="token"`, `render_mode=None` ("ansi": names and durations; "rgb_array": a piano roll).
    - `length=32`: sixteenths.
    - `term_weights=None`: name -> weight, 1 where it is silent.
    - `task=None`: a Task of one's own (`MelodyTask(rules={...})`, or another domain's with its prior).
    - `gymnasium.make_vec` besides: `num_envs`, `autoreset_mode` (enum or string), `infos` ("full"; "end": a step's
      only where an episode ends).

    ## Version History
    - v0: first version.
    """

    vector_class = MelodyVectorEnv
