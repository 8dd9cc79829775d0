"""What a search shows on stderr while it runs: a live table on a terminal, sparse plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eureka_agent.population import Candidate, Training
from eureka_agent.runs.progress import kept
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Trial
from eureka_agent.terminal.board import Board, Row, board_of
from eureka_agent.terminal.watcher import Watcher
from eureka_agent.text import count, duration, measure, plural, visible
from eureka_sandbox.protocol import Failure, Progress

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

PLAIN_SECONDS = 10.0
"""Least time between two progress lines where there is no terminal."""


class PlainLines:
    """A watcher for logs: a line when something ends, and a progress line now and then."""

    def __init__(self, board: Board, console: Console) -> None:
        self.board, self.console = board, console
        self._said = time.monotonic()

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        """A line per generation."""
        self.board.generation_begins(number, candidates)
        spend = f"; language models so far: {self.board.spend}" if self.board.spend else ""
        self._say(f"generation {number + 1} of {self.board.generations}: {plural(len(candidates), 'candidate')}{spend}")

    def started(self, key: str, stage: str) -> None:
        """Said with the next progress line."""
        self.board.begun(key, stage)
        self._now_and_then()

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """Said with the next progress line."""
        self.board.progressed(key, stage, progress)
        self._now_and_then()

    def finished(self, candidate: Candidate) -> None:
        """A line per candidate."""
        self.board.ended(candidate)
        halted = _halted(candidate, self.board.timesteps)
        self._end(candidate.id, candidate.fitness, candidate.training, candidate.failure, halted)

    def raced(self, candidate: Candidate) -> None:
        """Said with the next progress line."""
        self.board.raced(candidate)

    def leads(self, name: str, fitness: float) -> None:
        """The contest has said why."""
        self.board.leads(name, fitness)

    def concluded(self, key: str, trial: Trial) -> None:
        """A line per trial of a contest or of the comparison."""
        row = self.board.concluded(key, trial)
        self._end(row.name, row.fitness, trial.training, trial.failure)

    def waiting(self, text: str) -> None:
        """A line whenever it changes."""
        self.board.waits(text)
        if text:
            self._say(text)

    def stage(self, text: str) -> None:
        """The lab's own words."""
        self._say(text)

    def _end(
        self,
        name: str,
        fitness: float | None,
        training: Training | None,
        failure: Failure | None,
        halted: str = "",
    ) -> None:
        if failure:
            self._say(f"  {name} failed, {visible(str(failure))}")
            return
        text = f"  {name}: {measure(fitness, self.board.unit)}{halted}"
        if training:
            text += f", trained in {duration(training.seconds)} at {count(training.steps_per_second)} steps/s"
        self._say(text)

    def _now_and_then(self) -> None:
        """At most one line every few seconds, about all boxes together."""
        with self.board.lock:
            running = [row for row in self.board.rows.values() if row.running]
            if time.monotonic() - self._said < PLAIN_SECONDS or not running:
                return
            shares = ", ".join(f"{row.name} {_standing(row)}" for row in running)
            speed = sum(row.progress.steps_per_second for row in running if row.progress and row.state == "training")
            parts, left = [f"  {shares}"], self.board.seconds_left
            parts += [f"{count(speed)} steps/s"] if speed else []
            parts += [f"about {duration(left)} of training left"] if left is not None else []
            self._say("; ".join(parts))

    def _say(self, text: str) -> None:
        with self.board.lock:
            self._said = time.monotonic()
            self.board.said.append(text)
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class LiveTable:
    """A watcher for terminals: one table, redrawn four times a second from the board."""

    def __init__(self, board: Board, console: Console) -> None:
        self.board, self.console = board, console

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        """A fresh table; the last one stays above as a line."""
        if self.board.generation and self.board.best:
            name, fitness = self.board.best
            best = f"best {measure(fitness, self.board.unit)} ({name})"
            self.console.print(f"generation {self.board.generation}: {best}", style="dim", markup=False)
        self.board.generation_begins(number, candidates)

    def started(self, key: str, stage: str) -> None:
        """Kept for the next redraw."""
        self.board.begun(key, stage)

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """Kept for the next redraw."""
        self.board.progressed(key, stage, progress)

    def finished(self, candidate: Candidate) -> None:
        """Kept for the next redraw."""
        self.board.ended(candidate)

    def raced(self, candidate: Candidate) -> None:
        """Kept for the next redraw."""
        self.board.raced(candidate)

    def leads(self, name: str, fitness: float) -> None:
        """Kept for the next redraw."""
        self.board.leads(name, fitness)

    def concluded(self, key: str, trial: Trial) -> None:
        """Kept for the next redraw."""
        self.board.concluded(key, trial)

    def waiting(self, text: str) -> None:
        """Part of the headline."""
        self.board.waits(text)

    def stage(self, text: str) -> None:
        """Shown above the table."""
        self.board.said.append(text)
        self.console.print(text, style="dim", highlight=False, markup=False)

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        with self.board.lock:
            return Group(Text(self.board.headline, style="bold"), self._table())

    def _table(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for heading in ("candidate", "made by", "", ""):
            table.add_column(heading, no_wrap=True)
        for heading in ("steps/s", "own return", "fitness", "left"):
            table.add_column(heading, justify="right", no_wrap=True)
        for key, row in self.board.rows.items():
            p, leads = row.progress, self.board.best is not None and key == self.board.best[0]
            name = Text(row.name, style="bold green" if leads else "")
            bar = ProgressBar(
                total=1.0, completed=row.share, width=18, complete_style="cyan", finished_style="dim cyan"
            )
            if row.state == "failed":
                trouble = Text(visible(row.trouble), style="red", overflow="ellipsis", no_wrap=True)
                table.add_row(name, Text(row.made, style="dim"), Text("failed", style="red"), trouble)
                continue
            table.add_row(
                name,
                Text(row.made, style="dim"),
                Text(row.state, style="dim" if row.state in ("waiting", "done", "stopped") else "cyan"),
                bar,
                count(p.steps_per_second) if p else "",
                f"{p.episode_return:,.4g}" if p and p.episode_return is not None else "",
                Text(measure(row.fitness, self.board.unit) if row.fitness is not None else "", style="bold"),
                duration(row.seconds_left) if row.seconds_left is not None else "",
            )
        return table


@contextmanager
def watching(
    run: Run, console: Console, expected_seconds: float | None = None, plain: bool = False
) -> Iterator[Watcher]:
    """Show a run's progress on `console` for as long as the context lasts; `plain` draws no table on a terminal."""
    board = board_of(run, expected_seconds)
    with kept(board, run.folder):
        if plain or not console.is_terminal or console.is_dumb_terminal:
            yield PlainLines(board, console)
            return
        from rich.live import Live

        table = LiveTable(board, console)
        with Live(table, console=console, refresh_per_second=4, transient=True):
            yield table


def _halted(candidate: Candidate, timesteps: int) -> str:
    """`, stopped after 75k of 300k steps`, if racing stopped it."""
    if not candidate.stopped or not candidate.rungs:
        return ""
    return f", stopped after {count(candidate.rungs[-1].timesteps)} of {count(timesteps)} steps"


def _standing(row: Row) -> str:
    return f"{row.share:.0%}" if row.state == "training" else row.state
