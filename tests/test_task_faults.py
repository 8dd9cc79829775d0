"""Only what also fails without a candidate's code is the task's fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from eureka_agent.contract.task import load_task
from eureka_agent.errors import TaskError
from eureka_agent.lab.lab import Lab
from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_sandbox.backends import compile_cache
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Failed, Failure, Job, Outcome, Report, TrainSpec, Verdict

TASK = load_task("inverted_pendulum_balance")
FORGED = Failure(verdict=Verdict.CODE_ERROR, message="KeyError: 'height'", file="task.py", line=9)
CANDIDATES = [
    Candidate(brief=Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=slot), code=f"# {slot}\n")
    for slot in range(2)
]


class Fails(ScriptedSandbox):
    """Boxes that report a failure of task.py where `when` says so."""

    def __init__(self, when: Callable[[Job], bool]) -> None:
        super().__init__()
        self.when = when
        self.trained_alone = 0

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: Event) -> Outcome:
        self.trained_alone += isinstance(job.spec, TrainSpec) and "reward.py" not in job.files
        return Failed(FORGED, 0.1) if self.when(job) else super().run(job, on_progress, stop)


def measured(sandbox: Fails, run: Run) -> list[Candidate]:
    return Lab(sandbox, run).measure(CANDIDATES, Population())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", TASK, Settings(population=2, generations=1, timesteps=1000, jobs=1))


def test_a_generation_of_boxes_that_blame_the_task_is_not_believed(run: Run) -> None:
    sandbox = Fails(lambda job: "reward.py" in job.files)
    assert [c.failure for c in measured(sandbox, run)] == [FORGED, FORGED]
    assert [c.failure for c in measured(sandbox, run)] == [FORGED, FORGED]
    assert sandbox.trained_alone == 1, "what was found is journaled"


@pytest.mark.parametrize("kind", ["train", "score"])
def test_a_task_that_fails_without_any_candidate_s_code_is_named(run: Run, kind: str) -> None:
    sandbox = Fails(lambda job: job.spec.kind == kind)
    with pytest.raises(TaskError, match=r"inverted_pendulum_balance/task.py:9: KeyError: 'height'; correct it and"):
        measured(sandbox, run)


def test_a_warm_up_that_fails_in_the_task_s_files_ends_the_search_before_anything_is_spent(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No candidate's code is in its box."""
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "xla"))
    sandbox = Fails(lambda job: job.warm_up)
    sandbox.name = "embedded"
    with pytest.raises(TaskError, match=r"inverted_pendulum_balance/task.py:9: KeyError: 'height'; correct it"):
        measured(sandbox, run)
    assert sandbox.started == []


def test_one_candidate_that_blames_the_task_costs_no_training(run: Run) -> None:
    sandbox = Fails(lambda job: job.files.get("reward.py") == b"# 0\n")
    assert [c.failure for c in measured(sandbox, run)] == [FORGED, None]
    assert sandbox.trained_alone == 0
