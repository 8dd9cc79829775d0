"""The embedded backend: a box is a process tree behind a wall of namespaces and a seccomp filter, without root.

Covered: the host's files (a box reads the system's programs, Python and its job, and writes a small tmpfs of its own),
the host's processes and their environments, every network and local socket, new namespaces and the kernel interfaces
that no training needs, the number of processes, the size and number of files, time, memory and output; nothing of the
box outlives the job or the host; only a complete, validated result counts.

Not covered: unknown bugs of the Linux kernel, side channels of the shared hardware, and a share of the processor: a box
is as hungry as its user may be. The memory limit is watched, ten times a second near it, not held by the kernel;
what pipes, sockets and page tables hold counts at its most, what mappings cost in eight processes (13 MB each) not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from eureka_sandbox.backends import compile_cache, probes, wall
from eureka_sandbox.backends.forked import NOTHING, forkserver, refuse
from eureka_sandbox.backends.interpreter import INTERPRETER
from eureka_sandbox.backends.job_folder import JOB, ROOT, job_folder
from eureka_sandbox.backends.local import SHARED, WORKER, LocalRunner, Place, box_environment
from eureka_sandbox.backends.process import BoxProcess
from eureka_sandbox.protocol import Job, Outcome, Report, SandboxError, Wall

SELF_TEST = (INTERPRETER, "-I", "-S", str(Path(wall.__file__).parents[1] / "worker" / "selftest.py"))
FORKED_SELF_TEST = (*SHARED, "eureka_sandbox.worker.selftest")
TIER = "namespaces, seccomp filter, no capabilities, private tmpfs, supervisor"
GAPS = (
    "unknown bugs of the Linux kernel",
    "side channels of the hardware",
    "the machine's load, memory and processor, and where the job, Python and this program lie, can be read in /proc",
    "the processor's time is shared, not bounded",
    "memory is watched every 0.1 to 2 s (the nearer the limit, the sooner), not held by the kernel",
    "up to 110 MB of the kernel's notes on mappings count for nobody",
)


class EmbeddedSandbox:
    """Runs each job in a walled, supervised process tree on this machine; safe to use from several threads."""

    name = "embedded"

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        """`command` is the worker's, to which the job folder is appended."""
        self._runner = LocalRunner(command)

    def check(self, private: Sequence[Path] = ()) -> Wall:
        """See `protocol.Sandbox.check`.

        Raises:
            SandboxError: this machine cannot have the wall (says why, and what to do), a private folder lies where
                boxes may read, something leaked, or a box cannot do what it must.
        """
        if reason := wall.missing():
            raise SandboxError(_refusal(reason))
        wall.must_not_expose(private)
        try:
            with ThreadPoolExecutor(1) as pool:
                forking = pool.submit(_prove_forking, private)
                began = time.monotonic()
                proof = probes.prove(_self_test, private)
                forking.result()
                proof["seconds"] = round(time.monotonic() - began, 3)
        except probes.NoAnswer as error:
            raise SandboxError(_refusal(str(error))) from error
        return Wall(backend="embedded", tier=TIER, gaps=GAPS, **proof)

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: Event) -> Outcome:
        """See `protocol.Sandbox.run`.

        Raises:
            SandboxError: this machine cannot have the wall, or this process works where boxes may read, or the box
                could not be started, or ended before any of the job's code ran, or its supervisor was killed, or it
                fell victim to a machine without memory.
            JobStopped: `stop` was set.
            ValueError: the job itself is malformed (a file's name; reward code in a scoring job).
        """
        if reason := wall.missing():
            raise SandboxError(_refusal(reason))
        with compile_cache.for_job(job) as cache:
            outcome = self._runner.run(job, lambda folder: _walled(folder, cache), on_progress, stop)
            cache.keep(outcome)
            return outcome


def _walled(folder: Path, cache: compile_cache.Cache = compile_cache.NONE) -> Place:
    """The place of a box behind the wall."""
    environment = box_environment(wall.SCRATCH, wall.CACHE if cache.folder else "", os.environ)
    layout = wall.layout(folder / JOB, folder / ROOT, cache.folder, cache.writable)
    return Place(wall.JOB, wall.SCRATCH, environment | wall.environment(os.environ), layout)


@contextmanager
def _self_test(job: Job) -> Iterator[BoxProcess]:
    with job_folder(job) as folder, LocalRunner(SELF_TEST).box(_walled(folder), job.limits) as box:
        yield box


def _prove_forking(private: Sequence[Path]) -> None:
    """The same for boxes from a forkserver. If they cannot do what they must, none is forked.

    Raises:
        Leak: something got out.
    """
    server = forkserver(NOTHING, _walled(Path()).environment, sealed=True, stop=Event())
    if server is None:
        return

    @contextmanager
    def self_test(job: Job) -> Iterator[BoxProcess]:
        with job_folder(job) as folder, LocalRunner(FORKED_SELF_TEST).box(_walled(folder), job.limits, server) as box:
            if not box.forked:
                raise probes.NoAnswer("its forkserver is gone")
            yield box

    try:
        probes.prove(self_test, private)
    except probes.Leak:
        raise
    except (probes.NoAnswer, SandboxError) as error:
        refuse(NOTHING, True, str(error))


def _refusal(reason: str) -> str:
    return (
        f"this machine does not allow the embedded wall: {reason}. Use Docker (`--sandbox docker`), or run code that "
        "nobody has read without any wall (`--sandbox none`)"
    )
