"""Durable files: atomic writes, content-addressed blobs, one writer per folder, and errors that say what is full."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eureka_agent.errors import RunError

TEMPORARY = ".tmp-"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a failing disk into a `RunError` that names the path, the reason and how much is free."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None) or path
        message = f"{where}: {reason}{_free(path)}; what was saved before is whole, and resume continues it"
        raise RunError(message) from error


def _free(path: Path) -> str:
    existing = next((p for p in (path, *path.parents) if p.exists()), None)
    if existing is None:
        return ""
    megabytes = shutil.disk_usage(existing).free / 1e6
    return f" ({megabytes:,.0f} MB free there)"


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes, durable: bool = True) -> None:
    """Write by rename, so that a reader sees the old file or the new one; `durable` waits for the disk."""
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


class Blobs:
    """Immutable bytes under their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        """Store durably, before the row that will name it; returns the hex digest."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / digest
        with storage_errors(path):
            if not path.exists():
                write_file(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        """Read back and check.

        Raises:
            RunError: the blob is missing or damaged.
        """
        path = self.folder / digest
        with storage_errors(path):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise RunError(f"{path}: damaged, its bytes no longer match its name; restore it from a copy of the run")
        return data

    def sweep(self) -> None:
        """Remove what a killed writer left half-written."""
        for leftover in self.folder.glob(f"{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)


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
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._descriptor, 200).decode(errors="replace").strip()
                os.close(self._descriptor)
                raise RunError(f"{path.parent}: the run is open by {holder or 'another process'}") from None
            os.ftruncate(self._descriptor, 0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            os.pwrite(self._descriptor, f"pid {os.getpid()} since {since}".encode(), 0)

    def release(self) -> None:
        """Let the next writer in."""
        os.close(self._descriptor)
