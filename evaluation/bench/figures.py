"""Looks finished measurements up by group and turns them into medians, ratios and intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from intervals import Interval, Sample, median_interval, ratio_interval, samples
from numpy.typing import NDArray
from plan import PLANS, Options
from record import Record, Row

Numbers = NDArray[np.float64]
Number = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class FinalScores:
    """What both learners' policies reach on one task."""

    seeds: int
    ours: Numbers
    """`(seeds, episodes)`."""
    sb3: Numbers
    difference: Interval
    """Mean over the seeds of ours less SB3's."""


class Figures:
    """The rows that answer the benchmark's measurements, by group (a key without its seed), in the order of seeds."""

    def __init__(self, options: Options, record: Record) -> None:
        self.options = options
        self.groups: dict[str, list[Row]] = {}
        found: set[str] = set()
        for projection in (False, True):  # whatever an earlier sitting could or would measure
            asked = replace(options, peers=True, search_projection=projection)
            for measurement in (m for plan in PLANS.values() for m in plan(asked, record)):
                row = record.get(measurement.key)
                if row is not None and measurement.key not in found and measurement.done(record):
                    found.add(measurement.key)
                    self.groups.setdefault(measurement.group, []).append(row)

    @property
    def rows(self) -> list[Row]:
        """All of them."""
        return [row for rows in self.groups.values() for row in rows]

    def below(self, prefix: str) -> list[str]:
        """Next parts of the groups under `prefix`: `b/hopper` → `["sb3-1", …]`."""
        depth = prefix.count("/") + 1
        found = (group.split("/") for group in self.groups if group.startswith(prefix + "/"))
        return list(dict.fromkeys(parts[depth] for parts in found))

    def results(self, group: str) -> list[dict[str, Any]]:
        """One result per seed."""
        return [row.result for row in self.groups.get(group, [])]

    def by_seed(self, group: str) -> dict[int, dict[str, Any]]:
        """Results by seed; that of a measurement that failed is missing."""
        return {row.parameters["seed"]: row.result for row in self.groups.get(group, [])}

    def medians(self, group: str, key: str) -> dict[str, Interval]:
        """Of every number below that key of the results, over the seeds that have it: a peer may be missing in some."""
        results = [result[key] for result in self.results(group)]
        names = dict.fromkeys(name for result in results for name in result)
        return {name: median_interval(samples([r[name] for r in results if name in r])) for name in names}

    def median(self, group: str, number: str | Number) -> Interval:
        """Of one number over the seeds; `number` is a key of the result or a function of it."""
        return median_interval(samples([_of(number)(result) for result in self.results(group)]))

    def ratio(self, group: str, other: str, number: str | Number) -> Interval:
        """Median of `group` over that of `other`."""
        return ratio_interval(*(samples([_of(number)(r) for r in self.results(name)]) for name in (group, other)))

    def final_scores(self, task: str) -> FinalScores | None:
        """Part (d): of the seeds that both learners have; None if there are none."""
        found = [self.by_seed(f"d/{task}/{learner}") for learner in ("fused", "sb3")]
        seeds = sorted(found[0].keys() & found[1].keys())
        ours, sb3 = ([np.array(of_seed[seed]["fitness"]) for seed in seeds] for of_seed in found)
        if not seeds:
            return None
        difference = paired_difference(*(np.array([score.mean() for score in scores]) for scores in (ours, sb3)))
        return FinalScores(len(seeds), np.array(ours), np.array(sb3), difference)

    def times(self, group: str) -> list[Sample]:
        """Part (c): seconds to the goal; lower bounds where it was not reached."""
        return [Sample(result["seconds"], not result["reached"]) for result in self.results(group)]


def _of(number: str | Number) -> Number:
    return number if callable(number) else lambda result: float(result[number])


def paired_difference(x: Numbers, y: Numbers) -> Interval:
    """Mean of x - y over paired seeds with Student's 95 % interval."""
    from scipy.stats import t

    differences = x - y
    mean, n = float(differences.mean()), len(differences)
    if n < 2:
        return Interval(mean, mean, mean, coverage=0.0)
    half = float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half)
