"""The page's charts of the whole run: intervals, the search, and what fresh trainings looked like on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from eureka_agent import text
from eureka_agent.population import Candidate, Population, Training
from eureka_agent.report import charts
from eureka_agent.report.components import STEPS
from eureka_agent.report.facts import RunFacts, has_interval
from eureka_agent.search.comparison import FEW_SEEDS, Arm
from eureka_evaluation.components import LENGTH

RETURN = "rollout/ep_rew_mean"
MANY = 120
"""Dots up to which each leads to its card; a keyboard should not have to pass a thousand."""
POINTS = 60
"""Places along the x axis at which trainings are put together."""


def axis(facts: RunFacts) -> str:
    """`forward displacement (m)`."""
    metric = facts.task.spec.metric
    return metric.name if metric.unit in ("", "1") else f"{metric.name} ({metric.unit})"


def intervals(facts: RunFacts) -> charts.IntervalPlot | None:
    """The arms of the comparison on one axis."""
    if facts.comparison is None:
        return None
    rows = []
    for arm in facts.comparison.arms:
        seeds = [fmean(scores) for scores in arm.fitness]
        name = "best" if arm.name == "candidate" else arm.name
        low, high = (arm.iqm.low, arm.iqm.high) if has_interval(arm) else (arm.iqm.value, arm.iqm.value)
        rows.append(charts.IntervalRow(name, f"is-{arm.name}", low, arm.iqm.value, high, seeds))
    return charts.interval_plot(rows, axis(facts), width=720, pitch=42)


def search(facts: RunFacts, width: float = 1080) -> charts.Chart | None:
    """Fitness of every candidate over all its trainings by generation, its parents linked, and the best so far."""
    fitness = {c.id: mean for c in facts.population.candidates if (mean := facts.fitness(c)) is not None}
    if not fitness:
        return None
    places, best = _places(facts.population.candidates), facts.best
    links = [
        charts.Line([places[parent], places[c.id]], [fitness[parent], fitness[c.id]], "link")
        for c in facts.population.candidates
        if c.id in fitness
        for parent in c.brief.parents
        if parent in fitness
    ]
    linked = len(fitness) <= MANY
    dots = [
        charts.Dot(
            places[name],
            value,
            "best" if best and name == best.id else "",
            _named(name, value, facts),
            name if linked else "",
        )
        for name, value in fitness.items()
    ]
    steps = _staircase([(places[name], fitness[name]) for name in _leading(facts.population, fitness)])
    generations = facts.population.generations
    return charts.line_chart(
        f"{axis(facts)} of every candidate; thick: the best so far, thin: from parents",
        [*links, charts.Line([x for x, _ in steps], [y for _, y in steps], "incumbent")],
        x_label="generation",
        y_label=facts.task.spec.metric.name,
        dots=dots,
        rules=_anchor_rules(facts),
        x_ticks=[charts.Tick(g, str(g + 1)) for g in _some(generations)],
        x_range=(-0.5, generations - 0.5),
        size=(width, 320),
        left=64,
    )


def _some(generations: int) -> range:
    """Every generation, or every tenth of many."""
    return range(0, generations, 1 if generations <= 25 else max(1, round(generations / 20)))


def _places(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Where each candidate stands along the generations: side by side in the order of slots."""
    width = 1 + max(c.brief.slot for c in candidates)
    return {c.id: c.brief.generation + 0.7 * ((c.brief.slot + 0.5) / width - 0.5) for c in candidates}


def _leading(population: Population, scored: Iterable[str]) -> list[str]:
    """Whom the best so far may be: whoever was neither stopped nor failed in a contest, if there is any such."""
    sound = [name for name in scored if not population[name].stopped and not population.has_failed(population[name])]
    return sound or list(scored)


def _staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The highest so far, stepping up where a point exceeds it."""
    steps: list[tuple[float, float]] = []
    for x, value in points:
        before = steps[-1][1] if steps else value
        steps += [(x, before)] if steps else []
        steps.append((x, max(before, value)))
    return steps


def _anchor_rules(facts: RunFacts) -> list[charts.Rule]:
    """The human reward and random play, of this run's own comparison if it has one: budgets differ."""
    if facts.comparison:
        human, random = (facts.comparison.arm(name) for name in ("human", "random"))
        label = f"human reward, {text.plural(len(human.fitness), 'fresh training')}"
        return [charts.Rule(human.iqm.value, "human", label), charts.Rule(random.iqm.value, "random", "random policy")]
    anchors = facts.task.anchors
    if anchors is None:
        return []
    return [
        charts.Rule(anchors.human.mean, "human", f"human reward, {text.count(anchors.timesteps)} steps"),
        charts.Rule(anchors.random.mean, "random", "random policy"),
    ]


def _named(name: str, fitness: float, facts: RunFacts) -> str:
    return f"{name}: {text.measure(fitness, facts.unit)}"


# ------------------------------------------------------------------------------------------------------------ learning


def learning(facts: RunFacts) -> list[charts.Chart]:
    """How the fresh trainings of the comparison went; before it, the best's own."""
    if facts.comparison is None:
        return _own(facts.best.training) if facts.best and facts.best.training else []
    arms = [facts.comparison.arm("candidate"), facts.comparison.arm("human")]
    shown = [_bands("Episode length, both on one axis", "steps per episode", LENGTH, arms)]
    names = {"candidate": f"Own return of {facts.comparison.candidate}", "human": "Own return of the human reward"}
    shown += [_bands(names[arm.name], "own return", RETURN, [arm]) for arm in arms]
    return [chart for chart in shown if chart]


def band_note(facts: RunFacts) -> str:
    """What the bands of `learning` are."""
    if facts.comparison is None:
        return "One training; no interval can be drawn."
    trainings = min(len(facts.comparison.arm(name).fitness) for name in ("candidate", "human"))
    if trainings < 2:
        return "One fresh training each; no interval can be drawn."
    if trainings < FEW_SEEDS:
        return f"Lines are means of {trainings} fresh trainings, bands reach from the lowest to the highest."
    return f"Lines are means of {trainings} fresh trainings, bands their 95 % intervals (Student's t)."


def _bands(title: str, y_label: str, key: str, arms: Sequence[Arm]) -> charts.Chart | None:
    curves = {arm.name: _aligned([t.training for t in arm.trials if t.training], key) for arm in arms}
    curves = {name: found for name, found in curves.items() if found[1]}
    if not curves or (key == LENGTH and _level(row for _, rows in curves.values() for row in rows)):
        return None
    lines, areas = [], []
    for name, (xs, rows) in curves.items():
        columns = list(zip(*rows, strict=True))
        lows, highs = zip(*map(_interval, columns), strict=True)
        labels = {"candidate": "best", "human": "human"}
        lines.append(charts.Line(xs, [fmean(column) for column in columns], f"arm {name}", labels[name]))
        if len(rows) > 1:
            areas.append(charts.Area(xs, lows, highs, f"arm {name}", ""))
    return charts.line_chart(title, lines, x_label="steps", y_label=y_label, areas=areas, size=(420, 230))


def _level(rows: Iterable[Sequence[float]]) -> bool:
    """Whether nothing ever changed: episodes that only the time limit ends have one length."""
    return len({value for row in rows for value in row}) < 2


def _aligned(trainings: Sequence[Training], key: str) -> tuple[list[float], list[list[float]]]:
    """One curve of several trainings at common places; only the stretch that all of them have."""
    import numpy as np

    known = []
    for training in trainings:
        pairs = zip(training.curves.get(STEPS, []), training.curves.get(key, []), strict=False)
        points = [(x, y) for x, y in pairs if x is not None and y is not None]
        if len({x for x, _ in points}) > 1:
            known.append(points)
    low = max((points[0][0] for points in known), default=0.0)
    high = min((points[-1][0] for points in known), default=0.0)
    if not low < high:
        return [], []
    xs = np.linspace(low, high, POINTS)
    rows = [np.interp(xs, [x for x, _ in points], [y for _, y in points]).tolist() for points in known]
    return [round(x, 1) for x in xs.tolist()], rows


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """The range of few values, the 95 % interval of the mean of more."""
    if len(values) < FEW_SEEDS:
        return min(values), max(values)
    from scipy.special import stdtrit

    mean, half = fmean(values), float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    return mean - half, mean + half


def _own(training: Training) -> list[charts.Chart]:
    """Own return and episode length of one training."""
    shown = []
    for title, key in (("Own return", RETURN), ("Episode length", LENGTH)):
        xs, rows = _aligned([training], key)
        if rows and not (key == LENGTH and _level(rows)):
            lines = [charts.Line(xs, rows[0], "arm candidate", title.lower())]
            shown.append(charts.line_chart(title, lines, x_label="steps", y_label=title.lower(), size=(420, 230)))
    return shown
