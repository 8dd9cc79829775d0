"""One run is one folder: `run.db` (the journal) and `blobs/` are the state; everything else can be written again.

The journal is SQLite in WAL mode with synchronous=FULL, and has one writer. Decisions are journaled before they act,
trainings and scores as soon as they end; a blob reaches the disk before the row that names it. So a run killed at any
instant continues from `Run.open` and repeats nothing that had finished.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from eureka_agent import __version__
from eureka_agent.comparison import Comparison
from eureka_agent.errors import RunError, UsageError
from eureka_agent.exports import export_candidate
from eureka_agent.population import Candidate, Population, Record, Score, Training
from eureka_agent.settings import Settings
from eureka_agent.storage import Blobs, WriterLock, fsync_folder, storage_errors, write_file
from eureka_agent.task import Anchors, Task, task_from_files
from eureka_sandbox.protocol import Failure

M = TypeVar("M", bound=BaseModel)
SCHEMA_VERSION = 1
DATABASE = "run.db"
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE decisions (key TEXT PRIMARY KEY, value TEXT NOT NULL, decided REAL NOT NULL);
CREATE TABLE candidates (
    id TEXT PRIMARY KEY, generation INTEGER NOT NULL, slot INTEGER NOT NULL, operator TEXT NOT NULL,
    parents TEXT NOT NULL, verdict TEXT, message TEXT, code TEXT NOT NULL, reflection TEXT NOT NULL,
    record TEXT NOT NULL);
CREATE TABLE trainings (
    key TEXT PRIMARY KEY, seed INTEGER, timesteps INTEGER, seconds REAL, peak_return REAL,
    verdict TEXT, message TEXT, record TEXT NOT NULL, finished REAL NOT NULL);
CREATE TABLE scores (
    key TEXT PRIMARY KEY, episodes INTEGER, fitness REAL, success_rate REAL, seconds REAL,
    verdict TEXT, message TEXT, record TEXT NOT NULL, finished REAL NOT NULL);
CREATE VIEW leaderboard AS
    SELECT id, generation, operator, parents, fitness, success_rate, c.verdict, c.message, t.timesteps, t.seconds
    FROM candidates c LEFT JOIN trainings t ON t.key = c.id LEFT JOIN scores s ON s.key = c.id
    ORDER BY fitness DESC NULLS LAST, generation, slot;
"""
"""`trainings` and `scores` are keyed by what was measured: a candidate's id, `final/<arm>/<index>`, `final/random`."""
AMENDABLE = frozenset({"generations", "jobs", "max_seconds", "wall_seconds", "memory_mb"})
"""Settings that may change between sittings without making earlier results incomparable."""


class TaskSnapshot(Record):
    """The task as it was when the run began."""

    name: str
    origin: str
    """Folder it was read from."""
    files: dict[str, str]
    """Blob of each file."""
    anchors: Anchors | None


class Run:
    """The journal of one search. Its methods may be called from several threads of the process that opened it."""

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        self._lock = threading.RLock()
        self._writer = None if read_only else WriterLock(folder / "run.lock")
        try:
            self._database = _connect(folder / DATABASE, read_only)
            self._blobs = Blobs(folder / "blobs")
            self.settings = Settings.model_validate_json(self._meta("settings"))
            self.task = self._task_from_snapshot()
            self._earlier_seconds = float(self._meta("elapsed_seconds"))
            if not read_only:
                self._blobs.sweep()
        except BaseException:
            self._release()
            raise
        self._opened = time.monotonic()

    @classmethod
    def create(cls, folder: Path, task: Task, settings: Settings) -> Run:
        """Make a run in `folder`, which must not hold one yet, and open it. All of it appears at once, or nothing.

        Raises:
            RunError: the folder is taken or cannot be written.
        """
        folder = Path(folder).absolute()
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise RunError(f"{folder}: already exists; `eureka evolve --resume {folder}` continues a run")
        draft = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
        try:
            with storage_errors(folder):
                (draft / "blobs").mkdir(parents=True)
                (draft / "task").mkdir()
                for name, data in task.files.items():
                    write_file(draft / "task" / name, data, durable=False)
                _write_new_database(draft, task, settings)
                fsync_folder(draft)
                os.rename(draft, folder)
                fsync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return cls(folder)

    @classmethod
    def open(cls, folder: Path, read_only: bool = False) -> Run:
        """Open an existing run, to continue it or (`read_only`, also while another process writes) to look at it.

        Raises:
            RunError: not a run folder, of a newer format, or open in another process.
        """
        folder = Path(folder)
        if not (folder / DATABASE).is_file():
            raise RunError(f"{folder}: not a run folder (no {DATABASE} there); `eureka runs` lists the runs")
        return cls(folder.resolve(), read_only)

    def close(self) -> None:
        """Let others write. Whatever was saved is already durable."""
        if not self.read_only:
            with self._lock, storage_errors(self.folder):
                self._set_elapsed()
                self._database.commit()
        self._release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------- decisions

    def decide(self, key: str, model: type[M], compute: Callable[[], M]) -> M:
        """A journaled memo: the value decided under `key`, computed and stored durably the first time only.

        `compute` runs outside the lock, so that slow decisions (an LLM's) can be taken side by side.
        """
        known = self.decided(key, model)
        if known is not None:
            return known
        value = compute().model_dump_json()
        self._write("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?)", (key, value, time.time()))
        stored = self.decided(key, model)
        assert stored is not None
        return stored

    def decided(self, key: str, model: type[M]) -> M | None:
        """What was decided under `key`, or None."""
        rows = self._rows("SELECT value FROM decisions WHERE key = ?", (key,))
        return model.model_validate_json(rows[0][0]) if rows else None

    # ----------------------------------------------------------------------------------------------- measurements

    def training(self, key: str) -> Training | Failure | None:
        """What box A answered under `key`; None if it has not finished."""
        return self._outcome("trainings", key, Training)

    def save_training(self, key: str, outcome: Training | Failure) -> None:
        """Store what box A answered; its blobs must be stored already."""
        t, failure = _split(outcome, Training)
        numbers = (t.seed, t.timesteps, t.seconds, t.peak_return) if t else (None,) * 4
        self._write(
            "INSERT OR REPLACE INTO trainings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, *numbers, *_verdict(failure), outcome.model_dump_json(), time.time()),
        )

    def score(self, key: str) -> Score | Failure | None:
        """What box B answered under `key`; None if it has not finished."""
        return self._outcome("scores", key, Score)

    def save_score(self, key: str, outcome: Score | Failure) -> None:
        """Store what box B answered; its blobs must be stored already."""
        s, failure = _split(outcome, Score)
        numbers = (len(s.fitness), s.mean, s.success_rate, s.seconds) if s else (None,) * 4
        self._write(
            "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, *numbers, *_verdict(failure), outcome.model_dump_json(), time.time()),
        )

    # -------------------------------------------------------------------------------------------------- candidates

    def save(self, candidate: Candidate) -> None:
        """Store or update a candidate (its training and score are stored under its id) and its readable export."""
        self._write(*_candidate_row(candidate))
        with storage_errors(self.folder):
            export_candidate(self.folder / "candidates" / candidate.id, candidate)

    def extend(self, population: Population, generation: Iterable[Candidate]) -> Population:
        """Store a finished generation in one transaction and return the population with it."""
        extended = population.extended(generation)
        new = extended.candidates[len(population.candidates) :]
        count = str(extended.generations)
        self._write_all(
            [*map(_candidate_row, new), ("UPDATE meta SET value = ? WHERE key = 'generations'", (count,))]
        )
        with storage_errors(self.folder):
            for candidate in new:
                export_candidate(self.folder / "candidates" / candidate.id, candidate)
        return extended

    def population(self, partial: bool = False) -> Population:
        """All candidates of the finished generations; `partial` adds those of the generation under way."""
        rows = self._rows(
            "SELECT c.record, t.record, s.record FROM candidates c "
            "LEFT JOIN trainings t ON t.key = c.id AND t.verdict IS NULL "
            "LEFT JOIN scores s ON s.key = c.id AND s.verdict IS NULL "
            "WHERE ? OR c.generation < (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'generations') "
            "ORDER BY c.generation, c.slot",
            (partial,),
        )
        return Population(candidates=tuple(_candidate(*row) for row in rows))

    def comparison(self) -> Comparison | None:
        """The last comparison, if the run has come to its end."""
        rows = self._rows("SELECT value FROM decisions WHERE key LIKE 'comparison/%' ORDER BY decided DESC LIMIT 1")
        return Comparison.model_validate_json(rows[0][0]) if rows else None

    # ------------------------------------------------------------------------------------------------------- other

    def put_blob(self, data: bytes) -> str:
        """Store bytes durably; returns their SHA-256."""
        return self._blobs.put(data)

    def blob(self, digest: str) -> bytes:
        """Bytes by their SHA-256."""
        return self._blobs.get(digest)

    @property
    def elapsed_seconds(self) -> float:
        """Wall time of all sittings together."""
        return self._earlier_seconds + time.monotonic() - self._opened

    @property
    def created(self) -> float:
        """When the run began, seconds since 1970."""
        return float(self._meta("created"))

    def amend(self, changes: Mapping[str, Any]) -> None:
        """Change settings that bound the search (more generations, more time), for this and later sittings.

        Raises:
            UsageError: the setting would make earlier results incomparable.
        """
        for name in changes:
            if name not in AMENDABLE:
                allowed = ", ".join(sorted(AMENDABLE))
                raise UsageError(f"{name} is fixed when a run begins; a resumed run may change {allowed}")
        self.settings = Settings.model_validate({**self.settings.model_dump(), **changes})
        self._write("UPDATE meta SET value = ? WHERE key = 'settings'", (self.settings.model_dump_json(),))

    def _task_from_snapshot(self) -> Task:
        snapshot = TaskSnapshot.model_validate_json(self._meta("task"))
        files = {name: self._blobs.get(digest) for name, digest in snapshot.files.items()}
        return task_from_files(snapshot.name, self.folder / "task", files, snapshot.anchors)

    def _outcome(self, table: str, key: str, model: type[M]) -> M | Failure | None:
        rows = self._rows(f"SELECT record, verdict FROM {table} WHERE key = ?", (key,))
        if not rows:
            return None
        record, verdict = rows[0]
        return model.model_validate_json(record) if verdict is None else Failure.model_validate_json(record)

    def _meta(self, key: str) -> str:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0])

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, storage_errors(self.folder / DATABASE):
            return self._database.execute(sql, values).fetchall()

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        self._write_all([(sql, values)])

    def _write_all(self, statements: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """One durable transaction."""
        if self.read_only:
            raise RunError(f"{self.folder}: opened for reading only")
        with self._lock, storage_errors(self.folder / DATABASE), self._database:
            for sql, values in statements:
                self._database.execute(sql, values)
            self._set_elapsed()

    def _set_elapsed(self) -> None:
        self._database.execute(
            "UPDATE meta SET value = ? WHERE key = 'elapsed_seconds'", (str(round(self.elapsed_seconds, 3)),)
        )

    def _release(self) -> None:
        if hasattr(self, "_database"):
            self._database.close()
        if self._writer is not None:
            self._writer.release()
            self._writer = None


def start_run(root: Path, task: Task, settings: Settings) -> Run:
    """Create `root/<task>/<timestamp>-<shortid>/` and point `root/<task>/latest` at it."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    run = Run.create(Path(root) / task.name / name, task, settings)
    link = run.folder.parent / f".latest-{uuid.uuid4().hex[:8]}"
    with storage_errors(link):
        link.symlink_to(name)
        os.replace(link, run.folder.parent / "latest")
    return run


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    with storage_errors(path):
        uri = f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}"
        if read_only and not os.access(path.parent, os.W_OK):
            uri += "&immutable=1"  # WAL needs a shared-memory file, which a read-only medium cannot hold
        database = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=10.0)
        try:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                (writer,) = database.execute("SELECT value FROM meta WHERE key = 'version'").fetchone() or ("?",)
                raise RunError(
                    f"{path.parent}: run format {version} is newer than this version reads ({SCHEMA_VERSION}); "
                    f"it needs eureka-agent {writer} or newer, this is {__version__}"
                )
            if version == 0:
                raise RunError(f"{path}: not a run's database; `eureka runs` lists the runs")
            if not read_only:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
        except BaseException:
            database.close()
            raise
    return database


def _write_new_database(folder: Path, task: Task, settings: Settings) -> None:
    blobs = Blobs(folder / "blobs")
    files = {name: blobs.put(data) for name, data in task.files.items()}
    snapshot = TaskSnapshot(name=task.name, origin=str(task.folder), files=files, anchors=task.anchors)
    meta = {
        "version": __version__,
        "created": str(time.time()),
        "elapsed_seconds": "0",
        "generations": "0",
        "settings": settings.model_dump_json(),
        "task": snapshot.model_dump_json(),
    }
    database = sqlite3.connect(folder / DATABASE)
    try:
        database.executescript(TABLES)
        database.executemany("INSERT INTO meta VALUES (?, ?)", list(meta.items()))
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.commit()
    finally:
        database.close()


def _split(outcome: M | Failure, _: type[M]) -> tuple[M | None, Failure | None]:
    return (None, outcome) if isinstance(outcome, Failure) else (outcome, None)


def _verdict(failure: Failure | None) -> tuple[str | None, str | None]:
    return (str(failure.verdict), failure.message) if failure else (None, None)


def _candidate_row(candidate: Candidate) -> tuple[str, tuple[Any, ...]]:
    brief = candidate.brief
    record = candidate.model_dump_json(exclude={"training", "score"})
    return "INSERT OR REPLACE INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (
        *(brief.id, brief.generation, brief.slot, brief.operator, " ".join(brief.parents)),
        *(*_verdict(candidate.failure), candidate.code, candidate.reflection, record),
    )


def _candidate(record: str, training: str | None, score: str | None) -> Candidate:
    candidate = Candidate.model_validate_json(record)
    measured = {
        "training": Training.model_validate_json(training) if training else None,
        "score": Score.model_validate_json(score) if score else None,
    }
    return candidate.model_copy(update=measured)
