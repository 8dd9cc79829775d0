"""`eureka new`: a commented task folder to edit, which passes `eureka tasks check` as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eureka_sandbox.bodies import Body


def new(
    name: Annotated[str, typer.Argument(help="The new task's name, which becomes the folder's.")],
    env: Annotated[str, typer.Option("--env", metavar="BODY", help="hopper, half_cheetah, …, or its Gymnasium id.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where to make the folder.")] = Path("."),
) -> None:
    """Write a commented task folder to edit; `eureka evolve ./NAME` runs it as it is."""
    import re

    from eureka_agent.cli.export import write_folder
    from eureka_agent.cli.task_template import task_files
    from eureka_agent.errors import UsageError

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
        raise UsageError(f"not a task name: {name!r}; use letters, digits, _ and -, a letter first")
    target = folder / name
    write_folder(target, {file: text.encode() for file, text in task_files(name, _body(env)).items()})
    shown = str(target) if target.is_absolute() or str(target).startswith(".") else f"./{target}"
    typer.echo(shown)
    typer.echo(f"edit its files, then: eureka tasks check {shown} && eureka evolve {shown}", err=True)


def _body(name: str) -> Body:
    import difflib

    from eureka_agent.errors import UsageError
    from eureka_sandbox.bodies import BODIES

    known = BODIES | {body.gymnasium_id: body for body in BODIES.values()}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"unknown body {name!r}; {hint}there are: {', '.join(sorted(BODIES))}")
