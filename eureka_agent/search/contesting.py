"""The contest after each generation: trains what `contest` wants, journals what it decides."""

from __future__ import annotations

from collections.abc import Sequence

from eureka_agent.lab.lab import Lab
from eureka_agent.lab.racing import most_steps
from eureka_agent.population import Candidate, Population, Score, Training
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Trial
from eureka_agent.search.contest import (
    Entrants,
    Incumbency,
    Key,
    entrants,
    incumbency_key,
    settled,
    training_key,
    wanted,
)
from eureka_agent.settings import Recipe
from eureka_sandbox.protocol import Failure


def contest(lab: Lab, population: Population, candidates: Sequence[Candidate]) -> str | None:
    """Settle who leads after a generation, once and for all: journaled, with all trainings that it takes.

    Args:
        lab: where they train.
        population: the generations before.
        candidates: those of the generation that has just been measured.

    Returns:
        The incumbent's id; None where the best score leads: without contests, or if people's preferences decide.
    """
    run = lab.run
    if run.settings.contest_seeds < 2 or population.by_preference:
        return None
    key = incumbency_key(population.generations)
    outcome = run.decide(key, Incumbency, lambda: _contested(lab, population, candidates))
    if outcome.leader:
        lab.watcher.leads(outcome.leader.id, outcome.leader.mean)
    return outcome.id


def _contested(lab: Lab, population: Population, candidates: Sequence[Candidate]) -> Incumbency:
    run = lab.run
    settings, unit = run.settings, run.task.spec.metric.unit
    earlier = [run.decided(incumbency_key(n), Incumbency) for n in range(population.generations)]
    before = entrants(population, candidates, earlier)
    code = {c.id: c.code for c in (*population.ranked, *candidates)}
    later, room = _finished(run, before), _room(run, before, lab.recipe)

    def train(key: Key) -> Trial:
        name = training_key(key)
        trial = lab.trial(name, code[key[0]], settings.derived_seed("contest", key[1]))
        lab.watcher.concluded(name, trial)
        return trial

    def ready() -> list[Key]:
        now = before.trained(later)
        keys = wanted(*now, settings.contest_seeds)
        if room is None:
            return keys
        # on a budget of steps nothing is trained on speculation: the same search must come out with any number of boxes
        together = [key for key in keys if key[1] == keys[0][1]]
        return together if now.trainings - before.trainings + len(together) <= room else []

    def ended(key: Key, trial: Trial) -> None:
        later[key] = trial.score.mean if trial.score else None

    lab.boxes.as_ready(train, ready, ended)
    left = wanted(*before.trained(later), settings.contest_seeds)
    seeds = left[0][1] if left else settings.contest_seeds
    outcome = settled(before, later, seeds, unit)
    if left:
        outcome = outcome.model_copy(update={"seeds": seeds})
        lab.watcher.stage("the budget of environment steps has no room for more trainings of those who may lead")
    lab.watcher.stage(outcome.reason)
    return outcome


def _finished(run: Run, before: Entrants) -> dict[Key, float | None]:
    """Contest trainings that an earlier sitting finished and did not come to decide on."""
    found: dict[Key, float | None] = {}
    for key in before.open_keys(run.settings.contest_seeds):
        training, score = run.training(training_key(key)), run.score(training_key(key))
        if isinstance(training, Failure) or score is not None:
            found[key] = score.mean if isinstance(score, Score) else None
    return found


def _room(run: Run, before: Entrants, recipe: Recipe) -> int | None:
    """How many trainings the budget of environment steps had left when the contest began; None: there is no budget."""
    if run.settings.steps is None:
        return None
    own = [run.training(training_key(key)) for key in before.open_keys(run.settings.contest_seeds)]
    searched = run.searched_steps - sum(t.timesteps for t in own if isinstance(t, Training))
    return (run.settings.steps - searched) // most_steps(run.settings, recipe, 1)
