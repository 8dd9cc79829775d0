"""SIGKILL at every durable step of a search: resume ends with the same lineage, and nothing finished is repeated."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from crash_cases import (
    KILLED,
    Boxes,
    Passes,
    Place,
    faults,
    in_child,
    killed_sitting,
    lineage,
    places,
    sitting,
    sitting_without_a_box,
    standing,
)

from eureka_agent.runs.crashpoints import COMMITS, POINTS, Killer, crashpoint, heard_by, kill_boxes, kill_broker
from eureka_agent.runs.run import Run

COMMITTED = 100
"""So many crash points there were when this was written; they may only become more."""

AROUND = [name for name in POINTS if not name.endswith(".inside")]
TOGETHER = [[f"{commit}.inside"] for commit in COMMITS] + [AROUND[i : i + 2] for i in range(0, len(AROUND), 2)]
"""Every crash point once. A job survives two lost boxes, so one search can lose them at two points."""

Places = Callable[[str], Place]


@pytest.fixture(scope="module")
def place() -> Iterator[Places]:
    with places() as maker:
        yield maker


@pytest.fixture(scope="module")
def passes() -> Passes:
    return Passes()


@pytest.fixture(scope="module")
def uninterrupted(place: Places, passes: Passes) -> str:
    """The lineage that every other run must reach."""
    whole = place("whole")
    sitting(whole, passes)
    assert faults(whole, *[dict.fromkeys(("trainings", "scores"), 0)] * 2, lineage(whole)) == []
    return lineage(whole)


def test_the_reference_search_passes_every_crash_point_and_none_was_dropped(uninterrupted: str, passes: Passes) -> None:
    assert len(set(POINTS)) == len(POINTS) >= COMMITTED
    assert [name for name in POINTS if not passes.counts[name]] == []


def test_the_reference_search_stops_some_on_the_way_and_settles_who_leads_on_more_seeds(
    uninterrupted: str, place: Places
) -> None:
    whole = place("raced")
    sitting(whole)
    with Run.open(whole.run, read_only=True) as run:
        candidates = run.population().candidates
        assert any(c.stopped for c in candidates)
        assert any(c.rungs and not c.stopped for c in candidates)
        settled = run.incumbency()
    assert settled is not None
    assert any(len(standing.later) > 1 for standing in settled.standings)


def test_another_search_has_another_lineage(uninterrupted: str, place: Places) -> None:
    same, other = place("same"), place("other")
    sitting(same)
    sitting(other, seed=1)
    assert lineage(same) == uninterrupted
    assert lineage(other) != uninterrupted


@pytest.mark.parametrize("name", POINTS)
def test_a_controller_that_is_killed_resumes_to_the_same_end(name: str, uninterrupted: str, place: Places) -> None:
    killed = place(name)
    assert in_child(killed_sitting, killed, name, 1) == KILLED
    before = standing(killed)
    sitting(killed)
    assert faults(killed, *before, uninterrupted) == []


@pytest.mark.parametrize("names", TOGETHER, ids=" ".join)
def test_boxes_that_are_killed_are_replaced_and_nothing_else_is_repeated(
    names: list[str], uninterrupted: str, place: Places
) -> None:
    with_losses = place(f"{names[0]}-boxes")
    boxes = Boxes(with_losses)
    times: list[None] = []
    killers = [Killer(name, what="box", kill=lambda: times.append(boxes.kill())) for name in names]

    def hearer(passed: str) -> None:
        for killer in killers:
            killer(passed)

    sitting(with_losses, hearer, boxes)
    assert len(times) == len(names)
    assert faults(with_losses, *[dict.fromkeys(("trainings", "scores"), 0)] * 2, uninterrupted) == []


@pytest.mark.parametrize("name", POINTS)
def test_a_controller_that_is_killed_with_its_boxes_resumes_to_the_same_end(
    name: str, uninterrupted: str, place: Places
) -> None:
    """The boxes of these tests end with their controller anyway; so the next one is lost too, once it goes on."""
    killed = place(f"{name}-both")
    assert in_child(killed_sitting, killed, name, 1, "both") == KILLED
    before = standing(killed)
    sitting_without_a_box(killed)
    assert faults(killed, *before, uninterrupted) == []


def test_killed_again_and_again_a_search_still_ends_the_same(uninterrupted: str, place: Places) -> None:
    killed, draw = place("again"), random.Random(0)
    kills = 0
    for _ in range(8):
        kills += in_child(killed_sitting, killed, draw.choice(POINTS), 1) == KILLED
    assert kills >= 3
    before = standing(killed)
    sitting(killed)
    assert faults(killed, *before, uninterrupted) == []


def test_a_crash_while_the_report_is_written_leaves_the_previous_one_whole(place: Places) -> None:
    killed = place("report")
    sitting(killed)
    report = killed.run / "report.html"
    report.write_text("the previous one")
    assert in_child(killed_sitting, killed, "report.written", 1) == KILLED
    assert report.read_text() == "the previous one"


def test_a_creation_that_was_killed_leaves_no_run_under_its_name(place: Places) -> None:
    killed = place("creation")
    assert in_child(killed_sitting, killed, "create.filled", 1) == KILLED
    (left,) = (killed.root / "runs").glob("*/*")
    assert left.name.startswith(".")
    assert not killed.run.exists()


def test_a_durable_step_without_a_name_is_noticed(place: Places) -> None:
    unnamed = place("unnamed")
    sitting(unnamed)
    with Run.open(unnamed.run) as run, heard_by(Passes()), pytest.raises(LookupError, match=r"'news\.before' is not"):
        run._write(step="news")


def test_nothing_happens_at_a_crash_point_unless_it_is_asked_for() -> None:
    for name in POINTS:
        crashpoint(name)
    with pytest.raises(ValueError, match="EUREKA_CRASH_AT=nowhere: no crash point has that name"):
        Killer("nowhere")
    with pytest.raises(ValueError, match="EUREKA_CRASH_WHAT=everything"):
        Killer("lock.taken", what="everything")


def test_only_what_is_to_be_killed_is_killed() -> None:
    """Boxes and the broker are told apart, from each other and from anything else, by their command lines."""
    sleep = "import time; print(flush=True); time.sleep(600)"
    command = [sys.executable, "-c", sleep]
    with (
        subprocess.Popen([*command, "eureka_sandbox.worker"], stdout=subprocess.PIPE) as box,
        subprocess.Popen([*command, "eureka_agent.llm.broker_main"], stdout=subprocess.PIPE) as broker,
        subprocess.Popen(command, stdout=subprocess.PIPE) as other,
    ):
        try:
            for process in (box, broker, other):
                assert process.stdout is not None
                process.stdout.readline()
            assert kill_boxes() == 1
            assert box.wait(20) == -signal.SIGKILL
            assert (broker.poll(), other.poll()) == (None, None)
            assert kill_broker() == 1
            assert broker.wait(20) == -signal.SIGKILL
            assert other.poll() is None
        finally:
            for process in (box, broker, other):
                process.kill()
