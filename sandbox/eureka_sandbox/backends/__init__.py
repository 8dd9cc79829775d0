"""How a job is walled in. Each backend implements `eureka_sandbox.protocol.Sandbox` and is loaded only when named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eureka_sandbox.protocol import Sandbox

BACKENDS: dict[str, str] = {
    "embedded": "eureka_sandbox.backends.embedded:EmbeddedSandbox",
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
