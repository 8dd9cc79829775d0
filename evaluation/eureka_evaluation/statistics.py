"""Honest statistics of fitness: interquartile mean and probability of improvement, with bootstrap intervals.

Scores come as `(S, E)`: S independently trained policies, E evaluation episodes of each. Trainings differ far more than
episodes, so the bootstrap follows how the numbers arose: it draws S trainings with replacement and, within each drawn
one, E episodes (a two-stage, stratified bootstrap). Few trainings make percentile intervals too narrow. What is made of
the draws is what held the truth most often in simulations (docs/log.md; `evaluation/bench/coverage.py`):

* a mean over fewer than `FEW` trainings: Student's t with S − 1 degrees of freedom and the bootstrap's standard error;
  no percentile can leave the range of the trainings, which is too narrow a range;
* over more of them: percentiles taken further out, by Student's t (Hesterberg 2015, "expanded percentile");
* a probability of improvement: bias-corrected and accelerated percentiles (Efron 1987, BCa), equally expanded.

With S = 1 only episodes can be drawn, and the interval covers episodes alone. After Agarwal et al. 2021, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice". Everything is deterministic given `seed`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METHOD = 2
"""How intervals are made; 1 knew only expanded percentiles. Stored beside figures, as another method finds others."""
RESAMPLES = 5000
FEW = 5
"""Trainings from which percentiles of the bootstrap hold a mean about as often as they should."""


@dataclass(frozen=True)
class Interval:
    """A statistic and its bootstrap interval."""

    value: float
    low: float
    high: float


def interquartile_mean(
    scores: NDArray[np.float64], *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Mean of the middle half of all S × E scores: robust like the median, precise like the mean.

    Args:
        scores: `(S, E)` fitness.
        seed: of the bootstrap.
        confidence: nominal coverage.
        resamples: bootstrap draws.
    """
    flat = _checked(scores).ravel()
    draws = flat[_draw(scores.shape, resamples, np.random.default_rng(seed))]
    return _of_mean(_iqm(flat[None])[0], _iqm(draws), len(scores), confidence)


def probability_of_improvement(
    x: NDArray[np.float64], y: NDArray[np.float64], *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """P(X > Y) + P(X = Y) / 2 for one score drawn from each: the Mann-Whitney effect size.

    Args:
        x: `(S, E)` scores of one arm.
        y: `(T, F)` scores of the other.
        seed: of the bootstrap.
        confidence: nominal coverage.
        resamples: bootstrap draws.
    """
    a, b = _checked(x).ravel(), _checked(y).ravel()
    wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    rng = np.random.default_rng(seed)
    of_x = _counts(_draw(x.shape, resamples, rng), a.size)
    of_y = _counts(_draw(y.shape, resamples, rng), b.size)
    draws = np.einsum("bi,bi->b", of_x @ wins, of_y) / wins.size
    by_training = wins.reshape(*x.shape, *y.shape).mean(axis=(1, 3))  # of x and of y
    skew = _acceleration(by_training.mean(axis=1), by_training.mean(axis=0))
    return _accelerated(float(wins.mean()), draws, min(len(x), len(y)), confidence, skew)


def mean_of_trainings(
    means: NDArray[np.float64], *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Mean over trainings of what each reached, `(S,)`; the interval resamples trainings only.

    Raises:
        ValueError: empty or not finite.
    """
    trainings = _checked(means[:, None])[:, 0]
    draws = np.random.default_rng(seed).choice(trainings, size=(resamples, trainings.size)).mean(axis=1)
    return _of_mean(float(trainings.mean()), draws, trainings.size, confidence)


def selection_optimism(
    promised: NDArray[np.float64],
    kept: NDArray[np.float64],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """How much more the figures that selected winners promised than fresh trainings kept, on average.

    The best of many noisy figures is too high even if each is unbiased (the winner's curse).

    Args:
        promised: `(S,)` the figure on which each search chose its winner.
        kept: `(S,)` mean fitness of that winner's fresh trainings.
        seed: of the bootstrap.
        confidence: nominal coverage.
        resamples: bootstrap draws.
    """
    if promised.shape != kept.shape:
        raise ValueError(f"one promise per winner is needed; got shapes {promised.shape} and {kept.shape}")
    return mean_of_trainings(promised - kept, seed=seed, confidence=confidence, resamples=resamples)


def _checked(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if scores.ndim != 2 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, (trainings, episodes) and not empty; got shape {scores.shape}")
    return scores


def _iqm(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.stats import trim_mean  # 0.9 s to import, so only when asked for

    return np.asarray(trim_mean(rows, 0.25, axis=1), dtype=np.float64)


def _draw(shape: tuple[int, ...], resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Flat positions `(resamples, S * E)` of two-stage draws."""
    trainings, episodes = shape
    chosen = rng.integers(trainings, size=(resamples, trainings, 1))
    within = rng.integers(episodes, size=(resamples, trainings, episodes))
    return (chosen * episodes + within).reshape(resamples, -1)


def _counts(positions: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """How often each draw holds each score, `(resamples, size)`."""
    offsets = np.arange(len(positions))[:, None] * size
    flat = np.bincount((positions + offsets).ravel(), minlength=len(positions) * size)
    return flat.reshape(len(positions), size).astype(np.float64)


def _of_mean(value: float, draws: NDArray[np.float64], trainings: int, confidence: float) -> Interval:
    tail = (1.0 - confidence) / 2.0
    if 1 < trainings < FEW:
        from scipy.special import stdtrit

        error = draws.std() * np.sqrt(trainings / (trainings - 1.0))
        width = float(-stdtrit(trainings - 1.0, tail) * error)
        return Interval(float(value), float(value) - width, float(value) + width)
    tail = _expanded_tail(tail, trainings)
    return _between(value, draws, tail, 1.0 - tail)


def _accelerated(
    value: float, draws: NDArray[np.float64], trainings: int, confidence: float, acceleration: float
) -> Interval:
    """BCa (Efron 1987, eq. 2.3) at tails expanded for few trainings."""
    from scipy.special import ndtr, ndtri

    below = (draws < value).mean() + 0.5 * (draws == value).mean()
    bias = ndtri(np.clip(below, 1.0 / draws.size, 1.0 - 1.0 / draws.size))
    tail = ndtri(_expanded_tail((1.0 - confidence) / 2.0, trainings))
    shifted = [bias + side for side in (tail, -tail)]
    levels = [ndtr(bias + z / max(1.0 - acceleration * z, 0.05)) for z in shifted]
    return _between(value, draws, float(levels[0]), float(levels[1]))


def _acceleration(*arms: NDArray[np.float64]) -> float:
    """Skewness of the statistic, from what each training of each arm contributes to it, `(S,)` per arm."""
    influence = np.concatenate([(arm - arm.mean()) / arm.size for arm in arms])
    squares = (influence**2).sum()
    return float((influence**3).sum() / (6.0 * squares**1.5)) if squares > 0.0 else 0.0


def _between(value: float, draws: NDArray[np.float64], lower: float, upper: float) -> Interval:
    low, high = np.quantile(draws, [lower, upper])
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)))


def _expanded_tail(tail: float, trainings: int) -> float:
    """Tail probability Φ(√(S / (S − 1)) · t_{S−1}(tail)) that makes up for the bootstrap's narrowness at small S."""
    from scipy.special import ndtr, stdtrit

    if trainings == 1:
        return tail
    spread = np.sqrt(trainings / (trainings - 1.0))
    return float(ndtr(spread * stdtrit(trainings - 1.0, tail)))
