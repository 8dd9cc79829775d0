"""Finds rewards that were written before: models answer like questions alike, and a training is dear."""

from __future__ import annotations

from collections.abc import Sequence

from eureka_agent.population import Candidate, Population
from eureka_agent.reward_code import FUNCTION, normalised_hash
from eureka_agent.run import Run


def linked(run: Run, candidates: Sequence[Candidate], population: Population) -> list[Candidate]:
    """The candidates, those that are the same program as an earlier one linked to it: nothing is trained twice.

    One that has a training of its own, from a version that did not link, keeps it.
    """
    known = {normalised_hash(c.code): c.id for c in reversed(population.candidates) if not c.duplicate_of}
    result = []
    for candidate in candidates:
        if candidate.failure is None and FUNCTION in candidate.code:
            original = known.setdefault(normalised_hash(candidate.code), candidate.id)
            if original != candidate.id and run.training(candidate.id) is None:
                candidate = candidate.model_copy(update={"duplicate_of": original})
        result.append(candidate)
    return result
