"""`eureka runs`: what was searched, and how it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def runs(
    folder: Annotated[Path | None, typer.Argument(help="Where to look (runs).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List runs: task, status, generations, best fitness, when, where."""
    from eureka_agent.cli.common import RUNS, print_json, progress_console, result_console, run_folders
    from eureka_agent.errors import UsageError

    root = folder or RUNS
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; `eureka runs` looks into ./{RUNS}")
    found = [_line(path) for path in run_folders(root)]
    if as_json:
        print_json(found)
        return
    if not found:
        progress_console().print(f"no runs in {root}; `eureka evolve TASK` makes one")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("task", "status", "generations", "best", "began", "folder"):
        table.add_column(heading, justify="right" if heading in ("generations", "best") else "left", no_wrap=True)
    for line in found:
        keys = ("task", "status", "generations", "fitness_text", "began", "folder")
        table.add_row(*(str(line[key]) for key in keys))
    result_console().print(table)


def _line(folder: Path) -> dict[str, Any]:
    """One run; a folder that cannot be read says why in place of a status."""
    import time

    from eureka_agent.cli.result import brief_result
    from eureka_agent.errors import EurekaError
    from eureka_agent.run import Run

    here = Path.cwd()
    shown = str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
    empty = {"task": folder.parent.name, "generations": "", "fitness": None, "fitness_text": "", "began": ""}
    try:
        with Run.open(folder, read_only=True) as run:
            population, comparison = run.population(partial=True), run.comparison()
            best = population.best
            return {
                "task": run.task.name,
                "status": "finished" if comparison else "running" if _is_open(folder) else "stopped",
                "generations": f"{run.population().generations}/{run.settings.generations}",
                "fitness": comparison.arm("candidate").iqm.value if comparison else best.fitness if best else None,
                "fitness_text": brief_result(run),
                "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
                "folder": shown,
            }
    except EurekaError as error:
        return {**empty, "status": f"unreadable: {error}", "folder": shown}


def _is_open(folder: Path) -> bool:
    """Whether a process holds the run's writer lock."""
    import fcntl

    try:
        with open(folder / "run.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never opened for writing, or not ours to look into
        return False
    return False
