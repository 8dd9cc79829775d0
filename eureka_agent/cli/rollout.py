"""`eureka rollout`: watch a stored policy act, scored by the task's own metric in box B."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eureka_agent.contract.task import Task
    from eureka_sandbox.protocol import Finished, Job


def rollout(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a task's name, or latest.")] = "latest",
    candidate: Annotated[str | None, typer.Argument(help="A candidate's id, human or random (the best).")] = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, max=1024, help="How many episodes.")] = 10,
    video: Annotated[Path | None, typer.Option(help="Film the episode of median fitness into this mp4.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Draws the episodes' seeds (fresh every time).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Roll out a stored policy: the task's metric and success of every episode, and a video if asked for."""
    from eureka_agent.cli.common import must_be_writable, named_run, print_json
    from eureka_agent.cli.policies import find_policy
    from eureka_agent.errors import EnvironmentMissing
    from eureka_agent.runs.run import Run
    from eureka_agent.runs.storage import storage_errors, write_file
    from eureka_sandbox.protocol import Job, ScoreResult, ScoreSpec, VideoSpec

    if video is not None:
        must_be_writable(video.parent)
    with Run.open(named_run(run), read_only=True) as opened:
        policy, task = find_policy(opened, candidate), opened.task
    seeds = _seeds(seed, episodes)
    film = VideoSpec() if video else None
    spec = ScoreSpec(environment=task.environment, seeds=seeds, record_episodes=0, video=film)
    finished = _run(Job(spec, {"task.py": task.files["task.py"], **policy.files}), policy.name)
    result = finished.result
    assert isinstance(result, ScoreResult)
    if video and "video.mp4" in finished.blobs:
        with storage_errors(video):
            video.parent.mkdir(parents=True, exist_ok=True)
            write_file(video.absolute(), finished.blobs["video.mp4"], durable=False)
    if as_json:
        measured = result.model_dump(include={"fitness", "success", "lengths"})
        print_json({"policy": policy.name, "seeds": seeds, **measured, "video": str(video) if video else None})
    else:
        _print(task, policy.name, seeds, result.fitness, result.success, result.lengths)
    if video and "video.mp4" not in finished.blobs:
        raise EnvironmentMissing(result.video_note or "no video was made")


def _seeds(root: int | None, count: int) -> tuple[int, ...]:
    import random
    import secrets

    draw = random.Random(root) if root is not None else secrets.SystemRandom()
    return tuple(draw.getrandbits(32) for _ in range(count))


def _run(job: Job, name: str) -> Finished:
    from eureka_agent.cli.sandboxes import chosen_sandbox
    from eureka_agent.errors import EurekaError
    from eureka_agent.lab.jobs import run_alone
    from eureka_sandbox.protocol import Failed

    outcome = run_alone(chosen_sandbox(), job)
    if isinstance(outcome, Failed):
        raise EurekaError(f"rolling out {name} failed: {outcome.failure}")
    return outcome


def _print(
    task: Task, name: str, seeds: tuple[int, ...], fitness: list[float], success: list[bool], lengths: list[int]
) -> None:
    from statistics import fmean

    from rich.table import Table

    from eureka_agent.cli.common import result_console
    from eureka_agent.text import measure, percent, plural

    metric = task.spec.metric
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("episode", "seed", metric.name, "success", "steps"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = zip(seeds, fitness, success, lengths, strict=True)
    for index, (seed, value, won, length) in enumerate(rows, start=1):
        table.add_row(str(index), str(seed), measure(value, metric.unit), "yes" if won else "no", str(length))
    console = result_console()
    console.print(table)
    mean, share = measure(fmean(fitness), metric.unit), percent(fmean(success))
    console.print(f"\n{name}: mean {mean}, success {share} over {plural(len(fitness), 'episode')}", style="bold")
