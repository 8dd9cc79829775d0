"""`eureka compare`: several runs on one page and in one table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from eureka_agent.runs.summaries import Summary

PAGE = "compare.html"


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Run folders, tasks' names (the latest run), or folders of runs."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help=f"The page ({PAGE} beside the runs)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare runs across tasks and strategies: one HTML page with a heat map, and a table."""
    from eureka_agent.cli.common import print_json, result_console
    from eureka_agent.errors import UsageError
    from eureka_agent.report.compare import render, warnings
    from eureka_agent.runs.run import Run
    from eureka_agent.runs.storage import storage_errors, write_file
    from eureka_agent.runs.summaries import summary
    from eureka_agent.text import from_here

    found = []
    for folder in _folders(runs):
        with Run.open(folder, read_only=True) as run:
            found.append(summary(run))
    shared = Path(os.path.commonpath([run.folder.parent for run in found]))
    page = output or (shared if shared.name else Path.cwd()) / PAGE  # runs that share the root alone share nothing
    if page.is_dir():
        raise UsageError(f"{page}: is a folder; name a file with --output")
    with storage_errors(page, "choose another file with --output"):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_file(page.absolute(), render(found, page).encode(), durable=False)
    if as_json:
        print_json({"page": str(page), "warnings": warnings(found), "runs": [_data(run) for run in found]})
        return
    console = result_console()
    _print(found)
    for warning in warnings(found):
        console.print(f"{warning}", style="yellow", soft_wrap=True)
    console.print(f"page {from_here(page)}", soft_wrap=True)


def _folders(names: list[str]) -> list[Path]:
    """Each run once, in the order given; a folder that is no run stands for the runs in it."""
    from eureka_agent.cli.common import find_run, run_folders

    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        inside = run_folders(path) if path.is_dir() and not (path / "run.db").is_file() else []
        found |= dict.fromkeys(inside or [find_run(name)])
    return list(found)


def _print(runs: list[Summary]) -> None:
    from rich.table import Table

    from eureka_agent.cli.common import result_console
    from eureka_agent.report.compare import odds, spread
    from eureka_agent.text import dollars, duration, measure, number

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    left = ("run", "task", "strategy, model", "status")
    for heading in (*left, "best", "95 % interval", "human", "score", "best is better", "time", "cost"):
        table.add_column(heading, justify="left" if heading in left else "right", no_wrap=True)
    for run in runs:
        table.add_row(
            run.folder.name,
            run.task,
            run.method,
            run.status,
            measure(run.fitness, run.unit),
            spread(run),
            measure(run.human, run.unit),
            number(run.score),
            odds(run),
            duration(run.seconds),
            dollars(run.cost) + "+" * bool(run.unpriced) if run.cost or run.unpriced else "–",
        )
    result_console().print(table)


def _data(run: Summary) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "task": run.task,
        "strategy": run.strategy,
        "model": run.model,
        "status": run.status,
        "candidates": run.candidates,
        "best": run.best,
        "fitness": run.fitness,
        "interval": run.interval,
        "human": run.human,
        "random": run.random,
        "score": run.score,
        "probability_over_human": _odds(run),
        "success_rate": run.success,
        "environment_steps": run.steps,
        "seconds": round(run.seconds, 1),
        "cost": run.cost,
    }


def _odds(run: Summary) -> dict[str, float | None] | None:
    """One training has no interval."""
    if run.over_human is None:
        return None
    alone = {"low": None, "high": None} if run.trainings == 1 else {}
    return {**run.over_human.model_dump(), **alone}
