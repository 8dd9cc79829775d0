"""Money: nothing is sent beyond a cap, whatever is billed is booked, and what was answered is never paid twice."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from llm_cases import TASK
from provider_cases import (
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
from eureka_agent.llm.completion import NoAnswer, Usage
from eureka_agent.llm.ledger import price_again, so_far
from eureka_agent.llm.prices import cost_of, most_input_tokens, price_of, worst_cost
from eureka_agent.llm.wire import Answered, Ask, ModelConfig, Outcome, Price
from eureka_agent.runs import run as run_module
from eureka_agent.runs.crashpoints import heard_by
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings

UNPRICED = ModelConfig(name="openai/nobody-knows-this")


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


# --------------------------------------------------------------------------------------------------------------- caps


@pytest.mark.parametrize(
    ("cap", "said", "more"),
    [
        ({"max_cost": 0.2}, r"cost cap of \$0\.20 leaves no room .*1 call, 120 tokens, \$0\.0003;", {"max_cost": 1}),
        ({"max_tokens": 17_000}, r"token cap of 17k leaves no room .*1 call, 120 tokens", {"max_tokens": 10**6}),
        ({"max_calls": 1}, r"cap on calls of 1 leaves no room .*1 call", {"max_calls": 2}),
    ],
)
def test_a_cap_stops_the_search_with_the_command_that_continues_it(
    folder: Path, cap: dict[str, float], said: str, more: dict[str, float]
) -> None:
    (flag,) = cap
    spelled = "--" + flag.replace("_", "-")
    with paid_run(folder / "run", **cap) as run:
        broker = FakeBroker()
        made = asking(run, broker)
        made.complete(request("g0c0"))
        command = rf"eureka evolve --resume {folder}/run {spelled} [\d.]+$"
        with pytest.raises(BudgetExhausted, match=f"{said}.*{command}") as stopped:
            made.complete(request("g0c1", text="x" * 40_000))
        assert stopped.value.exit_code == 3
        assert len(run.calls()) == len(broker.asked) == 1
    with Run.open(folder / "run") as run:
        run.amend(more)
        asking(run, broker).complete(request("g0c1", text="x" * 40_000))
        assert len(broker.asked) == 2


def test_a_call_waits_for_what_others_leave_of_their_reservations(folder: Path) -> None:
    """One reservation fits the cap, two do not; the calls cost little, so that all get through one by one."""
    with paid_run(folder / "run", max_cost=0.2) as run:
        most, now, lock = 0, 0, threading.Lock()

        def slow(ask: Ask) -> Outcome:
            nonlocal most, now
            with lock:
                now += 1
                most = max(most, now)
            threading.Event().wait(0.01)
            with lock:
                now -= 1
            return answered(ask)

        made = asking(run, FakeBroker(slow))
        threads = [threading.Thread(target=made.complete, args=(request(f"g0c{n}"),)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [call.state for call in run.calls()] == ["received"] * 6
        assert most == 1
        assert run.booked().cost <= 0.2


def test_without_a_cost_cap_an_unknown_price_is_said_and_never_taken_for_nothing(folder: Path) -> None:
    with paid_run(folder / "run", model=UNPRICED.name) as run:
        asking(run, FakeBroker(), models=(UNPRICED,)).complete(request())
        assert so_far(run.booked()) == "1 call, 120 tokens, cost unknown (1 call without a known price)"
        run.amend({"max_cost": 5.0})
        with pytest.raises(
            BudgetExhausted, match=r"without a known price .*--models-file\), or cap tokens .*--max-tokens"
        ):
            asking(run, FakeBroker(), models=(UNPRICED,)).complete(request("g0c1"))


def test_once_a_price_is_known_earlier_calls_are_booked_with_it(folder: Path) -> None:
    with paid_run(folder / "run", model=UNPRICED.name) as run:
        lost = iter([fault("lost", billed="unknown")])
        broker = FakeBroker(lambda ask: next(lost, answered(ask)))
        asking(run, broker, models=(UNPRICED,)).complete(request())
        price = Price(input=1.0, output=10.0)
        price_again(run, {UNPRICED.name: price})
        unknown, known = run.calls()
        assert known.cost == pytest.approx((100 + 200) / 1e6)
        assert unknown.cost == unknown.reserved_cost
        assert 0.16 < (unknown.cost or 0) < 0.17
        assert run.booked().unpriced == 0


def test_a_provider_that_bills_beyond_its_limits_is_booked_as_it_bills(folder: Path) -> None:
    """The one way over a cap, and nobody's but the provider's; the next call is not sent."""
    over = Usage(input_tokens=100, output_tokens=40_000)
    with paid_run(folder / "run", max_cost=0.2) as run:
        made = asking(run, FakeBroker(lambda ask: answered(ask, usage=over)))
        made.complete(request())
        assert run.booked().cost == pytest.approx(0.4001)
        with pytest.raises(BudgetExhausted, match="--max-cost"):
            made.complete(request("g0c1"))


# ------------------------------------------------------------------------------------------------------------- prices


def test_prices_come_from_the_person_then_from_the_table_and_else_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    known = price_of(ModelConfig(name="openai/gpt-5"))
    assert known is not None
    assert known.input > 0
    assert known.cache_read is not None
    assert price_of(ModelConfig(name="anthropic/claude-opus-5-5")) is not None
    assert price_of(ModelConfig(name="openai/gpt-5", price=Price(input=7, output=8))) == Price(input=7, output=8)
    for name in ("openai/nobody-knows-this", "anthropic/gpt-5", "groq/gpt-5", "ollama/llama3"):
        assert price_of(ModelConfig(name=name)) is None, name


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}, Price(input=1, output=2)),
        (
            {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "output_cost_per_reasoning_token": 5e-6},
            Price(input=1, output=5),
        ),
        ({"input_cost_per_token": 1e-6}, None),
        ({"input_cost_per_token": 1e-6, "output_cost_per_token": 0.0}, None),
        ({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "input_cost_per_request": 0.005}, None),
        (
            {
                "input_cost_per_token": 1e-6,
                "output_cost_per_token": 2e-6,
                "litellm_provider": "perplexity",
                "search_context_cost_per_query": {"search_context_size_low": 0.005},
            },
            None,
        ),
    ],
)
def test_a_price_of_the_table_is_the_dearest_and_half_a_price_or_one_with_a_fee_is_none(
    monkeypatch: pytest.MonkeyPatch, row: dict[str, object], known: Price | None
) -> None:
    monkeypatch.setattr("eureka_agent.llm.prices._table", lambda: {"some/model": row})
    assert price_of(ModelConfig(name="some/model")) == known


def test_the_table_says_nothing_about_a_server_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert price_of(ModelConfig(name="openai/gpt-5", base_url="http://127.0.0.1:8000/v1")) is None
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    assert price_of(ModelConfig(name="openai/gpt-5")) is None
    free = Price(input=0, output=0)
    assert price_of(ModelConfig(name="openai/gpt-5", base_url="http://127.0.0.1:8000/v1", price=free)) == free


def test_reading_the_table_does_not_import_litellm() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from eureka_agent.llm.prices import price_of; from eureka_agent.llm.wire import ModelConfig; "
        "assert price_of(ModelConfig(name='openai/gpt-5')); assert 'litellm' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_worst_case_is_never_below_what_a_call_can_cost() -> None:
    rng = random.Random(1)
    for _ in range(500):
        price = Price(
            input=rng.uniform(0, 5),
            output=rng.uniform(0, 20),
            cache_read=rng.choice([None, rng.uniform(0, 1)]),
            cache_write=rng.choice([None, rng.uniform(0, 7)]),
        )
        messages = request(text="ä" * rng.randrange(3000)).messages
        most, longest = most_input_tokens(messages), rng.randrange(1, 9000)
        words = rng.randrange(most + 1)
        cached = rng.randrange(words + 1)
        usage = Usage(
            input_tokens=words,
            output_tokens=rng.randrange(longest + 1),
            cached_tokens=cached,
            cache_write_tokens=rng.randrange(words - cached + 1),
        )
        assert cost_of(price, usage) <= worst_cost(price, most, longest)


# --------------------------------------------------------------------------------------------------------------- kills


def killed_when(ask: Ask) -> Killed:
    return Killed(ask.key)


def test_an_answer_that_came_while_nobody_was_there_is_taken_in_and_not_asked_for_again(folder: Path) -> None:
    broker = FakeBroker()
    with paid_run(folder / "run") as run:

        def killed_while_waiting(ask: Ask) -> Outcome:
            broker.spool[ask.idempotency_key] = answered(ask, text="kept")
            raise Killed

        broker.script = killed_while_waiting
        with pytest.raises(Killed):
            asking(run, broker).complete(request())
        assert [call.state for call in run.calls()] == ["sent"]
    with Run.open(folder / "run") as run:
        made = asking(run, broker)
        assert made.recover() == []
        assert [(call.state, call.cost) for call in run.calls()] == [("received", pytest.approx(0.0003))]
        assert made.complete(request()).text == "kept"
    assert len(broker.asked) == 1
    assert broker.spool == {}


def test_a_call_whose_broker_died_too_is_listed_and_booked_at_its_worst(folder: Path) -> None:
    broker = FakeBroker(killed_when)
    with paid_run(folder / "run", on_unknown="ask") as run, pytest.raises(Killed):
        asking(run, broker).complete(request())
    with Run.open(folder / "run") as run:
        made = asking(run, broker)
        (lost,) = made.recover()
        assert (lost.key, lost.state, lost.estimated) == ("g0c0/propose/1", "unknown", True)
        assert lost.cost == lost.reserved_cost == run.booked().cost
        with pytest.raises(Paused, match="--on-unknown skip"):
            made.complete(request())
        assert made.recover() == []
        run.amend({"on_unknown": "skip"})
        with pytest.raises(NoAnswer):
            made.complete(request())
    assert len(broker.asked) == 1


def test_what_format_2_had_was_free(folder: Path) -> None:
    with paid_run(folder / "run") as run:
        asking(run, FakeBroker()).complete(request())
    with sqlite3.connect(folder / "run" / "run.db") as database:
        kept = (
            "key, brief, purpose, attempt, state, prompt, response, model, finish_reason, input_tokens, output_tokens, "
            "reserved, sent, received, parsed"
        )
        database.execute(f"CREATE TABLE old AS SELECT {kept} FROM calls")
        database.execute("DROP TABLE calls")
        database.execute("ALTER TABLE old RENAME TO calls")
        database.execute("PRAGMA user_version = 2")
    for read_only in (True, False, True):
        with Run.open(folder / "run", read_only=read_only) as run:
            (call,) = run.calls()
            assert (call.key, call.state, call.input_tokens, call.cost) == ("g0c0/propose/1", "received", 100, 0.0)
            assert so_far(run.booked()) == "1 call, 0 tokens, $0"


# ------------------------------------------------------------------------------------------------ a thousand searches

RUNS = 1000
MOMENTS = [
    f"call.{state}.{moment}" for state in ("reserved", "sent", "received") for moment in ("before", "inside", "after")
]


class World:
    """A provider and a broker with random faults and kills, beside what they bill."""

    def __init__(self, rng: random.Random, prices: dict[str, Price]) -> None:
        self.rng = rng
        self.prices = prices
        self.spool: dict[str, Outcome] = {}
        self.accepted: Counter[str] = Counter()
        """Requests that the provider took, by ticket."""
        self.bills: dict[str, float] = {}
        """Dollars that it charges, by ticket."""
        self.kept: Counter[str] = Counter()
        """Usable answers that the broker kept, by request."""
        self.moment = ""

    def start(self) -> None:
        pass

    def ask(self, ask: Ask) -> Outcome:
        rng = self.rng
        if rng.random() < 0.04:
            raise Killed  # before the broker had it: nothing was sent
        outcome = self._happens(ask)
        if rng.random() < 0.04:
            raise Killed  # broker and all: nobody knows
        self.spool[ask.idempotency_key] = outcome
        if isinstance(outcome, Answered) and outcome.text and outcome.finish_reason == "stop":
            self.kept[ask.key.rpartition("/")[0]] += 1
        if rng.random() < 0.04:
            raise Killed
        return outcome

    def _happens(self, ask: Ask) -> Outcome:
        kind = self.rng.choice(["good"] * 8 + ["empty", "cut", "lost", "stream", "bad_answer", "rate_limit", "connect"])
        if kind in ("rate_limit", "connect"):
            return fault(kind)
        usage = self._usage(ask)
        self.accepted[ask.idempotency_key] += 1
        self.bills[ask.idempotency_key] = cost_of(self.prices[ask.model.name], usage)
        if kind in ("lost", "stream", "bad_answer"):
            return fault(kind, billed="yes" if kind == "bad_answer" else "unknown")
        text = {"good": "an answer", "empty": "", "cut": "half"}[kind]
        told = None if self.rng.random() < 0.1 else usage
        return answered(ask, text=text, usage=told, finish_reason="length" if kind == "cut" else "stop")

    def _usage(self, ask: Ask) -> Usage:
        words = self.rng.randrange(1, most_input_tokens(ask.messages) + 1)
        cached = self.rng.randrange(words + 1)
        spoken = self.rng.randrange(ask.max_output_tokens + 1)
        return Usage(input_tokens=words, output_tokens=spoken, cached_tokens=cached)

    def adopt(self, idempotency_key: str) -> Outcome | None:
        if idempotency_key in self.spool:
            return self.spool[idempotency_key]
        return None if self.accepted[idempotency_key] else fault("connect")

    def forget(self, idempotency_key: str) -> None:
        self.spool.pop(idempotency_key, None)


def random_settings(rng: random.Random) -> Settings:
    return Settings(
        model="openai/a,groq/b=2",
        seed=rng.randrange(1000),
        max_output_tokens=rng.choice([256, 1000, 4000]),
        max_cost=rng.choice([None, 0.002, 0.02, 0.1]),
        max_tokens=rng.choice([None, None, 5000, 20_000]),
        max_calls=rng.choice([None, None, 2, 5]),
        on_unknown=rng.choice(["resend", "skip"]),
    )


def search_with_kills(run: Run, world: World, models: tuple[ModelConfig, ...]) -> tuple[Run, int]:
    """Ask four questions, again after every kill; returns the run as it is open and how often it was killed."""
    rng, kills = world.rng, 0
    left = [f"g0c{number}" for number in range(4)]
    while left and kills < 6:
        moment = rng.choice(MOMENTS) if rng.random() < 0.5 else ""

        def heard(name: str, moment: str = moment, run: Run = run) -> None:
            if name.startswith("call.") and name.endswith("after"):
                assert_within_caps(run)
            if name == moment and rng.random() < 0.5:
                raise Killed

        try:
            with heard_by(heard):
                made = asking(run, world, Clock(), models)
                made.recover()
                while left:
                    with suppress(NoAnswer):
                        made.complete(request(left[0], text="x" * 200))
                    left.pop(0)
        except Killed:
            kills += 1
            settings = run.settings
            run.close()
            run = Run.open(run.folder)
            run.settings = settings
        except (BudgetExhausted, UsageError):
            break
    asking(run, world, Clock(), models).recover()
    return run, kills


def assert_within_caps(run: Run) -> None:
    booked, caps = run.booked(), run.settings
    assert caps.max_cost is None or booked.cost <= caps.max_cost
    assert caps.max_tokens is None or booked.tokens <= caps.max_tokens
    assert caps.max_calls is None or booked.calls <= caps.max_calls


def test_in_a_thousand_random_searches_no_cap_is_broken_and_nothing_is_paid_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "task_as_begun", lambda *_: TASK)
    monkeypatch.setattr(run_module, "export_call", lambda *_, **__: None)
    run = paid_run(folder / "run", model="openai/a,groq/b=2")
    seen: Counter[str] = Counter()
    for seed in range(RUNS):
        rng = random.Random(seed)
        run._open.write([("DELETE FROM calls", ())], "settings")
        run.settings = random_settings(rng)
        prices = {
            name: Price(
                input=rng.choice([0, 0.5, 3]), output=rng.choice([0.4, 2, 15]), cache_read=rng.choice([None, 0.1])
            )
            for name in ("openai/a", "groq/b")
        }
        models = tuple(ModelConfig(name=name, price=price) for name, price in prices.items())
        world = World(rng, prices)
        run, kills = search_with_kills(run, world, models)
        check(run, world)
        seen += Counter(call.state for call in run.calls())
        seen["killed"] += kills
        seen["capped"] += run.booked().calls < 4
    run.close()
    assert all(seen[what] > RUNS / 20 for what in ("received", "failed", "unknown", "killed", "capped")), seen


def check(run: Run, world: World) -> None:
    """What was booked beside what was billed."""
    assert_within_caps(run)
    calls = {call.ticket or "": call for call in run.calls()}
    assert max(world.accepted.values(), default=0) <= 1, "no request was sent twice"
    assert max(world.kept.values(), default=0) <= 1, "no usable answer was asked for again"
    for ticket, bill in world.bills.items():
        call = calls[ticket]
        assert call.cost is not None
        if call.estimated or call.open:
            assert bill <= call.cost
        else:
            assert bill == call.cost
    for ticket, call in calls.items():
        if ticket not in world.bills:
            assert call.cost == 0.0 or call.state == "reserved", call
