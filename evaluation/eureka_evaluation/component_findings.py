"""What the statistics of a reward's components say about it, one finding per fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eureka_evaluation.components import ComponentStatistics
from eureka_evaluation.finding import Finding

FALLEN = -0.5
"""Trend below which a component counts as given up."""
QUIET = 0.02
"""Share of the variance below which a component of some size hardly told policies apart."""
LOUD = 0.2
"""Share of the magnitude from which that is worth telling."""


SCHEDULED = frozenset({"saturated", "given_up", "costlier"})
"""Faults that a curve shows only of a reward that stays the same over training."""


def component_findings(components: Iterable[ComponentStatistics], *, scheduled: bool = False) -> list[Finding]:
    """Dead, constant, dominant, duplicate, saturated, falling and quiet components, by the names that were logged.

    Args:
        components: statistics over training.
        scheduled: the reward changes with the progress of training, so that a curve may rise or fall by design.
    """
    return [
        Finding(
            f"component_{kind}",
            weight,
            f"{c.name} {text}.",
            {"share": c.share, "variance_share": c.variance_share, "trend": c.trend},
        )
        for c in components
        for kind, weight, text in _faults(c)
        if not (scheduled and kind in SCHEDULED)
    ]


def _faults(c: ComponentStatistics) -> Iterator[tuple[str, float, str]]:
    """(kind, weight, what follows the name)."""
    if c.dead:
        yield "dead", 0.5, f"is dead ({c.share:.2%} of the total magnitude over training)"
        return
    if c.constant:
        same = "was the same at every step of the training, whatever the policy did"
        pays = c.values[-1] > 0
        yield (
            "constant",
            0.55 if pays else 0.3,
            f"{same}: it " + ("only pays for staying" if pays else "held nothing back"),
        )
    if c.dominant:
        yield (
            "dominant",
            0.55,
            f"dominates ({c.share:.0%} of the magnitude over training): the other components hardly count",
        )
    if c.duplicate_of:
        yield "duplicate", 0.45, f"went up and down with {c.duplicate_of} all along the training: they pay for the same"
    if c.saturated and c.values[-1] > 0:
        level = "rose and stayed level over the last third of training"
        yield "saturated", 0.5, f"{level}: it is saturated, or learning got no further"
    if c.trend < FALLEN and c.values[0] > 0:
        yield "given_up", 0.5, "fell over training: the policy gave it up for the others"
    elif c.trend < FALLEN:
        yield "costlier", 0.4, "costs more per step than at the start of training"
    if c.variance_share < QUIET and c.share > LOUD and not c.constant:
        shares = f"{c.share:.0%} of the magnitude but {c.variance_share:.0%} of the variance over training"
        yield "quiet", 0.35, f"is {shares}: it hardly told policies apart"
