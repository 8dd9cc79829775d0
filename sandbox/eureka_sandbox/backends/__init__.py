"""How a job is walled in. Each backend implements `eureka_sandbox.protocol.Sandbox` and is loaded only when named."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # a box's supervisor imports this package too, and `typing` takes as long as all the rest
if TYPE_CHECKING:
    from eureka_sandbox.protocol import Sandbox

BACKENDS: dict[str, str] = {
    "docker": "eureka_sandbox.backends.docker:DockerSandbox",
    "embedded": "eureka_sandbox.backends.embedded:EmbeddedSandbox",
    "none": "eureka_sandbox.backends.unwalled:UnwalledSandbox",
}
"""Backend name → `module:class`, whose constructor takes no argument."""
VARIABLE = "EUREKA_SANDBOX"
"""Environment variable that names the backend which `auto` means."""
ENGINE_SOCKET = "/var/run/docker.sock"
ENGINE_SECONDS = 1.0
"""How long an Engine may take to answer before `auto` goes on without it."""


def make_sandbox(name: str = "auto") -> Sandbox:
    """The backend of that name; a `module:class` path is a name too, and `auto` the machine's own choice.

    Raises:
        ValueError: there is no such backend.
    """
    if name == "auto":
        name = automatic()
    path = BACKENDS.get(name, name if ":" in name else "")
    if not path:
        raise ValueError(f"no sandbox backend is named {name!r}; there are: {', '.join(sorted(BACKENDS))}")
    from importlib import import_module

    module, _, attribute = path.partition(":")
    sandbox: Sandbox = getattr(import_module(module), attribute)()
    return sandbox


def automatic() -> str:
    """What `auto` means here: `$EUREKA_SANDBOX`, else Docker if an Engine has the current image, else the embedded one.

    Never `none` by itself: where there is no wall, the embedded backend's self-test refuses and says what is missing.
    """
    if chosen := os.environ.get(VARIABLE):
        return chosen
    return "docker" if _docker_is_ready() else "embedded"


def _docker_is_ready() -> bool:
    if "DOCKER_HOST" not in os.environ and not _engine_answers(ENGINE_SOCKET):
        return False  # at once, without the SDK
    from eureka_sandbox.backends.docker_engine import Engine
    from eureka_sandbox.protocol import SandboxError

    try:
        return bool(Engine().image())
    except SandboxError:
        return False


def _engine_answers(path: str) -> bool:
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ENGINE_SECONDS)
            connection.connect(path)
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return bool(connection.recv(1))
    except OSError:
        return False
