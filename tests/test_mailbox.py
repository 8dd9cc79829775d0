"""A language model that is asked and answers through files."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from llm_cases import TASK, Log, Person, answer, code, put, search, small_run
from rich.console import Console

from eureka_agent.cli import main
from eureka_agent.errors import BudgetExhausted, UsageError
from eureka_agent.llm import mailbox
from eureka_agent.llm.prompting import fenced
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.proposers import Sitting, make_proposer
from eureka_agent.runs.run import Run
from eureka_agent.terminal.board import Board
from eureka_agent.terminal.display import LiveTable, PlainLines
from eureka_agent.terminal.watcher import Silent
from eureka_sandbox.backends import BACKENDS

SERVER = multiprocessing.get_context("forkserver")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of people's scale, at a test's."""
    monkeypatch.setattr(mailbox, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(mailbox, "REST_SECONDS", 0.06)
    monkeypatch.setattr(mailbox, "PATIENCE_SECONDS", 0.2)


class Asking:
    """Candidates asked for in threads of their own."""

    def __init__(self, run: Run, log: Log) -> None:
        self.run, self.log, self.stopping = run, log, threading.Event()
        self.proposer = make_proposer(run.settings.model, TASK, sitting=Sitting(run, log, self.stopping))
        self.proposals: dict[str, Proposal] = {}
        self.finished: list[str] = []
        self._threads: dict[str, threading.Thread] = {}

    def ask(self, *slots: int) -> None:
        for slot in slots:
            brief = Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=0)
            self._threads[brief.id] = threading.Thread(target=self._ask, args=(brief,), daemon=True)
            self._threads[brief.id].start()

    def _ask(self, brief: Brief) -> None:
        try:
            self.proposals[brief.id] = self.proposer.propose(brief, TASK, Population())
            self.finished.append(brief.id)
        except mailbox.AskingStopped:
            pass

    def answered(self, name: str) -> Proposal:
        self._threads[name].join(20)
        return self.proposals[name]

    def end(self) -> None:
        self.stopping.set()
        for thread in self._threads.values():
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return tmp_path / "box"


@pytest.fixture
def asking(tmp_path: Path, box: Path) -> Iterator[Asking]:
    with small_run(tmp_path / "run", f"mailbox:{box}") as run:
        asking = Asking(run, Log())
        yield asking
        asking.end()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.01)


def holds(box: Path, *names: str) -> Callable[[], bool]:
    return lambda: all((box / name).is_file() for name in names)


def test_a_whole_search_is_answered_from_files(tmp_path: Path, box: Path) -> None:
    log = Log()
    with small_run(tmp_path / "run", f"mailbox:{box}") as run, Person(box) as person:
        search(run, log)
        candidates = run.population().candidates
        assert {c.id: c.code for c in candidates} == {name: code(name) for name in person.order}
        assert sorted(person.order) == ["g0c0", "g0c1", "g1c0", "g1c1"]
    prompt = (box / "g1c0.prompt.md").read_text()
    assert prompt.startswith("<!-- Prompt g1c0 of a reward search: save the whole answer as g1c0.answer.md;")
    assert prompt.index("<!-- system -->") < prompt.index("<!-- user -->") < prompt.index("# State variables")
    assert "g0c0" in prompt or "g0c1" in prompt
    assert "<id>.answer.md" in (box / "README.md").read_text()
    assert [f"prompts are put into {box} as <id>.prompt.md" in text for text in log.said].count(True) == 1
    assert log.waits[-1] == ""


def test_the_watcher_hears_how_many_answers_are_waited_for(asking: Asking, box: Path) -> None:
    asking.ask(0, 1)
    until(lambda: f"waiting for 2 answers in {box}: g0c0, g0c1" in asking.log.waits)
    put(box / "g0c1.answer.md", answer("g0c1"))
    until(lambda: asking.log.waits[-1] == f"waiting for 1 answer in {box}: g0c0")
    put(box / "g0c0.answer.md", answer("g0c0"))
    until(lambda: asking.log.waits[-1] == "")


def test_answers_may_come_in_any_order(asking: Asking, box: Path) -> None:
    asking.ask(0, 1)
    until(holds(box, "g0c0.prompt.md", "g0c1.prompt.md"))
    for name in ("g0c1", "g0c0"):
        put(box / f"{name}.answer.md", answer(name))
        assert asking.answered(name).code == code(name)
    assert asking.finished == ["g0c1", "g0c0"]


@pytest.mark.parametrize("cut", [0, 0.3, 0.8])
def test_part_of_an_answer_is_never_read(asking: Asking, box: Path, cut: float) -> None:
    whole = answer("g0c0")
    part = whole[: int(cut * len(whole.split("```\n\n")[0]))]
    asking.ask(0)
    until(holds(box, "g0c0.prompt.md"))
    put(box / "g0c0.answer.md", part)
    until(lambda: any("g0c0.answer.md is not read yet" in text for text in asking.log.said))
    until(lambda: asking.log.waits[-1] == f"waiting for 1 answer in {box}: g0c0 (not complete)")
    assert asking.proposals == {}
    put(box / "g0c0.answer.md", whole)
    assert asking.answered("g0c0").code == code("g0c0")


def test_an_answer_that_somebody_still_writes_is_not_read(asking: Asking, box: Path) -> None:
    asking.ask(0)
    until(holds(box, "g0c0.prompt.md"))
    with open(box / "g0c0.answer.md", "w") as file:
        file.write(answer("a first draft"))
        file.flush()
        until(lambda: any("g0c0.answer.md is not read yet" in text for text in asking.log.said))
        file.write(f"Better:\n\n{fenced(code('g0c0'))}\n")
    assert asking.answered("g0c0").code == code("g0c0")


def test_a_refusal_counts_once_its_last_line_says_that_it_is_whole(asking: Asking, box: Path) -> None:
    asking.ask(0)
    until(holds(box, "g0c0.prompt.md"))
    put(box / "g0c0.answer.md", f"I would rather not.\n{mailbox.LAST_LINE}\n")
    until(holds(box, "g0c0.repair.prompt.md"))
    put(box / "g0c0.repair.answer.md", f"No.\n{mailbox.LAST_LINE}")
    failure = asking.answered("g0c0").failure
    assert failure is not None
    assert "no code block that defines compute_reward" in failure.message


def test_the_repair_turn_shows_the_answer_and_what_was_wrong_with_it(asking: Asking, box: Path) -> None:
    wrong = code("g0c0").replace("torso_x_velocity", "torso_vel")
    asking.ask(0)
    until(holds(box, "g0c0.prompt.md"))
    put(box / "g0c0.answer.md", fenced(wrong))
    until(holds(box, "g0c0.repair.prompt.md"))
    prompt = (box / "g0c0.repair.prompt.md").read_text()
    assert prompt.count("<!-- user -->") == 2
    assert "def compute_reward(torso_vel:" in prompt.split("<!-- assistant -->")[1]
    assert "unknown state variable 'torso_vel'" in prompt.split("<!-- user -->")[2]
    put(box / "g0c0.repair.answer.md", answer("g0c0"))
    assert asking.answered("g0c0").code == code("g0c0")
    assert [(c.key, c.state) for c in asking.run.calls()] == [("g0c0/propose/1", "parsed"), ("g0c0/repair/1", "parsed")]
    exported = asking.run.folder / "candidates" / "g0c0"
    assert (exported / "response.md").read_text() == fenced(wrong)
    assert (exported / "repair.response.md").read_text() == answer("g0c0")


def test_the_first_line_may_say_who_answered(asking: Asking, box: Path) -> None:
    asking.ask(0)
    until(holds(box, "g0c0.prompt.md"))
    put(box / "g0c0.answer.md", f"<!-- model: lab/large-7b (4 bit) -->\n{answer('g0c0')}")
    assert asking.answered("g0c0").code == code("g0c0")
    (call,) = asking.run.calls()
    assert call.model == "lab/large-7b (4 bit)"
    assert asking.run.blob(call.response or "").decode() == answer("g0c0")


def test_the_end_of_a_sitting_ends_the_waiting_and_leaves_the_prompts(asking: Asking, box: Path) -> None:
    asking.ask(0, 1)
    until(holds(box, "g0c0.prompt.md", "g0c1.prompt.md"))
    asking.end()
    assert asking.proposals == {}
    assert {call.state for call in asking.run.calls()} == {"sent"}


def test_the_time_limit_holds_while_answers_are_waited_for(tmp_path: Path, box: Path) -> None:
    with small_run(tmp_path / "run", f"mailbox:{box}", max_seconds=0.3) as run:
        with pytest.raises(BudgetExhausted, match=r"time limit of 0\.3 s is reached"):
            search(run)
        assert holds(box, "g0c0.prompt.md", "g0c1.prompt.md")()


def search_in_child(folder: Path) -> None:
    mailbox.POLL_SECONDS, mailbox.REST_SECONDS = 0.02, 0.06
    with Run.open(folder) as run:
        search(run)


def test_killed_while_waiting_a_search_takes_the_answers_it_had_and_those_that_came_since(
    tmp_path: Path, box: Path
) -> None:
    folder = tmp_path / "run"
    small_run(folder, f"mailbox:{box}").close()
    child = SERVER.Process(target=search_in_child, args=(folder,))
    child.start()
    until(holds(box, "g0c0.prompt.md", "g0c1.prompt.md"))
    put(box / "g0c0.answer.md", answer("before"))
    until(holds(folder, "candidates/g0c0/response.md"))
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    put(box / "g0c0.answer.md", answer("too late, the first one counts"))
    put(box / "g0c1.answer.md", answer("meanwhile"))
    with Run.open(folder) as run, Person(box):
        search(run)
        candidates = {c.id: c.code for c in run.population().candidates}
        assert candidates["g0c0"] == code("before")
        assert candidates["g0c1"] == code("meanwhile")
        assert {call.state for call in run.calls()} == {"parsed"}
        assert len(run.calls()) == 4


def test_a_mailbox_of_another_run_is_refused_before_anything_is_asked(tmp_path: Path, box: Path) -> None:
    with small_run(tmp_path / "run", f"mailbox:{box}") as run, Person(box):
        search(run)
    with pytest.raises(UsageError, match=r"belongs to the run .*/run; give every run a folder of its own"):
        make_proposer(f"mailbox:{box}", TASK)
    with small_run(tmp_path / "other", f"mailbox:{box}") as other, pytest.raises(UsageError, match="belongs to"):
        make_proposer(other.settings.model, TASK, sitting=Sitting(other, Silent(), threading.Event()))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("", "", "which folder"), ("file", "", "not a folder"), ("mailbox.json", "[1]", "does not name a run")],
)
def test_a_folder_that_cannot_be_a_mailbox_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    if name:
        (tmp_path / name).write_text(text)
    argument = {"": "", "file": str(tmp_path / "file"), "mailbox.json": str(tmp_path)}[name]
    with pytest.raises(UsageError, match=message):
        make_proposer(f"mailbox:{argument}", TASK)


def test_the_command_line_says_what_to_do_and_finds_the_mailbox_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    tiny = ["-p", "2", "-g", "1", "--timesteps", "100", "--final-seeds", "1", "-j", "1"]
    with Person(tmp_path / "box"):
        assert main(["evolve", "hopper_forward", *tiny, "--model", "mailbox:box", "-o", "run", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["failed"] == 0
    assert captured.err.count("put the answer to each beside it as <id>.answer.md") == 1
    assert "waiting for 2 answers in" in captured.err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with Person(tmp_path / "box") as person:
        assert main(["evolve", "--resume", "../run", "-g", "2"]) == 0
    assert {"g1c0", "g1c1"} <= set(person.order)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_waiting_the_command_ends_and_says_how_to_continue(tmp_path: Path, signum: int) -> None:
    command = [sys.executable, "-m", "eureka_agent", "evolve", "hopper_forward", "-p", "2", "-g", "1"]
    process = subprocess.Popen(
        [*command, "--model", "mailbox:box", "-o", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        until(holds(tmp_path / "box", "g0c0.prompt.md", "g0c1.prompt.md"))
        process.send_signal(signum)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "continue with: eureka evolve --resume run" in said
    with Run.open(tmp_path / "run") as run:
        assert {call.state for call in run.calls()} == {"sent"}


def test_the_displays_say_what_is_waited_for_and_do_not_count_it_as_work(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    board = Board(task="hopper", unit="m", generations=2, trainings=4, timesteps=100)
    lines, table = PlainLines(board, console), LiveTable(board, console)
    lines.waiting("waiting for 2 answers in /box")
    assert "waiting for 2 answers in /box" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "waiting for 2 answers in /box" in board.headline
    board.waiting_since -= 500.0
    table.waiting("")
    assert "waiting" not in board.headline
    assert board.waited >= 500.0


def look(path: Path) -> None:
    for _ in range(3_000):
        with open(path, "rb") as file:
            mailbox._being_written(file.fileno())


def test_whoever_writes_at_the_very_moment_of_looking_ends_nothing(tmp_path: Path) -> None:
    reader = SERVER.Process(target=look, args=(tmp_path / "answer.md",))
    (tmp_path / "answer.md").touch()
    reader.start()
    while reader.is_alive():
        with open(tmp_path / "answer.md", "a") as file:
            file.write("word ")
    assert reader.exitcode == 0
