"""The host's side of `forkserver.py`: start one per kind of job, ask it for supervisors, and hold one of these."""

from __future__ import annotations

import atexit
import logging
import marshal
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock
from typing import IO

from eureka_sandbox.backends.forkserver import MOST_BYTES, READY
from eureka_sandbox.backends.interpreter import INTERPRETER
from eureka_sandbox.protocol import JobStopped

logger = logging.getLogger(__name__)

BEGIN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from eureka_sandbox.backends.forkserver import begin
begin()
"""
"""Imported, so that Python keeps it compiled."""
SERVE = (INTERPRETER, "-s", "-P", "-m", "eureka_sandbox.backends.forkserver")
NOTHING = "nothing"
"""Kind of a forkserver that has imported nothing: what the wall's self-test is forked from."""
TICK = 0.05
TELL_SECONDS = 1.0
"""How long a forkserver may take to tell how a supervisor ended."""
ANSWER_SECONDS = 30.0
"""How long a fork may take; a forkserver that takes longer is ended with all its boxes. On a machine without
memory left everything waits."""
START_SECONDS = 60.0
"""How long its imports may take; on a busy machine they need five."""
OF_ONE_JOB = ("HOME", "TMPDIR", "MPLCONFIGDIR", "EUREKA_COMPILE_CACHE")
"""Variables that differ from box to box, which only boxes have, therefore."""


class NoFork(Exception):
    """There is no forkserver, or it is gone; says why."""


class ForkedSupervisor:
    """A supervisor that a forkserver has started, with what a `subprocess.Popen` offers of it."""

    def __init__(self, pid: int, pidfd: int, status: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdout: IO[bytes] = os.fdopen(stdout, "rb", buffering=0)
        self.stderr: IO[bytes] = os.fdopen(stderr, "rb", buffering=0)
        self._returncode: int | None = None
        self._pidfd, self._status = pidfd, status

    def poll(self) -> int | None:
        """The exit code, a signal negated, or None while it runs; of one that nobody can tell about, SIGKILL's."""
        if self._returncode is None and self._over_within(0):
            told = os.read(self._status, 4) if _readable(self._status, TELL_SECONDS) else b""
            lost = len(told) < 4  # the forkserver is gone, and has sent the supervisor away
            self._returncode = (
                -signal.SIGKILL if lost else os.waitstatus_to_exitcode(int.from_bytes(told, sys.byteorder))
            )
            os.close(self._status)
            os.close(self._pidfd)
        return self._returncode

    def ended_within(self, seconds: float | None) -> bool:
        """Wait for its end at most so long."""
        if self._returncode is None:
            self._over_within(seconds)
        return self.poll() is not None

    def _over_within(self, seconds: float | None) -> bool:
        """By the process itself: a forkserver that is gone or stopped tells nothing."""
        return _readable(self._pidfd, seconds)

    def terminate(self) -> None:
        """SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


def _readable(descriptor: int, seconds: float | None) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(None if seconds is None else seconds * 1000))


class Forkserver:
    """One forkserver process; safe to use from several threads."""

    def __init__(self, kind: str, environment: Mapping[str, str], sealed: bool) -> None:
        """Start it; see `wait` for when it can be used.

        Args:
            kind: what it imports, see `worker/preload.py`.
            environment: the whole environment of the process.
            sealed: whether it lives where nothing can be written, as boxes behind a wall need it.

        Raises:
            NoFork: no process can be had.
        """
        self._asking = Lock()
        self._up = False
        self._deadline = time.monotonic() + START_SECONDS
        plan = {"command": [*SERVE, kind], "environment": dict(environment), "sealed": sealed}
        self._line, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                [INTERPRETER, "-I", "-S", "-c", BEGIN],
                env={name: environment[name] for name in ("LD_LIBRARY_PATH",) if name in environment},
                start_new_session=True,
                stdin=remote.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            self._line.close()
            raise NoFork(str(error)) from error
        finally:
            remote.close()
        self.pid = self._process.pid
        """The parent of all supervisors that it forks."""
        self._line.settimeout(ANSWER_SECONDS)
        with suppress(OSError):  # it has ended already: `wait` says so
            self._line.send(marshal.dumps(plan))

    @property
    def gone(self) -> bool:
        """Whether it has ended, and all that it had forked with it."""
        return self._process.poll() is not None

    def wait(self, stop: Event) -> None:
        """Until it has imported all.

        Raises:
            NoFork: it does not come up.
            JobStopped: `stop` was set.
        """
        while not self._up:
            if stop.is_set():
                raise JobStopped("stopped before it started")
            if self._asking.acquire(timeout=TICK):
                try:
                    self._listen()
                finally:
                    self._asking.release()
            if not self._up and time.monotonic() > self._deadline:
                raise NoFork(f"its imports took over {START_SECONDS:g} s")

    def _listen(self) -> None:
        try:
            if self._up or not select.select([self._line], [], [], TICK)[0]:
                return
            answer = self._line.recv(MOST_BYTES)
        except (OSError, ValueError) as error:  # among them: another thread has closed it
            raise NoFork(str(error)) from error
        if answer != READY:
            raise NoFork(answer.decode("utf-8", "replace") or "it ended while it imported")
        self._up = True

    def fork(self, stdin: int) -> ForkedSupervisor:
        """A new supervisor with that descriptor as its standard input.

        Raises:
            NoFork: the forkserver is gone, or no process can be had.
        """
        descriptors: list[int] = []
        kept: tuple[int, ...] = ()
        try:
            for _ in range(3):
                descriptors += os.pipe()
            stdout, its_stdout, stderr, its_stderr, status, its_status = descriptors
            answer, pidfd = self._asked([stdin, its_stdout, its_stderr, its_status])
            if pidfd is None:
                raise NoFork(answer or "it is gone")
            kept = (stdout, stderr, status)
            return ForkedSupervisor(int(answer), pidfd, status, stdout, stderr)
        except OSError as error:
            raise NoFork(str(error) or type(error).__name__) from error
        finally:
            for descriptor in set(descriptors) - set(kept):
                os.close(descriptor)

    def _asked(self, descriptors: list[int]) -> tuple[str, int | None]:
        """Its answer, and the pidfd that came with it. Whatever comes between question and answer ends it."""
        with self._asking:
            try:
                socket.send_fds(self._line, [b"fork"], descriptors)
                answer, given, _, _ = socket.recv_fds(self._line, MOST_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BaseException:
                self.close()  # or the next question would get this answer
                raise
        return answer.decode("utf-8", "replace"), next(iter(given), None)

    def close(self) -> None:
        """End it, and whatever it has forked."""
        self.let_go()
        self._process.kill()
        self._process.wait()

    def let_go(self) -> None:
        """Close this process's end of the line."""
        self._line.close()


_servers: dict[tuple[object, ...], Forkserver] = {}
_refused: set[tuple[str, bool]] = set()
"""(Kind, sealed) of those that did not come up: they are not tried again."""
_looking = Lock()


def forkserver(kind: str, environment: Mapping[str, str], sealed: bool, stop: Event) -> Forkserver | None:
    """The forkserver of this process for such boxes, started when first asked for; None if there can be none.

    Args:
        kind: see `worker/preload.py`.
        environment: a box's; what belongs to one job alone does not count.
        sealed: whether its boxes have a wall.
        stop: ends the wait for one that imports.

    Raises:
        JobStopped: `stop` was set.
    """
    server: Forkserver | None = None
    common = {name: value for name, value in environment.items() if name not in OF_ONE_JOB}
    key = (kind, sealed, *sorted(common.items()))
    try:
        with _looking:
            if _refused & {(kind, sealed), (NOTHING, sealed)}:
                return None
            server = _servers.get(key)
            if server is None or server.gone:
                if server is not None:
                    server.let_go()
                common |= {"HOME": "/nonexistent", "EUREKA_COMPILE_CACHE": ""}
                server = _servers[key] = Forkserver(kind, common, sealed)
        server.wait(stop)
    except NoFork as reason:
        with _looking:
            closed = _servers.get(key) is not server
        if not closed:  # by `close_all`, that is
            refuse(kind, sealed, str(reason))
        return None
    return server


def refuse(kind: str, sealed: bool, reason: str) -> None:
    """Let such boxes import for themselves from now on; if not even `NOTHING` can be forked, all."""
    logger.info("boxes import for themselves (%s): no forkserver: %s", kind, reason)
    with _looking:
        _refused.add((kind, sealed))
        ended = [_servers.pop(key) for key in list(_servers) if key[:2] == (kind, sealed)]
    for server in ended:
        server.close()


@atexit.register
def close_all() -> None:
    """End every forkserver of this process; the next box that could use one starts another."""
    with _looking:
        ended = [_servers.pop(key) for key in list(_servers)]
    for server in ended:
        server.close()


def _leave_to_the_parent() -> None:
    """A process that is forked from this one has no forkserver, and keeps none of its parent's alive."""
    global _looking
    _looking = Lock()
    for server in _servers.values():
        server.let_go()
    _servers.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)


def box_cpu_seconds() -> float:
    """User and system time of the boxes of this process that have ended, and of what forked them."""
    with _looking:
        living = [server.pid for server in _servers.values() if not server.gone]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that are gone, too: looking has reaped them
    return usage.ru_utime + usage.ru_stime + sum(map(_cpu_seconds, living))


def _cpu_seconds(pid: int) -> float:
    """Of one process and the children that it has waited for."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return sum(map(int, file.read().rpartition(b")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0
