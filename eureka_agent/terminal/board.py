"""Where a search stands, trial by trial: the bookkeeping behind what is shown while it runs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eureka_agent.lab.racing import most_steps
from eureka_agent.population import Candidate
from eureka_agent.runs.run import Run
from eureka_agent.runs.spending import spent_line
from eureka_agent.search.comparison import Trial
from eureka_agent.search.estimate import planned, within_steps
from eureka_agent.settings import Recipe
from eureka_agent.text import duration, measure
from eureka_sandbox.protocol import Progress

FINAL = "final/"
"""Prefix of the comparison's keys."""
FILM = "film/"
"""Prefix of the films' keys: they are short, and no trial of their own."""


@dataclass
class Row:
    """One trial, a training and its scoring, as far as it is known."""

    name: str
    made: str = ""
    state: str = "waiting"
    """`waiting` (to begin, or at a rung), `starting`, `training`, `scoring`, `done`, `stopped` or `failed`."""
    progress: Progress | None = None
    fitness: float | None = None
    trouble: str = ""
    trains: bool = True
    """False for a random policy, which is only scored."""
    reached: float = 0.0
    """Share of the training up to the last rung."""
    inherited: float | None = None
    """Share that was there when a box of this sitting first began it; None: none has."""
    since: float = 0.0
    """When it did, on the monotonic clock."""

    @property
    def running(self) -> bool:
        """Whether a box is at work."""
        return self.state in ("starting", "training", "scoring")

    @property
    def share(self) -> float:
        """How much of the training is over, 0 to 1."""
        if not self.trains:
            return 0.0
        if self.state in ("done", "failed"):
            return 1.0
        if self.state == "stopped":
            return self.reached
        if self.progress is None:
            return 1.0 if self.state == "scoring" else self.reached
        return min(1.0, self.progress.timesteps / self.progress.total_timesteps)

    @property
    def worked(self) -> float:
        """How much of the training this sitting did: nothing where a killed one had, or where nothing is trained."""
        return 0.0 if self.inherited is None else self.share - self.inherited

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
    trainings: float
    """How many whole ones this sitting will run, contests and the comparison included, about."""
    timesteps: int
    """Of one training."""
    ahead: Callable[[int | None], float] | None = None
    """As `trainings`, of what comes after so many generations (None: of the comparison); without it what was thought in
    the beginning stands."""
    human: float | None = None
    expected_seconds: float | None = None
    """Estimate from before the start."""
    best: tuple[str, float] | None = None
    contested: bool = False
    """Whether that is a contest's word; until there was one, the best score leads."""
    generation: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    spent: Callable[[], str] = lambda: ""
    """What language models have cost so far, in words."""
    spend: str = ""
    """The same, as it was when a generation was last about to be measured, or something last waited for."""
    waiting: str = ""
    """What the search waits for outside the boxes."""
    waiting_since: float = 0.0
    waited: float = 0.0
    """Seconds of this sitting that were spent on it, and before its first training."""
    trains: bool = False
    """Whether a training has begun in this sitting: what comes before it happens once, and is no pace."""
    earlier: float = 0.0
    """Trainings of earlier generations of this sitting."""
    spared: float = 0.0
    """Trainings among those of earlier generations that took no time: from before this sitting, or never begun."""
    said: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    """The latest lines that were shown outside the table."""
    began: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def generation_begins(self, number: int, candidates: Sequence[Candidate]) -> None:
        """A new page of rows."""
        with self.lock:
            self._turn_page(number)
            self.generation = number + 1
            self.generations = max(self.generations, self.generation)  # who failed leaves steps for more
            self.spend = self.spent()
            self.rows = {c.id: Row(c.id, _made(c)) for c in candidates}

    def waits(self, text: str) -> None:
        """The search waits for something outside the boxes, or (empty) no longer does."""
        with self.lock:
            now = time.monotonic()
            if self.waiting:
                self.waited += now - self.waiting_since
            self.waiting, self.waiting_since = text, now
            self.spend = self.spent()

    def begun(self, key: str, stage: str) -> None:
        """A box starts."""
        with self.lock:
            if stage == "training" and not self.trains:
                self.trains, self.waited = True, self.elapsed
            if not key.startswith(FILM):
                self._row_at_work(key).state = "starting" if stage == "training" else "scoring"

    def progressed(self, key: str, stage: str, progress: Progress) -> None:
        """A box reported."""
        with self.lock:
            if not key.startswith(FILM):
                begun = self._row(key).inherited is not None
                row = self._row_at_work(key)
                row.state = stage
                if stage == "training":
                    first, row.progress = row.progress is None, progress
                    if begun and first and row.inherited is not None:
                        own = progress.steps_per_second * (time.monotonic() - row.since) / progress.total_timesteps
                        row.inherited = max(row.inherited, row.share - own)  # what a checkpoint had

    def raced(self, candidate: Candidate) -> None:
        """A candidate is at a rung."""
        with self.lock:
            row = self._row(candidate.id)
            row.state, row.fitness = "waiting", candidate.rungs[-1].fitness
            row.reached = candidate.rungs[-1].timesteps / self.timesteps

    def leads(self, name: str, fitness: float) -> None:
        """A contest settled who leads, with what mean fitness."""
        with self.lock:
            self.best, self.contested = (name, fitness), True

    def concluded(self, key: str, trial: Trial) -> Row:
        """A trial of a contest or of the comparison has its score or its verdict."""
        with self.lock:
            row = self._row(key)
            row.state = "failed" if trial.failure else "done"
            row.fitness, row.trouble = trial.score.mean if trial.score else None, str(trial.failure or "")
            return row

    def ended(self, candidate: Candidate) -> None:
        """A candidate has its fitness or its verdict."""
        with self.lock:
            row = self.rows.setdefault(candidate.id, Row(candidate.id, _made(candidate)))
            row.state = "failed" if candidate.failure else "stopped" if candidate.stopped else "done"
            row.fitness, row.trouble = candidate.fitness, str(candidate.failure or "")
            if candidate.stopped and candidate.rungs:
                row.reached = candidate.rungs[-1].timesteps / self.timesteps
            higher = candidate.fitness is not None and (self.best is None or candidate.fitness > self.best[1])
            if higher and not candidate.stopped and not self.contested:
                self.best = (candidate.id, candidate.fitness or 0.0)

    def _row(self, key: str) -> Row:
        if key not in self.rows:
            if key.startswith(FINAL) and not any(known.startswith(FINAL) for known in self.rows):
                self._turn_page(None)
            self.rows[key] = _new_row(key)
        return self.rows[key]

    def _row_at_work(self, key: str) -> Row:
        row = self._row(key)
        if row.inherited is None:
            row.inherited, row.since = row.share, time.monotonic()
        return row

    def _turn_page(self, generations: int | None) -> None:
        """What comes now follows so many generations: contests and racing took what they took."""
        self.earlier, self.spared, self.rows = self._worked, self._spared, {}
        if self.ahead:
            self.trainings, self.spared = self.earlier + self.ahead(generations), 0.0

    @property
    def share(self) -> float:
        """How much of this sitting's training is over, 0 to 1."""
        whole = self.trainings - self._spared
        return min(1.0, self._worked / whole) if whole > 0 else 1.0

    @property
    def _worked(self) -> float:
        return self.earlier + sum(row.worked for row in self.rows.values())

    @property
    def _spared(self) -> float:
        return self.spared + sum(row.share - row.worked for row in self.rows.values())

    @property
    def elapsed(self) -> float:
        """Seconds since the display began."""
        return time.monotonic() - self.began

    @property
    def seconds_left(self) -> float | None:
        """By the pace so far, mixed with the estimate while little is done; None once nothing is left to train."""
        share = self.share
        if share >= 1.0:
            return None
        whole = (self.elapsed - self.waited) / share if share > 0.01 else self.expected_seconds
        if whole is None:
            return None
        if self.expected_seconds is not None:
            trust = min(1.0, share / 0.2)
            whole = trust * whole + (1 - trust) * self.expected_seconds
        return (1 - share) * whole

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
        if self.spend:
            parts.append(self.spend)
        if self.human is not None:
            parts.append(f"human {measure(self.human, self.unit)}")
        if self.waiting:
            return " · ".join([*parts, self.waiting])
        left = self.seconds_left
        parts.append(
            duration(self.elapsed) + (f", about {duration(left)} of training left" if left is not None else "")
        )
        return " · ".join(parts)


def board_of(run: Run, expected_seconds: float | None = None) -> Board:
    """A board for what is left of a run."""
    population, settings = run.population(curves=False), run.settings
    likely = max(within_steps(run.task, settings).generations, population.generations)
    best, anchors, recipe, last = population.best, run.task.anchors, Recipe.of(run.task, settings), run.incumbency()
    steps, one = recipe.timesteps, most_steps(settings, recipe, 1)

    def ahead(generations: int | None) -> float:
        last = planned(settings, recipe, 0).steps / one
        if generations is None:
            return last
        if settings.steps is not None:
            return last + max(settings.steps - run.searched_steps, 0) / one
        return planned(settings, recipe, max(likely - generations, 0)).steps / one

    return Board(
        task=run.task.name,
        unit=run.task.spec.metric.unit,
        generations=likely,
        trainings=ahead(population.generations),
        ahead=ahead,
        timesteps=steps,
        human=anchors.human.mean if anchors and anchors.timesteps == steps else None,
        expected_seconds=expected_seconds,
        best=(best.id, population.mean(best)) if best else None,
        contested=last is not None,
        generation=population.generations,
        spent=lambda: spent_line(run.booked(), run.settings),
        spend=spent_line(run.booked(), run.settings),
    )


def _made(candidate: Candidate) -> str:
    return " ".join((candidate.brief.operator, *candidate.brief.parents))


def _new_row(key: str) -> Row:
    """`final/g0c3/0` → `best, seed 1`, `final/human/0` → `human, seed 1`, `g0c3/seed/1` → `g0c3, seed 1`."""
    parts = key.removeprefix(FINAL).split("/")
    if key.startswith(FINAL) and len(parts) == 2:
        arm, seed = parts[0], int(parts[1]) + 1
        return Row(f"human, seed {seed}" if arm == "human" else f"best, seed {seed}", "" if arm == "human" else arm)
    name = "random policy" if key == f"{FINAL}random" else key.replace("/seed/", ", seed ")
    return Row(name, "contest" if "/seed/" in key else "", trains="random" not in key)
