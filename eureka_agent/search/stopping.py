"""When a search is over: generations, target fitness, patience, environment steps. Time and money raise instead."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

from eureka_agent.population import Population, Record
from eureka_agent.settings import Settings
from eureka_agent.text import count, measure, plural

if TYPE_CHECKING:
    from eureka_agent.runs.run import Run

BOUNDS = ("generations", "target", "patience", "steps")
"""Settings that end a search; with others of them, one that had ended may go on."""


class Stop(Record):
    """Why a search ended, and what it had taken by then, its last comparison not included."""

    reason: str
    steps: int
    """Environment steps of its trainings."""
    seconds: float
    """Wall time of all its sittings."""


BARREN = 3
"""Generations without a training after which a budget of environment steps, which nothing takes from, is given up."""


def stopped(run: Run, population: Population) -> Stop | None:
    """The end of the run's search, decided once per bounds; None: it goes on."""
    known = run.end(population.generations)
    if known is not None:
        return known
    steps = run.searched_steps
    begun = run.has_decided(f"g{population.generations}/briefs")  # steps that the next generation took do not end it
    last, best = run.incumbency(), population.best
    contested = last.leader.mean if last and last.leader and best and last.leader.id == best.id else None
    unit = run.task.spec.metric.unit
    reason = reason_to_stop(population, run.settings, None if begun else steps, contested, unit)
    if reason is None:
        return None
    key = stop_key(population.generations, run.settings)
    return run.decide(key, Stop, lambda: Stop(reason=reason, steps=steps, seconds=run.elapsed_seconds))


def reason_to_stop(
    population: Population, settings: Settings, steps: int | None, contested: float | None = None, unit: str = ""
) -> str | None:
    """In words, the first bound that is reached; None if none is.

    Args:
        population: of whole generations.
        settings: whose bounds hold.
        steps: environment steps of the search's trainings so far; None: a generation has begun, and is finished.
        contested: mean fitness of the incumbent over the trainings of its contests, if it had any: a lucky training
            alone reaches no target.
        unit: of fitness.
    """
    best, done = population.best, population.generations
    if done >= settings.generations:
        return f"{plural(settings.generations, 'generation')} done"
    level = contested if contested is not None else best.fitness if best else None
    if best and settings.target is not None and level is not None and level >= settings.target:
        return f"target reached: {best.id} with {measure(level, unit)}, wanted {measure(settings.target, unit)}"
    if best and settings.patience is not None and done - 1 - best.brief.generation >= settings.patience:
        return f"no better candidate than {best.id} in {plural(settings.patience, 'generation')}"
    if settings.steps is None or steps is None:
        return None
    if not steps and done >= BARREN:
        return f"nothing trained in {plural(done, 'generation')}"
    left = affordable(population, settings, steps)
    if left is not None and left < 1:
        return f"{count(steps)} of {count(settings.steps)} environment steps taken"
    return None


def affordable(population: Population, settings: Settings, steps: int) -> int | None:
    """How many more candidates end the search nearest to its budget of environment steps; None: as many as you like.

    What a candidate costs is what those so far cost on average, with all that belonged to them (rungs, contests).
    """
    if settings.steps is None or not population.candidates or not steps:
        return None
    return math.floor((settings.steps - steps) / (steps / len(population.candidates)) + 0.5)


def stop_key(generations: int, settings: Settings) -> str:
    """Key of the decision that the search ends after so many generations, under the bounds of the settings."""
    bounds = json.dumps({name: getattr(settings, name) for name in BOUNDS}, sort_keys=True)
    return f"stop/{generations}/{int(hashlib.sha256(bounds.encode()).hexdigest()[:12], 16)}"
