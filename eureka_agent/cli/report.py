"""`eureka report`: write the HTML report of a run, at any stage."""

from __future__ import annotations

from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a task's name, or latest.")] = "latest",
) -> None:
    """Write a run's report.html (also of a run that is still going) and print its path."""
    from eureka_agent.cli.common import find_run
    from eureka_agent.report.build import write_report
    from eureka_agent.runs.run import Run

    with Run.open(find_run(run), read_only=True) as opened:
        typer.echo(write_report(opened))
