"""The contest after each generation: trains what `contest` wants, journals what it decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eureka_agent.lab.lab import Lab
from eureka_agent.population import Candidate, Population, Score
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Trial
from eureka_agent.search.contest import Incumbency, Key, Spread, Standing, contenders, decision, incumbency_key, wanted
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
    settled = run.decide(key, Incumbency, lambda: _contested(lab, population, candidates))
    if settled.leader:
        lab.watcher.leads(settled.leader.id, settled.leader.mean)
    return settled.id


def _contested(lab: Lab, population: Population, candidates: Sequence[Candidate]) -> Incumbency:
    run = lab.run
    settings, last = run.settings, run.incumbency()
    spread = last.spread if last else Spread()
    held = [run.decided(incumbency_key(n), Incumbency) for n in range(population.generations)]
    known = {s.id: s for one in held if one for s in one.standings}
    best = population.best
    incumbent = known.get(best.id) or _standing(best) if best and not best.stopped else None
    if last and last.leader and incumbent and last.leader.id != incumbent.id:  # a person rejected it
        spread = spread.including([last.leader])
    width = spread.including([incumbent]) if incumbent else spread
    chosen = contenders(candidates, incumbent, width)
    code = {c.id: c.code for c in (*population.ranked, *candidates)}
    later = {key: trial for s in (*chosen, incumbent) if s for key, trial in _finished(run, s, settings.contest_seeds)}

    def standing(s: Standing) -> Standing:
        values = list(s.later)
        while (trial := later.get((s.id, len(values) + 1))) is not None:
            values.append(trial.score.mean if trial.score else None)
        return s.model_copy(update={"later": tuple(values)})

    def now() -> tuple[list[Standing], Standing | None]:
        return [standing(s) for s in chosen], standing(incumbent) if incumbent else None

    def train(key: Key) -> Trial:
        name, number = key
        trial = lab.trial(f"{name}/seed/{number}", code[name], settings.derived_seed("contest", number))
        lab.watcher.concluded(f"{name}/seed/{number}", trial)
        return trial

    def ready() -> list[Key]:
        keys = wanted(*now(), spread, settings.contest_seeds)
        # on a budget of steps nothing is trained on speculation: the same search must come out with any number of boxes
        return keys if settings.steps is None else [key for key in keys if key[1] == keys[0][1]]

    lab.boxes.as_ready(train, ready, later.__setitem__)
    unit, seeds = lab.run.task.spec.metric.unit, settings.contest_seeds
    settled = decision(*now(), spread, seeds, unit, len(incumbent.later) if incumbent else 0)
    lab.watcher.stage(settled.reason)
    return settled


def _finished(run: Run, standing: Standing, seeds: int) -> Iterator[tuple[Key, Trial]]:
    """Contest trainings that an earlier sitting finished and did not come to decide on."""
    for number in range(len(standing.later) + 1, seeds):
        name = f"{standing.id}/seed/{number}"
        training, score = run.training(name), run.score(name)
        if isinstance(training, Failure) or score is not None:
            yield (standing.id, number), Trial(training=None, score=score if isinstance(score, Score) else None)


def _standing(candidate: Candidate) -> Standing | None:
    return None if candidate.fitness is None else Standing(id=candidate.id, screening=candidate.fitness)
