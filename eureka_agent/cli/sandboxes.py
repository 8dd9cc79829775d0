"""The sandbox that a person chose, or this machine's own, and what to say where it is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eureka_sandbox.protocol import Sandbox

NO_WALL = (
    "warning: no wall (sandbox none): rewards run as you, and could read your files and keys, use the network and "
    "change what you can change; use it for code that you have read"
)


def typed(name: str, what: str) -> str:
    """A backend's name that nobody typed here, but a run's folder says.

    Raises:
        UsageError: it is `none`.
    """
    import os

    from eureka_agent.errors import UsageError
    from eureka_sandbox.backends import VARIABLE

    if name == "none" and os.environ.get(VARIABLE) != "none":
        raise UsageError(
            f"{what} without a wall, and code of a run is run only so where a person says so: add --sandbox embedded "
            "or --sandbox docker, or --sandbox none if you have read its code"
        )
    return name


def chosen_sandbox(name: str = "auto") -> Sandbox:
    """The backend of that name. Warns on stderr where that is no wall.

    Raises:
        UsageError: there is no such backend; it may come from $EUREKA_SANDBOX.
    """
    from eureka_agent.cli.common import progress_console
    from eureka_agent.errors import UsageError
    from eureka_sandbox.backends import VARIABLE, make_sandbox

    try:
        sandbox = make_sandbox(name)
    except ValueError as error:
        raise UsageError(f"{f'${VARIABLE}' if name == 'auto' else '--sandbox'}: {error}") from error
    if sandbox.name == "none":
        progress_console().print(NO_WALL, style="yellow", soft_wrap=True)
    return sandbox
