"""Which policies of a search are filmed beside the comparison's, and which of their episodes."""

from __future__ import annotations

from eureka_agent.population import Candidate, Population, Score

FILM, FRAMES = "film/", "frames/"
"""Beginnings of the keys of scorings that show one episode: the policy's digest follows."""
FILMED = 4
"""Candidates that are filmed at most: the one that was best before the best was born, then the highest."""


def worth_filming(population: Population, best: Candidate) -> list[Candidate]:
    """The candidates whose own policies a person will want to see move."""
    ranked = [c for c in population.ranked if c.training and c.score and not c.stopped]
    chosen = {c.id: c for c in [*before(ranked, best)[:1], *ranked]}
    return list(chosen.values())[:FILMED]


def before(ranked: list[Candidate] | tuple[Candidate, ...], best: Candidate) -> list[Candidate]:
    """Those of earlier generations than the best's, in the order given."""
    return [c for c in ranked if c.brief.generation < best.brief.generation]


def median_seed(score: Score) -> int:
    """Reset seed of the (lower) median episode."""
    ranked = sorted(zip(score.fitness, score.seeds, strict=True))
    return ranked[(len(ranked) - 1) // 2][1]
