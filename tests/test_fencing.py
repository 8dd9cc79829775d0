"""One writer per run: a lock for those who ask, and an epoch in every commit for those who slept."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eureka_agent.contract.task import load_task
from eureka_agent.errors import RunError
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Record
from eureka_agent.proposers import make_proposer
from eureka_agent.runs.lease import LEASE_SECONDS, Holder
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Comparison
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox

TASK = load_task("hopper_forward")
SETTINGS = Settings(population=2, generations=2, timesteps=1000, final_seeds=1, jobs=1)

SLEEPER = """
import sys, time
import eureka_sandbox.backends
from eureka_sandbox.backends.scripted import ScriptedSandbox

class Slow(ScriptedSandbox):
    def run(self, job, on_progress, stop):
        stop.wait(0.2)
        return super().run(job, on_progress, stop)

eureka_sandbox.backends.make_sandbox = lambda *_, **__: Slow()
from eureka_agent.cli import main
sys.exit(main(["evolve", "--resume", sys.argv[1]]))
"""


class Choice(Record):
    value: float


def choose(run: Run, key: str, value: float = 1.0) -> float:
    return run.decide(key, Choice, lambda: Choice(value=value)).value


def facts(folder: Path, **changes: object) -> dict[str, str]:
    """The run's own facts, after changing some behind everybody's back."""
    database = sqlite3.connect(folder / "run.db")
    try:
        with database:
            for key, value in changes.items():
                database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(value)))
        return dict(database.execute("SELECT key, value FROM meta"))
    finally:
        database.close()


def holder(**changes: object) -> str:
    return json.dumps({**json.loads(Holder.this_process().model_dump_json()), **changes})


def dump(folder: Path) -> list[str]:
    database = sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)
    try:
        return list(database.iterdump())
    finally:
        database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Run.create(tmp_path / "run", TASK, SETTINGS).close()
    return tmp_path / "run"


def test_without_the_lock_file_a_second_writer_still_is_told_who_holds_the_run(folder: Path) -> None:
    with Run.open(folder):
        (folder / "run.lock").unlink()
        words = rf"the run is open by pid {os.getpid()} on host \S+ since \d{{4}}-.* \(last heard of 0 s ago\)"
        with pytest.raises(RunError, match=words):
            Run.open(folder)
    Run.open(folder).close()


def test_a_writer_on_another_machine_is_believed_until_its_lease_ends(folder: Path) -> None:
    facts(folder, lease_holder=holder(host="elsewhere", pid=1), lease_renewed=time.time())
    with pytest.raises(RunError, match=r"open by pid 1 on host elsewhere .* the run is free in (59|60) s"):
        Run.open(folder)
    facts(folder, lease_renewed=time.time() - LEASE_SECONDS - 1)
    Run.open(folder).close()


def test_a_clock_that_was_set_back_does_not_make_a_lease_everlasting(folder: Path) -> None:
    facts(folder, lease_holder=holder(host="elsewhere"), lease_renewed=time.time() + 1e6)
    Run.open(folder).close()


@pytest.mark.parametrize("gone", [{"pid": 2**22 + 1}, {"started": 1}, {"boot": "an earlier one"}])
def test_a_writer_on_this_machine_that_certainly_ended_leaves_the_run_at_once(
    folder: Path, gone: dict[str, object]
) -> None:
    facts(folder, lease_holder=holder(**gone), lease_renewed=time.time())
    Run.open(folder).close()


def test_a_writer_that_was_replaced_commits_nothing_more_and_says_by_whom(folder: Path) -> None:
    old = Run.open(folder)
    choose(old, "before")
    (folder / "run.lock").unlink()
    facts(folder, lease_renewed=time.time() - LEASE_SECONDS - 1)
    with Run.open(folder) as new:
        choose(new, "mine", 2.0)
        saved = dump(folder)
        with pytest.raises(RunError, match=rf"taken over by pid {os.getpid()} on host .* changed nothing since"):
            choose(old, "late")
        with pytest.raises(RunError, match="taken over"):
            old.population()
        old.close()
        assert dump(folder) == saved
        assert choose(new, "mine") == 2.0
    assert "lease_holder" not in facts(folder)


def test_every_writer_has_an_epoch_of_its_own_and_renews_its_lease_with_every_commit(folder: Path) -> None:
    first = int(facts(folder)["lease_epoch"])
    with Run.open(folder) as run:
        now = facts(folder, lease_renewed=0)
        assert int(now["lease_epoch"]) == first + 1
        choose(run, "choice")
        assert time.time() - float(facts(folder)["lease_renewed"]) < 60


def test_a_lease_is_renewed_while_nothing_is_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eureka_agent.runs.journal.RENEW_SECONDS", 0.01)
    with Run.open(folder):
        facts(folder, lease_renewed=0)
        deadline = time.monotonic() + 20
        while float(facts(folder)["lease_renewed"]) == 0:
            assert time.monotonic() < deadline, "never renewed"
            time.sleep(0.01)


def searched(run: Run) -> Comparison:
    return evolve(run, make_proposer("offline", run.task), Incumbent(), Lab(ScriptedSandbox(), run))


def writing(folder: Path) -> bool:
    """Whether somebody holds the journal's write lock."""
    journal = sqlite3.connect(folder / "run.db", timeout=0.05, isolation_level=None)
    try:
        journal.execute("BEGIN IMMEDIATE")
        journal.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        journal.close()
    return False


def test_a_controller_that_wakes_up_after_another_has_resumed_its_run_stops_and_has_changed_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", SLEEPER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sleeper:
        try:
            deadline = time.monotonic() + 60
            while not any('INTO "trainings"' in line for line in dump(folder)):
                assert sleeper.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            sleeper.send_signal(signal.SIGSTOP)
            while writing(folder):  # it fell asleep in the middle of a transaction
                sleeper.send_signal(signal.SIGCONT)
                time.sleep(0.01)
                sleeper.send_signal(signal.SIGSTOP)
            with pytest.raises(RunError, match=f"open by pid {sleeper.pid} on host"):
                Run.open(folder)
            (folder / "run.lock").unlink()  # as it is on another machine, whose locks are its own
            with pytest.raises(RunError, match=f"open by pid {sleeper.pid} on host"):
                Run.open(folder)
            monkeypatch.setattr("eureka_agent.runs.lease.LEASE_SECONDS", 0.0)
            with Run.open(folder) as run:
                comparison = searched(run)
            saved = dump(folder)
            sleeper.send_signal(signal.SIGCONT)
            out, err = sleeper.communicate(timeout=60)
        finally:
            sleeper.kill()
    assert sleeper.returncode == 1, err
    assert "taken over by " in err.strip().splitlines()[-1]
    assert "Traceback" not in err
    assert out == ""
    assert dump(folder) == saved
    with Run.open(folder, read_only=True) as run:
        assert run.comparison() == comparison
