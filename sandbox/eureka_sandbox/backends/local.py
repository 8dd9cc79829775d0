"""One job in a supervised process tree of this machine, walled or not: what both such backends share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

from eureka_sandbox.backends.conversation import Conversation, concluded
from eureka_sandbox.backends.forked import Forkserver, forkserver
from eureka_sandbox.backends.interpreter import INTERPRETER
from eureka_sandbox.backends.job_folder import job_folder, sweep_stale
from eureka_sandbox.backends.process import BoxProcess
from eureka_sandbox.protocol import Job, JobStopped, Limits, Outcome, Report

logger = logging.getLogger(__name__)

SHARED = (INTERPRETER, "-s", "-P", "-m")
"""How a module starts afresh that may be run in a process of a forkserver, too."""
WORKER = (*SHARED, "eureka_sandbox.worker")
"""Not `-I`, which would ignore PYTHONHASHSEED; the environment is made from nothing, so there is nothing to ignore."""

PRELOADED = {"train": "train", "smoke": "train", "score": "score"}
"""Kind of job → what its forkserver has imported. A warm-up starts afresh: it alone writes compiled programs, and where
a forkserver lives nothing can be written."""

PASSED_ON = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "EGL_PLATFORM", "LIBGL_ALWAYS_SOFTWARE", "LD_LIBRARY_PATH", "TZ")
"""The user's own choices of how to render and where libraries are."""


def box_environment(scratch: str, cache: str, host: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a box: what it needs, and nothing else that the host has."""
    return {
        "LANG": "C.UTF-8",
        "HOME": scratch,
        "TMPDIR": scratch,
        "MPLCONFIGDIR": scratch,
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "EUREKA_COMPILE_CACHE": cache,
        **{name: host[name] for name in PASSED_ON if name in host},
    }


@dataclass(frozen=True)
class Place:
    """Where a box runs, in its own eyes."""

    job: str
    """The folder that the worker is told."""
    scratch: str
    """Its working folder."""
    environment: Mapping[str, str]
    wall: Mapping[str, Any] | None = None


class LocalRunner:
    """Runs jobs with one worker command; safe to use from several threads."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._swept = False
        self._sweep = Lock()

    def run(
        self, job: Job, place: Callable[[Path], Place], on_progress: Callable[[Report], None], stop: Event
    ) -> Outcome:
        """Run a job to its end; see `protocol.Sandbox.run`. `place` is asked once the job's folder is there."""
        if stop.is_set():
            raise JobStopped("stopped before it started")
        self._sweep_once()
        with job_folder(job) as folder:
            where = place(folder)
            server = None
            if self._command == WORKER and not job.warm_up:
                kind = PRELOADED[job.spec.kind]
                server = forkserver(kind, where.environment, where.wall is not None, stop)
            started = time.monotonic()  # imports that all boxes share are on no job's clock
            with self.box(where, job.limits, server) as box:
                ended = Conversation(box, job, on_progress, stop, started).hold()
        return concluded(ended, job, started)

    def box(self, place: Place, limits: Limits, server: Forkserver | None = None) -> BoxProcess:
        """Start the command in its place; `server` as for `BoxProcess`."""
        command = [*self._command, place.job]
        environment = {**place.environment, "EUREKA_BOX_BEGAN": f"{time.clock_gettime(time.CLOCK_BOOTTIME):.3f}"}
        return BoxProcess(command, place.scratch, environment, limits, place.wall, server)

    def _sweep_once(self) -> None:
        with self._sweep:
            if not self._swept:
                for folder in sweep_stale():
                    logger.info("removed %s, left by a process that died", folder)
                self._swept = True
