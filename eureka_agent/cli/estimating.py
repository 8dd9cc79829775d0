"""What a search would take, before it begins: one line, or with `--dry-run` measured and in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from eureka_agent.contract.task import Task
    from eureka_agent.settings import Settings


def say_estimate(task: Task, settings: Settings, done: int, console: Console, edits: int = 0) -> None:
    """The line that comes before anything long."""
    from eureka_agent.lab.racing import rounding_note
    from eureka_agent.search.estimate import cached_price, workload
    from eureka_agent.settings import Recipe

    known = cached_price(task, settings, done, edits)
    unknown = (
        f"{workload(task, settings, done, edits)}; time is known once the first have run (--dry-run measures it now)"
    )
    console.print(f"{task.name}: {known or unknown}", soft_wrap=True)
    if note := rounding_note(settings, Recipe.of(task, settings)):
        console.print(note, soft_wrap=True)


def say_price(task: Task, settings: Settings, done: int, as_json: bool, edits: int = 0) -> None:
    """Measure this machine with a short training and print what the search would take: `--dry-run`."""
    from dataclasses import asdict

    from eureka_agent.cli.common import print_json, progress_console, result_console
    from eureka_agent.cli.sandboxes import chosen_sandbox
    from eureka_agent.lab.boxes import affordable_jobs
    from eureka_agent.lab.racing import rounding_note
    from eureka_agent.search.estimate import cached_speed, measure_speed, price
    from eureka_agent.settings import Recipe
    from eureka_agent.text import count, duration

    jobs = affordable_jobs(settings.jobs)
    if not (speed := cached_speed(task, settings, jobs)):
        progress, doing = progress_console(), "measuring this machine with short trainings, half a minute or so…"
        if not progress.is_terminal:
            progress.print(doing)
        with progress.status(doing):
            speed = measure_speed(task, settings, chosen_sandbox(settings.sandbox), jobs)
    estimate = price(task, settings, speed, done, jobs, edits)
    if as_json:
        print_json({"task": task.name, "jobs": jobs, **asdict(estimate), "speed": asdict(speed)})
        return
    console = result_console()
    console.print(f"{task.name}: {estimate}", soft_wrap=True)
    if note := rounding_note(settings, Recipe.of(task, settings)):
        console.print(note, soft_wrap=True)
    start, score = duration(speed.startup_seconds), duration(speed.score_seconds)
    console.print(
        f"{jobs} side by side at {count(speed.steps_per_second)} steps/s each, {start} to start, {score} to score "
        f"(measured {speed.measured}); nothing was started",
        soft_wrap=True,
    )
