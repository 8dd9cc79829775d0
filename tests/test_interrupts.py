"""Ctrl-C, SIGTERM and SIGHUP: exit code 130, how to continue, no traceback, nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from eureka_agent.cli import main
from eureka_agent.cli.interrupts import interruptible, last_words
from eureka_agent.contract.task import load_task
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings

EUREKA = [sys.executable, "-m", "eureka_agent"]
DEAF = """
import os, sys, time
import eureka_sandbox.backends
from eureka_sandbox.backends.scripted import ScriptedSandbox

class Deaf(ScriptedSandbox):
    def run(self, job, on_progress, stop):
        os.write(1, b"deaf\\n")  # whole, from whatever thread
        time.sleep(600)

eureka_sandbox.backends.make_sandbox = lambda *_, **__: Deaf()
from eureka_agent.cli import interrupts, main
interrupts.PATIENCE_SECONDS = float(sys.argv[1])
sys.exit(main(["evolve", "hopper_forward", "-o", "deaf"]))
"""
CONTINUE = "continue with: eureka evolve --resume"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mailbox(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A search that waits for a language model."""
    command = [*EUREKA, "evolve", "hopper_forward", "--model", "mailbox:box", "-p", "2", "-o", "run"]
    with started(command) as process:
        waits_until(lambda: list(Path("box").glob("*.prompt.md")), process)
        yield process


@contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def waits_until(condition: object, process: subprocess.Popen[str]) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(process: subprocess.Popen[str]) -> str:
    """Its last line, once it has ended as an interrupted command should."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert set(out.splitlines()) <= {"deaf"}
    return err.strip().splitlines()[-1] if err.strip() else ""


def related(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def boxes_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """What has been forked to train."""
    forkservers = [child for child in related(process) if command_of(child).endswith("forkserver train")]
    return [child for child in forkservers if child.ppid() != process.pid]


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return psutil.wait_procs(processes, timeout=10)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_search_that_waits_for_a_language_model_ends_and_says_how_to_continue(
    mailbox: subprocess.Popen[str], number: signal.Signals
) -> None:
    mailbox.send_signal(number)
    assert ended(mailbox).endswith(f"{CONTINUE} run")
    Run.open(Path("run")).close()


def test_a_hangup_with_the_terminal_gone_still_ends_in_order(mailbox: subprocess.Popen[str]) -> None:
    assert mailbox.stderr is not None
    assert mailbox.stdout is not None
    mailbox.stderr.close()
    mailbox.stdout.close()
    mailbox.send_signal(signal.SIGHUP)
    assert mailbox.wait(timeout=30) == 130


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_no_box_outlives_a_signal(place: Path, number: signal.Signals) -> None:
    command = [*EUREKA, "evolve", "inverted_pendulum_balance", "--timesteps", "10000000", "--learner", "sb3"]
    with started([*command, "-p", "2", "-j", "2", "-o", "run"]) as process:
        waits_until(lambda: boxes_of(process), process)
        boxes = related(process)
        process.send_signal(number)
        assert ended(process).endswith(f"{CONTINUE} run")
    assert alive(boxes) == []


def test_a_second_interrupt_ends_even_what_does_not_listen(place: Path) -> None:
    with started([sys.executable, "-c", DEAF, "600"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGINT)
        assert ended(process).endswith(f"{CONTINUE} deaf")


def test_what_does_not_listen_is_not_waited_for_for_ever(place: Path) -> None:
    with started([sys.executable, "-c", DEAF, "0.2"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        process.send_signal(signal.SIGTERM)
        assert ended(process).endswith(f"{CONTINUE} deaf")


def test_several_signals_at_once_count_as_one() -> None:
    with interruptible() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            interrupts(signal.SIGHUP, None)
        interrupts(signal.SIGTERM, None)
        interrupts(signal.SIGHUP, None)


def test_signals_that_were_ignored_stay_ignored(place: Path) -> None:
    """As `nohup eureka evolve … &` asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.heard is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_callers_own_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with interruptible():
        assert signal.getsignal(signal.SIGHUP) is not before[2]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_an_interrupted_command_is_never_called_a_failure(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever breaks because of the interrupt, for instance a terminal that is gone."""

    def break_down(*_: object) -> None:
        last_words("interrupted; this continues")
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise OSError(5, "Input/output error") from None

    Run.create(place / "run", load_task("hopper_forward"), Settings()).close()
    monkeypatch.setattr("eureka_agent.report.build.gather", break_down)
    assert main(["report", "run"]) == 130
    assert capsys.readouterr().err.endswith("error: interrupted; this continues\n")


def test_an_interrupt_while_the_command_is_still_imported_shows_no_traceback(place: Path) -> None:
    """From the first line of our own on; Python's own start comes before it."""
    slow = place / "slow"
    (slow / "typer").mkdir(parents=True)
    (slow / "typer" / "__init__.py").write_text("print('deaf', flush=True)\nimport time\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": str(slow)}
    with subprocess.Popen(
        [*EUREKA, "runs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        process.send_signal(signal.SIGINT)
        assert ended(process) == ""
