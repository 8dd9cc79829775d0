"""The Docker backend: a box is a container, default-deny (`docker_flags.py`), made for one job and removed after it.

Covered, for any code in the box: the host's files, environment and processes; every network; other boxes; memory,
processes, processor, disk and inodes; the time limit. What goes in is the job and this project's code, both read-only;
what comes out are frames, on stdout. The wall is the Linux kernel's: its unknown bugs, and side channels of the shared
hardware, are not covered.

The Engine must run on this machine, as it is shown folders of it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event, Lock

from eureka_sandbox.backends import compile_cache, probes
from eureka_sandbox.backends.conversation import Conversation, concluded
from eureka_sandbox.backends.docker_box import ContainerBox, Order
from eureka_sandbox.backends.docker_engine import OWNER_LABEL, Engine, Owner
from eureka_sandbox.backends.docker_flags import CODE, JOB, container_config
from eureka_sandbox.backends.docker_limits import missing_limits
from eureka_sandbox.backends.job_folder import JOB as JOB_FOLDER
from eureka_sandbox.backends.job_folder import job_folder, sweep_stale
from eureka_sandbox.protocol import Job, JobStopped, Outcome, Report, SandboxError, Wall

logger = logging.getLogger(__name__)

WORKER = ("python3", "-s", "-P", "-m", "eureka_sandbox.worker")
GUARD = ("python3", "-I", "-S", f"{CODE}/eureka_sandbox/worker/guard.py")
SELF_TEST = ("python3", "-I", "-S", f"{CODE}/eureka_sandbox/worker/selftest.py")
ORPHAN_SECONDS = 60.0
"""How much longer than its time limit a box may live if its host neither ended it nor closed its stdin."""
TIER = "Docker container: no network, read-only root, no capabilities, seccomp filter, cgroup limits"
LIMITED = "memory, processes and processor time"
GAPS = (
    "unknown bugs of the Linux kernel",
    "side channels of the hardware",
    "the machine's load, memory and processor, and where the job and this program lie, can be read in /proc",
)


class DockerSandbox:
    """Runs each job in a container of its own; safe to use from several threads."""

    name = "docker"

    def __init__(self, command: Sequence[str] = WORKER, engine: Engine | None = None) -> None:
        """`command` is the worker's, to which the job folder is appended."""
        self._command = tuple(command)
        self._engine = engine or Engine()
        self._tidied = False
        self._tidying = Lock()

    def check(self, private: Sequence[Path] = ()) -> Wall:
        """See `protocol.Sandbox.check`.

        Raises:
            SandboxError: no Engine answers, it has no current image or cannot limit what it must, something leaked, or
                a box cannot do what it must.
        """
        started = time.monotonic()
        missing = missing_limits(self._engine)
        try:
            proof = probes.prove(self._self_test, private)
        except probes.NoAnswer as error:
            raise SandboxError(f"a container did not start: {error}") from error
        proof |= {"covers": (*proof["covers"], LIMITED), "seconds": round(time.monotonic() - started, 3)}
        return Wall(backend="docker", tier=TIER, gaps=(*missing, *GAPS), image=self._engine.image(), **proof)

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: Event) -> Outcome:
        """See `protocol.Sandbox.run`.

        Raises:
            SandboxError: no Engine answers, it has no current image, or the box was lost through no fault of the job's
                code, or ended before any of it ran.
            JobStopped: `stop` was set.
            ValueError: the job itself is malformed (a file's name; reward code in a scoring job or a warm-up).
        """
        if stop.is_set():
            raise JobStopped("stopped before it started")
        started = time.monotonic()
        with compile_cache.for_job(job, self._engine.image()) as cache:
            with self.box(job, self._command, stop, cache) as box:
                ended = Conversation(box, job, on_progress, stop, started).hold()
            outcome = concluded(ended, job, started)
            cache.keep(outcome)
            return outcome

    @contextmanager
    def box(
        self, job: Job, command: Sequence[str], stop: Event, cache: compile_cache.Cache = compile_cache.NONE
    ) -> Iterator[ContainerBox]:
        """A container that runs a command with the job's folder.

        Raises:
            SandboxError: the job's folder cannot be written.
            ValueError: a file's name is not a plain one, or a scoring job carries reward code.
        """
        with job_folder(job) as folder:

            def order() -> Order:
                return self._order(job, folder / JOB_FOLDER, command, cache)

            with ContainerBox(self._engine, order, stop) as box:
                yield box

    def _self_test(self, job: Job) -> AbstractContextManager[ContainerBox]:
        return self.box(job, SELF_TEST, Event())

    def _order(self, job: Job, folder: Path, command: Sequence[str], cache: compile_cache.Cache) -> Order:
        image = self._engine.image()
        self._tidy_once()
        run, _, candidate = job.origin.partition("/")
        config = container_config(
            image,
            [*GUARD, str(job.limits.wall_seconds + ORPHAN_SECONDS), *command, JOB],
            job=folder,
            memory_mb=job.limits.memory_mb,
            labels={OWNER_LABEL: str(Owner.this_process()), "eu.run": run, "eu.cand": candidate},
            api_version=self._engine.api_version,
            cache=cache,
        )
        return Order(f"eu-{uuid.uuid4().hex[:16]}", config)

    def _tidy_once(self) -> None:
        with self._tidying:
            if not self._tidied or self._engine.untidy:
                for name in (*self._engine.tidy(), *sweep_stale()):
                    logger.info("removed %s, left by a process that died", name)
                self._tidied = True
