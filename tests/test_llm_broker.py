"""The process that asks providers: it outlives the controller, and nobody pays twice whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from llm_server_cases import CODE, Provider, provider

from eureka_agent.errors import EurekaError
from eureka_agent.llm.attempt import kept_answer
from eureka_agent.llm.broker import Broker
from eureka_agent.llm.completion import AskingStopped
from eureka_agent.llm.spool import Spool
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, ModelConfig, Outcome
from eureka_agent.runs.calls import Message
from eureka_agent.runs.crashpoints import BROKER_CRASH_AT, BROKER_POINTS

KEY = "sk-canary-0123456789abcdef"
CONTROLLER = """
import sys, threading
from pathlib import Path
from eureka_agent.llm.broker import Broker
from eureka_agent.llm.wire import Ask
Broker(Path(sys.argv[1]), threading.Event()).ask(Ask.model_validate_json(sys.argv[2]))
"""


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run's spool; brokers that a test leaves behind are ended."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    folder = tmp_path / "spool"
    yield folder
    for process in brokers(folder):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def brokers(folder: Path) -> list[psutil.Process]:
    """Brokers of this spool, whoever has started them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "eureka_agent.llm.broker_main" in (words := process.cmdline()) and str(folder) in words:
                found.append(process)
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def ask_of(server: Provider, scenario: str, ticket: str = "ticket-1", store: bool = False) -> Ask:
    return Ask(
        key="g0c0/propose/1",
        model=ModelConfig(name=f"openai/{scenario}", base_url=f"{server.url}/v1", store=store),
        messages=(Message(role="user", content="half a pair: \ud800, and \0"),),
        max_output_tokens=100,
        idempotency_key=ticket,
    )


def asked_by_another_process(server: Provider, folder: Path) -> subprocess.Popen[bytes]:
    """A controller with a call in flight, which the server holds back."""
    ask = ask_of(server, "hold").model_copy(update={"messages": (Message(role="user", content="hello"),)})
    process = subprocess.Popen([sys.executable, "-c", CONTROLLER, str(folder), ask.model_dump_json()])
    assert server.arrived.wait(60)
    return process


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


class Asking(threading.Thread):
    """A question on a thread of its own."""

    def __init__(self, question: Callable[[], Outcome | None]) -> None:
        super().__init__(daemon=True)
        self._question = question
        self.outcome: Outcome | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._question()
        except Exception as error:
            self.error = error

    def result(self) -> Outcome | None:
        self.join(60)
        assert not self.is_alive()
        assert self.error is None
        return self.outcome


def test_an_answer_comes_through_the_broker_and_is_forgotten(server: Provider, spool: Path) -> None:
    with Broker(spool, threading.Event()) as broker:
        outcome = broker.ask(ask_of(server, "ok"))
        assert isinstance(outcome, Answered)
        assert outcome.text == CODE
        assert broker.ask(ask_of(server, "ok")) == outcome  # it is in the spool: nobody pays twice
        assert broker.adopt("ticket-1") == outcome
        broker.forget("ticket-1")
    assert len(server.billed) == 1
    assert server.billed[0].headers["Authorization"] == f"Bearer {KEY}"
    until(lambda: not brokers(spool))
    assert list(spool.iterdir()) == []


def test_keys_stay_with_the_broker(server: Provider, spool: Path) -> None:
    with Broker(spool, threading.Event()) as broker:
        broker.start()
        assert "OPENAI_API_KEY" not in os.environ
        for scenario in ("repeat-key", "tell-key", "ok"):
            assert KEY not in str(broker.ask(ask_of(server, scenario, scenario)))
        written = b"".join(path.read_bytes() for path in spool.iterdir())
        assert KEY.encode() not in written
        assert b"tell-key" in written


def test_a_sitting_that_ends_leaves_its_call_to_the_next(server: Provider, spool: Path) -> None:
    stopping = threading.Event()
    with Broker(spool, stopping) as broker:
        asking = Asking(lambda: broker.ask(ask_of(server, "hold")))
        assert server.arrived.wait(60)
        stopping.set()
        asking.join(60)
        assert isinstance(asking.error, AskingStopped)
    server.released.set()
    outcome = Broker(spool, threading.Event()).adopt("ticket-1")
    assert isinstance(outcome, Answered)
    assert len(server.billed) == 1


def test_a_killed_controller_loses_no_answer_and_pays_once(server: Provider, spool: Path) -> None:
    killed(asked_by_another_process(server, spool))
    with Broker(spool, threading.Event()) as later:
        adopting = Asking(lambda: later.adopt("ticket-1"))
        server.released.set()
        outcome = adopting.result()
        assert isinstance(outcome, Answered)
        assert outcome.text == CODE
        assert len(server.ledger) == len(server.billed) == 1
    until(lambda: not brokers(spool))


def test_a_call_of_a_killed_broker_is_unknown(server: Provider, spool: Path) -> None:
    controller = asked_by_another_process(server, spool)
    (broker,) = brokers(spool)
    killed(controller)
    broker.kill()
    until(lambda: not brokers(spool))
    assert Broker(spool, threading.Event()).adopt("ticket-1") is None


def test_a_broker_that_is_killed_under_a_call_is_told_at_once(server: Provider, spool: Path) -> None:
    with Broker(spool, threading.Event()) as broker:
        asking = Asking(lambda: broker.ask(ask_of(server, "hold")))
        assert server.arrived.wait(60)
        (process,) = brokers(spool)
        process.kill()
        outcome = asking.result()
        assert isinstance(outcome, Fault)
        assert (outcome.kind, outcome.billed) == (FaultKind.LOST, "unknown")
        with pytest.raises(EurekaError, match="OPENAI_API_KEY"):
            broker.ask(ask_of(server, "ok", "ticket-2"))
    assert [received.scenario for received in server.billed] == ["hold"]


def test_a_request_that_was_sent_is_not_sent_again_by_another_broker(server: Provider, spool: Path) -> None:
    spool.mkdir()
    Spool(spool).mark_sent(ask_of(server, "ok"), "long-gone")
    with Broker(spool, threading.Event()) as broker:
        outcome = broker.ask(ask_of(server, "ok"))
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.LOST, "unknown")
    assert server.ledger == []


def test_an_answer_that_broke_off_is_found_where_it_was_kept(server: Provider, spool: Path) -> None:
    with Broker(spool, threading.Event()) as broker:
        outcome = broker.ask(ask_of(server, "kept-and-lost", store=True))
        assert isinstance(outcome, Answered)
        assert (outcome.text, outcome.usage is not None) == (CODE, True)
        assert broker.adopt("ticket-1") == outcome, "it is kept like any other"
        lost = broker.ask(ask_of(server, "kept-and-lost", "ticket-2"))
        assert isinstance(lost, Fault)
        assert lost.billed == "unknown", "nobody asked the provider to keep it"
    assert server.looked_up == ["ticket-1"]
    assert [received.idempotency_key for received in server.billed] == ["ticket-1", "ticket-2"]


def test_an_answer_whose_broker_died_is_found_where_it_was_kept(server: Provider, spool: Path) -> None:
    """Here with a key that the next sitting has again; the broker that dies takes its own along."""
    ask = ask_of(server, "hold", store=True)
    with Broker(spool, threading.Event()) as broker:
        asking = Asking(lambda: broker.ask(ask))
        assert server.arrived.wait(60)
        (process,) = brokers(spool)
        process.kill()
        asking.join(60)
        assert isinstance(asking.error, EurekaError)
        assert "OPENAI_API_KEY" in str(asking.error)
    server.released.set()
    until(lambda: server.stored)
    os.environ["OPENAI_API_KEY"] = KEY
    with Broker(spool, threading.Event()) as later:
        assert later.adopt("ticket-1") is None
        outcome = later.ask(ask.model_copy(update={"sent_before": True}))
        assert isinstance(outcome, Answered)
        assert outcome.text == CODE
    assert len(server.billed) == 1


def test_what_was_never_kept_stays_lost_and_is_not_sent_again(server: Provider, spool: Path) -> None:
    with Broker(spool, threading.Event()) as broker:
        outcome = broker.ask(ask_of(server, "ok", store=True).model_copy(update={"sent_before": True}))
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.LOST, "unknown")
    assert server.billed == []
    assert server.looked_up == ["ticket-1"] * 3, "the provider may still be writing it"


def test_a_look_for_a_kept_answer_has_an_end(server: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    import openai  # noqa: F401  (which takes its time)

    monkeypatch.setattr("eureka_agent.llm.attempt.LOOKING_SECONDS", 3.0)
    server.forgetful = True
    assert kept_answer(ask_of(server, "ok", store=True), {"OPENAI_API_KEY": KEY}) is None
    assert server.looked_up == ["ticket-1"], "the first look was still on its way"


def test_a_call_that_never_reached_a_broker_costs_nothing(spool: Path) -> None:
    spool.mkdir()
    outcome = Broker(spool, threading.Event()).adopt("ticket-1")
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.CONNECT, "no")


def test_nobody_knows_of_calls_whose_spool_is_gone(spool: Path) -> None:
    assert Broker(spool, threading.Event()).adopt("ticket-1") is None


def test_what_a_starting_broker_may_still_hold_is_waited_for(server: Provider, spool: Path) -> None:
    """A controller was killed right after it had started a broker and handed it a request."""
    earlier = Spool(spool)
    name, lock = earlier.new_broker()
    adopting = Asking(lambda: Broker(spool, threading.Event()).adopt("ticket-1"))
    earlier.mark_sent(ask_of(server, "ok"), name)
    assert adopting.is_alive()
    os.close(lock)
    assert adopting.result() is None  # sent, and the broker died


def test_a_broker_that_has_heard_all_is_not_waited_for(server: Provider, spool: Path) -> None:
    """It finishes one call; others can only have been handed to it if they have their marker."""
    killed(asked_by_another_process(server, spool))
    until(lambda: not Spool(spool).others_may_send(None))
    assert len(brokers(spool)) == 1
    outcome = Broker(spool, threading.Event()).adopt("ticket-2")
    assert isinstance(outcome, Fault)
    assert outcome.kind is FaultKind.CONNECT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_no_call(server: Provider, spool: Path, number: signal.Signals) -> None:
    with Broker(spool, threading.Event()) as broker:
        asking = Asking(lambda: broker.ask(ask_of(server, "hold")))
        assert server.arrived.wait(60)
        (process,) = brokers(spool)
        process.send_signal(number)
        server.released.set()
        assert isinstance(asking.result(), Answered)


def test_a_spool_that_cannot_be_written_sends_nothing(server: Provider, spool: Path) -> None:
    with Broker(spool, threading.Event()) as broker:
        broker.start()
        for path in spool.iterdir():
            path.unlink()
        spool.rmdir()
        outcome = broker.ask(ask_of(server, "ok"))
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.CONNECT, "no")
    assert str(spool) in outcome.message
    assert server.ledger == []


def test_many_calls_go_out_at_once(server: Provider, spool: Path) -> None:
    with Broker(spool, threading.Event()) as broker:
        first = Asking(lambda: broker.ask(ask_of(server, "hold", "held")))
        assert server.arrived.wait(60)
        others = [Asking(lambda n=n: broker.ask(ask_of(server, "ok", f"other-{n}"))) for n in range(8)]
        assert all(isinstance(other.result(), Answered) for other in others)
        server.released.set()
        assert isinstance(first.result(), Answered)
    assert len(server.billed) == 9


NEVER_SENT, UNKNOWN, KEPT = "never sent", "unknown", "kept"
ENDS = {
    "broker.asked": NEVER_SENT,
    "sent.before": NEVER_SENT,
    "sent.written": NEVER_SENT,
    "sent.renamed": UNKNOWN,
    "broker.answered": UNKNOWN,
    "outcome.before": UNKNOWN,
    "outcome.written": UNKNOWN,
    "outcome.renamed": KEPT,
    "broker.told": KEPT,
    "broker.heard-all": KEPT,
}
"""What a later sitting finds of a call whose broker was killed there."""


BROKER = """
import sys
from pathlib import Path
import eureka_agent.llm.broker_main as broker
from eureka_agent.llm.wire import Answered

def attempt(ask, environment):
    with open(sys.argv[4], "a") as book:
        book.write(ask.idempotency_key + chr(10))
    return Answered(text="a", finish_reason="stop", model="m", usage=None, request_id="r", raw="{}")

broker.attempt = attempt
broker.main()
"""


@pytest.mark.parametrize("point", BROKER_POINTS)
def test_a_broker_that_is_killed_at_a_durable_step_costs_no_second_call(
    point: str, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BROKER_CRASH_AT, point)
    name, lock = Spool(spool).new_broker()
    ask = Ask(
        key="g0c0/propose/1",
        model=ModelConfig(name="openai/model"),
        messages=(Message(role="user", content="hello"),),
        max_output_tokens=100,
        idempotency_key="ticket-1",
    )
    command = [sys.executable, "-c", BROKER, str(spool), name, str(lock), str(tmp_path / "paid")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(lock,)) as process:
        os.close(lock)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(ask.model_dump_json().encode() + b"\n")
        process.stdin.flush()
        told = process.stdout.readline()  # empty if it is killed before
    assert process.returncode == -signal.SIGKILL
    later = Broker(spool, threading.Event()).adopt("ticket-1")
    paid = (tmp_path / "paid").read_text().count("ticket-1") if (tmp_path / "paid").exists() else 0
    if ENDS[point] == NEVER_SENT:
        assert isinstance(later, Fault)
        assert (later.kind, later.billed, paid) == (FaultKind.CONNECT, "no", 0)
    elif ENDS[point] == UNKNOWN:
        assert later is None
        assert paid == (0 if point == "sent.renamed" else 1)
    else:
        assert isinstance(later, Answered)
        assert paid == 1
    assert (b"ticket-1" in told) == (point in ("broker.told", "broker.heard-all"))


def test_every_durable_step_of_the_broker_has_its_end() -> None:
    assert ENDS.keys() == set(BROKER_POINTS)
