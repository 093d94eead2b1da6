"""`python -m benchmarks log-z`: estimate log Z from samples of the prior, and the share of it that an agent closes.

log Z = log E_p[exp(R / c)] is the largest J that any policy can have. N returns R of independent samples of the prior
give it for every c at once. Natural logs; errors are standard errors by the delta method.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray
from tabulate import tabulate

from benchmarks.domains import SMILES, build_env_kwargs
from seqtutor_envs.checks import SEED, Range, positive_integer, temperature
from seqtutor_envs.command import set_threads

FEW = 100  # effective samples, below which an estimate is said to be doubtful


class LogZ(NamedTuple):
    """Hold an estimate, its standard error, and the number of samples of the optimum that would weigh as much.

    With few effective samples the best ones are missing: the estimate is too low, and its error too small.
    """

    value: float
    error: float
    effective: float


def estimate_log_z(returns: NDArray[np.float64], c: float) -> LogZ:
    """Estimate log Z = log mean exp(R / c) from returns R [N] of samples of the prior, not divided by c.

    Raises ValueError unless there are at least two finite returns and c is above 0.
    """
    scaled = _scaled(returns, c)
    top = scaled.max()
    weights = np.exp(scaled - top)  # the largest is 1: returns of thousands of nats would overflow
    mean = weights.mean()
    error = weights.std(ddof=1) / (np.sqrt(len(weights)) * mean)
    return LogZ(float(top + np.log(mean)), float(error), float(weights.sum() ** 2 / (weights**2).sum()))


def estimate_optimum(returns: NDArray[np.float64], c: float) -> tuple[float, float]:
    """Estimate the mean return of the best policy and its KL to the prior in nats, by the same weights."""
    scaled = _scaled(returns, c)
    weights = np.exp(scaled - scaled.max())
    mean = float(weights @ returns / weights.sum())
    return mean, mean / c - estimate_log_z(returns, c).value


def estimate_share_closed(j: float, j_error: float, returns: NDArray[np.float64], c: float) -> tuple[float, float]:
    """Estimate an agent's (J - J(prior)) / (log Z - J(prior)), and its standard error.

    J(prior) = E_p[R / c] and log Z come from the same samples; that they err together is in the error, as is the
    agent's own, independent one. NaN where the prior is the optimum.

    Args:
        j, j_error: the agent's J and its standard error, from samples of its own.
        returns, c: as for `estimate_log_z`.
    """
    scaled = _scaled(returns, c)
    log_z, of_prior = estimate_log_z(returns, c).value, float(scaled.mean())
    whole, done = log_z - of_prior, j - of_prior
    if whole <= 0:
        return float("nan"), float("nan")
    # how much one sample moves J(prior) and log Z, times N
    moves_prior = scaled - of_prior
    moves_log_z = np.exp(scaled - log_z) - 1
    # d(share) = dJ / whole + (done - whole) / whole^2 dJ(prior) - done / whole^2 dlogZ
    moves = ((done - whole) * moves_prior - done * moves_log_z) / whole**2
    error = np.sqrt((j_error / whole) ** 2 + moves.var(ddof=1) / len(moves))
    return done / whole, float(error)


def log_z(
    env: str = SMILES,
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100_000,
    c: tuple[float, ...] = (),
    seed: int = 0,
    weights: str = "{}",
    env_kwargs: str = "{}",
    prior: str | None = None,
    workers: int | None = None,
    out: Path = Path("prior-samples.safetensors"),
    j: tuple[float, float] | None = None,
) -> None:
    """Estimate log Z, the greatest J, and the optimum at each temperature from samples of the prior.

    OUT keeps the samples and their returns, which serve every c.

    Args:
        env: an environment id.
        n: samples. A larger n continues the file of an earlier one.
        c: temperatures. Default: the environment's own.
        seed: of the samples.
        weights: JSON, weights of the reward's terms.
        env_kwargs: JSON, further keywords of the environment.
        prior: a shipped prior's name, or the path of one. Default: the environment's own.
        workers: processes that score molecules. Default: one for each core.
        out: the file that keeps the samples.
        j: J of an agent at the first temperature and its standard error; prints the share of log Z - J(prior) that it
            closes.
    """
    from benchmarks.prior_samples import draw_samples, make_batch

    n, seed = positive_integer("--n", n), SEED.check("--seed", seed)
    j = None if j is None else (Range().check("--j", j[0]), Range(0.0).check("--j (its error)", j[1]))
    set_threads(1)
    given = build_env_kwargs(env, env_kwargs, weights, prior, workers)
    batch = make_batch(env, given)
    # only its temperature is wanted; `draw_samples` makes its own
    batch.close()
    temperatures = [temperature(value) for value in (c or (batch.c,))]
    samples = draw_samples(env, given, n, seed, out)
    mean, best = samples.returns.mean(), samples.returns.max()
    print(f"{env}: {n:,} samples of the prior; mean return {mean:.4f}, best {best:.4f}")
    print(format_table(samples.returns, temperatures))
    if j is not None:
        share, error = estimate_share_closed(*j, samples.returns, temperatures[0])
        print(f"share closed at c = {temperatures[0]:g}: {share:.1%} ± {error:.1%}")
    print(out)


def format_table(returns: NDArray[np.float64], temperatures: Sequence[float]) -> str:
    """Format a line for each temperature: log Z, the prior's J, and the optimum."""
    heads = ("c", "log Z", "±", "J(prior)", "±", "optimum's R", "its KL", "effective samples")
    rows = []
    for c in temperatures:
        found, scaled = estimate_log_z(returns, c), returns / c
        mean, kl = estimate_optimum(returns, c)
        numbers = (found.value, found.error, scaled.mean(), scaled.std(ddof=1) / len(scaled) ** 0.5, mean, kl)
        doubtful = "(few: log Z is too low)" if found.effective < FEW else ""
        rows.append((f"{c:g}", *(f"{number:.4f}" for number in numbers), f"{found.effective:.1f}", doubtful))
    return tabulate(rows, headers=(*heads, ""), tablefmt="plain", disable_numparse=True, stralign="right")


def _scaled(returns: NDArray[np.float64], c: float) -> NDArray[np.float64]:
    returns = np.asarray(returns, dtype=np.float64)
    if returns.ndim != 1 or len(returns) < 2 or not np.isfinite(returns).all():
        raise ValueError(f"log Z needs two finite returns or more, [N], not {list(returns.shape)}.")
    return returns / temperature(c)
