"""The command line: exit codes, one-line errors, and what a bad input leaves behind (nothing)."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eureka_agent.cli import main
from eureka_agent.cli.common import find_run, seconds_of
from eureka_agent.contract.task import builtin_tasks, load_task
from eureka_agent.errors import UsageError
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.proposers import make_proposer
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends import BACKENDS, embedded
from eureka_sandbox.backends.scripted import ScriptedSandbox

HEAVY = [
    "torch",
    "stable_baselines3",
    "mujoco",
    "gymnasium",
    "jax",
    "openai",
    "anthropic",
    "litellm",
    "pydantic",
    "numpy",
    "scipy",
    "yaml",
    "rich",
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own working folder and cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EUREKA_DEBUG", raising=False)


@pytest.fixture
def my_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A task folder as `eureka new` writes it."""
    assert main(["new", "my_task", "--env", "inverted_pendulum"]) == 0
    capsys.readouterr()
    return tmp_path / "my_task"


def rewrite(task: Path, old: str, new: str, file: str = "task.yaml") -> None:
    text = (task / file).read_text()
    assert old in text
    (task / file).write_text(text.replace(old, new))


def fails(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> str:
    """The one line on stderr with which a command fails; stdout must stay empty and no run may appear."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert lines[-1].startswith("error: "), captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not list(Path("runs").glob("*/*")), "a failed command left a run behind"
    return lines[-1]


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, eureka_agent.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_human_reward_with_an_unknown_state_variable_is_refused_before_a_search_is_spent(
    my_task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (my_task / "reward_human.py").write_text("def compute_reward(pole_angel):\n    return pole_angel, {}\n")
    line = fails(capsys, ["evolve", "./my_task"], 2)
    assert "my_task/reward_human.py:1" in line
    assert "pole_angle" in line


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("evolve", "tasks", "new", "runs", "report", "rollout", "export", "doctor"):
        assert f"\n  {command} " in text


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    from eureka_agent import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"eureka-agent {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--no-such-option"], "No such option: --no-such-option; `eureka evolve -h` helps"),
        (["-p", "-3"], "--population / -p -3: expected at least 1; `eureka evolve -h` helps"),
        (["--jobs", "many"], "--jobs / -j many: expected a whole number; "),
        (["--timesteps", "0"], "--timesteps 0: expected at least 1; "),
        (["--max-time", "-5"], "not a duration: '-5'"),
    ],
)
def test_a_wrong_option_is_a_usage_error_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fails(capsys, ["evolve", "hopper_forward", *arguments], 2)
    assert complaint in message


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "Usage: eureka" in captured.out + captured.err


def test_ctrl_c_anywhere_ends_with_130_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("eureka_agent.contract.task.builtin_tasks", interrupted)
    assert fails(capsys, ["tasks", "list"], 130) == "error: interrupted"


# ------------------------------------------------------------------------------------------------------- bad input


def test_an_unknown_task_suggests_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["evolve", "hoper_forward"], 2)
    assert "'hoper_forward'" in message
    assert "did you mean 'hopper_forward'?" in message


def test_a_malformed_task_file_is_named_with_its_line(my_task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(my_task, "  mujoco: inverted_pendulum", "  mujoco: [inverted_pendulum")
    message = fails(capsys, ["evolve", "./my_task"], 2)
    assert "task.yaml:" in message
    assert "YAML" in message


def test_an_unknown_state_variable_suggests_the_nearest_name(my_task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(my_task, "# Variables of your own", "state_variables: [pole_angel]\n# Variables of your own")
    message = fails(capsys, ["evolve", "./my_task"], 2)
    assert "pole_angel" in message
    assert "did you mean 'pole_angle'?" in message


@pytest.mark.parametrize(
    ("pattern", "new", "line", "complaint"),
    [
        (r"(?s)^metric:.*?\n\n", "", 1, "metric: missing; `eureka new NAME"),
        (r"^  unit: s$", "", 10, "metric.unit: missing"),
        (r"timesteps: 60000 ", "timesteps: lots ", 41, "training.timesteps: Input should be a valid integer"),
        (
            r"mujoco: inverted_pendulum ",
            "mujoco: pendulum ",
            6,
            "environment.mujoco: unknown body 'pendulum'; bodies: ant",
        ),
        (
            r"episode_steps:",
            "episode_stepz:",
            7,
            "environment.episode_stepz: unknown field; did you mean 'episode_steps'?",
        ),
        (
            r"n_envs: 8 ",
            "n_envs: -4 ",
            42,
            "training.hyperparameters: n_envs: expected a whole number, at least 1, got -4",
        ),
        (r"\A", "colour: red\n", 1, "colour: unknown field; known: format, description"),
        (r"\A", "derived: [{nam: x}]\n", 1, "derived.0.name: missing"),
        (r"\A", "format: 2\n", 1, "format 2 is newer than this version reads (1); upgrade eureka-agent"),
    ],
)
def test_a_bad_field_is_named_with_file_line_value_and_what_could_stand_there(
    my_task: Path, pattern: str, new: str, line: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = my_task / "task.yaml"
    text, changes = re.subn(pattern, new, path.read_text(), count=1, flags=re.MULTILINE)
    assert changes == 1
    path.write_text(text)
    message = fails(capsys, ["evolve", "./my_task"], 2)
    assert message.startswith(f"error: {path}:{line}: ")
    assert complaint in message
    assert "{" not in message, "no part of the file is quoted whole"


def test_a_task_without_fitness_is_refused(my_task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(my_task, "def fitness", "def fitnes", file="task.py")
    assert "'fitness'" in fails(capsys, ["evolve", "./my_task"], 2)


def test_a_run_folder_below_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    message = fails(capsys, ["evolve", "hopper_forward", "-o", "file/run"], 2)
    assert "file" in message
    assert "--output" in message


def test_an_unwritable_run_folder_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, whom no permission stops
    message = fails(capsys, ["evolve", "hopper_forward"], 1)
    assert "not writable" in message
    assert "--output" in message


def test_a_folder_that_the_system_refuses_is_named_and_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["evolve", "hopper_forward", "-o", "/proc/run"], 1)
    assert message.startswith("error: /proc/run: ")
    assert message.endswith("nothing was left behind; choose another folder, or make room there")
    message = fails(capsys, ["evolve", "hopper_forward", "-o", "a" * 300], 1)
    assert "File name too long; choose another folder with --output" in message


def test_a_taken_run_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("")
    message = fails(capsys, ["evolve", "hopper_forward", "-o", "taken"], 2)
    assert "already exists" in message
    Run.create(tmp_path / "run", load_task("hopper_forward"), Settings()).close()
    for command in (["evolve", "hopper_forward"], ["compare", "run"]):
        assert "run" in fails(capsys, [*command, "-o", "run"], 2)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["thesis.tex"]


def test_a_run_of_a_newer_format_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run.create(tmp_path / "run", load_task("hopper_forward"), Settings()).close()
    with sqlite3.connect(tmp_path / "run" / "run.db") as database:
        database.execute("PRAGMA user_version = 99")
    for command in (["evolve", "--resume", "run"], ["report", "run"], ["rollout", "run"]):
        message = fails(capsys, command, 1)
        assert "99" in message
        assert "newer" in message


def test_too_little_memory_is_an_environment_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eureka_agent.lab.boxes.available_memory_mb", lambda: 200.0)
    message = fails(capsys, ["evolve", "hopper_forward"], 4)
    assert "200" in message
    assert "memory" in message


def test_an_unknown_model_is_refused_before_a_run_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'no-such-model'" in fails(capsys, ["evolve", "hopper_forward", "--model", "no-such-model"], 2)


def test_a_bad_setting_names_its_flag_and_value(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["evolve", "hopper_forward", "--learner", "sb4"], 2)
    assert "--learner sb4" in message
    assert "fused or sb3" in message


def test_no_task_and_no_run_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert "eureka tasks list" in fails(capsys, ["evolve"], 2)


def test_a_task_beside_resume_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--resume" in fails(capsys, ["evolve", "hopper_forward", "--resume", "latest"], 2)


def test_an_unknown_run_says_how_to_find_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'nowhere'" in fails(capsys, ["report", "nowhere"], 2)


def test_a_setting_that_would_make_results_incomparable_cannot_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run.create(tmp_path / "run", load_task("hopper_forward"), Settings()).close()
    assert "population" in fails(capsys, ["evolve", "--resume", "run", "-p", "3"], 2)


def test_an_unexpected_error_is_one_line_and_a_traceback_only_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("eureka_agent.contract.task.builtin_tasks", broken)
    assert "ZeroDivisionError: on purpose" in fails(capsys, ["tasks", "list"], 1)
    monkeypatch.setenv("EUREKA_DEBUG", "0")
    assert main(["-v", "tasks", "list"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_as_soon_as_the_run_exists_says_how_to_continue(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for function in ("eureka_agent.cli.estimating.say_estimate", "eureka_agent.report.build.write_report"):
        with monkeypatch.context() as patch:
            patch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
            patch.setattr(function, interrupted)
            place = f"run-{function.rpartition('.')[2]}"
            tiny = ["-p", "1", "-g", "1", "--final-seeds", "1", "-j", "1"]
            assert main(["evolve", "hopper_forward", *tiny, "-o", place]) == 130
        assert capsys.readouterr().err.strip().endswith(f"continue with: eureka evolve --resume {place}")
        Run.open(Path(place)).close()


# ------------------------------------------------------------------------------------------------------------ tasks


def test_tasks_list_shows_every_shipped_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [task["name"] for task in listed] == builtin_tasks()
    assert main(["tasks", "list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in builtin_tasks())


def test_tasks_show_explains_every_state_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "show", "hopper_forward"]) == 0
    text = capsys.readouterr().out
    for variable in load_task("hopper_forward").variables:
        assert variable.name in text
    assert "(N, 3)" in text


@pytest.mark.parametrize("body", ["half_cheetah", "Hopper-v5", "walker2d", "swimmer", "reacher", "ant"])
def test_a_new_task_of_any_body_holds_together(body: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "fresh", "--env", body]) == 0
    assert capsys.readouterr().out == "./fresh\n"
    task = load_task("./fresh")
    arguments = task.human_reward.split("compute_reward(")[1].split(")")[0].split(",")
    known = {variable.name for variable in task.variables}
    assert {argument.split(":")[0].strip() for argument in arguments} <= known


def test_new_does_not_touch_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    assert "mine" in fails(capsys, ["new", "mine", "--env", "hopper"], 2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_new_suggests_the_nearest_body(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean hopper?" in fails(capsys, ["new", "mine", "--env", "hoper"], 2)


def test_new_refuses_a_name_that_is_no_folder_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'../mine'" in fails(capsys, ["new", "../mine", "--env", "hopper"], 2)


# ------------------------------------------------------------------------------------------------------------- runs


def test_runs_lists_a_run_and_says_why_another_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = load_task("hopper_forward")
    for name in ("good", "bad"):
        Run.create(tmp_path / "runs" / "hopper_forward" / name, task, Settings(generations=3)).close()
    with sqlite3.connect(tmp_path / "runs" / "hopper_forward" / "bad" / "run.db") as database:
        database.execute("PRAGMA user_version = 99")
    assert main(["runs", "--json"]) == 0
    listed = {Path(line["folder"]).name: line for line in json.loads(capsys.readouterr().out)}
    assert listed["good"]["status"] == "paused"
    assert listed["good"]["generations"] == "0/3"
    assert "newer" in listed["bad"]["status"]


@pytest.mark.parametrize("words", [["tasks", "check", "hopper_forward"], ["evolve", "hopper_forward", "--dry-run"]])
def test_a_sandbox_that_fails_is_an_environment_that_lacks_something(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.EmbeddedSandbox.__init__, "__defaults__", (("/no/such/python",),))
    assert main(words) == 4
    assert "\nerror: the sandbox failed: the box did not start" in f"\n{capsys.readouterr().err}"


def test_a_run_that_a_process_holds_is_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.create(tmp_path / "runs" / "open", load_task("hopper_forward"), Settings()):
        assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "running"


def test_a_compared_run_that_was_given_more_generations_is_not_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Run.create(
        tmp_path / "runs" / "more", load_task("hopper_forward"), Settings(population=1, generations=1)
    ) as run:
        evolve(run, make_proposer("offline", run.task), Incumbent(), Lab(ScriptedSandbox(), run))
        run.amend({"generations": 2})
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "paused"


def test_no_runs_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("no runs in ./runs; `eureka evolve TASK`")


def test_a_seed_reward_that_is_not_there_is_named_with_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["evolve", "hopper_forward", "--seed-reward", "nofile"], 2)
    assert message.startswith("error: --seed-reward ")
    assert message.endswith("/nofile: No such file or directory")


def test_a_run_is_found_by_folder_task_name_beginning_and_latest(tmp_path: Path) -> None:
    hopper, swimmer = load_task("hopper_forward"), load_task("swimmer_forward")
    root = tmp_path / "runs"
    first = root / "hopper_forward" / "20260101-000000-aaaaaa"
    second = root / "swimmer_forward" / "20260102-000000-bbbbbb"
    for moment, (folder, task) in enumerate(((first, hopper), (second, swimmer))):
        Run.create(folder, task, Settings()).close()
        os.utime(folder / "run.db", (1_000_000 + moment, 1_000_000 + moment))
    assert find_run(str(first), root) == first
    assert find_run("hopper_forward", root) == first
    assert find_run("20260101", root) == first
    assert find_run("latest", root) == second


def test_the_run_that_a_name_stands_for_is_said_and_a_folder_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for moment, name in enumerate(("20260102-b", "20260101-a")):
        folder = Path("runs/hopper_forward") / name
        Run.create(folder, load_task("hopper_forward"), Settings()).close()
        os.utime(folder / "run.db", (1_000_000 + moment, 1_000_000 + moment))
    for name in ("latest", "hopper_forward", "20260101"):
        assert main(["rollout", name, "g0c0"]) == 2
        assert capsys.readouterr().err.startswith("run runs/hopper_forward/20260101-a\n")
    assert main(["rollout", "runs/hopper_forward/20260101-a", "g0c0"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400)])
def test_a_duration_reads_as_written(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-3", "3x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        seconds_of(text)
