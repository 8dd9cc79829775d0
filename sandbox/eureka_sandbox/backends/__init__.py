"""How a job is walled in. Each backend implements `eureka_sandbox.protocol.Sandbox` and is loaded only when named."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # a box's supervisor imports this package too, and `typing` takes as long as all the rest
if TYPE_CHECKING:
    from eureka_sandbox.protocol import Sandbox

BACKENDS: dict[str, str] = {
    "docker": "eureka_sandbox.backends.docker:DockerSandbox",
    "embedded": "eureka_sandbox.backends.embedded:EmbeddedSandbox",
    "none": "eureka_sandbox.backends.unwalled:UnwalledSandbox",
}
"""Backend name → `module:class`, whose constructor takes no argument."""


def make_sandbox(name: str) -> Sandbox:
    """The backend of that name; a `module:class` path is a name too.

    Raises:
        ValueError: there is no such backend.
    """
    path = BACKENDS.get(name, name if ":" in name else "")
    if not path:
        raise ValueError(f"no sandbox backend is named {name!r}; there are: {', '.join(sorted(BACKENDS))}")
    module, _, attribute = path.partition(":")
    sandbox: Sandbox = getattr(import_module(module), attribute)()
    return sandbox
