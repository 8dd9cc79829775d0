"""What a search shows on stderr while it runs: a live table on a terminal, sparse plain lines anywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eureka_agent.population import Candidate
from eureka_agent.run import Run
from eureka_agent.settings import Recipe
from eureka_agent.text import count, duration, measure, plural, visible
from eureka_agent.watcher import Watcher
from eureka_sandbox.protocol import Progress

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

PLAIN_SECONDS = 10.0
"""Least time between two progress lines where there is no terminal."""
FINAL = "final/"
"""Prefix of the comparison's keys."""


@dataclass
class Row:
    """One training as far as it is known."""

    name: str
    made: str = ""
    state: str = "waiting"
    """`waiting`, `training`, `scoring`, `done` or `failed`."""
    progress: Progress | None = None
    fitness: float | None = None
    trouble: str = ""

    @property
    def share(self) -> float:
        """How much of the training is over, 0 to 1."""
        if self.state in ("scoring", "done", "failed"):
            return 1.0
        return min(1.0, self.progress.timesteps / self.progress.total_timesteps) if self.progress else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Until this training's end at its present speed."""
        if self.state != "training" or self.progress is None or self.progress.steps_per_second <= 0:
            return None
        return (self.progress.total_timesteps - self.progress.timesteps) / self.progress.steps_per_second


@dataclass
class Board:
    """The bookkeeping behind both displays; its methods take a lock, as the lab reports from several threads."""

    task: str
    unit: str
    generations: int
    trainings: int
    """How many this sitting will run, the comparison's included."""
    timesteps: int
    """Of one training."""
    human: float | None = None
    expected_seconds: float | None = None
    """Estimate from before the start."""
    best: tuple[str, float] | None = None
    generation: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    earlier: float = 0.0
    """Trainings of earlier generations of this sitting."""
    note: str = ""
    began: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def generation_begins(self, number: int, candidates: Sequence[Candidate]) -> None:
        """A new page of rows; what a resumed run had already measured counts as done, and not for this sitting."""
        with self.lock:
            self._turn_page()
            self.generation = number + 1
            self.rows = {c.id: Row(c.id, _made(c)) for c in candidates}

    def progressed(self, key: str, stage: str, progress: Progress) -> None:
        """A box reported."""
        with self.lock:
            if key not in self.rows:
                if not any(known.startswith(FINAL) for known in self.rows):
                    self._turn_page()
                self.rows[key] = Row(_final_name(key))
            row = self.rows[key]
            if stage == "training":
                row.progress = progress
                row.state = "training" if progress.timesteps < progress.total_timesteps else "scoring"
            else:
                row.state = stage

    def ended(self, candidate: Candidate) -> None:
        """A candidate has its fitness or its verdict."""
        with self.lock:
            row = self.rows.setdefault(candidate.id, Row(candidate.id, _made(candidate)))
            row.state = "failed" if candidate.failure else "done"
            row.fitness, row.trouble = candidate.fitness, str(candidate.failure or "")
            if candidate.fitness is not None and (self.best is None or candidate.fitness > self.best[1]):
                self.best = (candidate.id, candidate.fitness)

    def _turn_page(self) -> None:
        self.earlier += sum(row.share for row in self.rows.values())
        self.rows = {}

    @property
    def share(self) -> float:
        """How much of this sitting's training is over, 0 to 1."""
        done = self.earlier + sum(row.share for row in self.rows.values())
        return min(1.0, done / self.trainings) if self.trainings else 1.0

    @property
    def elapsed(self) -> float:
        """Seconds since the display began."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float | None:
        """By the pace so far, mixed with the estimate while little is done."""
        share = self.share
        paced = self.elapsed * (1 - share) / share if share > 0.01 else None
        if self.expected_seconds is None or paced is None:
            return paced if self.expected_seconds is None else max(self.expected_seconds - self.elapsed, 0.0)
        trust = min(1.0, share / 0.2)
        return trust * paced + (1 - trust) * max(self.expected_seconds - self.elapsed, 0.0)

    @property
    def headline(self) -> str:
        """Task, generation, incumbent, human anchor, time."""
        parts = [self.task]
        if any(key.startswith(FINAL) for key in self.rows):
            parts.append("comparison")
        elif self.generation:
            parts.append(f"generation {self.generation}/{self.generations}")
        if self.best:
            parts.append(f"best {measure(self.best[1], self.unit)} ({self.best[0]})")
        if self.human is not None:
            parts.append(f"human {measure(self.human, self.unit)}")
        left = self.seconds_left
        parts.append(duration(self.elapsed) + (f", about {duration(left)} left" if left is not None else ""))
        return " · ".join(parts)


class PlainLines:
    """A watcher for logs: a line when something ends, and a progress line now and then."""

    def __init__(self, board: Board, console: Console) -> None:
        self.board, self.console = board, console
        self._said = time.monotonic()

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        """A line per generation."""
        self.board.generation_begins(number, candidates)
        self._say(f"generation {number + 1} of {self.board.generations}: {plural(len(candidates), 'candidate')}")

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """At most one line every few seconds, about all trainings together."""
        self.board.progressed(key, stage, progress)
        with self.board.lock:
            if time.monotonic() - self._said < PLAIN_SECONDS:
                return
            running = [row for row in self.board.rows.values() if row.state == "training" and row.progress]
            if not running:
                return
            shares = ", ".join(f"{row.name} {row.share:.0%}" for row in running)
            speed = sum(row.progress.steps_per_second for row in running if row.progress)
            left = self.board.seconds_left
            rest = f"; about {duration(left)} left in all" if left is not None else ""
            self._say(f"  {shares}; {count(speed)} steps/s{rest}")

    def finished(self, candidate: Candidate) -> None:
        """A line per candidate."""
        self.board.ended(candidate)
        if candidate.failure:
            self._say(f"  {candidate.id} failed, {visible(str(candidate.failure))}")
        elif candidate.training:
            fitness = measure(candidate.fitness, self.board.unit)
            speed, seconds = count(candidate.training.steps_per_second), duration(candidate.training.seconds)
            self._say(f"  {candidate.id} {fitness}, trained in {seconds} at {speed} steps/s")

    def stage(self, text: str) -> None:
        """The lab's own words."""
        self._say(text)

    def _say(self, text: str) -> None:
        with self.board.lock:
            self._said = time.monotonic()
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

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """Kept for the next redraw."""
        self.board.progressed(key, stage, progress)

    def finished(self, candidate: Candidate) -> None:
        """Kept for the next redraw."""
        self.board.ended(candidate)

    def stage(self, text: str) -> None:
        """Shown above the table."""
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
                Text(row.state, style="dim" if row.state in ("waiting", "done") else "cyan"),
                bar,
                count(p.steps_per_second) if p else "",
                f"{p.episode_return:,.4g}" if p and p.episode_return is not None else "",
                Text(measure(row.fitness, self.board.unit) if row.fitness is not None else "", style="bold"),
                duration(row.seconds_left) if row.seconds_left is not None else "",
            )
        return table


@contextmanager
def watching(run: Run, console: Console, expected_seconds: float | None = None) -> Iterator[Watcher]:
    """Show a run's progress on `console` for as long as the context lasts."""
    board = board_of(run, expected_seconds)
    if not console.is_terminal or console.is_dumb_terminal:
        yield PlainLines(board, console)
        return
    from rich.live import Live

    table = LiveTable(board, console)
    with Live(table, console=console, refresh_per_second=4, transient=True):
        yield table


def board_of(run: Run, expected_seconds: float | None = None) -> Board:
    """A board for what is left of a run."""
    population, settings = run.population(), run.settings
    left = max(settings.generations - population.generations, 0)
    best, anchors = population.best, run.task.anchors
    return Board(
        task=run.task.name,
        unit=run.task.spec.metric.unit,
        generations=settings.generations,
        trainings=left * settings.population + 2 * settings.final_seeds,
        timesteps=Recipe.of(run.task, settings).timesteps,
        human=anchors.human.mean if anchors else None,
        expected_seconds=expected_seconds,
        best=(best.id, best.fitness) if best and best.fitness is not None else None,
        generation=population.generations,
    )


def _made(candidate: Candidate) -> str:
    return " ".join((candidate.brief.operator, *candidate.brief.parents))


def _final_name(key: str) -> str:
    """`final/human/0` → `human 1`."""
    parts = key.removeprefix(FINAL).split("/")
    return f"{parts[0]} {int(parts[1]) + 1}" if len(parts) == 2 and parts[1].isdigit() else " ".join(parts)
