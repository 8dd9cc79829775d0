"""What a new run's folder holds before anything is searched: settings, and the task as it is now."""

from __future__ import annotations

from pathlib import Path

from eureka_agent.contract.task import Anchors, Task, task_from_files
from eureka_agent.population import Record
from eureka_agent.runs.journal import write_new_database
from eureka_agent.runs.storage import Blobs, fsync_folder, write_file
from eureka_agent.settings import Settings


class TaskSnapshot(Record):
    """The task as it was when the run began."""

    name: str
    origin: str
    """Folder it was read from."""
    files: dict[str, str]
    """Blob of each file."""
    anchors: Anchors | None


def write_draft(folder: Path, task: Task, settings: Settings) -> None:
    """Fill the empty folder of a run that is about to appear, durably.

    Raises:
        OSError: the disk does not take it.
    """
    (folder / "blobs").mkdir()
    (folder / "task").mkdir()
    blobs = Blobs(folder / "blobs")
    digests = {}
    for name, data in task.files.items():
        digests[name] = blobs.put(data)
        write_file(folder / "task" / name, data, durable=False)
    snapshot = TaskSnapshot(name=task.name, origin=str(task.folder), files=digests, anchors=task.anchors)
    write_new_database(folder, {"settings": settings.model_dump_json(), "task": snapshot.model_dump_json()})
    fsync_folder(folder)


def task_as_begun(folder: Path, snapshot: str, blobs: Blobs) -> Task:
    """The task of a run, from the snapshot in its journal; `folder` is the run's.

    Raises:
        RunError: a file of it is missing or damaged.
    """
    known = TaskSnapshot.model_validate_json(snapshot)
    files = {name: blobs.get(digest) for name, digest in known.files.items()}
    return task_from_files(known.name, folder / "task", files, known.anchors)
