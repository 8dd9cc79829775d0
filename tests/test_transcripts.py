"""Every prompt and answer is in the run: kept before it is read, asked for once, replayed and exported."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import threading
from pathlib import Path

import pytest
from llm_cases import TASK, Log, answer, code, search, small_run

from eureka_agent.cli import main
from eureka_agent.contract.task import load_task
from eureka_agent.errors import EurekaError, RunError, UsageError
from eureka_agent.llm.completion import Completion, Usage
from eureka_agent.llm.prompting import Prompts, Request, fenced
from eureka_agent.llm.proposer import LLMProposer
from eureka_agent.llm.replay import ReplayLLM
from eureka_agent.llm.transcript import RunTranscript
from eureka_agent.population import Brief, Population
from eureka_agent.proposers import make_proposer, usual_settings
from eureka_agent.runs.calls import Message, packed, prompt_hash
from eureka_agent.runs.journal import CALLS
from eureka_agent.runs.recording import load_recording
from eureka_agent.runs.run import Run
from eureka_sandbox.backends import BACKENDS

SERVER = multiprocessing.get_context("forkserver")
SHIPPED = Path(__file__).parent / "data" / "transcripts" / "hopper_forward"
BRIEF = Brief(id="g0c0", generation=0, slot=0, operator="sample", seed=0)


class Tape:
    """A language model that says the same to every request, and keeps what it was asked."""

    def __init__(self, text: str = "", free: bool = True, completion: Completion | None = None) -> None:
        self.free = free
        self.completion = completion or Completion(text=text or answer("tape"), model="tape")
        self.asked: list[Request] = []

    def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        return self.completion


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_run(tmp_path / "run", "scripted:nowhere").close()
    return tmp_path / "run"


def scripted(folder: Path) -> str:
    """A model that answers four candidates from files, one of them only in the repair turn."""
    folder.mkdir()
    for name in ("g0c0", "g0c1", "g1c0", "g1c1"):
        (folder / f"{name}.md").write_text(answer(name))
    (folder / "g0c1.md").write_text("Let me think.")
    (folder / "g0c1.repair.md").write_text(answer("g0c1"))
    return f"scripted:{folder}"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The folder of a finished search."""
    with small_run(tmp_path / "recorded", scripted(tmp_path / "answers")) as run:
        search(run)
    return tmp_path / "recorded"


def codes(run: Run) -> dict[str, str]:
    return {c.id: c.code for c in run.population().candidates}


# -------------------------------------------------------------------------------------------------------------- calls


def test_prompt_and_answer_are_kept_with_who_answered_and_what_it_took(folder: Path) -> None:
    usage = Usage(input_tokens=1200, output_tokens=300)
    llm = Tape(completion=Completion(text=answer("x"), model="lab/m-1", finish_reason="end_turn", usage=usage))
    with Run.open(folder) as run:
        LLMProposer(llm, Prompts(), RunTranscript(run)).propose(BRIEF, TASK, Population())
        (call,) = run.calls()
        assert (call.key, call.state, call.model, call.finish_reason) == (
            "g0c0/propose/1",
            "parsed",
            "lab/m-1",
            "end_turn",
        )
        assert (call.input_tokens, call.output_tokens) == (1200, 300)
        assert call.prompt == prompt_hash(llm.asked[0].messages)
        assert run.blob(call.prompt) == packed(llm.asked[0].messages)
        assert run.blob(call.response or "").decode() == answer("x")
        times = (call.reserved, call.sent, call.received, call.parsed)
        assert None not in times
        assert sorted(times) == list(times)
    exported = folder / "candidates" / "g0c0"
    assert (exported / "response.md").read_text() == answer("x")
    assert llm.asked[0].messages[1].content in (exported / "prompt.md").read_text()


def test_an_answered_call_is_never_asked_again_even_if_it_was_not_read_yet(folder: Path) -> None:
    first, second = Tape(), Tape()
    with Run.open(folder) as run:
        request = Prompts().compose(BRIEF, TASK, Population())
        RunTranscript(run).ask(first, request)
        assert [call.state for call in run.calls()] == ["received"]
    with Run.open(folder) as run:
        proposal = LLMProposer(second, Prompts(), RunTranscript(run)).propose(BRIEF, TASK, Population())
        assert proposal.code == code("tape")
        assert [call.state for call in run.calls()] == ["parsed"]
    assert second.asked == []


def test_an_answer_goes_with_the_words_it_was_asked_with(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "system.md.j2").write_text("Other words by now.")
    with Run.open(folder) as run:
        RunTranscript(run).ask(Tape("No code."), Prompts().compose(BRIEF, TASK, Population()))
    later = Tape()
    with Run.open(folder) as run:
        LLMProposer(later, Prompts(tmp_path / "mine"), RunTranscript(run)).propose(BRIEF, TASK, Population())
    (repair,) = later.asked
    assert repair.purpose == "repair"
    assert repair.messages[0] == Prompts().compose(BRIEF, TASK, Population()).messages[0]
    assert repair.messages[2].content == "No code."


class Cut(Tape):
    """Goes away while it is asked."""

    def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        raise KeyboardInterrupt


@pytest.mark.parametrize("free", [True, False])
def test_a_call_without_an_answer_is_sent_again_only_where_that_is_free(folder: Path, free: bool) -> None:
    request = Prompts().compose(BRIEF, TASK, Population())
    with Run.open(folder) as run, pytest.raises(KeyboardInterrupt):
        RunTranscript(run).ask(Cut(), request)
    llm = Tape(free=free)
    with Run.open(folder) as run:
        assert [call.state for call in run.calls()] == ["sent"]
        if free:
            assert RunTranscript(run).ask(llm, request)[1].text == answer("tape")
        else:
            with pytest.raises(EurekaError, match="g0c0/propose/1: sent in an earlier sitting and never answered"):
                RunTranscript(run).ask(llm, request)
    assert len(llm.asked) == int(free)


class Fatal(Tape):
    """Kills its process where the answer would be read."""

    def complete(self, request: Request) -> Completion:
        (Path(os.environ["HOME"]) / "asked").open("a").write(f"{request.brief}/{request.purpose}\n")
        return super().complete(request)


def ask_and_die(folder: Path, home: Path) -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(home))
    patch.setattr("eureka_agent.llm.gates.extract_code", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with Run.open(folder) as run:
        LLMProposer(Fatal(), Prompts(), RunTranscript(run)).propose(BRIEF, TASK, Population())


def test_killed_before_it_reads_an_answer_a_search_has_it_all_the_same(folder: Path, tmp_path: Path) -> None:
    child = SERVER.Process(target=ask_and_die, args=(folder, tmp_path))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "asked").read_text() == "g0c0/propose\n"
    llm = Tape("never needed")
    with Run.open(folder) as run:
        assert LLMProposer(llm, Prompts(), RunTranscript(run)).propose(BRIEF, TASK, Population()).code == code("tape")
    assert llm.asked == []


def test_calls_of_several_threads_are_all_kept(folder: Path) -> None:
    llm = Tape()
    with Run.open(folder) as run:
        proposer = LLMProposer(llm, Prompts(), RunTranscript(run))
        briefs = [BRIEF.model_copy(update={"id": f"g0c{i}", "slot": i}) for i in range(8)]
        threads = [threading.Thread(target=proposer.propose, args=(brief, TASK, Population())) for brief in briefs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {call.brief for call in run.calls()} == {brief.id for brief in briefs}
        assert {call.state for call in run.calls()} == {"parsed"}


def test_a_run_from_before_there_were_transcripts_still_opens(folder: Path) -> None:
    with sqlite3.connect(folder / "run.db") as database:
        database.execute("DROP TABLE calls")
        database.execute("PRAGMA user_version = 1")
    with Run.open(folder, read_only=True) as run:
        assert run.calls() == ()
    with Run.open(folder) as run:
        LLMProposer(Tape(), Prompts(), RunTranscript(run)).propose(BRIEF, TASK, Population())
    with Run.open(folder, read_only=True) as run:
        assert [call.key for call in run.calls()] == ["g0c0/propose/1"]
    assert "CREATE" in CALLS


# ------------------------------------------------------------------------------------------------------------- replay


def test_a_replay_reaches_the_same_candidates_without_the_model(recorded: Path, tmp_path: Path) -> None:
    model, log = f"replay:{recorded}", Log()
    with Run.open(recorded, read_only=True) as original, small_run(tmp_path / "again", model) as again:
        search(again, log)
        assert codes(again) == codes(original)
        assert len(codes(again)) == 4
        assert again.population()["g0c1"].failure is None
        assert {c.key: c.response for c in again.calls()} == {c.key: c.response for c in original.calls()}
        assert "g0c1/repair/1" in {c.key for c in again.calls()}
    assert not any("prompts differ" in text for text in log.said)


def test_a_replay_with_other_prompts_takes_the_same_answers_and_says_so_once(recorded: Path, tmp_path: Path) -> None:
    log = Log()
    with (
        Run.open(recorded, read_only=True) as original,
        small_run(tmp_path / "again", f"replay:{recorded}", seed=7) as run,
    ):
        search(run, log)
        assert codes(run) == codes(original)
    assert sum("prompts differ from those recorded (first seen at g1c" in text for text in log.said) == 1


def test_an_exported_transcript_replays_like_the_run(recorded: Path, tmp_path: Path) -> None:
    assert main(["export", str(recorded), "--transcript", str(tmp_path / "transcript")]) == 0
    assert (tmp_path / "transcript" / "g0c1.repair.response.md").read_text() == answer("g0c1")
    assert "# State variables" in (tmp_path / "transcript" / "g1c0.prompt.md").read_text()
    with (
        Run.open(recorded, read_only=True) as original,
        small_run(tmp_path / "again", f"replay:{tmp_path / 'transcript'}") as again,
    ):
        search(again)
        assert codes(again) == codes(original)
    assert load_recording(tmp_path / "transcript").index == load_recording(recorded).index


def test_a_replay_that_goes_beyond_the_recording_names_the_missing_answer(recorded: Path, tmp_path: Path) -> None:
    with small_run(tmp_path / "again", f"replay:{recorded}", generations=3) as run:
        with pytest.raises(UsageError, match=r"no answer g2c[01]/propose/1 in .*/recorded, .* -p 2 -g 2") as error:
            search(run)
        assert error.value.exit_code == 2
        assert run.population().generations == 2


def test_a_replay_whose_gates_decide_otherwise_says_so(recorded: Path) -> None:
    messages = (Message(role="user", content="Again."),)
    request = Request(messages=messages, brief="g0c0", purpose="repair", position=0)
    with pytest.raises(UsageError, match=r"no answer g0c0/repair/1 .* the recorded search needed none"):
        ReplayLLM(load_recording(recorded)).complete(request)


def test_a_replay_has_the_recorded_settings_unless_others_are_named(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    command = ["evolve", "hopper_forward", "--model", "replay:recorded", "--timesteps", "500", "-o", "again"]
    assert main(command) == 0, capsys.readouterr().err
    with Run.open(tmp_path / "again", read_only=True) as run:
        assert (run.settings.population, run.settings.generations, run.settings.timesteps) == (2, 2, 500)
        assert run.settings.model == f"replay:{recorded}"
    assert usual_settings("offline") == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "which run is replayed"),
        ("absent", "neither a run's folder"),
        ("mute", "no language model was asked there"),
        ("damaged", r"transcript\.json: calls: Field required; export the transcript again"),
        ("partial", r"g0c0\.response\.md: No such file"),
    ],
)
def test_what_cannot_be_replayed_is_named(recorded: Path, tmp_path: Path, name: str, message: str) -> None:
    small_run(tmp_path / "mute", "offline").close()
    for folder in ("damaged", "partial"):
        assert main(["export", str(recorded), "--transcript", str(tmp_path / folder)]) == 0
    index = json.loads((tmp_path / "damaged" / "transcript.json").read_text())
    (tmp_path / "damaged" / "transcript.json").write_text(json.dumps({k: v for k, v in index.items() if k != "calls"}))
    (tmp_path / "partial" / "g0c0.response.md").unlink()
    with pytest.raises((UsageError, RunError), match=message):
        make_proposer(f"replay:{tmp_path / name if name else ''}", TASK)


def test_a_recording_of_another_task_is_refused(recorded: Path) -> None:
    with pytest.raises(
        UsageError, match=r"recorded for hopper_forward, not for swimmer_forward; say `eureka evolve hop"
    ):
        make_proposer(f"replay:{recorded}", load_task("swimmer_forward"))


def test_a_run_without_a_language_model_has_no_transcript_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_run(tmp_path / "mute", "offline").close()
    assert main(["export", str(tmp_path / "mute"), "--transcript", str(tmp_path / "out")]) == 2
    assert "no language model was asked there (--model was offline)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_answers_text_survives_the_export_whatever_it_holds(folder: Path, tmp_path: Path) -> None:
    text = f"\ufeffÜber — \r\n\0 {fenced(code('x'))}\r\n"
    with Run.open(folder) as run:
        RunTranscript(run).ask(Tape(text), Prompts().compose(BRIEF, TASK, Population()))
    assert main(["export", str(folder), "--transcript", str(tmp_path / "out")]) == 0
    assert load_recording(tmp_path / "out").responses == {"g0c0/propose/1": text}


def test_the_shipped_recording_of_a_language_model_replays_end_to_end(tmp_path: Path) -> None:
    """Eight rewards for the hopper, written through the mailbox by a language model."""
    recording, settings = load_recording(SHIPPED), usual_settings(f"replay:{SHIPPED}")
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 200_000
    with small_run(tmp_path / "run", f"replay:{SHIPPED}", **settings) as run:
        comparison = search(run)
        population = run.population()
        assert [c.failure for c in population.candidates] == [None] * 8
        assert {f"{c.id}/propose/1" for c in population.candidates} == recording.responses.keys()
        for candidate in population.candidates:
            assert candidate.code in recording.responses[f"{candidate.id}/propose/1"]
    assert comparison.candidate in {c.id for c in population.candidates}
