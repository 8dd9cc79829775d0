"""Held-out variations: how the final policies do in worlds that nothing was trained or selected in."""

from __future__ import annotations

from dataclasses import dataclass

from eureka_agent.lab.variations import Held
from eureka_agent.report.facts import RunFacts
from eureka_agent.report.facts import share as placed
from eureka_agent.text import measure, plural


@dataclass(frozen=True)
class Cell:
    """One policy in one world."""

    fitness: str
    share: float
    """On the section's own scale, 0 to 1."""


@dataclass(frozen=True)
class World:
    """One variation."""

    name: str
    """What differs, in words."""
    best: Cell | None
    human: Cell | None


def worlds(facts: RunFacts) -> list[World]:
    """The world of the training first, then every variation; empty if none was played."""
    robustness = facts.comparison.robustness if facts.comparison else None
    if robustness is None or not robustness.arms:
        return []
    arms = [robustness.arm("candidate"), robustness.arm("human")]
    values = [v for arm in arms if arm for v in _levels(arm).values() if v is not None]
    low, high = min(0.0, *values), max(0.0, *values)

    def cell(arm: Held | None, name: str) -> Cell | None:
        if arm is None or name not in _levels(arm):
            return None
        value = _levels(arm)[name]
        return Cell(measure(value, facts.unit) if value is not None else "failed", placed(value, (low, high)))

    names = list(dict.fromkeys(name for arm in arms if arm for name in _levels(arm)))
    return [World(name, cell(arms[0], name), cell(arms[1], name)) for name in names]


def _levels(arm: Held) -> dict[str, float | None]:
    return {"as in training": arm.nominal, **{outcome.text: outcome.mean for outcome in arm.outcomes}}


def summary(facts: RunFacts) -> str:
    """How much each loses on average, and where most."""
    robustness = facts.comparison.robustness if facts.comparison else None
    said = []
    for held in robustness.arms if robustness else ():
        name = facts.comparison.candidate if facts.comparison and held.arm == "candidate" else "the human reward"
        worst = held.worst
        if held.drop is None or worst is None:
            continue
        verb = "loses" if held.drop >= 0 else "gains"
        change = measure(abs(held.drop), facts.unit)
        among = plural(len(held.measured), "variation")
        least = f"least with {worst.text}, {measure(worst.mean, facts.unit)}"
        said.append(f"{name} {verb} {change} on average over {among}; {least}.")
    return " ".join(sentence[0].upper() + sentence[1:] if sentence.startswith("the") else sentence for sentence in said)
