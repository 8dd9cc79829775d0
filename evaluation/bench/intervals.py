"""Medians and ratios with distribution-free 95 % intervals, for a handful of positive numbers, some of them bounds.

A run that was stopped gives a lower bound of its time. Order statistics of lower bounds are lower bounds of the order
statistics, so everything here stays true, and is marked with `≥`, where bounds are among the numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sample:
    """One measured number, or what it is at least."""

    value: float
    at_least: bool = False


@dataclass(frozen=True)
class Interval:
    """A median or ratio of medians, between two order statistics."""

    value: float
    low: float
    high: float
    at_least: bool = False
    """The value is a lower bound."""
    open_above: bool = False
    """The upper end is itself only a lower bound: there is no upper end."""
    coverage: float = CONFIDENCE
    """What the ends cover at least; less than 0.95 where there are too few numbers for it."""

    def text(self, form: str = ",.3g") -> str:
        """`12.3 [11, 14]`; its coverage after it if that is less than 95 %, no ends if there is only one number."""
        value = "≥ " * self.at_least + _number(self.value, form)
        if not self.coverage:
            return value
        high = "∞" if self.open_above else _number(self.high, form)
        less = f" ({self.coverage:.0%})" if self.coverage < CONFIDENCE else ""
        return f"{value} [{_number(self.low, form)}, {high}]{less}"


def samples(values: Sequence[float]) -> list[Sample]:
    """Plain numbers as samples."""
    return [Sample(float(value)) for value in values]


def median_interval(numbers: Sequence[Sample]) -> Interval:
    """Median and the sign test's interval: between the k-th smallest and the k-th largest of n numbers."""
    if not numbers:
        raise ValueError("a median needs at least one number")
    ranked = sorted(numbers, key=lambda sample: sample.value)
    values = [sample.value for sample in ranked]
    n, outside = len(values), 0.5 ** len(values)
    k = 1
    while k < (n + 1) // 2 and outside + math.comb(n, k) * 0.5**n <= (1 - CONFIDENCE) / 2:
        outside += math.comb(n, k) * 0.5**n
        k += 1
    value, low, high = statistics.median(values), values[k - 1], values[n - k]
    bounds = [sample.value for sample in ranked if sample.at_least]
    coverage = min(CONFIDENCE, 1 - 2 * outside)  # 0 for n = 1
    return Interval(value, low, high, _touched(bounds, values[n // 2]), _touched(bounds, high), coverage)


def ratio_interval(numerators: Sequence[Sample], denominators: Sequence[Sample]) -> Interval:
    """Ratio of medians and the rank-sum test's interval: between two of all the pairwise ratios, in order.

    A denominator that is itself a lower bound counts as infinite, so that the ratio is not flattered.
    """
    below = [math.inf if sample.at_least else sample.value for sample in denominators]
    pairs = sorted(((a.value / b, a.at_least) for a in numerators for b in below), key=lambda pair: pair[0])
    k, coverage = _rank(len(numerators), len(below))
    top, bottom = median_interval(numerators), statistics.median(below)
    bounds = [ratio for ratio, at_least in pairs if at_least]
    value, low, high = top.value / bottom, pairs[k - 1][0], pairs[len(pairs) - k][0]
    return Interval(value, min(low, value), max(high, value), top.at_least, _touched(bounds, high), coverage)


def _touched(bounds: Sequence[float], value: float) -> bool:
    return any(bound <= value for bound in bounds)


def _rank(m: int, n: int) -> tuple[int, float]:
    """Largest k with P(U < k) ≤ 2.5 % under Mann-Whitney's null distribution, at least 1, and what it covers."""
    total, outside, k = math.comb(m + n, m), _ways(0, m, n), 1
    while k < m * n // 2 and (outside + _ways(k, m, n)) / total <= (1 - CONFIDENCE) / 2:
        outside += _ways(k, m, n)
        k += 1
    return k, min(CONFIDENCE, 1 - 2 * outside / total)


@cache
def _ways(u: int, m: int, n: int) -> int:
    """In how many of all orders of m and n numbers u of the pairs are the wrong way round."""
    if u < 0:
        return 0
    if m == 0 or n == 0:
        return int(u == 0)
    return _ways(u - n, m - 1, n) + _ways(u, m, n - 1)


def _number(value: float, form: str) -> str:
    """Like `format`, but a number of more than three digits keeps them: 12,345 and not 1.23e+04."""
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if form == ",.3g" and abs(value) >= 1000 else format(value, form)
