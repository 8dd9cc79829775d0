"""Honest statistics of fitness: interquartile mean and probability of improvement, with bootstrap intervals.

Scores come as `(S, E)`: S independently trained policies, E evaluation episodes of each; or as S arrays, if some have
fewer episodes than others. Trainings differ far more than episodes, so the bootstrap follows how the numbers arose: it
draws S trainings with replacement and, within each drawn one, as many episodes as it has (a two-stage, stratified
bootstrap). Every score counts alike. Few trainings make percentile intervals too narrow. What is made of
the draws is what held the truth most often in simulations (docs/log.md; `evaluation/bench/coverage.py`):

* a mean over fewer than `FEW` trainings: Student's t with S − 1 degrees of freedom and the bootstrap's standard error;
  no percentile can leave the range of the trainings, which is too narrow a range;
* over more of them: percentiles taken further out, by Student's t (Hesterberg 2015, "expanded percentile");
* a probability of improvement: bias-corrected and accelerated percentiles (Efron 1987, BCa), equally expanded.

With S = 1 only episodes can be drawn, and the interval covers episodes alone. After Agarwal et al. 2021, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice". Everything is deterministic given `seed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METHOD = 2
"""How intervals are made; 1 knew only expanded percentiles. Stored beside figures, as another method finds others."""
RESAMPLES = 5000
FEW = 5
"""Trainings from which percentiles of the bootstrap hold a mean about as often as they should."""
Strata = NDArray[np.float64] | Sequence[NDArray[np.float64]]
"""Fitness by training: `(S, E)`, or S arrays `(E_s,)`."""


@dataclass(frozen=True)
class Interval:
    """A statistic and its bootstrap interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Strata, *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES) -> Interval:
    """Mean of the middle half of all scores: robust like the median, precise like the mean.

    Args:
        scores: `(S, E)` fitness, or S arrays `(E_s,)`.
        seed: of the bootstrap.
        confidence: nominal coverage.
        resamples: bootstrap draws.

    Raises:
        ValueError: empty or not finite.
    """
    flat, lengths = _checked(scores)
    draws = _padded(flat)[_draw(lengths, resamples, np.random.default_rng(seed))]
    return _of_mean(_iqm(flat[None])[0], _iqm(draws), len(lengths), confidence)


def probability_of_improvement(
    x: Strata, y: Strata, *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """P(X > Y) + P(X = Y) / 2 for one score drawn from each: the Mann-Whitney effect size.

    Args:
        x: `(S, E)` scores of one arm, or S arrays `(E_s,)`.
        y: `(T, F)` scores of the other, or T arrays `(F_t,)`.
        seed: of the bootstrap.
        confidence: nominal coverage.
        resamples: bootstrap draws.

    Raises:
        ValueError: empty or not finite.
    """
    (a, of_a), (b, of_b) = _checked(x), _checked(y)
    wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    rng = np.random.default_rng(seed)
    of_x = _counts(_draw(of_a, resamples, rng), a.size)
    of_y = _counts(_draw(of_b, resamples, rng), b.size)
    draws = np.einsum("bi,bi->b", of_x @ wins, of_y) / (of_x.sum(axis=1) * of_y.sum(axis=1))
    skew = _acceleration((wins.mean(axis=1), of_a), (wins.mean(axis=0), of_b))
    return _accelerated(float(wins.mean()), draws, min(len(of_a), len(of_b)), confidence, skew)


def mean_of_trainings(
    means: NDArray[np.float64], *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """Mean over trainings of what each reached, `(S,)`; the interval resamples trainings only.

    Raises:
        ValueError: empty or not finite.
    """
    trainings, _ = _checked(means[:, None])
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


def _checked(scores: Strata) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All scores in a row, and how many each training has."""
    whole = len(scores) > 0 and all(np.ndim(row) == 1 and len(row) > 0 for row in scores)
    if not whole or not all(np.isfinite(row).all() for row in scores):
        told = np.shape(scores) if isinstance(scores, np.ndarray) else [np.shape(row) for row in scores]
        raise ValueError(f"scores must be finite, (trainings, episodes) and not empty; got shape {told}")
    return np.concatenate(scores), np.array([len(row) for row in scores])


def _padded(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    """With nothing at position -1."""
    return np.append(flat, np.nan)


def _iqm(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, to the bit SciPy's `trim_mean`, which takes a second to import; what is not a number is no score."""
    held = np.isfinite(rows).sum(axis=1, keepdims=True)
    if (held == rows.shape[1]).all():
        first, end = rows.shape[1] // 4, rows.shape[1] - rows.shape[1] // 4
        return np.asarray(np.partition(rows, (first, end - 1), axis=1)[:, first:end].mean(axis=1), dtype=np.float64)
    place, cut = np.arange(rows.shape[1]), held // 4
    middle = (place >= cut) & (place < held - cut)
    means: NDArray[np.float64] = np.sort(rows, axis=1).mean(axis=1, where=middle)
    return means


def _draw(lengths: NDArray[np.int64], resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions `(resamples, S * max E)` in all scores of two-stage draws; -1 where a training has fewer."""
    trainings, most = len(lengths), int(lengths.max())
    chosen = rng.integers(trainings, size=(resamples, trainings, 1))
    equal = bool((lengths == most).all())
    within = rng.integers(most if equal else lengths[chosen], size=(resamples, trainings, most))
    positions = (np.cumsum(lengths) - lengths)[chosen] + within
    held = np.arange(most) < lengths[chosen]
    return np.where(held, positions, -1).reshape(resamples, -1)


def _counts(positions: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """How often each draw holds each score, `(resamples, size)`."""
    offsets = np.arange(len(positions))[:, None] * (size + 1)
    flat = np.bincount((positions + 1 + offsets).ravel(), minlength=len(positions) * (size + 1))
    return flat.reshape(len(positions), size + 1)[:, 1:].astype(np.float64)


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


def _acceleration(*arms: tuple[NDArray[np.float64], NDArray[np.int64]]) -> float:
    """Skewness of the statistic, from what each training of each arm contributes to it.

    An arm is what each of its scores contributes, `(sum E_s,)`, and how many scores each training has, `(S,)`.
    """
    influence = np.concatenate([_influence(scores, lengths) for scores, lengths in arms])
    squares = (influence**2).sum()
    return float((influence**3).sum() / (6.0 * squares**1.5)) if squares > 0.0 else 0.0


def _influence(scores: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    sums = np.add.reduceat(scores, np.cumsum(lengths) - lengths)
    moved: NDArray[np.float64] = (sums - lengths * scores.mean()) / scores.size
    return moved


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
