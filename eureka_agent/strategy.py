"""Who the parents are and how the next candidates are made from them: pure functions of population and settings."""

from __future__ import annotations

import random
from typing import Protocol

from eureka_agent.population import Brief, Candidate, Population, Record
from eureka_agent.settings import Settings


class Briefs(Record):
    """One generation's decisions, as the journal keeps them."""

    briefs: tuple[Brief, ...]


class Strategy(Protocol):
    """Decides what to ask for next, and when to stop."""

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """The next generation's briefs, with ids that the population does not have yet."""
        ...

    def done(self, population: Population, settings: Settings) -> bool:
        """Whether the search is over."""
        ...


class Incumbent:
    """Best of K with the incumbent kept (Eureka, Alg. 1), over a mix of operators (REvolve).

    Generation 0 is K fresh samples. Later ones are a quarter fresh samples, half mutations and a quarter crossovers.
    The incumbent stays a parent until a candidate of higher fitness replaces it: every other mutation is the
    incumbent's and every crossover has it on one side; the other parents are drawn from the incumbent and the next best
    of all generations (half as many as a generation has), the better the likelier.
    """

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """K briefs; samples only while nothing has trained."""
        return [self._brief(population, settings, slot) for slot in range(settings.population)]

    def done(self, population: Population, settings: Settings) -> bool:
        """After N generations."""
        return population.generations >= settings.generations

    def _brief(self, population: Population, settings: Settings, slot: int) -> Brief:
        generation = population.generations
        name = f"g{generation}c{slot}"
        seed = settings.derived_seed("propose", name)
        operator = _operator(slot, settings.population) if population.best else "sample"
        parents = _parents(operator, slot, population, settings.population, random.Random(seed))
        if operator == "cross" and len(parents) < 2:
            operator = "mutate"
        ids = tuple(parent.id for parent in parents)
        return Brief(id=name, generation=generation, slot=slot, operator=operator, parents=ids, seed=seed)


def _operator(slot: int, size: int) -> str:
    """Mutations first, then crossovers, then samples, so that a small K still climbs."""
    mutations = max(1, round(size / 2))
    crossovers = round((size - mutations) / 2)
    if slot < mutations:
        return "mutate"
    return "cross" if slot < mutations + crossovers else "sample"


def _parents(operator: str, slot: int, population: Population, size: int, rng: random.Random) -> tuple[Candidate, ...]:
    incumbent = population.best
    if operator == "sample" or incumbent is None:
        return ()
    if operator == "mutate":
        return (incumbent,) if slot % 2 == 0 else (_drawn(population, size, rng),)
    other = _drawn(population, size, rng, without=incumbent)
    return (incumbent, other) if other is not incumbent else (incumbent,)


def _drawn(population: Population, size: int, rng: random.Random, without: Candidate | None = None) -> Candidate:
    """One of the best `size / 2 + 1` so far, rank r with weight 1 / (r + 1); `without` if there is no other."""
    elite = [c for c in population.ranked[: max(2, size // 2) + 1] if c is not without]
    if not elite:
        assert without is not None
        return without
    return rng.choices(elite, weights=[1.0 / (rank + 1) for rank in range(len(elite))])[0]
