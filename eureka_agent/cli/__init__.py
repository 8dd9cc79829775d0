"""The `eureka` command. This package imports only typer: what a command needs, its body imports.

stdout is the result, stderr the progress. Exit codes: 0 ok, 1 failed, 2 usage, 3 budget exhausted (best saved),
4 environment missing, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from eureka_agent.cli import (
    bench,
    compare,
    doctor,
    evolve,
    export,
    feedback,
    new,
    report,
    review,
    rollout,
    runs,
    tasks,
    verify,
)
from eureka_agent.cli.interrupts import EXIT_CODE, interruptible
from eureka_agent.errors import EurekaError

DEBUG = "EUREKA_DEBUG"
"""Set to 1 (or say `eureka -v …`) to see the traceback behind an error."""

app = typer.Typer(
    name="eureka",
    help="Evolve reward functions for reinforcement learning, and say honestly how good the best one is.",
    epilog="Start with: eureka evolve hopper_forward --dry-run",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(evolve.evolve)
app.add_typer(tasks.app, name="tasks")
app.command()(new.new)
app.command()(runs.runs)
app.command()(report.report)
app.command()(review.review)
app.command()(compare.compare)
app.command()(feedback.feedback)
app.command()(rollout.rollout)
app.command()(export.export)
app.command()(verify.verify)
app.command()(bench.bench)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from eureka_agent import __version__

        typer.echo(f"eureka-agent {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback behind an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Evolve reward functions for reinforcement learning, and say honestly how good the best one is."""
    if verbose:
        os.environ[DEBUG] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error is one line on stderr."""
    with interruptible() as interrupts:
        try:
            code = _run(arguments)
        except KeyboardInterrupt:
            return _failed(interrupts.words, EXIT_CODE)
        return _failed(interrupts.words, EXIT_CODE) if interrupts.heard and code != EXIT_CODE else code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = app(args=arguments, prog_name="eureka", standalone_mode=False)
        if code == EXIT_CODE:  # so it says that it was interrupted
            raise KeyboardInterrupt
        return int(code or 0)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BrokenPipeError:
        # the reader of our output is gone (`eureka runs | head`): nothing is left to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EurekaError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:
        return _failed(f"{error.filename or 'system'}: {error.strerror or error}; `eureka -v …` shows where", 1)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # typer before 0.24 makes it an Abort
            raise KeyboardInterrupt from error
        if hasattr(error, "format_message"):
            return _misused(error)
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        return _failed(f"unexpected {text}; `eureka -v …` shows where, please report it", 1)


def _misused(error: Any) -> int:
    """What typer has to say about arguments, in one line (a bare `eureka` gets its help)."""
    message: str = error.format_message()
    if "\n" in message.strip():
        error.show()
        return int(error.exit_code)
    refused, parameter = getattr(error.__cause__, "errors", None), getattr(error, "param", None)
    if refused and parameter:  # pydantic, whom newer typers ask
        from eureka_agent.text import objection

        first = refused()[0]
        message = f"{' / '.join(parameter.opts)} {first['input']}: {objection(first)}"
    context = getattr(error, "ctx", None)
    return _failed(
        f"{message.rstrip('.')}; `{context.command_path if context else 'eureka'} -h` helps", error.exit_code
    )


def _failed(message: str, code: int) -> int:
    if os.environ.get(DEBUG) == "1":
        import traceback

        traceback.print_exc()
    with suppress(OSError):  # the terminal may be gone, which is why we end
        print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)  # noqa: T201
    return code
