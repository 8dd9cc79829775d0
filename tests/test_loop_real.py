"""One whole search on real MuJoCo and Stable-Baselines3, as small as it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from eureka_agent.contract.task import load_task, task_from_files
from eureka_agent.critique.reflection import recorded_episodes
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Score, Training
from eureka_agent.proposers import make_proposer
from eureka_agent.report.facts import gather
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends import make_sandbox


@pytest.mark.slow
def test_an_offline_search_trains_scores_reflects_and_compares_on_real_mujoco(tmp_path: Path) -> None:
    task = load_task("inverted_pendulum_balance")
    few = task.files["task.yaml"] + b"\nvariations: {heavy: {mass: 1.2}, late: {delay: 1}}\n"  # not ten
    task = task_from_files(task.name, task.folder, {**task.files, "task.yaml": few}, task.anchors)
    settings = Settings(population=2, generations=1, timesteps=512, final_seeds=1, learner="sb3", contest_seeds=1)
    with Run.create(tmp_path / "run", task, settings) as run:
        proposer = make_proposer(settings.model, task)
        comparison = evolve(run, proposer, Incumbent(), Lab(make_sandbox("embedded"), run))
        population = run.population()
        best = population.best
        assert best is not None
        assert best.id == comparison.candidate
        assert isinstance(best.training, Training)
        assert best.training.box_seconds > best.training.seconds > 0.0
        assert isinstance(best.score, Score)
        assert any(key.startswith("reward/") for key in best.training.curves)
        assert all(0.0 < value <= 40.0 for value in best.score.fitness)
        assert len(recorded_episodes(best, run)) == 3
        assert "pole_angle" in best.reflection
        assert best.findings
        assert f"  - {best.findings[0].text}\n" in best.reflection
        assert 0.0 <= best.behaviour["effort"] <= 1.0
        assert best.behaviour["speed"] >= 0.0
        assert comparison.robustness is not None
        played = [
            (arm.arm, outcome.name, outcome.failure) for arm in comparison.robustness.arms for outcome in arm.outcomes
        ]
        assert played == [(arm, name, None) for arm in ("candidate", "human") for name in ("heavy", "late")]
        candidate, human, random = comparison.arms
        assert len(human.fitness[0]) == task.spec.evaluation_episodes
        assert random.iqm.low <= random.iqm.value <= random.iqm.high
        assert candidate.video or candidate.video_note
        assert run.blob(candidate.policy_meta or "").startswith(b"{")
    with Run.open(tmp_path / "run", read_only=True) as run:
        found = gather(run).findings
        assert found, "of the fresh training, whose episodes were recorded too"
        assert {f.text for f in found} != {f.text for f in best.findings}, "another training than the first"
    with Run.open(tmp_path / "run") as run:
        forbidden = _NoSandbox()
        assert evolve(run, make_proposer("offline", task), Incumbent(), Lab(forbidden, run)) == comparison


class _NoSandbox:
    name = "none"

    def run(self, *_: object) -> None:
        raise AssertionError("a finished search starts no box")
