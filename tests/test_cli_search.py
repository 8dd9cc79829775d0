"""The command line on a real, tiny search: one candidate, one generation, trainings of a few hundred steps."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from eureka_agent.cli import main
from eureka_agent.contract.task import load_task
from eureka_sandbox.worker.policy import NumpyPolicy

COMMAND = [sys.executable, "-m", "eureka_agent"]
TINY = ["-p", "1", "-g", "1", "--timesteps", "256", "--final-seeds", "1", "--learner", "sb3", "-j", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with a small task, in which every test of this file runs."""
    folder = tmp_path_factory.mktemp("search")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.delenv("EUREKA_DEBUG", raising=False)
    assert main(["new", "tiny", "--env", "inverted_pendulum"]) == 0
    text = (folder / "tiny" / "task.yaml").read_text()
    for old, new in (("n_steps: 256", "n_steps: 32"), ("episodes: 30", "episodes: 4"), ("steps: 1000", "steps: 50")):
        assert old in text
        text = text.replace(old, new)
    text = text.replace("timesteps: 60000", "timesteps: 256")
    text += "\nvariations: {heavy: {mass: 1.2}, late: {delay: 1}}\n"  # the usual ten are twenty boxes more
    (folder / "tiny" / "task.yaml").write_text(text)
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def searched(place: Path) -> subprocess.CompletedProcess[str]:
    """A finished search, its result as JSON."""
    return subprocess.run(
        [*COMMAND, "evolve", "./tiny", *TINY, "-o", "run", "--json"], capture_output=True, text=True, check=False
    )


def test_a_search_ends_with_its_result_on_stdout_and_progress_on_stderr(
    searched: subprocess.CompletedProcess[str], place: Path
) -> None:
    assert searched.returncode == 0, searched.stderr
    result = json.loads(searched.stdout)
    assert result["finished"]
    assert "def compute_reward" in result["best"]["code"]
    assert set(result["arms"]) == {"candidate", "human", "random"}
    for arm in result["arms"].values():
        assert arm["iqm"]["low"] <= arm["iqm"]["value"] <= arm["iqm"]["high"]
    assert 0 <= result["probability_over_human"]["value"] <= 1
    assert Path(result["report"]).read_text().startswith("<!doctype html>")
    assert "offline" in searched.stderr
    assert "2 trainings" not in searched.stdout
    assert re.search(r"tiny: 3 trainings, 768 environment steps", searched.stderr)
    assert "\x1b" not in searched.stdout + searched.stderr


def test_resuming_a_finished_run_repeats_nothing_and_prints_the_same(
    searched: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert main(["evolve", "--resume", "run", "--json"]) == 0
    again, first = json.loads(capsys.readouterr().out), json.loads(searched.stdout)
    assert again["arms"] == first["arms"]
    assert again["best"] == first["best"]
    assert time.monotonic() - began < 60
    assert main(["evolve", "--resume", "run"]) == 0
    text = capsys.readouterr().out
    assert first["best"]["code"].strip() in text
    for words in ("human reward", "random policy", "95 % interval", "best is better", "report ", "wall time"):
        assert words in text


def test_runs_shows_the_finished_run(
    searched: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", ".", "--json"]) == 0
    (line,) = [line for line in json.loads(capsys.readouterr().out) if line["folder"] == "run"]
    assert line["status"] == "finished"
    assert line["fitness"] == json.loads(searched.stdout)["arms"]["candidate"]["iqm"]["value"]


def test_a_rollout_with_a_seed_gives_the_same_numbers_again(
    searched: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["rollout", "run", "--episodes", "3", "--seed", "7", "--json"]
    assert main(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert len(first["fitness"]) == 3
    assert main(["rollout", "run", "random", "-n", "2"]) == 0
    assert "random: mean" in capsys.readouterr().out


def test_a_video_that_cannot_be_made_is_an_environment_error_after_the_numbers(
    searched: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "no_such_gl")
    assert main(["rollout", "run", "-n", "1", "--video", "film.mp4"]) == 4
    captured = capsys.readouterr()
    assert "mean" in captured.out
    assert captured.err.startswith("error: no video: no_such_gl")
    assert "libegl1" in captured.err
    assert not Path("film.mp4").exists()


def test_a_candidate_that_does_not_exist_is_named(
    searched: subprocess.CompletedProcess[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollout", "run", "g9c9"]) == 2
    told = capsys.readouterr().err.strip()
    assert re.search(r"no candidate 'g9c9' in .*; there are (g\dc\d, )*g\dc\d, human and random$", told)


WITHOUT_EUREKA = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("eureka"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Refuse())
"""
ACT = """
import numpy
loader = runpy.run_path("out/load_policy.py")
model, env = loader["load"]()
observations = env.normalize_obs(numpy.load("observations.npy"))
print(type(env).__name__, env.training, env.norm_reward)
numpy.save("actions.npy", model.predict(observations, deterministic=True)[0])
"""


def _without_eureka(code: str) -> str:
    command = [sys.executable, "-I", "-c", WITHOUT_EUREKA + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_export_plays_and_acts_in_stock_stable_baselines_where_eureka_agent_is_not_installed(
    searched: subprocess.CompletedProcess[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "run", "-o", "out"]) == 0
    assert capsys.readouterr().out == "out\n"
    played = _without_eureka("runpy.run_path('out/load_policy.py', run_name='__main__')")
    assert re.fullmatch(r"InvertedPendulum-v5: return \d+\.\d\d in \d+ steps", played)
    observations = np.random.default_rng(0).normal(0, 1, (64, 4))
    np.save("observations.npy", observations)
    assert _without_eureka(ACT) == "VecNormalize False False"
    np.testing.assert_allclose(np.load("actions.npy"), NumpyPolicy.load(Path("out")).act(observations), atol=2e-6)
    readme = Path("out/README.md").read_text()
    for words in ("policy.zip", "vecnormalize.pkl", 'PPO.load("policy.zip")', "nothing of eureka-agent"):
        assert words in readme
    assert main(["export", "run", "-o", "out"]) == 2
    assert "already there" in capsys.readouterr().err


def test_report_writes_the_page_again_and_prints_its_path(
    searched: subprocess.CompletedProcess[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("run", "copied")
    Path("copied/report.html").unlink()
    assert main(["report", "copied"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == place / "copied" / "report.html"
    assert "compute_reward" in path.read_text()


def test_a_time_limit_ends_with_the_best_saved_and_code_three(place: Path) -> None:
    command = [*COMMAND, "evolve", "./tiny", *TINY, "--max-time", "1s", "-o", "short"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: the time limit of 1 s")
    assert "report " in done.stdout
    assert Path("short/report.html").is_file()


def test_ctrl_c_ends_the_boxes_and_says_how_to_continue(place: Path) -> None:
    command = [*COMMAND, "evolve", "./tiny", *TINY[:4], "--timesteps", "10000000", "--learner", "sb3", "-o", "cut"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        boxes = _boxes_of(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip().splitlines()[-1].endswith("continue with: eureka evolve --resume cut")
    assert "Traceback" not in err
    assert out == ""
    assert not [box for box in boxes if psutil.pid_exists(box.pid) and box.status() != psutil.STATUS_ZOMBIE]


def _boxes_of(pid: int) -> list[psutil.Process]:
    """The boxes of a command, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = psutil.Process(pid).children(recursive=True)
        if any(_command(child).endswith("forkserver train") and child.ppid() != pid for child in children):
            return children
        time.sleep(0.1)
    raise AssertionError("no box was started")


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended
        return ""


def test_check_passes_a_fresh_task_and_says_what_it_did(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "check", "./tiny"]) == 0
    text = capsys.readouterr().out
    for words in ("ok  files", "ok  reward_human.py", "ok  training", "ok  fitness", "eureka tasks measure ./tiny"):
        assert words in text


def test_check_names_the_components_even_if_no_episode_ended(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "long", "--env", "swimmer"]) == 0
    assert main(["tasks", "check", "./long"]) == 0
    assert "ok  reward_human.py: a total and 2 components (control, forward)\n" in capsys.readouterr().out


def test_check_says_which_line_of_the_reward_fails(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("tiny", "broken")
    reward = Path("broken/reward_human.py")
    reward.write_text(reward.read_text().replace("    return ", "    alive = alive[:, 99]\n    return "))
    assert main(["tasks", "check", "./broken"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the human reward" in last
    assert "reward.py:" in last


@pytest.mark.parametrize("company", ["torch.arange(len(alive))", "pole_angle.mean()"])
def test_check_says_that_the_human_reward_pays_rows_by_other_rows(
    company: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("tiny", "mean", dirs_exist_ok=True)
    reward = Path("mean/reward_human.py")
    reward.write_text(reward.read_text().replace("    return ", f"    alive = alive - {company}\n    return "))
    assert main(["tasks", "check", "./mean"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "mean/reward_human.py: the same transitions were paid differently the second time" in last


def test_measure_writes_anchors_that_the_task_then_has(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "measure", "./tiny", "--learner", "sb3"]) == 0
    captured = capsys.readouterr()
    anchors = load_task("./tiny").anchors
    assert anchors is not None
    assert len(anchors.human.per_seed) == len(anchors.random.per_seed) == 3
    assert anchors.human.low <= anchors.human.mean <= anchors.human.high
    assert anchors.human.mean > anchors.random.mean
    assert anchors.episodes == 30
    assert "mujoco" in anchors.versions
    assert captured.out.strip().endswith("tiny/anchors.yaml")
    assert not list(Path(os.environ["XDG_CACHE_HOME"]).glob("eureka-agent/measurements/*"))


def test_a_dry_run_measures_and_starts_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in place.iterdir())
    assert main(["evolve", "./tiny", *TINY, "--dry-run", "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert estimate["trainings"] == 3
    assert estimate["steps"] == 768
    assert estimate["dollars"] == 0
    assert estimate["seconds"] > 0
    assert sorted(path.name for path in place.iterdir()) == before


def test_doctor_finds_what_a_search_needs_here(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    diagnosis = json.loads(capsys.readouterr().out)
    found = {finding["name"]: finding for finding in diagnosis["findings"]}
    assert diagnosis["ok"]
    assert found["sandbox embedded"]["status"] == "ok"
    assert {"Python", "cores", "memory", "graphics", "torch threads", "cache folder", "runs folder"} <= set(found)


def test_doctor_ends_with_four_and_a_fix_where_memory_lacks(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eureka_agent.cli.diagnosis.available_memory_mb", lambda: 100.0)
    assert main(["doctor"]) == 4
    captured = capsys.readouterr()
    assert "fix: free at least" in captured.out
    assert "memory" in captured.err.strip().splitlines()[-1]
