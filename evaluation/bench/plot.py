"""The benchmark's plot as an SVG written by hand: bars for speeds, dots with whiskers on a log axis for times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from figures import Figures
from intervals import Interval, median_interval
from speeds import ARMS, COLD
from stepping import RATES
from time_to_fitness import GOALS

WIDTH, LABELS, VALUES, ROW = 900, 330, 190, 24
"""Pixels: whole width, column of labels, column of figures at the right, height of a row."""
LEFT, RIGHT = LABELS, WIDTH - VALUES
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 14px } .note { fill: #57606a; font-size: 12px }
  .ours { fill: #1a7f37 } .peer { fill: #8c959f } .whisker { stroke: #24292f; stroke-width: 1.5 }
  .axis { stroke: #d0d7de; stroke-width: 1 } .paper { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 } .ours { fill: #3fb950 } .peer { fill: #6e7681 }
    .whisker { stroke: #e6edf3 } .axis { stroke: #3d444d } .paper { fill: #0d1117 }
  }
"""


class Canvas:
    """Elements from top to bottom."""

    def __init__(self) -> None:
        self.y = 8.0
        self._elements: list[str] = []

    def text(self, x: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Words with their middle at the present height."""
        self._elements.append(
            f'<text x="{x:.1f}" y="{self.y + 4.5:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def bar(self, x: float, width: float, kind: str) -> None:
        """A horizontal bar around the present height."""
        self._elements.append(
            f'<rect x="{x:.1f}" y="{self.y - 7:.1f}" width="{width:.1f}" height="14" rx="2" class="{kind}"/>'
        )

    def dot(self, x: float, kind: str) -> None:
        """A median."""
        self._elements.append(f'<circle cx="{x:.1f}" cy="{self.y:.1f}" r="5" class="{kind}"/>')

    def arrow(self, x: float, kind: str) -> None:
        """A median that is a lower bound."""
        points = " ".join(f"{x + dx:.1f},{self.y + dy:.1f}" for dx, dy in ((-4, -6), (7, 0), (-4, 6)))
        self._elements.append(f'<polygon points="{points}" class="{kind}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line, y relative to the present height."""
        self._elements.append(
            f'<line x1="{x1:.1f}" y1="{self.y + y1:.1f}" x2="{x2:.1f}" y2="{self.y + y2:.1f}" class="{kind}"/>'
        )

    def svg(self) -> str:
        """The whole file."""
        box = f'viewBox="0 0 {WIDTH} {self.y:.0f}" width="{WIDTH}" height="{self.y:.0f}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
        paper = '<rect width="100%" height="100%" class="paper"/>'
        return "\n".join([head, f"<style>{STYLE}</style>", paper, *self._elements, "</svg>"]) + "\n"


def plot(figures: Figures) -> str:
    """The SVG of parts (a), (b) and (c), as far as they are there."""
    canvas = Canvas()
    for body in figures.below("a"):
        _bars(
            canvas, f"Control steps per second, {body}, one thread", list(figures.medians(f"a/{body}", RATES).items())
        )
    for body in figures.below("b"):
        arms = [arm for arm in figures.below(f"b/{body}") if arm != COLD]
        rates = {ARMS[arm].title: figures.median(f"b/{body}/{arm}", "steps_per_second") for arm in arms}
        _bars(canvas, f"Training steps per second, {body}, one core", list(rates.items()))
    if goals := figures.below("c"):
        _times(canvas, figures, goals)
    canvas.text(8, "median and 95 % interval; see bench.md", "note")
    canvas.y += ROW
    return canvas.svg()


def _bars(canvas: Canvas, title: str, rows: Sequence[tuple[str, Interval]]) -> None:
    _title(canvas, title)
    scale = (RIGHT - LEFT) / max(interval.high for _, interval in rows)
    for name, interval in rows:
        canvas.text(LEFT - 10, name, anchor="end")
        canvas.bar(LEFT, interval.value * scale, _kind(name))
        _whisker(canvas, LEFT + interval.low * scale, LEFT + interval.high * scale)
        canvas.text(RIGHT + 14, interval.text())
        canvas.y += ROW
    canvas.y += ROW / 2


def _times(canvas: Canvas, figures: Figures, goals: Sequence[str]) -> None:
    _title(canvas, "Wall time to a fitness, s, one core (log scale; ▶: stopped, at least so long)")
    rows = [
        (name, arm, median_interval(times))
        for name in goals
        for arm in ("ours", "sb3")
        if (times := figures.times(f"c/{name}/{arm}"))
    ]
    low = math.floor(math.log10(min(interval.low for *_, interval in rows)) * 2) / 2
    high_power = math.ceil(math.log10(max(interval.high for *_, interval in rows)) * 2) / 2

    def x(seconds: float) -> float:
        return LEFT + (math.log10(seconds) - low) / (high_power - low) * (RIGHT - LEFT)

    marks = [mark for power in range(5) for mark in (10**power, 3 * 10**power) if 10**low <= mark <= 10**high_power]
    for mark in marks:
        canvas.text(x(mark), f"{mark:,}", "note", "middle")
        canvas.line(x(mark), 10, x(mark), 12 + ROW * len(rows), "axis")
    canvas.y += ROW
    for name, arm, interval in rows:
        told = "ours" if arm == "ours" else "SB3's defaults, 4 envs"
        canvas.text(LEFT - 10, f"{GOALS[name].words}: ours" if arm == "ours" else told, anchor="end")
        if not interval.at_least:
            high = 10**high_power if interval.open_above else interval.high
            _whisker(canvas, x(interval.low), x(high), open_above=interval.open_above)
        (canvas.arrow if interval.at_least else canvas.dot)(x(interval.value), _kind(told))
        canvas.text(RIGHT + 14, interval.text())
        canvas.y += ROW
    canvas.y += ROW / 2


def _title(canvas: Canvas, title: str) -> None:
    canvas.y += ROW / 2
    canvas.text(8, title, "title")
    canvas.y += ROW * 1.1


def _whisker(canvas: Canvas, low: float, high: float, *, open_above: bool = False) -> None:
    """A line between two ends; one that is open above has no cap there."""
    canvas.line(low, 0, high, 0, "whisker")
    for end in (low,) if open_above else (low, high):
        canvas.line(end, -4, end, 4, "whisker")


def _kind(name: str) -> str:
    return "ours" if name.startswith("our") else "peer"
