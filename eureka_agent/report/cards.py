"""One card per candidate: its row in the list, and what opens when a person looks closer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from markupsafe import Markup

from eureka_agent import text
from eureka_agent.population import Candidate, Catch, Training
from eureka_agent.report import charts
from eureka_agent.report.components import STEPS, Part, parts, stacked
from eureka_agent.report.curves import RETURN
from eureka_agent.report.diffs import Diff, diff
from eureka_agent.report.facts import RunFacts
from eureka_agent.report.lineage import ancestors, made
from eureka_agent.report.markup import python
from eureka_agent.report.thoughts import Thought

MANY = 120
"""Candidates up to which every card is full: highlighted code, diffs, charts, figures."""
FULL_CARDS = 60
"""Full cards among more; the others have plain code and the reflection, so that a page of 1,000 opens at once."""
LEFT_OUT = "left out to keep the page small"


@dataclass(frozen=True)
class Card:
    """Everything that the page shows of one candidate."""

    candidate: Candidate
    best: bool
    full: bool
    made: str
    share: float
    """Fitness between the run's floor and its highest, 0 to 1."""
    fitness: str
    success: str
    spark: charts.Spark | None
    code: Markup | None
    diffs: list[Diff] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    stack: charts.Chart | None = None
    findings: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    thought: Thought | None = None
    film: bytes | None = None
    film_note: str = ""
    numbers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The candidate's."""
        return self.candidate.id


def cards(facts: RunFacts, films: dict[str, bytes]) -> list[Card]:
    """In order of birth. `films` are those that the page has room for, by candidate's id."""
    by_id = {c.id: c for c in facts.population.candidates}
    children: dict[str, list[str]] = {}
    for c in by_id.values():
        for parent in c.brief.parents:
            children.setdefault(parent, []).append(c.id)
    full, low, high = _full(facts), *_scale(facts)
    return [
        _card(facts, c, by_id, children.get(c.id, []), films.get(c.id), c.id in full, (low, high))
        for c in by_id.values()
    ]


def _full(facts: RunFacts) -> set[str]:
    """All, or of many the best and its ancestors, then the highest, then whoever was born first."""
    order = [*sorted(ancestors(facts)), *(c.id for c in facts.population.ranked)]
    order += [c.id for c in facts.population.candidates]
    return set(list(dict.fromkeys(order))[: MANY if len(facts.population.candidates) <= MANY else FULL_CARDS])


def _scale(facts: RunFacts) -> tuple[float, float]:
    scale = [c.fitness for c in facts.population.ranked if c.fitness is not None]
    if facts.task.anchors:
        scale.append(facts.task.anchors.random.mean)
    return (min(scale), max(scale)) if scale else (0.0, 1.0)


def _card(
    facts: RunFacts,
    c: Candidate,
    by_id: dict[str, Candidate],
    children: list[str],
    film: bytes | None,
    full: bool,
    scale: tuple[float, float],
) -> Card:
    low, high = scale
    filmed = c.id in facts.films
    card = Card(
        candidate=c,
        best=facts.best is not None and c.id == facts.best.id,
        full=full,
        made=made(c),
        share=0.0 if c.fitness is None or high <= low else (c.fitness - low) / (high - low),
        fitness=text.measure(c.fitness, facts.unit),
        success=text.percent(c.score.success_rate) if c.score else "",
        spark=_spark(c.training),
        code=python(c.code, plain=not full) if c.code else None,
        children=children,
        film=film,
        film_note=LEFT_OUT if filmed and not film else (c.score.video_note if c.score else ""),
    )
    if not full:
        return card
    parents = [by_id[name] for name in c.brief.parents if name in by_id]
    return dataclasses.replace(
        card,
        diffs=[diff(p.id, p.code, c.code, p.reflection) for p in parents if p.code and c.code],
        parts=parts(c),
        stack=stacked(c),
        findings=findings(c.reflection),
        thought=facts.thoughts.get(c.id),
        numbers=_numbers(c, facts),
    )


def findings(reflection: str) -> list[str]:
    """What a reflection found wrong, as sentences."""
    _, _, found = reflection.partition("\nFindings:\n")
    return [line[4:] for line in found.split("\n") if line.startswith("  - ")]


def _numbers(c: Candidate, facts: RunFacts) -> list[tuple[str, str]]:
    """What one training and its score came to."""
    shown = []
    if score := c.score:
        spread = f"{text.number(min(score.fitness))} to {text.number(max(score.fitness))}"
        shown.append(("fitness", f"{text.measure(score.mean, facts.unit)}, episodes {spread}"))
        succeeded = f"{sum(score.success)} of {text.plural(len(score.success), 'episode')}"
        shown.append(("success", f"{text.percent(score.success_rate)}, {succeeded}"))
    if training := c.training:
        peak = f" of {text.count(training.timesteps)}" if training.peak_timesteps != training.timesteps else ""
        shown.append(("policy from step", f"{text.count(training.peak_timesteps)}{peak}, the peak of its own return"))
        speed = f"{text.count(training.steps_per_second)} steps/s"
        shown.append(("training", f"{text.duration(training.seconds)}, {speed}, seed {training.seed}"))
    return shown


def _spark(training: Training | None) -> charts.Spark | None:
    if training is None or STEPS not in training.curves:
        return None
    steps = [0.0 if v is None else v for v in training.curves[STEPS]]
    title = f"own return over training, checkpoint at {text.count(training.peak_timesteps)} steps"
    return charts.sparkline(steps, training.curves.get(RETURN, []), training.peak_timesteps, title)


@dataclass(frozen=True)
class Rejected:
    """Something that was stopped, and why."""

    candidate: str
    stage: str
    reason: str
    outcome: str


def rejected(candidates: Iterable[Candidate]) -> list[Rejected]:
    """Candidates that ended with a verdict, and what gates stopped or objected to in others."""
    rows = []
    for c in candidates:
        rows += [Rejected(c.id, f"{catch.gate} gate", catch.reason, _outcome(catch, c)) for catch in c.catches]
        if c.failure:
            rows.append(Rejected(c.id, c.failure.verdict.value, str(c.failure), "rejected"))
    return rows


def _outcome(catch: Catch, c: Candidate) -> str:
    if catch.mended:
        return "mended by the next answer"
    return "rejected" if c.failure else "kept as it was"
