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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO

from eureka_sandbox.backends.forkserver import MOST_BYTES, READY

logger = logging.getLogger(__name__)

BEGIN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from eureka_sandbox.backends.forkserver import begin
begin()
"""
"""Imported, so that Python keeps it compiled."""
SERVE = (sys.executable, "-s", "-P", "-m", "eureka_sandbox.backends.forkserver")
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
        if self._returncode is None and self.ended_within(0):
            told = os.read(self._status, 4)
            lost = len(told) < 4  # the forkserver is gone, and the supervisor with it
            self._returncode = (
                -signal.SIGKILL if lost else os.waitstatus_to_exitcode(int.from_bytes(told, sys.byteorder))
            )
            os.close(self._status)
            os.close(self._pidfd)
        return self._returncode

    def ended_within(self, seconds: float | None) -> bool:
        """Wait for its end at most so long."""
        if self._returncode is not None:
            return True
        poller = select.poll()
        poller.register(self._status, select.POLLIN)
        return bool(poller.poll(None if seconds is None else seconds * 1000))

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


class Forkserver:
    """One forkserver process; safe to use from several threads."""

    def __init__(self, kind: str, environment: Mapping[str, str], sealed: bool) -> None:
        """Start it, and wait until it has imported all.

        Args:
            kind: what it imports, see `worker/preload.py`.
            environment: the whole environment of the process.
            sealed: whether it lives where nothing can be written, as boxes behind a wall need it.

        Raises:
            NoFork: it does not come up.
        """
        self._asking = Lock()
        self._line, remote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = {"command": [*SERVE, kind], "environment": dict(environment), "sealed": sealed}
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", BEGIN],
                env={name: environment[name] for name in ("LD_LIBRARY_PATH",) if name in environment},
                start_new_session=True,
                stdin=remote.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            remote.close()
            self._line.settimeout(START_SECONDS)
            self._line.send(marshal.dumps(plan))
            answer = self._line.recv(MOST_BYTES)
            self._line.settimeout(None)
        except OSError as error:
            self.close()
            raise NoFork(str(error) or type(error).__name__) from error
        if answer != READY:
            self.close()
            raise NoFork(answer.decode("utf-8", "replace") or "it ended while it imported")

    @property
    def pid(self) -> int:
        """The parent of all supervisors that it forks."""
        assert self._process is not None
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether it has ended, and all that it had forked with it."""
        return self._process is None or self._process.poll() is not None

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
            with self._asking:
                socket.send_fds(self._line, [b"fork"], [stdin, its_stdout, its_stderr, its_status])
                answer, given, _, _ = socket.recv_fds(self._line, MOST_BYTES, 1)
            if not given:
                raise NoFork(answer.decode("utf-8", "replace") or "it is gone")
            kept = (stdout, stderr, status)
            return ForkedSupervisor(int(answer), given[0], status, stdout, stderr)
        except OSError as error:
            raise NoFork(str(error)) from error
        finally:
            for descriptor in set(descriptors) - set(kept):
                os.close(descriptor)

    def close(self) -> None:
        """End it, and whatever it has forked."""
        self._line.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()


_servers: dict[tuple[object, ...], Forkserver] = {}
_refused: set[tuple[int, bool]] = set()
"""(Process, sealed) where one did not come up: none is tried again."""
_starting = Lock()


def forkserver(kind: str, environment: Mapping[str, str], sealed: bool) -> Forkserver | None:
    """The forkserver of this process for such boxes, started when first asked for; None if there can be none.

    `environment` is a box's; what belongs to one job alone does not count.
    """
    common = {name: value for name, value in environment.items() if name not in OF_ONE_JOB}
    key = (os.getpid(), kind, sealed, *sorted(common.items()))
    with _starting:
        if (os.getpid(), sealed) in _refused:
            return None
        known = _servers.get(key)
        if known is None or known.gone:
            try:
                known = Forkserver(kind, common | {"HOME": "/nonexistent", "EUREKA_COMPILE_CACHE": ""}, sealed)
            except NoFork as reason:
                logger.info("every box imports for itself: no forkserver: %s", reason)
                _refused.add((os.getpid(), sealed))
                return None
            _servers[key] = known
        return known


@atexit.register
def close_all() -> None:
    """End every forkserver of this process; the next box that could use one starts another."""
    with _starting:
        for key in [key for key in _servers if key[0] == os.getpid()]:
            _servers.pop(key).close()


def box_cpu_seconds() -> float:
    """User and system time of the boxes of this process that have ended, and of what forked them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = [server.pid for server in list(_servers.values()) if not server.gone]
    return usage.ru_utime + usage.ru_stime + sum(map(_cpu_seconds, living))


def _cpu_seconds(pid: int) -> float:
    """Of one process and the children that it has waited for."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return sum(map(int, file.read().rpartition(b")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0
