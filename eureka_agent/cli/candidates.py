"""The candidates of a search on stdout: a line each, with the own return over training as a word-sized curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eureka_agent.population import Candidate
from eureka_agent.report.components import STEPS
from eureka_agent.report.curves import RETURN
from eureka_agent.report.facts import RunFacts
from eureka_agent.report.lineage import made
from eureka_agent.text import count, measure, plural, visible

if TYPE_CHECKING:
    from rich.console import Console

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 16
MOST = 24
"""Candidates that are listed; of more, the highest."""


def print_candidates(console: Console, facts: RunFacts) -> None:
    """A table of the search's candidates, in order of birth."""
    from rich.table import Table

    candidates = facts.population.candidates
    if not candidates:
        return
    highest = {c.id for c in facts.population.ranked[:MOST]}
    shown = candidates if len(candidates) <= MOST else [c for c in candidates if c.id in highest]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("candidate", "made by", "own return"):
        table.add_column(heading, no_wrap=True)
    table.add_column(facts.task.spec.metric.name, justify="right", no_wrap=True)
    table.add_column("")
    for c in shown:
        style = "bold green" if facts.best and c.id == facts.best.id else ""
        fitness = measure(c.fitness, facts.unit) if c.fitness is not None else ""
        table.add_row(c.id, made(c), spark_of(c), fitness, _remark(c, facts), style=style)
    console.print(table)
    if left := len(candidates) - len(shown):
        console.print(f"and {plural(left, 'candidate')} more in the report", style="dim")
    console.print()


def spark_of(candidate: Candidate) -> str:
    """Own return over training; empty if nothing was logged."""
    training = candidate.training
    if training is None or STEPS not in training.curves:
        return ""
    return sparkline([v for v in training.curves.get(RETURN, []) if v is not None])


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Blocks of eight heights, the lowest value to the highest; a middle line if all are equal."""
    if not values:
        return ""
    places = min(width, len(values))
    chosen = [values[round(i * (len(values) - 1) / max(places - 1, 1))] for i in range(places)]
    low, high = min(chosen), max(chosen)
    if not 0 < high - low < float("inf"):
        return BLOCKS[3] * places
    return "".join(BLOCKS[min(int((v - low) / (high - low) * len(BLOCKS)), len(BLOCKS) - 1)] for v in chosen)


def _remark(candidate: Candidate, facts: RunFacts) -> str:
    if candidate.failure:
        return visible(str(candidate.failure.verdict))
    if candidate.duplicate_of:
        return candidate.likeness
    if candidate.stopped and candidate.training:
        return f"stopped at {count(candidate.training.timesteps)} steps"
    if candidate.id in facts.population.standings and facts.population.standings[candidate.id].later:
        return facts.population.standings[candidate.id].told(facts.unit)
    return "" if candidate.score else "not scored yet"
