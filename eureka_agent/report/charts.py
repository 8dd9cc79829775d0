"""Chart geometry as plain data, in SVG user units; `templates/charts.html.j2` draws it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from eureka_agent.text import count, number

T = TypeVar("T")
Point = tuple[float, float]
SPARK_POINTS = 48
"""Points of a word-sized curve: one for two pixels."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    """Position in user units."""
    label: str


@dataclass(frozen=True)
class Line:
    """A curve in data units; None in `ys` is passed over."""

    xs: Sequence[float]
    ys: Sequence[float | None]
    css: str
    label: str = ""


@dataclass(frozen=True)
class Area:
    """A surface between two curves, in data units."""

    xs: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    css: str
    label: str = ""


@dataclass(frozen=True)
class Dot:
    """A mark in data units."""

    x: float
    y: float
    css: str
    title: str
    link: str = ""
    """Where a click leads."""


@dataclass(frozen=True)
class Rule:
    """A horizontal reference line in data units."""

    y: float
    css: str
    label: str


@dataclass(frozen=True)
class Frame:
    """The plotting area inside a chart, and the data range it shows."""

    width: float
    height: float
    x_range: Point
    y_range: Point
    left: float = 52
    right: float = 14
    top: float = 14
    bottom: float = 34

    def x(self, value: float) -> float:
        """Data to user units."""
        low, high = self.x_range
        return round(self.left + (value - low) / (high - low) * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        """Data to user units; up is more."""
        low, high = self.y_range
        return round(
            self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom), 1
        )

    @property
    def base(self) -> float:
        """Where the x axis lies."""
        return self.height - self.bottom


@dataclass(frozen=True)
class Path:
    """A drawn curve or surface: SVG path data."""

    d: str
    css: str
    label: str


@dataclass(frozen=True)
class Chart:
    """Everything the template needs to draw a line chart."""

    title: str
    frame: Frame
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    paths: list[Path]
    dots: list[Dot] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    areas: list[Path] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    """Heads of the columns of `rows`."""
    rows: list[list[str]] = field(default_factory=list)
    """A few points of the named curves, for those who read rather than see."""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round positions (1, 2 or 5 times a power of ten) in [low, high], at most `most`."""
    if not 1e-300 < high - low < 1e300:  # equal, or so close that a tenth of it is nothing; or beyond all measure
        return [low]
    raw = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A round position, as short as it can be said."""
    return f"{value:,.6g}".replace("-", "−")


def padded(values: Iterable[float], margin: float = 0.06) -> Point:
    """A range that holds all finite values with some air; never empty."""
    finite = [v for v in values if abs(v) < 1e300] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = (high - low) * margin or max(abs(high), 1.0) * 0.1
    return low - air, high + air


def path_data(frame: Frame, xs: Sequence[float], ys: Sequence[float | None]) -> str:
    """SVG path of a curve, straight across missing values (a log without a finished episode has no return)."""
    known = [(x, y) for x, y in zip(xs, ys, strict=False) if y is not None and math.isfinite(y)]
    return "".join(f"{'L' if i else 'M'}{frame.x(x)} {frame.y(y)}" for i, (x, y) in enumerate(known))


def area_data(frame: Frame, area: Area) -> str:
    """SVG path of a closed surface, along its upper edge and back along the lower."""
    upper = [(frame.x(x), frame.y(y)) for x, y in zip(area.xs, area.highs, strict=True)]
    lower = [(frame.x(x), frame.y(y)) for x, y in zip(area.xs, area.lows, strict=True)]
    return "M" + "L".join(f"{x} {y}" for x, y in [*upper, *reversed(lower)]) + "Z" if upper else ""


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    dots: Sequence[Dot] = (),
    rules: Sequence[Rule] = (),
    areas: Sequence[Area] = (),
    x_ticks: Sequence[Tick] | None = None,
    x_range: Point | None = None,
    size: Point = (640, 260),
    left: float = 52,
) -> Chart:
    """Lay out a line chart with optional dots, horizontal references and surfaces.

    `x_ticks` are in data units here; without them round positions are chosen.
    """
    xs = [x for line in lines for x in line.xs] + [dot.x for dot in dots] + [x for area in areas for x in area.xs]
    ys = [y for line in lines for y in line.ys if y is not None]
    ys += [dot.y for dot in dots] + [rule.y for rule in rules]
    ys += [y for area in areas for y in (*area.lows, *area.highs)]
    span = x_range or (min(xs, default=0.0), max(xs, default=1.0))
    if not span[1] > span[0]:
        span = (span[0] - 0.5, span[0] + 0.5)
    frame = Frame(size[0], size[1], span, padded(ys), left)
    chosen = x_ticks if x_ticks is not None else [Tick(v, count(v)) for v in ticks(*span)]
    return Chart(
        title=title,
        frame=frame,
        x_label=x_label,
        y_label=y_label,
        x_ticks=[Tick(frame.x(t.at), t.label) for t in chosen],
        y_ticks=[Tick(frame.y(v), tick_label(v)) for v in ticks(*frame.y_range, most=5)],
        paths=_joined([Path(path_data(frame, line.xs, line.ys), line.css, line.label) for line in lines]),
        dots=[Dot(frame.x(d.x), frame.y(d.y), d.css, d.title, d.link) for d in dots],
        rules=[Rule(frame.y(r.y), r.css, r.label) for r in rules],
        areas=[Path(area_data(frame, area), area.css, area.label) for area in areas],
        **_readable(lines, x_label),
    )


def _joined(paths: Sequence[Path]) -> list[Path]:
    """Paths without a name become one per class, where the first of them stood: a thousand cost a browser dearly."""
    kept: dict[tuple[str, ...], Path] = {}
    for number_, path in enumerate(paths):
        key = (path.css, path.label, str(number_)) if path.label else (path.css,)
        kept[key] = Path(kept[key].d + path.d, path.css, path.label) if key in kept else path
    return list(kept.values())


def _readable(lines: Sequence[Line], x_label: str, most: int = 7) -> dict[str, Any]:
    """The named curves of one common x axis at evenly spaced points, as a table's heads and rows."""
    named = [line for line in lines if line.label and len(line.xs) == len(line.ys)]
    if not named or any(list(line.xs) != list(named[0].xs) for line in named) or len(named[0].xs) < 2:
        return {}
    last = len(named[0].xs) - 1
    places = sorted({round(i * last / (most - 1)) for i in range(most)})
    rows = [[count(named[0].xs[i]), *(number(line.ys[i]) for line in named)] for i in places]
    return {"heads": [x_label, *(line.label for line in named)], "rows": rows}


@dataclass(frozen=True)
class Spark:
    """A word-sized curve in a 96 × 24 box; the dot marks the exported checkpoint."""

    d: str
    peak: Point | None
    title: str


def thinned(points: Sequence[T], most: int) -> list[T]:
    """At most so many of them, spread evenly, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def sparkline(xs: Sequence[float], ys: Sequence[float | None], peak_x: float | None, title: str) -> Spark | None:
    """Lay out a sparkline; None if its points do not reach over two places."""
    known = [(x, y) for x, y in zip(xs, ys, strict=False) if y is not None and math.isfinite(y)]
    span = (min((x for x, _ in known), default=0.0), max((x for x, _ in known), default=0.0))
    if not span[1] > span[0]:
        return None
    known = thinned(known, SPARK_POINTS)
    frame = Frame(96, 24, span, padded([y for _, y in known]), 2, 2, 2, 2)
    peak = None
    if peak_x is not None:
        x, y = min(known, key=lambda p: abs(p[0] - peak_x))
        peak = (frame.x(x), frame.y(y))
    return Spark(path_data(frame, *zip(*known, strict=True)), peak, title)


@dataclass(frozen=True)
class IntervalRow:
    """One arm of the comparison: its interval, its middle, and the mean of every training seed."""

    label: str
    css: str
    low: float
    middle: float
    high: float
    points: Sequence[float]
    y: float = 0.0


@dataclass(frozen=True)
class IntervalPlot:
    """Intervals side by side on one axis, in user units."""

    width: float
    height: float
    left: float
    right: float
    rows: list[IntervalRow]
    x_ticks: list[Tick]
    x_label: str


def interval_plot(rows: Sequence[IntervalRow], x_label: str, width: float = 960, pitch: float = 46) -> IntervalPlot:
    """Lay out one row per arm on a common axis."""
    values = [v for row in rows for v in (row.low, row.high, *row.points)]
    left, right = 130.0, 24.0
    frame = Frame(width, 10, padded(values), (0, 1), left, right)

    def placed(index: int, row: IntervalRow) -> IntervalRow:
        low, middle, high = frame.x(row.low), frame.x(row.middle), frame.x(row.high)
        return IntervalRow(
            row.label, row.css, low, middle, high, [frame.x(p) for p in row.points], pitch * (index + 0.5)
        )

    marks = [Tick(frame.x(v), tick_label(v)) for v in ticks(*frame.x_range)]
    height = pitch * len(rows) + 56
    return IntervalPlot(width, height, left, right, [placed(i, r) for i, r in enumerate(rows)], marks, x_label)
