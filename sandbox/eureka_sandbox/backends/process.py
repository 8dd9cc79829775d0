"""One box as a process tree: spawn it under the supervisor, weigh its memory, end it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from eureka_sandbox.backends.process_table import Process, ProcessTable
from eureka_sandbox.protocol import Limits, SandboxError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
KILL_SECONDS = 0.6
"""How long the supervisor gets to end the box before the host kills what it can see."""
DATA_SLACK_MB = 1024
"""Writable memory of one process beyond the limit on the tree's resident memory: stacks and arenas never touched."""
FILE_MB = 256
"""Largest single file that a box may write."""

_TABLE = ProcessTable()


class BoxProcess:
    """A supervisor, the command under it, and whatever that starts. A context manager: nothing of it survives."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str], limits: Limits) -> None:
        """Start `command` in `folder`.

        Raises:
            SandboxError: the process cannot be started.
        """
        rlimits = {
            "RLIMIT_DATA": (limits.memory_mb + DATA_SLACK_MB) * 2**20,
            "RLIMIT_FSIZE": FILE_MB * 2**20,
            "RLIMIT_NOFILE": 1024,
            "RLIMIT_CORE": 0,
        }
        numbers = ",".join(f"{name}={value}" for name, value in rlimits.items())
        launch = [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid()), numbers, *command]
        try:
            self._supervisor = subprocess.Popen(
                launch,
                bufsize=0,
                cwd=folder,
                env=dict(env),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise SandboxError(f"cannot start a box: {error}") from error
        self._processes: list[Process] = []

    def __enter__(self) -> BoxProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.stdout.close()
        self.stderr.close()

    @property
    def stdout(self) -> IO[bytes]:
        """The frame stream; ends when the box has ended."""
        assert self._supervisor.stdout is not None
        return self._supervisor.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """Everything that the box prints."""
        assert self._supervisor.stderr is not None
        return self._supervisor.stderr

    @property
    def returncode(self) -> int | None:
        """The command's exit code, its signal negated, or None while it runs."""
        return self._supervisor.poll()

    def memory_bytes(self, suspicious: int) -> int:
        """Resident memory of the whole tree.

        A page that several processes share counts in each of them, so a sum beyond `suspicious` is taken again with
        shared pages divided among their users, which is dearer to read.
        """
        self._processes = _TABLE.descendants(self._supervisor.pid)
        total = sum(process.resident for process in self._processes)
        if total > suspicious and len(self._processes) > 1:
            total = sum(process.proportional() for process in self._processes)
        return total

    def wait(self, seconds: float) -> int | None:
        """The return code, once there is one within `seconds`."""
        if self.returncode is None:
            descriptor = os.pidfd_open(self._supervisor.pid)
            try:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                poller.poll(seconds * 1000)
            finally:
                os.close(descriptor)
        return self.returncode

    def end(self) -> None:
        """Kill whatever is left and reap it. Does nothing to a box that has ended."""
        if self.returncode is None:
            self._supervisor.terminate()
            if self.wait(KILL_SECONDS) is None:  # the box may have stopped or starved it
                self._processes += ProcessTable().descendants(self._supervisor.pid)
                self._supervisor.kill()
                self._supervisor.wait()
        # A supervisor that the box killed has left its processes behind: those last seen are ended here.
        for process in self._processes:
            process.kill()


def ending(returncode: int) -> str:
    """`exit code 1` or `signal SIGKILL`."""
    return f"exit code {returncode}" if returncode >= 0 else f"signal {signal.Signals(-returncode).name}"
