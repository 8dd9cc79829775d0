"""What the statistics of a reward's components say about it, one finding per fault."""

from __future__ import annotations

from collections.abc import Iterable

from eureka_evaluation.components import ComponentStatistics
from eureka_evaluation.finding import Finding

FALLEN = -0.5
"""Trend below which a component counts as given up."""
QUIET = 0.02
"""Share of the variance below which a component of some size hardly told policies apart."""
LOUD = 0.2
"""Share of the magnitude from which that is worth telling."""


def component_findings(components: Iterable[ComponentStatistics]) -> list[Finding]:
    """Dead, constant, dominant, duplicate, saturated and falling components; the names are those of the reward."""
    return [finding for c in components for finding in _of(c)]


def _of(c: ComponentStatistics) -> list[Finding]:
    numbers = {"share": c.share, "variance_share": c.variance_share, "trend": c.trend}
    falling = c.trend < FALLEN and not c.dead
    quiet = c.variance_share < QUIET and c.share > LOUD and not c.constant
    told = (
        (c.dead, "dead", 0.5, f"{c.name} is dead ({c.share:.2%} of the total magnitude)."),
        (
            c.constant,
            "constant",
            0.55,
            f"{c.name} is the same at every step, whatever the policy does: it only pays for staying.",
        ),
        (
            c.dominant,
            "dominant",
            0.55,
            f"{c.name} dominates ({c.share:.0%} of the magnitude): the other components hardly count.",
        ),
        (
            c.duplicate_of is not None,
            "duplicate",
            0.45,
            f"{c.name} went up and down with {c.duplicate_of} all along: they pay for the same.",
        ),
        (
            c.saturated,
            "saturated",
            0.5,
            f"{c.name} grew, and did not change any more over the last third of training: it is saturated.",
        ),
        (
            falling and c.values[0] > 0,
            "given_up",
            0.5,
            f"{c.name} fell over training: the policy gave it up for the others.",
        ),
        (falling and c.values[0] <= 0, "costlier", 0.4, f"{c.name} costs more per step than at the start of training."),
        (
            quiet,
            "quiet",
            0.35,
            f"{c.name} is {c.share:.0%} of the magnitude but {c.variance_share:.0%} of the variance over training: it hardly told policies apart.",
        ),
    )
    return [Finding(f"component_{kind}", weight, text, numbers) for holds, kind, weight, text in told if holds]
