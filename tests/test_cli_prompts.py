"""`evolve --prompts` and `--model scripted:DIR`: a person's own templates and answers, resumed from any folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eureka_agent.cli import main
from eureka_agent.llm.completion import Completion
from eureka_agent.llm.prompting import Request
from eureka_agent.llm.scripted import ScriptedLLM
from eureka_sandbox.backends import BACKENDS

REWARD = """import torch


def compute_reward(torso_x_velocity: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return torso_x_velocity, {"forward": torso_x_velocity}
"""
TINY = ["-p", "2", "-g", "1", "--timesteps", "100", "--final-seeds", "1", "-j", "1"]
SCRIPTED = ["evolve", "hopper_forward", *TINY, "--model", "scripted:answers", "-o", "run"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with answers and a system prompt of one's own, and a sandbox that simulates nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EUREKA_DEBUG", raising=False)
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    for folder in ("answers", "mine", "elsewhere"):
        (tmp_path / folder).mkdir()
    for name in ("g0c0.py", "g0c1.py", "g1c0.py", "g1c1.py"):
        (tmp_path / "answers" / name).write_text(f"# {name}\n{REWARD}")
    (tmp_path / "mine" / "system.md.j2").write_text("My own words.\n")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What the model is asked from here on."""
    requests: list[Request] = []
    complete = ScriptedLLM.complete

    def noting(self: ScriptedLLM, request: Request) -> Completion:
        requests.append(request)
        return complete(self, request)

    monkeypatch.setattr(ScriptedLLM, "complete", noting)
    return requests


def test_own_templates_and_answers_are_found_again_when_resumed_from_elsewhere(
    place: Path, asked: list[Request], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SCRIPTED, "--prompts", "mine", "--json"]) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["failed"] == 0
    monkeypatch.chdir(place / "elsewhere")
    assert main(["evolve", "--resume", "../run", "-g", "2"]) == 0, capsys.readouterr().err
    assert sorted(request.brief for request in asked) == ["g0c0", "g0c1", "g1c0", "g1c1"]
    assert {request.messages[0].content for request in asked} == {"My own words.\n"}
    assert f"--prompts {place}/mine" in (place / "run" / "report.html").read_text()


def test_the_same_prompts_and_model_by_a_relative_path_are_no_change(
    place: Path, asked: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SCRIPTED, "--prompts", "mine"]) == 0
    again = ["evolve", "--resume", "run", "--model", "scripted:./answers", "--prompts"]
    assert main([*again, "mine"]) == 0, capsys.readouterr().err
    assert main([*again, "answers"]) == 2
    assert "--prompts is fixed when a run begins" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--model", "scripted:answers", "--prompts", "nowhere"],
            "nowhere: no *.md.j2 there; templates are comment.md.j2, critic.md.j2",
        ),
        (["--model", "scripted:answers", "--prompts", "stray"], "nothing uses 'sytem.md.j2'"),
        (["--model", "scripted:answers", "--prompts", "broken"], "broken/system.md.j2:2: "),
        (["--model", "scripted:nowhere"], "no answers in"),
        (["--prompts", "mine"], "the offline search reads no prompts"),
    ],
)
def test_a_folder_that_cannot_be_used_is_a_usage_error_before_anything_is_created(
    place: Path, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, name, text in (("stray", "sytem.md.j2", ""), ("broken", "system.md.j2", "fine\n{% if %}\n")):
        (place / folder).mkdir()
        (place / folder / name).write_text(text)
    before = sorted(place.iterdir())
    assert main(["evolve", "hopper_forward", *TINY, "-o", "run", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert complaint in line
    assert sorted(place.iterdir()) == before
