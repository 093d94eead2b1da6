"""Make the moving pictures of this folder: `python docs/pictures/make_gifs.py`, or with a name, `melody`, for one.

Each is made of what an environment and a trained agent did, with fixed seeds:

    melody                 35 CPU seconds    Psi-learning at c = 7, 1,000,000 tokens
    molecule               40                Psi-learning on QED at c = .01, 300,000 tokens
    leaving-the-prior      80                Psi-learning at each c of CS, 500,000 tokens each

`--tokens 2000 --out FOLDER` makes quick ones of agents that have learned little.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from agents import PsiLearning
from agents.baselines import FixedPolicy
from agents.evaluate import evaluate
from seqtutor_envs.melody.render import BAR, INK, piano_roll
from seqtutor_envs.melody.vocab import LOWEST_TOKEN, PITCH_OFFSET
from seqtutor_envs.prior import load_prior
from seqtutor_envs.smiles.chem import PROPERTIES, properties
from seqtutor_envs.smiles.chem.drawing import picture
from seqtutor_envs.task import Task

MELODY, SMILES = "SeqTutor-Melody-v0", "SeqTutor-SMILES-v0"
WIDTH, HEIGHT, DPI = 800, 450, 100  # pixels; pages show them at 700 or so
MONO = 0.602  # width of a letter of DejaVu Sans Mono, as a share of its size
COLOURS = 64  # of a picture's palette: a third of the bytes of 256
PAID, COST, PRIOR, IDLE, SOFT = "#00795c", "#c2410c", "#7a8290", "#eef1f5", "#56616f"
SAMPLES = 64  # of which the one with the greatest return is shown
CS, COLLAPSE = (50.0, 20.0, 10.0, 5.0, 2.0, 1.0), 5.0
SHOWN, EVALUATED = 3, 1_000  # melodies at each temperature
Frame = tuple[NDArray[np.uint8], int]  # a picture, and the milliseconds that it stands


def make_figure() -> Figure:
    """Make an empty card of WIDTH by HEIGHT pixels."""
    return Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="#ffffff")


def draw(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure's pixels, [HEIGHT, WIDTH, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def save_gif(frames: Sequence[Frame], path: Path) -> None:
    """Write frames as a GIF that repeats."""
    # one palette for all, of two frames that have every colour between them
    palette = Image.fromarray(np.concatenate([frames[len(frames) // 2][0], frames[-1][0]])).quantize(COLOURS)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    white = int(colours.min(axis=1).argmax())
    colours[white] = 255
    palette.putpalette(colours.ravel().tolist())
    images = []
    for pixels, _ in frames:
        places = np.array(Image.fromarray(pixels).quantize(palette=palette, dither=Image.Dither.NONE))
        places[(pixels == 255).all(axis=2)] = white  # Pillow looks for the nearest colour by the first bits alone
        images.append(Image.fromarray(places))
        images[-1].putpalette(colours.ravel().tolist())
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=[stay for _, stay in frames], loop=0, optimize=True
    )


def train(env_id: str, tokens: int, learning_rate: float = 0.001, **env_kwargs: Any) -> PsiLearning:
    """Train Psi-learning on an environment."""
    return PsiLearning(env_id, seed=0, learning_rate=learning_rate, env_kwargs=env_kwargs).learn(tokens)


def sample_best(agent: PsiLearning, task: Task) -> list[int]:
    """Return the tokens of the sequence with the greatest return of SAMPLES."""
    tokens, lengths = agent.sample(SAMPLES, seed=0)
    best = task.reward(tokens, lengths).sum(axis=1).argmax()
    found: list[int] = tokens[best, : lengths[best]].tolist()
    return found


def signed(value: float, digits: int = 1) -> str:
    """Format a number with its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "\u2212")


# ---------------------------------------------------------------- a melody


def make_melody(tokens: int) -> list[Frame]:
    """Show a melody that is generated note by note, what each rule pays, and the rewards."""
    agent = train(MELODY, tokens, c=7.0)
    env: Any = gym.make(MELODY, c=agent.c)
    melody = sample_best(agent, env.unwrapped.task)
    env.reset()
    steps = [env.step(token)[4] for token in melody]
    frames = [(draw(_draw_melody(melody[: t + 1], steps[: t + 1], melody)), 350) for t in range(len(melody))]
    frames[-1] = (frames[-1][0], 4_000)
    return frames


def _draw_melody(so_far: list[int], steps: list[dict[str, Any]], melody: list[int]) -> Figure:
    figure, info = make_figure(), steps[-1]
    figure.text(0.065, 0.935, "A melody by Ψ-learning at c = 7", fontsize=14, color=INK, weight="bold")
    figure.text(0.985, 0.935, "nine rules of music theory", fontsize=11.5, color=SOFT, ha="right")
    roll = figure.add_axes((0.065, 0.40, 0.63, 0.50))
    piano_roll(roll, so_far, len(melody))
    pitches = [token + PITCH_OFFSET for token in melody if token >= LOWEST_TOKEN]
    roll.set_ylim(min(pitches) - 1.5, max(pitches) + 3)
    roll.set_xticklabels([])
    _draw_rewards(figure.add_axes((0.065, 0.075, 0.63, 0.27)), steps, len(melody))
    _draw_rules(figure.add_axes((0.715, 0.40, 0.27, 0.50)), info["terms"])
    lines = [
        ("log p", info["prior_log_prob"], PRIOR),
        ("r_T / c", info["task_reward"], _colour(info["task_reward"])),
        ("reward", info["prior_log_prob"] + info["task_reward"], INK),
        ("so far", sum(step["prior_log_prob"] + step["task_reward"] for step in steps), INK),
    ]
    for row, (name, value, colour) in enumerate(lines):
        height = 0.295 - 0.062 * row
        figure.text(0.735, height, name, fontsize=13, color=colour)
        figure.text(0.93, height, signed(value), fontsize=13, color=colour, ha="right", weight="bold")
        figure.text(0.94, height, "nats", fontsize=10, color=SOFT)
    return figure


def _draw_rewards(ax: Axes, steps: list[dict[str, Any]], length: int) -> None:
    """Draw log p, downwards, and r_T / c of each step."""
    places = np.arange(len(steps)) + 0.5
    log_p, task = (np.array([step[key] for step in steps]) for key in ("prior_log_prob", "task_reward"))
    ax.bar(places, log_p, 0.8, color=PRIOR)
    # a cost stands below log p, a payment above zero
    ax.bar(places, task, 0.8, bottom=np.where(task < 0, log_p, 0.0), color=np.where(task < 0, COST, PAID))
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set(xlim=(0, length), ylim=(-6.5, 3.5), yticks=[-5, 0], xticks=[])
    ax.set_yticklabels(["\u22125", "0"], fontsize=10, color=INK)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_color(BAR)
    labels = ((0.01, "log p of each step", PRIOR), (0.38, "rules pay", PAID), (0.57, "or cost", COST))
    for place, text, colour in labels:
        ax.text(place, 0.88, text, fontsize=11, color=colour, transform=ax.transAxes, weight="bold")


def _draw_rules(ax: Axes, terms: dict[str, float]) -> None:
    """List the rules; those that pay or cost at this step are lit."""
    ax.set(xlim=(0, 1), ylim=(len(terms), 0))
    ax.set_axis_off()
    for row, (name, value) in enumerate(terms.items()):
        colour = _colour(value)
        is_lit = colour != PRIOR
        ax.barh(row + 0.5, 1, 0.84, color=colour if is_lit else IDLE)
        ink = "#ffffff" if is_lit else SOFT
        ax.text(0.04, row + 0.52, name.replace("_", " "), fontsize=12, color=ink, va="center")
        if is_lit:
            ax.text(0.96, row + 0.52, signed(value), fontsize=12, color=ink, va="center", ha="right", weight="bold")


def _colour(value: float) -> str:
    """Choose the colour of what a rule pays; less than is written with one digit is nothing."""
    return PRIOR if abs(value) < 0.05 else PAID if value > 0 else COST


# ---------------------------------------------------------------- a molecule


def make_molecule(tokens: int) -> list[Frame]:
    """Show a molecule that grows token by token, and its properties once it is finished."""
    keywords: dict[str, Any] = {"c": 0.01, "term_weights": {"valid": 0, "logp": 0, "sa": 0, "ring": 0}}
    agent = train(SMILES, tokens, **keywords)
    env: Any = gym.make(SMILES, **keywords)
    task = env.unwrapped.task
    sequence = sample_best(agent, task)
    env.reset()
    log_p = np.cumsum([env.step(token)[4]["prior_log_prob"] for token in sequence])
    texts = [task.vocab.tokens[token] for token in sequence[:-1]]  # the end token writes nothing
    whole = "".join(texts)
    # all are cut as the last one, which is the largest
    rows, columns = (np.flatnonzero((picture(whole, whole=whole) != 255).any(axis=(other, 2))) for other in (1, 0))
    cut = slice(rows[0] - 12, rows[-1] + 12), slice(columns[0] - 12, columns[-1] + 12)
    frames = []
    for t in range(1, len(texts) + 1):
        figure = _draw_molecule(texts[:t], whole, cut)
        figure.text(0.04, 0.06, f"token {t}    log p so far {signed(log_p[t - 1])} nats", fontsize=15, color=PRIOR)
        frames.append((draw(figure), 260))
    found = {name: float(values[0]) for name, values in properties([whole]).items() if name in PROPERTIES}
    figure = _draw_molecule(texts, whole, cut)
    values = f"QED {found['qed']:.2f}     logP {found['logp']:.1f}     SA {found['sa']:.1f}".replace("-", "\u2212")
    figure.text(0.96, 0.06, values, fontsize=18, color=PAID, weight="bold", ha="right")
    paid = f"log p {signed(log_p[-1])} nats\nQED / c {signed(found['qed'] / agent.c)} nats"
    figure.text(0.04, 0.05, paid, fontsize=13, color=PRIOR, linespacing=1.4)
    return [*frames, (draw(figure), 4_000)]


def _draw_molecule(texts: list[str], whole: str, cut: tuple[slice, slice]) -> Figure:
    """Draw what is written so far: as a string, the newest token in colour, and as a molecule."""
    figure, prefix = make_figure(), "".join(texts)
    figure.text(0.04, 0.925, "A molecule by Ψ-learning on QED at c = .01", fontsize=14, color=INK, weight="bold")
    size = min(22.0, 0.92 * WIDTH / len(whole) / MONO * 72 / DPI)  # points
    # the older tokens are written over themselves: only the newest stays in colour
    for text, colour in ((prefix, COST), ("".join(texts[:-1]), INK)):
        figure.text(0.04, 0.825, text, color=colour, family="DejaVu Sans Mono", fontsize=size)
    ax = figure.add_axes((0.04, 0.16, 0.92, 0.62))
    ax.imshow(picture(prefix, whole=whole)[cut], interpolation="lanczos")
    ax.set_axis_off()
    return figure


# ---------------------------------------------------------------- leaving the prior


def make_leaving(tokens: int) -> list[Frame]:
    """Show return against KL of agents at falling temperatures, and what each generates."""
    prior = FixedPolicy(load_prior("melody"), 32)
    names = ["the prior", *(f"c = {c:g}" for c in CS)]
    points, melodies = [], []
    for c in (math.inf, *CS):
        # where the optimum repeats itself, a larger step gets there within these tokens
        rate = 0.003 if c < COLLAPSE else 0.001
        agent = prior if math.isinf(c) else train(MELODY, tokens, learning_rate=rate, c=c)
        points.append(evaluate(agent, MELODY, n=EVALUATED))
        melodies.append(agent.sample(SHOWN, seed=0)[0])
    # the same limits for all frames
    reach = max(point["kl"] for point in points), max(point["task_return"] for point in points)
    pitches = np.concatenate(melodies)[np.concatenate(melodies) >= LOWEST_TOKEN] + PITCH_OFFSET
    frames = []
    for k, name in enumerate(names):
        figure = _draw_leaving(name, points[: k + 1], reach)
        for row, melody in enumerate(melodies[k]):
            roll = figure.add_axes((0.545, 0.60 - 0.275 * row, 0.44, 0.25))
            piano_roll(roll, melody)
            for label in roll.texts:
                label.set_visible(False)
            roll.set(xticks=[], yticks=[], ylim=(pitches.min() - 1, pitches.max() + 1))
        frames.append((draw(figure), 1_500 if k + 1 < len(names) else 4_000))
    return frames


def _draw_leaving(name: str, points: list[dict[str, float]], reach: tuple[float, float]) -> Figure:
    """Draw the way from the prior to the last of some points, and how many of its samples are distinct."""
    figure = make_figure()
    title = "Leaving the prior: Ψ-learning on melodies as c falls"
    figure.text(0.03, 0.93, title, fontsize=14, color=INK, weight="bold")
    ax = figure.add_axes((0.105, 0.13, 0.40, 0.72))
    kl, earned = ([point[key] for point in points] for key in ("kl", "task_return"))
    ax.plot(kl, earned, color=PRIOR, linewidth=2, marker="o", markersize=6)
    ax.plot(kl[-1:], earned[-1:], "o", color=COST, markersize=15)
    ax.set(xlim=(-0.04 * reach[0], 1.1 * reach[0]), ylim=(-110, 1.12 * reach[1]))
    ax.set_xlabel("KL(π ‖ p): nats from the prior", fontsize=12, color=SOFT)
    ax.set_ylabel("return R: what the rules pay", fontsize=12, color=SOFT)
    ax.tick_params(length=0, labelsize=11, labelcolor=INK)
    ax.grid(color=IDLE)
    ax.set_axisbelow(True)
    for side in ax.spines.values():
        side.set_color(BAR)
    ax.text(0.95, 0.08, name, fontsize=24, color=COST, weight="bold", ha="right", transform=ax.transAxes)
    figure.text(0.545, 0.865, f"{SHOWN} samples", fontsize=12, color=SOFT)
    distinct = f"{points[-1]['distinct']:.0%} of {EVALUATED:,} are distinct"
    figure.text(0.985, 0.865, distinct, fontsize=12, color=COST, weight="bold", ha="right")
    return figure


# ---------------------------------------------------------------- the command

GIFS: dict[str, tuple[Callable[[int], list[Frame]], int]] = {  # what makes it, and of how many tokens of learning
    "melody": (make_melody, 1_000_000),
    "molecule": (make_molecule, 300_000),
    "leaving-the-prior": (make_leaving, 500_000),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the moving pictures of the documentation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(GIFS)}; by default all")
    parser.add_argument("--tokens", type=int, help="learned from, in place of each picture's own")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: this one)")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - GIFS.keys():
        parser.error(f"no picture is called {unknown.pop()!r}; they are {', '.join(GIFS)}")
    for name in given.names or GIFS:
        make, tokens = GIFS[name]
        path = given.out / f"{name}.gif"
        save_gif(make(given.tokens or tokens), path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
