"""The Docker backend: a box is a container, default-deny (`docker_flags.py`), started for one job and removed after it.

Covered, for any code in the box: the host's files, environment and processes; every network; other boxes; memory,
processes, CPU, disk and inodes; the time limit. What enters is the job, on stdin, and this project's code, read-only;
what leaves are frames, on stdout. The wall is the Linux kernel's: its unknown bugs, and side channels of the shared
hardware, are not covered.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from threading import Event, Lock

from eureka_sandbox.backends.conversation import Conversation, concluded
from eureka_sandbox.backends.docker_box import ContainerBox, Order
from eureka_sandbox.backends.docker_check import check
from eureka_sandbox.backends.docker_engine import OWNER_LABEL, Engine, Owner
from eureka_sandbox.backends.docker_flags import CODE, JOB, SCRATCH, container_config
from eureka_sandbox.backends.job_folder import check_names
from eureka_sandbox.backends.job_stream import job_stream
from eureka_sandbox.protocol import Job, JobStopped, Limits, Outcome, Report, Wall

logger = logging.getLogger(__name__)

WORKER = ("python3", "-s", "-P", "-m", "eureka_sandbox.worker")
GUARD = ("python3", "-I", "-S", f"{CODE}/eureka_sandbox/worker/guard.py", JOB, SCRATCH)
ORPHAN_SECONDS = 60.0
"""How much longer than its time limit a box may live if its host neither ended it nor closed its stdin."""


class DockerSandbox:
    """Runs each job in a container of its own; safe to use from several threads."""

    name = "docker"

    def __init__(self, command: Sequence[str] = WORKER, engine: Engine | None = None) -> None:
        """`command` is the worker's, to which the job folder is appended."""
        self._command = tuple(command)
        self._engine = engine or Engine()
        self._tidied = False
        self._tidying = Lock()

    def check(self) -> Wall:
        """See `protocol.Sandbox.check`.

        Raises:
            SandboxError: no Engine, no image, something leaked, or a box cannot do what it must.
        """
        return check(self._engine, lambda command, job_bytes: self._order(command, job_bytes, Limits()))

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: Event) -> Outcome:
        """See `protocol.Sandbox.run`.

        Raises:
            SandboxError: no Engine answers, it has no current image, or the box was lost through no fault of the job's
                code, or ended before any of it ran.
            JobStopped: `stop` was set.
            ValueError: the job itself is malformed (a file's name; reward code in a scoring job).
        """
        if stop.is_set():
            raise JobStopped("stopped before it started")
        check_names(job)
        started = time.monotonic()
        stream = job_stream(job)

        def order() -> Order:
            return self._order(self._command, len(stream), job.limits, job.origin)

        with ContainerBox(self._engine, order, stream, stop) as box:
            ended = Conversation(box, job, on_progress, stop, started).hold()
        return concluded(ended, job, started)

    def _order(self, command: Sequence[str], job_bytes: int, limits: Limits, origin: str = "") -> Order:
        image = self._engine.image()
        self._tidy_once()
        run, _, candidate = origin.partition("/")
        config = container_config(
            image,
            [*GUARD, str(limits.wall_seconds + ORPHAN_SECONDS), *command],
            memory_mb=limits.memory_mb,
            job_bytes=job_bytes,
            labels={OWNER_LABEL: str(Owner.this_process()), "eu.run": run, "eu.cand": candidate},
            api_version=self._engine.api_version,
        )
        return Order(f"eu-{uuid.uuid4().hex[:16]}", config)

    def _tidy_once(self) -> None:
        with self._tidying:
            if not self._tidied or self._engine.untidy:
                for name in self._engine.tidy():
                    logger.info("removed container %s, left by a process that died", name)
                self._tidied = True
