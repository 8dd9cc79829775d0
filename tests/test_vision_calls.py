"""Calls that show a picture: what a provider is sent, what it says, what is paid, and what stops a search."""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from collections.abc import Iterator

import pytest
from llm_cases import TASK, Log
from llm_server_cases import Provider, provider
from provider_cases import MODEL, PRICE, FakeBroker, answered, fast_folder, fault, paid_run

from eureka_agent.errors import UsageError
from eureka_agent.llm.asking import Asking
from eureka_agent.llm.attempt import attempt
from eureka_agent.llm.ensemble import Ensemble
from eureka_agent.llm.faults import no_pictures
from eureka_agent.llm.prices import most_input_tokens
from eureka_agent.llm.prompting import Prompts
from eureka_agent.llm.proposer import LLMProposer
from eureka_agent.llm.shorten import shortened
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, ModelConfig, Patience
from eureka_agent.population import Brief, Candidate, Judgement, Score, Vision
from eureka_agent.proposers import Sitting
from eureka_agent.runs.calls import Message, Picture
from eureka_agent.runs.run import Run

PICTURE = b"\xff\xd8 a picture, as far as a provider on loopback goes \xff\xd9"
SHOWN = Message(role="user", content="How far?", picture=Picture(blob="p", width=768, height=576))


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with provider() as running:
        yield running


def shown(server: Provider, sdk: str, scenario: str, message: Message = SHOWN) -> Answered | Fault:
    base_url = server.url if sdk == "anthropic" else f"{server.url}/v1"
    ask = Ask(
        key="g0c0/vision/1",
        model=ModelConfig(name=f"{sdk}/{scenario}", base_url=base_url),
        messages=(message,),
        pictures={"p": base64.b64encode(PICTURE).decode()} if message.picture else {},
        max_output_tokens=100,
        idempotency_key=f"ticket-{sdk}-{scenario}",
        patience=Patience(connect=5, idle=20, total=60),
    )
    keys = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2", "DEEPSEEK_API_KEY": "sk-3", "GROQ_API_KEY": "sk-4"}
    return attempt(ask, keys)


@pytest.mark.parametrize("sdk", ["openai", "anthropic", "groq"])
def test_a_picture_reaches_the_provider_as_it_is_before_the_words(server: Provider, sdk: str) -> None:
    assert isinstance(shown(server, sdk, "ok"), Answered)
    picture, words = server.ledger[-1].body["messages"][-1]["content"]
    assert (words["type"], words["text"]) == ("text", "How far?")
    if sdk == "anthropic":
        assert (picture["type"], picture["source"]["media_type"]) == ("image", "image/jpeg")
        data = picture["source"]["data"]
    else:
        scheme, _, data = picture["image_url"]["url"].partition(",")
        assert scheme == "data:image/jpeg;base64"
    assert base64.b64decode(data, validate=True) == PICTURE


@pytest.mark.parametrize(
    ("scenario", "kind"), [("blind-400", "bad_request"), ("blind-404", "not_found"), ("blind-500", "bad_request")]
)
def test_a_model_that_takes_no_pictures_is_recognised_however_it_says_so(
    server: Provider, scenario: str, kind: str
) -> None:
    found = shown(server, "openai", scenario)
    assert isinstance(found, Fault)
    assert found.kind is FaultKind(kind)


def test_trouble_that_speaks_of_pictures_is_trouble_where_none_was_sent(server: Provider) -> None:
    found = shown(server, "openai", "blind-500", Message(role="user", content="Write."))
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.OVERLOADED


def test_the_worst_case_of_a_picture_covers_the_dearest_count_and_not_its_bytes() -> None:
    without = most_input_tokens([Message(role="user", content="How far?")])
    tokens = most_input_tokens([SHOWN]) - without
    gpt_4o_mini = 2833 + 4 * 5667
    """Tokens of four tiles of 512 pixels: https://platform.openai.com/docs/guides/images-vision"""
    assert gpt_4o_mini <= tokens < 1.2 * gpt_4o_mini


@pytest.mark.parametrize(
    ("said", "blind"),
    [
        ("400: messages[0].content must be a string", True),
        ("422: unknown variant `image_url`, expected `text`", True),
        ("400: At most 0 image(s) may be provided in one prompt.", True),
        ("400: Image input modality is not enabled for models/m", True),
        ("400: Unsupported value: 'reasoning_effort' does not support 'huge' with this model", False),
        ("400: max_tokens is too large: 999999", False),
        ("404: The model `gpt-vision` does not exist or you do not have access to it; check the model's name", False),
    ],
)
def test_a_fault_is_blindness_only_if_its_words_say_so(said: str, blind: bool) -> None:
    assert no_pictures(said) is blind


EYES = ModelConfig(name="openai/eyes", price=PRICE)


@pytest.fixture
def run() -> Iterator[Run]:
    with fast_folder() as folder, paid_run(folder / "run", vision_model=EYES.name) as run:
        yield run


def judge(run: Run, broker: FakeBroker) -> LLMProposer:
    sitting = Sitting(run, Log(), threading.Event())
    asking = Asking(sitting, Ensemble((MODEL,), EYES), broker, shortened)  # type: ignore[arg-type]
    return LLMProposer(asking, Prompts(), asking)


def look(run: Run, broker: FakeBroker, slot: int = 0) -> Judgement:
    brief = Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=0)
    frames = Score(
        seeds=(1,), fitness=(1.0,), success=(True,), lengths=(380,), seconds=1.0, frames=run.put_blob(PICTURE)
    )
    return judge(run, broker).look(Candidate(brief=brief, code=""), frames, TASK)


def test_the_one_with_eyes_is_asked_and_a_bad_answer_is_asked_again_once_in_one_ledger(run: Run) -> None:
    texts = ["It hops.", json.dumps({"progress": 7, "seen": "It hops."})]
    broker = FakeBroker(lambda ask: answered(ask, text=texts[len(broker.asked) - 1]))
    assert look(run, broker) == Judgement(vision=Vision(progress=7, seen="It hops."))
    assert [ask.model.name for ask in broker.asked] == ["openai/eyes"] * 2
    assert [list(ask.pictures.values()) for ask in broker.asked] == [[base64.b64encode(PICTURE).decode()]] * 2
    assert [(call.key, call.state) for call in run.calls()] == [
        ("g0c0/vision/1", "parsed"),
        ("g0c0/vision2/1", "parsed"),
    ]
    assert "of no use: the answer: not valid JSON" in broker.asked[1].messages[0].content
    for call in run.calls():
        assert base64.b64encode(PICTURE) not in run.blob(call.prompt), "the journal names the picture"
        assert call.reserved_tokens > 768 * 576 / 16
        assert call.tokens == 120
    assert look(run, broker).vision is not None
    assert len(broker.asked) == 2, "paid once"
    texts = ["no", "no"]
    broker.asked.clear()
    assert look(run, broker, slot=1).why_not.startswith("its answer is of no use, the second time too: the answer")
    assert len(broker.asked) == 2


@pytest.mark.parametrize("kind", ["bad_request", "not_found"])
def test_a_model_that_takes_no_pictures_is_named_with_its_option_and_stops_nothing(run: Run, kind: str) -> None:
    said = "400: image_url is only supported by certain models"
    found = look(run, FakeBroker(lambda ask: fault(kind, message=said)))
    assert found.blind
    assert found.why_not == f"--vision-model openai/eyes cannot be shown pictures: {said}"
    assert run.booked().cost == 0


def test_a_look_that_is_refused_for_a_setting_stops_until_a_resume_with_another(run: Run) -> None:
    with pytest.raises(UsageError, match=r"the provider says bad_request.*--effort and --base-url.*--resume"):
        look(run, FakeBroker(lambda ask: fault("bad_request")))
    text = json.dumps({"progress": 7, "seen": "It hops."})
    assert look(run, FakeBroker(lambda ask: answered(ask, text=text))).vision is not None


def test_a_model_that_is_not_there_costs_an_opinion_and_stops_only_where_it_selects(run: Run) -> None:
    gone = FakeBroker(lambda ask: fault("not_found", message="404: no such model"))
    found = look(run, gone)
    assert (found.blind, found.why_not) == (True, "--vision-model openai/eyes is not there: 404: no such model")
    run.task = dataclasses.replace(run.task, spec=run.task.spec.model_copy(update={"fitness": "vision"}))
    with pytest.raises(UsageError, match=r"in --vision-model is the provider.*--resume"):
        look(run, gone, slot=1)


def test_refusals_to_judge_do_not_pause_the_search(run: Run) -> None:
    broker = FakeBroker(lambda ask: answered(ask, text="I will not.", finish_reason="refusal"))
    for slot in range(4):
        assert look(run, broker, slot) == Judgement(why_not="the model refused to answer")
    assert len(broker.asked) == 4


def test_an_answer_that_was_dismissed_is_asked_for_again_once(run: Run) -> None:
    judged = json.dumps({"progress": 7, "seen": "It hops."})
    assert "of no use" in look(run, FakeBroker(lambda ask: answered(ask, text="no"))).why_not
    for call in run.calls():
        run.save_call(call.model_copy(update={"fault": "bad_answer"}))
    broker = FakeBroker(lambda ask: answered(ask, text=judged))
    for _ in range(2):
        assert look(run, broker).vision == Vision(progress=7, seen="It hops.")
    assert [ask.key for ask in broker.asked] == ["g0c0/vision/2"], "paid once"
    assert run.booked().calls == 3
