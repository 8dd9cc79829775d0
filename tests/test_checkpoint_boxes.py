"""SIGKILL in the middle of real trainings: of the box, its supervisor, the whole search. No result is changed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from checkpoint_cases import CLOCKS, REWARDS

from eureka_agent.contract.task import load_task, task_from_files
from eureka_agent.lab import lab as lab_module
from eureka_agent.lab.lab import Lab
from eureka_agent.population import Training, rung_key
from eureka_agent.runs.crashpoints import kill_boxes
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.terminal.watcher import Silent
from eureka_sandbox.backends.embedded import EmbeddedSandbox
from eureka_sandbox.backends.process_table import ProcessTable
from eureka_sandbox.protocol import TrainingCheckpoint

BODIES = {"hopper_forward": "hopper", "inverted_pendulum_balance": "inverted_pendulum"}
CASES: dict[str, tuple[str, Any, int]] = {
    "fused": ("hopper_forward", "fused", 24_576),
    "sb3": ("inverted_pendulum_balance", "sb3", 4_096),
    "sac": ("inverted_pendulum_balance", "sb3", 300),
}
"""Task, learner and environment steps: about a second of training, or more, on the fastest core."""
KEY = "g0c0"
EVERY = 0.05
"""Seconds between two checkpoints here."""


def new_run(folder: Path, case: str) -> Run:
    name, learner, timesteps = CASES[case]
    task = load_task(name)
    small = task.files["task.yaml"].replace(b"n_steps: 256 ", b"n_steps: 64 ")
    assert small != task.files["task.yaml"]
    task = task_from_files(name, task.folder, task.files | {"task.yaml": small}, None)
    algorithm = "sac" if case == "sac" else None
    return Run.create(folder, task, Settings(timesteps=timesteps, learner=learner, algorithm=algorithm, jobs=1))


class Stages(Silent):
    """Remembers what a person was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, text: str) -> None:
        self.told.append(text)


def train(run: Run, watcher: Silent | None = None) -> Training:
    reward = REWARDS[BODIES[run.task.name]]
    training = Lab(EmbeddedSandbox(), run, watcher=watcher).train_reward(KEY, reward, seed=5)
    assert isinstance(training, Training), training
    return training


def outcome(training: Training) -> dict[str, Any]:
    """All that must not depend on what happened on the way: weights (by hash), curves, peak, counts."""
    kept = training.model_dump(exclude={"seconds", "startup_seconds", "box_seconds", "resumed_at", "curves"})
    return kept | {name: column for name, column in training.curves.items() if name not in CLOCKS}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_module, "CHECKPOINT_SECONDS", EVERY)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Training]:
    found = {}
    for case in CASES:
        with new_run(tmp_path_factory.mktemp(case) / "run", case) as run:
            found[case] = train(run)
            assert found[case].resumed_at == 0
    return found


def kill_worker() -> None:
    """Only the process that trains; what supervises it, and what it was forked from, lives."""
    below = ProcessTable().descendants(os.getpid())
    parents = {process.parent for process in below}
    for process in below:
        if process.pid not in parents and process.parent != os.getpid():  # a forkserver that waits is our own child
            process.kill()


@pytest.mark.parametrize(
    ("case", "kill"),
    [("fused", kill_worker), ("sb3", kill_boxes), ("sac", kill_boxes)],
    ids=["worker", "whole box", "whole box of SAC"],
)
def test_a_training_whose_box_is_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, uninterrupted: dict[str, Training], case: str, kill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Stages()
    with new_run(tmp_path / "run", case) as run:
        saved: list[TrainingCheckpoint] = []
        save = run.save_checkpoint

        def save_and_kill(key: str, checkpoint: TrainingCheckpoint) -> None:
            save(key, checkpoint)
            saved.append(checkpoint)
            if len(saved) == 3:
                threading.Timer(random.uniform(0.0, 0.15), kill).start()

        monkeypatch.setattr(run, "save_checkpoint", save_and_kill)
        training = train(run, watcher)
        assert outcome(training) == outcome(uninterrupted[case])
        went_on = [line for line in watcher.told if "the training goes on after" in line]
        assert len(went_on) == 1
        assert training.resumed_at in {checkpoint.meta.timesteps for checkpoint in saved[2:]}
        assert training.seconds > saved[2].meta.seconds > 2 * EVERY
        assert run.trained_steps == training.timesteps == uninterrupted[case].timesteps
        assert not list((run.folder / "checkpoints").iterdir())


SEARCH = """
import sys
from pathlib import Path
from eureka_agent.lab import lab
from eureka_agent.runs.run import Run
from test_checkpoint_boxes import EVERY, train
lab.CHECKPOINT_SECONDS = EVERY
with Run.open(Path(sys.argv[1])) as run:
    train(run)
"""


def test_a_search_killed_with_its_box_goes_on_from_the_checkpoint(
    tmp_path: Path, uninterrupted: dict[str, Training]
) -> None:
    with new_run(tmp_path / "run", "fused") as run:
        folder = run.folder
    environment = os.environ | {
        "EUREKA_CRASH_AT": "checkpoint.after:3",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run([sys.executable, "-c", SEARCH, str(folder)], env=environment, timeout=120)
    assert done.returncode == -9
    with Run.open(folder) as run:
        kept = run.checkpoint(KEY)
        assert kept is not None
        training = train(run)
        assert training.resumed_at == kept.meta.timesteps
        assert training.seconds > kept.meta.seconds
        assert outcome(training) == outcome(uninterrupted["fused"])
        assert run.trained_steps == training.timesteps


@pytest.mark.parametrize("case", ["sb3", "sac"])
def test_a_training_in_rungs_ends_as_one_that_never_stopped(
    tmp_path: Path, uninterrupted: dict[str, Training], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Through the wall, each rung in a box of its own; no checkpoint is due but the last of each."""
    monkeypatch.setattr(lab_module, "CHECKPOINT_SECONDS", 3600.0)
    name, _, timesteps = CASES[case]
    watcher = Stages()
    with new_run(tmp_path / "run", case) as run:
        lab = Lab(EmbeddedSandbox(), run, watcher=watcher)
        reached = []
        for rung, stop_at in enumerate((timesteps // 3, 2 * timesteps // 3)):
            trial = lab.trial(rung_key(KEY, rung), REWARDS[BODIES[name]], 5, KEY, stop_at)
            assert trial.score is not None
            assert trial.training is not None
            assert len(trial.score.fitness) == 10
            reached.append(trial.training.timesteps)
            kept = run.checkpoint(KEY)
            assert kept is not None
            assert stop_at <= kept.meta.timesteps == reached[-1] < stop_at + 512
        training = train(run, watcher)
        assert training.resumed_at == reached[-1]
        assert outcome(training) == outcome(uninterrupted[case])
        assert run.trained_steps == training.timesteps
        assert run.checkpoint(KEY) is None
        assert watcher.told[:-1] == []  # but for the last, in a lab of its own, nobody hears that it went on
