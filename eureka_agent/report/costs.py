"""What a run took: calls to language models, time in boxes, and what the gates before training saved."""

from __future__ import annotations

from dataclasses import dataclass

from eureka_agent.llm.ledger import cost_text
from eureka_agent.report.facts import RunFacts
from eureka_agent.runs.catches import Caught, caught
from eureka_agent.runs.spending import Share
from eureka_agent.text import count, dollars, duration, number, plural


@dataclass(frozen=True)
class Line:
    """One row of the table of calls, as text."""

    name: str
    calls: str
    input: str
    output: str
    cached: str
    cost: str
    total: bool = False


def calls(facts: RunFacts) -> list[Line]:
    """By purpose, then by model, then all together; empty if no language model was asked."""
    spent = facts.spending
    if spent is None or not spent.total.calls:
        return []
    lines = [_line(f"to {name}", share) for name, share in spent.by_purpose.items()]
    lines += [_line(name, share) for name, share in spent.by_model.items()]
    return [*lines, _line("all", spent.total, total=True)]


def _line(name: str, share: Share, total: bool = False) -> Line:
    # a person or a recording that answers counts no tokens and costs nothing: that is no zero that was measured
    counted = share.input_tokens or share.output_tokens
    return Line(
        name=name,
        calls=str(share.calls),
        input=count(share.input_tokens) if counted else "–",
        output=count(share.output_tokens) if counted else "–",
        cached=count(share.cached_tokens) if counted else "–",
        cost=cost_text(share.cost, share.unpriced) if share.cost or share.unpriced else "–",
        total=total,
    )


def notes(facts: RunFacts) -> list[str]:
    """Faults met, and money per improvement, as sentences."""
    spent, said = facts.spending, []
    if spent is None:
        return []
    if spent.faults:
        met = ", ".join(f"{name.replace('_', ' ')} ({times}×)" for name, times in spent.faults.items())
        said.append(f"Faults met: {met}; {plural(spent.retries, 'request')} sent again.")
    if spent.total.estimated:
        said.append(f"{plural(spent.total.estimated, 'call')} booked at the worst case, as the usage is not known.")
    if spent.cost_per_improvement is not None and spent.total.cost:
        each = plural(spent.improvements, "improvement")
        said.append(f"{dollars(spent.cost_per_improvement)} for each of {each} of the best.")
    return said


def times(facts: RunFacts) -> list[tuple[str, str]]:
    """Where the time went. A box computes on one core, so its seconds are about its CPU time."""
    shown = [("wall time of all sittings", duration(facts.seconds))]
    if facts.work and facts.work.trainings:
        training, scoring = facts.work.training_seconds, facts.work.scoring_seconds
        trainings = plural(facts.work.trainings, "training")
        shown.append(("CPU time of trainings", f"{duration(training)}, {trainings}"))
        shown.append(("CPU time of scorings", duration(scoring)))
        shown.append(("CPU hours together", number((training + scoring) / 3600)))
    if facts.utilisation:
        shown.append(("boxes busy", facts.utilisation.text))
    shown.append(("environment steps", count(facts.trained_steps)))
    same = sum(c.duplicate_of is not None for c in facts.population.candidates)
    if same:
        shown.append(("same program as an earlier one", f"{plural(same, 'candidate')}, not trained again"))
    return shown


def gates(facts: RunFacts) -> tuple[Caught, ...]:
    """What each gate before training stopped, and the training time that was not spent."""
    return caught(facts.population)
