"""Calls side by side: taking turns, room under a cap, and what a person hears while a provider is in trouble."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from llm_cases import Log, answer
from provider_cases import MODEL, Clock, FakeBroker, answered, asking, fast_folder, fault, paid_run, request

from eureka_agent.errors import Paused
from eureka_agent.llm import pacing
from eureka_agent.llm.completion import NoAnswer, Usage
from eureka_agent.llm.extract import extract_code
from eureka_agent.llm.pacing import REST_SECONDS, Lane
from eureka_agent.llm.wire import Answered, Ask, Fault
from eureka_agent.runs.run import Run

DEADLINE = 20.0
"""Seconds after which a test takes a wait for a deadlock."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    with paid_run(folder / "run") as run:
        yield run


def test_who_needs_room_for_a_longer_answer_does_not_lock_out_those_who_hold_the_turns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One turn at a time, and a cap that has room for the longer answer or for another's worst case, not for both."""
    monkeypatch.setattr(pacing, "START", 1)
    monkeypatch.setattr(pacing, "MOST", 1)
    cut = Usage(input_tokens=100, output_tokens=1000)
    taken = threading.Event()
    extract = "eureka_agent.llm.asking.extract_code"  # what comes between an answer and the decision to ask for more
    monkeypatch.setattr(extract, lambda text: taken.wait(DEADLINE) and extract_code(text))
    threads: list[threading.Thread] = []
    ended: list[str] = []

    with paid_run(folder / "run", max_output_tokens=1000, max_cost=0.0418) as run:

        def start(brief: str) -> None:
            thread = threading.Thread(target=lambda: ended.append(made.complete(request(brief)).text), daemon=True)
            threads.append(thread)
            thread.start()

        def script(ask: Ask) -> Answered:
            if ask.key == "g0c0/propose/1":
                start("g0c1")
                return answered(ask, text="half", finish_reason="length", usage=cut)
            if ask.key == "g0c1/propose/1":
                taken.set()
                for number in range(2, 12):
                    start(f"g0c{number}")
                threading.Event().wait(1.0)  # by now the longer answer waits for its turn, with its room or without
            return answered(ask, text="whole")

        made = asking(run, FakeBroker(script))
        start("g0c0")
        while pending := [thread for thread in threads if thread.is_alive()]:
            pending[0].join(DEADLINE)
            if pending[0].is_alive():
                break
        made._stopping.set()
    assert ended == ["whole"] * 12


def test_a_call_that_waited_long_for_its_turn_has_all_its_attempts(run: Run) -> None:
    clock = Clock()

    def slow_then_busy(ask: Ask) -> Answered | Fault:
        clock.now += 1000.0 if ask.key.endswith("/1") else 0.0  # as if others had held the turns so long
        return fault("overloaded") if ask.key.endswith("/1") else answered(ask, text="good")

    assert asking(run, FakeBroker(slow_then_busy), clock).complete(request()).text == "good"


def test_an_answer_that_goes_round_in_circles_is_not_asked_for_with_more_room(run: Run) -> None:
    circles = "so we pay for speed, and " * 2000
    broker = FakeBroker(lambda ask: answered(ask, text=circles, finish_reason="length"))
    with pytest.raises(NoAnswer, match="the same again and again"):
        asking(run, broker).complete(request())
    assert len(broker.asked) == 1


def test_an_answer_that_cannot_be_read_is_asked_for_once_more_whatever_came_before_it(run: Run) -> None:
    outcomes = [fault("rate_limit"), fault("bad_answer", billed="yes"), None]

    def script(ask: Ask) -> Answered | Fault:
        return outcomes.pop(0) or answered(ask, text=answer("good"))

    assert asking(run, FakeBroker(script), Clock()).complete(request()).text == answer("good")


def test_a_provider_that_wants_fewer_calls_and_says_no_time_is_given_more_of_it_each_time() -> None:
    clock = Clock()
    one = Lane(threading.Event(), clock.time)
    for _ in range(3):
        one.too_much(None)
        one.too_much(None)  # of the same burst
        with one.turn():
            pass
    assert clock.slept == [1.0, 2.0, 4.0]
    one.answered()
    one.too_much(None)
    with one.turn():
        assert clock.slept[-1] == 1.0


def test_a_person_hears_of_every_attempt_why_it_is_made_and_when(run: Run) -> None:
    log, left = Log(), [fault("connect"), fault("overloaded"), fault("connect")]
    broker = FakeBroker(lambda ask: left.pop() if left else answered(ask))
    asking(run, broker, Clock(), log=log).complete(request())
    assert [text for text in log.said if "attempt" in text] == [
        "g0c0: openai/m: the provider says connect; attempt 2 of 6 in 1 s",
        "g0c0: openai/m: the provider says overloaded; attempt 3 of 6 in 2 s",
        "g0c0: openai/m: the provider says connect; attempt 4 of 6 in 4 s",
    ]


def test_the_time_said_is_the_one_for_which_the_model_rests(run: Run) -> None:
    log = Log()
    with pytest.raises(Paused):
        asking(run, FakeBroker(lambda ask: fault("overloaded")), Clock(), log=log).complete(request())
    assert log.said[-1].endswith(f"attempt 6 of 6 in {REST_SECONDS:.0f} s")


def test_a_model_that_no_call_has_reached_is_given_up_after_six_of_them_whoever_asked(run: Run) -> None:
    broker = FakeBroker(lambda ask: fault("connect"))
    made = asking(run, broker, Clock())
    told = "was not reached in 6 attempts over 45 s; last: the provider says connect .* --base-url"
    for brief in ("g0c0", "g0c1"):  # the other is not asked five times more
        with pytest.raises(Paused, match=told if brief == "g0c0" else "in 7 attempts"):
            made.complete(request(brief))
    assert len(broker.asked) == 7


@pytest.mark.parametrize(
    ("served", "another"),
    [
        ("m", False),
        ("m-2026-05-01", False),
        ("models/M:latest", False),
        ("m:8b", False),
        ("m-mini-2026-05-01", True),
        ("m.1", True),
        ("n", True),
    ],
)
def test_a_version_of_the_model_is_the_model_and_a_smaller_sister_is_not(run: Run, served: str, another: bool) -> None:
    log = Log()
    asking(run, FakeBroker(lambda ask: answered(ask, model=served)), log=log).complete(request())
    assert any("another model" in text for text in log.said) == another
    assert run.calls()[0].asked == MODEL.name
