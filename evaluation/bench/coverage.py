"""How often intervals hold the truth: each way to make one from the same bootstrap, on simulated trainings.

    nice .venv/bin/python evaluation/bench/coverage.py [--repeats N]

Three kinds of trainings: normal, skewed (log-normal), and of two modes, as a hopper that learns to run in 70 % of its
trainings and to fall in the others. Per line: the share of nominal 95 % intervals that hold the truth, and their mean
length. `kept` is what `eureka_evaluation.statistics` makes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from eureka_evaluation import statistics as ours

RESAMPLES, EPISODES, TAIL = 600, 10, 0.025
TRAININGS = (2, 3, 5, 10)
KINDS = {"normal": (0.3, 1.0), "skewed": (0.3, 1.0), "two modes": (2.0, 3.0)}
"""Spread of the episodes of one training, and by how much the better arm is ahead."""
Array = NDArray[np.float64]


def trainings(kind: str, size: int, rng: np.random.Generator) -> Array:
    """Mean fitness of each, `(S,)`."""
    if kind == "normal":
        return rng.normal(size=size)
    if kind == "skewed":
        return rng.lognormal(0.0, 0.8, size=size)
    return np.where(rng.random(size) < 0.3, rng.normal(5.0, 1.5, size), rng.normal(17.0, 2.0, size))


def arm(kind: str, size: int, rng: np.random.Generator) -> Array:
    """Scores `(S, E)`."""
    return trainings(kind, size, rng)[:, None] + rng.normal(0.0, KINDS[kind][0], (size, EPISODES))


def ways(value: float, draws: Array, size: int, skew: float) -> Iterator[tuple[str, float, float]]:
    """Every way to make an interval from the same draws."""
    yield "percentile", *np.quantile(draws, [TAIL, 1.0 - TAIL])
    tail = ours._expanded_tail(TAIL, size)
    yield "expanded", *np.quantile(draws, [tail, 1.0 - tail])
    found = ours._accelerated(value, draws, size, 1.0 - 2.0 * TAIL, skew)
    yield "BCa expanded", found.low, found.high
    width = -stdtrit(size - 1.0, TAIL) * draws.std() * np.sqrt(size / (size - 1.0))
    yield "Student's t", value - width, value + width


def iqm_case(x: Array, rng: np.random.Generator) -> tuple[float, Array, float]:
    """Value, draws and skewness of an interquartile mean."""
    flat = x.ravel()
    value = float(ours._iqm(flat[None])[0])
    draws = ours._iqm(flat[ours._draw(x.shape, RESAMPLES, rng)])
    left_out = np.array([float(ours._iqm(np.delete(x, i, 0).ravel()[None])[0]) for i in range(len(x))])
    return value, draws, ours._acceleration(-left_out)


def odds_case(x: Array, y: Array, rng: np.random.Generator) -> tuple[float, Array, float]:
    """The same of a probability of improvement."""
    a, b = x.ravel(), y.ravel()
    wins = (a[:, None] > b).astype(np.float64)
    of_x = ours._counts(ours._draw(x.shape, RESAMPLES, rng), a.size)
    of_y = ours._counts(ours._draw(y.shape, RESAMPLES, rng), b.size)
    draws = np.einsum("bi,bi->b", of_x @ wins, of_y) / wins.size
    by_training = wins.reshape(*x.shape, *y.shape).mean(axis=(1, 3))
    return float(wins.mean()), draws, ours._acceleration(by_training.mean(axis=1), by_training.mean(axis=0))


def measure(what: str, kind: str, size: int, repeats: int) -> str:
    """One line of the table."""
    rng = np.random.default_rng([size, len(kind), len(what)])
    many, ahead = arm(kind, 200_000, rng), KINDS[kind][1]
    if what == "IQM":
        truth = float(ours._iqm(many.ravel()[None])[0])
    else:
        truth = float((arm(kind, 200_000, rng).ravel() + ahead > rng.permutation(many.ravel())).mean())
    held: dict[str, float] = defaultdict(float)
    length: dict[str, float] = defaultdict(float)
    for repeat in range(repeats):
        x, y = arm(kind, size, rng), arm(kind, size, rng)
        if what == "IQM":
            case = iqm_case(x, rng)
            kept = ours.interquartile_mean(x, seed=repeat, resamples=RESAMPLES)
        else:
            case = odds_case(x + ahead, y, rng)
            kept = ours.probability_of_improvement(x + ahead, y, seed=repeat, resamples=RESAMPLES)
        found = [*ways(case[0], case[1], size, case[2]), ("kept", kept.low, kept.high)]
        for name, low, high in found:
            held[name] += (low <= truth <= high) / repeats
            length[name] += (high - low) / repeats
    told = "  ".join(f"{name} {100 * held[name]:3.0f} % ({length[name]:.2f})" for name in held)
    return f"{what:11s} {kind:10s} {size:2d} trainings: {told}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    options = parser.parse_args()
    for what in ("IQM", "improvement"):
        for kind in KINDS:
            for size in TRAININGS:
                print(measure(what, kind, size, options.repeats), flush=True)


if __name__ == "__main__":
    main()
