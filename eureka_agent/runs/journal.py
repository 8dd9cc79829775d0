"""A run's database: SQLite in WAL mode with synchronous=FULL, one connection shared by the threads of one process."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eureka_agent import __version__
from eureka_agent.errors import RunError
from eureka_agent.runs.crashpoints import crashpoint
from eureka_agent.runs.lease import RENEW_SECONDS, Lease
from eureka_agent.runs.storage import storage_errors

SCHEMA_VERSION = 3
DATABASE = "run.db"
Statement = tuple[str, tuple[Any, ...]]
CALLS = """
CREATE {temporary} TABLE {name} (
    key TEXT PRIMARY KEY, brief TEXT NOT NULL, purpose TEXT NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL,
    prompt TEXT NOT NULL, response TEXT, raw TEXT, asked TEXT, model TEXT, request_id TEXT, ticket TEXT,
    max_output_tokens INTEGER, finish_reason TEXT, fault TEXT, message TEXT,
    input_tokens INTEGER, output_tokens INTEGER,
    cached_tokens INTEGER NOT NULL DEFAULT 0, cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    reserved_tokens INTEGER NOT NULL DEFAULT 0, tokens INTEGER NOT NULL DEFAULT 0,
    reserved_cost REAL DEFAULT 0, cost REAL DEFAULT 0, estimated INTEGER NOT NULL DEFAULT 0,
    reserved REAL NOT NULL, sent REAL, received REAL, parsed REAL)
"""
"""What language models were asked; see `calls.Call`. Format 1 did not have it; what format 2 has was free of charge."""
CALLS_OF_FORMAT_2 = (
    "key, brief, purpose, attempt, state, prompt, response, model, finish_reason, input_tokens, output_tokens, "
    "reserved, sent, received, parsed"
)
MEASURED = (
    "COALESCE(json_extract(c.record, '$.duplicate_of'), c.id) || "
    "CASE WHEN json_extract(c.record, '$.stopped') "
    "THEN '/rung/' || (json_array_length(c.record, '$.rungs') - 1) ELSE '' END"
)
"""Key of a candidate's training and score, as `Candidate.measured`."""
TABLES = f"""
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
    FROM candidates c
    LEFT JOIN trainings t ON t.key = {MEASURED}
    LEFT JOIN scores s ON s.key = {MEASURED}
    ORDER BY fitness DESC NULLS LAST, generation, slot;
"""
"""`trainings` and `scores` are keyed by what was measured: a candidate's id, `<id>/rung/<n>` for as far as it had come
when racing looked at it, `<id>/seed/<n>` of a contest, `final/<arm>/<index>`, `film/<policy>`,
`frames/<policy>`."""


class Journal:
    """Rows in, rows out; every write is one durable transaction that also checks the lease and books the time spent."""

    def __init__(self, folder: Path, read_only: bool) -> None:
        """Open the database of the run in `folder`.

        Raises:
            RunError: it is not a run's, of a newer format, unreadable, or (for writing) open in another process.
        """
        self.path = folder / DATABASE
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._database = _connect(self.path, read_only)
        self._opened = time.monotonic()
        self._lease: Lease | None = None
        try:
            self._earlier_seconds = float(self.meta("elapsed_seconds"))
            if not read_only:
                self._take_lease(folder)
        except BaseException:
            self.close()
            raise

    @property
    def elapsed_seconds(self) -> float:
        """Wall time of all sittings together; a reader's own time does not count."""
        return self._earlier_seconds + (time.monotonic() - self._opened if self._lease else 0.0)

    @property
    def after_restart(self) -> bool:
        """Whether this writer follows on one that was killed, with its machine, or that had another machine."""
        return self._lease is not None and self._lease.after_restart

    def meta(self, key: str) -> str:
        """One of the run's own facts."""
        return str(self.rows("SELECT value FROM meta WHERE key = ?", (key,))[0][0])

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Read."""
        with self._lock, storage_errors(self.path):
            if self._lease and self._lease.lost:
                raise self._lease.taken_over(self._database)
            return self._database.execute(sql, values).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read inside is of one moment, whatever another process writes meanwhile; nothing is written.

        Inside `write`, whose `check` may look at candidates to say why nothing is written, that is so already.

        Raises:
            RunError: the disk failed.
        """
        with self._lock, storage_errors(self.path):
            if self._database.in_transaction:
                yield
                return
            self._database.execute("BEGIN")
            try:
                yield
            finally:
                self._database.rollback()

    def write(self, statements: Iterable[Statement], step: str, check: Callable[[], None] | None = None) -> None:
        """One durable transaction; `step` names it for `crashpoints`.

        `check` looks at the result inside the transaction: if it raises, nothing is kept.

        Raises:
            RunError: the disk failed, another process took the run over, or the run was opened for reading only;
                nothing of the transaction is kept.
        """
        crashpoint(f"{step}.before")
        with self._transaction():
            for sql, values in statements:
                self._database.execute(sql, values)
            if check is not None:
                check()
            crashpoint(f"{step}.inside")
        crashpoint(f"{step}.after")

    def close(self) -> None:
        """Book the time spent, let the next writer in, and close."""
        self._closing.set()
        try:
            if self._lease and not self._lease.lost:
                crashpoint("close.before")
                with self._transaction() as lease:
                    lease.release(self._database)
                    crashpoint("close.inside")
                crashpoint("close.after")
        finally:
            if self._lease:
                self._lease.end()
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[Lease]:
        """All that is executed inside is kept, or nothing; the lease comes first, so that a replaced writer stops."""
        if self._lease is None:
            raise RunError(f"{self.path.parent}: opened for reading only")
        booked = "UPDATE meta SET value = ? WHERE key = 'elapsed_seconds'"
        with self._lock, storage_errors(self.path), self._database:
            self._lease.check(self._database)
            self._database.execute(booked, (f"{self.elapsed_seconds:.3f}",))
            yield self._lease

    def _take_lease(self, folder: Path) -> None:
        crashpoint("lease.before")
        with storage_errors(self.path):
            self._lease = Lease(self._database, folder)
        crashpoint("lease.after")
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    def _renew(self) -> None:
        """Sign of life while nothing is saved, for instance in a long training."""
        while not self._closing.wait(RENEW_SECONDS):
            try:
                with self._lock:
                    if not self._closing.is_set():
                        with self._transaction():
                            pass
            except RunError:
                return  # the next write, or read, says it


def write_new_database(folder: Path, meta: Mapping[str, str]) -> None:
    """Make an empty database with the run's own facts."""
    database = sqlite3.connect(folder / DATABASE)
    facts = {"version": __version__, "created": str(time.time()), "elapsed_seconds": "0", "generations": "0", **meta}
    try:
        database.executescript(TABLES)
        database.execute(CALLS.format(temporary="", name="calls"))
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
    """Give a run of an earlier format the table of calls as it is now; a reader gets it in memory."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    database.execute("BEGIN IMMEDIATE" if not read_only else "BEGIN")
    if read_only:
        database.execute(CALLS.format(temporary="TEMPORARY", name="calls"))  # hides the one in the file
        _copy_calls(database, version, "main.calls", "temp.calls")
    else:
        database.execute(CALLS.format(temporary="", name="calls_now"))
        _copy_calls(database, version, "calls", "calls_now")
        database.execute("DROP TABLE IF EXISTS calls")
        database.execute("ALTER TABLE calls_now RENAME TO calls")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.commit()


def _copy_calls(database: sqlite3.Connection, version: int, old: str, new: str) -> None:
    if version == 2:
        database.execute(f"INSERT INTO {new} ({CALLS_OF_FORMAT_2}) SELECT {CALLS_OF_FORMAT_2} FROM {old}")
