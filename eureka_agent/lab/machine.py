"""What this process may use of the machine: cores and memory, container limits included."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores this process may keep busy."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _words(CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        allowed = min(allowed, max(1, int(quota[0]) // int(quota[1])))
    return max(1, allowed)


def available_memory_mb() -> float:
    """Memory that new processes can take without swapping, MB."""
    import psutil

    free = float(psutil.virtual_memory().available)
    limit, used = _words(CGROUP / "memory.max"), _words(CGROUP / "memory.current")
    if limit and limit[0].isdigit() and used:
        statistics = _words(CGROUP / "memory.stat")
        cache = dict(zip(statistics[::2], statistics[1::2], strict=False)).get("inactive_file", "0")
        free = min(free, float(limit[0]) - float(used[0]) + float(cache))
    return free / 1e6


def _words(path: Path) -> list[str]:
    """A cgroup file's words; empty where the machine has no such file."""
    try:
        return path.read_text().split()
    except OSError:
        return []
