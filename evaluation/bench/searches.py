"""Whole searches with the offline proposer: where their wall time goes, and how they scale."""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration import cpu_seconds

from eureka_agent.contract.task import load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Candidate, Population
from eureka_agent.proposers import make_proposer
from eureka_agent.report.build import write_report
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.search.steps import propose, select
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.forked import box_cpu_seconds, close_all
from eureka_sandbox.protocol import Finished, Job, Outcome, Report, Sandbox, ScoreSpec, TrainResult, Wall

EVERY_STEP = {"racing": "none", "contest_seeds": 1}
"""Each candidate is trained once and to the end: such a search takes exactly the steps that its sizes say."""


class StagedSandbox:
    """Another sandbox, with the seconds that its boxes spent in each stage added up."""

    def __init__(self, inner: Sandbox) -> None:
        self.inner = inner
        self.name = inner.name
        self.stages: dict[str, float] = {}
        self.boxes = 0
        self._lock = threading.Lock()

    def check(self, private: Sequence[Path] = ()) -> Wall:
        """As `Sandbox.check`."""
        return self.inner.check(private)

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: threading.Event) -> Outcome:
        """As `Sandbox.run`."""
        outcome = self.inner.run(job, on_progress, stop)
        with self._lock:
            self.boxes += 1
            for stage, seconds in stages_of(job, outcome).items():
                self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        return outcome


def stages_of(job: Job, outcome: Outcome) -> Mapping[str, float]:
    """A box's wall time by stage, seconds."""
    if not isinstance(outcome, Finished):
        return {"boxes that failed": outcome.seconds}
    if isinstance(outcome.result, TrainResult):  # its own `seconds` are those of all rungs so far
        startup = outcome.result.startup_seconds
        return {"start-up of training": startup, "training and export": outcome.seconds - startup}
    if isinstance(job.spec, ScoreSpec):
        pictures = job.spec.video is not None or job.spec.sheet is not None
        return {"filming" if pictures else "scoring": outcome.seconds}
    return {"judging and mapping rewards": outcome.seconds}


class TimedLab(Lab):
    """A lab that knows when the final comparison began."""

    comparison_began = 0.0

    def compare(self, best: Candidate) -> Comparison:
        """As `Lab.compare`."""
        self.comparison_began = time.perf_counter()
        return super().compare(best)


def search(
    task: str, population: int, generations: int, timesteps: int, seed: int, every_step: bool, final_seeds: int = 3
) -> dict[str, Any]:
    """A search as `eureka evolve` runs it, report included: wall time of its parts, core seconds of its stages.

    Without `every_step` it races and contests, as it does unless told otherwise.
    """
    sizes = {"population": population, "generations": generations, "timesteps": timesteps, "seed": seed}
    sizes["final_seeds"] = final_seeds
    settings = Settings.model_validate(sizes | (EVERY_STEP if every_step else {}))
    known = load_task(task)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = Run.create(Path(folder) / "run", known, settings)
        sandbox = StagedSandbox(make_sandbox("embedded"))
        lab = TimedLab(sandbox, run)
        lab.begin()
        comparison = evolve(run, make_proposer("offline", known), Incumbent(), lab)
        compared = time.perf_counter()
        write_report(run)
        ended = time.perf_counter()
        failed, steps = sum(c.failure is not None for c in run.population().candidates), run.searched_steps
    close_all()
    wall = ended - began
    busy = sum(sandbox.stages.values())
    return {
        "wall": wall,
        "search_seconds": lab.comparison_began - began,
        "comparison_seconds": compared - lab.comparison_began,
        "report_seconds": ended - compared,
        "steps": steps,
        "jobs": lab.boxes.jobs,
        "boxes": sandbox.boxes,
        "failed": failed,
        "stages": {**sandbox.stages, "cores without a box": wall * lab.boxes.jobs - busy},
        "host_cpu_seconds": cpu_seconds(),
        "box_cpu_seconds": box_cpu_seconds(),
        "memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6,
        "best": comparison.candidate,
    }


def generation(task: str, candidates: int, jobs: int, timesteps: int, seed: int) -> dict[str, Any]:
    """One generation, `jobs` boxes side by side: its wall time from selection to the last reward judged."""
    known = load_task(task)
    sizes = {"population": candidates, "generations": 1, "timesteps": timesteps, "seed": seed, "jobs": jobs}
    settings = Settings.model_validate(sizes | EVERY_STEP)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", known, settings)
        lab = Lab(make_sandbox("embedded"), run)
        lab.begin()
        began = time.perf_counter()
        briefs = select(run, Incumbent(), Population())
        asked = propose(lab, make_proposer("offline", known), briefs, Population())
        measured = lab.measure(asked, Population())
        wall = time.perf_counter() - began
    trained = sum(c.training.timesteps for c in measured if c.training and c.duplicate_of is None)
    return {"wall": wall, "steps": trained, "failed": sum(c.failure is not None for c in measured)}
