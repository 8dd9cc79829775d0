"""Which rewards are like which: distances between the rewards that were judged on the same transitions."""

from __future__ import annotations

from dataclasses import dataclass

from eureka_agent.population import Candidate, Population
from eureka_agent.runs.run import Run

NEAREST = 3
MOST_GENERATIONS = 12
"""Generations whose distances are worked out, the last and the best's; a matrix takes about a tenth of a second."""
HUMAN, METRIC = "human", "metric"


@dataclass(frozen=True)
class Neighbours:
    """STARC distances of one reward, 0 for the same preferences over policies, 1 at most."""

    nearest: tuple[tuple[str, float], ...]
    """Candidates, the most alike first."""
    human: float | None
    metric: float | None
    """To the task's own metric, where the recorded variables tell it step by step."""


def neighbours(run: Run, population: Population, best: Candidate | None) -> dict[str, Neighbours]:
    """By candidate's id, as far as rewards were judged."""
    from eureka_agent.critique.suspicions import reward_distances

    last = population.generations - 1
    wanted = [g for g in range(last, -1, -1) if best is None or g != best.brief.generation][: MOST_GENERATIONS - 1]
    born = {c.id: c.brief.generation for c in population.candidates}
    found = {}
    for generation in [*([best.brief.generation] if best else []), *wanted]:
        known = reward_distances(run, generation)
        if known is None:
            continue
        names, matrix = known
        for name, row in zip(names, matrix.tolist(), strict=True):
            if born.get(name) == generation:
                others = dict(zip(names, row, strict=True))
                alike = sorted((d, n) for n, d in others.items() if n in born and n != name)[:NEAREST]
                nearest = tuple((n, d) for d, n in alike)
                found[name] = Neighbours(nearest, others.get(HUMAN), others.get(METRIC))
    return found
