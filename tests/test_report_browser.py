"""The report in a real Chromium, from a file: what a person sees, clicks and hears read out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from golden_pictures import decoded, difference
from report_cases import HOSTILE, filmed, half_done, innocent, looked_into, recorded_search, tainted
from test_compare import run_of
from test_report import candidate, facts

from eureka_agent.report.build import render
from eureka_agent.report.compare import render as render_comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parent / "data" / "axe.min.js"
NAMES = ("chromium", "chromium-browser", "google-chrome")
PAGES = ["finished", "half done", "nothing finished", "just begun", "looked into", "hostile", "compare"]
TOLERANCES = {
    ("top", 400): 0.08,
    ("top", 1200): 0.055,
    ("films", 400): 0.15,
    ("films", 1200): 0.1,
    ("candidates", 400): 0.065,
    ("candidates", 1200): 0.03,
}
"""By place and width: with a serif font the pictures differ by less, without the style by more."""
OUTLINE = "[...document.querySelectorAll('*')].map(e => e.tagName + ' ' + e.getAttributeNames().join(' '))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Without, the tests are skipped, or fail if `EUREKA_REQUIRE_CHROMIUM` is set."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        reason = "needs Chromium (Debian: chromium) and pip install playwright"
        if os.environ.get("EUREKA_REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own sandbox refuses to start as root
        with playwright.chromium.launch(executable_path=path, args=root) as chromium:
            yield chromium


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports as files."""
    folder = tmp_path_factory.mktemp("reports")
    small = [candidate(0, 3.0), candidate(1, 2.0), candidate(0, 9.0, generation=1)]
    runs = {
        "finished": recorded_search(folder / "run"),
        "half done": half_done(),
        "nothing finished": facts(candidate(0, None), candidate(1, None)),
        "just begun": facts(),
        "looked into": looked_into(filmed(facts(*small, human=4.0))),
        "hostile": tainted(HOSTILE),
        "innocent": tainted(innocent(HOSTILE)),
    }
    texts = {name: render(run) for name, run in runs.items()}
    texts["served"] = render(runs["finished"], served=True)
    texts["compare"] = render_comparison(
        [run_of(), run_of("b", fitness=2.0), run_of("c", task="x", over_human=None)], folder
    )
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@dataclass
class Opened:
    """A page that was opened, and what it did on the way."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Errors, and what the policy refused."""


class Reader:
    """Opens pages and closes them after the test."""

    def __init__(self, browser: Browser, pages: dict[str, Path]) -> None:
        self._browser = browser
        self._pages = pages
        self._contexts: list[Any] = []

    def open(self, name: str, width: int = 1280, theme: Any = "light", anchor: str = "", **options: Any) -> Opened:
        size = {"width": width, "height": 900}
        context = self._browser.new_context(viewport=size, color_scheme=theme, **options)  # type: ignore[arg-type]
        self._contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("dialog", lambda dialog: opened.complaints.append(f"dialog {dialog.message}"))
        opened.page.goto(self._pages[name].as_uri() + anchor)
        return opened

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def reader(browser: Browser, pages: dict[str, Path]) -> Iterator[Reader]:
    found = Reader(browser, pages)
    yield found
    found.close()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_opens_from_a_file_asks_nobody_for_anything_and_does_not_jump(reader: Reader, name: str) -> None:
    opened = reader.open(name)
    page = opened.page
    assert [url for url in opened.requests if not url.startswith("data:")] == [page.url]
    assert opened.complaints == []
    assert page.locator("h1").is_visible()
    assert page.evaluate("getComputedStyle(document.body).margin") == "0px", "the policy let the style in"
    shifts = "new Promise(done => new PerformanceObserver(l => done(l.getEntries().map(e => e.value)))"
    shifts += ".observe({type: 'layout-shift', buffered: true})).then(v => v.reduce((a, b) => a + b, 0))"
    moved = page.evaluate(f"Promise.race([{shifts}, new Promise(done => setTimeout(() => done(0), 300))])")
    assert moved < 0.01
    empty = "[...document.querySelectorAll('section')].filter(s => s.children.length < 2).map(s => s.id)"
    assert page.evaluate(empty) == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", ["finished", "just begun", "looked into", "served"])
def test_nothing_moves_when_the_script_runs_however_late(
    reader: Reader, pages: dict[str, Path], tmp_path: Path, name: str, width: int
) -> None:
    before, _, rest = pages[name].read_text("utf-8").rpartition("<script>")
    script, _, after = rest.partition("</script>")
    (tmp_path / "late.html").write_text(before + after, encoding="utf-8")
    page = reader.open(name, width, bypass_csp=True).page
    page.add_init_script(
        "window.EventSource = class { addEventListener() {} }"
    )  # news come later, if a server is there
    page.goto((tmp_path / "late.html").as_uri())
    earlier = page.evaluate(PLACES)
    page.add_script_tag(content=script)
    assert page.evaluate("document.querySelector('[data-sheet]').hidden") is False, "the script did run"
    assert [place for place in page.evaluate(PLACES) if place not in earlier] == []


PLACES = """() => [...document.querySelectorAll('section, h2, h3, nav a, .tools, .card, .command, .buttons, footer')]
  .map(e => [e, e.getBoundingClientRect()]).filter(([, r]) => r.height)
  .map(([e, r]) => `${e.tagName} ${e.className || e.id || e.textContent} ${r.top + scrollY} ${r.height}`)"""


@pytest.mark.parametrize(("width", "theme"), [(400, "light"), (1600, "dark")])
def test_nothing_keeps_people_out_in_either_theme_at_either_width(reader: Reader, width: int, theme: str) -> None:
    page = reader.open("finished", width, theme, bypass_csp=True).page
    assert page.evaluate("document.documentElement.scrollWidth") == width, "the page itself must not scroll sideways"
    # every kind of card and pane once; all of them would say the same again and take long
    page.evaluate("['g0c0', 'g1c3'].forEach(id => document.getElementById(id).closest('details').open = true)")
    page.evaluate("document.querySelectorAll('details:not(.card)').forEach(d => d.open = true)")
    page.click("label[for=view-g1c3-2]")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html]))")
    assert found == []


@pytest.mark.parametrize("width", [400, 800, 1100, 1280, 1600])
def test_every_section_can_be_reached_from_the_bar_at_the_top(reader: Reader, width: int) -> None:
    page = reader.open("looked into", width, reduced_motion="reduce").page
    page.evaluate("document.querySelector('nav [href=\"#review\"]').hidden = false")
    page.evaluate("document.querySelector('.brand').textContent = 'inverted_pendulum_balance'")  # the longest
    page.evaluate("(nav => nav.prepend(nav.lastElementChild.cloneNode(true)))(document.querySelector('nav'))")
    links, bar = page.locator("nav a"), page.locator(".bar-top")
    assert links.count() == 14, "as many as a page can have: this one has nothing rejected"
    if width > 760:  # where fingers do not swipe, nothing hides at the side, nor above or below
        assert page.evaluate("(nav => nav.scrollWidth <= nav.clientWidth)(document.querySelector('nav'))")
        room, boxes = bar.bounding_box(), [links.nth(i).bounding_box() for i in range(14)]
        assert room is not None
        assert all(box and box["y"] >= 0 and box["y"] + box["height"] <= room["height"] for box in boxes)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    links.last.click()
    heading = page.locator("#record h2").bounding_box()
    below = bar.bounding_box()
    assert heading is not None
    assert below is not None
    assert below["height"] <= heading["y"] < 900, "not under the bar"


@pytest.mark.parametrize(("name", "theme"), [("looked into", "dark"), ("compare", "light"), ("compare", "dark")])
def test_findings_maps_contests_and_comparisons_keep_nobody_out(reader: Reader, name: str, theme: str) -> None:
    page = reader.open(name, 400, theme, bypass_csp=True).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.evaluate(AXE.read_text("utf-8"))
    assert page.evaluate("axe.run().then(r => r.violations.map(v => [v.id, v.nodes[0].html]))") == []


@pytest.mark.parametrize(
    ("name", "width", "theme"),
    [("finished", 400, "light"), ("finished", 1280, "dark"), ("compare", 400, "dark"), ("compare", 1280, "light")],
)
def test_what_is_cut_at_a_side_shows_it_and_can_be_scrolled_by_keyboard(
    reader: Reader, name: str, width: int, theme: str
) -> None:
    page = reader.open(name, width, theme).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    cut = page.evaluate_handle(CUT)
    places = [place.as_element() for place in cut.get_properties().values()]
    assert places
    for place in filter(None, places):
        what = place.evaluate("e => `${e.className} ${e.getAttribute('aria-label')}`")
        assert place.evaluate("e => e.tabIndex === 0 || Boolean(e.querySelector('a'))"), what
        assert place.evaluate("e => getComputedStyle(e).backgroundAttachment.split(', ').slice(0, 4).join(' ')") == (
            "local local scroll scroll"
        ), what
    first = next(place for place in places if place and place.evaluate("e => e.matches('.code, .scroll')"))
    first.evaluate("e => { e.firstElementChild.style.opacity = 0; }")
    at_the_start = edges(first.screenshot())
    first.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    at_the_end = edges(first.screenshot())
    assert at_the_start[1] > 5 > at_the_start[0], "a shade on the right alone"
    assert at_the_end[0] > 5 > at_the_end[1], "then on the left alone"


CUT = """() => [...document.querySelectorAll('main *, nav')].filter(e => e.scrollWidth > e.clientWidth + 1
  && /auto|scroll/.test(getComputedStyle(e).overflowX) && e.getClientRects().length)"""


def edges(picture: bytes) -> tuple[float, float]:
    """How far the colours just inside the left and the right edge are from the middle's, of 255."""
    pixels = decoded(picture).mean(axis=2)
    row = pixels[len(pixels) // 3 : len(pixels) // 2].mean(axis=0)
    middle = row[len(row) // 2]
    return float(abs(row[3:6].mean() - middle)), float(abs(row[-6:-3].mean() - middle))


@pytest.mark.parametrize(("place", "width"), TOLERANCES)
def test_the_page_looks_as_it_did(reader: Reader, place: str, width: int) -> None:
    page = reader.open("looked into", width, reduced_motion="reduce").page
    page.evaluate("id => document.getElementById(id).scrollIntoView()", place)
    page.wait_for_function(
        "() => [...document.querySelectorAll('video')].every(v => v.readyState > 1 || v.preload === 'none')"
    )
    picture = page.screenshot(animations="disabled", caret="hide")
    assert difference(picture, f"report-{place}-{width}") < TOLERANCES[place, width]


def test_a_film_shows_its_still_until_it_plays(reader: Reader) -> None:
    page = reader.open("looked into", anchor="#g0c1").page
    film = page.locator("details[data-id=g0c1] video")
    assert (film.get_attribute("poster") or "").startswith("data:image/jpeg;base64,")
    assert film.evaluate("v => v.paused && v.currentTime === 0")
    film.evaluate("v => v.play()")
    page.wait_for_function("() => document.querySelector('details[data-id=g0c1] video').currentTime > 0.05")


def test_a_thousand_candidates_open(browser: Browser, tmp_path: Path) -> None:
    many = [candidate(slot, float(slot), generation) for generation in range(10) for slot in range(100)]
    path = tmp_path / "many.html"
    path.write_text(render(facts(*many, human=3.0)), encoding="utf-8")
    assert path.stat().st_size < 15_000_000
    found = Reader(browser, {"many": path})
    page = found.open("many", anchor="#g9c99").page
    assert page.locator("details.card").count() == 1000
    assert page.locator("#g9c99 .code").first.is_visible()
    found.close()


def test_a_click_in_the_tree_opens_the_card_with_its_differences(reader: Reader) -> None:
    page = reader.open("finished").page
    child = page.locator(".tree .node[href='#g1c0']")
    child.hover()
    assert "on" in (child.get_attribute("class") or "").split()
    child.click()
    card = page.locator("details[data-id=g1c0]")
    assert card.get_attribute("open") is not None
    card.get_by_text("Diff to").first.click()
    assert card.locator(".diff .add").first.is_visible()
    assert card.locator(".diff .del").first.inner_text().startswith("− "), "not told by colour alone"
    assert not card.locator(".pane").first.is_visible(), "one view at a time"
    critique = card.get_by_text("What its author was told of")
    critique.click()
    assert "Training:" in card.locator("details.fold .note").inner_text()
    parent = card.locator(".family a").first
    name = parent.inner_text()
    parent.click()
    page.wait_for_function("id => document.activeElement.closest('details')?.dataset.id === id", arg=name)
    assert page.locator(f"#{name}").is_visible()


def test_everything_can_be_read_without_the_script(reader: Reader) -> None:
    page = reader.open("finished", java_script_enabled=False).page
    assert "def compute_reward" in page.locator("#reward .code").inner_text()
    page.click(".tree .node[href='#g1c0']")
    assert page.locator("details[data-id=g1c0] .code").first.is_visible(), "an anchor opens what it is in"
    page.click("label[for=view-g1c0-2]")
    assert page.locator("details[data-id=g1c0] .diff").first.is_visible()
    assert not page.locator(".tools").is_visible(), "no control that would do nothing"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("label[for=theme-dark]")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_films_play_together_and_carry_their_size(reader: Reader) -> None:
    page = reader.open("finished").page
    films = page.locator(".films video")
    assert films.count() >= 2
    assert page.evaluate("[...document.querySelectorAll('video')].every(v => v.getAttribute('width') && v.muted)")
    page.get_by_role("button", name="Play all together").click()
    page.wait_for_function("() => [...document.querySelectorAll('.films video')].every(v => v.currentTime > 0.05)")
    page.get_by_role("button", name="Pause all").click()
    assert page.evaluate("[...document.querySelectorAll('.films video')].every(v => v.paused)")


def test_the_keyboard_reaches_the_views_of_a_card_and_the_theme(reader: Reader) -> None:
    page = reader.open("finished", anchor="#g1c0").page
    page.keyboard.press("Tab")
    assert page.locator("details[data-id=g1c0] .family a").first.evaluate("e => e === document.activeElement")
    page.locator("#view-g1c0-1").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("details[data-id=g1c0] .diff").first.is_visible()
    page.locator("#theme-auto").focus()
    page.keyboard.press("ArrowLeft")  # round to the last: dark
    assert page.locator("#theme-dark").is_checked()
    page.reload()
    assert page.locator("#theme-dark").is_checked(), "the choice is kept"


def test_the_list_can_be_ordered_and_narrowed(reader: Reader) -> None:
    page = reader.open("half done").page
    ids = "[...document.querySelectorAll('.card')].filter(c => !c.hidden).map(c => c.dataset.id)"
    assert page.evaluate(ids) == ["g0c0", "g0c1", "g0c2", "g0c3", "g1c0"]
    page.get_by_label("Order").select_option("fitness")
    assert page.evaluate(ids) == ["g1c0", "g0c0", "g0c2", "g0c3", "g0c1"]
    page.get_by_label("Show").select_option("failed")
    assert page.evaluate(ids) == ["g0c1"]
    assert page.locator("[data-count]").inner_text() == "1 of 5"
    page.click("#rejected a[href='#g0c2']")
    assert page.locator("#g0c2").is_visible(), "a link finds a card that the choice had hidden"


def test_on_paper_every_view_of_an_open_card_is_there_and_no_control(reader: Reader) -> None:
    page = reader.open("finished", anchor="#g1c0", theme="dark").page
    page.emulate_media(media="print")
    card = page.locator("details[data-id=g1c0]")
    assert all(card.locator(".pane").nth(i).is_visible() for i in range(card.locator(".pane").count()))
    assert not page.locator(".bar-top").is_visible()
    assert not page.locator(".tools").is_visible()


def test_hostile_text_does_nothing_in_a_browser(reader: Reader) -> None:
    hostile, twin = reader.open("hostile"), reader.open("innocent")
    for opened in (hostile, twin):
        opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert hostile.page.evaluate(OUTLINE) == twin.page.evaluate(OUTLINE)
    assert hostile.complaints == []
    assert "owned" in hostile.page.title(), "the task's name is in the title as text"
    assert hostile.page.title() != "owned"
    assert "<img src=x onerror" in hostile.page.locator("#reward .code").inner_text()
