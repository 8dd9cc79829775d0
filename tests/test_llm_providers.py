"""One attempt at a call, through the real SDKs, against a provider on loopback that bills what it accepts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from llm_server_cases import ANSWERS, CODE, Provider, Received, provider

from eureka_agent.contract.task import load_task
from eureka_agent.llm.answers import LONGEST_TEXT, anthropic_usage, openai_usage
from eureka_agent.llm.attempt import attempt, provider_state
from eureka_agent.llm.completion import Usage
from eureka_agent.llm.extract import CUT_OFF, REFUSED
from eureka_agent.llm.faults import one_line, seconds_to_wait
from eureka_agent.llm.keys import REMOVED, VARIABLES, Secrets, is_secret
from eureka_agent.llm.prompting import Prompts
from eureka_agent.llm.wire import (
    Answered,
    Ask,
    Fault,
    FaultKind,
    ModelConfig,
    Outcome,
    Patience,
    dump_record,
    load_outcome,
)
from eureka_agent.population import Brief, Population
from eureka_agent.runs.calls import Message

KEY = "sk-canary-0123456789abcdef"
ENVIRONMENT = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "DEEPSEEK_API_KEY": KEY, "GROQ_API_KEY": KEY}
NATIVE = ("openai", "anthropic")
SDKS = (*NATIVE, "deepseek")
"""The last is one of the many that litellm asks."""
PROMPT = "Walk; half a pair: \ud800"


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_printed(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No scenario may end in a traceback, not even on a thread that nobody waits for."""
    yield
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err


def ask_of(server: Provider, sdk: str, scenario: str, patience: Patience | None = None, **model: Any) -> Ask:
    base_url = server.url if sdk == "anthropic" else f"{server.url}/v1"
    return Ask(
        key="g0c0/propose/1",
        model=ModelConfig.model_validate({"name": f"{sdk}/{scenario}", "base_url": base_url, **model}),
        messages=(Message(role="system", content="You design rewards."), Message(role="user", content=PROMPT)),
        max_output_tokens=100,
        idempotency_key=f"ticket-{sdk}-{scenario}",
        patience=patience or Patience(connect=5, idle=20, total=60),
    )


def asked(server: Provider, sdk: str, scenario: str, **options: Any) -> tuple[Outcome, list[Received]]:
    """What came of one attempt, and the requests that the provider saw."""
    before = len(server.ledger)
    outcome = attempt(ask_of(server, sdk, scenario, **options), ENVIRONMENT)
    stored = dump_record(outcome)
    assert KEY not in stored
    assert load_outcome(stored) == outcome
    return outcome, server.ledger[before:]


def answered(server: Provider, sdk: str, scenario: str, **options: Any) -> Answered:
    outcome, requests = asked(server, sdk, scenario, **options)
    assert isinstance(outcome, Answered), outcome
    assert [request.billed for request in requests] == [True]
    return outcome


# ------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("how", ["", "@plain"])
def test_an_answer_comes_whole_whether_or_not_the_server_streams(server: Provider, sdk: str, how: str) -> None:
    answer = answered(server, sdk, f"ok{how}")
    assert (answer.text, answer.finish_reason, answer.request_id) == (CODE, "stop", "req_7")
    assert answer.usage == Usage(input_tokens=100, output_tokens=20)
    assert answer.model == f"ok{how}"
    assert CODE in json.dumps(json.loads(answer.raw), ensure_ascii=False).encode().decode("unicode_escape")


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize(
    ("scenario", "reasons"),
    [("truncated", {"length"}), ("window-exceeded", CUT_OFF), ("refusal", REFUSED), ("filtered", REFUSED)],
)
def test_answers_that_are_cut_or_refused_say_so_in_one_spelling(
    server: Provider, sdk: str, scenario: str, reasons: set[str]
) -> None:
    assert answered(server, sdk, scenario).finish_reason in reasons


@pytest.mark.parametrize("sdk", SDKS)
def test_a_refusal_keeps_the_models_words(server: Provider, sdk: str) -> None:
    assert answered(server, sdk, "refusal").text == "I cannot help with that."


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("scenario", ["missing-usage", "negative-usage", "absurd-usage", "text-usage"])
def test_counts_that_cannot_be_true_are_no_counts(server: Provider, sdk: str, scenario: str) -> None:
    answer = answered(server, sdk, scenario)
    assert answer.text == CODE
    assert answer.usage is None


@pytest.mark.parametrize("sdk", SDKS)
def test_cached_tokens_are_part_of_the_input(server: Provider, sdk: str) -> None:
    assert answered(server, sdk, "cached").usage == Usage(
        input_tokens=100, output_tokens=20, cached_tokens=60, cache_write_tokens=30
    )


@pytest.mark.parametrize("sdk", SDKS)
def test_thinking_is_part_of_the_output(server: Provider, sdk: str) -> None:
    usage = answered(server, sdk, "reasoning").usage
    assert usage is not None
    assert usage.output_tokens == 220


@pytest.mark.parametrize("sdk", SDKS)
def test_the_model_that_answered_is_named_even_if_another_was_asked(server: Provider, sdk: str) -> None:
    assert answered(server, sdk, "wrong-model").model == "quite-another-model"


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("scenario", ["empty", "null-text", "whitespace", "nul", "surrogates", "twice"])
def test_odd_texts_come_as_they_are(server: Provider, sdk: str, scenario: str) -> None:
    assert answered(server, sdk, scenario).text == (ANSWERS[scenario].text or "")


@pytest.mark.parametrize("sdk", SDKS)
def test_an_absurdly_long_answer_is_cut_and_said_to_be(server: Provider, sdk: str) -> None:
    answer = answered(server, sdk, "ten-megabytes")
    assert answer.finish_reason == "length"
    assert LONGEST_TEXT <= len(answer.text) < 2 * LONGEST_TEXT


@pytest.mark.parametrize("sdk", NATIVE)
def test_a_connection_that_breaks_after_the_end_costs_nothing(server: Provider, sdk: str) -> None:
    assert answered(server, sdk, "after-the-end").text == CODE


@pytest.mark.parametrize("sdk", SDKS)
def test_a_prompt_that_the_provider_filters_is_a_refusal_that_costs_nothing(server: Provider, sdk: str) -> None:
    outcome, requests = asked(server, sdk, "filtered-400")
    assert isinstance(outcome, Answered)
    assert outcome.finish_reason in REFUSED
    assert outcome.usage == Usage(input_tokens=0, output_tokens=0)
    assert len(requests) == 1


def test_an_answer_that_litellm_cannot_read_is_read_all_the_same(server: Provider) -> None:
    """litellm 1.106 raises an AttributeError over an answer of Groq's without a service tier."""
    assert answered(server, "groq", "ok").text == CODE


# ------------------------------------------------------------------------------------------------------------- refusals

REFUSED_WITH = {
    "400": FaultKind.BAD_REQUEST,
    "401": FaultKind.AUTH,
    "403": FaultKind.AUTH,
    "404": FaultKind.NOT_FOUND,
    "408": FaultKind.OVERLOADED,
    "409": FaultKind.OVERLOADED,
    "413": FaultKind.CONTEXT,
    "422": FaultKind.BAD_REQUEST,
    "429": FaultKind.RATE_LIMIT,
    "500": FaultKind.OVERLOADED,
    "502": FaultKind.OVERLOADED,
    "503": FaultKind.OVERLOADED,
    "504": FaultKind.OVERLOADED,
    "529": FaultKind.OVERLOADED,
    "quota-402": FaultKind.QUOTA,
    "quota-429": FaultKind.QUOTA,
    "credit-400": FaultKind.QUOTA,
    "minute-429": FaultKind.RATE_LIMIT,
    "context-400": FaultKind.CONTEXT,
    "context-413": FaultKind.CONTEXT,
    "prompt-too-long": FaultKind.CONTEXT,
    "shall-retry": FaultKind.OVERLOADED,
    "shall-not-retry": FaultKind.OVERLOADED,
    "html-502": FaultKind.OVERLOADED,
    "empty-500": FaultKind.OVERLOADED,
    "wild-error": FaultKind.BAD_REQUEST,
}


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("scenario", REFUSED_WITH)
def test_a_status_says_what_is_wrong_and_is_asked_for_once(server: Provider, sdk: str, scenario: str) -> None:
    outcome, requests = asked(server, sdk, scenario)
    assert isinstance(outcome, Fault), outcome
    assert outcome.kind is REFUSED_WITH[scenario], outcome
    assert len(requests) == 1
    assert not requests[0].billed
    # A gateway that lost the provider cannot know what the provider did.
    assert outcome.billed == ("unknown" if outcome.status in (502, 504) else "no")
    assert outcome.message.isprintable()
    assert "Exception" not in outcome.message


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize(
    ("scenario", "seconds"), [("seconds", 7.0), ("milliseconds", 1.5), ("absurd-wait", None), ("minute-429", 34.0)]
)
def test_a_provider_says_how_long_to_wait(server: Provider, sdk: str, scenario: str, seconds: float | None) -> None:
    outcome, _ = asked(server, sdk, scenario)
    assert isinstance(outcome, Fault)
    assert outcome.retry_after == seconds


@pytest.mark.parametrize("sdk", SDKS)
def test_a_provider_says_until_when_to_wait(server: Provider, sdk: str) -> None:
    outcome, _ = asked(server, sdk, "date")
    assert isinstance(outcome, Fault)
    assert outcome.retry_after is not None
    assert 0 < outcome.retry_after <= 30


@pytest.mark.parametrize("sdk", SDKS)
def test_a_provider_says_whether_asking_again_is_of_use(server: Provider, sdk: str) -> None:
    no, yes, nothing = (asked(server, sdk, name)[0] for name in ("shall-not-retry", "shall-retry", "503"))
    assert isinstance(no, Fault)
    assert isinstance(yes, Fault)
    assert isinstance(nothing, Fault)
    assert (no.retry, yes.retry, nothing.retry) == (False, True, None)


@pytest.mark.parametrize("sdk", SDKS)
def test_a_rejected_key_is_not_repeated_but_its_variable_is_named(server: Provider, sdk: str) -> None:
    outcome, _ = asked(server, sdk, "repeat-key")
    assert isinstance(outcome, Fault)
    assert REMOVED in outcome.message
    assert VARIABLES[sdk][0] in outcome.message


@pytest.mark.parametrize("sdk", SDKS)
def test_a_key_inside_an_answer_is_removed(server: Provider, sdk: str) -> None:
    assert REMOVED in answered(server, sdk, "tell-key").text


# --------------------------------------------------------------------------------------------------- broken connections


@pytest.mark.parametrize("sdk", SDKS)
def test_a_refused_connection_costs_nothing(server: Provider, sdk: str) -> None:
    outcome, requests = asked(server, sdk, "ok", base_url="http://127.0.0.1:9/v1")
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed, requests) == (FaultKind.CONNECT, "no", [])
    assert outcome.message.startswith("no connection to http://127.0.0.1:9/v1: ")


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("scenario", ["reset", "hang-up", "silence"])
def test_a_connection_lost_after_sending_may_have_been_paid(server: Provider, sdk: str, scenario: str) -> None:
    patience = Patience(connect=5, idle=20, total=0.5) if scenario == "silence" else None
    outcome, requests = asked(server, sdk, scenario, patience=patience)
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.LOST, "unknown")
    assert len(requests) == 1


@pytest.mark.parametrize("sdk", NATIVE)
@pytest.mark.parametrize("scenario", ["cut", "short", "error-in-stream", "idle"])
def test_a_stream_that_does_not_end_keeps_what_came_and_is_no_answer(server: Provider, sdk: str, scenario: str) -> None:
    patience = Patience(connect=5, idle=0.5, total=60) if scenario == "idle" else None
    outcome, requests = asked(server, sdk, scenario, patience=patience)
    assert isinstance(outcome, Fault), outcome
    assert (outcome.kind, outcome.billed) == (FaultKind.STREAM, "unknown")
    assert outcome.text
    assert CODE.startswith(outcome.text)
    assert len(requests) == 1


@pytest.mark.parametrize("sdk", NATIVE)
def test_a_stream_of_comments_ends_at_the_deadline(server: Provider, sdk: str) -> None:
    outcome, _ = asked(server, sdk, "chatty", patience=Patience(connect=5, idle=20, total=0.5))
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed, outcome.text) == (FaultKind.STREAM, "unknown", "")


@pytest.mark.parametrize("scenario", ["cut", "short", "error-in-stream"])
def test_litellm_never_makes_an_answer_of_a_stream_that_was_cut(server: Provider, scenario: str) -> None:
    outcome, requests = asked(server, "deepseek", scenario)
    assert isinstance(outcome, Fault)
    assert outcome.billed == "unknown"
    assert len(requests) == 1


UNREADABLE = ["bad-json", "deep-json", "list-json", "wrong-types", "html", "gzip-garbage", "no-utf-8"]
UNREADABLE_STREAMS = ["bad-event", "bad-event-utf-8", "odd-events"]


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("scenario", [*UNREADABLE, *UNREADABLE_STREAMS])
def test_what_cannot_be_read_may_have_been_paid(server: Provider, sdk: str, scenario: str) -> None:
    outcome, requests = asked(server, sdk, scenario)
    assert isinstance(outcome, Fault), outcome
    assert (outcome.kind, outcome.billed) == (FaultKind.BAD_ANSWER, "unknown")
    assert len(requests) == 1


@pytest.mark.parametrize("sdk", SDKS)
def test_the_bytes_of_an_unreadable_answer_are_kept(server: Provider, sdk: str) -> None:
    outcome, _ = asked(server, sdk, "html")
    assert isinstance(outcome, Fault)
    assert outcome.text == "<html><body>Please log in</body></html>"


@pytest.mark.parametrize("sdk", NATIVE)
def test_a_redirect_is_not_followed_as_the_key_would_go_along(server: Provider, sdk: str) -> None:
    outcome, requests = asked(server, sdk, "redirect")
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.BAD_REQUEST, "no")
    assert f"{server.url}/elsewhere" in outcome.message
    assert [request.scenario for request in requests] == ["redirect"]


# ------------------------------------------------------------------------------------------------------------- requests


@pytest.mark.parametrize("sdk", SDKS)
def test_a_request_names_its_attempt_and_asks_for_no_temperature(server: Provider, sdk: str) -> None:
    _, (request,) = asked(server, sdk, "ok", effort="high")
    assert request.idempotency_key == f"ticket-{sdk}-ok"
    assert not {"temperature", "top_p", "top_k", "n"} & request.body.keys()
    assert request.body["max_tokens"] == 100


def test_openai_is_told_the_effort_and_asked_for_the_count_of_a_stream(server: Provider) -> None:
    _, (request,) = asked(server, "openai", "ok", effort="high")
    assert request.body["reasoning_effort"] == "high"
    assert request.body["stream_options"] == {"include_usage": True}


def test_anthropic_is_told_the_effort(server: Provider) -> None:
    _, (request,) = asked(server, "anthropic", "ok", effort="low")
    assert request.body["output_config"] == {"effort": "low"}


def test_anthropics_cache_is_told_what_all_prompts_of_a_run_share(server: Provider) -> None:
    task = load_task("hopper_forward")
    shared = []
    for slot in range(2):
        brief = Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=slot)
        messages = Prompts().compose(brief, task, Population()).messages
        ask = ask_of(server, "anthropic", "ok").model_copy(update={"messages": messages})
        assert isinstance(attempt(ask, ENVIRONMENT), Answered)
        body = server.ledger[-1].body
        assert [block["cache_control"] for block in body["system"]] == [{"type": "ephemeral"}]
        first, own = body["messages"][0]["content"]
        assert first["cache_control"] == {"type": "ephemeral"}
        assert first["text"] + own["text"] == messages[1].content
        assert "cache_control" not in own
        shared.append((body["system"][0]["text"], first["text"]))
    assert shared[0] == shared[1]
    assert task.variables[-1].name in shared[0][1]


def test_a_server_that_knows_another_name_for_the_limit_is_asked_with_that(server: Provider) -> None:
    outcome, requests = asked(server, "openai", "other-name")
    assert isinstance(outcome, Answered)
    assert [request.billed for request in requests] == [False, True]
    assert requests[1].body["max_completion_tokens"] == 100
    assert "max_tokens" not in requests[1].body


@pytest.mark.parametrize("scenario", ["ok", "ok@plain", "400"])
def test_the_server_says_that_it_closes_so_that_no_request_meets_the_end(server: Provider, scenario: str) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    body = json.dumps({"model": scenario, "stream": True})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.getheader("Connection") == "close"
    answer.read()
    connection.close()


def test_a_model_that_is_not_streamed_to_everybody_is_asked_without(server: Provider) -> None:
    outcome, requests = asked(server, "openai", "no-stream")
    assert isinstance(outcome, Answered)
    assert (outcome.text, outcome.finish_reason, outcome.request_id) == (CODE, "stop", "req_7")
    assert [request.billed for request in requests] == [False, False, True]
    assert len({request.idempotency_key for request in requests}) == 1


@pytest.mark.parametrize("sdk", SDKS)
def test_a_server_of_ones_own_needs_no_key(server: Provider, sdk: str) -> None:
    assert isinstance(attempt(ask_of(server, sdk, "ok"), {}), Answered)


@pytest.mark.parametrize("sdk", SDKS)
def test_without_a_key_nothing_is_sent_and_the_variable_is_named(server: Provider, sdk: str) -> None:
    before = len(server.ledger)
    outcome = attempt(ask_of(server, sdk, "ok", base_url=None), {})
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.AUTH, "no")
    assert VARIABLES[sdk][0] in outcome.message
    assert len(server.ledger) == before


@pytest.mark.parametrize("sdk", SDKS)
def test_the_line_end_that_a_file_puts_behind_a_key_is_not_sent(server: Provider, sdk: str) -> None:
    before = len(server.ledger)
    assert isinstance(attempt(ask_of(server, sdk, "ok"), {VARIABLES[sdk][0]: f"{KEY}\n"}), Answered)
    (received,) = server.ledger[before:]
    assert any(value.endswith(KEY) for value in received.headers.values())


@pytest.mark.parametrize("sdk", NATIVE)
def test_a_key_that_no_header_can_hold_is_named_and_not_shown(server: Provider, sdk: str) -> None:
    broken = {VARIABLES[sdk][0]: "sk-broken\nkey-0123456789"}
    outcome = attempt(ask_of(server, sdk, "ok"), broken)
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.AUTH, "no")
    assert VARIABLES[sdk][0] in outcome.message
    assert "0123456789" not in outcome.message


def test_an_unknown_provider_is_not_found_and_nobody_saw_the_request(server: Provider) -> None:
    before = len(server.ledger)
    outcome = attempt(ask_of(server, "no-such-provider", "ok"), {})
    assert isinstance(outcome, Fault)
    assert (outcome.kind, outcome.billed) == (FaultKind.NOT_FOUND, "no")
    assert "litellm knows no provider 'no-such-provider'" in outcome.message
    assert len(server.ledger) == before


# ---------------------------------------------------------------------------------------------------------------- keys


def test_every_configured_secret_is_redacted_the_longest_first() -> None:
    secrets = Secrets({"A_API_KEY": "abcdefgh", "B_TOKEN": "abcdefgh-ijkl", "PATH": "/usr/local/bin", "C_KEY": "none"})
    assert secrets.redact("abcdefgh-ijkl, abcdefgh, /usr/local/bin, none") == (
        f"{REMOVED}, {REMOVED}, /usr/local/bin, none"
    )


def test_keys_of_any_service_are_known_by_their_variables() -> None:
    names = [name for names in VARIABLES.values() for name in names]
    assert all(map(is_secret, [*names, "AWS_SECRET_ACCESS_KEY", "AWS_BEARER_TOKEN_BEDROCK", "DB_PASSWORD"]))
    assert not any(map(is_secret, ["PATH", "HOME", "TOKENIZERS_PARALLELISM", "KEYBOARD_LAYOUT", "EUREKA_SANDBOX"]))


def test_keys_that_are_withdrawn_are_gone_from_what_the_kernel_shows() -> None:
    code = (
        "import os, subprocess\n"
        "from eureka_agent.llm.keys import withdraw\n"
        "assert withdraw() == {'SOME_API_KEY', 'OTHER_TOKEN'}\n"
        "print('SOME_API_KEY' in os.environ, subprocess.run(['env'], capture_output=True, text=True).stdout)\n"
        "print(open('/proc/self/environ').read())\n"
    )
    environment = {"SOME_API_KEY": KEY, "OTHER_TOKEN": KEY, "PATH": os.environ["PATH"], "HARMLESS": "stays"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("False")
    assert KEY not in done.stdout
    assert done.stdout.count("HARMLESS=stays") == 2


def test_a_process_can_be_hidden_from_others_of_the_user() -> None:
    code = (
        "import ctypes\n"
        "from eureka_agent.llm.keys import hide_memory\n"
        "dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "print(dumpable(), hide_memory(), dumpable())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "None", "0"]


def test_a_providers_state_is_told_without_its_key() -> None:
    ready, told = provider_state("openai", ENVIRONMENT)
    assert (ready, told) == ("ready", "OPENAI_API_KEY is set")
    assert provider_state("anthropic", {})[0] == "no key"
    assert "ANTHROPIC_API_KEY" in provider_state("anthropic", {})[1]
    local = provider_state("openai", {"OPENAI_BASE_URL": "http://user:pass@localhost:11434/v1"})
    assert local == ("ready", "no key set; a server of one's own at http://localhost:11434/v1 may need none")
    assert provider_state("bedrock", {})[0] == "unknown"


def test_no_sdk_is_imported_until_it_is_asked() -> None:
    code = (
        "import sys, eureka_agent.llm.wire, eureka_agent.llm.broker, eureka_agent.llm.attempt\n"
        "print(sorted({'openai', 'anthropic', 'litellm', 'httpx', 'httpx2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, 86_400.0),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2.0),
        ({}, None),
    ],
)
def test_an_odd_wait_is_clamped_or_ignored(headers: dict[str, str], seconds: float | None) -> None:
    assert seconds_to_wait(headers) == seconds


def test_counts_are_believed_only_within_reason() -> None:
    assert openai_usage({"prompt_tokens": True, "completion_tokens": 1}) is None
    assert openai_usage({"prompt_tokens": 1.5, "completion_tokens": 1}) is None
    assert openai_usage({"prompt_tokens": 0, "completion_tokens": 0}) is None
    assert openai_usage([]) is None
    assert anthropic_usage({"input_tokens": 1}) is None
    hidden = openai_usage({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115})
    assert hidden == Usage(input_tokens=10, output_tokens=105)
    clamped = openai_usage(
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}}
    )
    assert clamped == Usage(input_tokens=10, output_tokens=5, cached_tokens=10)


def test_a_message_is_one_line_that_a_terminal_can_show() -> None:
    line = one_line("a\x1b[31m\nb\u202e \ud800\0" + "x" * 1000)
    assert line.isprintable()
    assert len(line) == 300
