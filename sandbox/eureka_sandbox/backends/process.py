"""One box as a process tree: spawn it under the supervisor, weigh its memory, end it."""

from __future__ import annotations

import logging
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Protocol

from eureka_sandbox.backends.forked import Forkserver, NoFork
from eureka_sandbox.backends.interpreter import INTERPRETER
from eureka_sandbox.backends.process_table import (
    Process,
    ProcessTable,
    hidden_bytes,
    mapping_bytes,
    oom_kills_here,
    socket_bytes,
)
from eureka_sandbox.protocol import Limits, SandboxError

logger = logging.getLogger(__name__)

PACKAGES = Path(__file__).parents[2]
SUPERVISOR = f"""
import sys
sys.path.insert(0, {str(PACKAGES)!r})
from eureka_sandbox.backends.supervisor import main
main()
"""
"""Imported, so that Python keeps it compiled."""
KILL_SECONDS = 0.6
"""How long the supervisor gets to end the box before the host kills what it can see."""
DATA_SLACK_MB = 1024
"""Writable memory of one process beyond the limit on the tree's resident memory: stacks and arenas never touched."""
FILE_MB = 256
"""Largest single file that a box may write."""
FIRST_KILLED = 70
"""The supervisor's exit code if the first process of a walled box was killed. The filter keeps the box from doing that;
still, as with any SIGKILL from nowhere, it may have been the job: tried again, and then the candidate's failure."""
TASKS = 256 + 4 * (os.cpu_count() or 1)
"""Most processes and threads of a walled box (compilers start some threads per core); a user's other processes would
count where there is no wall, so there it is not set."""
NO_CORE = 1
"""0 would still start the machine's own crash handler, as its superuser, where dumps go to a program; 1 does not. A
walled box may not set it anew, see `seccomp.json`."""
WALLED = {"RLIMIT_NPROC": TASKS, "RLIMIT_NOFILE": 256, "RLIMIT_MSGQUEUE": 0, "RLIMIT_SIGPENDING": 256}
"""Limits of the kernel that hold only where a box is a user by itself. The last bounds timers, too, which the kernel
books to whoever started the box: it would leave none to that user's other programs."""

_TABLE = ProcessTable()


class BoxProcess:
    """A supervisor, the command under it, and whatever that starts. A context manager: nothing of it survives."""

    def __init__(
        self,
        command: Sequence[str],
        folder: str,
        env: Mapping[str, str],
        limits: Limits,
        wall: Mapping[str, Any] | None = None,
        server: Forkserver | None = None,
    ) -> None:
        """Start `command` in `folder`, both as the box sees them.

        Args:
            command: what to execute; with a `server`, `python … -m MODULE ARGUMENT…`.
            folder: its working folder.
            env: its whole environment.
            limits: of the box.
            wall: what `wall.layout` plans; None: no wall.
            server: forks the box from a process that has imported what it needs; None, or if it cannot: started afresh.

        Raises:
            SandboxError: the process cannot be started.
        """
        rlimits = {
            "RLIMIT_DATA": (limits.memory_mb + DATA_SLACK_MB) * 2**20,
            "RLIMIT_FSIZE": FILE_MB * 2**20,
            "RLIMIT_NOFILE": 1024,
        }
        if wall is not None:
            rlimits |= WALLED
        plan = {
            "core": NO_CORE,
            "rlimits": rlimits,
            "command": list(command),
            "environment": dict(env),
            "folder": folder,
            "wall": None if wall is None else dict(wall),
        }
        self.walled = wall is not None
        """Whether nothing in the box can reach its supervisor."""
        self._told: int | None = None
        self._processes: list[Process] = []
        self.forked = False
        """Whether a forkserver has started it."""
        if server is not None:
            try:
                self._start(server.fork, plan | {"parent": server.pid})
                self.forked = True
                return
            except (NoFork, OSError) as reason:
                logger.info("a box imports for itself: %s", reason)
        try:
            self._start(lambda stdin: ExecutedSupervisor(stdin, env), plan | {"parent": os.getpid()})
        except OSError as error:
            raise SandboxError(f"cannot start a box: {error}") from error

    def _start(self, supervisor: Callable[[int], Supervisor], plan: dict[str, Any]) -> None:
        self._line, remote = socket.socketpair()
        with ExitStack() as undo:
            undo.callback(self._line.close)
            with remote:
                self._supervisor = supervisor(remote.fileno())
            undo.callback(self._supervisor.ended_within, None)
            undo.callback(self._supervisor.kill)
            self._line.sendall(marshal.dumps(plan))
            self._line.setblocking(False)
            undo.pop_all()

    def __enter__(self) -> BoxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.stdout.close()
        self.stderr.close()
        self._line.close()

    @property
    def stdout(self) -> IO[bytes]:
        """The frame stream; ends when the box has ended."""
        return self._supervisor.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """Everything that the box prints."""
        return self._supervisor.stderr

    @property
    def returncode(self) -> int | None:
        """The command's exit code, its signal negated, or None while it runs.

        Where the supervisor could not tell (see `lost`) it is as if the command had been killed.
        """
        ended = self._supervisor.poll()
        if ended is None:
            return None
        if self._told is None:
            try:
                told = self._line.recv(4)
            except OSError:  # it never read its plan, or something else still holds its end
                told = b""
            self._told = ended << 8 if ended > 0 else signal.SIGKILL
            if len(told) == 4:
                self._told = int.from_bytes(told, sys.byteorder)
            elif ended == FIRST_KILLED:
                self._told = signal.SIGKILL
            elif ended < 0:
                self._told, self.lost = signal.SIGKILL, True
        return os.waitstatus_to_exitcode(self._told)

    lost = False
    """Whether the supervisor was killed before it could tell how the box ended."""

    def memory_bytes(self, suspicious: int) -> int:
        """Memory of the whole tree: resident, swapped out, page tables, mappings, and what pipes and sockets may hold.

        A page that several processes share counts in each of them, so a sum beyond `suspicious` is taken again with
        shared pages divided among their users, which is dearer to read.
        """
        found = _TABLE.descendants(self._supervisor.pid)
        if self._supervisor.poll() is None:  # or another process may have had its number by then
            self._processes = found
        hidden = hidden_bytes(self._processes) + mapping_bytes(self._processes)
        if self.walled and self._processes:
            hidden += socket_bytes(self._processes[0].pid)
        # The first process behind a wall is the wall's own: it grows by nothing, and what it shares counts in the rest.
        counted = self._processes[1:] if self.walled else self._processes
        total = hidden + sum(process.resident for process in counted)
        if total > suspicious and len(counted) > 1:
            total = hidden + sum(process.proportional() for process in counted)
        return total

    @property
    def oom_killed(self) -> bool:
        """Never told: the memory limit is the host's to watch."""
        return False

    def oom_kills(self) -> int:
        """Of this process's control group, where its boxes are."""
        return oom_kills_here()

    def wait(self, seconds: float) -> int | None:
        """The return code, once there is one within `seconds`.

        Raises:
            SandboxError: the supervisor of a walled box was killed; nothing inside has a number for it.
        """
        self._supervisor.ended_within(seconds)
        returncode = self.returncode
        if self.lost and self.walled:
            raise SandboxError("a box was killed from outside; nothing in it could have done that")
        return returncode

    def end(self) -> None:
        """Kill whatever is left and reap it. Does nothing to a box that has ended."""
        if self._supervisor.poll() is None:
            self._supervisor.terminate()
            if not self._supervisor.ended_within(KILL_SECONDS):  # the box may have stopped or starved it
                found = ProcessTable().descendants(self._supervisor.pid)
                self._processes += found if self._supervisor.poll() is None else []
                self._supervisor.kill()
                self._supervisor.ended_within(None)
        # A supervisor that the box killed has left its processes behind: those last seen are ended here.
        for process in self._processes:
            process.kill()


class Supervisor(Protocol):
    """The process that starts and ends a box, as the host sees it."""

    pid: int

    @property
    def stdout(self) -> IO[bytes]:
        """What the box writes there."""

    @property
    def stderr(self) -> IO[bytes]:
        """What the box and its supervisor print."""

    def poll(self) -> int | None:
        """Its exit code, a signal negated; None while it runs."""

    def ended_within(self, seconds: float | None) -> bool:
        """Whether it ends within `seconds`; None waits for it."""

    def terminate(self) -> None:
        """Tell it to end the box."""

    def kill(self) -> None:
        """SIGKILL."""


class ExecutedSupervisor:
    """A supervisor that this process has started by itself."""

    def __init__(self, stdin: int, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [INTERPRETER, "-I", "-S", "-c", SUPERVISOR],
            bufsize=0,
            env={name: env[name] for name in ("LD_LIBRARY_PATH",) if name in env},
            start_new_session=True,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.stdout, self.stderr = self._process.stdout, self._process.stderr
        self.pid = self._process.pid
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def poll(self) -> int | None:
        """See `Supervisor.poll`."""
        return self._process.poll()

    def ended_within(self, seconds: float | None) -> bool:
        """See `Supervisor.ended_within`."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                poller.poll(None if seconds is None else seconds * 1000)
            finally:
                os.close(descriptor)
        return self.poll() is not None


def ending(returncode: int) -> str:
    """`exit code 1` or `signal SIGKILL`."""
    return f"exit code {returncode}" if returncode >= 0 else f"signal {signal.Signals(-returncode).name}"
