"""The goals that were set before anything was measured, each held against what has been measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from figures import Figures
from intervals import Interval, median_interval, ratio_interval
from stepping import SHARES, WITH_STATE
from time_to_fitness import GOALS
from training import BASELINE

GENERATIONS, TIMESTEPS = 5, 1_000_000
"""Of the search that part (e) asks for; one of fewer generations is extrapolated to it."""


@dataclass(frozen=True)
class Goal:
    """One goal and its figure."""

    part: str
    words: str
    measured: Interval
    least: float = -math.inf
    most: float = math.inf

    @property
    def limit(self) -> str:
        """`≥ 6` or `≤ 30`."""
        return f"≥ {self.least:g}" if math.isfinite(self.least) else f"≤ {self.most:g}"

    @property
    def verdict(self) -> str:
        """Whether the median keeps to it, and whether its whole interval agrees."""
        high = math.inf if self.measured.open_above else self.measured.high
        most = math.inf if self.measured.at_least else self.measured.value
        kept, kept_at_most, *ends = map(self._keeps, (self.measured.value, most, self.measured.low, high))
        if kept != kept_at_most:
            return "not settled"
        verdict = "met" if kept else "missed"
        if not self.measured.coverage:
            return verdict + " (one run)"
        return verdict if all(end == kept for end in ends) else verdict + " by the median, not settled"

    def _keeps(self, value: float) -> bool:
        return self.least <= value <= self.most


def goals(figures: Figures) -> Iterator[Goal]:
    """All that there are figures for, in the order of the parts."""
    for body in figures.below("a"):
        share = figures.median(f"a/{body}", lambda result: result[SHARES][WITH_STATE])
        yield Goal("a", f"{body}: {WITH_STATE}, of bare `mj_step`", share, least=0.8)
    for body in figures.below("b"):
        if {f"b/{body}/ours", f"b/{body}/{BASELINE}"} <= figures.groups.keys():
            ratio = figures.ratio(f"b/{body}/ours", f"b/{body}/{BASELINE}", "steps_per_second")
            yield Goal("b", f"{body}: training steps/s, of SB3's defaults with 4 environments", ratio, least=6)
    for name in figures.below("c"):
        ours, sb3 = figures.times(f"c/{name}/ours"), figures.times(f"c/{name}/sb3")
        if ours and sb3:
            yield Goal("c", f"{GOALS[name].words}: time of SB3 / ours", ratio_interval(sb3, ours), least=6)
        if ours and name == "hopper":
            yield Goal("c", f"{GOALS[name].words}: ours, s", median_interval(ours), most=30)
    for task in figures.below("d"):
        if paired := figures.final_scores(task):
            yield Goal("d", f"{task}: final fitness, ours - SB3's learner", paired.difference, least=0)
    for group, rows in figures.groups.items():
        if not group.startswith("e/") or rows[0].parameters["timesteps"] != TIMESTEPS:
            continue
        yield Goal("e", f"{_search(figures, group)}, min", _whole_search(figures, group), most=22)
    if bodies := figures.below("g"):
        for key, words, most in (
            ("first_seconds", "the slowest body's first box, besides its training, s", 2.5),
            ("later_seconds", "the slowest body's later boxes, besides their training, s", 2.5),
            ("memory_mb", "the largest body's training, MB", 800),
        ):
            worst = max((figures.median(f"g/{body}", key) for body in bodies), key=lambda interval: interval.value)
            yield Goal("g", words, worst, most=most)


def _whole_search(figures: Figures, group: str) -> Interval:
    """Minutes with the end included; of a shorter search each generation counts for as many as needed."""
    more = GENERATIONS / figures.groups[group][0].parameters["generations"] - 1
    return figures.median(group, lambda result: (result["wall"] + more * result["search_seconds"]) / 60)


def _search(figures: Figures, group: str) -> str:
    asked = figures.groups[group][0].parameters
    how = "every step" if asked["every_step"] else "racing and contests"
    reckoned = f", reckoned from {asked['generations']}" if asked["generations"] < GENERATIONS else ""
    return f"8 × {GENERATIONS} × {asked['timesteps']:,} steps, {how}{reckoned}"
