"""Compiled programs of the fused learner, kept between boxes: written by trusted boxes, read by all others.

A box with a candidate's code must not write what the next box executes. So there is one folder per recipe, kind of box
(JAX names a program by what it sees around it, too) and version of everything that compiles; a *warm-up* job (no reward
code) fills a folder of its own that the host then adopts, whole and at once, and every later box is shown it read-only.
Where none has been adopted, boxes compile for themselves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from eureka_sandbox.protocol import Finished, Job, Outcome, TrainSpec

logger = logging.getLogger(__name__)

VARIABLE = "EUREKA_COMPILE_CACHE"
"""Environment variable of the host that names where the folders are; empty: keep nothing."""
EMBEDDED = "embedded"
MOST_BYTES = 64 * 2**20
"""Of one program; those of today take less than one MB."""
MOST_FILES = 256
LEARNERS = Path(__file__).parents[1] / "worker" / "learners"
PACKAGES = ("jax", "jaxlib", "numpy")


@dataclass(frozen=True)
class Cache:
    """What a box is given."""

    folder: Path | None
    writable: bool = False
    final: Path | None = None
    """Where the programs of a warm-up belong."""

    def keep(self, outcome: Outcome) -> None:
        """After the box has ended: adopt the programs of a warm-up that came to its end."""
        if self.folder and self.final and self.writable and isinstance(outcome, Finished):
            _adopt(self.folder, self.final)


NONE = Cache(None)


def key(job: Job, where: str = EMBEDDED) -> str:
    """Name of the folder for this job's programs; empty if it compiles none.

    `where` is the kind of box: a backend's name, or the image of a container.
    """
    spec = job.spec
    if not isinstance(spec, TrainSpec) or spec.learner != "fused":
        return ""
    recipe = [spec.environment.body, spec.algorithm, spec.hyperparameters]
    text = json.dumps([recipe, where, _versions(), _processor(), _sources()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def folder(name: str) -> Path | None:
    """Where the folder of that key is or would be; None if nothing is to be kept."""
    root = os.environ.get(VARIABLE)
    if root is None:
        root = str(Path.home() / ".cache" / "eureka-agent" / "xla")
    return Path(root).absolute() / name if root and name else None


def is_cold(job: Job, where: str = EMBEDDED) -> bool:
    """Whether a warm-up of this job would spare later boxes their compilation."""
    place = folder(key(job, where))
    return place is not None and not place.is_dir()


@contextmanager
def for_job(job: Job, where: str = EMBEDDED) -> Iterator[Cache]:
    """What the job's box is given; tell it the outcome with `Cache.keep`.

    Raises:
        ValueError: a warm-up that holds reward code.
    """
    if job.warm_up and "reward.py" in job.files:
        raise ValueError("a warm-up must not hold reward code; take reward.py out of the job's files")
    place = folder(key(job, where))
    if place is None:
        yield NONE
    elif place.is_dir():
        yield Cache(place)
    elif not job.warm_up:
        yield NONE
    else:
        with _staging(place) as staged:
            yield Cache(staged, writable=True, final=place)


@contextmanager
def _staging(where: Path) -> Iterator[Path | None]:
    """A private folder beside `where` with one inside that any user may write; None if there can be none."""
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        outer = Path(tempfile.mkdtemp(prefix=".warming-", dir=where.parent))
    except OSError as error:
        logger.info("no compiled programs are kept: %s", error)
        yield None
        return
    try:
        inner = outer / "programs"
        inner.mkdir()
        inner.chmod(0o777)  # the box may run as another user; nobody else passes the folder around it
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _adopt(staged: Path, where: Path) -> None:
    """Copy plain files, and show them all at once under the final name. Whoever comes second has lost nothing."""
    fresh = staged.parent / "adopted"
    try:
        names = sorted(os.listdir(staged))
        if not 0 < len(names) <= MOST_FILES:
            raise OSError(f"{len(names)} files")
        fresh.mkdir()
        fresh.chmod(0o755)
        for name in names:
            (fresh / name).write_bytes(_plain_file(staged / name))
            (fresh / name).chmod(0o644)
        fresh.rename(where)
    except OSError as error:  # among them: another process was first
        logger.info("compiled programs were not kept: %s", error)


def _plain_file(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > MOST_BYTES:
            raise OSError(f"{path.name} is unlike a program")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


@cache
def _versions() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


@cache
def _processor() -> str:
    """What the compiler may use of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(LEARNERS.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
