"""MAP-Elites: Mouret & Clune 2015, "Illuminating search spaces by mapping elites", over how the policies behave.

The cells follow the data: their borders are quantiles of the behaviour seen so far (sliding boundaries, Fontaine et al.
2019), as nobody knows beforehand how fast or how effortful a policy of a new task can be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from random import Random

from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.settings import Settings
from eureka_agent.strategies.briefs import brief, mixed_operator, named

CELLS = 4
"""Cells along each descriptor."""
USUAL = frozenset({"effort", "speed"})
"""Descriptors that every task has; those that a task declares take their place."""
UNKNOWN: tuple[int, ...] = ()
"""The cell of candidates of which no behaviour is known."""


class MapElites:
    """The best of each kind of behaviour stays a parent, however fit the others are.

    Generation 0 is K samples. Later ones have the default's mix of operators; each parent is the elite of a cell drawn
    evenly from those that are filled.
    """

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """K briefs; samples only while nothing has trained."""
        elites = tuple(archive(population).values())
        return [self._brief(slot, elites, population, settings) for slot in range(settings.population)]

    def _brief(self, slot: int, elites: Sequence[Candidate], population: Population, settings: Settings) -> Brief:
        rng = Random(named(slot, population, settings)[1])
        operator = mixed_operator(slot, settings.population) if elites else "sample"
        count = {"sample": 0, "mutate": 1, "cross": 2}[operator]
        parents = rng.sample(elites, min(count, len(elites)))
        if operator == "cross" and len(parents) < 2:
            operator = "mutate"
        return brief(slot, operator, parents, population, settings)


def archive(population: Population) -> dict[tuple[int, ...], Candidate]:
    """The fittest candidate of each cell, by the cell's position along each descriptor; filled cells only."""
    trained = population.ranked
    borders = _borders([c.behaviour for c in trained if c.behaviour])
    elites: dict[tuple[int, ...], Candidate] = {}
    for candidate in trained:  # the fittest come first
        elites.setdefault(_cell(candidate.behaviour, borders), candidate)
    return elites


def _borders(behaviours: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Between the cells along each descriptor: quantiles of what was seen."""
    names = sorted(set().union(*behaviours))
    names = [name for name in names if name not in USUAL] or names
    borders = {}
    for name in names:
        values = sorted(behaviour[name] for behaviour in behaviours if name in behaviour)
        borders[name] = [values[len(values) * step // CELLS] for step in range(1, CELLS)]
    return borders


def _cell(behaviour: Mapping[str, float], borders: Mapping[str, Sequence[float]]) -> tuple[int, ...]:
    if not borders or not borders.keys() <= behaviour.keys():
        return UNKNOWN
    return tuple(bisect_right(border, behaviour[name]) for name, border in borders.items())
