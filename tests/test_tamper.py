"""A score that nobody can touch: the tricks of category F in real trainings, their policies scored by the pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from backend_cases import as_json, policy_arrays, policy_meta
from one_process_cases import FORGERIES
from safetensors.numpy import save as save_arrays

from eureka_agent.contract.task import load_task, task_from_files
from eureka_agent.lab.lab import Lab
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Trial
from eureka_agent.settings import Settings
from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.hostile.corpus import RUNS, Case
from eureka_sandbox.hostile.probe import tampering
from eureka_sandbox.hostile.suite import unexpected
from eureka_sandbox.hostile.tamper import CREDIBLE, ENVIRONMENT, HIGHEST, TASK, runner, train_job
from eureka_sandbox.protocol import Finished, ScoreSpec
from eureka_sandbox.worker.emit import JobFailed
from eureka_sandbox.worker.scoring import score

SKIPPED = frozenset() if os.environ.get("EUREKA_ATTACKS_IN_DEPTH") else {"patched_episode", "patched_safetensors"}
TRICKS = [case for case in FORGERIES.cases if case.name not in SKIPPED]
TASK_NAME = "inverted_pendulum_balance"
BEST = 40.0
"""Seconds for which a pole can stay up in an episode of the task."""
SEED = 7


@dataclass
class Pipeline:
    """A run and its lab, and the honest training that the others are set against."""

    run: Run
    lab: Lab
    honest: Trial

    def trial(self, case: Case) -> Trial:
        """Box A with the trick, box B on seeds drawn after it."""
        return self.lab.trial(case.name, tampering(case).decode(), SEED)

    def recomputed(self, trial: Trial, policy: Trial, folder: Path) -> tuple[float, ...]:
        """What a policy scores on the trial's seeds in this process, which no trick has ever run in."""
        assert trial.score is not None
        assert policy.training is not None
        (folder / "task.py").write_bytes(self.run.task.files["task.py"])
        (folder / "policy.safetensors").write_bytes(self.run.blob(policy.training.policy))
        (folder / "policy.json").write_bytes(self.run.blob(policy.training.policy_meta))
        spec = ScoreSpec(environment=self.run.task.environment, seeds=trial.score.seeds, record_episodes=0)
        return tuple(score(spec, folder, None)[0].fitness)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    task = load_task(TASK_NAME)
    short = task.files["task.yaml"].replace(b"n_steps: 256", b"n_steps: 32").replace(b"n_epochs: 10", b"n_epochs: 2")
    task = task_from_files(task.name, task.folder, {**task.files, "task.yaml": short}, None)
    settings = Settings(population=2, generations=1, timesteps=1024, final_seeds=1, learner="sb3", jobs=1)
    with Run.create(tmp_path_factory.mktemp("tamper") / "run", task, settings) as run:
        lab = Lab(make_sandbox("embedded"), run)
        honest = lab.trial("honest", tampering(FORGERIES.control).decode(), SEED)
        assert honest.score is not None
        yield Pipeline(run, lab, honest)


@pytest.mark.slow
@pytest.mark.parametrize("case", TRICKS, ids=lambda case: case.name)
def test_a_trick_in_the_training_does_not_touch_the_score(case: Case, pipeline: Pipeline, tmp_path: Path) -> None:
    trial = pipeline.trial(case)
    assert unexpected(case, trial.failure) == ""
    if trial.failure is not None:
        assert trial.score is None
        return
    assert trial.training is not None
    assert pipeline.honest.training is not None
    assert trial.score is not None
    same = trial.training.policy == pipeline.honest.training.policy
    assert same == (case.weights == "same")
    policy = pipeline.honest if same else trial
    assert trial.score.fitness == pipeline.recomputed(trial, policy, tmp_path)
    assert max(trial.score.fitness) < 0.5 * BEST


def test_there_are_at_least_fourteen_tricks_and_most_get_as_far_as_a_score() -> None:
    assert len(TRICKS) >= 14
    assert sum(case.expects == ((RUNS, None),) for case in TRICKS) >= 10
    assert {case.weights for case in TRICKS} == {"same", "other"}


def test_finite_weights_that_overflow_fail_and_score_nothing(tmp_path: Path) -> None:
    description = policy_meta(body="inverted_pendulum", observation_size=4, action_low=[-3.0], action_high=[3.0])
    description |= {"net_arch": {"pi": [64] * 8, "vf": [8]}, "activation": "relu", "normalise": False}
    rng = np.random.default_rng(0)
    arrays = {name: rng.choice(np.float32([-3e38, 3e38]), a.shape) for name, a in policy_arrays(description).items()}
    (tmp_path / "policy.json").write_bytes(as_json(description))
    (tmp_path / "policy.safetensors").write_bytes(save_arrays(arrays))
    (tmp_path / "task.py").write_bytes(TASK)
    spec = ScoreSpec(environment=ENVIRONMENT, seeds=(1, 2))
    with pytest.raises(JobFailed, match="action is not a number: its weights overflow"):
        score(spec, tmp_path, None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_same_tricks_do_change_a_score_that_is_taken_where_the_training_ran(tmp_path: Path) -> None:
    run = runner(make_sandbox("embedded"), Event())
    trained = run(train_job(tampering(FORGERIES.control), FORGERIES.control.limits))
    assert isinstance(trained, Finished), trained
    for name, data in {**trained.blobs, "task.py": TASK}.items():
        (tmp_path / name).write_bytes(data)
    script = Path(__file__).with_name("one_process_cases.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=True)
    scores = json.loads(done.stdout)
    honest = scores.pop("control")
    assert honest < CREDIBLE * HIGHEST
    assert scores.keys() == {case.name for case in FORGERIES.cases if case.in_one_process}
    assert len(scores) >= 4
    assert all(value >= HIGHEST for value in scores.values()), scores
