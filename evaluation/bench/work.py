"""One sitting: runs the measurements that are missing, at most one per core, and says how far it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from machine import REPOSITORY, description, revision
from plan import PARTS, PLANS, Measurement, Options
from record import Record, Row, within

CHILD = Path(__file__).with_name("child.py")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Sitting:
    """The missing measurements of some parts."""

    def __init__(
        self, record: Record, options: Options, wanted: Sequence[str], cores: Sequence[int], peers_python: str | None
    ) -> None:
        """Settle what to do.

        Args:
            record: finished measurements.
            options: of the benchmark.
            wanted: parts, or the beginnings of keys, in order.
            cores: those that measure, one measurement each.
            peers_python: interpreter for measurements of EnvPool and SBX.
        """
        self._record, self._options, self._wanted, self._cores = record, options, wanted, cores
        self._parts = list(dict.fromkeys(name[0] for name in wanted))
        self._peers_python = peers_python
        self._revision = revision()
        self._change = threading.Condition()
        self._running: set[str] = set()
        self._failed: set[str] = set()
        self._deadline = float("inf")
        self._children: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def missing(self) -> list[Measurement]:
        """Measurements still to be made, in order."""
        plans = (PLANS[part](self._options, self._record) for part in self._parts)
        wanted = [m for plan in plans for m in plan if within(m.key, self._wanted) and m.key not in self._failed]
        return [m for m in wanted if not m.done(self._record)]

    def estimate(self) -> str:
        """How long the rest will take, by part."""
        missing = self.missing()
        lines = []
        for part in self._parts:
            of_part = [m for m in missing if m.key[0] == part]
            minutes = self._minutes(of_part)
            lines.append(f"  ({part}) {PARTS[part]:28}{len(of_part):4} measurements, about {minutes:4.0f} min")
        return "\n".join(
            [*lines, f"  {'all':32}{len(missing):4} measurements, about {self._minutes(missing):4.0f} min"]
        )

    def _minutes(self, measurements: Sequence[Measurement]) -> float:
        return sum(self._expected(m) / (1 if m.all_cores else len(self._cores)) for m in measurements) / 60

    def _expected(self, measurement: Measurement) -> float:
        """What the same measurement took with other seeds, else the guess in the plan."""
        known = [row.wall for row in self._record.under(measurement.group)]
        return median(known) if known else measurement.expected

    def work(self, max_minutes: float | None) -> int:
        """Make every missing measurement, those on one core first; how many failed.

        Raises:
            KeyboardInterrupt: it was interrupted; what was running is stopped, and nothing begins any more.
            OSError: a result could not be kept; likewise.
        """
        if max_minutes is not None:
            self._deadline = time.monotonic() + 60 * max_minutes
        try:
            with ThreadPoolExecutor(len(self._cores)) as pool:
                workers = [pool.submit(self._work_on, core) for core in self._cores]
                try:
                    for worker in as_completed(workers):
                        worker.result()
                except BaseException:
                    self._stop()
                    raise
            while measurement := self._next(all_cores=True):
                self._make(measurement, None)
        except BaseException:
            self._stop()
            raise
        return len(self._failed)

    def _work_on(self, core: int) -> None:
        while measurement := self._next(all_cores=False):
            self._make(measurement, core)

    def _stop(self) -> None:
        """End what is running, whole process groups; nothing begins any more."""
        with self._change:
            self._stopped, self._deadline = True, float("-inf")
            for child in self._children:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)
            self._change.notify_all()

    def _next(self, *, all_cores: bool) -> Measurement | None:
        """The next measurement of its kind, once those that it waits for are done; None if none is left."""
        with self._change:
            while time.monotonic() < self._deadline:
                missing = [m for m in self.missing() if m.all_cores == all_cores and m.key not in self._running]
                if ready := [m for m in missing if m.ready]:
                    self._running.add(ready[0].key)
                    return ready[0]
                if not missing or not self._running:
                    return None
                self._change.wait()
            return None

    def _make(self, measurement: Measurement, core: int | None) -> None:
        """Run one, keep its row, say so."""
        began = time.monotonic()
        try:
            result = self._run(measurement, core)
            row = Row(
                key=measurement.key,
                parameters=measurement.parameters,
                result=result,
                wall=round(time.monotonic() - began, 2),
                side_by_side=1 if measurement.all_cores else len(self._cores),
                date=time.strftime("%Y-%m-%d %H:%M"),
                revision=self._revision,
                machine=description(self._peers_python),
            )
            self._record.add(row)
            said = f"{row.wall:6.1f} s"
        except MeasurementFailed as error:
            self._failed.add(measurement.key)
            if self._stopped:
                return
            said = f"FAILED: {error}"
        finally:
            with self._change:
                self._running.discard(measurement.key)
                self._change.notify_all()
        with self._change:
            missing = self.missing()
        left = f"{len(missing)} left, about {self._minutes(missing):.0f} min"
        print(f"{time.strftime('%H:%M:%S')}  {measurement.key:40}{said}   ({left})", flush=True)

    def _run(self, measurement: Measurement, core: int | None) -> dict[str, Any]:
        """A process of its own, on `core` alone if given: a child has the affinity of the thread that starts it."""
        if core is not None:
            os.sched_setaffinity(0, {core})
        python = self._peers_python if measurement.needs_peers and self._peers_python else sys.executable
        parameters = measurement.parameters | measurement.unlimited
        if measurement.timed_from_spawn:
            parameters["spawned"] = time.time()
        command = [python, str(CHILD), *measurement.function.split("."), json.dumps(parameters)]
        sources = (REPOSITORY, REPOSITORY / "sandbox", REPOSITORY / "evaluation")
        environment = os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONPATH": os.pathsep.join(map(str, sources))}
        # Stable-Baselines3 leaves a folder for each model's log
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            status, said, complaint = self._ended(command, environment | {"TMPDIR": scratch})
        if status:
            raise MeasurementFailed(f"exit status {status}\n{complaint[-2000:]}")
        result: dict[str, Any] = json.loads(said.splitlines()[-1])
        return result

    def _ended(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
        """Run a child to its end, in a session of its own: Ctrl-C is for this process, which stops it; its output."""
        pipe = subprocess.PIPE
        with self._change:
            if self._stopped:
                raise MeasurementFailed("stopped before it began")
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                text=True,
                start_new_session=True,
            )
            self._children.add(child)
        try:
            said, complaint = child.communicate()
        except BaseException:  # one on all cores is waited for by the main thread
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            child.wait()
            raise
        finally:
            with self._change:
                self._children.discard(child)
        return child.returncode, said, complaint


class MeasurementFailed(Exception):
    """The process of one measurement failed; it is not tried again in this sitting."""
