"""Where people's preference comes in when candidates are ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eureka_agent.population import Candidate


def preferred(
    ranked: Sequence[Candidate], mean: Callable[[Candidate], float], preference: Mapping[str, float], first: bool
) -> tuple[Candidate, ...]:
    """Candidates in the order in which people's preference counts.

    Args:
        ranked: scored candidates, the best fitness first, those that racing stopped last.
        mean: fitness of a candidate over all of its trainings.
        preference: strength by id, 0 for whoever was not compared.
        first: preference before fitness. Else it settles ties only: from the top, whoever is within one standard error
            of the leader's own mean over episodes ties with the leader.
    """
    liked = {c.id: preference.get(c.id, 0.0) for c in ranked}
    if first:
        return tuple(sorted(ranked, key=lambda c: (c.stopped, -liked[c.id])))
    result: list[Candidate] = []
    tied: list[Candidate] = []
    for candidate in ranked:
        if tied and not _ties(candidate, tied[0], mean):
            result += sorted(tied, key=lambda c: -liked[c.id])
            tied = []
        tied.append(candidate)
    return (*result, *sorted(tied, key=lambda c: -liked[c.id]))


def _ties(candidate: Candidate, leader: Candidate, mean: Callable[[Candidate], float]) -> bool:
    if candidate.score is None or leader.score is None or candidate.stopped != leader.stopped:
        return False
    episodes = leader.score.fitness
    error = stdev(episodes) / len(episodes) ** 0.5 if len(episodes) > 1 else 0.0
    return mean(leader) - mean(candidate) <= error
