"""One self-contained HTML page of a run: no script, no request to anywhere, every text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

from eureka_agent import text
from eureka_agent.population import Candidate, Training
from eureka_agent.report import charts
from eureka_agent.report.facts import (
    RunFacts,
    commands,
    comparison_rows,
    gather,
    label,
    record,
    sandbox,
    selection,
    started,
    tiles,
    unwalled,
    verdict,
)
from eureka_agent.run import Run
from eureka_agent.storage import storage_errors, write_file

STEPS = "time/total_timesteps"
RETURN = "rollout/ep_rew_mean"


def write_report(run: Run) -> Path:
    """Write `report.html` into the run's folder, whatever its stage, and return its path.

    Raises:
        RunError: the file cannot be written, or a blob is damaged.
    """
    path = run.folder / "report.html"
    page = render(gather(run))
    with storage_errors(path):
        write_file(path, page.encode(), durable=False, step="report")
    return path


def render(facts: RunFacts) -> str:
    """The page as text."""
    style = _stylesheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("eureka_agent.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": text.number, "duration": text.duration, "count": text.count}
    environment.filters |= {"percent": text.percent, "visible": text.visible, "python": _python, "data_uri": _data_uri}
    return environment.get_template("report.html.j2").render(
        facts=facts,
        verdict=verdict(facts),
        selection=selection(facts),
        started=started(facts),
        tiles=tiles(facts),
        arms=comparison_rows(facts),
        films=_films(facts),
        interval_plot=_intervals(facts),
        search=_search_chart(facts),
        learning=_learning(facts.best),
        rows=[_row(facts, candidate) for candidate in facts.population.candidates],
        record=record(facts),
        commands=commands(facts),
        sandbox=sandbox(facts),
        unwalled=unwalled(facts),
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'",
    )


def _stylesheet() -> str:
    own = files("eureka_agent.report").joinpath("templates/report.css").read_text("utf-8")
    light = HtmlFormatter(style="xcode").get_style_defs(".code")
    dark = HtmlFormatter(style="monokai").get_style_defs(".code")
    # Pygments sets its own background and line-height; the page's panel decides those in both themes.
    plain = ".code { background: var(--panel); color: var(--ink); }"
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}\n{plain}\n"


def _python(source: str) -> Markup:
    """Highlighted code; the formatter escapes the source itself."""
    markup = highlight(text.visible(source), PythonLexer(), HtmlFormatter(cssclass="code"))
    return Markup(markup.replace("<pre>", '<pre tabindex="0">', 1))  # a scrolling block must be reachable by keyboard


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _films(facts: RunFacts) -> list[dict[str, Any]]:
    """The best's film and the human reward's, or why there is none."""
    if facts.comparison is None:
        film, best = facts.films.get("candidate"), facts.best
        return (
            [{"film": film, "css": "candidate", "label": f"best so far, {best.id}", "note": ""}]
            if film and best
            else []
        )
    return [
        {"film": facts.films.get(arm.name), "css": arm.name, "label": label(facts, arm), "note": arm.video_note}
        for arm in facts.comparison.arms
        if arm.name != "random"
    ]


def _intervals(facts: RunFacts) -> charts.IntervalPlot | None:
    if facts.comparison is None:
        return None
    rows = []
    for arm in facts.comparison.arms:
        seeds = [fmean(scores) for scores in arm.fitness]
        name = "best" if arm.name == "candidate" else arm.name
        rows.append(charts.IntervalRow(name, f"is-{arm.name}", arm.iqm.low, arm.iqm.value, arm.iqm.high, seeds))
    metric = facts.task.spec.metric
    return charts.interval_plot(rows, _axis(metric.name, metric.unit))


def _axis(name: str, unit: str) -> str:
    return name if unit in ("", "1") else f"{name} ({unit})"


def _search_chart(facts: RunFacts) -> charts.Chart | None:
    """Fitness of every candidate by generation, its parents linked, and the incumbent's staircase."""
    fitness = {c.id: c.fitness for c in facts.population.candidates if c.fitness is not None}
    if not fitness:
        return None
    places, best = _places(facts.population.candidates), facts.best
    links = [
        charts.Line([places[parent], places[name]], [fitness[parent], value], "link")
        for name, value in fitness.items()
        for parent in facts.population[name].brief.parents
        if parent in fitness
    ]
    dots = [
        charts.Dot(places[name], value, "best" if best and name == best.id else "", _named(name, value, facts.unit))
        for name, value in fitness.items()
    ]
    steps = _staircase([(places[name], value) for name, value in fitness.items()])
    generations, metric = facts.population.generations, facts.task.spec.metric
    return charts.line_chart(
        f"{_axis(metric.name, metric.unit)} of every candidate; thick: the best so far, thin: from parents",
        [*links, charts.Line([x for x, _ in steps], [y for _, y in steps], "incumbent", "best so far")],
        x_label="generation",
        y_label=metric.name,
        dots=dots,
        rules=_anchor_rules(facts),
        x_ticks=[charts.Tick(g, str(g + 1)) for g in range(generations)],
        x_range=(-0.5, generations - 0.5),
        size=(960, 340),
        left=64,
    )


def _places(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Where each candidate stands along the generations: side by side in the order of slots."""
    width = 1 + max(c.brief.slot for c in candidates)
    return {c.id: c.brief.generation + 0.7 * ((c.brief.slot + 0.5) / width - 0.5) for c in candidates}


def _staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The highest so far, stepping up where a point exceeds it."""
    steps: list[tuple[float, float]] = []
    for x, value in points:
        before = steps[-1][1] if steps else value
        steps += [(x, before)] if steps else []
        steps.append((x, max(before, value)))
    return steps


def _anchor_rules(facts: RunFacts) -> list[charts.Rule]:
    anchors = facts.task.anchors
    if anchors is None:
        return []
    return [
        charts.Rule(anchors.human.mean, "human", f"human reward, {text.count(anchors.timesteps)} steps"),
        charts.Rule(anchors.random.mean, "random", "random policy"),
    ]


def _named(name: str, fitness: float, unit: str) -> str:
    return f"{name}: {text.measure(fitness, unit)}"


def _learning(candidate: Candidate | None) -> list[charts.Chart]:
    """Own return, episode length and each component of the best over training, each on its own axis."""
    if candidate is None or candidate.training is None:
        return []
    curves = candidate.training.curves
    chosen = [("own return", RETURN), ("episode length", "rollout/ep_len_mean")]
    chosen += [(key.removeprefix("reward/"), key) for key in sorted(curves) if key.startswith("reward/")]
    return [
        charts.line_chart(
            label,
            [charts.Line(_known(curves[STEPS]), curves[key], "best" if key == RETURN else "")],
            x_label="steps",
            y_label=label,
            size=(320, 170),
        )
        for label, key in chosen
        if STEPS in curves and sum(v is not None for v in curves.get(key, [])) > 1
    ]


def _known(values: list[float | None]) -> list[float]:
    return [0.0 if v is None else v for v in values]


def _row(facts: RunFacts, candidate: Candidate) -> dict[str, Any]:
    """What the list of candidates shows of one."""
    scale = [c.fitness for c in facts.population.ranked if c.fitness is not None]
    if facts.task.anchors:
        scale.append(facts.task.anchors.random.mean)
    low, high = (min(scale), max(scale)) if scale else (0.0, 1.0)
    fitness = candidate.fitness
    return {
        "candidate": candidate,
        "best": facts.best is not None and candidate.id == facts.best.id,
        "made": _made(candidate),
        "share": 0.0 if fitness is None or high <= low else (fitness - low) / (high - low),
        "fitness": text.measure(fitness, facts.unit),
        "success": text.percent(candidate.score.success_rate) if candidate.score else "",
        "spark": _spark(candidate.training),
        "speed": f"{text.count(candidate.training.steps_per_second)}/s" if candidate.training else "",
    }


def _made(candidate: Candidate) -> str:
    """`mutate g0c3`."""
    return " ".join((candidate.brief.operator, " × ".join(candidate.brief.parents))).strip()


def _spark(training: Training | None) -> charts.Spark | None:
    if training is None or STEPS not in training.curves:
        return None
    steps = _known(training.curves[STEPS])
    title = f"own return over training, checkpoint at {text.count(training.peak_timesteps)} steps"
    return charts.sparkline(steps, training.curves.get(RETURN, []), training.peak_timesteps, title)
