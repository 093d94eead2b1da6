"""Draw docs/pictures/concepts.png, return against KL on the exact task: `python docs/_scripts/concepts.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from seqtutor_envs.exact import make_random_task, solve

C = 1.0  # the environment's default
BLUE, ORANGE, GREY = "#1f5fa8", "#c45a00", "#555555"


def measure(solution: dict[str, Any], log_pi: np.ndarray) -> np.ndarray:
    """Return KL(pi || p) and E[R] of a policy, log pi [M] on the enumerated sequences."""
    pi = np.exp(log_pi)
    return np.array([pi @ (log_pi - solution["prior_log_probs"]), pi @ solution["task_returns"]])


def draw(path: Path) -> None:
    """Draw the optimum at all temperatures, the line of equal J that touches it at C, and a policy below."""
    task, prior = make_random_task(vocab_size=3, length=4, seed=0)  # that of SeqTutor-Exact-v0
    optimum = solve(task, prior, C)
    frontier = np.array([measure(optimum, solve(task, prior, c)["log_probs"]) for c in np.geomspace(0.02, 200, 120)])
    best = measure(optimum, optimum["log_probs"])
    uniform = measure(optimum, np.full(len(optimum["log_probs"]), -np.log(len(optimum["log_probs"]))))
    log_z, j = optimum["log_z"], uniform[1] / C - uniform[0]

    figure, axes = plt.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    line = np.array([0.0, 3.0])
    axes.plot(*frontier.T, color=BLUE, linewidth=2.5)
    axes.plot(line, C * (log_z + line), color=ORANGE, linestyle="--")
    axes.plot(line, C * (j + line), color=GREY, linestyle=":")
    axes.scatter(*np.transpose([frontier[-1], best, uniform]), color=[BLUE, ORANGE, GREY], zorder=3, s=50)
    axes.annotate("", (2.6, C * (log_z + 2.6)), (2.6, C * (j + 2.6)), arrowprops=dict(arrowstyle="<->", color=GREY))

    def note(text: str, point: Any, where: tuple[float, float], color: str) -> None:
        arrow = dict(arrowstyle="-", color=color)
        axes.annotate(text, point, where, color=color, fontsize=11, arrowprops=arrow, linespacing=1.4)

    note("the prior: KL = 0", frontier[-1], (0.25, -1.75), BLUE)
    note("the best policies, c = 200 (left) to .02 (right):\nno policy is above this line", frontier[5], (2.8, 4), BLUE)
    note(
        f"the optimum at c = {C:g}, where the slope is c;\non the dashed line J = log Z = {log_z:.2f}",
        best, (0.1, 3.4), ORANGE,
    )  # fmt: skip
    note(f"uniform tokens: J = −{-j:.2f},\nas on all of the dotted line", uniform, (1.35, -1.2), GREY)
    left = f"what is left: log Z − J = {log_z - j:.2f} nats,\nwhich is KL(π ‖ optimum)"
    axes.text(2.68, 2.25, left, color=GREY, fontsize=11, linespacing=1.4, va="center")
    axes.set(xlabel="KL(π ‖ p), nats: how far from the prior", ylabel="E[R]: what the task pays")
    axes.set(xlim=(-0.1, 5.5), ylim=(-2, 4.6))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    print(f"log Z {log_z:.4f}; KL and E[R] of the prior {frontier[-1]}, the optimum {best}, uniform tokens {uniform}")


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "pictures" / "concepts.png")
