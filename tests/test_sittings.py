"""How full the slots for boxes were, from the journal alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_report import score, training

from eureka_agent.cli.result import result_data
from eureka_agent.contract.task import load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.report import costs
from eureka_agent.report.facts import gather
from eureka_agent.runs.run import Run
from eureka_agent.runs.sittings import Sitting, sit_down, utilisation
from eureka_agent.search.searching import search
from eureka_agent.search.stopping import Stop, stop_key
from eureka_agent.settings import Settings
from eureka_agent.terminal.watcher import Silent
from eureka_sandbox.backends.scripted import ScriptedSandbox

TASK = load_task("inverted_pendulum_balance")


class Clock:
    """A run's wall time, set by hand."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(Run, "elapsed_seconds", property(lambda _: found.now))
    return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create(tmp_path / "run", TASK, Settings(population=2, generations=2, jobs=2)) as made:
        yield made


def prove(run: Run, number: int) -> None:
    """What `proven_wall` journals."""
    wall = ScriptedSandbox().check()
    run.decide(f"wall/{number}", type(wall), lambda: wall)


def compute(run: Run, key: str, seconds: float) -> None:
    """A training of so many seconds, its start included, and a score that takes one."""
    run.save_training(key, training().model_copy(update={"seconds": seconds - 2.0, "startup_seconds": 2.0}))
    run.save_score(key, score((1.0, 2.0)).model_copy(update={"seconds": 1.0}))


def test_boxes_are_counted_over_every_sitting_with_its_own_slots(run: Run, clock: Clock) -> None:
    sit_down(run, 2)
    prove(run, 1)
    assert utilisation(run) is None, "nothing has run"
    compute(run, "g0c0", 49.0)
    clock.now = 50.0
    found = utilisation(run)
    assert found is not None
    assert found.share == pytest.approx(50 / (2 * 50))
    clock.now = 60.0  # killed here, and resumed with fewer slots
    sit_down(run, 1)
    clock.now = 61.0
    prove(run, 2)
    compute(run, "g0c1", 29.0)
    compute(run, "final/human/0", 1000.0)
    clock.now = 100.0
    found = utilisation(run)
    assert found is not None
    assert (found.box_seconds, found.slot_seconds, found.jobs) == (pytest.approx(80.0), 2 * 60 + 40, (1, 2))
    assert found.text == "50 % of wall time × 1 to 2 side by side, last comparison not included"
    facts = gather(run)
    assert ("boxes busy", found.text) in costs.times(facts)
    assert result_data(facts, Path("x"))["utilisation"]["share"] == found.share


def test_of_sittings_whose_wall_did_not_prove_itself_none_counts(run: Run, clock: Clock) -> None:
    sit_down(run, 8)
    clock.now = 5.0
    assert sit_down(run, 2).began == 5.0
    prove(run, 1)
    compute(run, "g0c0", 9.0)
    clock.now = 25.0
    sit_down(run, 8)  # it fails again, and nothing is tried after it
    clock.now = 40.0
    found = utilisation(run)
    assert found is not None
    assert (found.slot_seconds, found.jobs) == (2 * 20.0, (2, 2))


def test_a_sitting_of_a_version_that_numbered_it_by_its_wall_counts(run: Run, clock: Clock) -> None:
    run.decide("sitting/1", Sitting, lambda: Sitting(jobs=8, began=0.0))
    clock.now = 10.0
    sit_down(run, 1)
    prove(run, 1)
    compute(run, "g0c0", 9.0)
    clock.now = 30.0
    found = utilisation(run)
    assert found is not None
    assert (found.slot_seconds, found.jobs) == (20.0, (1, 1))


def end(run: Run) -> None:
    """As `stopped` does."""
    stop = Stop(reason="enough", steps=1, seconds=run.elapsed_seconds)
    run.decide(stop_key(run.generations, run.settings), Stop, lambda: stop)


def test_a_last_comparison_counts_in_no_sitting(run: Run, clock: Clock) -> None:
    sit_down(run, 2)
    prove(run, 1)
    compute(run, "g0c0", 49.0)
    clock.now = 50.0
    end(run)
    slots = []
    for now in (90.0, 140.0):  # killed in the comparison, and resumed
        clock.now = now
        sit_down(run, 4)
        prove(run, len(slots) + 2)
        clock.now += 10.0
        found = utilisation(run)
        assert found is not None
        slots.append((found.slot_seconds, found.jobs))
    assert slots == [(2 * 50.0, (2, 2))] * 2
    run.amend({"generations": 5})
    clock.now = 200.0
    sit_down(run, 1)
    prove(run, 4)
    compute(run, "g0c1", 9.0)
    clock.now = 230.0
    found = utilisation(run)
    assert found is not None
    assert (found.slot_seconds, found.jobs) == (2 * 50 + 30, (1, 2))
    end(run)
    clock.now = 300.0
    assert utilisation(run) == found


def test_a_run_of_an_earlier_version_says_nothing(run: Run, clock: Clock) -> None:
    prove(run, 1)
    compute(run, "g0c0", 9.0)
    clock.now = 100.0
    assert utilisation(run) is None
    sit_down(run, 2)
    prove(run, 2)
    clock.now = 200.0
    assert utilisation(run) is None
    assert all(name != "boxes busy" for name, _ in costs.times(gather(run)))


def test_a_search_journals_its_slots_and_the_comparison_does_not_count(tmp_path: Path) -> None:
    settings = Settings(population=2, generations=1, timesteps=256, final_seeds=1, jobs=2, contest_seeds=1)
    with Run.create(tmp_path / "run", TASK, settings) as run:
        search(run, ScriptedSandbox(), Silent())
        end, found, sitting = run.end(), utilisation(run), run.decided("sitting/1", Sitting)
        assert end is not None
        assert sitting is not None
        assert found is not None
        assert found.jobs == (Lab(ScriptedSandbox(), run).boxes.jobs,) * 2
        assert found.slot_seconds == pytest.approx(2 * (end.seconds - sitting.began))
        assert found.box_seconds == run.work_of_candidates.seconds
