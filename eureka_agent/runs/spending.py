"""What a run's language models have cost, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from eureka_agent.llm.extract import CUT_OFF, REFUSED
from eureka_agent.llm.ledger import cost_text, so_far
from eureka_agent.population import Population, Record
from eureka_agent.runs.calls import Booked, Call
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.text import count, dollars, plural


class Share(Record):
    """Some of a run's calls. Those that failed free of charge are not among them."""

    calls: int = 0
    input_tokens: int = 0
    """As the providers count them; where they do not, `tokens` has the worst case."""
    output_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    """Those that count against a cap."""
    cost: float = 0.0
    """US dollars, as far as prices are known."""
    unpriced: int = 0
    """Calls without a known price."""
    estimated: int = 0
    """Calls that are booked at their worst case, as their outcome or their usage is not known."""


class Spending(Record):
    """Everything that a report says about money."""

    total: Share
    by_purpose: Mapping[str, Share]
    """`propose`, `repair`, `critic`, …"""
    by_model: Mapping[str, Share]
    """By the model that was asked for; by who answered where nobody was asked by name."""
    faults: Mapping[str, int]
    """How often each fault was met (`rate_limit`, `lost`, …), `refused` and `cut_off` answers among them."""
    retries: int
    """Requests that were sent again."""
    improvements: int
    """How many generations ended with a better best than before, the first best included."""
    cost_per_improvement: float | None
    """US dollars; None if nothing improved or some price is not known."""

    @property
    def text(self) -> str:
        """One line; empty if no language model was asked for money."""
        if not self.total.calls or not (self.total.cost or self.total.unpriced or self.total.tokens):
            return ""
        total = self.total
        parts = [plural(total.calls, "call"), f"{count(total.tokens)} tokens", cost_text(total.cost, total.unpriced)]
        line = f"language models: {', '.join(parts)}"
        if self.cost_per_improvement is not None:
            each = plural(self.improvements, "improvement")
            line += f"; {dollars(self.cost_per_improvement)} for each of {each} of the best"
        return line


def spending(run: Run) -> Spending:
    """What a run has spent so far, at any stage of it."""
    calls = [call for call in run.calls() if call.state != "failed"]
    total = _share(calls)
    improvements = _improvements(run.population(partial=True, curves=False))
    known = improvements and not total.unpriced
    return Spending(
        total=total,
        by_purpose=_grouped(calls, lambda call: call.purpose.rstrip("0123456789")),
        by_model=_grouped(calls, lambda call: call.asked or call.model or "not answered yet"),
        faults=dict(sorted(Counter(_faults(run.calls())).items())),
        retries=sum(call.attempt > 1 for call in run.calls()),
        improvements=improvements,
        cost_per_improvement=total.cost / improvements if known else None,
    )


def spent_line(booked: Booked, settings: Settings) -> str:
    """The spend while a run is under way: `12 calls, 48.2k tokens, $0.31 of $5.00`; empty if nothing costs."""
    if not (booked.cost or booked.tokens or booked.unpriced):
        return ""
    caps = [f" of {dollars(settings.max_cost)}"] if settings.max_cost is not None else []
    caps += [f", at most {dollars(settings.max_cost_per_hour)} per hour"] if settings.max_cost_per_hour else []
    caps += [f" (cap {count(settings.max_tokens)} tokens)"] if settings.max_tokens is not None else []
    return so_far(booked) + "".join(caps)


def _improvements(population: Population) -> int:
    best, found = float("-inf"), 0
    for generation in range(population.generations):
        born = population.born(generation)
        scores = [c.fitness for c in born if c.fitness is not None]
        if scores and max(scores) > best:
            best, found = max(scores), found + 1
    return found


def _grouped(calls: Iterable[Call], name: Callable[[Call], str]) -> dict[str, Share]:
    groups: dict[str, list[Call]] = {}
    for call in calls:
        groups.setdefault(name(call), []).append(call)
    return {key: _share(group) for key, group in sorted(groups.items())}


def _share(calls: Iterable[Call]) -> Share:
    calls = list(calls)
    return Share(
        calls=len(calls),
        input_tokens=sum(call.input_tokens or 0 for call in calls),
        output_tokens=sum(call.output_tokens or 0 for call in calls),
        cached_tokens=sum(call.cached_tokens for call in calls),
        tokens=sum(call.tokens for call in calls),
        cost=round(sum(call.cost or 0.0 for call in calls), 9),
        unpriced=sum(call.cost is None for call in calls),
        estimated=sum(call.estimated for call in calls),
    )


def _faults(calls: Iterable[Call]) -> Iterable[str]:
    for call in calls:
        if call.fault:
            yield call.fault
        if call.finish_reason in REFUSED:
            yield "refused"
        if call.finish_reason in CUT_OFF:
            yield "cut_off"
