"""`eureka export --tensorboard`: what TensorBoard itself reads back is what the run stored."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from eureka_agent.cli import main
from eureka_agent.runs.run import Run
from eureka_sandbox.backends import BACKENDS

TINY = ["-p", "2", "-g", "1", "--timesteps", "100", "--final-seeds", "2", "-j", "1"]


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A finished search in a sandbox that simulates nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EUREKA_DEBUG", raising=False)
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    assert main(["evolve", "hopper_forward", *TINY, "-o", "run"]) == 0
    capsys.readouterr()
    return tmp_path / "run"


def test_every_training_has_a_folder_of_sb3s_tags_over_timesteps(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "run", "--tensorboard", "curves"]) == 0
    assert capsys.readouterr().out == "curves\n"
    finals = [f"{arm}-seed-{seed}" for arm in ("best", "human") for seed in (1, 2)]
    assert sorted(path.name for path in Path("curves").iterdir()) == sorted(["g0c0", "g0c1", *finals])
    with Run.open(run, read_only=True) as opened:
        training = opened.population()["g0c1"].training
    assert training is not None
    events = EventAccumulator("curves/g0c1")
    events.Reload()
    assert events.Tags()["scalars"] == ["reward/progress", "rollout/ep_len_mean", "rollout/ep_rew_mean"]
    for tag in events.Tags()["scalars"]:
        stored = zip(training.curves["time/total_timesteps"], training.curves[tag], strict=True)
        expected = [(step, pytest.approx(value)) for step, value in stored if value is not None]
        assert [(event.step, event.value) for event in events.Scalars(tag)] == expected


def test_a_taken_folder_and_a_candidate_beside_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").mkdir()
    Path("taken/thesis.tex").write_text("")
    for arguments, complaint in (
        (["run", "--tensorboard", "taken"], "already there"),
        (["run", "g0c0", "--tensorboard", "curves"], "leave out CANDIDATE"),
    ):
        assert main(["export", *arguments]) == 2
        assert complaint in capsys.readouterr().err
    assert not Path("curves").exists()


def test_without_the_package_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    assert main(["export", "run", "--tensorboard", "curves"]) == 4
    assert "pip install 'eureka-agent[tensorboard]'" in capsys.readouterr().err
    assert not Path("curves").exists()
