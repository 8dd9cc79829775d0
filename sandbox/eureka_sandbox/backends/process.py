"""One box as a process tree: spawn it under the supervisor, weigh its memory, end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from eureka_sandbox.protocol import Limits, SandboxError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
KILL_SECONDS = 0.6
"""How long the supervisor gets to kill the box before the host does it."""
DATA_SLACK_MB = 1024
"""Writable private memory beyond the limit on resident memory: room for thread stacks and arenas that are never touched."""
FILE_MB = 256
"""Largest single file that a box may write."""


class BoxProcess:
    """A supervisor, the command under it, and whatever that starts."""

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
        launch = [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid()), json.dumps(rlimits), *command]
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
            raise SandboxError(f"cannot start a box: {error.strerror}: {error.filename}") from error
        self._processes: list[psutil.Process] = []

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
        self._processes = _descendants(self._supervisor.pid)
        total = sum(_resident(process) for process in self._processes)
        if total > suspicious and len(self._processes) > 1:
            total = sum(_proportional(process) for process in self._processes)
        return total

    def end(self) -> None:
        """Kill whatever is left and reap it. Does nothing to a box that has ended."""
        if self.returncode is None:
            self._supervisor.terminate()
            try:
                self._supervisor.wait(KILL_SECONDS)
            except subprocess.TimeoutExpired:  # it may have been stopped or starved by the box
                self._processes = [*_descendants(self._supervisor.pid), *self._processes]
                self._supervisor.kill()
        # Without its supervisor (killed by the box), a box's processes are known from the last look at its memory.
        for process in self._processes:
            _kill(process)
        self._supervisor.wait()
        self.stdout.close()
        self.stderr.close()

    def ended_by(self) -> str:
        """`exit code 1` or `signal SIGKILL`."""
        code = self._supervisor.wait(KILL_SECONDS)
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:  # ended, or not readable: then its plain size must do
        return _resident(process)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()  # psutil compares start times: never a stranger that got the same id
    except psutil.Error:
        return
