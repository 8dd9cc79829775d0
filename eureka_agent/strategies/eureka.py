"""Greedy best of K as published: Ma et al. 2024, "Eureka: Human-Level Reward Design via Coding LLMs", Algorithm 1."""

from __future__ import annotations

from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.settings import Settings
from eureka_agent.strategies.briefs import brief


class Eureka:
    """K samples, then always K mutations of one reward: the fittest of the generation before (Alg. 1, lines 8–10).

    That it is the last generation's best, and not the best so far, is the paper's: a worse generation is followed all
    the same, and the best so far is only remembered for the end (line 12). Where nothing of a generation trained, it is
    asked for again from the reward before it, as the paper's code does.
    """

    def select(self, population: Population, settings: Settings) -> list[Brief]:
        """K samples while nothing has trained, else K mutations of one candidate."""
        parent = _last_best(population)
        operator, parents = ("mutate", (parent,)) if parent else ("sample", ())
        return [brief(slot, operator, parents, population, settings) for slot in range(settings.population)]


def _last_best(population: Population) -> Candidate | None:
    """The fittest of the last generation in which anything trained. The same program counts as its original does; what
    only behaved as another on probes was never trained itself, and does not."""
    for generation in reversed(range(population.generations)):
        scored = [c for c in population.born(generation) if c.fitness is not None and not c.behaves_alike]
        if scored:
            return max(scored, key=population.order)
    return None
