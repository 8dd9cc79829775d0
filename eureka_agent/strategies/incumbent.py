"""Best of K with the incumbent kept (Eureka, Alg. 1), over a mix of operators (REvolve): the default."""

from __future__ import annotations

from random import Random

from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.settings import Settings
from eureka_agent.strategies.briefs import brief, mixed_operator, named


class Incumbent:
    """Generation 0 is K fresh samples; later ones are a quarter samples, half mutations and a quarter crossovers.

    The incumbent stays a parent until another candidate replaces it: every other mutation is the incumbent's and every
    crossover has it on one side; the other parents are drawn from the incumbent and the next best of all generations
    (half as many as a generation has), the better the likelier.
    """

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """K briefs; samples only while nothing has trained."""
        return [self._brief(population, settings, slot) for slot in range(settings.population)]

    def _brief(self, population: Population, settings: Settings, slot: int) -> Brief:
        _, seed = named(slot, population, settings)
        operator = mixed_operator(slot, settings.population) if population.best else "sample"
        parents = _parents(operator, slot, population, settings.population, Random(seed))
        if operator == "cross" and len(parents) < 2:
            operator = "mutate"
        return brief(slot, operator, parents, population, settings)


def _parents(operator: str, slot: int, population: Population, size: int, rng: Random) -> tuple[Candidate, ...]:
    incumbent = population.best
    if operator == "sample" or incumbent is None:
        return ()
    if operator == "mutate":
        return (incumbent,) if slot % 2 == 0 else (_drawn(population, size, rng),)
    other = _drawn(population, size, rng, without=incumbent)
    return (incumbent, other) if other is not incumbent else (incumbent,)


def _drawn(population: Population, size: int, rng: Random, without: Candidate | None = None) -> Candidate:
    """One of the best `size / 2 + 1` so far, rank r with weight 1 / (r + 1); `without` if there is no other."""
    elite = [c for c in population.ranked[: max(2, size // 2) + 1] if c is not without]
    if not elite:
        assert without is not None
        return without
    return rng.choices(elite, weights=[1.0 / (rank + 1) for rank in range(len(elite))])[0]
