"""How the search chose: contests on fresh seeds after each generation, what racing stopped, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass

from eureka_agent.report.facts import RunFacts
from eureka_agent.search import prescreen
from eureka_agent.search.contest import Incumbency
from eureka_agent.standing import Standing
from eureka_agent.text import count, measure, plural


@dataclass(frozen=True)
class Contested:
    """One candidate in a contest, ready to read."""

    id: str
    leads: bool
    promised: str
    """Fitness of the training that selected it."""
    kept: str
    """Mean over its contest trainings, or a dash."""
    trainings: str


@dataclass(frozen=True)
class Contest:
    """What was settled after one generation."""

    generation: int
    """From 1."""
    changed: bool
    reason: str
    rows: list[Contested]


def contests(facts: RunFacts) -> list[Contest]:
    """Each generation's contest in which anybody was contested."""
    return [
        Contest(
            number,
            held.id != held.before,
            held.reason,
            [_contested(s, held, facts.unit) for s in held.standings],
        )
        for number, held in enumerate(facts.contests, 1)
        if held and held.standings
    ]


def _contested(standing: Standing, held: Incumbency, unit: str) -> Contested:
    kept = "–" if standing.fresh is None else measure(standing.fresh, unit)
    trainings = str(len(standing.finished)) + (", one failed" if standing.failed else "")
    return Contested(standing.id, standing.id == held.id, measure(standing.screening, unit), kept, trainings)


def notes(facts: RunFacts) -> list[str]:
    """Selection optimism, what racing and prescreening saved, and the end of the search, as sentences."""
    said = []
    last = next((held for held in reversed(facts.contests) if held), None)
    if last and last.optimism is not None and last.leader:
        more = plural(len(last.leader.finished), "later training")
        gap = measure(abs(last.optimism), facts.unit)
        word = "above" if last.optimism >= 0 else "below"
        said.append(f"The training that selected {last.id} came out {gap} {word} the mean of its {more}.")
    halted = [c for c in facts.population.candidates if c.stopped and c.training and not c.duplicate_of]
    whole = max((c.training.timesteps for c in facts.population.candidates if c.training and not c.stopped), default=0)
    left = sum(whole - c.training.timesteps for c in halted if c.training)
    if left > 0:
        said.append(f"Racing stopped {plural(len(halted), 'candidate')} early: {count(left)} steps were not taken.")
    if facts.prescreen:
        text = prescreen.told(facts.prescreen)
        said.append(f"{text[0].upper()}{text[1:]}.")
    if facts.stop:
        said.append(f"The search ended: {facts.stop.reason}.")
    return said
