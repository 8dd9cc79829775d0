"""What becomes of each fault of a provider: asked again, gone without, or stopped with what a person can do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from llm_cases import Log, answer
from provider_cases import MODEL, Clock, FakeBroker, Script, answered, asking, fast_folder, fault, paid_run, request

from eureka_agent.errors import EnvironmentMissing, EurekaError, Paused, UsageError
from eureka_agent.llm.completion import AskingStopped, NoAnswer, Usage
from eureka_agent.llm.pacing import MOST, START, TRIP, Lane
from eureka_agent.llm.wire import Answered, Ask, Fault, ModelConfig
from eureka_agent.runs.run import Run


def script(*outcomes: object) -> Script:
    """Outcomes in order, the last one again and again; a text is a whole answer."""
    left = list(outcomes)

    def next_one(ask: Ask) -> Answered | Fault:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Fault):
            return outcome
        return answered(ask, **outcome) if isinstance(outcome, dict) else answered(ask, text=str(outcome))

    return next_one


@pytest.fixture
def folder() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    with paid_run(folder / "run") as run:
        yield run


def states(run: Run) -> list[tuple[int, str, str | None]]:
    return [(call.attempt, call.state, call.fault) for call in run.calls()]


def ask(run: Run, broker: FakeBroker, clock: Clock | None = None, **more: object) -> str:
    made = asking(run, broker, clock, **more)  # type: ignore[arg-type]
    return made.complete(request()).text


# ------------------------------------------------------------------------------------------------------- asked again


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded", "connect"])
def test_what_passes_by_itself_is_asked_again_after_a_growing_wait(run: Run, kind: str) -> None:
    broker, clock = FakeBroker(script(fault(kind), fault(kind), fault(kind), "good")), Clock()
    assert ask(run, broker, clock) == "good"
    assert states(run) == [(1, "failed", kind), (2, "failed", kind), (3, "failed", kind), (4, "received", None)]
    assert clock.slept == [1.0, 2.0, 4.0]
    assert run.booked().calls == 1
    assert len({asked.idempotency_key for asked in broker.asked}) == 4


def test_a_wait_that_the_provider_asks_for_is_kept_by_every_call_to_it(run: Run) -> None:
    broker, clock = FakeBroker(script(fault("rate_limit", retry_after=40.0), "good")), Clock()
    assert ask(run, broker, clock) == "good"
    assert clock.slept == [40.0]


def test_after_six_attempts_the_search_pauses_with_the_command_that_continues(run: Run) -> None:
    broker, clock = FakeBroker(script(fault("overloaded"))), Clock()
    said = r"openai/m gave no answer in 6 attempts .* says overloaded .* --resume .*/run"
    with pytest.raises(Paused, match=said) as stopped:
        ask(run, broker, clock)
    assert stopped.value.exit_code == 3
    assert len(broker.asked) == 6
    assert run.booked() == run.booked().model_copy(update={"cost": 0.0, "calls": 0, "tokens": 0})


def test_a_resumed_run_asks_afresh_where_the_provider_had_failed(run: Run) -> None:
    with pytest.raises(Paused):
        ask(run, FakeBroker(script(fault("overloaded"))))
    assert ask(run, FakeBroker(script("good"))) == "good"
    assert states(run)[-1] == (7, "received", None)


def test_a_wait_beyond_a_quarter_of_an_hour_is_not_waited_for(run: Run) -> None:
    clock = Clock()
    with pytest.raises(Paused, match="wants 1000 s more"):
        ask(run, FakeBroker(script(fault("rate_limit", retry_after=1000.0))), clock)
    assert clock.slept == []


def test_a_provider_that_says_not_to_ask_again_is_heeded(run: Run) -> None:
    broker = FakeBroker(script(fault("overloaded", retry=False)))
    with pytest.raises(Paused, match="asking again is of no use"):
        ask(run, broker)
    assert len(broker.asked) == 1


def test_retries_are_shared_by_all_calls_of_a_sitting(run: Run) -> None:
    failing: dict[str, int] = {}

    def twice(asked: Ask) -> Answered | Fault:
        name = asked.key.rpartition("/")[0]
        failing[name] = failing.get(name, 0) + 1
        return fault("connect") if failing[name] <= 2 else answered(asked)

    made = asking(run, FakeBroker(twice), Clock())
    for number in range(5):
        made.complete(request(f"g0c{number}"))  # ten retries, two for each
    with pytest.raises(Paused, match="retries are used up"):
        made.complete(request("g0c5"))


def test_an_answer_that_cannot_be_read_is_paid_for_and_asked_for_once_more(run: Run) -> None:
    broker = FakeBroker(script(fault("bad_answer", billed="yes")))
    with pytest.raises(NoAnswer, match="cannot be read, the second time too"):
        ask(run, broker)
    assert states(run) == [(1, "unknown", "bad_answer"), (2, "unknown", "bad_answer")]
    assert run.booked().cost == sum(call.reserved_cost or 0.0 for call in run.calls())


def test_an_empty_answer_is_asked_for_once_more(run: Run) -> None:
    assert ask(run, FakeBroker(script(" \n", "good"))) == "good"
    with pytest.raises(NoAnswer, match="empty, the second time too"):
        asking(run, FakeBroker(script(""))).complete(request("g0c1"))
    assert len([call for call in run.calls() if call.brief == "g0c1"]) == 2


def test_a_cut_off_answer_is_asked_for_with_twice_the_room(run: Run) -> None:
    cut = {"text": "```python\ndef compute_reward(x", "finish_reason": "length"}
    broker = FakeBroker(script(cut, "whole"))
    assert ask(run, broker) == "whole"
    assert [asked.max_output_tokens for asked in broker.asked] == [16_000, 32_000]
    with pytest.raises(NoAnswer, match="cut off after 32000 tokens; --max-output-tokens allows more"):
        asking(run, FakeBroker(script(cut))).complete(request("g0c1"))
    assert [asked.attempt for asked in run.calls() if asked.brief == "g0c1"] == [1, 2]


def test_a_cut_off_answer_whose_code_was_complete_counts(run: Run) -> None:
    broker = FakeBroker(script({"text": answer("x") + "And so I have", "finish_reason": "length"}))
    assert ask(run, broker).startswith("Speed")
    assert len(broker.asked) == 1


def test_the_second_attempt_at_a_cut_off_answer_must_fit_the_caps_and_the_model(folder: Path) -> None:
    cut = script({"text": "half", "finish_reason": "length"})
    with paid_run(folder / "poor", max_tokens=20_000) as run, pytest.raises(NoAnswer, match="a cap leaves no room"):
        ask(run, FakeBroker(cut))
    small = ModelConfig(name="openai/m", max_output_tokens=800)
    with paid_run(folder / "small") as run:
        broker = FakeBroker(cut)
        with pytest.raises(NoAnswer, match="cut off after 800 tokens"):
            ask(run, broker, models=(small,))
        assert [asked.max_output_tokens for asked in broker.asked] == [800]


def test_a_prompt_that_is_too_long_is_shortened_always_in_the_same_way(run: Run) -> None:
    history = "# Other candidates so far\n\n| c | f |\n|---|---|\n| g0c1 | 3 |\n\n# Your turn\n\nWrite.\n"
    broker = FakeBroker(script(fault("context"), "good"))
    made = asking(run, broker)
    sent, completion = made.ask(made, request(text=history))
    assert completion.text == "good"
    assert "g0c1" in broker.asked[0].messages[1].content
    assert "g0c1" not in broker.asked[1].messages[1].content
    assert sent.messages == broker.asked[1].messages, "what follows on the answer follows on the words it answers"


def test_a_prompt_that_cannot_be_shortened_any_more_costs_its_candidate_alone(run: Run) -> None:
    broker = FakeBroker(script(fault("context")))
    with pytest.raises(NoAnswer, match="too long for openai/m"):
        ask(run, broker)
    assert len(broker.asked) == 1


# --------------------------------------------------------------------------------------------------- lost on the way


@pytest.mark.parametrize("kind", ["lost", "stream"])
def test_a_lost_answer_is_booked_at_its_worst_and_asked_for_again(run: Run, kind: str) -> None:
    broker = FakeBroker(script(fault(kind, billed="unknown", text="def comp"), "good"))
    assert ask(run, broker) == "good"
    lost, found = run.calls()
    assert (lost.state, lost.fault, lost.estimated, lost.cost) == ("unknown", kind, True, lost.reserved_cost)
    assert run.blob(lost.raw or "") == b"def comp"
    assert found.cost is not None
    assert run.booked().cost == pytest.approx((lost.reserved_cost or 0.0) + found.cost)
    assert run.booked().calls == 2


def test_a_lost_answer_can_be_gone_without(folder: Path) -> None:
    with paid_run(folder / "run", on_unknown="skip") as run:
        broker = FakeBroker(script(fault("lost", billed="unknown")))
        with pytest.raises(NoAnswer, match="lost on its way"):
            ask(run, broker)
        assert len(broker.asked) == 1


def test_a_lost_answer_can_be_a_persons_decision_with_both_commands(folder: Path) -> None:
    with paid_run(folder / "run", on_unknown="ask") as run:
        broker = FakeBroker(script(fault("lost", billed="unknown"), "good"))
        said = r"g0c0/propose/1 .*worst cost, \$0\.1.* --on-unknown resend.* --on-unknown skip"
        with pytest.raises(Paused, match=said):
            ask(run, broker)
        run.amend({"on_unknown": "resend"})
        assert ask(run, broker) == "good"
        assert len(broker.asked) == 2


# ------------------------------------------------------------------------------------------------------------ stopped


@pytest.mark.parametrize(
    ("kind", "error", "code", "advice"),
    [
        ("auth", EnvironmentMissing, 4, "set the provider's key"),
        ("not_found", UsageError, 2, "--model"),
        ("bad_request", UsageError, 2, r"--max-output-tokens \(16000\), --effort"),
        ("quota", Paused, 3, "add credit"),
    ],
)
def test_what_no_retry_can_mend_stops_with_the_setting_at_fault(
    run: Run, kind: str, error: type[EurekaError], code: int, advice: str
) -> None:
    broker = FakeBroker(script(fault(kind)))
    with pytest.raises(error, match=f"openai/m: the provider says {kind}.*{advice}.*--resume") as stopped:
        ask(run, broker)
    assert stopped.value.exit_code == code
    assert len(broker.asked) == 1
    assert run.booked().cost == 0.0
    assert ask(run, FakeBroker(script("good"))) == "good", "a run goes on once the setting is right"


def test_refusals_are_not_asked_again_and_three_in_a_row_pause_with_the_models_words(run: Run) -> None:
    refusal = {"text": "I will \x1b[31mnot.", "finish_reason": "refusal"}
    broker = FakeBroker(script(refusal, refusal, "fine", refusal, refusal, refusal))
    made = asking(run, broker)
    for number in range(5):
        made.complete(request(f"g0c{number}"))
    with pytest.raises(Paused, match="refused 3 times in a row, last for g0c5/propose/1: I will ⟨U\\+001B⟩"):
        made.complete(request("g0c5"))
    assert [call.attempt for call in run.calls()] == [1] * 6
    again = asking(run, FakeBroker(script("never asked")))
    assert again.complete(request("g0c5")).finish_reason == "refusal", "what was answered stays answered"


@pytest.mark.parametrize("purpose", ["vision", "comment"])
def test_answers_of_a_judge_or_an_analyst_do_not_end_a_row_of_the_writers_refusals(run: Run, purpose: str) -> None:
    refusal = {"text": "I will not.", "finish_reason": "refusal"}
    made = asking(run, FakeBroker(script(refusal, refusal, "fine", refusal)))
    for number, asked in enumerate(["propose", "propose", purpose]):
        made.complete(request(f"g0c{number}", purpose=asked))
    with pytest.raises(Paused, match="refused 3 times in a row"):
        made.complete(request("g0c3"))


def test_who_waits_stops_when_the_sitting_ends(run: Run) -> None:
    made = asking(run, FakeBroker(script(fault("overloaded"))))
    made._stopping.set()
    with pytest.raises(AskingStopped):
        made.complete(request())
    assert run.calls() == ()


# ------------------------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize(
    "usage",
    [
        None,
        Usage(input_tokens=-1, output_tokens=5),
        Usage(input_tokens=10**12, output_tokens=5),
        Usage(input_tokens=5, output_tokens=5, cached_tokens=9),
    ],
)
def test_without_usable_counts_the_worst_case_stays_booked_and_says_so(run: Run, usage: Usage | None) -> None:
    ask(run, FakeBroker(script({"usage": usage})))
    (call,) = run.calls()
    assert call.estimated
    assert (call.cost, call.tokens) == (call.reserved_cost, call.reserved_tokens)
    assert call.tokens > 16_000


def test_counts_are_priced_with_what_the_cache_costs(run: Run) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, cached_tokens=600, cache_write_tokens=300)
    ask(run, FakeBroker(script({"usage": usage})))
    (call,) = run.calls()
    assert call.cost == pytest.approx((100 * 1.0 + 600 * 0.1 + 300 * 1.25 + 100 * 10.0) / 1e6)
    assert (call.tokens, call.cached_tokens, call.estimated) == (1100, 600, False)


def test_another_model_than_was_asked_for_is_recorded_and_said_once(run: Run) -> None:
    log = Log()
    made = asking(run, FakeBroker(script({"model": "quite-another"})), log=log)
    for name in ("g0c0", "g0c1"):
        made.complete(request(name))
    assert [call.model for call in run.calls()] == ["quite-another"] * 2
    assert sum("answers come from quite-another" in text for text in log.said) == 1


# ------------------------------------------------------------------------------------------------------------- pacing


def lane(clock: Clock) -> Lane:
    return Lane(threading.Event(), clock.time)


def test_concurrency_grows_with_answers_and_is_halved_once_per_burst_of_refusals() -> None:
    clock = Clock()
    clock.now = 100.0
    one = lane(clock)
    assert one.width == START
    for _ in range(20):
        one.answered()
    assert one.width == MOST
    for _ in range(3):
        one.too_much(None)
    assert one.width == MOST // 2
    clock.now += 20.0
    one.too_much(None)
    assert one.width == MOST // 4


def test_after_failures_in_a_row_a_model_rests_and_one_call_probes_it() -> None:
    clock = Clock()
    one = lane(clock)
    for _ in range(10):
        one.answered()
    for _ in range(TRIP):
        one.failed(None)
    assert one.width == 1
    with one.turn():
        assert clock.slept == [30.0]
    one.answered()
    assert one.width > 1


def test_a_probe_that_fails_rests_the_model_again() -> None:
    clock = Clock()
    one = lane(clock)
    for _ in range(TRIP + 1):
        one.failed(None)
    with one.turn():
        one.failed(None)
    with one.turn():
        assert sum(clock.slept) == 60.0


def test_models_have_lanes_of_their_own(run: Run) -> None:
    other = ModelConfig(name="groq/b", price=MODEL.price)
    keys: Sequence[str] = [f"g0c{n}" for n in range(12)]

    def only_one_fails(asked: Ask) -> Answered | Fault:
        return answered(asked) if asked.model.name == MODEL.name else fault("rate_limit", retry_after=5000.0)

    made = asking(run, FakeBroker(only_one_fails), models=(MODEL, other))
    fine = 0
    for key in keys:
        try:
            made.complete(request(key))
            fine += 1
        except Paused:
            pass
    assert 0 < fine < len(keys)
