"""The contest after each generation: trains what `contest` wants, journals what it decides."""

from __future__ import annotations

from collections.abc import Sequence

from eureka_agent.comparison import Trial
from eureka_agent.contest import Incumbency, Key, Spread, Standing, contenders, decision, wanted
from eureka_agent.lab import Lab
from eureka_agent.population import Candidate, Population


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
    key = f"g{population.generations}/incumbent"
    settled = run.decide(key, Incumbency, lambda: _contested(lab, population, candidates))
    if settled.leader:
        lab.watcher.leads(settled.leader.id, settled.leader.mean)
    return settled.id


def _contested(lab: Lab, population: Population, candidates: Sequence[Candidate]) -> Incumbency:
    settings, last = lab.run.settings, lab.run.incumbency()
    spread = last.spread if last else Spread()
    known = {s.id: s for s in last.standings} if last else {}
    best = population.best
    incumbent = known.get(best.id) or _standing(best) if best and not best.stopped else None
    if last and last.leader and incumbent and last.leader.id != incumbent.id:  # a person rejected it
        spread = spread.including([last.leader])
    width = spread.including([incumbent]) if incumbent else spread
    chosen = contenders(candidates, incumbent, width)
    code = {c.id: c.code for c in (*population.ranked, *candidates)}
    later: dict[Key, Trial] = {}

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
        return wanted(*now(), spread, settings.contest_seeds)

    lab.boxes.as_ready(train, ready, later.__setitem__)
    unit, seeds = lab.run.task.spec.metric.unit, settings.contest_seeds
    settled = decision(*now(), spread, seeds, unit, len(incumbent.later) if incumbent else 0)
    lab.watcher.stage(settled.reason)
    return settled


def _standing(candidate: Candidate) -> Standing | None:
    return None if candidate.fitness is None else Standing(id=candidate.id, screening=candidate.fitness)
