"""`eureka runs`: what was searched, how it stands, and what it cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

HEADINGS = ("task", "status", "generations", "best", "cost", "time", "began", "folder")
RIGHT = ("generations", "best", "cost", "time")


def runs(
    folder: Annotated[Path | None, typer.Argument(help="Where to look (runs).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List runs, the newest first: task, status, generations, best fitness, cost, time, folder."""
    from eureka_agent.cli.common import RUNS, print_json, progress_console, result_console, run_folders
    from eureka_agent.errors import UsageError

    root = folder or RUNS
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; `eureka runs` looks into ./{RUNS}")
    found = sorted(map(_line, run_folders(root)), key=lambda line: -(line["started"] or 0.0))
    if as_json:
        print_json([{key: value for key, value in line.items() if not key.endswith("_text")} for line in found])
        return
    if not found:
        progress_console().print(f"no runs in {folder or f'./{RUNS}'}; `eureka evolve TASK` makes one")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in RIGHT else "left", no_wrap=True)
    for line in found:
        table.add_row(*(str(line.get(f"{key}_text", line[key])) for key in HEADINGS))
    result_console().print(table)


def _line(folder: Path) -> dict[str, Any]:
    """One run; a folder that cannot be read says why in place of a status."""
    from eureka_agent.errors import EurekaError
    from eureka_agent.runs.run import Run
    from eureka_agent.runs.summaries import summary
    from eureka_agent.text import dollars, duration, measure

    here = Path.cwd()
    shown = str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
    try:
        with Run.open(folder, read_only=True) as run:
            found = summary(run)
    except EurekaError as error:
        line = dict.fromkeys(("strategy", "model", "best", "fitness", "human", "cost", "time", "started"))
        texts = {f"{key}_text": "" for key in ("best", "cost", "time")}
        plain = {"task": folder.parent.name, "generations": "", "began": "", "folder": shown}
        return {**line, **texts, **plain, "status": f"unreadable: {error}"}
    return {
        "task": found.task,
        "status": found.status,
        "strategy": found.strategy,
        "model": found.model,
        "generations": f"{found.generations}/{found.wanted}",
        "best": found.best,
        "best_text": measure(found.fitness, found.unit),
        "fitness": found.fitness,
        "human": found.human,
        "cost": found.cost,
        "cost_text": dollars(found.cost) + "+" * bool(found.unpriced) if found.cost or found.unpriced else "–",
        "time": round(found.seconds, 1),
        "time_text": duration(found.seconds),
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(found.began)),
        "started": found.began,
        "folder": shown,
    }
