"""What the self-test lays out on the host for a box to find: a secret in a file and in an environment, open sockets."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eureka_sandbox.protocol import SandboxError

VARIABLE = "EUREKA_CANARY"


@dataclass(frozen=True)
class Baits:
    """Where the baits are."""

    file: str
    secret: str
    """What is in the file, and in the environment of a process: no probe may find it there."""
    token: str
    """What is in the job, and must be found there."""
    port: int
    abstract: str

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the self-test's job. The secret goes in too, since a probe must know what it looks for."""
        return {"baits.json": json.dumps(vars(self)).encode(), "token.txt": self.token.encode()}


@contextmanager
def baits() -> Iterator[Baits]:
    """Lay them out, and take them away again.

    Raises:
        SandboxError: this machine has no room for one of them.
    """
    secret, token, abstract = (secrets.token_hex(16) for _ in range(3))
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eureka-canary-")))
            folder.chmod(0o755)
            file = folder / "secret"
            file.write_text(secret)
            file.chmod(0o644)
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            local = stack.enter_context(socket.socket(socket.AF_UNIX))
            local.bind("\0" + abstract)
            local.listen()
            # An environment is in /proc as the process began with it. This one waits for the end of its input.
            stack.enter_context(subprocess.Popen(["cat"], stdin=subprocess.PIPE, env={**os.environ, VARIABLE: secret}))
        except OSError as error:
            raise SandboxError(f"the self-test's baits cannot be laid out: {error}") from error
        yield Baits(str(file), secret, token, listener.getsockname()[1], abstract)
