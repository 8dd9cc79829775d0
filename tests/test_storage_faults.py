"""A disk that is full, failing or read-only, an engine that goes away: a clean stop, and a resume to the same end."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from errno import EDQUOT, EIO, EMFILE, ENOSPC, EROFS
from itertools import cycle
from pathlib import Path

import pytest
from crash_cases import Boxes, Place, faults, lineage, places, sitting, standing

from eureka_agent.errors import EnvironmentMissing, RunError
from eureka_agent.runs.crashpoints import COMMITS, FILES
from eureka_agent.runs.run import Run
from eureka_sandbox.protocol import Job, Outcome, Report, SandboxError

Places = Callable[[str], Place]
ERRORS = (ENOSPC, EDQUOT, EIO, EROFS, EMFILE)
WRITES = (
    "create.drafted",
    "create.filled",
    "create.linking",
    *(f"{file}.{moment}" for file in FILES for moment in ("before", "written")),
)
"""Moments at which a file is written; each is tried with one of the errors, and `make crash` with all of them."""
SQLITE = ("database or disk is full", "disk I/O error", "attempt to write a readonly database")

FULL = """
import json, shutil, subprocess, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from crash_cases import Place, faults, lineage, sitting, standing
from eureka_agent.errors import RunError

disk = Path(sys.argv[1]) / "runs"
disk.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
place = Place(disk.parent)
filler = disk / "filler"
said = []
for left in (0, 0, 4, 12, 40, 100, 160, 240):
    room = shutil.disk_usage(disk).free
    filler.write_bytes(bytes(max(0, room - 1024 * left)))
    try:
        sitting(place)
    except RunError as error:
        said.append(str(error))
    filler.unlink()
before = standing(place)
sitting(place)
print(json.dumps({{"said": said, "lineage": lineage(place), "faults": faults(place, *before, lineage(place))}}))
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Places]:
    with places() as maker:
        yield maker


@pytest.fixture(scope="module")
def uninterrupted(place: Places) -> str:
    whole = place("whole")
    sitting(whole)
    return lineage(whole)


class Fault:
    """Fails once, at the first pass of one crash point, or at the first after that of another."""

    def __init__(self, name: str, error: Exception, after: str | None = None) -> None:
        self.name, self.error, self.raised = name, error, False
        self._after = after
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self._lock:
            if name == self._after:
                self._after = None
            if name != self.name or self.raised or self._after:
                return
            self.raised = True
        raise self.error


def stops_and_resumes(faulty: Place, fault: Fault, expected: str) -> str:
    """The message of the stop, once the resumed run has come to the same end."""
    with pytest.raises(RunError) as stopped:
        sitting(faulty, fault)
    before = standing(faulty)
    sitting(faulty)
    assert faults(faulty, *before, expected) == []
    return str(stopped.value)


def test_exports_that_fail_at_the_end_of_a_generation_are_written_by_the_next_sitting(
    uninterrupted: str, place: Places
) -> None:
    fault = Fault("export.result.before", OSError(EIO, os.strerror(EIO)), after="generation.after")
    stops_and_resumes(place("late export"), fault, uninterrupted)


@pytest.mark.parametrize(("name", "number"), list(zip(WRITES, cycle(ERRORS), strict=False)))
def test_a_file_that_cannot_be_written_stops_the_run_which_resumes_to_the_same_end(
    name: str, number: int, uninterrupted: str, place: Places
) -> None:
    faulty = place(name)
    message = stops_and_resumes(faulty, Fault(name, OSError(number, os.strerror(number))), uninterrupted)
    assert message.startswith(str(faulty.root))
    assert os.strerror(number) in message
    assert ("MB free there" in message) == (number in (ENOSPC, EDQUOT))


@pytest.mark.parametrize(("commit", "reason"), list(zip(COMMITS, cycle(SQLITE), strict=False)))
def test_a_commit_that_fails_stops_the_run_which_resumes_to_the_same_end(
    commit: str, reason: str, uninterrupted: str, place: Places
) -> None:
    fault = Fault(f"{commit}.inside", sqlite3.OperationalError(reason))
    message = stops_and_resumes(place(commit), fault, uninterrupted)
    assert f"run.db: {reason} (" in message
    assert "MB free there); what was saved before is whole, and resume continues it" in message


def test_a_disk_that_really_fills_up_stops_the_run_which_resumes_to_the_same_end(
    uninterrupted: str, tmp_path: Path
) -> None:
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no user namespace may be made here, so no small file system can be mounted")
    code = FULL.format(tests=str(Path(__file__).parent))
    command = ["unshare", "-rm", sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["said"]) >= 3, "the disk was never full"
    assert all("MB free there" in message for message in told["said"]), told["said"]
    assert told["faults"] == []
    assert told["lineage"] == uninterrupted


def test_a_run_on_a_read_only_file_system_is_read_and_not_continued(place: Places, tmp_path: Path) -> None:
    whole = place("read-only")
    sitting(whole)
    code = (
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from eureka_agent.errors import RunError\n"
        "from eureka_agent.runs.run import Run\n"
        "folder, there = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "subprocess.run(['mount', '--bind', folder, there], check=True)\n"
        "subprocess.run(['mount', '-o', 'remount,bind,ro', there], check=True)\n"
        "with Run.open(there, read_only=True) as run:\n"
        "    assert run.comparison() is not None\n"
        "try:\n"
        "    Run.open(there)\n"
        "except RunError as error:\n"
        "    print(error)\n"
    )
    command = ["unshare", "-rm", sys.executable, "-c", code, str(whole.run), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip("no user namespace may be made here, so nothing can be mounted read-only")
    assert done.returncode == 0, done.stderr
    assert "Read-only file system" in done.stdout


def test_without_free_file_descriptors_the_run_stops_and_resumes_to_the_same_end(
    uninterrupted: str, place: Places
) -> None:
    starved = place("descriptors")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def starve(name: str) -> None:
        if name == "training.after":
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # those that are open stay so

    try:
        with pytest.raises(RunError, match="Too many open files; what was saved before is whole"):
            sitting(starved, starve)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    before = standing(starved)
    sitting(starved)
    assert faults(starved, *before, uninterrupted) == []


class Engine(Boxes):
    """Goes away after so many boxes."""

    def __init__(self, place: Place, boxes: int) -> None:
        super().__init__(place)
        self._left = boxes

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: threading.Event) -> Outcome:
        self._left -= 1
        if self._left < 0:
            raise SandboxError("the engine does not answer")
        return super().run(job, on_progress, stop)


@pytest.mark.parametrize("boxes", [0, 4, 9])
def test_an_engine_that_goes_away_stops_the_run_which_resumes_to_the_same_end(
    boxes: int, uninterrupted: str, place: Places
) -> None:
    left = place(f"engine-{boxes}")
    with pytest.raises(EnvironmentMissing, match=r"failed 3 times at .*: the engine does not answer"):
        sitting(left, boxes=Engine(left, boxes))
    before = standing(left)
    sitting(left)
    assert faults(left, *before, uninterrupted) == []


def test_a_run_that_stopped_for_a_fault_leaves_its_lock(place: Places) -> None:
    faulty = place("lock")
    with pytest.raises(RunError):
        sitting(faulty, Fault("training.inside", sqlite3.OperationalError("disk I/O error")))
    Run.open(faulty.run).close()
