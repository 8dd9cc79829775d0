"""What the figures were measured on: machine, versions, revision, and whether the machine was quiet."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

PACKAGES = ("mujoco", "gymnasium", "stable_baselines3", "torch", "jax", "numpy")
PEERS = ("envpool", "sbx-rl")
REPOSITORY = Path(__file__).resolve().parents[2]


@cache
def description(peers_python: str | None = None) -> str:
    """Processor, cores, memory, system and versions, in one line."""
    names = [*PACKAGES, *(PEERS if peers_python else ())]
    code = f"from importlib.metadata import version; print(', '.join(f'{{n}} {{version(n)}}' for n in {names}))"
    versions = subprocess.run([peers_python or sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{processor}, {cores} cores, {memory:.0f} GB; {system}, {versions.stdout.strip()}"


def revision() -> str:
    """Short hash of the repository's commit, `+` if files but documents have changed since; `unknown` without git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + "+" * bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.strip()


def busy_cores(seconds: float = 1.0) -> float:
    """How many cores other processes keep busy right now."""

    def read() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # idle and waiting for disks

    before = read()
    time.sleep(seconds)
    total, idle = (now - then for now, then in zip(read(), before, strict=True))
    return (os.cpu_count() or 1) * (1 - idle / max(total, 1))
