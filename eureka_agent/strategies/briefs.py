"""What several strategies share: naming a brief, the mix of operators, and drawing the fitter the likelier."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.settings import Settings


def named(slot: int, population: Population, settings: Settings) -> tuple[str, int]:
    """Id of the next generation's candidate in `slot`, and the seed from which everything random about it comes."""
    name = f"g{population.generations}c{slot}"
    return name, settings.derived_seed("propose", name)


def brief(
    slot: int,
    operator: str,
    parents: Sequence[Candidate],
    population: Population,
    settings: Settings,
    island: int = 0,
) -> Brief:
    """A request for the next generation's candidate in `slot`."""
    name, seed = named(slot, population, settings)
    ids = tuple(parent.id for parent in parents)
    return Brief(
        id=name,
        generation=population.generations,
        slot=slot,
        operator=operator,
        parents=ids,
        seed=seed,
        island=island,
    )


def mixed_operator(slot: int, size: int) -> str:
    """Half mutations, then a quarter crossovers, then fresh samples, so that a small K still climbs."""
    mutations = max(1, round(size / 2))
    crossovers = round((size - mutations) / 2)
    if slot < mutations:
        return "mutate"
    return "cross" if slot < mutations + crossovers else "sample"


def drawn_by_merit(members: Sequence[Candidate], merit: Callable[[Candidate], float], rng: Random) -> Candidate:
    """One of them, with softmax weights over merit in units of their own standard deviation.

    Fitness has a task's unit and no scale of its own; divided by the spread, one temperature means the same everywhere.
    """
    fitness = [merit(member) for member in members]
    mean = math.fsum(fitness) / len(fitness)
    spread = math.sqrt(math.fsum((f - mean) ** 2 for f in fitness) / len(fitness))
    best = max(fitness)
    return rng.choices(members, weights=[math.exp((f - best) / spread) if spread > 0 else 1.0 for f in fitness])[0]
