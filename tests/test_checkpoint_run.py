"""What the host does with checkpoints: kept durably, replaced, handed to the same training only, gone with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from checkpoint_cases import meta_of

from eureka_agent.contract.task import load_task
from eureka_agent.lab.jobs import SILENCE_SECONDS, training_limits
from eureka_agent.lab.lab import Lab
from eureka_agent.population import Training
from eureka_agent.runs.run import Run
from eureka_agent.settings import Recipe, Settings
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import (
    CheckpointMeta,
    Failed,
    Failure,
    Job,
    Outcome,
    Report,
    SandboxError,
    TrainingCheckpoint,
    TrainSpec,
    Verdict,
)

TASK = load_task("hopper_forward")
SETTINGS = Settings(population=1, generations=1, timesteps=1000, jobs=1)


def checkpoint(timesteps: int = 512, arrays: bytes = b"arrays") -> TrainingCheckpoint:
    return TrainingCheckpoint(CheckpointMeta.model_validate_json(json.dumps(meta_of(timesteps=timesteps))), arrays)


def files(run: Run) -> list[str]:
    folder = run.folder / "checkpoints"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", TASK, SETTINGS)


class Telling(ScriptedSandbox):
    """Tells each box's part of a script: a checkpoint sent, then how the box ends. The last box trains to the end."""

    def __init__(self, *boxes: tuple[TrainingCheckpoint | None, Failed | SandboxError]) -> None:
        super().__init__()
        self._boxes = list(boxes)

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: threading.Event) -> Outcome:
        if not isinstance(job.spec, TrainSpec) or not self._boxes:
            return super().run(job, on_progress, stop)
        self.started.append(job)
        sent, end = self._boxes.pop(0)
        if sent:
            on_progress(sent)
        if isinstance(end, SandboxError):
            raise end
        return end

    @property
    def went_on(self) -> list[bytes | None]:
        """The arrays with which each training began."""
        return [job.files.get("checkpoint.safetensors") for job in self.started if isinstance(job.spec, TrainSpec)]


KILLED = Failed(Failure(verdict=Verdict.BAD_RESULT, message="the box ended (signal SIGKILL)"), 1.0, killed=True)
LOST = SandboxError("the Engine is gone")


def test_a_checkpoint_is_kept_until_the_next_and_until_the_training_ends(run: Run) -> None:
    assert run.checkpoint("g0c0") is None
    run.save_checkpoint("g0c0", checkpoint(256, b"old"))
    run.save_checkpoint("g0c0", checkpoint(512, b"new"))
    run.save_checkpoint("g0c1", checkpoint(128, b"other"))
    assert run.checkpoint("g0c0") == checkpoint(512, b"new")
    assert run.checkpoint("g0c1") == checkpoint(128, b"other")
    assert len(files(run)) == 2
    run.save_training("g0c0", Failure(verdict=Verdict.TIME, message="too slow"))
    assert run.checkpoint("g0c0") is None
    assert len(files(run)) == 1


def test_a_checkpoint_survives_its_writer_and_leftovers_do_not(run: Run) -> None:
    run.save_checkpoint("g0c0", checkpoint())
    (run.folder / "checkpoints" / "0000").write_bytes(b"superseded by a writer that was killed then")
    (run.folder / "checkpoints" / ".tmp-1").write_bytes(b"half")
    run.close()
    with Run.open(run.folder) as again:
        assert again.checkpoint("g0c0") == checkpoint()
        assert len(files(again)) == 1


def test_a_missing_or_damaged_checkpoint_means_beginning_again(run: Run) -> None:
    run.save_checkpoint("g0c0", checkpoint())
    (path,) = (run.folder / "checkpoints").iterdir()
    path.write_bytes(b"arrayz")
    assert run.checkpoint("g0c0") is None
    path.unlink()
    assert run.checkpoint("g0c0") is None
    sandbox = ScriptedSandbox()
    assert isinstance(Lab(sandbox, run).train_reward("g0c0", "# code", 1), Training)
    assert "checkpoint.json" not in sandbox.started[0].files


def test_only_trainings_of_a_search_are_asked_for_checkpoints(run: Run) -> None:
    sandbox = ScriptedSandbox()
    lab = Lab(sandbox, run)
    training = lab.train_reward("g0c0", "# code", 1)
    assert isinstance(training, Training)
    lab.score_policy("g0c0", training)
    specs = [job.spec for job in sandbox.started]
    assert [spec.checkpoint_seconds for spec in specs if isinstance(spec, TrainSpec)] == [30.0]


@pytest.mark.parametrize("end", [KILLED, LOST], ids=["killed", "lost"])
def test_a_training_whose_box_is_gone_goes_on_from_its_last_checkpoint(run: Run, end: Failed | SandboxError) -> None:
    sandbox = Telling((checkpoint(256, b"first"), end), (checkpoint(512, b"second"), end))
    assert isinstance(Lab(sandbox, run).train_reward("g0c0", "# code", 1), Training)
    assert sandbox.went_on == [None, b"first", b"second"]
    assert files(run) == []


def test_a_reward_that_kills_its_own_box_when_its_time_is_up_gets_no_more_time(run: Run) -> None:
    late = replace(KILLED, seconds=1e6)
    sandbox = Telling(*[(checkpoint(), late)] * 5)
    assert Lab(sandbox, run).train_reward("g0c0", "# code", 1) == KILLED.failure
    assert len(sandbox.started) == 1


def test_a_reward_that_kills_its_own_box_every_time_fails(run: Run) -> None:
    sandbox = Telling(*[(checkpoint(), KILLED)] * 5)
    assert Lab(sandbox, run).train_reward("g0c0", "# code", 1) == KILLED.failure
    first, second, third = (job.limits.wall_seconds for job in sandbox.started)
    assert (first - second, second - third) == (KILLED.seconds, KILLED.seconds)
    assert files(run) == []


def test_a_failure_of_the_reward_is_not_tried_again(run: Run) -> None:
    sandbox = Telling((checkpoint(), replace(KILLED, killed=False)))
    assert Lab(sandbox, run).train_reward("g0c0", "# code", 1) == KILLED.failure
    assert len(sandbox.started) == 1


def test_a_checkpoint_goes_to_no_other_training(run: Run) -> None:
    run.save_checkpoint("g0c0", checkpoint(512, b"poisoned"))
    sandbox = ScriptedSandbox()
    lab = Lab(sandbox, run)
    other = lab.train_reward("g0c1", "# other", 1)
    assert isinstance(other, Training)
    lab.score_policy("g0c1", other)
    assert not any("checkpoint.json" in job.files for job in sandbox.started)
    lab.train_reward("g0c0", "# code", 1)
    assert sandbox.started[-1].files["checkpoint.safetensors"] == b"poisoned"


def test_steps_of_a_training_that_went_on_are_counted_once(run: Run) -> None:
    sandbox = Telling((checkpoint(256), KILLED))
    Lab(sandbox, run).train_reward("g0c0", "# code", 1)
    assert run.trained_steps == 1000


KILL = """
import sys
from test_checkpoint_run import checkpoint
from eureka_agent.runs.run import Run
with Run.open(sys.argv[1]) as run:
    run.save_checkpoint("g0c0", checkpoint(256, b"first"))
    run.save_checkpoint("g0c0", checkpoint(512, b"second"))
"""


@pytest.mark.parametrize("moment", ["before", "inside", "after"])
def test_a_writer_killed_while_it_saves_leaves_one_whole_checkpoint(run: Run, moment: str) -> None:
    run.close()
    environment = os.environ | {
        "EUREKA_CRASH_AT": f"checkpoint.{moment}:2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run([sys.executable, "-c", KILL, str(run.folder)], env=environment, timeout=60)
    assert done.returncode == -9
    with Run.open(run.folder) as again:
        expected = checkpoint(512, b"second") if moment == "after" else checkpoint(256, b"first")
        assert again.checkpoint("g0c0") == expected
        assert len(files(again)) == 1


def recipe(algorithm: str, **hyperparameters: object) -> Recipe:
    return Recipe.model_validate(
        {"algorithm": algorithm, "learner": "fused", "timesteps": 1000, "hyperparameters": hyperparameters}
    )


def test_the_silence_that_is_allowed_follows_the_recipe() -> None:
    def silence(algorithm: str, **hyperparameters: object) -> float:
        limit = training_limits(recipe(algorithm, **hyperparameters), 1000).silence_seconds
        assert limit is not None
        return limit - SILENCE_SECONDS

    assert silence("ppo") == pytest.approx(2048 / 200)
    assert silence("ppo", n_steps=8192, n_envs=64) == pytest.approx(8192 * 64 / 200)
    assert silence("ppo", n_epochs=40) == pytest.approx(4 * 2048 / 200)
    assert silence("sac", train_freq=1000, gradient_steps=2000) == pytest.approx(2000 / 20)
    assert training_limits(recipe("ppo"), 1000, 12.0).wall_seconds == 12.0
