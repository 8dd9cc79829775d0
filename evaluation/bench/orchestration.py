"""What a search costs beside its boxes: a real `offline` search, with every box's interval recorded.

    .venv/bin/python evaluation/bench/orchestration.py [--task NAME] [--population K] [--generations N] [--timesteps T]

Two shares of the same search are printed beside the limit of 2 %: wall time in which no box ran (select, propose,
reflect, journal and report of the host), and CPU seconds of the host process out of all CPU seconds.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock

from rich.console import Console

from eureka_agent.contract.task import load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.proposers import make_proposer
from eureka_agent.report.build import write_report
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_agent.terminal.display import watching
from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.forked import box_cpu_seconds
from eureka_sandbox.protocol import Job, Outcome, Progress, Sandbox

LIMIT = 0.02


class TimedSandbox:
    """Another sandbox, with the interval of each job kept."""

    def __init__(self, inner: Sandbox) -> None:
        self.inner = inner
        self.name = inner.name
        self.intervals: list[tuple[float, float]] = []
        self._lock = Lock()

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: Event) -> Outcome:
        """As `Sandbox.run`."""
        start = time.perf_counter()
        try:
            return self.inner.run(job, on_progress, stop)
        finally:
            with self._lock:
                self.intervals.append((start, time.perf_counter()))

    def covered_seconds(self) -> float:
        """Length of the union of all intervals."""
        total, until = 0.0, float("-inf")
        for start, end in sorted(self.intervals):
            total += max(0.0, end - max(start, until))
            until = max(until, end)
        return total


def cpu_seconds() -> float:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Search, and print where the time went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="hopper_forward")
    parser.add_argument("--population", type=int, default=4)
    parser.add_argument("--generations", type=int, default=2)
    parser.add_argument("--timesteps", type=int, default=60_000)
    options = parser.parse_args()
    task = load_task(options.task)
    settings = Settings(
        population=options.population, generations=options.generations, timesteps=options.timesteps, final_seeds=2
    )
    sandbox = TimedSandbox(make_sandbox("embedded"))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = Run.create(Path(folder) / "run", task, settings)
        with watching(run, Console(stderr=True), plain=True) as watcher:
            evolve(run, make_proposer("offline", task), Incumbent(), Lab(sandbox, run, watcher=watcher))
        write_report(run)
        wall = time.perf_counter() - start
    host, boxes = cpu_seconds(), box_cpu_seconds()
    idle = wall - sandbox.covered_seconds()
    print(f"search on {task.name}: {len(sandbox.intervals)} boxes in {wall:.1f} s")
    print(f"  wall time without any box running  {idle:6.2f} s  {judged(idle / wall)}")
    print(f"  CPU of the host process            {host:6.2f} s  {judged(host / (host + boxes))}")
    print(f"  CPU of the boxes                   {boxes:6.2f} s")
    print("Shares fall as trainings get longer: part (e) of docs/bench.md has those of a million steps each.")


def judged(share: float) -> str:
    """A share beside the limit."""
    return f"{share:6.1%}   limit {LIMIT:.0%}: {'met' if share <= LIMIT else 'missed'}"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
