"""SIGKILL at every durable step of a search: resume ends with the same lineage and repeats no finished training."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eureka_agent import storage
from eureka_agent.comparison import Comparison
from eureka_agent.journal import Journal
from eureka_agent.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.run import Run
from eureka_agent.settings import Settings
from eureka_agent.strategy import Incumbent
from eureka_agent.task import Task, load_task
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import TrainSpec

TASK = load_task("hopper_forward")
SETTINGS = Settings(population=3, generations=2, timesteps=1000, final_seeds=1, jobs=2)
EVERY = 11
"""Every eleventh step is tried here; a prime, so that all kinds of steps come up. One tries them all, in a minute."""

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["eureka_agent.loop", "eureka_sandbox.backends.scripted", "pytest", "scipy.stats"])


class Proposals:
    """Code that depends on the parents' fitness, so that a lineage that strays shows."""

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        if brief.id == "g0c1":
            return Proposal(code="# scripted: verdict=time\n")
        fitness = [population[parent].fitness for parent in brief.parents]
        return Proposal(code=f"# {brief.id} from {brief.parents} {fitness}\n")


def lineage(run: Run) -> str:
    """SHA-256 over candidates, parents, code, seeds, verdicts and fitness, and the comparison's figures."""
    comparison = run.comparison()
    lines = [
        f"{c.id} {c.brief} {hashlib.sha256(c.code.encode()).hexdigest()} {c.training.seed if c.training else None} "
        f"{c.failure} {c.fitness} {c.reflection}"
        for c in run.population().candidates
    ]
    if comparison:
        figures = [(t.training.seed if t.training else None, t.score) for arm in comparison.arms for t in arm.trials]
        lines += [str((seed, score.fitness if score else None)) for seed, score in figures]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def search(run: Run, sandbox: ScriptedSandbox) -> Comparison:
    return evolve(run, Proposals(), Incumbent(), Lab(sandbox, run))


def in_child(work: Callable[..., None], *arguments: object) -> int:
    """Run in a process forked from a clean, warm server; returns its exit code, -9 for SIGKILL."""
    child = SERVER.Process(target=work, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


class Steps:
    """Counts durable steps (around each commit, each blob's fsync and rename) and kills this process at one."""

    def __init__(self, fatal: int | None) -> None:
        self.count = 0
        self.fatal = fatal
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object, **named: object) -> object:
            self.step()
            result = function(*arguments, **named)
            self.step()
            return result

        return stepped


def search_with_steps(folder: Path, fatal: int | None) -> int:
    steps = Steps(fatal)
    patch = pytest.MonkeyPatch()
    patch.setattr(Journal, "write", steps.around(Journal.write))
    patch.setattr(storage.os, "fsync", steps.around(os.fsync))
    patch.setattr(storage.os, "rename", steps.around(os.rename))
    try:
        with Run.open(folder) as run:
            search(run, ScriptedSandbox())
    finally:
        patch.undo()
    return steps.count


def finished_keys(folder: Path, table: str) -> set[str]:
    with sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True) as database:
        return {key for (key,) in database.execute(f"SELECT key FROM {table}")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """The lineage that every other run must reach, and how many durable steps it takes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    Run.create(folder, TASK, SETTINGS).close()
    count = search_with_steps(folder, fatal=None)
    with Run.open(folder) as run:
        return lineage(run), count


def test_two_whole_searches_have_the_same_lineage(uninterrupted: tuple[str, int], tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", TASK, SETTINGS) as run:
        search(run, ScriptedSandbox())
        assert lineage(run) == uninterrupted[0]
    with Run.create(tmp_path / "other", TASK, SETTINGS.model_copy(update={"seed": 1})) as run:
        search(run, ScriptedSandbox())
        assert lineage(run) != uninterrupted[0]


def test_killed_at_any_durable_step_a_search_resumes_to_the_same_end(
    uninterrupted: tuple[str, int], tmp_path: Path
) -> None:
    expected, total = uninterrupted
    assert total > 150
    for fatal in range(1, total - 20, EVERY):  # threads that store the same blob at once may save a few steps
        folder = tmp_path / f"run{fatal}"
        Run.create(folder, TASK, SETTINGS).close()
        assert in_child(search_with_steps, folder, fatal) == -signal.SIGKILL, fatal
        trained = finished_keys(folder, "trainings")
        sandbox = ScriptedSandbox()
        with Run.open(folder) as run:
            search(run, sandbox)
            assert lineage(run) == expected, fatal
        repeated = _train_starts(sandbox) - (len(finished_keys(folder, "trainings")) - len(trained))
        assert repeated == 0, fatal
        assert list((folder / "blobs").glob(".tmp-*")) == [], fatal


def test_killed_again_and_again_a_search_still_ends_the_same(uninterrupted: tuple[str, int], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    Run.create(folder, TASK, SETTINGS).close()
    kills = 0
    while in_child(search_with_steps, folder, 60) == -signal.SIGKILL:
        kills += 1
        assert kills < 20, "no sitting gets further than the one before"
    assert kills >= 3
    with Run.open(folder) as run:
        assert lineage(run) == uninterrupted[0]
        with sqlite3.connect(folder / "run.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def create_and_die(folder: Path) -> None:
    pytest.MonkeyPatch().setattr(storage.os, "rename", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    Run.create(folder, TASK, SETTINGS)


def test_a_killed_creation_leaves_no_run_under_its_name(tmp_path: Path) -> None:
    assert in_child(create_and_die, tmp_path / "run") == -signal.SIGKILL
    assert not (tmp_path / "run").exists()
    Run.create(tmp_path / "run", TASK, SETTINGS).close()


def _train_starts(sandbox: ScriptedSandbox) -> int:
    return sum(isinstance(job.spec, TrainSpec) for job in sandbox.started)
