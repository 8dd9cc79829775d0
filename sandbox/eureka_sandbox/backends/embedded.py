"""The embedded backend: a box is an ordinary process tree of the same user, started, watched and ended by the host.

Covered: no environment variable of the host reaches the box except those listed here; wall-clock, memory and output
limits; nothing of the box outlives the job or the host; only a complete, validated result counts.

Not covered: the box runs as the user. It can read and write what the user can (also the host's environment through
/proc), reach the network, fill the disk, and signal the user's processes. Code that means harm needs a stronger wall.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Lock

from eureka_sandbox.backends.conversation import Conversation
from eureka_sandbox.backends.frames import Answer
from eureka_sandbox.backends.job_folder import SCRATCH, job_folder, sweep_stale
from eureka_sandbox.backends.process import BoxProcess
from eureka_sandbox.backends.results import checked
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.protocol import Failed, Finished, Job, JobStopped, Outcome, Progress

logger = logging.getLogger(__name__)

WORKER = (sys.executable, "-s", "-P", "-m", "eureka_sandbox.worker")
"""Not `-I`, which would ignore PYTHONHASHSEED; the environment is made from nothing, so there is nothing to ignore."""

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
            command = [*self._command, str(folder)]
            with BoxProcess(command, folder / SCRATCH, environment, job.limits) as box:
                ending = Conversation(box, job, on_progress, stop, started).hold()
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
