"""One box as a container: create, attach, start, carry its streams, read how it ended, remove.

One thread owns the container's whole life, so that its host can stop waiting at any moment: the Engine may take seconds
to start a container, and may hang. Whatever happens, the last thing that this thread does is to remove the container.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import IO, Any

from eureka_sandbox.backends.docker_engine import Engine, engine_errors
from eureka_sandbox.backends.process_table import oom_kills
from eureka_sandbox.protocol import SandboxError

logger = logging.getLogger(__name__)

CHUNK = 2**16
STREAM_HEADER = 8
"""Of the Engine's multiplexed stream: which stream (1 stdout, 2 stderr), three zeros, length (big endian)."""
STDOUT = 1
LOOK = 0.01
"""First pause between two looks at a container that is about to end; it doubles up to `LONGEST_LOOK`, in seconds."""
LONGEST_LOOK = 0.16
LEARN_SECONDS = 5.0
"""How long an Engine usually takes at most to tell how a container ended, whose streams have ended already."""
STOP_SECONDS = 0.7
"""How long a host that was told to stop waits for a removal; it goes on behind its back."""
END_SECONDS = 30.0
"""How long any other host waits."""


@dataclass(frozen=True)
class Order:
    """What to create: a name and the body of the create request."""

    name: str
    config: Mapping[str, Any]


class ContainerBox:
    """A container and its streams, as `conversation.Box` sees them. A context manager: nothing of it survives."""

    def __init__(self, engine: Engine, order: Callable[[], Order], stop: Event) -> None:
        """Begin at once, in a thread.

        Args:
            engine: where it runs.
            order: makes the order, in that thread, since it may have to ask the Engine.
            stop: set if the host is in a hurry to leave.
        """
        self._engine, self._order, self._stop = engine, order, stop
        self._container = ""
        self._over, self._ended, self._gone = Event(), Event(), Event()
        self._stream: Any = None
        """Kept, since with it the SDK's answer and its connection would go."""
        self._socket: socket.socket | None = None
        self._returncode: int | None = None
        self._oom_killed = False
        self._error: SandboxError | None = None
        read_out, self._write_out = os.pipe()
        read_err, self._write_err = os.pipe()
        self._stdout, self._stderr = os.fdopen(read_out, "rb", 0), os.fdopen(read_err, "rb", 0)
        threading.Thread(target=self._live, name="container", daemon=True).start()

    def __enter__(self) -> ContainerBox:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._stdout.close()
        self._stderr.close()

    @property
    def stdout(self) -> IO[bytes]:
        """The frame stream; ends when the container has ended."""
        return self._stdout

    @property
    def stderr(self) -> IO[bytes]:
        """Everything that the box prints."""
        return self._stderr

    @property
    def returncode(self) -> int | None:
        """The exit code, a signal negated, or None while it runs."""
        return self._returncode

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel ended any process of the box at the memory limit, as known once it has ended."""
        return self._oom_killed

    def oom_kills(self) -> int:
        """Of the whole machine; those at the container's own limit are told by `oom_killed`."""
        return oom_kills()

    def memory_bytes(self, suspicious: int) -> int:
        """0: the kernel holds the limit."""
        return 0

    def wait(self, seconds: float) -> int | None:
        """The return code, once there is one within `seconds`, or within what it takes to learn it from the Engine.

        Raises:
            SandboxError: it could not be started, or was lost with the Engine, or somebody stopped it.
        """
        self._ended.wait(max(seconds, LEARN_SECONDS))
        if self._error:
            raise self._error
        return self._returncode

    def end(self) -> None:
        """Kill and remove it. Does nothing to a container that is gone."""
        self._over.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                self._socket.shutdown(socket.SHUT_RDWR)
        patience = time.monotonic() + END_SECONDS
        hurry = time.monotonic() + STOP_SECONDS
        while not self._gone.wait(0.05):
            now = time.monotonic()
            if now > patience or (self._stop.is_set() and now > hurry):
                logger.warning("container %s is still being removed", self._container[:12] or "(not created yet)")
                return

    # ------------------------------------------------------------------------------------------- the thread

    def _live(self) -> None:
        try:
            try:
                self._start()
                self._carry()
            finally:
                os.close(self._write_out)
                os.close(self._write_err)
            self._learn_how_it_ended()
        except SandboxError as error:
            self._error = error
        except Exception as error:
            logger.exception("a container was lost")
            self._error = SandboxError(f"a container was lost: {type(error).__name__}: {error}")
        finally:
            self._ended.set()
            if self._container:
                self._engine.remove(self._container)
            if self._socket is not None:
                self._socket.close()
            self._gone.set()

    def _start(self) -> None:
        order, client = self._order(), self._engine.client
        if self._over.is_set():
            raise SandboxError("the box was given up before it was created")
        with engine_errors("create a container"):
            created = client.create_container_from_config(order.config, order.name)  # type: ignore[no-untyped-call]
            self._container = created["Id"]
        with engine_errors("attach to a container"):
            self._stream = client.attach_socket(self._container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            self._socket = getattr(self._stream, "_sock", self._stream)  # a plain socket is wrapped as a file
        with engine_errors("start a container"):
            client.start(self._container)

    def _carry(self) -> None:
        """Both streams, until they end: with the container, the host's patience or the Engine."""
        assert self._socket is not None
        received = bytearray()
        try:
            while not self._over.is_set() and (data := self._socket.recv(CHUNK)):
                received += data
                self._deal_out(received)
        except OSError:
            return  # the connection broke: the container's state says what that means

    def _deal_out(self, received: bytearray) -> None:
        while len(received) >= STREAM_HEADER:
            end = STREAM_HEADER + int.from_bytes(received[4:STREAM_HEADER], "big")
            if len(received) < end:
                return
            self._pass_on(self._write_out if received[0] == STDOUT else self._write_err, received[STREAM_HEADER:end])
            del received[:end]

    def _pass_on(self, pipe: int, data: bytearray) -> None:
        """Write it all, unless the host has stopped listening."""
        os.set_blocking(pipe, False)
        ready = select.poll()
        ready.register(pipe, select.POLLOUT)
        while data and not self._over.is_set():
            if ready.poll(100):
                del data[: os.write(pipe, data)]

    def _learn_how_it_ended(self) -> None:
        """Wait for the end, which the host's giving up hastens; code and reason are read before the removal."""
        pause, killed_at = LOOK, 0.0
        while (state := self._engine.state(self._container))["Running"]:
            if killed_at and time.monotonic() - killed_at > END_SECONDS:
                raise SandboxError("the Engine could not kill the container")
            if self._over.is_set() and not killed_at:
                self._engine.kill(self._container)
                killed_at = time.monotonic()
            (time.sleep if killed_at else self._over.wait)(pause)
            pause = min(2 * pause, LONGEST_LOOK)
        self._oom_killed = bool(state["OOMKilled"])
        code = int(state["ExitCode"])
        returncode = 128 - code if code - 128 in set(signal.Signals) else code
        if returncode < 0 and not self._oom_killed and not killed_at:
            self._engine.blame_outsiders(self._container, state)
        self._returncode = returncode
