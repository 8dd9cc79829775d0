"""What the commands share: consoles, JSON, durations, settings, and finding the run that a person means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eureka_agent.errors import EurekaError, RunError, UsageError
from eureka_agent.runs.storage import DRAFT, storage_errors

if TYPE_CHECKING:
    from rich.console import Console

    from eureka_agent.settings import Settings

RUNS = Path("runs")
"""Where runs are kept unless told otherwise."""
PIPE_COLUMNS = 200


class ChecksFailed(EurekaError):
    """A check that a person asked for did not pass."""


def progress_console() -> Console:
    """stderr: progress, estimates, advice."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def result_console() -> Console:
    """stdout: the result. A pipe or a file gets wide lines, so that tables stay whole."""
    import os

    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_COLUMNS
    return console


def print_json(data: Any) -> None:
    """The result, for programs."""
    import json
    import sys

    json.dump(data, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def print_python(console: Console, code: str) -> None:
    """Code on stdout: highlighted on a terminal, byte for byte elsewhere (but for characters that hide)."""
    from eureka_agent.text import visible

    if not console.is_terminal:
        console.file.write(visible(code).rstrip("\n") + "\n")
        return
    from rich.syntax import Syntax

    source = visible(code).strip("\n")
    console.print(Syntax(source, "python", theme="ansi_dark", background_color="default", word_wrap=True))


def run_folders(root: Path) -> list[Path]:
    """Run folders in `root`, at most two levels down, oldest change first."""
    paths = [path for depth in ("", "*/", "*/*/") for path in root.glob(f"{depth}run.db")]
    found = {path.parent.resolve() for path in paths if DRAFT not in path.parent.name}
    return sorted(found, key=lambda folder: max(path.stat().st_mtime for path in folder.glob("run.db*")))


def find_run(name: str, root: Path = RUNS) -> Path:
    """A run's folder from a path, `latest`, a task's name (its latest run), or a run's own name or its beginning.

    The latest is the one below `root` that was changed last.

    Raises:
        UsageError: there is no such run.
    """
    if (Path(name) / "run.db").is_file():
        return Path(name).resolve()
    folders = run_folders(root)
    if name == "latest" and folders:
        return folders[-1]
    fitting = [folder for folder in folders if folder.parent.name == name or folder.name == name]
    fitting = fitting or [folder for folder in folders if folder.name.startswith(name)]
    if fitting:
        return fitting[-1]
    known = "`eureka runs` lists them" if folders else "there are none yet in ./runs; `eureka evolve TASK` makes one"
    raise UsageError(f"no run {name!r}: give a run folder, a task's name or 'latest'; {known}")


def named_run(name: str) -> Path:
    """As `find_run`; which run it is goes to stderr, unless `name` is its folder.

    Raises:
        UsageError: there is no such run.
    """
    from eureka_agent.text import from_here

    folder = find_run(name)
    if folder != Path(name).resolve():
        progress_console().print(f"run {from_here(folder)}", soft_wrap=True)
    return folder


def seconds_of(text: str) -> float:
    """`90`, `90s`, `15m`, `2h` or `1h30m` in seconds.

    Raises:
        UsageError: anything else, or nothing.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total > 0:
        raise UsageError(f"not a duration: {text!r}; write seconds or 90s, 15m, 2h, 1h30m")
    return total


def must_be_writable(folder: Path) -> None:
    """Fail before anything is spent or written if a folder could not be made there.

    Raises:
        UsageError: it is, or lies below, a file.
        RunError: the nearest parent is not writable.
    """
    import os

    with storage_errors(folder, "choose another folder with --output"):
        parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not parent.is_dir():
        raise UsageError(f"{folder}: {parent} is a file; choose another folder with --output")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{folder}: {parent} is not writable; choose another folder with --output")


def build_settings(given: dict[str, Any]) -> Settings:
    """Settings from flags.

    Raises:
        UsageError: naming the flag and its value.
    """
    from pydantic import ValidationError

    from eureka_agent.errors import UsageError
    from eureka_agent.settings import Settings
    from eureka_agent.text import flag_of, objection

    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{flag_of(str(first['loc'][0]))} {first['input']}: {objection(first)}") from error
