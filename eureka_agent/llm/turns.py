"""The last turns of a lineage: what was changed from one reward to the next, and what came of it.

Nothing of another's code gets into a turn but names of components, checked, and numbers of lines.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from eureka_agent.llm.facts import components, top_finding, trainings
from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.review.steering import ancestors_of
from eureka_agent.standing import Standing

TURNS = 4
"""So many are told, the latest."""
MOST_NAMES = 6


class Turn(NamedTuple):
    """One reward made from another."""

    parents: str
    """`g0c1`, or `g0c1 + g0c3`."""
    child: str
    change: str
    """`new: gait; without: alive; 12 of 40 lines are new`, held against the first parent."""
    before: float | None
    """The first parent's mean fitness; None if it has none."""
    after: float
    trainings: str
    """See `facts.trainings`; the child's."""
    verdict: str
    finding: str
    """The child's weightiest."""


def last_turns(brief: Brief, population: Population) -> list[Turn]:
    """Those that led to the brief's parents, and what else was tried from these, in order of birth.

    Failures and repeated programs are told elsewhere.
    """
    line = ancestors_of(brief, {c.id: c for c in population.candidates}) if brief.parents else set()
    found: list[Candidate] = []
    for c in reversed(population.candidates):
        if len(found) == TURNS or not line:
            break
        belongs = c.brief.parents and (c.id in line or not set(c.brief.parents).isdisjoint(brief.parents))
        if belongs and c.score and not c.failure and not c.duplicate_of and c.id not in population.outcast:
            found.append(c)
    return [_turn(c, population) for c in reversed(found)]


def _turn(child: Candidate, population: Population) -> Turn:
    parent, standing = population[child.brief.parents[0]], population.standing(child)
    held = population.standing(parent) if parent.score else None
    before = held.mean if held else None
    return Turn(
        " + ".join(child.brief.parents),
        child.id,
        _change(parent.code, child.code),
        before,
        standing.mean,
        trainings(standing),
        _verdict(child, standing, held, population),
        top_finding(child),
    )


def _verdict(child: Candidate, standing: Standing, before: Standing | None, population: Population) -> str:
    """A dash where one of them was only trained on from its parent's policy: the ancestors have a part in that."""
    if child.stopped:
        return "stopped early, behind others"
    if standing.failed:
        return "failed when trained again"
    if population.best and population.best.id == child.id:
        return "leads now"
    if before is None or not (standing.from_scratch and before.from_scratch):
        return "–"
    return "better" if standing.mean > before.mean else "worse" if standing.mean < before.mean else "no difference"


def _change(old: str, new: str) -> str:
    """What came and went, in one line."""
    was, now = components(old), components(new)
    sides = (("new", [name for name in now if name not in was]), ("without", [name for name in was if name not in now]))
    told = [f"{word}: {_listed(names)}" for word, names in sides if names] or ["the same components"]
    lines, fresh = _lines(new).total(), (_lines(new) - _lines(old)).total()
    return "; ".join([*told, f"{fresh} of {lines} lines are new"])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _lines(code: str) -> Counter[str]:
    return Counter(line.strip() for line in code.splitlines() if line.strip())
