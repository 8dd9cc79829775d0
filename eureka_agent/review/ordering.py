"""Where people's preference comes in when candidates are ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eureka_agent.population import Candidate
    from eureka_agent.standing import Standing


def preferred(
    ranked: Sequence[Candidate], standing: Callable[[Candidate], Standing], preference: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Candidates with preference settling ties.

    From the top, whoever is within one standard error of the leader's own mean over episodes ties with the leader.
    Nobody ties with one that racing stopped, or that failed in a contest, and was not or did not itself.

    Args:
        ranked: scored candidates, see `Population.order`.
        standing: of a candidate, all of its trainings.
        preference: strength by id, 0 for whoever was not compared.
    """
    liked = {c.id: preference.get(c.id, 0.0) for c in ranked}
    result: list[Candidate] = []
    tied: list[Candidate] = []
    for candidate in ranked:
        if tied and not _ties(candidate, tied[0], standing):
            result += sorted(tied, key=lambda c: -liked[c.id])
            tied = []
        tied.append(candidate)
    return (*result, *sorted(tied, key=lambda c: -liked[c.id]))


def _ties(candidate: Candidate, leader: Candidate, standing: Callable[[Candidate], Standing]) -> bool:
    if candidate.score is None or leader.score is None or candidate.stopped != leader.stopped:
        return False
    mine, theirs = standing(candidate), standing(leader)
    if mine.failed != theirs.failed:
        return False
    episodes = leader.score.fitness
    error = stdev(episodes) / len(episodes) ** 0.5 if len(episodes) > 1 else 0.0
    return theirs.mean - mine.mean <= error
