"""Compiled programs: trusted boxes write them, boxes with a candidate's code only read."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from backend_cases import HELLO, TRAIN, policy_blobs, stream, train_result

from eureka_sandbox.backends import compile_cache
from eureka_sandbox.backends.embedded import EmbeddedSandbox
from eureka_sandbox.protocol import Failed, Finished, Job, Outcome, SandboxError, ScoreSpec

SPEC = TRAIN.spec.model_copy(update={"learner": "fused"})
WARM_UP = Job(SPEC, warm_up=True)
CANDIDATE = Job(SPEC, {"reward.py": b""})
PRELUDE = f"""
import os, sys
HELLO, ANSWER = {HELLO!r}, {stream(policy_blobs(), train_result())!r}
def say(data):
    while data:
        data = data[os.write(1, data):]
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "xla"))
    return tmp_path / "xla"


def box(script: str, job: Job) -> Outcome:
    command = (sys.executable, "-I", "-S", "-c", PRELUDE + script)
    return EmbeddedSandbox(command).run(job, lambda _: None, Event())


WRITE = "\nopen(os.environ['EUREKA_COMPILE_CACHE'] + '/program', 'wb').write(b'machine code')\nsay(ANSWER)"
READ = """
folder = os.environ["EUREKA_COMPILE_CACHE"]
def attempt(*path):
    try:
        open(os.path.join(folder, *path), "wb").close()
        return "written"
    except OSError as error:
        return type(error).__name__
sys.exit(f"{open(folder + '/program').read()}, {attempt('program')}, {attempt('new')}, {os.access(folder, os.W_OK)}")
"""


@pytest.mark.usefixtures("embedded_wall")
def test_a_warm_up_s_programs_are_kept_and_later_boxes_cannot_change_them(root: Path) -> None:
    assert compile_cache.is_cold(CANDIDATE)
    assert isinstance(box(WRITE, WARM_UP), Finished)
    assert not compile_cache.is_cold(CANDIDATE)
    kept = compile_cache.folder(compile_cache.key(CANDIDATE))
    assert kept is not None
    assert [path.name for path in root.iterdir()] == [kept.name]
    with pytest.raises(SandboxError, match=r"machine code, OSError, OSError, False"):
        box(READ, CANDIDATE)
    assert (kept / "program").read_bytes() == b"machine code"
    assert isinstance(box("say(ANSWER)", WARM_UP), Finished)  # warm already: nothing to write
    assert (kept / "program").read_bytes() == b"machine code"


@pytest.mark.usefixtures("embedded_wall")
def test_a_candidate_s_box_finds_no_cache_while_there_is_none_and_leaves_none(root: Path) -> None:
    with pytest.raises(SandboxError, match="named ''"):
        box("sys.exit('named ' + repr(os.environ['EUREKA_COMPILE_CACHE']))", CANDIDATE)
    assert not root.exists()


@pytest.mark.usefixtures("embedded_wall")
def test_a_warm_up_that_failed_leaves_nothing(root: Path) -> None:
    outcome = box("say(HELLO)\n" + WRITE.replace("say(ANSWER)", "os._exit(1)"), WARM_UP)
    assert isinstance(outcome, Failed)
    assert list(root.iterdir()) == []
    assert compile_cache.is_cold(WARM_UP)


@pytest.mark.usefixtures("embedded_wall")
@pytest.mark.parametrize(
    "odd", ["os.symlink('/etc/passwd', 'x')", "os.link('program', 'x') or os.mkdir('y')", "os.mkdir('x')"]
)
def test_what_is_no_plain_file_is_not_adopted(root: Path, odd: str) -> None:
    script = WRITE.replace("say(ANSWER)", f"os.chdir(os.environ['EUREKA_COMPILE_CACHE'])\n{odd}\nsay(ANSWER)")
    assert isinstance(box(script, WARM_UP), Finished)
    assert list(root.iterdir()) == []


def test_a_warm_up_with_a_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="must not hold reward code"):
        EmbeddedSandbox().run(replace(CANDIDATE, warm_up=True), lambda _: None, Event())


def test_what_compiles_differently_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**changes: object) -> str:
        return compile_cache.key(Job(SPEC.model_copy(update=changes)))

    assert key() == key(seed=7, total_timesteps=9)
    assert len({key(), key(hyperparameters={"batch_size": 32}), key(algorithm="sac")}) == 3
    assert len({compile_cache.key(WARM_UP, where) for where in ("embedded", "none", "sha256:1")}) == 3
    assert key(learner="sb3") == ""
    assert compile_cache.key(Job(ScoreSpec(environment=TRAIN.spec.environment, seeds=(1,)))) == ""
    monkeypatch.setenv(compile_cache.VARIABLE, "")
    assert compile_cache.folder(key()) is None
    assert not compile_cache.is_cold(WARM_UP)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv(compile_cache.VARIABLE, str(tmp_path / "locked" / "xla"))
    with compile_cache.for_job(WARM_UP) as cache:
        assert cache.folder is None
