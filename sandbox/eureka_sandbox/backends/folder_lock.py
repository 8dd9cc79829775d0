"""Ownership of a folder by flock: the kernel drops the lock with its owner, so a folder that can be locked is stale."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def lock_folder(folder: Path, wait: bool) -> int | None:
    """A descriptor that holds the folder's lock until it is closed; None if the folder was removed meanwhile.

    That happens when a sweep falls between a folder's birth and its lock; its maker then makes another.

    Raises:
        OSError: it is locked (and `wait` is false), another user's, or cannot be locked here.
    """
    operation = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        mine = os.fstat(descriptor)
        if mine.st_uid != os.getuid():
            raise PermissionError(f"{folder} is user {mine.st_uid}'s")
        fcntl.flock(descriptor, operation)
        if folder.exists() and os.path.samestat(mine, os.lstat(folder)):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
