"""Component maps: what the best reward pays over two state variables, drawn as bands with contours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eureka_agent.lab.maps import Axis, Maps, loaded, maps_key
from eureka_agent.population import Candidate
from eureka_agent.report.charts import Frame, Tick, tick_label, ticks
from eureka_agent.runs.run import Run
from eureka_agent.text import number

BANDS = 5
"""Bands of pay, and as many of cost."""
COMPONENTS = 3
"""Components drawn beside the total, those that vary most over the map."""
DOTS = 120
"""States of the policy's own episode that are marked."""
SIZE = (300.0, 236.0)

Grid = Sequence[Sequence[float]]
"""Values by row (y) and column (x); not a number where the reward failed."""


@dataclass(frozen=True)
class Surface:
    """What one reward pays over two state variables."""

    x: Axis
    y: Axis
    terms: tuple[str, ...]
    """`total`, then components."""
    grids: tuple[Grid, ...]
    """By term."""
    visited: tuple[tuple[float, float], ...] = ()
    """Where an episode of its policy went."""


@dataclass(frozen=True)
class Patch:
    """All cells of one band: SVG path data."""

    css: str
    d: str


@dataclass(frozen=True)
class MapDrawing:
    """One map, in SVG user units."""

    title: str
    note: str
    """The range of values."""
    label: str
    """All of it for a screen reader."""
    frame: Frame
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    patches: list[Patch]
    contours: str
    visited: str


@dataclass(frozen=True)
class MapRow:
    """The maps over one pair of variables."""

    title: str
    drawings: list[MapDrawing]


def surfaces(run: Run, best: Candidate | None) -> dict[str, tuple[Surface, ...]]:
    """The maps that the run holds of its best reward, under `candidate`, and of the human one, under `human`."""
    if best is None:
        return {}
    found: dict[str, tuple[Surface, ...]] = {}
    for pair in (*run.settings.maps, ""):  # what a person asked for comes first
        for name, reward in (("candidate", best.id), ("human", f"human-{best.id}")):
            maps = run.decided(maps_key(reward, pair), Maps)
            if maps and maps.values:
                visited = _visited(run, best, maps) if name == "candidate" else [()] * len(maps.axes)
                found[name] = (*found.get(name, ()), *_surfaces(run, maps, visited))
    return found


def _surfaces(run: Run, maps: Maps, visited: Sequence[tuple[tuple[float, float], ...]]) -> Iterator[Surface]:
    values = loaded(run, maps).tolist()
    for place, (x, y) in enumerate(maps.axes):
        yield Surface(x, y, maps.terms, tuple(term[place] for term in values), visited[place])


def _visited(run: Run, best: Candidate, maps: Maps) -> list[tuple[tuple[float, float], ...]]:
    """States of the recorded episode of median fitness, by map."""
    from eureka_evaluation.recording import load_episodes

    score = best.score
    if score is None or score.episodes is None or not score.recorded:
        return [()] * len(maps.axes)
    ranked = sorted(score.recorded, key=lambda position: score.fitness[position])
    state = load_episodes(run.blob(score.episodes))[ranked[(len(ranked) - 1) // 2]].state

    def column(axis: Axis) -> list[float]:
        values: list[float] = state[axis.variable][axis.place].tolist()
        return values[:: max(1, len(values) // DOTS)]

    return [tuple(zip(column(x), column(y), strict=True)) for x, y in maps.axes]


def map_rows(found: dict[str, tuple[Surface, ...]], units: dict[str, str]) -> list[MapRow]:
    """For each pair of variables the best's total, the human reward's, and the best's components."""
    human = {(surface.x, surface.y): surface for surface in found.get("human", ())}
    rows = []
    for surface in found.get("candidate", ()):
        drawings = [draw("best, total", surface, 0, units)]
        if beside := human.get((surface.x, surface.y)):
            drawings.append(draw("human reward, total", beside, 0, units))
        spread = {term: _spread(surface.grids[term]) for term in range(1, len(surface.terms))}
        varying = sorted((term for term, range_ in spread.items() if range_ > 0), key=lambda term: -spread[term])
        drawings += [draw(surface.terms[term], surface, term, units) for term in varying[:COMPONENTS]]
        x, y = (_named(axis, units) for axis in (surface.x, surface.y))
        rows.append(MapRow(f"{x} and {y}", drawings))
    return rows


def draw(title: str, surface: Surface, term: int, units: dict[str, str]) -> MapDrawing:
    """Lay out one map."""
    grid, x, y = surface.grids[term], surface.x, surface.y
    frame = Frame(*SIZE, (x.low, x.high), (y.low, y.high), 58, 8, 8, 40)
    known = [v for row in grid for v in row if math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    names = _named(x, units), _named(y, units)
    inside = [(a, b) for a, b in surface.visited if x.low <= a <= x.high and y.low <= b <= y.high]
    return MapDrawing(
        title=title,
        note=f"{number(low)} to {number(high)}",
        label=f"{title} over {names[0]} and {names[1]}: from {number(low)} to {number(high)}{_extremes(surface, term)}",
        frame=frame,
        x_label=names[0],
        y_label=names[1],
        x_ticks=[Tick(frame.x(v), tick_label(v)) for v in ticks(x.low, x.high, 5)],
        y_ticks=[Tick(frame.y(v), tick_label(v)) for v in ticks(y.low, y.high, 5)],
        patches=_patches(grid, frame, low, high),
        contours="".join(_contour(grid, frame, level) for level in _levels(low, high)),
        visited="".join(f"M{frame.x(a)} {frame.y(b)}h0" for a, b in inside),
    )


def _named(axis: Axis, units: dict[str, str]) -> str:
    unit = units.get(axis.variable, "")
    return axis.name if unit in ("", "1", "-") else f"{axis.name} ({unit})"


def _spread(grid: Grid) -> float:
    known = [v for row in grid for v in row if math.isfinite(v)]
    return max(known) - min(known) if known else 0.0


def _extremes(surface: Surface, term: int) -> str:
    """Where the highest value is, in words."""
    cells = [(v, i, j) for j, row in enumerate(surface.grids[term]) for i, v in enumerate(row) if math.isfinite(v)]
    if not cells or max(cells)[0] == min(cells)[0]:
        return ""
    _, column, row = max(cells)
    size = max(len(surface.grids[term]) - 1, 1)
    at = [a.low + (a.high - a.low) * place / size for a, place in ((surface.x, column), (surface.y, row))]
    return f", the highest at {surface.x.name} {number(at[0])}, {surface.y.name} {number(at[1])}"


def _levels(low: float, high: float) -> list[float]:
    """Where bands meet: even steps from zero, or from the end that is nearer to it if all pay or all cost."""
    if not high > low:
        return []
    start, reach = (0.0, max(high, -low)) if low < 0 < high else (low, high - low) if low >= 0 else (high, high - low)
    steps = [reach * k / BANDS for k in range(1, BANDS)]
    found = [start + s for s in steps] + [start - s for s in steps] + ([0.0] if low < 0 < high else [])
    return sorted(level for level in found if low < level < high)


def _band(value: float, low: float, high: float) -> str:
    """`p0` to `p4` for pay, `n0` to `n4` for cost, `none` where the reward failed."""
    if not math.isfinite(value):
        return "none"
    if low < 0 < high:
        share, letter = abs(value) / max(high, -low), "p" if value >= 0 else "n"
    else:
        letter = "p" if low >= 0 else "n"
        share = 0.0 if high <= low else (value - low if letter == "p" else high - value) / (high - low)
    return f"{letter}{min(int(share * BANDS), BANDS - 1)}"


def _patches(grid: Grid, frame: Frame, low: float, high: float) -> list[Patch]:
    """Cells around the grid's points, runs of one band in one stroke."""
    size = len(grid)
    left, right = frame.left, frame.width - frame.right
    top, bottom = frame.top, frame.base
    width, height = (right - left) / size, (bottom - top) / size
    paths: dict[str, list[str]] = {}
    for row, values in enumerate(grid):
        bands = [_band(value, low, high) for value in values]
        begin = 0
        for place in range(1, size + 1):
            if place == size or bands[place] != bands[begin]:
                x, y = left + begin * width, bottom - (row + 1) * height
                run = (place - begin) * width
                paths.setdefault(bands[begin], []).append(f"M{x:.1f} {y:.1f}h{run:.1f}v{height + 0.3:.1f}h-{run:.1f}z")
                begin = place
    return [Patch(band, "".join(parts)) for band, parts in sorted(paths.items())]


def _contour(grid: Grid, frame: Frame, level: float) -> str:
    """Marching squares: where the surface crosses a level, as short straight pieces."""
    return "".join(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}" for a, b in _crossings(grid, frame, level))


def _crossings(grid: Grid, frame: Frame, level: float) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    size = len(grid)
    left, top = frame.left, frame.top
    width = (frame.width - frame.right - left) / size
    height = (frame.base - top) / size

    def at(column: float, row: float) -> tuple[float, float]:
        return left + (column + 0.5) * width, frame.base - (row + 0.5) * height

    for j in range(size - 1):
        for i in range(size - 1):
            corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
            values = [grid[row][column] - level for column, row in corners]
            if not all(map(math.isfinite, values)) or min(values) >= 0 or max(values) < 0:
                continue
            points = []
            for k in range(4):
                a, b = values[k], values[(k + 1) % 4]
                if (a < 0) != (b < 0):
                    (x0, y0), (x1, y1), t = corners[k], corners[(k + 1) % 4], a / (a - b)
                    points.append(at(x0 + t * (x1 - x0), y0 + t * (y1 - y0)))
            yield from zip(points[::2], points[1::2], strict=True)
