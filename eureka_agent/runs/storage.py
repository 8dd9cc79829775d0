"""Durable files: atomic writes, content-addressed blobs, one writer per folder, and errors that say what is full."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

from eureka_agent.errors import RunError
from eureka_agent.runs.crashpoints import crashpoint
from eureka_sandbox.backends.folder_lock import lock_folder

TEMPORARY = ".tmp-"
DRAFT = ".eureka-draft-"
SAVED = "what was saved before is whole, and resume continues it"
DAMAGED = "the run is damaged: restore this from a copy of the run"
NOTHING_LEFT = "nothing was left behind; choose another folder, or make room there"


@contextmanager
def storage_errors(path: Path, advice: str = SAVED) -> Iterator[None]:
    """Turn a failing disk into a `RunError` that names path, reason, what is free if that is why, and `advice`.

    Of a database that SQLite cannot read any more it says so instead.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            kept = "reports and exported candidates in its folder can be read without it"
            raise RunError(f"{path}: {error}; {DAMAGED}; {kept}") from error
        reason = getattr(error, "strerror", None) or str(error)
        where = str(getattr(error, "filename", None) or path)
        full = isinstance(error, sqlite3.Error) or error.errno in (ENOSPC, EDQUOT, EFBIG)
        where = str(path) if DRAFT in where else where
        raise RunError(f"{where}: {reason}{_free(path) if full else ''}; {advice}") from error


def _free(path: Path) -> str:
    with suppress(OSError, StopIteration):  # a failing disk may not even tell
        existing = next(p for p in (path, *path.parents) if p.exists())
        megabytes = shutil.disk_usage(existing).free / 1e6
        return f" ({megabytes:,.{0 if megabytes >= 10 else 1}f} MB free there)"
    return ""


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes, durable: bool = True, step: str = "file") -> None:
    """Write by rename, so that a reader sees the old file or the new one; `durable` waits for the disk.

    `step` names it for `crashpoints`.
    """
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        crashpoint(f"{step}.before")
        with open(temporary, "xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        crashpoint(f"{step}.written")
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    crashpoint(f"{step}.renamed")
    if durable:
        fsync_folder(path.parent)


def sweep_temporaries(folder: Path) -> None:
    """Remove what a killed writer left half-written in a run's folder.

    Raises:
        RunError: it cannot be removed.
    """
    for pattern in ("", "blobs/", "task/", "candidates/*/"):
        for leftover in folder.glob(f"{pattern}{TEMPORARY}*"):
            if not leftover.is_dir():  # no writer leaves a folder: it is somebody's
                with storage_errors(leftover):
                    leftover.unlink(missing_ok=True)


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A hidden draft beside `folder` that takes its name once the block has filled it: all of it appears, or nothing.

    Drafts whose makers were killed are removed first.

    Raises:
        RunError: it cannot be written, or something came to be at `folder` meanwhile.
    """
    lock, draft, missing = None, folder, []
    try:
        with storage_errors(folder, NOTHING_LEFT):
            missing = [parent for parent in folder.parents if not parent.exists()]
            folder.parent.mkdir(parents=True, exist_ok=True)
            sweep_drafts(folder.parent)
            draft, lock = _new_draft(folder)
            yield draft
            os.rename(draft, folder)
            for name in (folder, *missing):
                fsync_folder(name.parent)
    except BaseException:
        if draft != folder:
            shutil.rmtree(draft, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):  # something else lives there by now
                parent.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)


def sweep_drafts(parent: Path) -> None:
    """Remove the drafts in a folder whose makers have died."""
    for draft in parent.glob(f".*{DRAFT}????????"):
        try:
            lock = lock_folder(draft, wait=False)
        except OSError:
            continue  # its maker lives, or it is another user's
        if lock is not None:
            shutil.rmtree(draft, ignore_errors=True)
            os.close(lock)


def _new_draft(folder: Path) -> tuple[Path, int | None]:
    while True:
        draft = folder.with_name(f".{folder.name}{DRAFT}{uuid.uuid4().hex[:8]}")
        draft.mkdir()
        try:
            lock = lock_folder(draft, wait=True)
        except OSError:  # a file system without locks: nobody can sweep there either
            return draft, None
        if lock is not None:
            return draft, lock


class Blobs:
    """Immutable bytes under their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Store durably, before the row that will name it; returns the hex digest.

        A file of that name that has been damaged is replaced.

        Raises:
            OSError: the disk does not take it.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / digest
        if _holds(path, data):
            fsync_folder(self.folder)  # another thread, or one that was killed, may have just renamed it
        else:
            write_file(path, data, step="blob")
            crashpoint("blob.stored")
        return digest

    def get(self, digest: str) -> bytes:
        """Read back and check.

        Raises:
            RunError: the blob is missing or damaged.
        """
        path = self.folder / digest
        try:
            with storage_errors(path):
                data = path.read_bytes()
        except RunError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise RunError(f"{path}: No such file; {DAMAGED}") from error
            raise
        if hashlib.sha256(data).hexdigest() != digest:
            raise RunError(f"{path}: damaged, its bytes no longer match its name; {DAMAGED}")
        return data


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file can be read and has these bytes."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def has_writer(folder: Path) -> bool:
    """Whether a process has a run open for writing."""
    try:
        with open(folder / "run.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never opened for writing, or not ours to look into
        return False
    return False


class WriterLock:
    """One writer per run: an flock that the kernel drops with its process."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            RunError: another process holds it; says which and since when.
        """
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._take(path)
            except BaseException:
                os.close(self._descriptor)
                raise
        crashpoint("lock.taken")

    def _take(self, path: Path) -> None:
        try:
            self._wait_a_moment()
        except BlockingIOError:
            who = os.read(self._descriptor, 200).decode(errors="replace").strip() or "another process"
            raise RunError(f"{path.parent}: the run is open by {who}; wait until it ends, or end it") from None
        os.ftruncate(self._descriptor, 0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        os.pwrite(self._descriptor, f"pid {os.getpid()} on host {socket.gethostname()} since {since}".encode(), 0)

    def _wait_a_moment(self) -> None:
        """`eureka runs` holds the lock for a moment when it looks whether a writer is there: try for half a second."""
        until = time.monotonic() + 0.5
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def release(self) -> None:
        """Let the next writer in."""
        os.close(self._descriptor)
