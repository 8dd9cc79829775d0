"""Who may write a run. Two locks, because each of them alone has a hole.

The kernel's (`storage.WriterLock`) goes with its process, but not across machines, and not if the file is removed. The
lease is a row of the run's own database: its epoch grows with every writer, and every commit checks in its own
transaction that the epoch still is the one it was opened with. So a writer that slept through its lease and was
replaced writes nothing more.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
import uuid
from pathlib import Path

from eureka_agent.errors import RunError
from eureka_agent.population import Record
from eureka_agent.runs.crashpoints import crashpoint

LEASE_SECONDS = 60.0
"""A writer of which nothing was heard for so long may be replaced, if it cannot be seen to live."""
RENEW_SECONDS = 15.0
"""How often a writer that has nothing to save renews its lease."""
UPSERT = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
CHECKED = (
    "UPDATE meta SET value = ? WHERE key = 'lease_renewed' AND ? = (SELECT value FROM meta WHERE key = 'lease_epoch')"
)


_living: set[str] = set()
"""Tokens of the leases that this process has."""


class Holder(Record):
    """One process on one machine."""

    pid: int
    host: str
    boot: str
    """The machine's boot, by the kernel's name for it: a pid means nothing after a restart."""
    started: int
    """Clock ticks from boot to the process's start: a pid is given again, this with it is not."""
    since: float
    """When it opened the run, seconds since 1970."""
    token: str
    """Tells this opening of the run from others of the same process."""

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"pid {self.pid} on host {self.host} since {when}"

    @classmethod
    def this_process(cls) -> Holder:
        """Who we are."""
        pid = os.getpid()
        return cls(
            pid=pid,
            host=socket.gethostname(),
            boot=_boot(),
            started=_started(pid) or 0,
            since=time.time(),
            token=uuid.uuid4().hex,
        )

    def has_ended(self) -> bool:
        """Whether it is certain that this process does not live any more."""
        if self.host != socket.gethostname():
            return False
        if self.boot != _boot() or _started(self.pid) != self.started:
            return True
        return self.pid == os.getpid() and self.token not in _living


class Lease:
    """This process's right to write the run in one database."""

    def __init__(self, database: sqlite3.Connection, folder: Path) -> None:
        """Take it over from whoever had it before, unless that one seems to live.

        Raises:
            RunError: another writer has it; says which.
        """
        self._folder = folder
        self._holder = Holder.this_process()
        self.after_restart = False
        """Whether the writer before this one did not close the run and its machine was started anew since: what it had
        written, but not waited for, may be lost."""
        self.lost = False
        """Whether another writer has taken the run over."""
        database.execute("BEGIN IMMEDIATE")
        try:
            self._refuse_if_held(database)
            self.epoch = str(int(_meta(database, "lease_epoch") or 0) + 1)
            facts = {"lease_epoch": self.epoch, "lease_holder": self._holder.model_dump_json(), "lease_renewed": _now()}
            database.executemany(UPSERT, list(facts.items()))
            crashpoint("lease.inside")
            database.commit()
            _living.add(self._holder.token)
        except BaseException:
            database.rollback()
            raise

    def check(self, database: sqlite3.Connection) -> None:
        """Renew the lease inside the transaction under way, before anything else is written in it.

        Raises:
            RunError: another writer has taken the run over; the transaction must be rolled back.
        """
        if self.lost or database.execute(CHECKED, (_now(), self.epoch)).rowcount != 1:
            self.lost = True
            raise self.taken_over(database)

    def taken_over(self, database: sqlite3.Connection) -> RunError:
        """What to raise once the lease is lost."""
        holder = _meta(database, "lease_holder")
        who = str(Holder.model_validate_json(holder)) if holder else "another process"
        return RunError(
            f"{self._folder}: taken over by {who} while this process slept; it stops here and has changed nothing since"
        )

    def release(self, database: sqlite3.Connection) -> None:
        """Leave the run to the next writer, in the transaction under way."""
        database.execute("DELETE FROM meta WHERE key = 'lease_holder'")

    def end(self) -> None:
        """This process writes no more, even if the disk did not take that it leaves."""
        _living.discard(self._holder.token)

    def _refuse_if_held(self, database: sqlite3.Connection) -> None:
        text = _meta(database, "lease_holder")
        if text is None:
            return
        holder = Holder.model_validate_json(text)
        self.after_restart = holder.boot != self._holder.boot
        silence = abs(time.time() - float(_meta(database, "lease_renewed") or 0))  # a clock that jumped is no life sign
        if holder.has_ended() or silence > LEASE_SECONDS:
            return
        raise RunError(
            f"{self._folder}: the run is open by {holder} (last heard of {silence:.0f} s ago); wait until it ends, or "
            f"end it; if that machine is gone, the run is free in {LEASE_SECONDS - silence:.0f} s"
        )


def _meta(database: sqlite3.Connection, key: str) -> str | None:
    row = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _now() -> str:
    return f"{time.time():.3f}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if there is none (a zombie counts as ended)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
