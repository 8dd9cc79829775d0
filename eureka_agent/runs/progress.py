"""`progress.json`: what a search does at this moment, for whoever looks on from another thread or process.

The journal has what is finished; this small file has the rest, and nothing depends on it. It appears by rename, at most
once a second, and stays behind when the search ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eureka_agent.errors import UsageError
from eureka_agent.population import Record
from eureka_agent.runs.storage import TEMPORARY
from eureka_agent.terminal.board import Board, Row
from eureka_agent.text import count, duration, measure, number, visible
from eureka_sandbox.backends.untrusted import Violation, parse_model

FILE = "progress.json"
SECONDS = 1.0
"""Between two looks at the board."""
MOST_POINTS = 60
"""Of a training's curve; every other one is dropped when there are more."""
MOST_ROWS = 60
"""Trainings that are told: those under way, then the latest."""
MOST_LINES = 100


class Line(Record):
    """One training, as a person reads it."""

    name: str
    made: str
    state: str
    share: float
    """Of the training that is done, 0 to 1."""
    own_return: str
    speed: str
    fitness: str
    trouble: str
    curve: tuple[tuple[float, float], ...] = ()
    """(environment steps, own return)."""


class Now(Record):
    """A search at one moment."""

    head: str
    rows: tuple[Line, ...] = ()
    log: tuple[str, ...] = ()
    """The latest lines that it said, the newest last."""


def read(run_folder: Path) -> Now | None:
    """What the search said last; None if it said nothing, or nothing that can be read."""
    from eureka_agent.review.record import read_small_file

    try:
        return parse_model(read_small_file(run_folder / FILE), FILE, Now)
    except (Violation, UsageError):
        return None


@contextmanager
def kept(board: Board, run_folder: Path) -> Iterator[None]:
    """Keep the file up to date with a board while the block runs."""
    ended = threading.Event()
    keeper = _Keeper(board, run_folder / FILE)

    def keep() -> None:
        while not ended.wait(SECONDS):
            keeper.look()

    thread = threading.Thread(target=keep, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        keeper.look()


class _Keeper:
    def __init__(self, board: Board, path: Path) -> None:
        self._board, self._path = board, path
        self._curves: dict[str, list[tuple[float, float]]] = {}
        self._written = b""

    def look(self) -> None:
        """Write what has changed; a disk that is full is the journal's to complain of."""
        with self._board.lock:
            data = self._now().model_dump_json().encode()
        if data == self._written:
            return
        temporary = self._path.with_name(f"{TEMPORARY}{FILE}")
        with suppress(OSError):
            temporary.write_bytes(data)
            os.replace(temporary, self._path)
            self._written = data

    def _now(self) -> Now:
        board = self._board
        latest = sorted(board.rows, key=lambda key: board.rows[key].running)[-MOST_ROWS:]
        rows = {key: row for key, row in board.rows.items() if key in set(latest)}
        self._curves = {key: curve for key, curve in self._curves.items() if key in rows}
        lines = tuple(self._line(key, row) for key, row in rows.items())
        return Now(head=_head(board), rows=lines, log=tuple(map(visible, board.said))[-MOST_LINES:])

    def _line(self, key: str, row: Row) -> Line:
        progress = row.progress
        if progress and progress.episode_return is not None:
            curve = self._curves.setdefault(key, [])
            point = (float(progress.timesteps), float(progress.episode_return))
            if curve and curve[-1][0] > point[0]:
                curve.clear()  # another box begins again
            if not curve or curve[-1][0] < point[0]:
                curve.append(point)
            if len(curve) > MOST_POINTS:
                del curve[1:-1:2]
        return Line(
            name=row.name,
            made=row.made,
            state=row.state,
            share=row.share,
            own_return=number(progress.episode_return) if progress and progress.episode_return is not None else "",
            speed=count(progress.steps_per_second) if progress and row.running else "",
            fitness=measure(row.fitness, self._board.unit) if row.fitness is not None else "",
            trouble=visible(row.trouble),
            curve=tuple(self._curves.get(key, ())),
        )


def _head(board: Board) -> str:
    """The terminal's headline, without the seconds that tick."""
    parts = [f"generation {board.generation} of {board.generations}" if board.generation else "beginning"]
    parts += [f"{board.best[0]} leads with {measure(board.best[1], board.unit)}"] if board.best else []
    parts += [board.waiting] if board.waiting else []
    left = board.seconds_left
    parts += [f"about {duration(60 * max(1, round(left / 60)))} left"] if left is not None and not board.waiting else []
    parts += [f"language models: {board.spend}"] if board.spend else []
    return ", ".join(parts)
