"""A clock that jumps between two sittings, or within one, changes nothing that a run decides."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from eureka_agent.contract.task import load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.proposers import make_proposer
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox

TASK = load_task("hopper_forward")
SETTINGS = Settings(population=2, generations=1, timesteps=1000, final_seeds=1, jobs=1, max_seconds=3600)
YEAR = 365 * 86_400.0


def search(run: Run) -> Comparison:
    return evolve(run, make_proposer("offline", TASK), Incumbent(), Lab(ScriptedSandbox(), run))


def test_after_a_clock_was_set_back_the_last_comparison_still_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    with Run.create(tmp_path / "run", TASK, SETTINGS) as run:
        first = search(run)
    monkeypatch.setattr(time, "time", lambda: now() - YEAR)
    with Run.open(tmp_path / "run") as run:
        run.amend({"generations": 3})
        assert run.comparison() is None
        second = search(run)
        assert run.comparison() == second != first
    with Run.open(tmp_path / "run") as run:
        assert run.comparison() == second


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
def test_a_jump_of_the_clock_within_a_search_does_not_use_up_its_time(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() + (jump if next(calls) % 2 else 0.0))
    with Run.create(tmp_path / "run", TASK, SETTINGS) as run:
        before = run.elapsed_seconds
        assert search(run) == run.comparison()
        assert 0 <= before <= run.elapsed_seconds < 3600
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert 0 < run.elapsed_seconds < 3600
        assert [c.id for c in run.population().candidates] == ["g0c0", "g0c1"]
