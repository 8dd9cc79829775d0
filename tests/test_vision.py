"""A vision model that is shown frames: what it is sent, what is made of its answer, and when it selects."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path

import llm_cases
import pytest
from llm_cases import TASK, Log, Person, code, put, search, small_run

from eureka_agent.cli.people import suited_to
from eureka_agent.contract.task import Task, task_from_files
from eureka_agent.critique.vision import Eyes, looked_at
from eureka_agent.errors import EnvironmentMissing, EurekaError, Paused, TaskError, UsageError
from eureka_agent.lab.lab import Lab
from eureka_agent.llm import mailbox
from eureka_agent.llm.expected import check_room, expected
from eureka_agent.llm.prompting import Prompts
from eureka_agent.llm.providers import ensemble_of
from eureka_agent.llm.replay import recorded_settings
from eureka_agent.llm.review import SEEN_LENGTH, vision_of
from eureka_agent.llm.wire import ModelConfig
from eureka_agent.population import Brief, Candidate, Judgement, Population, Score, Vision
from eureka_agent.proposers import check_flags, make_judge, vision_name
from eureka_agent.report.build import write_report
from eureka_agent.runs.calls import Picture
from eureka_agent.runs.recording import recording_files
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_sandbox.backends.blob_check import check_frames
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.protocol import Failed, Failure, Finished, Job, Outcome, ScoreSpec, SheetSpec, Verdict

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
        with pytest.raises(EnvironmentMissing, match="egl: not there"):
            search(run, sandbox=Undrawn())
        trained = {c.id: c.training for c in run.population(partial=True).candidates}
    resumed = ScriptedSandbox()
    with Run.open(tmp_path / "run") as run:
        assert search(run, sandbox=resumed).candidate == "g0c0", "a machine with OpenGL goes on"
        assert frames_of(run, "g0c0")
        assert {name: run.population()[name].training for name in trained} == trained
        sheets = [job for job in resumed.started if isinstance(job.spec, ScoreSpec) and job.spec.sheet]
        assert len(sheets) == 6, "one each, of both generations"


class Unboxed(ScriptedSandbox):
    """A machine on which every box that draws fails."""

    def run(self, job: Job, on_progress: Callable[..., None], stop: threading.Event) -> Outcome:
        if isinstance(job.spec, ScoreSpec) and job.spec.sheet:
            return Failed(Failure(verdict=Verdict.CODE_ERROR, message="the sheet is torn"), 1.0)
        return super().run(job, on_progress, stop)


@pytest.mark.parametrize(
    ("sandbox", "told"), [(ScriptedSandbox, "its answer is of no use"), (Unboxed, "sheet is torn")]
)
def test_where_it_is_the_fitness_and_nobody_was_ever_judged_a_person_decides_and_a_resume_asks_again(
    tmp_path: Path, answers: Path, monkeypatch: pytest.MonkeyPatch, sandbox: type[ScriptedSandbox], told: str
) -> None:
    monkeypatch.setattr(llm_cases, "TASK", vision_task())
    good = {path: path.read_text() for path in answers.glob("*.vision*.md")}
    for slot in range(3):
        for purpose in ("vision", "vision2"):
            (answers / f"g0c{slot}.{purpose}.md").write_text("It hops.")
    model = f"scripted:{answers}"
    with small_run(tmp_path / "run", model, vision_model=model, **QUICK) as run:
        with pytest.raises(Paused, match=f"no judgement of any of 3 candidates, last: .*{told}.*--resume"):
            search(run, sandbox=sandbox())
        assert run.generations == 0
    for path, text in good.items():
        path.write_text(text)
    with Run.open(tmp_path / "run") as run:
        assert search(run).candidate == "g0c0"
        population = run.population()
        assert {c.id: c.vision.progress for c in population.candidates if c.vision} == {
            "g0c0": 90,
            "g0c1": 35,
            "g0c2": 10,
        }, "the second generation has no judgement, and comes last"
        assert run.generations == 2


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"progress": 120, "seen": "x"}', "progress: Input should be less than or equal to 100"),
        ('{"progress": 12, "seen": "x", "fitness": 9}', "fitness: is no field"),
    ],
)
def test_a_mailbox_says_what_is_wrong_with_a_judgement_that_it_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    for name, seconds in (("POLL_SECONDS", 0.02), ("REST_SECONDS", 0.06), ("PATIENCE_SECONDS", 0.1)):
        monkeypatch.setattr(mailbox, name, seconds)
    box = tmp_path / "box"

    class Mending(Log):
        def stage(self, text: str) -> None:
            super().stage(text)
            if "g0c0.vision.answer.md is not read yet" in text:
                put(box / "g0c0.vision.answer.md", json.dumps({"progress": 40, "seen": "It hops."}))

    log, model = Mending(), vision_name("mailbox", f"mailbox:{box}")
    settings = {**QUICK, "population": 1, "generations": 1, "vision_model": model}
    with small_run(tmp_path / "run", model, **settings) as run, Person(box, {"g0c0.vision": text}):
        search(run, log)
        assert run.candidate("g0c0").vision == Vision(progress=40, seen="It hops.")
    complaint = next(said for said in log.said if "is not read yet" in said)
    assert words in complaint
    assert "compute_reward" not in complaint


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
