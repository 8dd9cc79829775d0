"""Writes what has been measured so far: docs/bench.md (tables) and docs/bench.svg (plot)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from figures import Figures
from plan import PARTS, Options
from plot import plot
from record import Record, Row
from tables import TABLES, verdicts

PAGE = "bench.md"
NOTHING = "Not measured yet.\n"
HEAD = """# Benchmark

Speed and quality beside the limits (bare MuJoCo) and the peers (gymnasium, EnvPool, Stable-Baselines3, SBX), measured
side by side. `make bench-full` writes this page and the plot; it continues where it was stopped.

![Control steps per second, training steps per second and wall time to a fitness, ours beside its peers](bench.svg)

Figures are medians with 95 % intervals over repetitions (seeds) in processes of their own: `12.3 [11.9, 12.8]`.
Intervals of medians are the sign test's and assume no distribution; those of ratios of medians are the rank-sum
test's, which takes both sides for alike up to a factor. Both hold for numbers that are only known as "at least so much"
(`≥`); with fewer than 6 repetitions they cover less than 95 %, which is then said. Every process has one thread and one
core of its own, as far as a shared machine gives it one, and at most {side_by_side} of them run at once; searches have
all cores. Compare within this page only: absolute figures depend on the machine.
"""


class WouldLose(Exception):
    """The page tells of parts that are not among the finished measurements."""


def publish(options: Options, record: Record, docs: Path, command: str) -> list[Path]:
    """Write both files from every finished measurement that fits `options`; their paths.

    Raises:
        WouldLose: what is there tells more parts.
    """
    figures = Figures(options, record)
    page, image = docs / PAGE, docs / "bench.svg"
    _see(page, {row.key[0] for row in figures.rows}, record)
    sections = [f"## ({part}) {title.capitalize()}\n\n{_table(part, figures)}" for part, title in PARTS.items()]
    page.write_text("\n".join([_head(figures), verdicts(figures), *sections, _colophon(figures, command)]))
    image.write_text(plot(figures))
    return [page, image]


def must_not_lose(options: Options, record: Record, wanted: set[str], docs: Path) -> None:
    """See before hours are spent whether the page could be written afterwards.

    Raises:
        WouldLose: it tells of parts that are neither `wanted` nor among the finished measurements.
    """
    _see(docs / PAGE, wanted | {row.key[0] for row in Figures(options, record).rows}, record)


def _see(page: Path, parts: set[str], record: Record) -> None:
    if lost := _told(page) - parts:
        raise WouldLose(
            f"{page} tells of part {', '.join(sorted(lost))}, of which {record.path} has no measurement that fits; "
            f"measure it again (--only {','.join(sorted(lost))}), or write elsewhere (--docs FOLDER)"
        )


def _told(page: Path) -> set[str]:
    """Parts of which a page has figures."""
    sections = page.read_text().split("\n## (")[1:] if page.exists() else []
    return {section[0] for section in sections if NOTHING not in section}


def _head(figures: Figures) -> str:
    return HEAD.format(side_by_side=max([row.side_by_side for row in figures.rows], default=1))


def _table(part: str, figures: Figures) -> str:
    return TABLES[part](figures) if any(row.key[0] == part for row in figures.rows) else NOTHING


def _colophon(figures: Figures, command: str) -> str:
    lines = [
        "## How this was measured\n",
        *(_sittings(part, rows) for part in PARTS if (rows := [row for row in figures.rows if row.key[0] == part])),
        *(f"* {machine}" for machine in _distinct([row.machine for row in figures.rows])),
        f"* last command: `{command.replace(str(Path.home()), '~')}`",
    ]
    return "\n".join(lines) + "\n"


def _sittings(part: str, rows: Sequence[Row]) -> str:
    """When a part was measured, and what."""
    dates = sorted(row.date for row in rows)
    revisions = ", ".join(f"`{revision}`" for revision in _distinct([row.revision for row in rows]))
    return f"* ({part}) {len(rows)} measurements between {dates[0]} and {dates[-1]}, revision {revisions}"


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))
