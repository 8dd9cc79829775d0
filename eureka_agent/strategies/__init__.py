"""Who the parents are and how the next candidates are made from them: one short file per published recipe.

A strategy is a pure function of what is known: the same population and settings give the same briefs, in every sitting.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

from eureka_agent.population import Brief, Population, Record
from eureka_agent.settings import Settings


class Briefs(Record):
    """One generation's decisions, as the journal keeps them."""

    briefs: tuple[Brief, ...]


class Strategy(Protocol):
    """Decides what to ask for next; when to stop is settled elsewhere (`stopping.py`)."""

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """The next generation's K briefs, with ids that the population does not have yet."""
        ...


STRATEGIES = {
    "incumbent": "eureka_agent.strategies.incumbent:Incumbent",
    "eureka": "eureka_agent.strategies.eureka:Eureka",
    "islands": "eureka_agent.strategies.islands:Islands",
    "map_elites": "eureka_agent.strategies.map_elites:MapElites",
    "zero_shot": "eureka_agent.strategies.zero_shot:ZeroShot",
}
"""Lazy dotted paths by the name that `--strategy` takes."""

TELLS_NO_HISTORY = frozenset({"eureka", "zero_shot"})
"""Strategies whose prompts show no candidates but the parents: as published, or because that is what they measure.
Which programs only repeated others is told with parents all the same; independent samples are told of nothing."""

PUBLISHED = frozenset({"eureka", "islands", "zero_shot"})
"""Strategies whose papers train every candidate to the end, once. On islands a race would leave most with nobody: of
eight it finishes two, and whoever it stops has no children."""


def as_published(name: str) -> dict[str, Any]:
    """Settings that a strategy comes with, unless others are asked for."""
    return {"racing": "none", "contest_seeds": 1} if name in PUBLISHED else {}


def strategy_of(name: str) -> Strategy:
    """The strategy of that name, one of `STRATEGIES`."""
    module, _, kind = STRATEGIES[name].partition(":")
    return cast(Strategy, getattr(importlib.import_module(module), kind)())
