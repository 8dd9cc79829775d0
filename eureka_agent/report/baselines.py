"""What stands beside the best: play without learning, and the human reward as it was measured before the run."""

from __future__ import annotations

from dataclasses import dataclass

from eureka_agent.report.facts import RunFacts
from eureka_agent.text import count, interval, measure, percent, plural


@dataclass(frozen=True)
class Baseline:
    """One reference, ready to read."""

    label: str
    fitness: str
    spread: str
    success: str
    basis: str
    """How it was measured."""


def baselines(facts: RunFacts) -> list[Baseline]:
    """References that need no comparison; the comparison's own arms are not among them."""
    shown = []
    if anchors := facts.task.anchors:
        steps = f"{plural(len(anchors.seeds), 'training')} of {count(anchors.timesteps)} steps, {anchors.measured}"
        for label, anchor, basis in (
            ("human reward", anchors.human, steps),
            ("random policy", anchors.random, plural(anchors.episodes, "episode")),
        ):
            fitness, spread = measure(anchor.mean, facts.unit), interval(anchor.low, anchor.high)
            shown.append(
                Baseline(label, fitness, spread, percent(anchor.success_rate), f"shipped with the task; {basis}")
            )
    if floor := facts.floor:
        for label, level in (("random actions", floor.random), ("zero actions", floor.zero)):
            fitness, spread = measure(level.mean, facts.unit), interval(level.low, level.high)
            basis = "measured at the start of this run; lowest and highest episode"
            shown.append(Baseline(label, fitness, spread, percent(level.success_rate), basis))
    return shown
