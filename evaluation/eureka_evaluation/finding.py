"""What an analysis says: one sentence with its numbers, and how much it matters. Light to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One fact worth telling. No word in it comes from a box but numbers and declared names."""

    kind: str
    """What sort of fact: `ends_early`, `saturated_actions`, …; one word per sort, the same everywhere."""
    weight: float
    """How much it matters, in [0, 1]; findings are told in the order of falling weight."""
    text: str
    """One sentence, ending with a full stop."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The figures behind the sentence; finite."""


def most_telling(findings: Sequence[Finding], count: int | None = None) -> tuple[Finding, ...]:
    """The weightiest first, `count` at most; equal weights keep their order."""
    return tuple(sorted(findings, key=lambda finding: -finding.weight)[:count])
