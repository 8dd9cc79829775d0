"""One self-contained HTML page of a run: no request to anywhere, readable without its script, every text escaped."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from eureka_agent import text
from eureka_agent.report import choosing, costs, curves, markup, robustness, trainings
from eureka_agent.report import record as records
from eureka_agent.report.baselines import baselines
from eureka_agent.report.cards import LEFT_OUT, MANY, Film, cards, rejected, told
from eureka_agent.report.components import parts, stacked
from eureka_agent.report.facts import RunFacts, comparison_rows, cost, gather, label, selection, tiles, verdict
from eureka_agent.report.lineage import tree, words
from eureka_agent.report.maps import map_rows
from eureka_agent.report.neighbours import tables
from eureka_agent.report.page import environment, policy
from eureka_agent.review.page import seats, sheet
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import storage_errors, write_file

FILM_BYTES = 9_000_000
"""Most bytes of films in one page, a third of it beside very many candidates; in base64 they take a third more."""
NARROW_TREE = 600
"""Pixels below which the family tree leaves room for the search's chart beside it."""


def write_report(run: Run, facts: RunFacts | None = None) -> Path:
    """Write `report.html` into the run's folder, whatever its stage, and return its path.

    Args:
        run: whose report it is.
        facts: what `gather` has just found in it, if somebody knows that already.

    Raises:
        RunError: the file cannot be written, or a blob is damaged.
    """
    path = run.folder / "report.html"
    page = render(facts or gather(run))
    with storage_errors(path):
        write_file(path, page.encode(), durable=False, step="report")
    return path


def render(facts: RunFacts, served: bool = False) -> str:
    """The page as text; one that `eureka review` serves may also speak with its server."""
    style, script = markup.stylesheet(), markup.script()
    films, of_cards, sheets = _films(facts)
    family = tree(facts)
    beside = family is not None and family.width < NARROW_TREE
    template = environment().get_template("report.html.j2")
    page = template.render(
        facts=facts,
        policy=policy(style, script, served),
        sheet=(asked := sheet(facts)),
        served=served,
        style=Markup(style),
        script=Markup(script),
        verdict=verdict(facts),
        cost=cost(facts),
        selection=selection(facts),
        tiles=tiles(facts),
        interval_plot=curves.intervals(facts),
        films=films,
        words=words,
        maps=map_rows(dict(facts.surfaces), {v.name: v.unit for v in facts.task.variables}),
        parts=parts(facts.best) if facts.best else [],
        stack=stacked(facts.best) if facts.best else None,
        learning=curves.learning(facts),
        band_note=curves.band_note(facts),
        search=curves.search(facts, 720 if beside else 1080),
        tree=family,
        beside=beside,
        cards=(shown := cards(facts, of_cards, sheets)),
        seats=seats(asked, [card.id for card in shown if card.film.film]),
        trainings=trainings,
        fresh=told(facts.findings),
        best_card=next((card for card in shown if card.best), None),
        full_cards=sum(card.full for card in shown),
        alike=tables(facts.matrices),
        rejected=rejected(facts.population.candidates),
        arms=comparison_rows(facts),
        baselines=baselines(facts),
        contests=choosing.contests(facts),
        choosing=choosing.notes(facts),
        worlds=robustness.worlds(facts),
        robustness=robustness.summary(facts),
        costs=costs,
        records=records,
    )
    return text.visible(page)  # once over everything, so that no place can be forgotten


def _films(facts: RunFacts) -> tuple[list[Film], dict[str, Film], dict[str, bytes]]:
    """The films side by side at the top, those of cards, and frames that a vision model was shown: whoever leads first,
    as far as the page has room."""
    many = len(facts.population.candidates) > MANY
    room = FILM_BYTES // 3 if many else FILM_BYTES

    def placed(name: str, words: str, of: str, css: str = "", note: str = "") -> Film:
        nonlocal room
        film, poster = facts.films.get(name), facts.posters.get(name)
        if film and len(film) > room:
            film, note = None, LEFT_OUT
        room -= len(film or b"")
        if poster and len(poster) > room:
            poster = None
        room -= len(poster or b"")
        return Film(film, poster, css, words, note, of)

    shown = [placed(name, words, of, css, note) for name, css, words, of, note in _wanted(facts)]
    filmed = [c for c in facts.population.ranked if c.id in facts.films]
    of_cards = {c.id: placed(c.id, f"policy of {c.id}", trainings.first(facts, c)) for c in filmed}
    sheets = {}
    for name in (c.id for c in facts.population.ranked if c.id in facts.sheets):
        if len(facts.sheets[name]) <= room:
            sheets[name] = facts.sheets[name]
            room -= len(sheets[name])
    return shown, of_cards, sheets


def _wanted(facts: RunFacts) -> list[tuple[str, str, str, str, str]]:
    """(key of the film, css, label, which training, why there is none): the best, the human reward, the best before."""
    best = facts.best
    before = [c for c in facts.population.ranked if best and c.brief.generation < best.brief.generation]
    previous = [(c.id, "previous", f"previous best, {c.id}", trainings.first(facts, c), "") for c in before[:1]]
    previous = [wanted for wanted in previous if wanted[0] in facts.films]
    if facts.comparison is None:
        if best is None or "candidate" not in facts.films:
            return []
        return [("candidate", "candidate", f"best so far, {best.id}", trainings.first(facts, best), ""), *previous]
    arms = [arm for arm in facts.comparison.arms if arm.name != "random"]
    of_arms = [(a.name, a.name, label(facts, a), trainings.median(facts, a), a.video_note) for a in arms]
    return of_arms + previous
