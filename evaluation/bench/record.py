"""Finished measurements, one JSON line each, appended as soon as they end: what is there is not measured again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One finished measurement."""

    key: str
    """`part/…/seed`."""
    parameters: dict[str, Any]
    """What it was measured with; a row with others than are asked for now is not used."""
    result: dict[str, Any]
    wall: float
    """Seconds it took, everything included."""
    side_by_side: int
    """How many measurements ran at once."""
    date: str
    revision: str
    """Of the repository; a `+` after it: with changes that are not committed."""
    machine: str
    """Processor, system and versions."""


class Record:
    """The rows of one file; the latest of a key counts. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a crash cut short is dropped.

        Raises:
            ValueError: another line is no row.
        """
        self.path = path
        self._rows: dict[str, Row] = {}
        self._stale: set[str] = set()
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        whole, _, rest = text.rpartition("\n")
        if rest:
            os.truncate(path, len((whole + "\n").encode()) if whole else 0)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number} is no measurement ({error}); move the file away") from error
            self._rows[row.key] = row

    def add(self, row: Row) -> None:
        """Append a row, durably."""
        with self._lock, self.path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
            file.flush()
            os.fsync(file.fileno())
            self._rows[row.key] = row
            self._stale.discard(row.key)

    def doubt(self, prefixes: Sequence[str]) -> None:
        """Have all rows that `within` finds under one of these measured again; each stays until then."""
        with self._lock:
            self._stale = {key for key in self._rows if within(key, prefixes)}

    def get(self, key: str) -> Row | None:
        """The latest row of a key; None if it is to be measured again."""
        return None if key in self._stale else self._rows.get(key)

    def under(self, prefix: str) -> list[Row]:
        """All rows whose key begins with `prefix/`, one per seed, in the order of the seeds."""
        with self._lock:
            found = [row for key, row in self._rows.items() if key.startswith(f"{prefix}/")]
        return sorted(found, key=lambda row: [(len(part), part) for part in row.key.split("/")])


def within(key: str, prefixes: Sequence[str]) -> bool:
    """Whether a key is one of these or lies below one: `b/hopper/ours/0` is below `b` and `b/hopper`."""
    return any(f"{key}/".startswith(f"{prefix}/") for prefix in prefixes)
