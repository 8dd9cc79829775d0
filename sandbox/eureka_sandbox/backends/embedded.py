"""The embedded backend: a box is an ordinary process tree of the same user, started, watched and ended by the host.

Covered: no environment variable of the host reaches the box except those listed here; wall-clock, memory and output
limits; nothing of the box outlives the job or the host; only a complete, validated result counts.

Not covered: the box runs as the user. It can read and write what the user can (also the host's environment through
/proc), reach the network, and signal the user's processes. `docker` or a Landlock wall is needed against code that
means harm.
"""

from __future__ import annotations

import logging
import os
import selectors
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

from eureka_sandbox.backends.frames import Answer, FrameDecoder
from eureka_sandbox.backends.job_folder import SCRATCH, job_folder, sweep_stale
from eureka_sandbox.backends.process import BoxProcess
from eureka_sandbox.backends.results import checked
from eureka_sandbox.backends.untrusted import Violation, one_line
from eureka_sandbox.protocol import (
    Failed,
    Failure,
    Finished,
    Job,
    JobStopped,
    Outcome,
    Progress,
    SandboxError,
    Verdict,
)

logger = logging.getLogger(__name__)

WORKER = (sys.executable, "-s", "-P", "-m", "eureka_sandbox.worker")
"""Not `-I`, which would ignore PYTHONHASHSEED: the environment is made from nothing, so nothing in it needs ignoring."""

TICK = 0.05
"""Seconds between two looks at the stop event and the clock."""
MEMORY_INTERVAL = 0.1
"""Seconds between two looks at the memory; longer where listing the machine's processes is slow."""
EXIT_SECONDS = 5.0
"""How long a box may take to exit after its last frame."""
STDERR_FLOOD = 1024
"""The box is stopped after printing this many times `limits.stderr_kb`; up to there it is read and dropped."""
CHUNK = 2**16

PASSED_ON = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "EGL_PLATFORM", "LIBGL_ALWAYS_SOFTWARE", "LD_LIBRARY_PATH", "TZ")
"""The user's own choices of how to render and where libraries are."""


def box_environment(scratch: Path, host: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a box: what it needs, and nothing else that the host has."""
    home = Path(host.get("HOME") or scratch)
    return {
        "PATH": host.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "MPLCONFIGDIR": str(scratch),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "EUREKA_COMPILE_CACHE": host.get("EUREKA_COMPILE_CACHE", str(home / ".cache" / "eureka-agent" / "xla")),
        **{name: host[name] for name in PASSED_ON if name in host},
    }


class EmbeddedSandbox:
    """Runs each job in a supervised process tree on this machine; safe to use from several threads."""

    name = "embedded"

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        """`command` is the worker's, to which the job folder is appended."""
        self._command = tuple(command)
        self._swept = False
        self._sweep = Lock()

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: Event) -> Outcome:
        """See `protocol.Sandbox.run`.

        Raises:
            SandboxError: the box could not be started, or ended before any of the job's code ran, or fell victim to
                a machine without memory.
            JobStopped: `stop` was set.
            ValueError: the job itself is malformed (a file's name; reward code in a scoring job).
        """
        if stop.is_set():
            raise JobStopped("stopped before it started")
        self._sweep_once()
        started = time.monotonic()
        with job_folder(job) as folder:
            environment = box_environment(folder / SCRATCH, os.environ)
            box = BoxProcess([*self._command, str(folder)], folder / SCRATCH, environment, job.limits)
            try:
                ending = _Conversation(box, job, on_progress, stop, started).hold()
            finally:
                box.end()
        try:
            if isinstance(ending, Answer):
                answer = checked(ending, job)
                return Finished(answer.result, answer.blobs, time.monotonic() - started)
        except Violation as violation:
            ending = violation.failure
        return Failed(ending, time.monotonic() - started)

    def _sweep_once(self) -> None:
        with self._sweep:
            if not self._swept:
                for folder in sweep_stale():
                    logger.info("removed %s, left by a process that died", folder)
                self._swept = True


@dataclass
class _Tail:
    """The last bytes of a stream, and how many there were in all."""

    limit: int
    data: bytearray = field(default_factory=bytearray)
    total: int = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self.data += data
        if len(self.data) > 2 * self.limit:
            del self.data[: -self.limit]

    def text(self, length: int) -> str:
        return one_line(self.data[-length:].decode("utf-8", "replace"), length)


class _Conversation:
    """Listens to one box until it has ended or has to be ended."""

    def __init__(
        self, box: BoxProcess, job: Job, on_progress: Callable[[Progress], None], stop: Event, started: float
    ) -> None:
        self._box, self._job, self._on_progress, self._stop = box, job, on_progress, stop
        self._decoder = FrameDecoder(job)
        self._tail = _Tail(job.limits.stderr_kb * 1024)
        self._deadline = started + job.limits.wall_seconds
        self._next_memory = started + MEMORY_INTERVAL
        self._memory_peak = 0
        self._oom_kills = _oom_kills()

    def hold(self) -> Answer | Failure:
        """Until the end.

        Raises:
            SandboxError, JobStopped: see `EmbeddedSandbox.run`.
        """
        try:
            self._listen()
        except Violation as violation:
            self._box.end()
            self._drain_stderr()
            if not self._decoder.greeted:
                raise SandboxError(self._never_started(str(violation))) from violation
            return violation.failure
        outcome = self._decoder.outcome
        if not self._decoder.greeted:
            raise SandboxError(self._never_started(outcome.message if isinstance(outcome, Failure) else ""))
        return outcome or self._ended_without_result()

    def _listen(self) -> None:
        """Read both streams until stdout ends or, after the last frame, patience does."""
        with selectors.DefaultSelector() as selector:
            for stream in (self._box.stdout, self._box.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(TICK):
                    data = os.read(key.fd, CHUNK)
                    if not data:
                        selector.unregister(key.fileobj)
                        if key.fileobj is self._box.stdout:
                            return
                    elif key.fileobj is self._box.stdout:
                        self._hear(data)
                    else:
                        self._note(data)
                if self._stop.is_set():
                    raise JobStopped("stopped by the host")
                if self._overdue():
                    return
                self._weigh()

    def _hear(self, data: bytes) -> None:
        for progress in self._decoder.feed(data):
            self._on_progress(progress)
        if self._decoder.outcome:
            self._deadline = min(self._deadline, time.monotonic() + EXIT_SECONDS)

    def _note(self, data: bytes) -> None:
        self._tail.add(data)
        most = STDERR_FLOOD * self._job.limits.stderr_kb * 1024
        if self._tail.total > most:
            raise Violation("stderr", f"more than {most} bytes were printed", Verdict.OUTPUT)
