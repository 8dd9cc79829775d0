"""One card per candidate: its row in the list, and what opens when a person looks closer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from eureka_agent import text
from eureka_agent.population import Candidate, Catch, Score, Training
from eureka_agent.report import charts, trainings
from eureka_agent.report.components import STEPS, Part, component_charts, parts, stacked
from eureka_agent.report.curves import RETURN
from eureka_agent.report.diffs import Diff, diff
from eureka_agent.report.facts import RunFacts, overtime, share
from eureka_agent.report.lineage import ancestors, made
from eureka_agent.report.markup import python
from eureka_agent.report.neighbours import Neighbours
from eureka_agent.report.thoughts import Thought
from eureka_agent.runs.summaries import success_rate
from eureka_evaluation.finding import Finding

MANY = 120
"""Candidates up to which every card is full: highlighted code, diffs, charts, figures."""
FULL_CARDS = 60
"""Full cards among more; the others have plain code and the reflection, so that a page of 1,000 opens at once."""
LEFT_OUT = "the film was left out to keep the page small"
GRAVE = 0.7
"""Weight of a finding from which on it stands out."""


@dataclass(frozen=True)
class Film:
    """A place for a film: with it, with a still from it, or with neither."""

    film: bytes | None = None
    poster: bytes | None = None
    css: str = ""
    label: str = ""
    note: str = ""
    """Why there is no film."""
    of: str = ""
    """Which training it shows, see `trainings`."""

    @property
    def there(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.film or self.poster)


@dataclass(frozen=True)
class Told:
    """A finding as the page shows it."""

    text: str
    kind: str = ""
    grave: bool = False


@dataclass(frozen=True)
class Card:
    """Everything that the page shows of one candidate."""

    candidate: Candidate
    best: bool
    full: bool
    made: str
    share: float
    """Fitness on the run's scale, see `RunFacts.scale`."""
    mean: float | None
    """Fitness over all trainings, by which the list is sorted; None without a score."""
    fitness: str
    """The same with its unit."""
    success: str
    """Over the same trainings."""
    spark: charts.Spark | None
    code: Markup | None
    diffs: list[Diff] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    stack: charts.Chart | None = None
    curves: list[charts.Chart] = field(default_factory=list)
    findings: list[Told] = field(default_factory=list)
    of: str = ""
    """Which of several trainings the findings are of; empty where there is one."""
    suspicions: list[Told] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    neighbours: Neighbours | None = None
    thought: Thought | None = None
    film: Film = field(default_factory=Film)
    sheet: bytes | None = None
    """The frames that a vision model was shown, if the page has room for them."""
    human: float | None = None
    """The human reward's place on the run's scale."""
    numbers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The candidate's."""
        return self.candidate.id

    @property
    def state(self) -> str:
        """`failed`, `same`, `stopped`, `scored` or `open`: what the list can be narrowed to."""
        c = self.candidate
        if c.failure:
            return "failed"
        if c.duplicate_of:
            return "same"
        return "open" if not c.score else "stopped" if c.stopped else "scored"


def cards(facts: RunFacts, films: Mapping[str, Film], sheets: Mapping[str, bytes] | None = None) -> list[Card]:
    """In order of birth. `films` and `sheets` are what the page has room for, by candidate's id."""
    by_id = {c.id: c for c in facts.population.candidates}
    children: dict[str, list[str]] = {}
    for c in by_id.values():
        for parent in c.brief.parents:
            children.setdefault(parent, []).append(c.id)
    full, scale = _full(facts), facts.scale
    made = [
        _card(facts, c, by_id, children.get(c.id, []), films.get(c.id), c.id in full, scale) for c in by_id.values()
    ]
    return [dataclasses.replace(card, sheet=(sheets or {}).get(card.id)) for card in made]


def _full(facts: RunFacts) -> set[str]:
    """All, or of many the best and its ancestors, then the highest, then whoever was born first."""
    order = [*sorted(ancestors(facts)), *(c.id for c in facts.population.ranked)]
    order += [c.id for c in facts.population.candidates]
    return set(list(dict.fromkeys(order))[: MANY if len(facts.population.candidates) <= MANY else FULL_CARDS])


def _card(
    facts: RunFacts,
    c: Candidate,
    by_id: dict[str, Candidate],
    children: list[str],
    film: Film | None,
    full: bool,
    scale: tuple[float, float],
) -> Card:
    counted = facts.counted(c)
    card = Card(
        candidate=c,
        best=facts.best is not None and c.id == facts.best.id,
        full=full,
        made=made(c),
        share=share(facts.fitness(c), scale),
        mean=facts.fitness(c),
        fitness=text.measure(facts.fitness(c), facts.unit),
        success=text.percent(success_rate(counted)) if counted else "",
        spark=_spark(c.training),
        code=python(c.code, plain=not full) if c.code else None,
        children=children,
        film=film or Film(note=c.score.video_note if c.score else ""),
        human=share(facts.human, scale) if facts.human is not None else None,
    )
    if not full:
        return card
    parents = [by_id[name] for name in c.brief.parents if name in by_id]
    return dataclasses.replace(
        card,
        diffs=[diff(p.id, p.code, c.code, p.reflection) for p in parents if p.code and c.code],
        parts=parts(c),
        stack=stacked(c),
        curves=component_charts(c),
        of=trainings.first(facts, c) if c.score and facts.population.standing(c).finished else "",
        findings=told(c.findings) or [Told(words) for words in findings(c.reflection)],
        suspicions=told(facts.suspicions(c)),
        neighbours=facts.neighbours.get(c.id),
        thought=facts.thoughts.get(c.id),
        numbers=_numbers(c, facts),
    )


def told(found: Iterable[Finding]) -> list[Told]:
    """Findings ready to show, the weightiest first as they come."""
    return [Told(f.text, f.kind.replace("_", " "), f.weight >= GRAVE) for f in found]


def findings(reflection: str) -> list[str]:
    """What a reflection found wrong, as sentences."""
    _, _, found = reflection.partition("\nFindings:\n")
    return [line[4:] for line in found.split("\n") if line.startswith("  - ")]


def _numbers(c: Candidate, facts: RunFacts) -> list[tuple[str, str]]:
    """What its trainings came to, and the one that selected it."""
    shown = []
    known = facts.population.standing(c) if c.score else None
    if known and known.finished:
        each = ", ".join(text.number(value) for value in known.counted)
        shown.append(("all trainings", f"{known.told(facts.unit)}: {each}"))
    if score := c.score:
        spread = f"{text.number(min(score.fitness))} to {text.number(max(score.fitness))}"
        first = f"{text.measure(score.mean, facts.unit)}, episodes {spread}"
        if known and known.finished:
            shown.append(("first training", f"{first}, success {text.percent(score.success_rate)}"))
        else:
            shown.append(("fitness", first))
        if counted := facts.counted(c):
            shown.append(("success", _success(counted)))
    if c.rungs:
        seen = ", ".join(f"{text.measure(r.fitness, facts.unit)} at {text.count(r.timesteps)} steps" for r in c.rungs)
        shown.append(("racing", f"{seen}; {'stopped there' if c.stopped else 'went on to the end'}"))
    if training := c.training:
        peak = f" of {text.count(training.timesteps)}" if training.peak_timesteps != training.timesteps else ""
        shown.append(("policy from step", f"{text.count(training.peak_timesteps)}{peak}, the peak of its own return"))
        speed = f"{text.count(training.steps_per_second)} steps/s"
        shown.append(("training", f"{text.duration(training.seconds)}, {speed}, seed {training.seed}"))
        if times := facts.population.overtime(c):
            shown.append(("time of its box", overtime(times)))
    return shown


def _success(scores: Sequence[Score]) -> str:
    """`60 %, 12 of 20 episodes`, over the same trainings as fitness."""
    episodes = [succeeded for score in scores for succeeded in score.success]
    over = f" of {len(scores)} trainings" if len(scores) > 1 else ""
    rate = text.percent(success_rate(scores))
    return f"{rate}, {sum(episodes)} of {text.plural(len(episodes), 'episode')}{over}"


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
