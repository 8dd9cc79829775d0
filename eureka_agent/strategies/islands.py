"""Islands: Hazra et al. 2024, "REvolve: Reward Evolution with Large Language Models using Human Feedback".

Its figures are those of its code's configuration: 4 islands of at most 8 rewards, crossover in half of the cases, and
migration with probability 0.3 after a generation. Fitness is the task's own score here, not people's preferences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.settings import Settings
from eureka_agent.strategies.briefs import brief, drawn_by_merit, named

MOST_ISLANDS = 4
LARGEST_ISLAND = 8
CROSSOVER = 0.5
"""Probability that a child has two parents."""
MIGRATION = 0.3
"""Probability, after each generation, that the weaker half of the islands begins again from migrants."""


class Islands:
    """Populations kept apart, each evolved by the language model's mutation and crossover.

    Generation 0 is K samples, dealt out evenly. Later, each child gets an island at random, and its parents from there,
    the fitter the likelier. A child joins its island if it is at least as fit as the island's mean; an island over its
    size loses its worst. After a generation, with probability 0.3, the weaker half of the islands (by their best) keep
    only their best and take one member each from a stronger island.
    """

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """K briefs; samples for islands on which nothing lives."""
        islands = settled(population, settings)
        return [self._brief(slot, islands, population, settings) for slot in range(settings.population)]

    def _brief(self, slot: int, islands: Sequence[Island], population: Population, settings: Settings) -> Brief:
        rng = Random(named(slot, population, settings)[1])
        place = rng.randrange(len(islands)) if population.ranked else slot % len(islands)
        members = islands[place].members
        if not members:
            return brief(slot, "sample", (), population, settings, place)
        first = drawn_by_merit(members, population.merit, rng)
        others = [member for member in members if member is not first]
        if others and rng.random() < CROSSOVER:
            other = drawn_by_merit(others, population.merit, rng)
            return brief(slot, "cross", (first, other), population, settings, place)
        return brief(slot, "mutate", (first,), population, settings, place)


@dataclass
class Island:
    """Who lives on one island, the fittest first; whoever failed in a contest only while there is nobody else."""

    population: Population
    members: list[Candidate] = field(default_factory=list)

    def admit(self, children: Sequence[Candidate]) -> None:
        """Let in those that reach the mean of who was there before them; the least fit leave if it gets crowded."""
        merit, sound = self.population.merit, [c for c in self.members if not self.population.has_failed(c)]
        bar = fmean(map(merit, sound)) if sound else float("-inf")
        self.settle([*self.members, *(c for c in children if merit(c) >= bar)])

    def settle(self, members: Sequence[Candidate]) -> None:
        """Let these live here, as many as there is room for."""
        sound = [c for c in members if not self.population.has_failed(c)]
        self.members = sorted(sound or members, key=self.population.order, reverse=True)[:LARGEST_ISLAND]

    @property
    def best(self) -> tuple[float, ...]:
        """Place of the fittest, see `Population.order`; that of an empty island is below all others."""
        return self.population.order(self.members[0]) if self.members else ()


def settled(population: Population, settings: Settings) -> list[Island]:
    """The islands, played through from the first generation with the fitness that is known of everyone today.

    Where contests or people have changed what a reward is worth, so have they changed who was admitted.
    """
    islands = [Island(population) for _ in range(max(1, min(MOST_ISLANDS, settings.population // 2)))]
    for generation in range(population.generations):
        fit = [c for c in population.born(generation) if _may_breed(c)]
        for place, island in enumerate(islands):
            island.admit([c for c in fit if c.brief.island % len(islands) == place])
        _migrate(islands, Random(settings.derived_seed("migrate", generation)))
    return islands


def _may_breed(candidate: Candidate) -> bool:
    return candidate.fitness is not None and candidate.duplicate_of is None and not candidate.stopped


def _migrate(islands: Sequence[Island], rng: Random) -> None:
    chance = rng.random()
    ranked = sorted(islands, key=lambda island: island.best)
    weak, strong = ranked[: len(ranked) // 2], [island for island in ranked[len(ranked) // 2 :] if island.members]
    if chance >= MIGRATION or not strong:
        return
    for island in weak:
        migrant = drawn_by_merit(rng.choice(strong).members, island.population.merit, rng)
        island.settle([migrant, *(member for member in island.members[:1] if member is not migrant)])
