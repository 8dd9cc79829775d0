"""The backend `none`: a box is an ordinary process tree of the same user, started, watched and ended by the host.

Covered: no environment variable of the host reaches the box except those listed in `local.py`; wall-clock, memory and
output limits; nothing of the box outlives the job or the host; only a complete, validated result counts.

Not covered: the box runs as the user. It can read and write what the user can (also the host's environment through
/proc), reach the network, fill the disk, and signal the user's processes. For code that somebody has read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from eureka_sandbox.backends import compile_cache
from eureka_sandbox.backends.job_folder import JOB, SCRATCH
from eureka_sandbox.backends.local import WORKER, LocalRunner, Place, box_environment
from eureka_sandbox.protocol import Job, Outcome, Report, Wall

GAPS = ("this user's files", "other processes and their secrets", "the network", "the disk's size")


class UnwalledSandbox:
    """Runs each job in a supervised process tree on this machine; safe to use from several threads."""

    name = "none"

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        """`command` is the worker's, to which the job folder is appended."""
        self._runner = LocalRunner(command)

    def check(self, private: Sequence[Path] = ()) -> Wall:
        """There is nothing to prove."""
        return Wall(
            backend="none",
            tier="no wall: candidates run as you, with time, memory and output limits only",
            covers=(),
            gaps=GAPS,
            contained=0,
            probes=0,
            controls=0,
            seconds=0.0,
        )

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: Event) -> Outcome:
        """See `protocol.Sandbox.run`.

        Raises:
            SandboxError: the box could not be started, or ended before any of the job's code ran, or fell victim to
                a machine without memory.
            JobStopped: `stop` was set.
            ValueError: the job itself is malformed (a file's name; reward code in a scoring job).
        """
        with compile_cache.for_job(job, self.name) as cache:

            def place(folder: Path) -> Place:
                scratch = str(folder / JOB / SCRATCH)
                environment = box_environment(scratch, str(cache.folder or ""), os.environ)
                return Place(str(folder / JOB), scratch, environment | {"PATH": os.environ.get("PATH", os.defpath)})

            outcome = self._runner.run(job, place, on_progress, stop)
            cache.keep(outcome)
            return outcome
