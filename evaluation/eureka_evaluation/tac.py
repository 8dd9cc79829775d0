"""How well a reward orders trajectories: the trajectory alignment coefficient of Muslimani et al. 2025.

Kendall's tau-b between a reward's returns and a trusted order of trajectories, here the task's metric: 1 if the reward
orders every pair as the metric does, -1 if the other way round, 0 if its order says nothing. It does not change under
positive scaling, nor under potential shaping between states that all trajectories share as their first and last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 1000


@dataclass(frozen=True)
class Alignment:
    """The coefficient with its bootstrap interval."""

    value: float
    """In [-1, 1]; 0 where all returns, or all fitnesses, are equal."""
    low: float
    high: float
    trajectories: int


def kendall_tau_b(x: Floats, y: Floats) -> float:
    """Concordant minus discordant pairs, over the geometric mean of the pairs that are untied in each."""
    return float(_tau(np.ones((1, len(x))), _signs(x), _signs(y))[0])


def alignment(
    returns: Floats, fitness: Floats, *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Alignment:
    """The coefficient over N trajectories, with a percentile interval over draws of trajectories with replacement.

    Args:
        returns: `(N,)`, undiscounted sums of the reward.
        fitness: `(N,)`, what each trajectory was worth.
        seed: of the bootstrap.
        confidence: nominal coverage.
        resamples: bootstrap draws.

    Raises:
        ValueError: fewer than two trajectories.
    """
    count = len(returns)
    if count < 2:
        raise ValueError(f"{count} trajectories have no order; at least 2 are needed")
    x, y = _signs(returns), _signs(fitness)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples)
    found = _tau(draws.astype(np.float64), x, y)
    tail = 100.0 * (1.0 - confidence) / 2.0
    low, high = np.percentile(found, [tail, 100.0 - tail])
    return Alignment(float(_tau(np.ones((1, count)), x, y)[0]), float(low), float(high), count)


def _signs(values: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.sign(values[:, None] - values[None, :])


def _tau(counts: Floats, x: Floats, y: Floats) -> Floats:
    """Tau-b where trajectory i is there `counts[b, i]` times; draws of the same one are tied in both."""
    pairs = np.einsum("bi,bi->b", counts @ (x * y), counts)
    untied = [np.einsum("bi,bi->b", counts @ np.abs(signs), counts) for signs in (x, y)]
    scale = np.sqrt(untied[0] * untied[1])
    found: Floats = np.divide(pairs, scale, out=np.zeros_like(pairs), where=scale > 0)
    return found
