"""Reviewing in a real Chromium: opinions, films, the saved file that a search heeds, and the page of a live search."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from llm_cases import Log
from people_cases import Author, authored, prompt, prompted, reward, scripted_run
from report_cases import HOSTILE, filmed, innocent
from rich.console import Console
from test_report_browser import AXE, OUTLINE
from test_report_browser import browser as browser

from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.report.build import render
from eureka_agent.report.facts import gather
from eureka_agent.review.record import Review, check_review, read_review
from eureka_agent.review.server import serving
from eureka_agent.review.steering import steering_of
from eureka_agent.runs.inbox import Pause, Reviewed, Taken, letters, post
from eureka_agent.runs.progress import kept
from eureka_agent.runs.run import Run
from eureka_agent.strategies.incumbent import Incumbent
from eureka_agent.terminal.board import Board, board_of
from eureka_agent.terminal.display import PlainLines
from eureka_sandbox.backends.scripted import ScriptedSandbox

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EDITED = reward("by hand", 9.5)


class Desk:
    """A run of one generation of three, its page with films, and a browser."""

    def __init__(self, root: Path, browser: Browser) -> None:
        self.root, self.browser = root, browser
        self.contexts: list[Any] = []
        self.complaints: list[str] = []
        self.folder = root / "run"
        self.file = root / "page.html"

    def draw(self) -> None:
        with Run.open(self.folder, read_only=True) as run:
            self.file.write_text(render(filmed(gather(run))), encoding="utf-8")

    def open(self, url: str = "", **options: Any) -> Page:
        context = self.browser.new_context(viewport={"width": 1100, "height": 900}, **options)
        self.contexts.append(context)
        page: Page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.goto(url or self.file.as_uri())
        return page

    def card(self, page: Page, name: str) -> Any:
        page.evaluate("id => { document.querySelector(`details.card[data-id=${id}]`).open = true; }", name)
        card = page.locator(f"details.card[data-id={name}]")
        card.locator(".opinion").wait_for()
        return card


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    """Where a run and its page lie that the tests copy."""
    root = tmp_path_factory.mktemp("model")
    with scripted_run(root, population=3, generations=1) as run:
        prompted(run)
    Desk(root, browser).draw()
    return root


@pytest.fixture
def desk(model: Path, tmp_path: Path, browser: Browser) -> Iterator[Desk]:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    made = Desk(tmp_path, browser)
    yield made
    for context in made.contexts:
        context.close()
    assert made.complaints == []


def test_a_review_is_written_saved_and_heeded_by_the_search(desk: Desk) -> None:
    page = desk.open()
    first, second = desk.card(page, "g0c0"), desk.card(page, "g0c1")
    first.get_by_label("reject").check()
    assert "rejected" in (first.get_attribute("class") or "")
    second.get_by_label("Comment for the next authors").fill("lift the foot <b>higher</b>")
    second.get_by_role("button", name="Edit the code").click()
    editor = second.get_by_label("The code as you would have it")
    with Run.open(desk.folder, read_only=True) as run:
        assert editor.input_value().strip() == run.population()["g0c1"].code.strip()
    editor.fill(EDITED)
    page.get_by_label("About the search as a whole").fill("no falls")
    duel = page.locator("[data-duel]")
    names = duel.locator("[data-name]").all_inner_texts()
    duel.get_by_role("button", name=f"{names[1]} is better").click()
    assert sorted(duel.locator("[data-name]").all_inner_texts()) != sorted(names), "another pair"
    which = duel.locator("[data-which]").all_inner_texts()
    assert all(text.startswith("Median episode of its one training, ") for text in which), which
    assert page.locator("[data-tally]").inner_text() == "Not sent yet: 2 opinions, 1 comparison, feedback."
    with page.expect_download() as download:
        page.get_by_role("button", name="Save review").click()
    assert download.value.suggested_filename == "review.json"
    saved = desk.root / "review.json"
    download.value.save_as(saved)
    review = read_review(saved)
    assert review.comparisons == [(names[1], names[0])]
    with Run.open(desk.folder) as run:
        check_review(review, run)
        run.amend({"generations": 2})
        post(run.folder, Reviewed(review=review))
        population, log = prompted(run)
        assert any(line.startswith("review: 1 rejected (g0c0), 1 edit") for line in log.said)
        child = population["g1c3"]
        assert (child.brief.operator, child.brief.parents) == ("edit", ("g0c1",))
        assert child.code.strip() == EDITED.strip()
        assert not any("g0c0" in c.brief.parents for c in population.born(1))
        assert "> lift the foot <b>higher</b>" in prompt(run, "g1c0")
        assert "> no falls" in prompt(run, "g1c0")
    desk.draw()
    after = desk.open()
    assert "Rejected in review." in after.locator("details.card[data-id=g0c0] .said").text_content()
    assert "lift the foot <b>higher</b>" in after.locator("details.card[data-id=g0c1] .said").text_content()
    assert "no falls" in after.locator("#review .words").inner_text()
    assert after.locator("#review tbody th").all_inner_texts() == [names[1], names[0]]


def test_what_was_written_survives_a_reload_until_it_is_cleared(desk: Desk) -> None:
    page = desk.open()
    card = desk.card(page, "g0c2")
    card.get_by_label("approve").check()
    card.get_by_role("button", name="Edit the code").click()
    card.get_by_label("The code as you would have it").fill("x = 1")
    page.reload()
    card = desk.card(page, "g0c2")
    assert card.get_by_label("approve").is_checked()
    assert card.get_by_label("The code as you would have it").input_value() == "x = 1"
    card.get_by_role("button", name="Drop the edit").click()
    assert not card.get_by_label("The code as you would have it").is_visible()
    assert page.locator("[data-tally]").inner_text() == "Not sent yet: 1 opinion."
    other = desk.card(page, "g0c0")
    other.get_by_role("button", name="Edit the code").click()
    editor = other.get_by_label("The code as you would have it")
    before = editor.input_value()
    editor.fill("x")
    assert page.locator("[data-tally]").inner_text() == "Not sent yet: 2 opinions."
    editor.fill(before)
    assert page.locator("[data-tally]").inner_text() == "Not sent yet: 1 opinion.", "the same code is no edit"
    page.get_by_role("button", name="Clear all").click()
    assert page.locator("[data-tally]").inner_text() == "Nothing to send yet."
    page.reload()
    assert not desk.card(page, "g0c2").get_by_label("approve").is_checked()


def test_pairs_can_be_skipped_undone_and_come_to_an_end_and_a_best_and_a_worst_picked(desk: Desk) -> None:
    page = desk.open()
    duel = page.locator("[data-duel]")
    skip, undo = duel.get_by_role("button", name="Cannot tell"), duel.get_by_role("button", name="Undo the last")
    assert undo.is_disabled()
    seen = set()
    for _ in range(3):
        seen.add(" ".join(sorted(duel.locator("[data-name]").all_inner_texts())))
        skip.click()
    assert len(seen) == 3, "every pair once"
    assert skip.is_disabled()
    page.reload()
    page.locator("[data-prefer='0']").click()
    undo.click()
    assert page.locator("[data-tally]").inner_text() == "Nothing to send yet."
    assert page.locator("[data-duel] video").first.evaluate("v => v.muted && v.src.startsWith('data:video/mp4')")
    picks = page.locator("[data-picks]")
    picks.scroll_into_view_if_needed()
    keep = picks.get_by_role("button", name="Keep this choice")
    keep.click()
    assert "Choose a best or a worst" in page.locator("[data-outcome]").inner_text()
    picks.get_by_label("g0c2 is the best").check()
    picks.get_by_label("g0c0 is the worst").check()
    keep.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save review").click()
    saved = desk.root / "picks.json"
    download.value.save_as(saved)
    assert set(read_review(saved).comparisons) == {("g0c2", "g0c0"), ("g0c2", "g0c1"), ("g0c1", "g0c0")}
    with Run.open(desk.folder, read_only=True) as run:
        check_review(read_review(saved), run)
    assert picks.locator("video").count() == 3


def test_nothing_moves_under_the_pointer_when_films_come_near(desk: Desk) -> None:
    page = desk.open()
    tops = "() => [...document.querySelectorAll('.sheet button')].map(b => b.getBoundingClientRect().top + scrollY)"
    before = page.evaluate(tops)
    for place in ("[data-duel]", "[data-picks]"):
        page.locator(place).scroll_into_view_if_needed()
        figures, read = f"[...document.querySelectorAll('{place} figure')]", "f.querySelector('video')?.readyState > 0"
        page.wait_for_function(f"() => {figures}.every(f => {read})")
    assert page.evaluate(tops) == before


def test_nothing_of_a_review_keeps_people_out_in_either_theme_or_at_400_pixels(desk: Desk) -> None:
    page = desk.open(bypass_csp=True)
    card = desk.card(page, "g0c0")
    card.get_by_label("reject").check()
    card.get_by_role("button", name="Edit the code").click()
    page.evaluate(AXE.read_text("utf-8"))
    context = "{include: [['#review'], ['.opinion'], ['nav']]}"
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        found = page.evaluate(f"axe.run({context}).then(r => r.violations.map(v => [v.id, v.nodes[0].html]))")
        assert found == []
    page.set_viewport_size({"width": 400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_the_keyboard_alone_is_enough_for_a_review(desk: Desk) -> None:
    page = desk.open()
    desk.card(page, "g0c0").get_by_label("none").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.type("fine")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.field") == "edit"
    page.locator("[data-prefer='1']").focus()
    page.keyboard.press("Enter")
    assert page.locator("[data-tally]").inner_text() == "Not sent yet: 1 opinion, 1 comparison."


def test_without_its_script_the_page_offers_no_form(desk: Desk) -> None:
    page = desk.open(java_script_enabled=False)
    assert not page.locator("#review").is_visible()
    assert not page.locator("nav a[href='#review']").is_visible()
    assert page.locator("#reward .code").first.is_visible()


def test_hostile_words_stay_words(desk: Desk) -> None:
    outlines = []
    for words in (HOSTILE, innocent(HOSTILE)):
        with Run.open(desk.folder, read_only=True) as run:
            facts = filmed(gather(run))
        review = {"opinions": [{"candidate": "g0c0", "code": "0" * 64, "verdict": "reject", "comment": words}]}
        bound = {"run": "0" * 32, "generations": 0, "population": "0" * 64, "feedback": words}
        message = Reviewed(review=Review.model_validate({**bound, **review}))
        steering = steering_of([Taken(generation=0, files=(), messages=(message,))])
        settings = facts.settings.model_copy(update={"model": "openai/x"})
        desk.file.write_text(render(replace(facts, steering=steering, settings=settings)), encoding="utf-8")
        page = desk.open()
        card = desk.card(page, "g0c0")
        card.get_by_label("Comment for the next authors").fill(words.replace("\x00", ""))
        page.get_by_label("About the search as a whole").fill(words.replace("\x00", ""))
        for place, films in (("[data-duel]", 2), ("[data-picks]", 3)):  # which are laid when somebody comes near
            page.locator(place).scroll_into_view_if_needed()
            page.locator(f"{place} video[src]").nth(films - 1).wait_for()
        outlines.append(page.evaluate(OUTLINE))
        assert "owned" not in page.title()
        assert card.locator(".said").count() == 1
        assert page.locator(".told").count() > 0
    assert outlines[0] == outlines[1]


# ----------------------------------------------------------------------------------------------------------------- live


def test_a_served_page_sends_to_the_search_and_says_what_is_wrong(desk: Desk) -> None:
    with serving(desk.folder) as url:
        page = desk.open(url)
        page.get_by_text("The search is not running").wait_for()
        card = desk.card(page, "g0c0")
        card.get_by_role("button", name="Edit the code").click()
        card.get_by_label("The code as you would have it").fill("def compute_reward(nothing):\n    return 1\n")
        page.get_by_role("button", name="Send to the search").click()
        outcome = page.locator("[data-outcome]")
        page.get_by_text("Not sent: g0c0, edit line 1: unknown state variable 'nothing'").wait_for()
        assert letters(desk.folder)[0] == []
        card.get_by_label("The code as you would have it").fill(EDITED)
        page.get_by_role("button", name="Send to the search").click()
        page.get_by_text("Your review (1 edit)").wait_for()
        assert "when the search is resumed" in outcome.inner_text()
        assert page.locator("[data-tally]").inner_text() == "Nothing to send yet."
        (letter,) = letters(desk.folder)[0]
        assert isinstance(letter.message, Reviewed)
    desk.complaints[:] = [said for said in desk.complaints if "400" not in said and "ERR_" not in said]


def test_a_live_page_shows_a_candidate_that_has_just_ended_and_pauses_the_search(desk: Desk) -> None:
    from eureka_agent.terminal.board import Board, Row
    from eureka_sandbox.protocol import Progress

    board = Board(task="hopper_forward", unit="m", generations=2, trainings=4, timesteps=1000, generation=2)
    board.rows = {"g1c0": Row("g1c0", "mutate g0c1")}
    shown, ended = threading.Event(), threading.Event()

    class Shown(Log):
        def finished(self, candidate: Any) -> None:
            if candidate.id == "g1c0":
                ended.set()
                assert shown.wait(60)

    with Run.open(desk.folder) as run, kept(board, desk.folder):
        run.amend({"generations": 2, "jobs": 1})
        board.progressed("g1c0", "training", point(250, 1.0, Progress))
        with serving(desk.folder) as url:
            page = desk.open(url)
            page.get_by_text("generation 2 of 2").wait_for()
            row = page.locator("#live tbody tr")
            assert row.locator("th").inner_text() == "g1c0"
            assert row.locator("progress").evaluate("bar => bar.value") == 0.25
            assert row.locator("svg").count() == 0
            board.progressed("g1c0", "training", point(500, 7.0, Progress))
            row.locator("svg.spark").wait_for()
            assert row.locator("svg path").get_attribute("d").startswith("M2.0 22.0L")
            assert page.locator("details.card[data-id=g1c0]").count() == 0
            search = threading.Thread(target=authored, args=(run, Author(), Shown()))
            search.start()
            try:
                assert ended.wait(60)
                page.get_by_role("button", name="Show 1 new: g1c0").click()
                page.locator("details.card[data-id=g1c0]").wait_for()
                page.get_by_role("button", name="Pause after this generation").click()
                page.get_by_text("The search will wait before the next generation.").first.wait_for()
                assert Pause() in [letter.message for letter in letters(desk.folder)[0]]
                page.get_by_role("button", name="Go on").click()
                page.get_by_text("The search goes on.").first.wait_for()
            finally:
                shown.set()
                search.join(60)
            page.get_by_role("button", name="Show 2 new: g1c1, g1c2").wait_for()
    desk.complaints[:] = [said for said in desk.complaints if "ERR_" not in said]


@pytest.mark.parametrize("moment", ["trains", "waits"])
def test_a_click_ends_the_search_with_its_generation_and_it_compares(desk: Desk, moment: str) -> None:
    told: list[str] = []
    clicked, ended = threading.Event(), threading.Event()

    class Shown(PlainLines):
        def finished(self, candidate: Any) -> None:
            super().finished(candidate)
            if candidate.brief.generation == 1:
                ended.set()
                assert clicked.wait(60)

    def search(run: Run, board: Board) -> None:
        watcher = Shown(board, Console(file=io.StringIO()))
        told.append(evolve(run, Author(), Incumbent(), Lab(ScriptedSandbox(), run, watcher=watcher)).candidate)

    with serving(desk.folder) as url:
        with Run.open(desk.folder) as run:
            run.amend({"generations": 4, "jobs": 1})
            if moment == "waits":
                post(run.folder, Pause())
            board = board_of(run)
            with kept(board, run.folder):
                page = desk.open(url)
                head = page.locator("#live [data-live=head]")
                thread = threading.Thread(target=search, args=(run, board))
                thread.start()
                try:
                    if moment == "waits":
                        head.filter(has_text="paused by a person").wait_for()
                    else:
                        assert ended.wait(60)
                        head.filter(has_text="generation 2 of 4").wait_for()
                    page.get_by_role("button", name="Stop after this generation").click()
                    said = "The search will end with this generation, and compare what there is."
                    page.locator("#live [data-live=said]", has_text=said).wait_for(state="attached")
                finally:
                    clicked.set()
                    thread.join(60)
            assert run.generations == run.settings.generations == (1 if moment == "waits" else 2)
            comparison = run.comparison()
            assert comparison is not None
            assert told == [comparison.candidate]
            assert letters(run.folder)[0] == []
        page.get_by_text("The search has ended").wait_for()
        assert page.get_by_role("button", name="Stop after this generation").is_disabled()
    desk.complaints[:] = [said for said in desk.complaints if "ERR_" not in said]


def point(step: int, value: float, kind: Any) -> Any:
    return kind(timesteps=step, total_timesteps=1000, steps_per_second=100.0, episode_return=value)


def test_a_live_page_keeps_nobody_out_and_hostile_news_stay_text(desk: Desk) -> None:
    from eureka_agent.terminal.board import Board, Row

    board = Board(task="t", unit="m", generations=2, trainings=4, timesteps=1000, generation=1)
    board.rows = {"a": Row(HOSTILE, HOSTILE, "failed", trouble=HOSTILE), "b": Row("g0c1", "sample", "training")}
    board.said.append(HOSTILE)
    with Run.open(desk.folder), kept(board, desk.folder), serving(desk.folder) as url:
        page = desk.open(url, bypass_csp=True)
        page.locator("#live tbody tr").nth(1).wait_for()
        assert page.locator("#live img, #live script").count() == 0
        assert "owned" not in page.title()
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate("axe.run('#live').then(r => r.violations.map(v => [v.id, v.nodes[0].html]))")
        assert found == []
    desk.complaints[:] = []  # without its policy the page asks for an icon, which nobody has
