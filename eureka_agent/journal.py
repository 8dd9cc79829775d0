"""A run's database: SQLite in WAL mode with synchronous=FULL, one connection shared by the threads of one process."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eureka_agent import __version__
from eureka_agent.errors import RunError
from eureka_agent.storage import storage_errors

SCHEMA_VERSION = 2
DATABASE = "run.db"
Statement = tuple[str, tuple[Any, ...]]
CALLS = """
CREATE {temporary} TABLE calls (
    key TEXT PRIMARY KEY, brief TEXT NOT NULL, purpose TEXT NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
    prompt TEXT NOT NULL, response TEXT, model TEXT, finish_reason TEXT, input_tokens INTEGER, output_tokens INTEGER,
    reserved REAL NOT NULL, sent REAL, received REAL, parsed REAL)
"""
"""What language models were asked; see `calls.Call`. Format 1 did not have it yet."""
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
"""`trainings` and `scores` are keyed by what was measured: a candidate's id, `final/<arm>/<index>`, `film/<policy>`."""


class Journal:
    """Rows in, rows out; every write is one durable transaction that also books the time spent."""

    def __init__(self, folder: Path, read_only: bool) -> None:
        """Open the database of the run in `folder`.

        Raises:
            RunError: it is not a run's, of a newer format, or unreadable.
        """
        self.path = folder / DATABASE
        self._read_only = read_only
        self._lock = threading.RLock()
        self._database = _connect(self.path, read_only)
        self._opened = time.monotonic()
        self._earlier_seconds = float(self.meta("elapsed_seconds"))

    @property
    def elapsed_seconds(self) -> float:
        """Wall time of all sittings together; a reader's own time does not count."""
        return self._earlier_seconds + (0.0 if self._read_only else time.monotonic() - self._opened)

    def meta(self, key: str) -> str:
        """One of the run's own facts."""
        return str(self.rows("SELECT value FROM meta WHERE key = ?", (key,))[0][0])

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Read."""
        with self._lock, storage_errors(self.path):
            return self._database.execute(sql, values).fetchall()

    def write(self, statements: Iterable[Statement]) -> None:
        """One durable transaction.

        Raises:
            RunError: the disk failed or the run was opened for reading only; nothing of the transaction is kept.
        """
        if self._read_only:
            raise RunError(f"{self.path.parent}: opened for reading only")
        booked = "UPDATE meta SET value = ? WHERE key = 'elapsed_seconds'"
        with self._lock, storage_errors(self.path), self._database:
            for sql, values in statements:
                self._database.execute(sql, values)
            self._database.execute(booked, (f"{self.elapsed_seconds:.3f}",))

    def close(self) -> None:
        """Book the time spent and close."""
        try:
            if not self._read_only:
                self.write([])
        finally:
            self._database.close()


def write_new_database(folder: Path, meta: Mapping[str, str]) -> None:
    """Make an empty database with the run's own facts."""
    database = sqlite3.connect(folder / DATABASE)
    facts = {"version": __version__, "created": str(time.time()), "elapsed_seconds": "0", "generations": "0", **meta}
    try:
        database.executescript(TABLES)
        database.execute(CALLS.format(temporary=""))
        database.executemany("INSERT INTO meta VALUES (?, ?)", list(facts.items()))
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.commit()
    finally:
        database.close()


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}"
    unmerged = path.with_name(path.name + "-wal").exists()
    if read_only and not os.access(path.parent, os.W_OK) and not unmerged:
        uri += "&immutable=1"  # WAL needs a shared-memory file, which a read-only medium cannot hold
    with storage_errors(path, "`eureka runs` lists the runs that can be read"):
        database = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=10.0)
        try:
            _check_format(database, path.parent)
            if not read_only:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
            _bring_up_to_date(database, read_only)
        except BaseException:
            database.close()
            raise
    return database


def _check_format(database: sqlite3.Connection, folder: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        raise RunError(f"{folder / DATABASE}: not a run's database; `eureka runs` lists the runs")
    if version > SCHEMA_VERSION:
        (writer,) = database.execute("SELECT value FROM meta WHERE key = 'version'").fetchone() or ("that wrote it",)
        raise RunError(
            f"{folder}: run format {version} is newer than this version reads ({SCHEMA_VERSION}); "
            f"it was written by eureka-agent {writer}, this is {__version__}; upgrade this one"
        )


def _bring_up_to_date(database: sqlite3.Connection, read_only: bool) -> None:
    """Give a run of format 1 the table it lacks; a reader gets it in memory."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    database.execute("BEGIN IMMEDIATE" if not read_only else "BEGIN")
    database.execute(CALLS.format(temporary="TEMPORARY" if read_only else ""))
    if not read_only:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.commit()
