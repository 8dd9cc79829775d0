"""Which policies of a search are filmed beside the comparison's, and which of their episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eureka_agent.population import Candidate, Population, Score

if TYPE_CHECKING:
    from eureka_agent.runs.run import Run

FILM, FRAMES = "film/", "frames/"
"""Beginnings of the keys of scorings that show one episode: the policy's digest follows."""


def seen_by_now(run: Run, population: Population) -> list[Candidate]:
    """Whoever should be seen to move between two generations, so that those who look on or review see films."""
    best = population.best
    if run.task.spec.by_preference:  # nobody can prefer what they cannot see
        return list(population.born(population.generations - 1))
    return [best][: run.settings.films] if best else []


def worth_filming(population: Population, best: Candidate, most: int) -> list[Candidate]:
    """Those trained to the end, at most so many: the one that was best before the best was born, then the highest."""
    ranked = [c for c in population.ranked if c.training and c.score and not c.stopped]
    chosen = {c.id: c for c in [*before(ranked, best)[:1], *ranked]}
    return list(chosen.values())[:most]


def before(ranked: list[Candidate] | tuple[Candidate, ...], best: Candidate) -> list[Candidate]:
    """Those of earlier generations than the best's, in the order given."""
    return [c for c in ranked if c.brief.generation < best.brief.generation]


def median_seed(score: Score) -> int:
    """Reset seed of the (lower) median episode."""
    ranked = sorted(zip(score.fitness, score.seeds, strict=True))
    return ranked[(len(ranked) - 1) // 2][1]
