"""Where unfinished trainings can go on from: one row and one file each, replaced by the next, gone with the training.

Nothing depends on them but time: a checkpoint that is missing or damaged means that its training begins again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from eureka_agent.errors import RunError
from eureka_agent.population import Record
from eureka_agent.runs.journal import Journal, Statement
from eureka_agent.runs.storage import Blobs, storage_errors
from eureka_sandbox.protocol import CheckpointMeta, Job, TrainingCheckpoint

FOLDER = "checkpoints"
PREFIX = "checkpoint/"
"""Of their keys among the decisions; the only rows there that are replaced and removed."""


class Kept(Record):
    """One row."""

    meta: CheckpointMeta
    arrays: str
    """SHA-256 of the file under `checkpoints/`."""


class Checkpoints:
    """The checkpoints of one run. Different keys may be used from different threads."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        """Use `folder`, which is made when it is first needed."""
        self._folder, self._journal = folder, journal
        self._files = Blobs(folder)

    def put(self, key: str, checkpoint: TrainingCheckpoint) -> None:
        """Store durably what `key`'s training could go on from, instead of what was stored before.

        Raises:
            RunError: the disk does not take it.
        """
        with storage_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            arrays = self._files.put(checkpoint.arrays)
        before = self._row(key)
        row = (PREFIX + key, Kept(meta=checkpoint.meta, arrays=arrays).model_dump_json(), time.time())
        self._journal.write([("INSERT OR REPLACE INTO decisions VALUES (?, ?, ?)", row)], "checkpoint")
        if before and before.arrays != arrays:
            self.drop(before.arrays)

    def get(self, key: str) -> TrainingCheckpoint | None:
        """The last one stored; None if there is none, or none that is whole."""
        kept = self._row(key)
        if kept is None:
            return None
        try:
            return TrainingCheckpoint(kept.meta, self._files.get(kept.arrays))
        except RunError:
            return None

    def ending(self, key: str) -> Statement:
        """Removes the row, in the transaction that stores what the training came to; `drop` the file after that."""
        return "DELETE FROM decisions WHERE key = ?", (PREFIX + key,)

    def digest(self, key: str) -> str | None:
        """The file of `key`'s checkpoint."""
        kept = self._row(key)
        return kept.arrays if kept else None

    def drop(self, digest: str | None) -> None:
        """Remove a file that no row names any more."""
        if digest:
            with storage_errors(self._folder):
                (self._folder / digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove every file that no row names, as a killed writer leaves them. To be called while no training runs."""
        if not self._folder.is_dir():
            return
        rows = self._journal.rows("SELECT value FROM decisions WHERE key LIKE ?", (PREFIX + "%",))
        named = {kept.arrays for (value,) in rows if (kept := _parsed(value))}
        for path in self._folder.iterdir():
            if path.name not in named and not path.is_dir():  # no writer leaves a folder
                self.drop(path.name)

    def _row(self, key: str) -> Kept | None:
        rows = self._journal.rows("SELECT value FROM decisions WHERE key = ?", (PREFIX + key,))
        return _parsed(rows[0][0]) if rows else None


def continued(job: Job, checkpoint: TrainingCheckpoint | None) -> Job:
    """The same job, going on from the checkpoint if there is one."""
    return replace(job, files={**job.files, **checkpoint.files}) if checkpoint else job


def _parsed(value: str) -> Kept | None:
    """None for what another version of the format left."""
    try:
        return Kept.model_validate_json(value)
    except ValidationError:
        return None
