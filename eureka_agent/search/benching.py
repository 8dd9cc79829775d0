"""Strategies side by side: searches at one budget of environment steps, each an ordinary run that can be resumed.

Every search of a repeat has the same seed, so the human reward's last trainings are the same in all of them: they are
made once and handed on. Random play, the human reward, independent samples and the search without a language model are
the baselines.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from eureka_agent.contract.task import Task
from eureka_agent.errors import BudgetExhausted, EurekaError, OutOfAnswers, Paused, RunError, UsageError
from eureka_agent.lab.racing import most_steps
from eureka_agent.lab.scores import EvaluationSeeds, seeds_key
from eureka_agent.proposers import calls_cost, usual_settings
from eureka_agent.runs.journal import DATABASE
from eureka_agent.runs.run import AMENDABLE, Run
from eureka_agent.runs.storage import storage_errors, write_file
from eureka_agent.search.bench_caps import NO_CAPS, Caps, Purse
from eureka_agent.search.searching import search
from eureka_agent.settings import Recipe, Settings
from eureka_agent.strategies import as_published
from eureka_agent.terminal.watcher import Watcher
from eureka_agent.text import flag_of, plural
from eureka_sandbox.backends.forked import box_cpu_seconds
from eureka_sandbox.protocol import Failure, Sandbox

PLAN, CPU = "plan.json", "cpu.json"
Watching = Callable[[Run, str], AbstractContextManager[Watcher]]
"""Shows a search under its title while it runs."""
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
ROOM = 20
"""How many times the generations a search may have that spends less on each than the budget reckons with."""


class Contestant(BaseModel):
    """One way to search."""

    model_config = ConfigDict(frozen=True)

    strategy: str
    model: str
    name: str
    """In tables and as a folder: the strategy, with `-offline` beside another model's, and with its option."""
    options: dict[str, Any] = {}
    """Settings that the others do not have."""


class Bench(BaseModel):
    """What is to be compared; kept in the bench's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...]
    contestants: tuple[Contestant, ...]
    repeats: int
    population: int
    generations: int
    """With the population: how many whole trainings the budget is worth, unless `steps` says otherwise."""
    steps: int | None
    """Environment steps that each search may take, its last comparison not included."""
    settings: dict[str, Any]
    """Of every search: whatever else was asked for."""

    def searches(self) -> Iterable[tuple[str, Contestant, int]]:
        """Every task, contestant and repeat; whole repeats first, so that an early end still compares."""
        for repeat in range(self.repeats):
            for task in self.tasks:
                for contestant in self.contestants:
                    yield task, contestant, repeat

    def settings_of(self, task: Task, contestant: Contestant, repeat: int) -> Settings:
        """Those of one search."""
        given = {**as_published(contestant.strategy), **usual_settings(contestant.model), **self.settings}
        given |= {"strategy": contestant.strategy, "model": contestant.model, "seed": repeat, **contestant.options}
        generations = min(ROOM * self.generations, 10_000)
        sized = {"population": self.population, "generations": generations, "steps": self.budget(task)}
        return Settings.model_validate({"exhibits": False, **given, **sized})

    def budget(self, task: Task) -> int:
        """Environment steps that each search of a task may take, its last comparison not included."""
        settings = Settings.model_validate(self.settings)
        whole = most_steps(settings, Recipe.of(task, settings), 1)
        return self.steps or self.population * self.generations * whole


def contestants(
    strategies: Sequence[str], model: str, options: Mapping[str, Any] = NO_OPTIONS
) -> tuple[Contestant, ...]:
    """Those asked for, the first of them again with each option, and the baselines that are missing: independent
    samples, and the offline search."""
    asked = [Contestant(strategy=strategy, model=model, name=strategy) for strategy in strategies]
    asked += [
        one.model_copy(update={"name": f"{one.name}-{name.replace('_', '-')}", "options": {name: value}})
        for one in asked[:1]
        for name, value in options.items()
    ]
    asked.append(Contestant(strategy="zero_shot", model=model, name="zero_shot"))
    beside = "incumbent" if model == "offline" else "incumbent-offline"
    asked.append(Contestant(strategy="incumbent", model="offline", name=beside))
    return tuple({one.name: one for one in asked}.values())


def search_folder(root: Path, task: str, contestant: Contestant, repeat: int) -> Path:
    """Where one search is kept."""
    return root / Path(task).name / contestant.name / str(repeat)


def keep_plan(root: Path, bench: Bench) -> None:
    """Note in the bench's folder what it compares.

    Raises:
        UsageError: the folder holds another bench.
    """
    path = root / PLAN
    with storage_errors(path, "choose another folder with --output"):
        if path.is_file():
            try:
                same = Bench.model_validate_json(path.read_bytes()) == bench
            except ValidationError as error:
                raise UsageError(f"{path}: no plan that this version can read; choose another --output") from error
            if not same:
                raise UsageError(f"{root}: holds a bench with other tasks or settings; choose another --output")
            return
        root.mkdir(parents=True, exist_ok=True)
        write_file(path, bench.model_dump_json(indent=1).encode())


def run_bench(
    root: Path,
    bench: Bench,
    tasks: Mapping[str, Task],
    sandbox_of: Callable[[Settings], Sandbox],
    watching: Watching,
    machine: Mapping[str, Any] | None = None,
    caps: Caps = NO_CAPS,
) -> None:
    """Run every search that has not ended; whatever was finished is not run again.

    Args:
        root: the bench's folder.
        bench: what is compared.
        tasks: by the names that the bench has.
        sandbox_of: makes the wall of a search.
        watching: shows a search under its title.
        machine: settings of this sitting that change no result: how many boxes side by side, which wall, the cap per
            hour of each search.
        caps: what all searches of all sittings together may spend on language models.

    Raises:
        BudgetExhausted: a cap leaves no room for the next call; says which searches are missing.
        EurekaError: the task or the machine does not allow a search. One in which nothing trained is no reason to stop,
            and neither is a script that has no answer for the next generation: its search ends there.
    """
    searches = list(bench.searches())
    names = [f"{task}, {contestant.name}, repeat {repeat + 1}" for task, contestant, repeat in searches]
    purse = Purse(caps, [search_folder(root, *which) for which in searches])
    spent: BudgetExhausted | None = None
    missing = []
    for number, (name, contestant, repeat) in enumerate(searches):
        folder = search_folder(root, name, contestant, repeat)
        settings = bench.settings_of(tasks[name], contestant, repeat).model_copy(update=dict(machine or {}))
        if _has_ended(folder, tasks[name], settings):
            continue
        if spent and calls_cost(settings):
            missing.append(names[number])
            continue
        began = _cpu_seconds()
        try:
            with _opened(folder, tasks[name], purse.bounded(settings, folder)) as run:
                for other in bench.contestants:
                    _hand_on(search_folder(root, name, other, repeat), run)
                title = f"search {number + 1} of {len(searches)}: {names[number]}"
                _search(run, sandbox_of(settings), watching, title, partial(purse.book, folder))
        except BudgetExhausted as full:
            if isinstance(full, Paused) or not caps.given:
                raise
            spent = full
            missing.append(names[number])
        finally:
            _book(root / CPU, f"{name}/{contestant.name}/{repeat}", _cpu_seconds() - began)
    if spent:
        raise purse.exhausted(root, missing, len(names)) from spent


def _search(run: Run, sandbox: Sandbox, watching: Watching, title: str, book: Callable[[Run], None]) -> None:
    """One search to its end, to its model's last answer, or to where nothing in it has trained."""
    try:
        with watching(run, title) as watcher:
            try:
                search(run, sandbox, watcher)
            except OutOfAnswers as error:
                watcher.stage(f"{error}; this search ends with {plural(run.generations, 'generation')}")
                if run.generations:
                    run.amend({"generations": run.generations})
                    search(run, sandbox, watcher)
    except EurekaError as error:
        if type(error) is not EurekaError:  # the kinds that stop everything
            raise
    finally:
        book(run)


def _has_ended(folder: Path, task: Task, settings: Settings) -> bool:
    """Whether the search is there to its last comparison, under the bounds that it had then.

    Raises:
        RunError: it was begun with other settings, as by an earlier version, or with another version of the task.
    """
    if not (folder / DATABASE).is_file():
        return False
    with Run.open(folder, read_only=True) as run:
        other = _differences(run.settings, settings)
        if run.task.digest != task.digest:
            other.append("another version of the task")
        if other:
            raise RunError(
                f"{folder}: begun with {'; '.join(other)}; its result would not compare. Move this folder away, and "
                "the search is made again when the bench goes on, or choose another --output"
            )
        return is_over(run)


def is_over(run: Run) -> bool:
    """Whether a search came to its last comparison, or to where nothing can be compared.

    That is where nothing in it trained, or every fresh training with the winner failed: results like any other.
    """
    if run.comparison() is not None:
        return True
    if run.end() is None:
        return False
    best = run.population(curves=False).best
    keys = [f"final/{best.id}/{index}" for index in range(run.settings.final_seeds)] if best else []
    return all(isinstance(run.training(key), Failure) or isinstance(run.score(key), Failure) for key in keys)


def _differences(begun: Settings, wanted: Settings) -> list[str]:
    """`--racing halving, where it is none now`: of the settings that a result depends on."""
    before, now = begun.model_dump(), wanted.model_dump()
    return [
        f"{flag_of(name)} {before[name]}, where it is {now[name]} now"
        for name in before
        if name not in AMENDABLE and before[name] != now[name]
    ]


def _opened(folder: Path, task: Task, settings: Settings) -> Run:
    """The search's run, new or as it was left, with the bounds of this sitting."""
    if not (folder / DATABASE).is_file():
        return Run.create(folder, task, settings)
    run = Run.open(folder)
    changes = {name: getattr(settings, name) for name in AMENDABLE}
    changes = {name: value for name, value in changes.items() if value != getattr(run.settings, name)}
    if changes:
        run.amend(changes)
    return run


def _hand_on(folder: Path, run: Run) -> None:
    """Take over the human reward's last trainings and random play from a search of the same seed that has ended."""
    if folder == run.folder or not (folder / DATABASE).is_file():
        return
    with Run.open(folder, read_only=True) as other:
        same = Recipe.of(other.task, other.settings) == Recipe.of(run.task, run.settings)
        if other.comparison() is None or not same or other.settings.seed != run.settings.seed:
            return
        for key in ["final/random", *(f"final/human/{index}" for index in range(run.settings.final_seeds))]:
            _copy_trial(key, other, run)


def _copy_trial(key: str, other: Run, run: Run) -> None:
    """One training and its score with all that they name, in the order in which they arose."""
    training, score = other.training(key), other.score(key)
    seeds = other.decided(seeds_key(key), EvaluationSeeds)
    if score is None or isinstance(score, Failure) or isinstance(training, Failure) or seeds is None or run.score(key):
        return
    for digest in (training and training.policy, training and training.policy_meta, score.episodes):
        if digest:
            run.put_blob(other.blob(digest))
    if training:
        run.save_training(key, training)
    run.decide(seeds_key(key), EvaluationSeeds, lambda: seeds)
    run.save_score(key, score)


def _cpu_seconds() -> float:
    """User and system time of this process and of the boxes that have ended (those of Docker are not its children)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime + box_cpu_seconds()


def cpu_by_search(root: Path) -> dict[str, float]:
    """CPU seconds of each search so far, all its sittings together."""
    try:
        known: dict[str, float] = json.loads((root / CPU).read_bytes())
    except FileNotFoundError:
        return {}
    return known


def _book(path: Path, search_name: str, seconds: float) -> None:
    known = cpu_by_search(path.parent)
    known[search_name] = round(known.get(search_name, 0.0) + seconds, 2)
    with storage_errors(path):
        write_file(path, json.dumps(known, indent=1).encode())
