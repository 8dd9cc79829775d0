"""Jobs in boxes, as many at once as the machine affords: tried again, continued from checkpoints, stopped together."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TypeVar

from eureka_agent.errors import BudgetExhausted, EnvironmentMissing
from eureka_agent.lab.machine import available_memory_mb, cores
from eureka_agent.runs.checkpoints import continued
from eureka_agent.runs.run import Run, standing
from eureka_agent.terminal.watcher import Silent, Watcher
from eureka_agent.text import from_here, resuming
from eureka_sandbox.protocol import (
    Failed,
    Finished,
    Job,
    Limits,
    Report,
    Sandbox,
    SandboxError,
    TrainingCheckpoint,
    TrainSpec,
)

T = TypeVar("T")
R = TypeVar("R")
RETRIES = 2
"""How often a job is tried again after the sandbox itself failed."""
BOX_MEMORY_MB = 600
"""What a training usually takes, with room to spare; a box is stopped only at `Settings.memory_mb`."""


class Boxes:
    """Runs a run's jobs."""

    def __init__(self, sandbox: Sandbox, run: Run, watcher: Watcher, jobs: int | None) -> None:
        """Settle how many boxes run side by side.

        Raises:
            EnvironmentMissing: the memory does not hold them.
        """
        self._sandbox, self._run, self._watcher = sandbox, run, watcher
        self.jobs = affordable_jobs(jobs)
        # No box may take more than its share: the machine's own out-of-memory killer would choose another's process.
        self.memory_mb = min(run.settings.memory_mb, int(available_memory_mb() / self.jobs))
        if self.memory_mb < run.settings.memory_mb:
            asked = f"{self.jobs} boxes side by side get {self.memory_mb} MB each, not {run.settings.memory_mb}"
            watcher.stage(f"{asked}: there is no more; a smaller --jobs leaves each more")
        self._slots = threading.Semaphore(self.jobs)
        self._rested: set[str] = set()
        """Trainings whose last box ended at a rung, as it was asked to."""
        self.training_seconds: defaultdict[str, float] = defaultdict(float)
        """How long the boxes of a training ran in this sitting, by its key, from start to exit."""
        self.stopping = threading.Event()
        """Set once the work must end: boxes and whoever waits for a language model heed it."""

    def run(self, key: str, stage: str, job: Job, shown: bool = True) -> Finished | Failed:
        """Run one job, again if the sandbox failed or the box was killed; at most `jobs` at once.

        A training goes on from its last checkpoint. Boxes that were killed share one time limit: it may have been the
        job. Not `shown`: it is no trial.
        """
        watcher = self._watcher if shown else Silent()
        job = replace(job, origin=f"{self._run.folder.name}/{key}")

        def hear(report: Report) -> None:
            if isinstance(report, TrainingCheckpoint):
                self._run.save_checkpoint(key, report)
            else:
                watcher.progress(key, stage, report)

        left = job.limits.wall_seconds
        for attempt in range(1 + RETRIES):
            limited = replace(job, limits=job.limits.model_copy(update={"wall_seconds": left}))
            try:
                with self._slots:
                    watcher.started(key, stage)
                    outcome = self._sandbox.run(self._continued(key, limited), hear, self.stopping)
            except SandboxError as error:
                reason = str(error)
                self._watcher.stage(f"{key}: the sandbox failed at {stage} (attempt {attempt + 1}): {reason}")
                continue
            left -= outcome.seconds
            if isinstance(job.spec, TrainSpec):
                self.training_seconds[key] += outcome.seconds
            if isinstance(outcome, Finished) or not outcome.killed or attempt == RETRIES or left <= 0:
                if isinstance(job.spec, TrainSpec) and job.spec.stop_at:
                    self._rested.add(key)
                return outcome
            self._watcher.stage(f"{key}: {outcome.failure.message} at {stage} (attempt {attempt + 1}); it starts again")
        raise EnvironmentMissing(f"{key}: the sandbox failed {1 + RETRIES} times at {stage}, last with: {reason}")

    def _continued(self, key: str, job: Job) -> Job:
        """The job with the checkpoint of an earlier box, if it is a training that has one."""
        checkpoint = self._run.checkpoint(key) if isinstance(job.spec, TrainSpec) else None
        if checkpoint and key not in self._rested:
            self._watcher.stage(f"{key}: the training goes on after {checkpoint.meta.timesteps:,} steps")
        return continued(job, checkpoint)

    def limits(self, wall_seconds: float, silence_seconds: float | None = None) -> Limits:
        """Limits with this machine's share of memory."""
        return Limits(wall_seconds=wall_seconds, silence_seconds=silence_seconds, memory_mb=self.memory_mb)

    def side_by_side(self, function: Callable[[T], R], items: Sequence[T], workers: int | None = None) -> list[R]:
        """Map over threads, in order. An error, Ctrl-C or the time limit stops them all before it propagates."""
        pool = ThreadPoolExecutor(max_workers=workers or self.jobs, thread_name_prefix="box")
        try:
            futures = [pool.submit(function, item) for item in items]
            done, pending = wait(futures, timeout=self._remaining_seconds(), return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            if pending:
                self._raise_out_of_time()
            return [future.result() for future in futures]
        except BaseException:
            self.stopping.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def check_time(self) -> None:
        """Say so if the run's time is up.

        Raises:
            BudgetExhausted: it is.
        """
        if self._remaining_seconds() == 0.0:
            self._raise_out_of_time()

    def as_ready(
        self, function: Callable[[T], R], ready: Callable[[], Sequence[T]], ended: Callable[[T, R], None]
    ) -> None:
        """Call `function` in threads, on whatever is ready as soon as a box is free, until nothing is.

        Args:
            function: called in a thread of its own, once per item.
            ready: what may begin now or has begun, the most urgent first; asked whenever one has ended.
            ended: hears of every result, in this thread, before `ready` is asked again.
        """
        pool = ThreadPoolExecutor(max_workers=self.jobs, thread_name_prefix="box")
        running: dict[Future[R], T] = {}
        begun: set[T] = set()
        try:
            while True:
                for item in [item for item in ready() if item not in begun][: self.jobs - len(running)]:
                    running[pool.submit(function, item)] = item
                    begun.add(item)
                if not running:
                    return
                done, _ = wait(running, timeout=self._remaining_seconds(), return_when=FIRST_COMPLETED)
                if not done:
                    self._raise_out_of_time()
                for future in done:
                    ended(running.pop(future), future.result())
        except BaseException:
            self.stopping.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _remaining_seconds(self) -> float | None:
        limit = self._run.settings.max_seconds
        return None if limit is None else max(0.0, limit - self._run.elapsed_seconds)

    def _raise_out_of_time(self) -> None:
        raise BudgetExhausted(
            f"the time limit of {self._run.settings.max_seconds:g} s is reached ({standing(self._run)}); "
            f"`{resuming(from_here(self._run.folder), self._run.settings.sandbox)} --max-time …` continues with more"
        )


def affordable_jobs(wanted: int | None) -> int:
    """How many boxes run side by side: as many as wanted, else one per core as far as memory goes.

    Raises:
        EnvironmentMissing: the memory does not hold them.
    """
    free = available_memory_mb()
    jobs = wanted or max(1, min(cores(), int(free // BOX_MEMORY_MB)))
    if free < jobs * BOX_MEMORY_MB:
        raise EnvironmentMissing(
            f"--jobs {jobs} needs about {jobs * BOX_MEMORY_MB} MB of memory, {free:.0f} MB are free; "
            f"close something{' or use fewer' if jobs > 1 else ''}"
        )
    return jobs
