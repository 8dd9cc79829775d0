"""The box's half of the wall's self-test, a script of the standard library: `selftest.py FOLDER`.

It tries to reach every canary that the host has planted (`canaries.json` in the job's folder) and to use what no
training needs, does what a box must be able to do, and prints one JSON object: per probe what it got hold of (empty:
nothing), per control whether it worked. The host believes its own eyes first, see `backends/probes.py`.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import socket
import sys
import threading

TYPE_CHECKING = False  # `typing` takes as long to import as all the rest
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any
else:
    import _signal as signal  # the same without its enumerations, whose making takes as long as Python's own start

LONGEST = 200
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
FAMILIES = {"netlink": 16, "packet": 17, "kernel crypto": 38, "virtual machine": 40}
CALLS: dict[str, tuple[int, int, tuple[Any, ...]]] = {
    # name: (number on x86-64, on aarch64, harmless arguments, which fail otherwise than by a refusal if at all)
    "new user namespace": (272, 97, (CLONE_NEWUSER,)),
    "new mount namespace": (272, 97, (CLONE_NEWUSER | CLONE_NEWNS,)),
    "mount": (165, 40, (b"none", b"/no/such/folder", b"tmpfs", 0, 0)),
    "ptrace": (101, 117, (0, 0, 0, 0)),
    "bpf": (321, 280, (0, bytes(128), 128)),
    "userfaultfd": (323, 282, (1,)),
    "io_uring": (425, 425, (4, bytearray(256))),
    "keyctl": (250, 219, (0, -3, 1)),
    "perf events": (298, 241, (bytes(128), 0, -1, -1, 0)),
    "memfd_secret": (447, 447, (0,)),
    "read another process's memory": (310, 270, (1, 0, 0, 0, 0, 0)),
    "file handles": (303, 264, (-100, b"/usr", bytearray(256), bytearray(8), 0)),
}


def main(folder: str) -> None:
    """Try everything and print what came of it."""
    with open(os.path.join(folder, "canaries.json")) as file:
        canaries: dict[str, Any] = json.load(file)
    found = {name: _got(probe, canaries) for name, probe in PROBES.items()}
    found |= {f"kernel: {name}": _called(*CALLS[name]) for name in CALLS}
    worked = {name: _works(control, canaries) for name, control in CONTROLS.items()}
    print(json.dumps({"answer": _answer(folder), "found": found, "worked": worked}))  # noqa: T201


def _answer(folder: str) -> str:
    """What only a box that could read its job can say."""
    with open(os.path.join(folder, "job.json"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _got(probe: Callable[[dict[str, Any]], str], canaries: dict[str, Any]) -> str:
    try:
        return probe(canaries)[:LONGEST]
    except Exception:
        return ""


def _works(control: Callable[[dict[str, Any]], bool], canaries: dict[str, Any]) -> bool:
    try:
        return control(canaries)
    except Exception:
        return False


# ----------------------------------------------------------------------------------------------------------- probes


def _file(canaries: dict[str, Any]) -> str:
    with open(canaries["file"]) as file:
        return file.read()


def _private(canaries: dict[str, Any]) -> str:
    """Folders of the user that are here, and not only others by their names."""
    return ", ".join(path for path, identity in canaries["private"].items() if _identity(path) == identity)


def _identity(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_dev, status.st_ino]


def _environments(canaries: dict[str, Any]) -> str:
    """Of this process, its parent, the host, and every other that can be seen."""
    for pid in ["self", os.getppid(), canaries["host"], *filter(str.isdigit, os.listdir("/proc"))]:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if canaries["variable"].encode() in file.read():
                    return f"the environment of process {pid}"
        except OSError:
            continue
    return ""


def _write(path: str) -> str:
    with open(path, "w") as file:
        file.write("canary")
    return f"wrote {path}"


def _program(_: dict[str, Any]) -> str:
    """The file that this process was executed from; a forked one has it from where its parent was executed."""
    program = "/proc/self/exe"
    done = []
    for what, change in (("written", _open_to_write), ("its mode set", _set_same_mode)):
        try:
            change(program)
        except OSError:
            continue
        done.append(what)
    return ", ".join(done)


def _open_to_write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def _set_same_mode(path: str) -> None:
    os.chmod(path, os.stat(path).st_mode & 0o7777)


def _memory(canaries: dict[str, Any]) -> str:
    _write(os.path.join("/dev/shm", canaries["name"]))
    return ""  # a box may have its own: the host looks


def _connect(family: int, address: Any) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect(address)
    return "connected"


def _datagram(canaries: dict[str, Any]) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(canaries["name"].encode(), ("127.0.0.1", canaries["udp"]))
    return "sent"


def _families(_: dict[str, Any]) -> str:
    made = []
    for name, number in FAMILIES.items():
        try:
            socket.socket(number, socket.SOCK_RAW if number < 20 else socket.SOCK_SEQPACKET).close()
        except OSError:
            continue
        made.append(name)
    return ", ".join(made)


def _raw(_: dict[str, Any]) -> str:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()
    return "a raw socket"


def _kill(pid: int) -> str:
    os.kill(pid, signal.SIGKILL)
    return ""  # in another PID namespace the number may be its own: the host looks


def _engine(_: dict[str, Any]) -> str:
    return next((path for path in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(path)), "")


def _rights(_: dict[str, Any]) -> str:
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16)]
    return ", ".join(held + (["new privileges"] if status["NoNewPrivs"].strip() != "1" else []))


def _superuser(_: dict[str, Any]) -> str:
    os.setresuid(0, 0, 0)
    return "user 0"


def _descriptors(_: dict[str, Any]) -> str:
    numbers = [number for number in os.listdir("/proc/self/fd") if int(number) > 2]
    targets = [target for target in map(_target, numbers) if target and not target.startswith("/proc/")]
    return ", ".join(targets)


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""  # the one that listed them


def _terminal(_: dict[str, Any]) -> str:
    os.close(os.open("/dev/tty", os.O_RDWR))
    return "a terminal"


PROBES: dict[str, Callable[[dict[str, Any]], str]] = {
    "files: read": _file,
    "files: the user's folders": _private,
    "files: write beside": lambda c: _write(c["write"]),
    "files: write the code": lambda c: _write(c["code"]),
    "files: write the job": lambda c: _write(os.path.join(sys.argv[1], c["name"])),
    "files: change the program": _program,
    "files: shared memory": _memory,
    "secrets: environments": _environments,
    "secrets: open descriptors": _descriptors,
    "network: TCP": lambda c: _connect(socket.AF_INET, ("127.0.0.1", c["tcp"])),
    "network: UDP": _datagram,
    "network: Unix socket": lambda c: _connect(socket.AF_UNIX, c["unix"]),
    "network: abstract socket": lambda c: _connect(socket.AF_UNIX, "\0" + c["name"]),
    "network: raw": _raw,
    "network: other families": _families,
    "network: container engine": _engine,
    "processes: signals": lambda c: _kill(c["sentinel"]),
    "processes: terminal": _terminal,
    "rights: capabilities": _rights,
    "rights: superuser": _superuser,
}


def _called(on_x86_64: int, on_aarch64: int, arguments: tuple[Any, ...]) -> str:
    """In a child, which may be changed or killed by it. EPERM, EACCES and ENOSYS are refusals."""
    number = on_aarch64 if os.uname().machine == "aarch64" else on_x86_64
    child = os.fork()
    if child == 0:
        library = ctypes.CDLL(None, use_errno=True)
        held = [ctypes.create_string_buffer(bytes(a), len(a)) if isinstance(a, bytearray) else a for a in arguments]
        done = library.syscall(number, *held)
        os._exit(1 if done >= 0 or ctypes.get_errno() not in (1, 13, 38) else 0)
    return "it is there" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1 else ""


# --------------------------------------------------------------------------------------------------------- controls


def _scratch(_: dict[str, Any]) -> bool:
    with open("selftest", "w+") as file:
        file.write("kept")
        file.seek(0)
        return file.read() == "kept"


def _child(_: dict[str, Any]) -> bool:
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        there.send(b"child")
        os._exit(0)
    return here.recv(5) == b"child" and os.waitpid(child, 0)[1] == 0


def _thread(_: dict[str, Any]) -> bool:
    ran = threading.Event()
    thread = threading.Thread(target=ran.set)
    thread.start()
    thread.join()
    return ran.is_set()


CONTROLS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "write the scratch folder": _scratch,
    "start a process and talk to it": _child,
    "start a thread": _thread,
    "draw random numbers": lambda _: len(os.urandom(8)) == 8,
    "read the system's libraries": lambda _: bool(ctypes.CDLL(None).getpid()),
    "read the worker's code": lambda _: os.path.getsize(__file__) > 0,
}

if __name__ == "__main__":
    main(sys.argv[1])
