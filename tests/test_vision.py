"""A vision model that is shown frames: what it is sent, what is made of its answer, and when it selects."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import llm_cases
import pytest
from llm_cases import TASK, Log, Person, code, search, small_run
from llm_server_cases import Provider, provider
from provider_cases import MODEL, PRICE, FakeBroker, answered, fast_folder, fault, paid_run

from eureka_agent.cli.people import suited_to
from eureka_agent.contract.task import Task, task_from_files
from eureka_agent.critique.vision import Eyes, looked_at
from eureka_agent.errors import EnvironmentMissing, EurekaError, TaskError, UsageError
from eureka_agent.lab.lab import Lab
from eureka_agent.llm import mailbox
from eureka_agent.llm.asking import Asking
from eureka_agent.llm.attempt import attempt
from eureka_agent.llm.ensemble import Ensemble
from eureka_agent.llm.expected import check_room, expected
from eureka_agent.llm.prices import most_input_tokens
from eureka_agent.llm.prompting import Prompts
from eureka_agent.llm.proposer import LLMProposer
from eureka_agent.llm.providers import ensemble_of
from eureka_agent.llm.replay import recorded_settings
from eureka_agent.llm.review import SEEN_LENGTH, vision_of
from eureka_agent.llm.shorten import shortened
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, ModelConfig, Patience
from eureka_agent.population import Brief, Candidate, Judgement, Population, Score, Vision
from eureka_agent.proposers import Sitting, check_flags, make_judge, vision_name
from eureka_agent.report.build import write_report
from eureka_agent.runs.calls import Message, Picture
from eureka_agent.runs.recording import recording_files
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_sandbox.backends.blob_check import check_frames
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.protocol import Finished, Job, Outcome, ScoreSpec, SheetSpec

SEEN = "It hops <b>twice</b> and falls. It never travels."
QUICK = {"population": 3, "racing": "none", "contest_seeds": 1}


def judged(progress: float, seen: str = SEEN) -> str:
    return f"Here it is.\n```json\n{json.dumps({'progress': progress, 'seen': seen})}\n```\n"


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Rewards of rising fitness for two generations of three, and a judge who prefers the first ones."""
    folder = tmp_path / "answers"
    folder.mkdir()
    for generation in (0, 1):
        for slot in range(3):
            name = f"g{generation}c{slot}"
            own = code(name).replace("return torso_x", f"return {3 * generation + slot + 1}.0 * torso_x")
            text = f"# scripted: fitness={3 * generation + slot}\n{own}"
            (folder / f"{name}.md").write_text(f"I pay speed.\n\n```python\n{text}```\n")
    (folder / "g0c0.vision.md").write_text(judged(90))
    (folder / "g0c1.vision.md").write_text("It hops.")
    (folder / "g0c1.vision2.md").write_text(judged(35))
    (folder / "g0c2.vision.md").write_text(judged(10))
    return folder


def vision_task() -> Task:
    text = TASK.files["task.yaml"].decode()
    assert text.count("\ntraining:") == 1
    chosen = text.replace("\ntraining:", "\nfitness: vision\nvision: {goal: The hopper stands on its head.}\ntraining:")
    return task_from_files(TASK.name, TASK.folder, {**TASK.files, "task.yaml": chosen.encode()}, None)


# --------------------------------------------------------------------------------------------------------- in a search


def test_the_best_of_a_generation_are_looked_at_once_and_nothing_is_selected_by_it(
    tmp_path: Path, answers: Path
) -> None:
    model, log, sandbox = f"scripted:{answers}", Log(), ScriptedSandbox()
    with small_run(tmp_path / "run", model, vision_model=model, **QUICK) as run:
        search(run, log, sandbox)
        population = run.population()
        assert {c.id: c.vision.progress for c in population.candidates if c.vision} == {"g0c1": 35, "g0c2": 10}
        assert population["g0c2"].vision == Vision(progress=10, seen=SEEN)
        assert population.best is population["g1c2"], "the metric selects"
        asked = sorted((call.brief, call.purpose) for call in run.calls() if call.purpose.startswith("vision"))
        looked = [("g0c1", "vision"), ("g0c1", "vision2"), ("g0c2", "vision"), ("g1c1", "vision"), ("g1c2", "vision")]
        assert asked == looked
        assert sum(isinstance(job.spec, ScoreSpec) and job.spec.sheet is not None for job in sandbox.started) == 4
        assert f"g0c1: a vision model sees it at 35 of 100: {SEEN}" in log.said
        assert "no judgement of frames: no file g1c2.vision" in log.said
        prompt = (run.folder / "candidates" / "g1c0" / "prompt.md").read_text()
        assert f"at 10 of 100 from baseline to goal. Its words, an opinion and no measurement:\n> {SEEN}\n" in prompt
        question = (run.folder / "candidates" / "g0c2" / "vision.prompt.md").read_text()
        frames = frames_of(run, "g0c2")
        assert f"with a JPEG of 768 × 576 pixels: blobs/{frames}" in question
        page = write_report(run).read_text()
        assert page.count(f"data:image/jpeg;base64,{base64.b64encode(run.blob(frames)).decode()}") == 2
        assert "It hops &lt;b&gt;twice&lt;/b&gt; and falls." in page
        assert "<b>twice" not in page
        calls = len(run.calls())
    resumed = ScriptedSandbox()
    with Run.open(tmp_path / "run") as run:
        search(run, sandbox=resumed)
        assert len(run.calls()) == calls
        assert resumed.started == []
        assert run.population() == population


def test_a_search_killed_between_two_looks_asks_for_the_other_one_only(tmp_path: Path, answers: Path) -> None:
    class Counting:
        def __init__(self, stops_at: str) -> None:
            self.asked: list[str] = []
            self.stops_at = stops_at

        def look(self, candidate: Candidate, frames: Score, task: Task) -> Judgement:
            if candidate.id == self.stops_at:
                raise EurekaError("killed")
            self.asked.append(candidate.id)
            return Judgement(vision=Vision(progress=50, seen=SEEN))

    with small_run(tmp_path / "run", f"scripted:{answers}", **QUICK) as run:
        search(run)
        measured = [run.candidate(f"g0c{slot}") for slot in range(3)]
        first, second = Counting("g0c1"), Counting("")
        with pytest.raises(EurekaError, match="killed"):
            looked_at(Lab(ScriptedSandbox(), run), Eyes(first), measured)
        seen = looked_at(Lab(ScriptedSandbox(), run), Eyes(second), measured)
        assert (first.asked, second.asked) == (["g0c2"], ["g0c1"])
        assert [c.vision is not None for c in seen] == [False, True, True]


def test_where_it_is_the_fitness_what_is_seen_selects_without_contests(
    tmp_path: Path, answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm_cases, "TASK", vision_task())
    for name in ("g1c0", "g1c1"):
        (answers / f"{name}.vision.md").write_text(judged(20))
    model, log = f"scripted:{answers}", Log()
    with small_run(tmp_path / "run", model, vision_model=model, population=3, racing="none") as run:
        assert search(run, log).candidate == "g0c0", "the least by the metric, and the furthest by what is seen"
        population = run.population()
        assert [c.id for c in population.ranked] == ["g0c0", "g0c1", "g1c1", "g1c0", "g0c2", "g1c2"]
        assert population.merit(population["g1c2"]) < population.merit(population["g0c2"]), "not seen: last"
        assert "g0c0" in population["g1c0"].brief.parents
        assert log.waits == []
        assert run.incumbency() is None
        assert "; it is what selects." in population["g0c0"].reflection


class Undrawn(ScriptedSandbox):
    """A machine without OpenGL."""

    def run(self, job: Job, on_progress: Callable[..., None], stop: threading.Event) -> Outcome:
        outcome = super().run(job, on_progress, stop)
        if isinstance(job.spec, ScoreSpec) and job.spec.sheet and isinstance(outcome, Finished):
            told = outcome.result.model_copy(update={"video_note": "no frames: egl: not there"})
            return Finished(told, {}, outcome.seconds)
        return outcome


def test_without_frames_the_search_says_so_once_and_goes_on(tmp_path: Path, answers: Path) -> None:
    model, log, sandbox = f"scripted:{answers}", Log(), Undrawn()
    with small_run(tmp_path / "run", model, vision_model=model, **QUICK) as run:
        assert search(run, log, sandbox).candidate == "g1c2"
        assert log.said.count("no judgement of frames: no frames: egl: not there") == 1
        assert sum(isinstance(job.spec, ScoreSpec) and job.spec.sheet is not None for job in sandbox.started) == 2
        assert not any(call.purpose == "vision" for call in run.calls())


def test_without_frames_a_search_that_selects_by_them_stops(
    tmp_path: Path, answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm_cases, "TASK", vision_task())
    model = f"scripted:{answers}"
    with small_run(tmp_path / "run", model, vision_model=model, **QUICK) as run:
        with pytest.raises(EnvironmentMissing, match="egl: not there; the fitness of hopper_forward is what a vision"):
            search(run, sandbox=Undrawn())
        assert not run.has_decided("g0c0/vision"), "a machine with OpenGL can go on"


def test_a_judge_is_replayed(tmp_path: Path, answers: Path) -> None:
    model, folder = f"scripted:{answers}", tmp_path / "run"
    with small_run(folder, model, vision_model=model, **QUICK) as run:
        search(run)
        population = run.population()
        pictures = {name for name in recording_files(run) if name.endswith(".jpg")}
        assert pictures == {"g0c1.vision.jpg", "g0c1.vision2.jpg", "g0c2.vision.jpg"}
    taken = recorded_settings(str(folder))
    assert taken["vision_model"] == f"replay:{folder}"
    with small_run(tmp_path / "again", f"replay:{folder}", vision_model=taken["vision_model"], **QUICK) as again:
        search(again)
        assert {c.id: c.vision for c in again.population().candidates} == {
            c.id: c.vision for c in population.candidates
        }


def test_a_mailbox_has_the_picture_before_the_prompt_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("POLL_SECONDS", 0.02), ("REST_SECONDS", 0.06)):
        monkeypatch.setattr(mailbox, name, seconds)
    box = tmp_path / "box"
    whole = json.dumps({"progress": 40, "seen": "It hops."})
    said = {"g0c0.vision2": f"<!-- model: me -->\n{whole}"}
    model = vision_name("mailbox", f"mailbox:{box}")
    settings = {**QUICK, "population": 1, "generations": 1, "vision_model": model}
    with small_run(tmp_path / "run", model, **settings) as run, Person(box, said) as person:
        search(run)
        assert person.order == ["g0c0", "g0c0.vision", "g0c0.vision2"], "code is no judgement"
        assert run.candidate("g0c0").vision == Vision(progress=40, seen="It hops.")
        assert run.calls()[-1].model == "me"
        for name in person.order[1:]:
            prompt, picture = box / f"{name}.prompt.md", box / f"{name}.jpg"
            assert f"{name}.jpg, beside this file" in prompt.read_text()
            assert picture.read_bytes() == run.blob(frames_of(run, "g0c0"))
            assert picture.stat().st_mtime_ns <= prompt.stat().st_mtime_ns


def frames_of(run: Run, name: str) -> str:
    training = run.candidate(name).training
    assert training is not None
    score = run.score(f"frames/{training.policy}")
    assert isinstance(score, Score)
    assert score.frames is not None
    return score.frames


# ------------------------------------------------------------------------------------------------------------- answers


def test_an_answer_is_strict_json_of_which_the_words_are_cleaned_and_cut() -> None:
    assert vision_of('{"progress": 12.5, "seen": "It\\u202e hops.\\n\\u001b[31mThen it rests."}') == Vision(
        progress=12.5, seen="It⟨U+202E⟩ hops. ⟨U+001B⟩[31mThen it rests."
    )
    assert len(vision_of(judged(1, "hop " * 1000)).seen) == SEEN_LENGTH


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It hops.", "not valid JSON"),
        ('{"progress": 101, "seen": "x"}', "progress: Input should be less than or equal to 100"),
        ('{"progress": NaN, "seen": "x"}', "NaN is not a finite number"),
        ('{"progress": true, "seen": "x"}', "progress: Input should be a valid number"),
        ('{"progress": 5}', "seen: Field required"),
        ('{"progress": 5, "seen": " \\n"}', "seen: is empty"),
        ('{"progress": 5, "seen": "x", "fitness": 9}', "fitness: is no field"),
        ('{"progress": 5, "progress": 6, "seen": "x"}', "appears twice"),
        (judged(5) + judged(6), "not valid JSON"),
    ],
)
def test_what_is_no_judgement_is_named(text: str, words: str) -> None:
    with pytest.raises(Violation, match=words):
        vision_of(text)


# ----------------------------------------------------------------------------------------------------------- providers

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
    found = look(run, FakeBroker(lambda ask: fault(kind)))
    assert found.blind
    assert found.why_not == f"--vision-model openai/eyes cannot be shown pictures: the provider says {kind}"
    assert run.booked().cost == 0


def test_refusals_to_judge_do_not_pause_the_search(run: Run) -> None:
    broker = FakeBroker(lambda ask: answered(ask, text="I will not.", finish_reason="refusal"))
    for slot in range(4):
        assert look(run, broker, slot) == Judgement(why_not="the model refused to answer")
    assert len(broker.asked) == 4


# ------------------------------------------------------------------------------------------------- tasks and settings


def test_a_scripted_contact_sheet_passes_the_check() -> None:
    spec = ScoreSpec(environment=TASK.environment, seeds=(1,), sheet=SheetSpec())
    outcome = ScriptedSandbox().run(Job(spec, {}), lambda _: None, threading.Event())
    assert isinstance(outcome, Finished)
    check_frames(outcome.blobs["frames.jpg"], SheetSpec())


def test_goal_and_baseline_are_the_tasks_own_sentences_or_what_follows_from_it() -> None:
    asked = Prompts().look("g0c0", Picture(blob="", width=768, height=576), 100, vision_task()).messages[0].content
    assert "Goal, 100: The hopper stands on its head." in asked
    assert TASK.spec.goal == TASK.spec.description
    wrong = TASK.files["task.yaml"].decode() + "vision: {gaol: x}\n"
    with pytest.raises(TaskError, match=r"vision\.gaol: unknown field; did you mean 'goal'"):
        task_from_files("x", TASK.folder, {**TASK.files, "task.yaml": wrong.encode()}, None)


def test_a_task_that_selects_by_what_is_seen_needs_a_model_that_looks_and_nothing_that_goes_by_the_metric() -> None:
    task, seeing = vision_task(), Settings(vision_model="openai/eyes")
    with pytest.raises(
        UsageError, match=r"what a vision model sees: name one that looks \(--vision-model openai/NAME\)"
    ):
        suited_to(task, Settings(), {})
    assert suited_to(task, seeing, {}).racing == "none"
    with pytest.raises(
        UsageError, match=r"--target 3\.0 goes by the metric; the fitness of hopper_forward is what a vision"
    ):
        suited_to(task, seeing.model_copy(update={"target": 3.0}), {})


def test_a_vision_model_goes_by_its_whole_name() -> None:
    assert vision_name("mailbox", "mailbox:/a/box") == "mailbox:/a/box"
    assert vision_name("openai/eyes", "offline") == "openai/eyes"
    for name, words in (("mailbox", "say mailbox:DIR"), ("openai/a,openai/b", "expected one PROVIDER/MODEL")):
        with pytest.raises(UsageError, match=words):
            vision_name(name, "openai/a")
    with pytest.raises(UsageError, match="--vision-model offline: it cannot be shown pictures"):
        make_judge(Settings(vision_model="offline"), TASK)


def test_beside_an_offline_search_a_providers_judge_heeds_what_bounds_calls() -> None:
    check_flags("offline", {"max_cost": 1.0, "base_url": "http://x", "max_output_tokens": 999}, "openai/eyes")
    with pytest.raises(UsageError, match="--critic is for models"):
        check_flags("offline", {"critic": True}, "openai/eyes")
    with pytest.raises(UsageError, match="--max-cost is for models"):
        check_flags("offline", {"max_cost": 1.0}, "mailbox:/a/box")
    ensemble = ensemble_of(Settings(vision_model="openai/eyes", base_url="http://x"))
    assert (ensemble.writers, ensemble.eyes) == ((), ModelConfig(name="openai/eyes", base_url="http://x"))


def test_looks_are_part_of_the_estimate_and_must_fit_the_caps() -> None:
    seeing = Settings(vision_model="openai/gpt-4o", population=8, generations=3)
    two = expected(TASK, seeing)
    assert two.calls == 3 * 2
    assert two.dollars is not None
    assert 0 < two.dollars < 1
    assert expected(vision_task(), seeing).calls == 3 * 8
    with pytest.raises(UsageError, match=r"--max-tokens 30000: one call of openai/gpt-4o can come to \d+ tokens"):
        check_room(TASK, seeing.model_copy(update={"max_tokens": 30_000}))
    check_room(TASK, seeing.model_copy(update={"max_tokens": 100_000}))


def test_settings_of_a_version_that_named_a_vision_model_open() -> None:
    assert Settings.stored('{"vision_model": null}').vision_model is None


def test_whoever_was_not_judged_ranks_below_a_judged_zero() -> None:
    def candidate(slot: int, vision: Vision | None) -> Candidate:
        brief = Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=0)
        score = Score(seeds=(0,), fitness=(float(slot),), success=(False,), lengths=(9,), seconds=1.0)
        return Candidate(brief=brief, code="", score=score, vision=vision)

    born = Population(candidates=(candidate(0, Vision(progress=0, seen="x")), candidate(1, None)))
    assert [c.id for c in born.with_(preference=born.as_seen, by_preference=True).ranked] == ["g0c0", "g0c1"]
