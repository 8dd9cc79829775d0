"""The cap per hour: no hour holds more, over kills, resumes and jumps of the clock, and a search that waits says so."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from llm_cases import TASK, Log
from provider_cases import (
    MODEL,
    PRICE,
    Clock,
    FakeBroker,
    Killed,
    answered,
    asking,
    fast_folder,
    fault,
    paid_run,
    request,
)

from eureka_agent.errors import BudgetExhausted, Paused, UsageError
from eureka_agent.llm.completion import AskingStopped, Usage
from eureka_agent.llm.ensemble import Ensemble
from eureka_agent.llm.expected import check_room
from eureka_agent.llm.pacing import Time
from eureka_agent.llm.prices import cost_of
from eureka_agent.llm.providers import ensemble_of
from eureka_agent.llm.sending import Sender
from eureka_agent.llm.wire import Ask, Outcome
from eureka_agent.proposers import Sitting
from eureka_agent.runs import run as run_module
from eureka_agent.runs.crashpoints import heard_by
from eureka_agent.runs.run import Run
from eureka_agent.runs.spending import spent_line
from eureka_agent.settings import Settings

CAP = 0.2
"""US dollars per hour: a call is reserved at $0.16, so that one fits and two do not."""
HOUR, YEAR = 3600.0, 365 * 86_400.0
BEGAN = 1.8e9
"""Seconds since 1970 when a test's clock says 0."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


class Calendar:
    """`time.time()` beside a clock that does not jump."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.jump: Callable[[], float] = lambda: 0.0
        monkeypatch.setattr(time, "time", lambda: BEGAN + self.clock.now + self.jump())


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    return Calendar(monkeypatch)


def bills(dollars: float) -> FakeBroker:
    """Whose calls cost so much each, and take no time."""
    usage = Usage(input_tokens=0, output_tokens=round(dollars * 1e6 / PRICE.output))
    return FakeBroker(lambda ask: answered(ask, usage=usage))


# ------------------------------------------------------------------------------------------------------------- waiting


def test_a_full_hour_is_waited_out_and_told_with_the_command_that_goes_on_at_once(
    folder: Path, calendar: Calendar
) -> None:
    log, broker, clock = Log(), bills(0.15), calendar.clock
    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        made = asking(run, broker, clock, log=log)
        made.complete(request("g0c0"))
        assert clock.slept == []
        clock.now += 600
        made.complete(request("g0c1"))
        assert clock.slept == [3000.0]
        told, nothing = log.waits
        goes_on = time.strftime("%H:%M", time.localtime(BEGAN + HOUR + 59))
        assert told.startswith(
            f"waiting: the spending cap of $0.20 per hour has no room for the next call; goes on at {goes_on}"
        )
        assert told.endswith(f"`eureka evolve --resume {folder}/run --max-cost-per-hour 0.4`")
        assert nothing == ""
        assert spent_line(run.booked(), run.settings).endswith("$0.30, at most $0.20 per hour")
    with Run.open(folder / "run") as run:
        run.amend({"max_cost_per_hour": 0.4})
        asking(run, broker, clock).complete(request("g1c0"))
        assert clock.slept == [3000.0], "0.15 of the last hour and 0.16 fit the higher cap"


def test_a_call_goes_as_soon_as_the_oldest_calls_have_left_the_hour(folder: Path, calendar: Calendar) -> None:
    clock = calendar.clock
    with paid_run(folder / "run", max_cost_per_hour=0.3) as run:
        made = asking(run, bills(0.06), clock)
        for number, moment in enumerate((0.0, 1000.0, 2000.0)):
            clock.now = moment
            made.complete(request(f"g0c{number}"))
        clock.now = 2500.0
        made.complete(request("g0c3"))
        assert clock.slept == [1100.0]


def test_a_call_that_is_under_way_counts_until_an_hour_after_its_end(folder: Path, calendar: Calendar) -> None:
    clock = calendar.clock

    def slow(ask: Ask) -> Outcome:
        clock.now += 500
        return answered(ask, usage=Usage(input_tokens=0, output_tokens=15_000))

    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        made = asking(run, FakeBroker(slow), clock)
        made.complete(request("g0c0"))
        made.complete(request("g0c1"))
        assert clock.slept == [HOUR]


@pytest.mark.parametrize(
    ("passed", "waits"), [(600.0, [3000.0]), (HOUR - 1, [1.0]), (HOUR, []), (-YEAR, [HOUR]), (YEAR, [])]
)
def test_another_sitting_knows_how_long_ago_the_calls_of_the_first_one_ended(
    passed: float, waits: list[float], folder: Path, calendar: Calendar
) -> None:
    """A calendar that was set back between sittings costs an hour, and no year."""
    broker = bills(0.15)
    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        asking(run, broker, calendar.clock).complete(request("g0c0"))
    calendar.jump = lambda: passed
    booted = Clock()
    booted.now = 77.0
    with Run.open(folder / "run") as run:
        asking(run, broker, booted).complete(request("g0c1"))
        assert booted.slept == waits


def test_a_calendar_that_jumps_within_a_sitting_changes_nothing(folder: Path, calendar: Calendar) -> None:
    jumps = iter(range(10**9))
    calendar.jump = lambda: (-YEAR, 0.0, YEAR)[next(jumps) % 3]
    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        made = asking(run, bills(0.15), calendar.clock)
        for number in range(4):
            made.complete(request(f"g0c{number}"))
        assert calendar.clock.slept == [HOUR] * 3


def test_other_calls_are_waited_for_first_and_in_silence(folder: Path) -> None:
    """They cost little, so that all get through one by one, within no time."""
    log, most, now, lock = Log(), 0, 0, threading.Lock()

    def counted(ask: Ask) -> Outcome:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.01)
        with lock:
            now -= 1
        return answered(ask)

    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        made = asking(run, FakeBroker(counted), log=log)
        threads = [threading.Thread(target=made.complete, args=(request(f"g0c{n}"),)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [call.state for call in run.calls()] == ["received"] * 6
        assert (most, log.waits) == (1, [])


def test_whoever_waits_for_the_hour_ends_with_the_sitting_and_leaves_no_reservation(folder: Path) -> None:
    stopping, told, ended = threading.Event(), threading.Event(), []

    class Told(Log):
        def waiting(self, text: str) -> None:
            super().waiting(text)
            told.set()

    log = Told()
    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        asking(run, bills(0.15)).complete(request("g0c0"))
        sender = Sender(Sitting(run, log, stopping), Ensemble((MODEL,)), bills(0.15), Time())  # type: ignore[arg-type]

        def send() -> None:
            with pytest.raises(AskingStopped):
                sender.send(sender.draft("g0c1", "propose", 1, MODEL, request().messages, 16_000))
            ended.append(True)

        thread = threading.Thread(target=send)
        thread.start()
        assert told.wait(60)
        assert ended == []
        stopping.set()
        thread.join(60)
        assert ended == [True]
        assert log.waits[-1] == ""
        assert [call.key for call in run.calls()] == ["g0c0/propose/1"]


def test_a_call_that_would_have_room_is_not_sent_once_the_sitting_ends(folder: Path) -> None:
    class Last(Clock):
        def sleep(self, seconds: float, stopping: threading.Event) -> None:
            super().sleep(seconds, stopping)
            stopping.set()

    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        broker = bills(0.15)
        made = asking(run, broker, Last())
        made.complete(request("g0c0"))
        with pytest.raises(AskingStopped):
            made.complete(request("g0c1"))
        assert len(run.calls()) == len(broker.asked) == 1


def test_the_wait_uses_up_nobodys_patience_with_a_provider(folder: Path) -> None:
    """A call fails, waits for an hour that others have filled meanwhile, fails again, and is asked once more."""

    class Meanwhile(Clock):
        def sleep(self, seconds: float, stopping: threading.Event) -> None:
            first = not self.slept
            super().sleep(seconds, stopping)
            if first:
                made.complete(request("g0c0"))

    fails = iter([True, True])
    dear = Usage(input_tokens=0, output_tokens=15_000)
    broker = FakeBroker(
        lambda ask: fault("connect") if "g0c1" in ask.key and next(fails, False) else answered(ask, usage=dear)
    )
    clock = Meanwhile()
    with paid_run(folder / "run", max_cost_per_hour=CAP) as run:
        made = asking(run, broker, clock)
        made.complete(request("g0c1"))
        assert HOUR in clock.slept
        assert [call.state for call in run.attempts("g0c1", "propose")] == ["failed", "failed", "received"]


def test_a_reservation_of_a_killed_sitting_that_was_never_sent_holds_nobody_up(folder: Path) -> None:
    def killed(name: str) -> None:
        if name == "call.sent.before":
            raise Killed

    with paid_run(folder / "run", max_cost_per_hour=CAP) as run, heard_by(killed), pytest.raises(Killed):
        asking(run, FakeBroker()).complete(request("g0c1"))
    clock = Clock()
    with Run.open(folder / "run") as run:
        assert [call.state for call in run.calls()] == ["reserved"]
        made = asking(run, FakeBroker(), clock)
        made.complete(request("g0c0"))
        made.complete(request("g0c1"))
        assert clock.slept == []


# ------------------------------------------------------------------------------------------- where waiting is of no use


def test_a_call_that_alone_is_dearer_than_the_cap_ends_the_sitting(folder: Path) -> None:
    broker, clock = FakeBroker(), Clock()
    with paid_run(folder / "run", max_cost_per_hour=0.1) as run:
        said = (
            r"the spending cap of \$0\.10 per hour leaves no room for the next call, which can come to \$0\.16 "
            r"\(a lower --max-output-tokens helps\) .*; "
            rf"continue with: eureka evolve --resume {folder}/run --max-cost-per-hour 0\.2$"
        )
        with pytest.raises(BudgetExhausted, match=said) as stopped:
            asking(run, broker, clock).complete(request("g0c0"))
        assert stopped.value.exit_code == 3
        assert (broker.asked, run.calls(), clock.slept) == ([], (), [])


def test_an_hour_that_ends_after_the_runs_time_is_not_waited_for(folder: Path) -> None:
    clock = Clock()
    with paid_run(folder / "run", max_cost_per_hour=CAP, max_seconds=1800) as run:
        made = asking(run, bills(0.15), clock)
        made.complete(request("g0c0"))
        said = (
            r"leaves no room for the next call until [\w ]*\d\d:\d\d, when the run's time is over \(--max-time 1800s\) "
            rf"\(1 call, .*; continue with: eureka evolve --resume {folder}/run --max-cost-per-hour 0\.4$"
        )
        with pytest.raises(BudgetExhausted, match=said):
            made.complete(request("g0c1"))
        assert clock.slept == []
        run.amend({"max_seconds": 2 * HOUR})
        made.complete(request("g0c1"))
        assert clock.slept == pytest.approx([HOUR])


def test_a_cap_that_cannot_be_kept_is_refused_before_a_run_is_made() -> None:
    paid = Settings(model="openai/gpt-5")
    check_room(TASK, paid.model_copy(update={"max_cost_per_hour": 1.0}))
    with pytest.raises(
        UsageError, match=r"--max-cost-per-hour 0\.01: one call of openai/gpt-5 can come to \$0\.\d+; allow"
    ):
        check_room(TASK, paid.model_copy(update={"max_cost_per_hour": 0.01}))
    unknown = Settings(model="openai/nobody-knows-this", max_cost_per_hour=1.0)
    with pytest.raises(UsageError, match=re.escape("--max-cost-per-hour $1.00: the price of openai/nobody-knows-this")):
        ensemble_of(unknown)


# ---------------------------------------------------------------------------------------------------- hundreds of hours

RUNS = 200


class Provider:
    """Takes its time, bills at some moment within it, and dies with its broker now and then."""

    def __init__(self, rng: random.Random, clock: Clock) -> None:
        self.rng, self.clock = rng, clock
        self.bills: list[tuple[float, float]] = []
        """(moment, US dollars)."""

    def ask(self, ask: Ask) -> Outcome:
        if self.rng.random() < 0.05:
            raise Killed  # before the broker had it
        usage = Usage(input_tokens=0, output_tokens=self.rng.randrange(ask.max_output_tokens + 1))
        began, took = self.clock.now, self.rng.choice([1.0, 30.0, 900.0])
        self.clock.now += took
        self.bills.append((began + self.rng.random() * took, cost_of(PRICE, usage)))
        if self.rng.random() < 0.1:
            raise Killed  # broker and all
        return fault("lost", billed="unknown") if self.rng.random() < 0.1 else answered(ask, usage=usage)

    def adopt(self, idempotency_key: str) -> Outcome | None:
        return None

    def forget(self, idempotency_key: str) -> None:
        pass


def test_in_hundreds_of_searches_with_kills_no_hour_holds_more_than_the_cap(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "task_as_begun", lambda *_: TASK)
    monkeypatch.setattr(run_module, "export_call", lambda *_, **__: None)
    calendar, seen = Calendar(monkeypatch), Counter[str]()
    run = paid_run(folder / "run", max_output_tokens=4000)
    for seed in range(RUNS):
        rng, back, clock = random.Random(seed), 0.0, calendar.clock
        run._open.write([("DELETE FROM calls", ())], "settings")
        cap = rng.choice([0.05, 0.08, 0.15])
        run.amend({"max_cost_per_hour": cap})
        clock.slept.clear()
        calendar.jump = lambda: 0.0
        provider, left = Provider(rng, clock), [f"g0c{number}" for number in range(8)]
        while left:
            try:
                made = asking(run, provider, clock)
                made.recover()
                while left:
                    with suppress(Paused):  # two slow answers in a row were lost
                        made.complete(request(left[0]))
                    left.pop(0)
                    clock.now += rng.choice([0.0, 60.0, 1200.0])
            except Killed:
                run.close()
                clock.now += rng.choice([0.0, 5.0, 4000.0])
                back -= rng.choice([0.0, 0.0, 7200.0])
                calendar.jump = lambda back=back: back  # type: ignore[misc]
                run = Run.open(run.folder)
                seen["killed"] += 1
        for moment, _ in provider.bills:
            hour = [cost for when, cost in provider.bills if moment - HOUR < when <= moment]
            assert sum(hour) <= cap + 1e-9, (seed, moment)
        seen["waited"] += bool(clock.slept)
        seen["shared"] += len(provider.bills) > 1 + sum(clock.slept) / HOUR
    run.close()
    assert all(seen[what] > RUNS / 10 for what in ("killed", "waited", "shared")), seen
