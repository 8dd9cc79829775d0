"""What a container may do, spelled out once: the body of the Engine's `POST /containers/create`, default-deny.

Nothing of the host is visible but two packages' code, read-only; nothing of the box outlives it; nothing of it is
written to the host's disk (`LogConfig: none`, tmpfs only). The numbers in brackets are CIS Docker Benchmark's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import eureka_evaluation
import eureka_sandbox

MIB = 2**20
USER = 10001
"""User and group in the box; nobody on the host."""
SECCOMP = Path(__file__).with_name("seccomp.json")
CODE, JOB, SCRATCH, TMP, CACHE = "/worker", "/job", "/out", "/tmp", "/cache"
"""Where the code, the job, the box's working folder, its temporary files and compiled programs are, in the box."""
SCRATCH_MB, TMP_MB, SHM_MB = 64, 128, 64
INODES = 4096
PIDS = 128
FILES = 512
FILE_BYTES = 64 * MIB
"""Largest single file that a box may write."""
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
    memory_mb: int,
    job_bytes: int,
    labels: Mapping[str, str],
    api_version: tuple[int, ...],
    compile_cache: Path | None = None,
) -> dict[str, Any]:
    """The create request of one box.

    Args:
        image: its id; nothing is pulled.
        command: what runs in it as the only process that init starts.
        memory_mb: for everything in the box, its tmpfs included; there is no swap beyond it.
        job_bytes: size of the job, which takes its place in memory too.
        labels: who the box belongs to.
        api_version: the Engine's, e.g. (1, 41).
        compile_cache: a folder of compiled programs on the Engine's machine, mounted read-only.
    """
    environment = ENVIRONMENT | {"EUREKA_COMPILE_CACHE": CACHE if compile_cache else ""}
    host_config: dict[str, Any] = {
        "Init": True,
        "NetworkMode": "none",
        "IpcMode": "private",
        "ReadonlyRootfs": True,  # 5.13
        "Tmpfs": _tmpfs(job_bytes),
        "Mounts": _mounts(compile_cache),
        "Privileged": False,  # 5.5
        "CapDrop": ["ALL"],  # 5.4
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={SECCOMP.read_text()}"],  # 5.26, 5.22
        "PidsLimit": PIDS,  # 5.29
        "Memory": memory_mb * MIB,  # 5.11
        "MemorySwap": memory_mb * MIB,
        "OomScoreAdj": 500,  # if the machine runs out of memory, the box goes before the user's programs
        "NanoCpus": 10**9,  # 5.12
        "Ulimits": [
            {"Name": name, "Soft": limit, "Hard": limit}
            for name, limit in {"nofile": FILES, "core": 0, "fsize": FILE_BYTES, "msgqueue": 0}.items()
        ],
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


def _tmpfs(job_bytes: int) -> dict[str, str]:
    sizes = {
        JOB: 1 + -(-job_bytes // MIB) + 1,  # a page for every file and folder besides
        SCRATCH: SCRATCH_MB,
        TMP: TMP_MB,
        "/dev/shm": SHM_MB,
    }
    return {folder: _tmpfs_options(size) for folder, size in sizes.items()}


def _tmpfs_options(size_mb: int) -> str:
    """Owner and mode are named: a bare `mode=1777` is ignored where the image has the folder already."""
    return f"rw,noexec,nosuid,nodev,size={size_mb}m,nr_inodes={INODES},uid={USER},gid={USER},mode=0700"


def _mounts(compile_cache: Path | None) -> list[dict[str, Any]]:
    sources = {
        f"{CODE}/eureka_sandbox": Path(eureka_sandbox.__file__).parent,
        f"{CODE}/eureka_evaluation": Path(eureka_evaluation.__file__).parent,
    }
    if compile_cache:
        sources[CACHE] = compile_cache
    return [
        {
            "Type": "bind",
            "Source": str(source.resolve()),
            "Target": target,
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rprivate"},
        }
        for target, source in sources.items()
    ]
