"""Phases of an episode: change points in the levels of the state variables, by binary segmentation."""

from __future__ import annotations

import itertools

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.gait import rhythm
from eureka_evaluation.tracks import Array, Subject, Track, drifting, listed, number

BLOCKS = 100
"""An episode is reduced to at most so many means, none shorter than a stride, so that a stride is no phase."""
FEWEST_BLOCKS = 12
MOST = 4
"""Phases that are told."""
SHORTEST = 3
"""Blocks of a phase."""
GAIN = 3.0
"""Squared deviation that a change point must save, in units of log(blocks) per column."""
CLEAR = 0.3
"""Least difference between phases, in spreads of random play, of a variable that is told."""


def phases(subject: Subject, metric: str = "") -> list[Finding]:
    """The phases of the median episode, if there is more than one, by other variables than `metric`."""
    t = subject.median
    found = rhythm(subject)
    stride = found[0].numbers["period_steps"] if found and found[0].kind == "rhythm" else 1.0
    blocks = int(min(BLOCKS, t.steps / stride))
    known = subject.first_of_twins & ~drifting(t.values) & np.array([label != metric for label in t.labels], dtype=bool)
    places = np.flatnonzero(known)
    if blocks < FEWEST_BLOCKS or not len(places):
        return []
    series = block_means(t.values[1:, known], blocks)
    scale = np.maximum(series.std(axis=0), 0.1 * subject.spread()[known])  # what hardly moves starts no phase
    edges = _clear(series / subject.spread()[known], [0, *change_points(series / scale), blocks])
    means = _means(series, edges)
    size = np.zeros(len(t.labels))
    size[places] = np.ptp(means, axis=0) / subject.spread()[known]
    telling = subject.telling(size, 3, CLEAR)
    if len(edges) < 3 or not telling:
        return []
    columns = [int(np.flatnonzero(places == i)[0]) for i in telling]
    return [_told(t, [t.labels[i] for i in telling], means[:, columns], edges)]


def _clear(series: Array, edges: list[int]) -> list[int]:
    """The edges between phases that anyone would tell apart, the faintest left out one by one."""
    while len(edges) > 2:
        steps = np.abs(np.diff(_means(series, edges), axis=0)).max(axis=1)
        if steps.min() >= CLEAR:
            break
        del edges[1 + int(steps.argmin())]
    return edges


def _means(series: Array, edges: list[int]) -> Array:
    return np.array([series[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])


def _told(t: Track, labels: list[str], means: Array, edges: list[int]) -> Finding:
    """Args: means: `(phases, labels)`; edges: of the phases, in blocks."""
    seconds = [edge * t.seconds / edges[-1] for edge in edges]
    spans = [
        f"{number(a)} to {number(b)} s ({', '.join(map(number, row))})"
        for a, b, row in zip(seconds[:-1], seconds[1:], means, strict=True)
    ]
    text = f"The median episode has {len(spans)} phases, by the means of {listed(labels)}: {', '.join(spans)}."
    return Finding("phases", 0.3, text, {f"start_{k}": start for k, start in enumerate(seconds[:-1])})


def block_means(values: Array, blocks: int) -> Array:
    """`(blocks, C)` means of `(T, C)` over blocks of equal length, as far as T divides."""
    edges = np.linspace(0, len(values), blocks + 1).astype(int)
    means: Array = np.add.reduceat(values, edges[:-1], axis=0) / np.diff(edges)[:, None]
    return means


def change_points(series: Array, most: int = MOST - 1) -> list[int]:
    """Rows at which the mean of several standardised signals jumps, ascending.

    Binary segmentation: the cut that saves the most squared deviation first, as long as it saves more than a penalty
    like that of the Bayesian information criterion. The noise is taken from the differences of neighbouring rows.

    Args:
        series: `(n, k)`, each column in units of its own spread.
        most: change points at most.
    """
    n, k = series.shape
    # the median: at a jump one difference is large, the others are noise
    noise = np.median(np.abs(np.diff(series, axis=0)), axis=0) / 0.954
    sums = np.vstack([np.zeros(k), np.cumsum(series / np.maximum(noise, 0.1), axis=0)])
    penalty = GAIN * k * np.log(n)
    cuts: list[int] = []
    while len(cuts) < most:
        edges = [0, *sorted(cuts), n]
        gain, place = max(_best_cut(sums, a, b) for a, b in itertools.pairwise(edges))
        if gain <= penalty:
            break
        cuts.append(place)
    return sorted(cuts)


def _best_cut(sums: Array, a: int, b: int) -> tuple[float, int]:
    """The most squared deviation that one cut between rows a and b saves, and where."""
    places = np.arange(a + SHORTEST, b - SHORTEST + 1)
    if len(places) == 0:
        return 0.0, a
    left, right = sums[places] - sums[a], sums[b] - sums[places]
    m, n = (places - a)[:, None], (b - places)[:, None]
    gains = ((left / m - right / n) ** 2 * (m * n / (m + n))).sum(axis=1)
    best = int(gains.argmax())
    return float(gains[best]), int(places[best])
