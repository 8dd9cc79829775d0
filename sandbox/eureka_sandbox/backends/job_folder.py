"""The private folder that carries one job in: `job/` with `job.json`, the job's files and `scratch/`, the box's home
where it has no wall; and `root/`, over which a wall mounts the box's root.

Its owner holds a lock on it, which the kernel drops when the owner dies: a folder that can be locked is stale.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eureka_sandbox.backends.folder_lock import lock_folder
from eureka_sandbox.protocol import Job, SandboxError

logger = logging.getLogger(__name__)

PREFIX = "eureka-box-"
JOB, SCRATCH, ROOT = "job", "scratch", "root"
SCORING_FILES = frozenset({"task.py", "policy.safetensors", "policy.json"})
"""All that box B may hold: whatever else a policy's maker wrote has no way in under another name."""
_FILE_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9]{1,16}")


@contextmanager
def job_folder(job: Job) -> Iterator[Path]:
    """A new folder (mode 0700) that holds the job, removed afterwards whatever happens.

    Raises:
        SandboxError: it cannot be written.
        ValueError: a file's name is not a plain one, or a scoring job carries reward code.
    """
    check_names(job)
    try:
        folder, lock = _create()
    except OSError as error:
        raise SandboxError(f"cannot create a job folder in {tempfile.gettempdir()}: {error.strerror}") from error
    try:
        _fill(folder, job)
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def sweep_stale() -> list[Path]:
    """Remove this user's job folders whose owners died, and return them."""
    swept: list[Path] = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = lock_folder(folder, wait=False)
        except OSError:
            continue  # its owner lives, or it is another user's
        if lock is None:
            continue
        try:
            _remove(folder)
            swept.append(folder)
        finally:
            os.close(lock)
    return swept


def check_names(job: Job) -> None:
    """Refuse a malformed job, whichever way it goes into its box.

    Raises:
        ValueError: a file's name is not a plain one, or a scoring job carries reward code.
    """
    for name in job.files:
        if not _FILE_NAME.fullmatch(name) or name == "job.json":
            raise ValueError(f"{name!r} cannot be a job's file: a plain name such as reward.py is needed")
    strange = sorted(job.files.keys() - SCORING_FILES) if job.spec.kind == "score" else []
    if strange:
        raise ValueError(f"a scoring box must not hold reward code; take {strange[0]} out of the job's files")


def _create() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        if (lock := lock_folder(folder, wait=True)) is not None:
            return folder, lock


def _fill(folder: Path, job: Job) -> None:
    try:
        inner = folder / JOB
        for path, mode in ((inner, 0o755), (inner / SCRATCH, 0o700), (folder / ROOT, 0o700)):
            path.mkdir()
            path.chmod(mode)
        for name, data in {"job.json": job.spec.model_dump_json().encode(), **job.files}.items():
            (inner / name).write_bytes(data)
            (inner / name).chmod(0o644)  # a wall's user need not be this one; the folder around is private
    except OSError as error:
        raise SandboxError(f"cannot write the job folder {folder}: {error.strerror}") from error


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        # A box may have taken its own permissions away, or nested folders deeper than Python recurses.
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            subprocess.run([*command, "--", str(folder)], stderr=subprocess.DEVNULL, check=False)
        if folder.exists():
            logger.warning("cannot remove the job folder %s; the next start tries again", folder)
