"""What the report's page holds for a review: what it is bound to, and what people have said before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from eureka_agent.report.facts import RunFacts
from eureka_agent.review.record import code_hash, population_hash, run_id, whole_generations
from eureka_agent.review.steering import Said
from eureka_agent.text import interval, number, plural, resuming


@dataclass(frozen=True)
class Sheet:
    """The review's part of a page, as plain values."""

    run: str
    generations: int
    population: str
    """What a review is bound to, see `record.Review`."""
    codes: list[tuple[str, str]]
    """(id, hash of its code) of every candidate that has code."""
    resume: str
    """The command that uses a saved review."""
    words: list[tuple[str, str]]
    """(to whom, words) of earlier feedback."""
    strengths: list[tuple[str, str, str, str]]
    """(id, strength, interval, comparisons), the most preferred first."""
    told: dict[str, tuple[Said, ...]] = field(default_factory=dict)
    """What authors were told, by candidate's id."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """`approve` or `reject`, by candidate's id."""
    comments: dict[str, list[str]] = field(default_factory=dict)
    """What was said of a candidate, by its id."""


def sheet(facts: RunFacts) -> Sheet:
    """The sheet of a run at any stage."""
    candidates, steering = facts.population.candidates, facts.steering
    generations = whole_generations(facts.population, facts.comparison is not None)
    words = [(f"generation {at + 1}", words) for at, words in steering.feedback]
    comments: dict[str, list[str]] = {}
    for _, opinion in steering.opinions:
        if opinion.comment.strip():
            comments.setdefault(opinion.candidate, []).append(opinion.comment.strip())
    found = sorted(steering.strengths.items(), key=lambda pair: -pair[1].value)
    return Sheet(
        run=run_id(facts.started, facts.task, facts.settings.seed),
        generations=generations,
        population=population_hash(candidates, generations),
        codes=[(c.id, code_hash(c.code)) for c in candidates if c.code],
        resume=resuming(facts.folder, facts.settings.sandbox, "--review", "review.json"),
        words=words,
        strengths=[
            (name, number(s.value), interval(s.low, s.high), plural(s.comparisons, "comparison")) for name, s in found
        ],
        told=_told(facts),
        verdicts=steering.verdicts,
        comments=comments,
    )


@dataclass(frozen=True)
class Seats:
    """Places for films that the script fills: they are kept, so that nothing moves when it does."""

    pair: bool
    """Whether there are two to compare."""
    choice: int
    """Films of the first generation that has more than two to choose the best and the worst from, or 0."""


def seats(sheet: Sheet, filmed: Sequence[str]) -> Seats:
    """Args: filmed: ids of the candidates whose cards have a film, in the order of their cards."""
    known = {name for name, _ in sheet.codes}
    films = [name for name in filmed if name in known]
    born = Counter(name.partition("c")[0] for name in films)
    return Seats(pair=len(films) > 1, choice=next((count for count in born.values() if count > 2), 0))


def _told(facts: RunFacts) -> dict[str, tuple[Said, ...]]:
    """Empty where the model reads nothing."""
    from eureka_agent.search.people import reads_words

    steering = facts.steering
    if not reads_words(facts.settings) or not (steering.feedback or steering.opinions):
        return {}
    spoken_of = {opinion.candidate for _, opinion in steering.opinions}
    elders: dict[str, frozenset[str]] = {}
    remarks = {}
    for c in facts.population.candidates:  # parents come before their children
        own = [frozenset({name} & spoken_of) | elders.get(name, frozenset()) for name in c.brief.parents]
        elders[c.id] = frozenset().union(*own)
        if said := steering.told(c.brief, elders[c.id]):
            remarks[c.id] = said
    return remarks
