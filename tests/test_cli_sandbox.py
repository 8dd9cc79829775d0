"""Choosing a sandbox on the command line, the warm-up of its compile cache, and `eureka doctor --sandbox`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from eureka_agent.cli import hostile, main
from eureka_agent.cli.sandboxes import chosen_sandbox
from eureka_agent.contract.task import load_task
from eureka_agent.errors import UsageError
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.wall import walls
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_sandbox.backends import BACKENDS, compile_cache
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.hostile import Finding, load_corpus
from eureka_sandbox.hostile import Report as SuiteReport
from eureka_sandbox.protocol import Job, Outcome, Report, Sandbox, TrainSpec


class Named(ScriptedSandbox):
    """A scripted sandbox under a real one's name, which also leaves compiled programs after a warm-up."""

    name = "embedded"

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: Event) -> Outcome:
        outcome = super().run(job, on_progress, stop)
        if job.warm_up:
            folder = compile_cache.folder(compile_cache.key(job))
            assert folder is not None
            folder.mkdir(parents=True)
        return outcome


def test_without_a_wall_every_command_warns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUREKA_SANDBOX", "none")
    assert chosen_sandbox().name == "none"
    assert "warning: no wall" in " ".join(capsys.readouterr().err.split())
    assert chosen_sandbox("embedded").name == "embedded"
    assert capsys.readouterr().err == ""


def test_what_a_run_says_of_itself_never_takes_the_wall_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be somebody else's, and its task.py is code."""
    monkeypatch.setenv("EUREKA_SANDBOX", "embedded")
    monkeypatch.setitem(BACKENDS, "none", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    folder, begun = str(tmp_path / "run"), Settings(sandbox="none", population=1, generations=1, final_seeds=1)
    Run.create(tmp_path / "run", load_task("hopper_forward"), begun).close()
    for command in (["evolve", "--resume", folder], ["evolve", "--resume", folder, "--dry-run"], ["verify", folder]):
        assert main(command) == 2
        assert "without a wall" in (said := " ".join(capsys.readouterr().err.split()))
        assert "add --sandbox embedded" in said
    assert main(["evolve", "--resume", folder, "--sandbox", "none"]) == 0
    assert main(["verify", folder, "--sandbox", "none"]) == 0


def test_an_unknown_sandbox_is_a_usage_error_that_says_where_the_name_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUREKA_SANDBOX", "dokcer")
    with pytest.raises(UsageError, match=r"\$EUREKA_SANDBOX: no sandbox backend is named 'dokcer'"):
        chosen_sandbox()
    assert main(["evolve", "hopper_forward", "--sandbox", "moat", "--dry-run"]) == 2
    assert "--sandbox moat: " in capsys.readouterr().err


def test_the_learner_is_compiled_once_before_the_first_training_by_a_box_without_a_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "xla"))
    task = load_task("hopper_forward")
    for sitting, boxes in ((1, 3), (2, 2)):
        sandbox = Named()
        with Run.create(tmp_path / f"run{sitting}", task, Settings(jobs=1)) as run:
            lab = Lab(sandbox, run)
            for key in ("a", "b"):
                lab.train_reward(key, task.human_reward, seed=0)
        trainings = [job for job in sandbox.started if isinstance(job.spec, TrainSpec)]
        assert len(trainings) == boxes
        assert [job.warm_up for job in trainings] == [True, False, False][-boxes:]
        assert all(job.warm_up != ("reward.py" in job.files) for job in trainings)


def test_each_sitting_s_wall_is_kept_with_the_run(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", load_task("hopper_forward"), Settings(jobs=1)) as run:
        for _ in range(2):
            Lab(ScriptedSandbox(), run).begin()
        assert [wall.backend for wall in walls(run)] == ["scripted", "scripted"]


def suite(contained: bool) -> Callable[..., SuiteReport]:
    def run(sandbox: Sandbox, on_result: Callable[[Finding], None], jobs: int) -> SuiteReport:
        category = load_corpus()["A"]
        findings = [Finding(case, contained, "" if contained else "read the key", "runs") for case in category.cases]
        for finding in findings:
            on_result(finding)
        return SuiteReport(tuple(findings), (Finding(category.control, True, "", "runs"),), 1.0)

    return run


@pytest.mark.parametrize(("contained", "code"), [(True, 0), (False, 4)])
def test_the_hostile_suite_ends_with_four_if_anything_leaks(
    contained: bool, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUREKA_SANDBOX", "embedded")
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    monkeypatch.setattr(hostile, "run_suite", suite(contained))
    tried = len(load_corpus()["A"].cases)
    assert main(["doctor", "--sandbox"]) == code
    shown = capsys.readouterr()
    assert f": {tried if contained else 0} / {tried}" in shown.out
    assert ("read the key" in shown.out) != contained
    assert f"{hostile.EVERY if contained else 0} of {hostile.EVERY} held, about " in shown.err, "not on a terminal"
    assert main(["doctor", "--sandbox", "--json"]) == code
    summary = json.loads(capsys.readouterr().out)
    assert (summary["ok"], summary["tried"], len(summary["leaks"])) == (contained, tried, 0 if contained else tried)


def test_an_interrupted_hostile_suite_says_how_far_it_came(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(sandbox: Sandbox, on_result: Callable[[Finding], None], jobs: int) -> SuiteReport:
        on_result(Finding(load_corpus()["A"].cases[0], True, "", "runs"))
        raise KeyboardInterrupt

    monkeypatch.setenv("EUREKA_SANDBOX", "embedded")
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    monkeypatch.setattr(hostile, "run_suite", run)
    assert main(["doctor", "--sandbox"]) == 130
    assert "until then 1 of 1 held" in capsys.readouterr().err


def test_the_hostile_suite_refuses_to_run_without_a_wall(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUREKA_SANDBOX", "none")
    assert main(["doctor", "--sandbox"]) == 2
    assert "no wall to test" in capsys.readouterr().err
