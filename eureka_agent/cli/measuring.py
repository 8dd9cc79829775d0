"""`eureka tasks measure`: the human reward trained in full on several seeds, and random play; writes anchors.yaml.

The measurement is a run like any other, kept in the cache until its figures are written; an interrupted one continues.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from eureka_agent.cli.common import build_settings, must_be_writable, progress_console, result_console
from eureka_agent.cli.interrupts import last_words
from eureka_agent.cli.sandboxes import chosen_sandbox
from eureka_agent.contract.task import Anchor, Anchors, Task, load_task, task_from_files
from eureka_agent.errors import RunError
from eureka_agent.lab.boxes import affordable_jobs
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.wall import proven_wall
from eureka_agent.population import Brief, Candidate, Population, Score
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import storage_errors, write_file
from eureka_agent.search.estimate import Estimate, cache_path, cached_speed, learn_from
from eureka_agent.settings import Recipe, Settings
from eureka_agent.terminal.display import watching
from eureka_agent.text import command, count, interval, measure, percent

HEADER = "# Measured by `eureka tasks measure {name}`; do not edit, measure again.\n"


def measure_task(name: str, seeds: int, episodes: int, jobs: int | None, learner: str) -> None:
    """Measure and write a task's anchors."""
    console, task = progress_console(), load_task(name)
    must_be_writable(task.folder)
    side_by_side = affordable_jobs(jobs)
    settings = build_settings({"learner": learner, "population": seeds, "generations": 1, "jobs": side_by_side})
    console.print(f"{task.name}: {_estimate(task, settings, seeds)}", soft_wrap=True)
    folder = cache_path().parent / "measurements" / f"{task.name}-{task.digest[:12]}-{learner}-{seeds}-{episodes}"
    again = command(["eureka", "tasks", "measure", name, "--seeds", str(seeds), "--episodes", str(episodes)])
    last_words(f"interrupted; the finished trainings are kept, continue with: {again}")
    with _opened(folder, _with_episodes(task, episodes), settings) as run:
        with watching(run, console) as watcher:
            lab = Lab(chosen_sandbox(), run, side_by_side, watcher)
            lab.wall = proven_wall(run, lab.sandbox)
            human = _human_scores(lab.measure(_candidates(task, settings, seeds), Population()))
            random = [lab.random_score(f"random-{index}") for index in range(seeds)]
        anchors = _anchors(run, human, random, episodes)
        learn_from(run)
    path = _write(task, anchors)
    shutil.rmtree(folder, ignore_errors=True)
    _print(task, anchors, path)


def _candidates(task: Task, settings: Settings, seeds: int) -> list[Candidate]:
    """The human reward as one candidate per training seed."""
    ids = [f"human-{index + 1}" for index in range(seeds)]
    briefs = [
        Brief(id=name, generation=0, slot=slot, operator="human", seed=settings.derived_seed("propose", name))
        for slot, name in enumerate(ids)
    ]
    return [Candidate(brief=brief, code=task.human_reward) for brief in briefs]


def _human_scores(measured: Sequence[Candidate]) -> list[Score]:
    for candidate in measured:
        if candidate.failure or candidate.score is None:
            raise RunError(
                f"reward_human.py: {candidate.id} failed: {candidate.failure}; `eureka tasks check` tells more"
            )
    return [candidate.score for candidate in measured if candidate.score]


def _with_episodes(task: Task, episodes: int) -> Task:
    """The task with another number of scored episodes."""
    if episodes == task.spec.evaluation_episodes:
        return task
    data = {**task.spec.model_dump(mode="json"), "evaluation_episodes": episodes}
    files = {**task.files, "task.yaml": yaml.safe_dump(data).encode()}
    return task_from_files(task.name, task.folder, files, task.anchors)


def _opened(folder: Path, task: Task, settings: Settings) -> Run:
    if not (folder / "run.db").is_file():
        with storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        return Run.create(folder, task, settings)
    run = Run.open(folder)
    run.amend({"jobs": settings.jobs})
    return run


def _estimate(task: Task, settings: Settings, seeds: int) -> str:
    steps = Recipe.of(task, settings).timesteps
    speed, jobs = cached_speed(task, settings), settings.jobs or 1
    if speed is None:
        return f"{seeds} trainings, {count(seeds * steps)} environment steps"
    one = speed.startup_seconds + steps / speed.steps_per_second + speed.score_seconds
    waves = -(-seeds // jobs)
    return str(Estimate(seeds, seeds * steps, waves * one + seeds * speed.score_seconds, dollars=0.0))


def _anchors(run: Run, human: Sequence[Score], random: Sequence[Score], episodes: int) -> Anchors:
    first = next(c.training for c in run.population(partial=True).candidates if c.training)
    return Anchors(
        random=_anchor(random),
        human=_anchor(human),
        seeds=[run.settings.derived_seed("train", f"human-{index + 1}") for index in range(len(human))],
        episodes=episodes,
        timesteps=Recipe.of(run.task, run.settings).timesteps,
        learner=Recipe.of(run.task, run.settings).learner,
        measured=time.strftime("%Y-%m-%d"),
        versions=first.versions,
    )


def _anchor(scores: Sequence[Score]) -> Anchor:
    """Mean over all episodes, with the interval that resamples the seeds' means."""
    import numpy as np

    from eureka_evaluation.statistics import mean_of_trainings

    means = [score.mean for score in scores]
    interval = mean_of_trainings(np.array(means), seed=0)
    success = float(np.mean([score.success_rate for score in scores]))
    return Anchor(mean=interval.value, low=interval.low, high=interval.high, per_seed=means, success_rate=success)


def _write(task: Task, anchors: Anchors) -> Path:
    path = task.folder / "anchors.yaml"
    body = yaml.safe_dump(anchors.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with storage_errors(path):
        write_file(path, (HEADER.format(name=task.name) + body).encode(), durable=False)
    return path


def _print(task: Task, anchors: Anchors, path: Path) -> None:
    console, unit = result_console(), task.spec.metric.unit
    for name, anchor in (("human reward", anchors.human), ("random policy", anchors.random)):
        spread = interval(anchor.low, anchor.high)
        console.print(f"{name}: {measure(anchor.mean, unit)} {spread}, success {percent(anchor.success_rate)}")
    console.print(str(path), soft_wrap=True)
