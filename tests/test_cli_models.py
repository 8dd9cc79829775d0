"""Whole searches with models of providers: the command, the broker, the SDKs, and a provider on loopback that bills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llm_cases import REWARD
from llm_server_cases import SPECIAL, Handler, Provider, Reply, provider
from provider_cases import FakeBroker, Killed, answered

from eureka_agent.cli import main
from eureka_agent.cli.diagnosis import models
from eureka_agent.llm.prompting import fenced
from eureka_agent.llm.wire import Ask, Outcome
from eureka_agent.runs.run import Run
from eureka_agent.runs.spending import spending
from eureka_sandbox.backends import BACKENDS

CANARY = "sk-canary-7f3a9c1e5b2d8f46"
USAGE = {"input": 1000, "output": 200}
PRICES = """models:
  openai/reward: {price: {input: 1, output: 10}}
  openai/same: {price: {input: 1, output: 10}}
  anthropic/reward: {price: {input: 2, output: 20}}
"""
TINY = ["-p", "2", "-g", "2", "--timesteps", "100", "--final-seeds", "1", "-j", "1", "--max-output-tokens", "1000"]
WITHOUT_SIMULATION = (
    "import sys; from eureka_sandbox.backends import BACKENDS; "
    "BACKENDS.update(dict.fromkeys(BACKENDS, 'eureka_sandbox.backends.scripted:ScriptedSandbox')); "
    "from eureka_agent.cli import main; sys.exit(main(sys.argv[1:]))"
)


def reward(number: int) -> str:
    """A program of its own for every number."""
    code = REWARD.format(name=f"number {number}").replace(
        "return torso_x_velocity,", f"return {number + 1}.0 * torso_x_velocity,"
    )
    return f"I pay speed.\n\n{fenced(code)}\n"


def numbered(handler: Handler) -> None:
    """A reward that nobody has had yet."""
    handler.answer(Reply(text=reward(len(handler.server.ledger)), usage=USAGE))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, keys, prices, and a sandbox that simulates nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
    monkeypatch.delenv("EUREKA_DEBUG", raising=False)
    for name in BACKENDS:
        monkeypatch.setitem(BACKENDS, name, "eureka_sandbox.backends.scripted:ScriptedSandbox")
    monkeypatch.setitem(SPECIAL, "reward", numbered)
    (tmp_path / "models.yaml").write_text(PRICES)
    return tmp_path


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider() as running:
        yield running


def arguments(server: Provider, *flags: str, model: str = "openai/reward") -> list[str]:
    address = ["--base-url", f"{server.url}/v1", "--models-file", "models.yaml"]
    return ["evolve", "hopper_forward", *TINY, "--model", model, *address, "-o", "run", *flags]


# -------------------------------------------------------------------------- through the broker and the SDKs themselves


def test_a_search_tells_what_it_cost_keeps_everything_and_shows_no_key_anywhere(
    server: Provider, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(server, "--max-cost", "1", "--json")) == 0
    captured = capfd.readouterr()
    result = json.loads(captured.out)
    assert result["failed"] == 0
    spent = result["spending"]
    assert spent["total"]["calls"] == len(server.billed) == 4
    assert spent["total"]["cost"] == pytest.approx(4 * (1000 + 2000) / 1e6)
    assert spent["by_model"]["openai/reward"]["input_tokens"] == 4000
    assert spent["cost_per_improvement"] == pytest.approx(spent["total"]["cost"] / spent["improvements"])
    assert "about 5 calls to language models" in captured.err
    said = "generation 2 of 2: 2 candidates; language models so far: 4 calls, 4.8k tokens, $0.012 of $1.00"
    assert said in captured.err
    with Run.open(Path("run"), read_only=True) as run:
        for call in run.calls():
            assert (call.state, call.asked, call.request_id, call.cost) == ("parsed", "openai/reward", "req_7", 0.003)
            assert json.loads(run.blob(call.raw or ""))
    assert not list(Path("run/spool").glob("*.outcome"))

    refused = ["--model", "openai/401", "--base-url", f"{server.url}/v1", "-o", "refused"]
    assert main(["evolve", "hopper_forward", *TINY, *refused]) == 4
    last = capfd.readouterr().err
    assert "set the provider's key" in last.strip().splitlines()[-1]
    headers = [value for received in server.ledger for value in received.headers.values()]
    assert any(CANARY in value for value in headers), "the provider did get the key"
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
    assert CANARY not in captured.out + captured.err + last
    assert CANARY not in os.environ.values()


def test_a_search_that_is_killed_while_it_waits_finds_the_answer_and_pays_once(
    server: Provider, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(handler: Handler) -> None:
        handler.server.arrived.set()
        handler.server.released.wait(60)
        numbered(handler)

    monkeypatch.setitem(SPECIAL, "reward", held)
    command = [sys.executable, "-c", WITHOUT_SIMULATION, *arguments(server, "--max-cost", "1", "-p", "1", "-g", "1")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert server.arrived.wait(120)
        process.send_signal(signal.SIGKILL)
    with Run.open(place / "run", read_only=True) as run:
        assert [call.state for call in run.calls()] == ["sent"]
        assert run.booked().cost == run.calls()[0].reserved_cost
    server.released.set()
    assert main(["evolve", "--resume", "run"]) == 0
    assert len(server.ledger) == 1
    with Run.open(place / "run", read_only=True) as run:
        assert [(call.state, call.cost) for call in run.calls()] == [("parsed", 0.003)]
        assert run.comparison() is not None


def test_an_interrupt_ends_the_wait_for_the_hour_and_with_a_higher_cap_it_goes_on_at_once(
    server: Provider, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dear(handler: Handler) -> None:
        usage = {"input": 10_000, "output": 1000}
        handler.answer(Reply(text=reward(len(handler.server.ledger)), usage=usage))

    monkeypatch.setitem(SPECIAL, "reward", dear)
    flags = arguments(server, "--max-cost-per-hour", "0.03", "-p", "2", "-g", "1")
    command, lines = [sys.executable, "-c", WITHOUT_SIMULATION, *flags], []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                if line.startswith("waiting: the spending cap of $0.03 per hour has no room for the next call"):
                    process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130, "".join(lines)
        finally:
            process.kill()
    assert lines[-1].endswith("continue with: eureka evolve --resume run\n")
    with Run.open(place / "run", read_only=True) as run:
        held = run._open.rows("SELECT value FROM meta WHERE key = 'lease_holder'")
        assert not held, "it ended in order, before its patience did"
        assert [call.cost for call in run.calls()] == [0.02]
    assert len(server.billed) == 1
    assert main(["evolve", "--resume", "run", "--max-cost-per-hour", "1"]) == 0
    assert len(server.billed) == 2


# ----------------------------------------------------------------------------------------------- with a broker at hand


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """A broker without a process, which answers with a new program each time."""
    fake = FakeBroker()
    fake.script = lambda ask: answered(ask, text=reward(len(fake.asked)))
    monkeypatch.setattr("eureka_agent.llm.providers.Broker", lambda *_: fake)
    return fake


ALONE = ["evolve", "hopper_forward", *TINY, "--models-file", "models.yaml", "-o", "run", "--model", "openai/reward"]


def test_two_models_share_the_work_and_a_replay_needs_neither(broker: FakeBroker, place: Path) -> None:
    assert main([*ALONE, "--model", "anthropic/reward=2", "--max-cost", "1", "-p", "6"]) == 0
    with Run.open(place / "run", read_only=True) as run:
        codes = {c.id: c.code for c in run.population().candidates}
        assert {call.asked for call in run.calls()} == {"openai/reward", "anthropic/reward"}
        spent = spending(run)
        assert spent.total.cost == pytest.approx(sum(share.cost for share in spent.by_model.values()))
    before = len(broker.asked)
    assert main(["evolve", "hopper_forward", "--model", "replay:run", "-o", "again"]) == 0
    with Run.open(place / "again", read_only=True) as run:
        assert {c.id: c.code for c in run.population().candidates} == codes
        assert run.booked().cost == 0.0
    assert len(broker.asked) == before


def test_a_replay_has_no_answer_where_the_recorded_search_went_on_without_one(broker: FakeBroker, place: Path) -> None:
    """One candidate's answer is cut off twice, another's comes at the second attempt."""

    def script(ask: Ask) -> Outcome:
        if ask.key.startswith("g0c0/"):
            return answered(ask, text="half", finish_reason="length")
        return answered(ask, text="") if ask.key == "g0c1/propose/1" else answered(ask, text=reward(len(broker.asked)))

    broker.script = script
    assert main([*ALONE, "--max-cost", "1"]) == 0
    assert main(["evolve", "hopper_forward", "--model", "replay:run", "-o", "again"]) == 0
    with Run.open(place / "run", read_only=True) as first, Run.open(place / "again", read_only=True) as again:
        assert [c.code for c in again.population().candidates] == [c.code for c in first.population().candidates]
        failures = [c.failure for c in first.population().candidates]
        assert "cut off after 2000 tokens" in str(failures[0])
        assert failures[1:] == [None] * 3
        assert "no usable answer" in str(again.population()["g0c0"].failure)


def test_a_cap_ends_with_the_best_saved_and_its_command_goes_on(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*ALONE, "--max-calls", "3"]) == 3
    captured = capfd.readouterr()
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("error: the cap on calls of 3 leaves no room")
    assert "(3 calls, 360 tokens, $0.0009; " in last
    assert "best so far: g0c" in last
    assert "report " in captured.out
    assert len(broker.asked) == 3
    command = last.partition("continue with: eureka ")[2].split()
    assert command[-2:] == ["--max-calls", "6"]
    assert main(command) == 0
    assert len(broker.asked) == 4
    assert "language models: 4 calls" in capfd.readouterr().out


def test_a_cap_without_a_price_counts_the_calls_that_were_made(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*ALONE[:-1], "openai/unpriced", "--max-calls", "1"]) == 3
    assert "(1 call, 120 tokens, cost unknown (1 call without a known price); " in capfd.readouterr().err


def test_a_replay_of_a_search_with_a_critic_has_its_rounds(broker: FakeBroker, place: Path) -> None:
    opinion = "- `forward`: too steep\n\nVERDICT: "

    def script(ask: Ask) -> Outcome:
        critic, again = "/critic" in ask.key, "/critic/" in ask.key
        text = opinion + ("revise" if again else "keep") if critic else reward(len(broker.asked))
        return answered(ask, text=text)

    broker.script = script
    assert main([*ALONE, "--critic"]) == 0
    assert main(["evolve", "hopper_forward", "--model", "replay:run", "-o", "again"]) == 0
    with Run.open(place / "run", read_only=True) as first, Run.open(place / "again", read_only=True) as again:
        assert [c.code for c in again.population().candidates] == [c.code for c in first.population().candidates]
        assert {call.purpose for call in again.calls()} == {"propose", "critic", "revise", "critic2"}


def test_a_call_whose_broker_died_is_listed_at_the_start_of_the_next_sitting(
    broker: FakeBroker, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    usual = broker.script
    broker.script = lambda ask: Killed()
    with pytest.raises(Killed):
        main([*ALONE, "-p", "1"])
    broker.script = usual
    assert main(["evolve", "--resume", "run"]) == 0
    said = (
        "call g0c0/propose/1 to openai/reward was sent in an earlier sitting and its answer is lost; its worst cost, $"
    )
    assert said in capfd.readouterr().err
    with Run.open(place / "run", read_only=True) as run:
        lost, found = run.attempts("g0c0", "propose")
        assert (lost.state, lost.estimated, lost.cost) == ("unknown", True, lost.reserved_cost)
        assert found.state == "parsed"
        assert spending(run).total.estimated == 1
        assert spending(run).faults == {"lost": 1}


def test_a_cost_cap_on_a_resumed_run_needs_the_price_before_anything_is_changed(
    broker: FakeBroker, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*ALONE[:-2], "--model", "openai/unpriced", "-g", "1"]) == 0
    assert main(["evolve", "--resume", "run", "-g", "2", "--max-cost", "1"]) == 2
    assert "price of openai/unpriced is not known" in capfd.readouterr().err
    with Run.open(place / "run", read_only=True) as run:
        assert (run.settings.max_cost, run.settings.generations) == (None, 1)
        assert run.booked().unpriced == 2
    (place / "models.yaml").write_text(PRICES.replace("openai/same", "openai/unpriced"))
    assert main(["evolve", "--resume", "run", "-g", "2", "--max-cost", "1"]) == 0
    with Run.open(place / "run", read_only=True) as run:
        assert run.booked().unpriced == 0
        assert 0 < run.booked().cost < 1


def test_a_program_that_was_written_before_is_linked_and_not_trained_again(
    broker: FakeBroker, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broker.script = lambda ask: answered(ask, text=reward(0).replace("number 0", ask.key))  # other words, same program
    assert main(ALONE) == 0
    assert "g0c1 is the same program as g0c0, and is not trained again" in capfd.readouterr().err
    with Run.open(place / "run", read_only=True) as run:
        first, *others = run.population().candidates
        assert [c.duplicate_of for c in others] == ["g0c0"] * 3
        assert all((c.training, c.score) == (first.training, first.score) for c in others)
        assert first.training is not None
        assert run.training("g0c1") is None
        (prompt,) = [run.blob(call.prompt).decode() for call in run.calls() if call.brief == "g1c1"]
        assert "g0c1 (as g0c0)" in prompt
        assert "same program as g0c0" in others[0].reflection


# -------------------------------------------------------------------------------------------------- before any is asked


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--model", "openai/x", "--max-cost", "1"], 2, "price of openai/x is not known"),
        (["--model", "openai/x", "--model", "offline"], 2, "only models of providers can be mixed"),
        (["--model", "openai/x", "--base-url", "localhost"], 2, "--base-url localhost"),
        (["--model", "openai/x", "--base-url", "https://me:word@host/v1"], 2, "holds a user or password"),
        (["--model", "openai/x", "--on-unknown", "maybe"], 2, "--on-unknown maybe"),
        (["--model", "groq/x"], 4, "groq/x: set GROQ_API_KEY"),
        (["--model", "openai/x", "--models-file", "absent.yaml"], 2, "absent.yaml"),
    ],
)
def test_what_cannot_work_leaves_no_run_behind(
    place: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    assert main(["evolve", "hopper_forward", *TINY, *flags, "-o", "run"]) == code
    assert said in capfd.readouterr().err
    assert not (place / "run").exists()


def test_a_dry_run_says_what_the_models_would_cost_and_asks_nobody(
    broker: FakeBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*ALONE, "--dry-run", "--json"]) == 0
    estimate = json.loads(capfd.readouterr().out)
    assert estimate["calls"] == 5
    assert estimate["tokens"] > 10_000
    assert 0.02 < estimate["dollars"] < 0.2
    assert broker.asked == []


def test_doctor_shows_each_provider_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GROQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MISTRAL_API_KEY", CANARY)
    found = {finding.name: finding for finding in models()}
    assert found["models openai/"].status == found["models mistral/"].status == "ok"
    assert found["models anthropic/"].status == "warning"
    assert "ANTHROPIC_API_KEY" in found["models anthropic/"].fix
    assert "models groq/" not in found
    assert found["models file"].status == "ok"
    assert CANARY not in str(found)


def test_import_of_the_command_loads_no_sdk() -> None:
    code = (
        "import sys, eureka_agent.cli, eureka_agent.cli.evolve, eureka_agent.llm.providers; "
        "print([m for m in ('openai', 'anthropic', 'litellm', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
