"""What a container may do, spelled out once: the body of the Engine's `POST /containers/create`, default-deny.

Nothing of the host is visible but the job and two packages' code, read-only; nothing of the box outlives it; nothing of
it is written to the host's disk (`LogConfig: none`, tmpfs only). The numbers in brackets are CIS Docker Benchmark's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import eureka_evaluation
import eureka_sandbox
from eureka_sandbox.backends.compile_cache import NONE, Cache

MIB = 2**20
USER = 10001
"""User and group in the box; nobody on the host."""
SECCOMP = Path(__file__).with_name("seccomp.json")
CODE, JOB, SCRATCH, TMP, CACHE = "/worker", "/job", "/job/scratch", "/tmp", "/cache"
"""Where the code, the job, the box's working folder, its temporary files and compiled programs are, in the box."""
TMPFS_MB = {SCRATCH: 64, TMP: 128, "/dev/shm": 64}
TERMINALS = "/dev/pts"
"""Covered by an empty folder: a box has no use for terminals, of which all containers of a machine share some 3,000."""
INODES = 4096
PIDS = 128
FILES = 512
FILE_BYTES = 64 * MIB
"""Largest single file that a box may write."""
LIMITS = {"nofile": FILES, "core": 1, "fsize": FILE_BYTES, "msgqueue": 0, "sigpending": 256}
"""Of each process; `core`: see `process.NO_CORE`; `sigpending` bounds timers, too."""
CGROUP_NAMESPACE_API = (1, 41)
"""Engine API version that knows private cgroup namespaces."""

ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "HOME": TMP,
    "TMPDIR": TMP,
    "MPLCONFIGDIR": TMP,
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def container_config(
    image: str,
    command: Sequence[str],
    *,
    job: Path,
    memory_mb: int,
    labels: Mapping[str, str],
    api_version: tuple[int, ...],
    cache: Cache = NONE,
) -> dict[str, Any]:
    """The create request of one box.

    Args:
        image: its id; nothing is pulled.
        command: the first process, `worker/guard.py` and what that runs.
        job: the folder with the job's files and an empty `scratch`; as all paths, on the Engine's machine.
        memory_mb: for everything in the box, its tmpfs included; there is no swap beyond it.
        labels: who the box belongs to.
        api_version: the Engine's, e.g. (1, 41).
        cache: compiled programs; only a warm-up, which holds no reward code, may write there.
    """
    environment = ENVIRONMENT | {"EUREKA_COMPILE_CACHE": CACHE if cache.folder else ""}
    host_config: dict[str, Any] = {
        "Init": False,  # the guard is the first process: the kernel lets nothing in the box stop that one
        "NetworkMode": "none",
        "IpcMode": "private",
        "ReadonlyRootfs": True,  # 5.13
        "Tmpfs": {folder: _tmpfs_options(size) for folder, size in TMPFS_MB.items()} | {TERMINALS: "ro,size=4k"},
        "Mounts": _mounts(job, cache),
        "Privileged": False,  # 5.5
        "CapDrop": ["ALL"],  # 5.4
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={SECCOMP.read_text()}"],  # 5.26, 5.22
        "PidsLimit": PIDS,  # 5.29
        "Memory": memory_mb * MIB,  # 5.11
        "MemorySwap": memory_mb * MIB,
        "OomScoreAdj": 500,  # if the machine runs out of memory, the box goes before the user's programs
        "NanoCpus": 10**9,  # 5.12
        "Ulimits": [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in LIMITS.items()],
        "LogConfig": {"Type": "none"},  # else a flood on stdout fills the host's disk
        "RestartPolicy": {"Name": "no"},  # 5.15
    }
    if api_version >= CGROUP_NAMESPACE_API:
        host_config["CgroupnsMode"] = "private"
    return {
        "Image": image,
        "Entrypoint": [],
        "Cmd": list(command),
        "User": f"{USER}:{USER}",
        "Hostname": "sbx",
        "WorkingDir": SCRATCH,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": dict(labels),
        "StopTimeout": 1,
        "Tty": False,
        "OpenStdin": True,
        "StdinOnce": True,  # stdin ends with the host's connection, and with stdin the box
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "NetworkDisabled": True,
        "HostConfig": host_config,
    }


def _tmpfs_options(size_mb: int) -> str:
    """Owner and mode are named: a bare `mode=1777` is ignored where the image has the folder already."""
    return f"rw,noexec,nosuid,nodev,size={size_mb}m,nr_inodes={INODES},uid={USER},gid={USER},mode=0700"


def _mounts(job: Path, cache: Cache) -> list[dict[str, Any]]:
    sources = {
        JOB: job,
        f"{CODE}/eureka_sandbox": Path(eureka_sandbox.__file__).parent,
        f"{CODE}/eureka_evaluation": Path(eureka_evaluation.__file__).parent,
        **({CACHE: cache.folder} if cache.folder else {}),
    }
    return [
        {
            "Type": "bind",
            "Source": str(source.resolve()),
            "Target": target,
            "ReadOnly": not (target == CACHE and cache.writable),
            "BindOptions": {"Propagation": "rprivate"},
        }
        for target, source in sources.items()
    ]
