"""What changed between two rewards, line by line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from markupsafe import Markup

from eureka_agent.report.markup import code_lines

CONTEXT = 3
"""Unchanged lines shown around a change."""
MOST_LINES = 3000
"""Longer code is not compared: difflib's time grows with the square."""


@dataclass(frozen=True)
class Row:
    """One line of a diff."""

    kind: str
    """`same`, `add`, `del`, or `skip` for unchanged lines that are left out."""
    text: Markup
    number: int | None = None
    """Line number in the newer code; in the older for what was taken out."""


@dataclass(frozen=True)
class Diff:
    """A candidate beside one of its parents."""

    parent: str
    added: int
    removed: int
    rows: tuple[Row, ...]
    """Empty if nothing changed, or if the code is too long to compare."""
    critique: str = ""
    """What the author was told of the parent: its reflection."""


def diff(parent: str, old: str, new: str, critique: str = "") -> Diff:
    """Compare two sources; only changes and a few lines around them are kept."""
    before, after = old.rstrip().split("\n"), new.rstrip().split("\n")
    if max(len(before), len(after)) > MOST_LINES:
        return Diff(parent, 0, 0, (), critique)
    shown = (code_lines(old.rstrip()), code_lines(new.rstrip()))
    rows: list[Row] = []
    end = 0
    for group in difflib.SequenceMatcher(None, before, after).get_grouped_opcodes(CONTEXT):
        rows += _skipped(group[0][3] - end)
        end = group[-1][4]
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                rows += [Row("same", shown[1][j], j + 1) for j in range(j1, j2)]
            else:
                rows += [Row("del", shown[0][i], i + 1) for i in range(i1, i2)]
                rows += [Row("add", shown[1][j], j + 1) for j in range(j1, j2)]
    rows += _skipped(len(after) - end) if rows else []
    added, removed = (sum(row.kind == kind for row in rows) for kind in ("add", "del"))
    return Diff(parent, added, removed, tuple(rows), critique)


def _skipped(lines: int) -> list[Row]:
    return [Row("skip", Markup(f"{lines} unchanged line{'s' if lines > 1 else ''}"))] if lines > 0 else []
