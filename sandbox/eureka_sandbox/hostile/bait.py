"""What a case could harm, laid out afresh for it: files, sockets, a process of the user, a shared memory segment.

The host looks at the bait afterwards: it believes no box about what it did or did not reach.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import eureka_sandbox

MARK = "EUREKA-CANARY-"
"""How every secret begins, so that an attack can recognise one that it finds."""
CANARY = b"the user's own words\n"


class Bait:
    """A context manager; nothing of it is left afterwards. `box` holds the places that an attack is told."""

    def __init__(self) -> None:
        self.secret = MARK + secrets.token_hex(12)
        """What must not be read."""
        self.tag = "eureka-mark-" + secrets.token_hex(8)
        """Name of everything that an attack leaves behind."""
        self._left = contextlib.ExitStack()

    def __enter__(self) -> Bait:
        with contextlib.ExitStack() as stack:
            self._lay(stack)
            self._left = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    def _lay(self, stack: contextlib.ExitStack) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="eureka-bait-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._canary = self.folder / "canary"
        self._canary.write_bytes(CANARY)
        self._canary.chmod(0o600)
        for name in ("secret", "journal", "neighbour"):
            (self.folder / name).write_text(self.secret)
        kept = os.open(self.folder / "secret", os.O_RDONLY)
        stack.callback(os.close, kept)
        os.set_inheritable(kept, True)
        self._sockets(stack)
        self._segment = _shared_memory(self.secret.encode())
        stack.callback(_libc.shmctl, self._segment[1], 0, None)
        self._sentinel = _sentinel(self.secret)
        stack.callback(self._end_sentinel)
        self.box = self._places()
        self._before = self._look()

    def _sockets(self, stack: contextlib.ExitStack) -> None:
        self._doors: dict[str, socket.socket] = {}

        def door(name: str, family: socket.AddressFamily, address: Any, kind: socket.SocketKind) -> None:
            opened = stack.enter_context(socket.socket(family, kind))
            opened.setblocking(False)
            with contextlib.suppress(OSError):  # a machine without IPv6
                opened.bind(address)
                if kind == socket.SOCK_STREAM:
                    opened.listen()
                self._doors[name] = opened

        door("tcp", socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_STREAM)
        door("tcp6", socket.AF_INET6, ("::1", 0), socket.SOCK_STREAM)
        door("udp", socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
        door("abstract", socket.AF_UNIX, "\0" + self.tag, socket.SOCK_STREAM)
        door("agent_socket", socket.AF_UNIX, str(self.folder / "agent"), socket.SOCK_STREAM)
        door("datagram_socket", socket.AF_UNIX, str(self.folder / "datagram"), socket.SOCK_DGRAM)

    def _places(self) -> dict[str, str | int | list[str]]:
        ports: dict[str, int] = {
            name: self._doors[name].getsockname()[1] for name in ("tcp", "tcp6", "udp") if name in self._doors
        }
        paths = ("canary", "journal", "neighbour")
        return {
            **{name: str(self.folder / name) for name in paths},
            "secret_file": str(self.folder / "secret"),
            "agent_socket": str(self.folder / "agent"),
            "datagram_socket": str(self.folder / "datagram"),
            "tcp6": 9,
            **ports,
            "abstract": self.tag,
            "folder": str(self.folder),
            "home": str(Path.home()),
            "home_names": _home_names(),
            "compile_cache": _compile_cache(),
            "temp": tempfile.gettempdir(),
            "working_folder": os.getcwd(),
            "working_device": os.stat(".").st_dev,
            "working_inode": os.stat(".").st_ino,
            "tag": self.tag,
            "mark": MARK,
            "sentinel": self._sentinel.pid,
            "host_pid": os.getpid(),
            "shared_memory": self._segment[0],
            "network_namespace": os.readlink("/proc/self/ns/net"),
        }

    def damage(self) -> list[str]:
        """What the box did that the host can see, one phrase each; empty if nothing. Ask once, when it has ended."""
        return [*self._changes(), *self._callers(), *self._marks(), *self._sentinel_damage()]

    def _look(self) -> dict[str, object]:
        """Everything about the files that an attack might change."""
        seen: dict[str, object] = {"entries": sorted(path.name for path in self.folder.iterdir())}
        for name in ("canary", "secret", "journal", "neighbour"):
            path = self.folder / name
            with contextlib.suppress(OSError):
                status = path.stat()
                seen[name] = (status.st_mode, status.st_nlink, status.st_ino, status.st_mtime_ns, path.read_bytes())
                seen[f"attributes of {name}"] = os.listxattr(path)
        return seen

    def _changes(self) -> list[str]:
        now = self._look()
        return [f"changed the user's {name}" for name, value in self._before.items() if now.get(name) != value]

    def _callers(self) -> list[str]:
        found = []
        for name, door in self._doors.items():
            with contextlib.suppress(OSError):
                if door.type == socket.SOCK_STREAM:
                    door.accept()[0].close()
                else:
                    door.recv(64)
                found.append(f"reached the host's {name} socket")
        return found

    def _marks(self) -> list[str]:
        """Files and processes that carry the tag. They are removed."""
        package = Path(eureka_sandbox.__file__).parent
        found = []
        for folder in (
            tempfile.gettempdir(),
            "/dev/shm",
            "/var/tmp",
            Path.home(),
            package,
            package / "worker",
            _compile_cache(),
        ):
            path = Path(folder) / self.tag
            if path.is_symlink() or path.exists():
                path.unlink()
                found.append(f"left a file in {folder}")
        for process in _processes_with(self.tag):
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
                found.append("left a process behind")
        return found

    def _sentinel_damage(self) -> list[str]:
        if self._sentinel.poll() is not None:
            return [f"ended a process of the user ({self._sentinel.returncode})"]
        state = Path(f"/proc/{self._sentinel.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return ["stopped a process of the user"] if state in "Tt" else []

    def _end_sentinel(self) -> None:
        self._sentinel.kill()
        self._sentinel.wait()


def _compile_cache() -> str:
    """Where the host keeps compiled programs, as `backends.compile_cache` has it."""
    return os.environ.get("EUREKA_COMPILE_CACHE") or str(Path.home() / ".cache" / "eureka-agent" / "xla")


def _home_names() -> list[str]:
    """Names in the user's home, without those on the way to Python or to this package, which a box may have to see."""
    home = Path.home()
    needed = [Path(path) for path in (sys.prefix, sys.base_prefix, eureka_sandbox.__file__)]
    return sorted(p.name for p in home.iterdir() if not any(n == p or p in n.parents for n in needed))[:50]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p


def _shared_memory(content: bytes) -> tuple[int, int]:
    """A System V segment that holds the bytes: its key and its id."""
    key = secrets.randbelow(2**30) + 1
    segment = _libc.shmget(key, 4096, 0o1600)
    address = _libc.shmat(segment, None, 0)
    ctypes.memmove(address, content, len(content))
    _libc.shmdt(ctypes.c_void_p(address))
    return key, segment


def _sentinel(secret: str) -> subprocess.Popen[bytes]:
    """A process of the user that does nothing, with a secret among its arguments and in its environment."""
    command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)", secret]
    return subprocess.Popen(command, env={"EUREKA_SECRET": secret}, start_new_session=True, stdin=subprocess.DEVNULL)


def _processes_with(tag: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if tag.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
