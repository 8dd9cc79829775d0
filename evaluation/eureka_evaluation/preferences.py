"""Strengths from pairwise preferences: the Bradley–Terry model, with intervals.

P(i is preferred to j) = σ(θᵢ − θⱼ) (Bradley & Terry 1952, Biometrika 39). With few judgements the likelihood alone has
no maximum (who wins once and never loses would be infinitely strong), so θ has a normal prior around 0. The log
posterior is concave; Newton's method finds its maximum, and the intervals are those of the normal distribution with the
same curvature there (Laplace).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_SPREAD = 1.5
"""Standard deviation of a strength before anything is known: of two drawn at random, the stronger wins 4 of 5 times."""
STEPS = 100
CONVERGED = 1e-10
NORMAL_95 = 1.959963984540054
"""0.975-quantile of the standard normal distribution."""


@dataclass(frozen=True)
class Strengths:
    """Log-odds strengths with mean 0 a priori; each field has shape `(n,)`."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """95 % interval."""


def bradley_terry(wins: NDArray[np.float64], spread: float = PRIOR_SPREAD) -> Strengths:
    """Strengths of n alternatives.

    Args:
        wins: `(n, n)`, how often the row was preferred to the column, at least 0; the diagonal is ignored.
        spread: standard deviation of the prior.

    Raises:
        ValueError: `wins` is no square matrix of finite numbers of at least 0.
    """
    wins = np.asarray(wins, dtype=np.float64)
    if wins.ndim != 2 or wins.shape[0] != wins.shape[1] or not np.isfinite(wins).all() or (wins < 0).any():
        raise ValueError(f"wins must be a square matrix of finite numbers of at least 0, not of shape {wins.shape}")
    wins = wins * (1.0 - np.eye(len(wins)))
    contests, precision = wins + wins.T, 1.0 / spread**2
    theta = np.zeros(len(wins))
    for _ in range(STEPS):
        chance = _chance(theta)
        slope = (wins - contests * chance).sum(axis=1) - precision * theta
        step = np.linalg.solve(_curvature(contests, chance, precision), slope)
        theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max(initial=0.0)), 1e-300))
        if np.abs(step).max(initial=0.0) < CONVERGED:
            break
    variance = np.diag(np.linalg.inv(_curvature(contests, _chance(theta), precision)))
    margin = NORMAL_95 * np.sqrt(variance)
    return Strengths(theta, theta - margin, theta + margin)


def _chance(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """σ(θᵢ − θⱼ), `(n, n)`; written with tanh, which does not overflow."""
    result: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * (theta[:, None] - theta[None, :])))
    return result


def _curvature(contests: NDArray[np.float64], chance: NDArray[np.float64], precision: float) -> NDArray[np.float64]:
    """Negative Hessian of the log posterior, positive definite."""
    weight = contests * chance * (1.0 - chance)
    result: NDArray[np.float64] = np.diag(weight.sum(axis=1) + precision) - weight
    return result
