"""The melody environment: its specification and its keywords."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gymnasium.vector import AutoresetMode

from seqtutor_envs.checks import nothing_beside_task
from seqtutor_envs.env import SequenceTutorEnv
from seqtutor_envs.melody.task import MelodyTask
from seqtutor_envs.prior import Prior
from seqtutor_envs.task import Task
from seqtutor_envs.vector_env import SequenceTutorVectorEnv

LENGTH = 32  # sixteenths, two bars of 4/4: the paper's


class MelodyVectorEnv(SequenceTutorVectorEnv):
    """Generate N melodies at once, each as MelodyEnv specifies."""

    task_type = MelodyTask

    def __init__(
        self,
        *,
        num_envs: int = 1,
        c: float = 2.0,
        prior: str | os.PathLike[str] | Prior = "melody",
        length: int = LENGTH,
        term_weights: Mapping[str, float] | None = None,
        task: Task | None = None,
        obs_mode: str = "token",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        flat_infos: bool = False,
        infos: str = "full",
    ) -> None:
        super().__init__(
            _task(task, length, term_weights), prior, num_envs=num_envs, c=c, obs_mode=obs_mode,
            autoreset_mode=autoreset_mode, render_mode=render_mode, flat_infos=flat_infos, infos=infos,
        )


class MelodyEnv(SequenceTutorEnv):
    """Compose a melody, note by note, under a prior learned from folk tunes and nine rules of music theory.

    ## Description
    The melody task of Jaques et al., "Sequence Tutor" (ICML 2017). A recurrent network has learned p(a | s) from
    melodies; the reward adds its log p to what the rules pay. An agent that maximises it with an entropy bonus
    (J = E[R / c] - KL(pi || p)) keeps what was learned and follows the rules as far as the temperature c demands.

    >>> import gymnasium as gym
    >>> env = gym.make("seqtutor_envs:SeqTutor-Melody-v0")
    >>> env.action_space, env.observation_space
    (Discrete(38), Discrete(39))
    >>> observation, info = env.reset()
    >>> int(observation)  # the start token
    38
    >>> observation, reward, terminated, truncated, info = env.step(14)  # middle C opens the melody: tonic pays 3
    >>> info["terms"]["tonic"], info["task_reward"]
    (3.0, 1.5)
    >>> reward == info["prior_log_prob"] + info["task_reward"]
    True

    ## Action Space
    `Discrete(38)`: what happens in the next sixteenth.

    | action | name | meaning |
    |---|---|---|
    | 0 | off | note off |
    | 1 | hold | hold what sounds, or the rest |
    | 2..37 | C3..B5 | begin a note, MIDI pitch 48..83 (action = pitch - 46; 14 is middle C); the note before ends |

    ## Observation Space
    With `obs_mode="token"`, the default, `Discrete(39)`: the last token; 38, the start token, at the start. The other
    modes and the infos are those of every environment: see `help(seqtutor_envs.env.SequenceTutorEnv)`. The id
    `SeqTutor-MelodyOneHot-v0` has `obs_mode="one_hot"`, `Box(0, 1, (32 * 39,), float32)`, and `flat_infos=True` as its
    defaults, for programs that take an id alone.

    ## Rewards
    log p(a | s) + r_T(s, a) / c, in nats. r_T is the weighted sum of nine terms, each a pure function of the tokens so
    far (`seqtutor_envs.melody.rules` has the details).

    | term | pays | for |
    |---|---|---|
    | key | -1 | a pitch outside C major |
    | tonic | 3 | middle C first and at the first of the last four steps, then a hold, then holds or offs |
    | repetition | -100 | a token repeated too often |
    | autocorrelation | -3 abs(r) | each lag 1, 2, 3 at which the melody correlates with itself, abs(r) > .15 |
    | motif | 3 + .3 (k - 3) | the last 8 tokens hold k >= 3 different pitches |
    | repeated_motif | 4 + (k - 3) | these 8 tokens stand in the melody already |
    | interval | 5 x -1 .. .3 | the move from the last pitch, by its interval |
    | leap | 5 or -5 | a leap is resolved, or doubled |
    | unique_extremes | 3 each | at the last step: the highest token, the lowest pitch occurs once |

    Recommended are c = 7 to 20. Samples of the optimum are varied melodies above c = 5.6 or so, and below it mostly
    loops of eight steps, which a perfect agent would repeat (docs/bounds.md); above 20 the rules matter little. At the
    default, 2, agents that stay varied are far from the optimum.

    ## Starting State
    The start token, no token chosen. Deterministic, as is everything after it.

    ## Episode End
    `terminated` after `length` tokens; never truncated.

    ## Arguments
    | keyword | default | meaning |
    |---|---|---|
    | `c` | 2.0 | temperature; with the paper's .5 the rules decide nearly alone |
    | `prior` | "melody" | a shipped name, a path, or a Prior; loaded once per process |
    | `obs_mode` | "token" | "token", "prefix", "dict" or "one_hot" |
    | `length` | 32 | sixteenths |
    | `term_weights` | None | name -> weight; 1 for the names left out |
    | `task` | None | a Task of your own (`MelodyTask(rules={...})`, or another domain's with its prior) |
    | `render_mode` | None | "ansi": names and durations; "rgb_array": a piano roll |
    | `flat_infos` | False | True: infos of numbers only, nothing nested, for TorchRL |

    `gymnasium.make_vec` takes besides `num_envs`, `autoreset_mode` and `infos`.

    ## Version History
    - v0: first version.
    """

    vector_class = MelodyVectorEnv

    def __init__(
        self,
        *,
        c: float = 2.0,
        prior: str | os.PathLike[str] | Prior = "melody",
        length: int = LENGTH,
        term_weights: Mapping[str, float] | None = None,
        task: Task | None = None,
        obs_mode: str = "token",
        render_mode: str | None = None,
        flat_infos: bool = False,
    ) -> None:
        super().__init__(
            _task(task, length, term_weights), prior, c=c, obs_mode=obs_mode, render_mode=render_mode,
            flat_infos=flat_infos,
        )


def _task(task: Task | None, length: int, term_weights: Mapping[str, float] | None) -> Task:
    """Return the user's task or make the nine rules'. Raise ValueError where both are described."""
    if task is None:
        return MelodyTask(length, term_weights)
    # agents pass on the task's own length, which is no contradiction
    nothing_beside_task({"length": length not in (LENGTH, task.length), "term_weights": term_weights is not None})
    return task
