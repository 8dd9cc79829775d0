"""What a bench has come to: figures of each way to search, pooled over its repeats, and how they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from eureka_agent.contract.task import Task
from eureka_agent.lab.wall import walls
from eureka_agent.runs.journal import DATABASE
from eureka_agent.runs.run import Run
from eureka_agent.search.benching import Bench, cpu_by_search, is_over, search_folder
from eureka_agent.search.comparison import FEW_SEEDS, Estimate
from eureka_agent.text import count, duration, interval, measure, percent, plural

if TYPE_CHECKING:
    from eureka_evaluation.statistics import Interval, Strata

HEADINGS = ("", "IQM", "95 % interval", "beats human", "optimism", "steps", "wall", "CPU", "searches")
SEED = 0
"""Of the bootstrap."""
Trainings = tuple[tuple[float, ...], ...]
"""Fitness per fresh training, per episode."""


Which = tuple[str, str, int]
"""A search: task, contestant's name, repeat."""


class Ended(BaseModel):
    """What became of one search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fitness: dict[str, Trainings]
    """By arm of its last comparison; empty: nothing trained."""
    promised: float | None
    """Mean fitness for which its winner was chosen."""
    steps: int
    seconds: float
    cpu_seconds: float | None


class Row(BaseModel):
    """One way to search at one task, or a baseline."""

    model_config = ConfigDict(frozen=True)

    task: str
    name: str
    unit: str
    iqm: Estimate | None = None
    """Of the winners' fresh trainings; None while no search has ended."""
    over_human: Estimate | None = None
    """P(a fresh episode of a winner beats one of the human reward)."""
    units: int = 0
    """What varies independently on the smaller side of `over_human`: searches, or the trainings of a single one."""
    optimism: Estimate | None = None
    """What selection promised of the winners above what their fresh trainings kept."""
    steps: float | None = None
    """Environment steps of a search, mean, without the last comparison."""
    budget: int | None = None
    """Environment steps that a search might take, the last comparison not included."""
    seconds: float | None = None
    """Wall time of a search, mean, without the last comparison."""
    cpu_seconds: float | None = None
    """Of host and boxes, mean, last comparison included (the first of a repeat trains the human reward for all); None
    where boxes ran under Docker, whose CPU time this process does not see."""
    searches: int = 0
    """That ended with a winner; of a baseline, repeats."""
    barren: int = 0
    """In which nothing trained, or whose winner failed in every fresh training."""
    fitness: tuple[Trainings, ...] = ()
    """Per search, per fresh training, per episode."""

    def data(self) -> dict[str, Any]:
        """As JSON; odds of too few have no interval."""
        data = self.model_dump(mode="json")
        if data["over_human"] and self.units < FEW_SEEDS:
            data["over_human"] |= {"low": None, "high": None}
        return data


def results(root: Path, bench: Bench, tasks: Mapping[str, Task]) -> list[Row]:
    """A row per task and way to search as far as searches have ended, then the human reward and random play."""
    return rows_of(bench, tasks, ended_searches(root, bench))


def ended_searches(root: Path, bench: Bench) -> dict[Which, Ended]:
    """Those of a bench's folder that are over."""
    cpu, found = cpu_by_search(root), {}
    for task, contestant, repeat in bench.searches():
        spent = cpu.get(f"{task}/{contestant.name}/{repeat}")
        if ended := _ended(search_folder(root, task, contestant, repeat), spent):
            found[task, contestant.name, repeat] = ended
    return found


def rows_of(bench: Bench, tasks: Mapping[str, Task], ended: Mapping[Which, Ended]) -> list[Row]:
    """The same from what became of each search, wherever that is from."""
    rows = []
    for name in bench.tasks:
        unit, budget = tasks[name].spec.metric.unit, bench.budget(tasks[name])
        of_task = {(who, repeat): one for (task, who, repeat), one in sorted(ended.items()) if task == name}
        of_repeat = {repeat: one for (_, repeat), one in of_task.items() if one.fitness}
        human = tuple(of_repeat[repeat].fitness["human"] for repeat in sorted(of_repeat))
        random = tuple(of_repeat[repeat].fitness["random"] for repeat in sorted(of_repeat))
        for contestant in bench.contestants:
            searches = [one for (who, _), one in of_task.items() if who == contestant.name]
            rows.append(_row(name, unit, contestant.name, searches, human, budget))
        if human:
            every = _distinct(human)
            rows.append(
                Row(task=name, name="human reward", unit=unit, iqm=_iqm(every), searches=len(human), fitness=human)
            )
            alone = [score for scores in _distinct(random) for score in scores[:, None]]  # no training joins episodes
            odds = {"over_human": _better(alone, every), "units": len(every)}
            rows.append(Row(task=name, name="random policy", unit=unit, iqm=_iqm(alone), searches=len(random), **odds))
    return rows


def _ended(folder: Path, cpu_seconds: float | None) -> Ended | None:
    """What became of a search; None while it has not ended."""
    if not (folder / DATABASE).is_file():
        return None
    with Run.open(folder, read_only=True) as run:
        comparison, stop, last = run.comparison(), run.end(), run.incumbency()
        if stop is None or not is_over(run):
            return None
        best = run.population(curves=False).best
        if any(wall.backend == "docker" for wall in walls(run)):
            cpu_seconds = None
        promised = last.leader.mean if last and last.leader else best.fitness if best else None
        fitness = {arm.name: arm.fitness for arm in comparison.arms} if comparison else {}
        spent = {"steps": stop.steps, "seconds": stop.seconds, "cpu_seconds": cpu_seconds}
        return Ended.model_validate({"fitness": fitness, "promised": promised, **spent})


def _row(task: str, unit: str, name: str, searches: Sequence[Ended], human: tuple[Trainings, ...], budget: int) -> Row:
    won = [e for e in searches if e.fitness]
    row = Row(task=task, name=name, unit=unit, searches=len(won), barren=len(searches) - len(won), budget=budget)
    if not won:
        return row
    fitness = tuple(e.fitness["candidate"] for e in won)
    pooled, beside = _clustered(fitness), _distinct(human)
    cpu = [e.cpu_seconds for e in won if e.cpu_seconds is not None]
    measured = {
        "iqm": _iqm(pooled),
        "over_human": _better(pooled, beside),
        "units": min(len(pooled), len(beside)),
        "optimism": _optimism(won),
        "steps": fmean(e.steps for e in won),
        "seconds": fmean(e.seconds for e in won),
        "cpu_seconds": fmean(cpu) if cpu else None,
        "fitness": fitness,
    }
    return row.model_copy(update=measured)


def _clustered(searches: Sequence[Trainings]) -> Strata:
    """Scores by what varies independently: whole searches, or the trainings of a single one.

    Searches differ more than the trainings of one winner. One in which trainings failed has fewer scores.
    """
    import numpy as np

    rows = searches[0] if len(searches) == 1 else [np.ravel(trainings) for trainings in searches]
    return [np.array(row, dtype=np.float64) for row in rows]


def _distinct(searches: Sequence[Trainings]) -> Strata:
    """Every training for itself: nothing but its own seed joins those of the human reward."""
    import numpy as np

    return [np.array(episodes, dtype=np.float64) for trainings in searches for episodes in trainings]


def _iqm(scores: Strata) -> Estimate:
    from eureka_evaluation.statistics import interquartile_mean

    return _estimate(interquartile_mean(scores, seed=SEED))


def _better(x: Strata, y: Strata) -> Estimate:
    from eureka_evaluation.statistics import probability_of_improvement

    return _estimate(probability_of_improvement(x, y, seed=SEED))


def _optimism(won: Sequence[Ended]) -> Estimate | None:
    import numpy as np

    from eureka_evaluation.statistics import selection_optimism

    pairs = [(e.promised, np.mean(np.concatenate(e.fitness["candidate"]))) for e in won if e.promised is not None]
    if not pairs:
        return None
    promised, kept = np.array(pairs, dtype=np.float64).T
    return _estimate(selection_optimism(promised, kept, seed=SEED))


def _estimate(found: Interval) -> Estimate:
    return Estimate(value=found.value, low=found.low, high=found.high)


def in_searches(amount: int) -> str:
    """`1 search`, `3 searches`."""
    return plural(amount, "search") if amount == 1 else f"{amount} searches"


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table, under `HEADINGS`.

    A difference from one search or training has no interval, and odds have none from fewer than `FEW_SEEDS`, of which
    the bootstrap's is far too narrow: two trainings above two others would be sure of everything.
    """
    barren = f" + {row.barren} barren" if row.barren else ""
    if row.iqm is None:
        return (row.name, *("–",) * 7, f"0{barren}")
    several = row.searches > 1 or len(row.fitness[0] if row.fitness else ()) > 1 or row.name == "random policy"
    odds, optimism = row.over_human, row.optimism
    return (
        row.name,
        measure(row.iqm.value, row.unit),
        interval(row.iqm.low, row.iqm.high) if several else "–",
        _odds(odds, row.units) if odds else "–",
        measure(optimism.value, row.unit) if optimism else "–",
        f"{count(row.steps)} of {count(row.budget)}" if row.steps is not None and row.budget else "–",
        duration(row.seconds),
        duration(row.cpu_seconds),
        f"{row.searches}{barren}",
    )


def _odds(odds: Estimate, units: int) -> str:
    bounds = f" [{100 * odds.low:.0f}, {100 * odds.high:.0f}]" if units >= FEW_SEEDS else ""
    return percent(odds.value) + bounds


def remarks(bench: Bench, rows: Sequence[Row]) -> list[str]:
    """What the figures mean and can bear, in words."""
    trainings = max((len(t) for row in rows for t in row.fitness), default=0)
    said = [
        f"IQM of each winner's {plural(trainings, 'fresh training')}, pooled over {in_searches(bench.repeats)}; steps "
        "(spent, of the budget) and wall time are of one search without its last comparison.",
        "Optimism: what selection promised of the winner above what its fresh trainings kept.",
    ]
    if any(row.over_human and row.units < FEW_SEEDS for row in rows):
        said.append(
            "Beats human: how often a fresh episode of a winner scores above one of the human reward. An interval "
            f"takes {FEW_SEEDS} searches of each, or fresh trainings of a single one; of fewer it would be too narrow."
        )
    if any(row.steps is not None and row.cpu_seconds is None for row in rows):
        said.append("CPU time is of host and boxes; it is not known where boxes ran under Docker.")
    elif any(row.cpu_seconds is not None for row in rows):
        said.append(
            "CPU time is of host and boxes, last comparison included: the first search of each repeat trains the human "
            "reward for all."
        )
    if bench.repeats == 1:
        said.append("One search each: the intervals say nothing about how much searches differ (--repeats).")
    elif bench.repeats < 5:
        said.append(f"{in_searches(bench.repeats)} each settle only large differences, so the intervals are wide.")
    return said


def markdown(bench: Bench, rows: Sequence[Row]) -> str:
    """The tables of all tasks."""
    lines = []
    for task in bench.tasks:
        lines += [f"## {Path(task).name}", "", "| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in rows if row.task == task]
        lines.append("")
    return "\n".join([*lines, *(f"* {remark}" for remark in remarks(bench, rows)), ""])
