"""The canary probes and positive controls of a box's self-test, a script: `probes.py FOLDER`.

Every probe tries what a box must not be able to do, against baits that the host has laid out (`baits.json` in FOLDER),
and every control what it must be able to do. One JSON object is printed: what held and what did not, with details.
No reward is in the box then: what is printed can be believed.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SYSCALLS = {
    "x86_64": {
        "ptrace": (101, 0),
        "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
        "unshare": (272, 0x10000000),
        "mount": (165, 0, 0, 0, 0, 0),
        "bpf": (321, 0, 0, 0),
        "userfaultfd": (323, 1),
        "io_uring_setup": (425, 1, 0),
        "keyctl": (250, 0, -3, 0),
        "memfd_secret": (447, 0),
        "name_to_handle_at": (303, -100, 0, 0, 0, 0),
        "perf_event_open": (298, 0, 0, -1, -1, 0),
        "clone into a new user namespace": (56, 0x10000011, 0, 0, 0, 0),
    },
    "aarch64": {
        "ptrace": (117, 0),
        "process_vm_readv": (270, 1, 0, 0, 0, 0, 0),
        "unshare": (97, 0x10000000),
        "mount": (40, 0, 0, 0, 0, 0),
        "bpf": (280, 0, 0, 0),
        "userfaultfd": (282, 1),
        "io_uring_setup": (425, 1, 0),
        "keyctl": (219, 0, -3, 0),
        "memfd_secret": (447, 0),
        "name_to_handle_at": (264, -100, 0, 0, 0, 0),
        "perf_event_open": (241, 0, 0, -1, -1, 0),
        "clone into a new user namespace": (220, 0x10000011, 0, 0, 0, 0),
    },
}
"""By processor, the number of a system call and arguments that name the deed: a filter refuses before it looks closer."""
REFUSED = (1, 38)
"""EPERM and ENOSYS: a call that was let through complains of its arguments instead."""
FAMILIES = {"IPv4": 2, "IPv6": 10, "netlink": 16, "packet": 17, "vsock": 40}
SYSTEM_FOLDERS = ("/", "/etc", "/usr/local", "/root", "/home", "/var/tmp", "/proc/sys/kernel", "/sys")


def host_file(baits: dict[str, Any]) -> str:
    """A file of the host that anybody may read."""
    return "was read" if _reads(baits["file"], baits["secret"]) else ""


def host_environment(baits: dict[str, Any]) -> str:
    """The secret that is in the environment of the host's process."""
    secret = baits["secret"]
    if any(secret in value for value in os.environ.values()):
        return "is in the box's own"
    seen = [entry for entry in os.listdir("/proc") if entry.isdigit() and _reads(f"/proc/{entry}/environ", secret)]
    return f"was read from process {seen[0]}" if seen else ""


def network(baits: dict[str, Any]) -> str:
    """The host's loopback listener, and sockets of every family that leaves the machine."""
    try:
        socket.create_connection(("127.0.0.1", baits["port"]), timeout=1).close()
        return "the host's loopback answers"
    except OSError:
        pass
    for name, family in FAMILIES.items():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(family, kind).close()
                return f"an {name} socket can be made"
            except OSError:
                continue
    return ""


def local_sockets(baits: dict[str, Any]) -> str:
    """A Unix socket of the host without a file, which no file permission guards."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect("\0" + baits["abstract"])
        except OSError:
            return ""
    return "an abstract socket of the host answers"


def system_files(baits: dict[str, Any]) -> str:
    """Files outside the box's own folders, and the packages that it imports."""
    import numpy

    packages = str(Path(numpy.__file__).parent.parent)
    for folder in (*SYSTEM_FOLDERS, packages, str(Path(__file__).parent)):
        try:
            path = os.path.join(folder, "eureka-canary")
            with open(path, "w"):
                os.unlink(path)
            return f"{folder} can be written"
        except OSError:
            continue
    return ""


def privileges(baits: dict[str, Any]) -> str:
    """Root, capabilities, ways to gain them, and a filter of system calls."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    if 0 in (*os.getresuid(), *os.getresgid()):
        return "it runs as root"
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16)]
    if held:
        return f"it has capabilities ({held[0]} {status[held[0]]})"
    if status["NoNewPrivs"] != "1":
        return "it may gain privileges"
    return "" if status["Seccomp"] == "2" else "system calls are not filtered"


def kernel(baits: dict[str, Any]) -> str:
    """System calls that lead out of boxes or into other processes."""
    library = ctypes.CDLL(None, use_errno=True)
    for name, (number, *arguments) in SYSCALLS[platform.machine()].items():
        result = library.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
        if result == 0 and name.startswith("clone"):
            os._exit(0)  # the child that should not be
        if result >= 0 or ctypes.get_errno() not in REFUSED:
            return f"{name} is let through"
    return ""


def job(baits: dict[str, Any]) -> str:
    """The job came in whole."""
    return "" if _reads(os.path.join(sys.argv[1], "token.txt"), baits["token"]) else "the job's file is not as it was sent"


def own_folder(baits: dict[str, Any]) -> str:
    """The working folder and the temporary one can be written."""
    for folder in (os.getcwd(), os.environ["TMPDIR"], "/dev/shm"):
        with open(os.path.join(folder, "canary"), "wb") as file:
            file.write(bytes(2**16))
    return ""


def library(baits: dict[str, Any]) -> str:
    """NumPy and this project's code are there."""
    import numpy

    import eureka_sandbox.protocol

    assert eureka_sandbox.protocol.__file__
    return "" if float(numpy.ones(3) @ numpy.ones(3)) == 3.0 else "numpy cannot multiply"


def children(baits: dict[str, Any]) -> str:
    """A process can be started, and a socket pair made to talk to it."""
    first, second = socket.socketpair()
    first.sendall(b"x")
    heard = second.recv(1)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", "print(1)"], capture_output=True, check=False)
    return "" if (heard, done.stdout) == (b"x", b"1\n") else f"a child process ended with {done.returncode}"


PROBES: dict[str, Callable[[dict[str, Any]], str]] = {
    "files of the host": host_file,
    "environment of the host": host_environment,
    "network": network,
    "sockets of the host": local_sockets,
    "system and packages, to write": system_files,
    "privileges": privileges,
    "kernel interfaces": kernel,
}
CONTROLS: dict[str, Callable[[dict[str, Any]], str]] = {
    "read the job": job,
    "write its own folders": own_folder,
    "import numpy": library,
    "start a process": children,
}


def run(checks: dict[str, Callable[[dict[str, Any]], str]], baits: dict[str, Any]) -> dict[str, str]:
    """Name → empty if it is as it should be, else what is wrong."""
    found: dict[str, str] = {}
    for name, check in checks.items():
        try:
            found[name] = check(baits)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _reads(path: str, text: str) -> bool:
    try:
        return text in Path(path).read_text(errors="replace")
    except OSError:
        return False


if __name__ == "__main__":
    laid_out = json.loads(Path(sys.argv[1], "baits.json").read_text())
    print(json.dumps({"probes": run(PROBES, laid_out), "controls": run(CONTROLS, laid_out)}))  # noqa: T201
