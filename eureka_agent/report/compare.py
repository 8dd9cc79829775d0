"""One page over several runs: who did how well on which task, how fast, and at what cost."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from markupsafe import Markup

from eureka_agent import __version__, text
from eureka_agent.llm.ledger import cost_text
from eureka_agent.report import charts, markup
from eureka_agent.report.page import environment, policy
from eureka_agent.runs.summaries import FINISHED, Summary
from eureka_agent.search.comparison import can_settle

BANDS = 5
COLOURS = 8
MOST_CURVES = 40
"""Curves up to which a chart can be read."""


@dataclass(frozen=True)
class Cell:
    """All finished runs of one method on one task."""

    text: str
    css: str
    """`p0` to `p4` above the human reward, `n0` to `n4` below, or nothing."""
    runs: str
    spread: str


@dataclass(frozen=True)
class Row:
    """One run, ready to read."""

    name: str
    link: str
    """Its report, relative to the page; empty if there is none."""
    css: str
    summary: Summary
    fitness: str
    interval: str
    human: str
    score: str
    odds: str
    success: str
    cost: str
    began: str


def render(runs: Sequence[Summary], page: Path) -> str:
    """The page as text; links to reports are relative to where `page` will lie."""
    style, script = markup.stylesheet(), markup.script()
    rows = [_row(run, place, page) for place, run in enumerate(runs)]
    whole = (
        environment()
        .get_template("compare.html.j2")
        .render(
            policy=policy(style, script),
            style=Markup(style),
            script=Markup(script),
            headline=headline(runs),
            warnings=warnings(runs),
            tasks=list(dict.fromkeys(run.task for run in runs)),
            heat=heat(runs),
            progress=progress(runs),
            rows=rows,
            written=time.strftime("%Y-%m-%d %H:%M"),
            version=__version__,
        )
    )
    return text.visible(whole)


def headline(runs: Sequence[Summary]) -> str:
    """How many runs did better than the human reward, and with what right that can be said."""
    done = [run for run in runs if run.status == FINISHED and run.score is not None]
    ahead = sum((run.score or 0.0) > _human_level(run) for run in done)
    sound = [run for run in done if can_settle(run.trainings) and not run.fails_more]
    settled = [run for run in sound if run.over_human and run.over_human.low > 0.5]
    tasks = text.plural(len({run.task for run in runs}), "task")
    said = f"{text.plural(len(runs), 'run')} on {tasks}"
    if not done:
        return f"{said}, none of them compared on fresh seeds yet."
    sure = f", {len(settled)} of them with trainings enough to settle it" if ahead else ""
    return f"{said}: {ahead} of {text.plural(len(done), 'finished run')} came out above the human reward{sure}."


def _human_level(run: Summary) -> float:
    """Where the human reward lies on `Summary.score`."""
    return 1.0 if (run.human or 0.0) > (run.random or 0.0) else -1.0


def warnings(runs: Sequence[Summary]) -> list[str]:
    """What keeps runs of one task from being compared as they stand."""
    found = []
    for task in dict.fromkeys(run.task for run in runs):
        ours = [run for run in runs if run.task == task]
        if len({run.digest for run in ours}) > 1:
            found.append(f"{task}: the task's files differ between these runs; so may what fitness means")
        if len(steps := sorted({run.timesteps for run in ours})) > 1:
            listed = ", ".join(text.count(s) for s in steps)
            found.append(f"{task}: trainings of {listed} steps stand side by side")
    open_ = [str(run.folder) for run in runs if not run.walled]
    if open_:
        found.append(f"no wall stood around the rewards of {', '.join(open_)}: trust them as far as their code")
    return found


def spread(run: Summary) -> str:
    """The best's interval; one training has none, and a run that is not finished neither."""
    if run.interval:
        return text.interval(*run.interval)
    return "one training" if run.trainings == 1 else "–"


def odds(run: Summary) -> str:
    """How often the best is better than the human reward, with an interval if both were trained more than once."""
    if run.over_human is None:
        return "–"
    low, high = 100 * run.over_human.low, 100 * run.over_human.high
    return text.percent(run.over_human.value) + (f" [{low:.0f}, {high:.0f}]" if run.trainings > 1 else "")


def heat(runs: Sequence[Summary]) -> list[tuple[str, list[Cell | None]]]:
    """(method, a cell per task): the mean score of its finished runs."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    methods = list(dict.fromkeys(run.method for run in runs))
    return [
        (method, [_cell([r for r in runs if (r.method, r.task) == (method, task)]) for task in tasks])
        for method in methods
    ]


def _cell(runs: Sequence[Summary]) -> Cell | None:
    scores = [run.score for run in runs if run.status == FINISHED and run.score is not None]
    if not scores:
        return Cell("–", "", "not finished", "") if runs else None
    mean, level = fmean(scores), _human_level(runs[0])
    above = mean - level
    band = min(int(abs(above) * BANDS), BANDS - 1)
    spread = f"{text.number(min(scores))} to {text.number(max(scores))}" if len(scores) > 1 else ""
    return Cell(text.number(mean), f"{'p' if above >= 0 else 'n'}{band}", text.plural(len(scores), "run"), spread)


def progress(runs: Sequence[Summary]) -> list[charts.Chart]:
    """By task, the highest single score over the search's environment steps, one curve per run."""
    shown = []
    for task in dict.fromkeys(run.task for run in runs):
        ours = [(place, run) for place, run in enumerate(runs) if run.task == task and run.history][:MOST_CURVES]
        if not ours:
            continue
        lines = []
        for place, run in ours:
            xs, ys = _stairs(run.history)
            lines.append(charts.Line(xs, ys, f"of c{place % COLOURS}", _name(run)))
        first = ours[0][1]
        unit = "" if first.unit in ("", "1") else f" ({first.unit})"
        rules = [
            charts.Rule(h, "human", "human reward")
            for h in sorted({r.human for _, r in ours if r.human is not None})[:1]
        ]
        shown.append(
            charts.line_chart(
                f"{task}: highest single score so far", lines, x_label="environment steps of the search",
                y_label=f"{first.metric}{unit}", rules=rules, size=(520, 260),
            )
        )  # fmt: skip
    return shown


def _stairs(history: Sequence[tuple[float, float]]) -> tuple[list[float], list[float | None]]:
    xs: list[float] = []
    ys: list[float | None] = []
    for steps, value in history:
        if ys and ys[-1] != value:
            xs.append(steps)
            ys.append(ys[-1])
        xs.append(steps)
        ys.append(value)
    return xs, ys


def _name(run: Summary) -> str:
    return run.folder.name


def _row(run: Summary, place: int, page: Path) -> Row:
    report = run.folder / "report.html"
    link = quote(os.path.relpath(report, page.absolute().parent)) if report.is_file() else ""
    return Row(
        name=_name(run),
        link=link,
        css=f"c{place % COLOURS}",
        summary=run,
        fitness=text.measure(run.fitness, run.unit),
        interval=spread(run),
        human=text.measure(run.human, run.unit),
        score=text.number(run.score),
        odds=odds(run),
        success=text.percent(run.success) if run.success is not None else "–",
        cost=cost_text(run.cost, run.unpriced) if run.cost or run.unpriced else "–",
        began=time.strftime("%Y-%m-%d %H:%M", time.localtime(run.began)),
    )
