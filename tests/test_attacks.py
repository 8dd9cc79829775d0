"""The hostile corpus against every wall: all contained, everything benign works. And against no wall: all gets out."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from threading import Event

import pytest
from attack_cases import answered
from test_report import candidate, facts

from eureka_agent.contract.reward_code import check_reward_code
from eureka_agent.contract.task import load_task
from eureka_agent.critique.reflection import reflection
from eureka_agent.llm.completion import Completion
from eureka_agent.llm.prompting import Prompts
from eureka_agent.llm.proposer import LLMProposer
from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.report.build import render
from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.frames import Answer
from eureka_sandbox.backends.process_table import Process
from eureka_sandbox.hostile import Case, load_corpus, run_suite
from eureka_sandbox.hostile.bait import Bait
from eureka_sandbox.hostile.corpus import parse_expected
from eureka_sandbox.hostile.suite import unexpected
from eureka_sandbox.protocol import Failed, Failure, Job, Outcome, Progress, Verdict

CORPUS = load_corpus()
CASES = {case.key: case for category in CORPUS.values() for case in category.cases}
HARMLESS = {
    key: case for key, case in CASES.items() if case.category in "HIJK" or (case.category == "G" and case.in_depth)
}
"""Cases that need no wall to be tried: what they break is themselves, or what the host makes of it."""
TASK = load_task("inverted_pendulum_balance")
IN_DEPTH = bool(os.environ.get("EUREKA_ATTACKS_IN_DEPTH"))


# --------------------------------------------------------------------------------------------------------- the corpus


def test_the_corpus_has_distinct_cases_in_every_category_and_each_says_what_it_tries() -> None:
    assert "".join(CORPUS) == "ABCDEFGHIJK"
    assert len({case.source for case in CASES.values()}) == len(CASES) >= 80
    assert all(len(category.cases) >= 6 for category in CORPUS.values())
    assert all(case.intent.endswith(".") and 10 < len(case.intent) < 150 for case in CASES.values())
    assert all(category.control.expected == "runs" for category in CORPUS.values())


def test_an_expectation_names_known_ends_and_their_lines() -> None:
    assert parse_expected("runs, code error at 7") == (("runs", None), ("code error", 7))
    with pytest.raises(ValueError, match="'crash' is no end of a box; there are: runs, code error"):
        parse_expected("crash")


def test_an_unknown_category_and_the_whole_corpus_without_a_wall_are_refused() -> None:
    with pytest.raises(ValueError, match="no category 'X'; there are A, B"):
        run_suite(make_sandbox("none"), "X")
    with pytest.raises(ValueError, match="without a wall"):
        run_suite(make_sandbox("none"))


# --------------------------------------------------------------------------------------------------------- the walls


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[], list[Process]]) -> Iterator[None]:
    """Boxes and bait lie in a folder of the test's own, which must be empty in the end; no process is left."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
    assert started() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("backend", ["embedded", "docker"])
def test_everything_hostile_is_contained_and_everything_benign_works(
    backend: str, request: pytest.FixtureRequest
) -> None:
    categories = set(CORPUS)
    if backend == "docker":
        request.getfixturevalue("docker_engine")
    if backend != "docker" or not IN_DEPTH:
        categories -= {"F"}  # all of it runs in test_tamper.py, and what it tampers with is the same in every box
    report = run_suite(make_sandbox(backend), categories, in_depth=IN_DEPTH)
    assert [str(leak) for leak in report.leaks] == []
    assert {control.case.category for control in report.controls} == categories
    assert report.contained == report.tried >= 80
    assert report.holds


@pytest.mark.slow
@pytest.mark.usefixtures("clean")
def test_without_a_wall_the_same_attacks_get_out_and_are_reported() -> None:
    report = run_suite(make_sandbox("none"), bare=True)
    assert [str(control) for control in report.controls if not control.contained] == []
    assert [str(finding) for finding in report.findings if finding.contained] == []
    assert report.tried >= 40
    assert {leak.case.category for leak in report.leaks} == set("ABCE")
    reasons = {leak.case.key: leak.reason for leak in report.leaks}
    assert reasons["A.secret_file"] == "read the secret, and proved it"
    assert reasons["B.truncate"] == "changed the user's canary"
    assert reasons["C.abstract_socket"].startswith("reached the host's abstract socket")
    assert reasons["E.kill"] == "ended a process of the user (-9)"


class BrokenBox:
    """A sandbox in which nothing works, which is why nothing gets out."""

    name = "broken"

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: Event) -> Outcome:
        return Failed(Failure(verdict=Verdict.BAD_RESULT, message="the box ended without a result"), 0.1)


def test_a_box_in_which_nothing_works_contains_nothing() -> None:
    report = run_suite(BrokenBox(), "AFGK")  # type: ignore[arg-type]
    assert (report.contained, report.holds) == (0, False)
    assert len(report.controls) == 4
    assert str(report).startswith("0 of ")
    reasons = {finding.case.key: finding.reason for finding in report.findings}
    assert reasons["G.deep_json"] == "the benign reward of its category failed, so this proves nothing"


def test_damage_to_the_bait_is_seen_whatever_the_box_says() -> None:
    with Bait() as bait:
        Path(str(bait.box["canary"])).chmod(0o644)
        os.kill(int(str(bait.box["sentinel"])), 19)
        (Path(tempfile.gettempdir()) / bait.tag).touch()
        found = bait.damage()
    assert "changed the user's canary" in found
    assert f"left a file in {tempfile.gettempdir()}" in found
    with Bait() as untouched:
        assert untouched.damage() == []


# ------------------------------------------------------------------------------------------- what the host makes of it


@pytest.mark.parametrize("key", HARMLESS)
def test_a_broken_or_talkative_reward_ends_with_its_verdict_and_its_line(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = answered(HARMLESS[key], tmp_path, monkeypatch)
    assert unexpected(HARMLESS[key], ended if isinstance(ended, Failure) else None) == ""


INJECTIONS = [case for case in CORPUS["H"].cases if case.name != "claims_in_comments"]


def failed(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Candidate:
    """A candidate as the search keeps it after such a box."""
    ended = answered(case, folder, monkeypatch)
    failure = ended if isinstance(ended, Failure) else None
    brief = Brief(id="g0c0", generation=0, slot=0, operator="sample", seed=0)
    return Candidate(brief=brief, code=case.source.decode(), failure=failure)


@pytest.mark.parametrize("case", INJECTIONS, ids=lambda case: case.name)
def test_no_word_that_a_box_says_reaches_a_prompt(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = failed(case, tmp_path, monkeypatch)
    population = Population(candidates=(bad,))
    bad = bad.model_copy(update={"reflection": reflection(bad, population, TASK, {})} if bad.failure else {})
    population = Population(candidates=(bad,))
    brief = Brief(id="g1c0", generation=1, slot=0, operator="sample", seed=0)
    request = Prompts().compose(brief, TASK, population)
    assert "IGNORE" not in "\n".join(message.content for message in request.messages)


class Asked:
    """A model that answers with one reward and keeps what it was asked."""

    free = True

    def __init__(self, code: str) -> None:
        self.answer = f"````python\n{code}\n````\n"
        self.prompts: list[str] = []

    def complete(self, request: object) -> Completion:
        self.prompts.append(request.messages[-1].content)  # type: ignore[attr-defined]
        return Completion(text=self.answer, finish_reason="stop", model="asked")


@pytest.mark.parametrize("case", INJECTIONS, ids=lambda case: case.name)
def test_no_word_that_a_box_says_reaches_the_turn_of_repair(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = answered(case, tmp_path, monkeypatch)
    source = case.source.decode()
    stopped = check_reward_code(source, TASK.variables) or not isinstance(ended, Answer)
    model = Asked(source)
    proposer = LLMProposer(model, Prompts(), smoke=lambda code: ended.result if isinstance(ended, Answer) else ended)  # type: ignore[arg-type, return-value]
    brief = Brief(id="g0c0", generation=0, slot=0, operator="sample", seed=0)
    proposer.propose(brief, TASK, Population(candidates=()))
    assert len(model.prompts) == (2 if stopped else 1)
    assert "IGNORE" not in "\n".join(model.prompts)


def test_code_that_closes_its_own_block_stays_inside_it() -> None:
    code = CASES["H.claims_in_comments"].source.decode()
    parent = candidate(0, 1.0, code=code)
    brief = Brief(id="g1c0", generation=1, slot=0, operator="mutate", parents=("g0c0",), seed=0)
    request = Prompts().compose(brief, TASK, Population(candidates=(parent,)))
    before, fence, after = request.messages[-1].content.partition("````python\n")
    inside, _, outside = after.partition("\n````\n")
    assert fence
    assert "9999" in inside
    assert "9999" not in before + outside
    assert "the search is over" not in before + outside


@pytest.mark.parametrize("case", INJECTIONS, ids=lambda case: case.name)
def test_a_failure_is_one_printable_line_on_the_terminal(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = failed(case, tmp_path, monkeypatch)
    if bad.failure is None:
        return
    text = str(bad.failure)
    assert text.isprintable()
    assert len(text) < 600


# --------------------------------------------------------------------------------------------------------- the report


DIGEST = re.compile(r"\A[0-9a-f]{64}\Z")


class Skeleton(HTMLParser):
    """Every element with its attributes, without the text between; what is a digest of the code differs with it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[tuple[str, str], ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not (tag == "span" and all(name == "class" for name, _ in attrs)):  # the highlighter's, one per word of code
            self.found.append((tag, tuple((name, DIGEST.sub("a digest", value or "")) for name, value in attrs)))


def skeleton(code: str, message: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Of a report whose best candidate has this code and whose other failed with this message."""
    page = render(facts(candidate(0, 3.0, code=code), candidate(1, None, code=code, text=message), human=2.0))
    parser = Skeleton()
    parser.feed(page)
    return parser.found


@pytest.mark.parametrize("case", [*CORPUS["I"].cases, CASES["H.terminal_sequences"]], ids=lambda case: case.name)
def test_a_hostile_reward_adds_no_element_and_no_attribute_to_the_report(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = answered(case, tmp_path, monkeypatch)
    message = ended.message if isinstance(ended, Failure) else "a message"
    innocent = skeleton(CORPUS["I"].control.source.decode(), "a message")
    assert skeleton(case.source.decode(), message) == innocent
