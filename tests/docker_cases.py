"""Scripts in real containers, and an Engine's socket that can be cut like a cable."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import textwrap
import threading
from pathlib import Path
from threading import Event

from backend_cases import HELLO, TRAIN, policy_blobs, stream, train_result

from eureka_sandbox.backends.docker import DockerSandbox
from eureka_sandbox.backends.docker_engine import OWNER_LABEL, Engine, Owner
from eureka_sandbox.protocol import Failed, Job, Limits, Outcome, Verdict

ANSWER = stream(policy_blobs(), train_result())
PRELUDE = f"""
import os, signal, sys, time
HELLO, ANSWER = {HELLO!r}, {ANSWER!r}
def say(data):
    while data:
        data = data[os.write(1, data):]
"""
REAL = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
LIMITS = Limits(wall_seconds=60, result_mb=1)


def script(text: str) -> tuple[str, ...]:
    """The command of a box that runs this text."""
    return ("python3", "-I", "-S", "-c", PRELUDE + textwrap.dedent(text))


def container(text: str, engine: Engine | None = None) -> DockerSandbox:
    """A sandbox whose boxes run this text."""
    return DockerSandbox(script(text), engine)


def run(text: str, limits: Limits = LIMITS, engine: Engine | None = None) -> Outcome:
    """One box that runs this text, to its end."""
    return container(text, engine).run(Job(TRAIN.spec, TRAIN.files, limits), lambda _: None, Event())


def failure_of(outcome: Outcome) -> tuple[Verdict, str]:
    assert isinstance(outcome, Failed), outcome
    return outcome.failure.verdict, outcome.failure.message


def mine(engine: Engine) -> list[str]:
    """Ids of this process's containers."""
    me = str(Owner.this_process())
    known = engine.client.containers(all=True, filters={"label": OWNER_LABEL})
    return [c["Id"] for c in known if c["Labels"][OWNER_LABEL] == me]


class Cable:
    """A Unix socket that leads to the Engine's until it is cut."""

    def __init__(self, path: Path) -> None:
        cable = self
        self._ends: list[socket.socket] = []

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.socket(socket.AF_UNIX) as engine:
                    engine.connect(REAL)
                    cable._ends += (engine, self.request)
                    back = threading.Thread(target=_copy, args=(engine, self.request), daemon=True)
                    back.start()
                    _copy(self.request, engine)
                    back.join()

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.path = path
        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def cut(self) -> None:
        """Nobody answers any more, and what was under way breaks."""
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
