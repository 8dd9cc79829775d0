"""When a search is over: generations, target fitness, patience, environment steps. Time and money raise instead."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.lab.racing import most_finishers, most_steps
from eureka_agent.population import Candidate, Population, Record
from eureka_agent.search.contest import CONTENDERS
from eureka_agent.settings import Recipe, Settings
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
    begun = run.has_decided(f"g{population.generations}/briefs")  # steps that the next generation took do not end it
    left = None if begun else steps_left(run, population)
    reason = reason_to_stop(population, run.settings, left, run.task.spec.metric.unit)
    if reason is None:
        return None
    key, steps = stop_key(population.generations, run.settings), run.searched_steps
    return run.decide(key, Stop, lambda: Stop(reason=reason, steps=steps, seconds=run.elapsed_seconds))


@dataclass(frozen=True)
class StepsLeft:
    """What a budget of environment steps has room for."""

    settings: Settings
    recipe: Recipe
    taken: int
    """By the search's trainings so far."""
    incumbent: bool = False
    """Whether somebody leads, who is challenged in contests."""
    proven: bool = False
    """Whether the incumbent has been trained in a contest."""

    def needed(self, size: int) -> int:
        """Environment steps of a generation of so many candidates and the first round of its contest, at most.

        Failures and repeated programs may leave fewer to train, which can take more: of three that race, one finishes
        and may be contested; two do not race, and both finish.
        """
        return max(self._taken_by(trained) for trained in range(1, size + 1))

    def _taken_by(self, size: int) -> int:
        trained = most_steps(self.settings, self.recipe, size)
        if self.settings.contest_seeds < 2 or not self.incumbent:
            return trained  # without a contest, the best score leads
        first = min(CONTENDERS, most_finishers(self.settings, self.recipe, size)) + (not self.proven)
        return trained + first * most_steps(self.settings, self.recipe, 1)

    def candidates_at_most(self, edits: int = 0) -> int | None:
        """How many the next generation may have; None: as many as wanted, as there is no budget.

        They fit with the first round of their contest into what is left, whatever comes of them; its later rounds take
        what is left then. Earlier generations are not cut down to leave them room: that ends in generations too small
        to race, which pay for whole trainings.

        Args:
            edits: candidates that people write, beside those of the settings.
        """
        if self.settings.steps is None:
            return None
        left, wanted = self.settings.steps - self.taken, self.settings.population + self.settings.tune + edits
        return next((size for size in range(wanted, 0, -1) if self.needed(size) <= left), 0)


def steps_left(run: Run, population: Population) -> StepsLeft:
    """What the run's budget has room for after the finished generations."""
    best = population.best
    return StepsLeft(
        settings=run.settings,
        recipe=Recipe.of(run.task, run.settings),
        taken=run.searched_steps,
        incumbent=best is not None and not population.by_preference,
        proven=best is not None and bool(population.standing(best).later),
    )


def reason_to_stop(
    population: Population,
    settings: Settings,
    left: StepsLeft | None,
    unit: str = "",
) -> str | None:
    """In words, the first bound that is reached; None if none is.

    Args:
        population: of whole generations.
        settings: whose bounds hold.
        left: of the budget of environment steps; None: a generation has begun, and is finished.
        unit: of fitness.
    """
    best, done = population.best, population.generations
    if done >= settings.generations:
        return f"{plural(settings.generations, 'generation')} done"
    if best and settings.target is not None and _reached(best, population, settings):
        reached = measure(population.mean(best), unit)
        return f"target reached: {best.id} with {reached}, wanted {measure(settings.target, unit)}"
    if best and settings.patience is not None and done - 1 - best.brief.generation >= settings.patience:
        return f"no better candidate than {best.id} in {plural(settings.patience, 'generation')}"
    if settings.steps is None or left is None:
        return None
    if not left.taken and done >= BARREN:
        return f"nothing trained in {plural(done, 'generation')}"
    if left.candidates_at_most() == 0:
        taken = f"{count(left.taken)} of {count(settings.steps)} environment steps taken"
        return taken if left.taken >= settings.steps else f"{taken}, one more candidate could take {left.needed(1):,}"
    return None


def _reached(best: Candidate, population: Population, settings: Settings) -> bool:
    """Whether the mean of all its trainings reaches the target; a single one is no evidence where contests are held."""
    held = settings.contest_seeds > 1 and not population.by_preference
    proven = bool(population.standing(best).finished)
    return settings.target is not None and population.mean(best) >= settings.target and (proven or not held)


def check_budget(task: Task, settings: Settings) -> None:
    """See before a search begins whether its budget of environment steps has room for a training.

    Raises:
        UsageError: it has not.
    """
    most = most_steps(settings, Recipe.of(task, settings), 1)
    if settings.steps is not None and most > settings.steps:
        raise UsageError(
            f"--steps {settings.steps}: one training of {task.name} takes {most:,} environment steps; allow more, or "
            "make trainings shorter with --timesteps"
        )
    room = StepsLeft(settings=settings, recipe=Recipe.of(task, settings), taken=0).candidates_at_most()
    if room is not None and room < len(settings.seed_rewards):
        raise UsageError(
            f"--steps {settings.steps}: the first generation has room for {plural(room, 'training')}, and there are "
            f"{len(settings.seed_rewards)} rewards to begin with (--seed-reward); allow more, or name fewer"
        )


def stop_key(generations: int, settings: Settings) -> str:
    """Key of the decision that the search ends after so many generations, with a number for the bounds it had then."""
    bounds = json.dumps({name: getattr(settings, name) for name in BOUNDS}, sort_keys=True)
    digest = hashlib.sha256(bounds.encode()).digest()
    return f"stop/{generations}/{int.from_bytes(digest[:6], 'big')}"
