"""The host's half of the wall's self-test: canaries that a box must not reach, and what it must be able to do.

Everything is tried in one box, by `worker/selftest.py`. Where the host can see for itself, it does: whether a
connection came, whether the sentinel lives, whether a file was written. Each canary is first reached from outside, or a
probe that cannot succeed would prove nothing; and the box must show by its controls that it ran and can work.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eureka_sandbox.backends.conversation import Box
from eureka_sandbox.backends.untrusted import one_line
from eureka_sandbox.backends.wall import home
from eureka_sandbox.protocol import EnvironmentSpec, Job, Limits, SandboxError, SmokeSpec

SECONDS = 20.0
"""How long the box may take; on an idle machine it needs a fifth of a second."""
MOST_BYTES = 2**16
VARIABLE = "EUREKA_SELF_TEST_CANARY"
LIMITS = Limits(wall_seconds=SECONDS, memory_mb=512)


class NoAnswer(Exception):
    """The box did not come to an answer; its last words are the message."""


class Leak(SandboxError):
    """Something got out."""


@dataclass(frozen=True)
class Canaries:
    """What the host has planted, and how it sees that something was touched."""

    told: dict[str, Any]
    """What the box is told, so that it need not search."""
    touched: dict[str, Callable[[], bool]]
    """Probe → whether the host has seen it succeed."""


def prove(open_box: Callable[[Job], AbstractContextManager[Box]], private: Sequence[Path] = ()) -> dict[str, Any]:
    """Run the self-test in a box that `open_box` starts; the fields of a `Wall` that it fills.

    Args:
        open_box: starts a box with a job.
        private: folders that the box must not see, besides the home, the working and the temporary folder.

    Raises:
        Leak: something got out; says what.
        SandboxError: a control failed; says which.
        NoAnswer: the box did not run to its end.
    """
    started = time.monotonic()
    with _planted(private) as canaries:
        spec = SmokeSpec(environment=EnvironmentSpec(body="inverted_pendulum", max_episode_steps=1))
        job = Job(spec, {"canaries.json": json.dumps(canaries.told).encode()}, LIMITS)
        with open_box(job) as box:
            report = _heard(box)
        found, worked = _read(report, job)
        for probe, touched in canaries.touched.items():
            if touched():
                found[probe] = found.get(probe) or "the host saw it"
    failed = sorted(name for name, fine in worked.items() if not fine)
    if failed:
        raise SandboxError(f"a box cannot do what it must: {', '.join(failed)}; no candidate was started")
    leaks = [f"{probe} ({what})" for probe, what in sorted(found.items()) if what]
    if leaks:
        raise Leak(f"the wall leaks: {'; '.join(leaks)}; no candidate was started")
    covers = dict.fromkeys(probe.partition(":")[0] for probe in found)
    return {
        "covers": tuple(_COVERED[kind] for kind in covers),
        "contained": len(found),
        "probes": len(found),
        "controls": len(worked) + 1,  # and it has read its job
        "seconds": round(time.monotonic() - started, 3),
    }


_COVERED = {
    "files": "the host's files",
    "secrets": "keys and environments",
    "network": "every network and local socket",
    "processes": "the host's processes",
    "rights": "privileges",
    "kernel": "dangerous system calls",
}


# ---------------------------------------------------------------------------------------------------------- canaries


@contextmanager
def _planted(private: Sequence[Path]) -> Iterator[Canaries]:
    name, secret = f"eureka-canary-{secrets.token_hex(8)}", secrets.token_hex(16)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eureka-canary-")))
        folder.chmod(0o755)  # reachable for a box that runs as another user, if only the wall were not there
        (folder / "file").write_text(secret)
        (folder / "file").chmod(0o644)
        folder_open = folder / "open"
        folder_open.mkdir()
        folder_open.chmod(0o777)
        code, memory = Path(__file__).parents[1] / "worker" / name, Path("/dev/shm") / name
        for path in (code, memory):
            stack.callback(path.unlink, missing_ok=True)
        tcp = stack.enter_context(_listening(socket.AF_INET, ("127.0.0.1", 0)))
        unix = stack.enter_context(_listening(socket.AF_UNIX, str(folder / "socket")))
        (folder / "socket").chmod(0o777)
        abstract = stack.enter_context(_listening(socket.AF_UNIX, "\0" + name))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        sentinel = stack.enter_context(_sentinel(secret))
        told = {
            "name": name,
            "file": str(folder / "file"),
            "write": str(folder_open / "written"),
            "code": str(code),
            "private": _identities([*private, Path(), *home(), Path(tempfile.gettempdir())]),
            "variable": VARIABLE,
            "host": sentinel.pid,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(folder / "socket"),
            "sentinel": sentinel.pid,
        }
        _reach_from_outside(told, (tcp, unix, abstract), udp)
        touched: dict[str, Callable[[], bool]] = {
            "files: write beside": (folder_open / "written").exists,
            "files: write the code": code.exists,
            "files: shared memory": memory.exists,
            "network: TCP": lambda: _arrived(tcp),
            "network: UDP": lambda: _arrived(udp),
            "network: Unix socket": lambda: _arrived(unix),
            "network: abstract socket": lambda: _arrived(abstract),
            "processes: signals": lambda: sentinel.poll() is not None,
        }
        yield Canaries(told, touched)


def _identities(folders: Iterable[Path]) -> dict[str, list[int]]:
    """What tells each folder from another of the same name, as the wall makes them on the way to what it shows."""
    found: dict[str, list[int]] = {}
    for folder in folders:
        with suppress(OSError):  # no such folder
            status = folder.stat()
            found[os.path.abspath(folder)] = [status.st_dev, status.st_ino]
    return found


@contextmanager
def _listening(family: int, address: Any) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(8)
        yield listener


@contextmanager
def _sentinel(secret: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that a box must neither see nor end, with a key in its environment."""
    process = subprocess.Popen(
        ["/bin/sleep", str(2 * SECONDS)], env={VARIABLE: secret}, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _reach_from_outside(told: dict[str, Any], listeners: tuple[socket.socket, ...], udp: socket.socket) -> None:
    """The positive control of the canaries themselves."""
    for listener in listeners:
        with socket.socket(listener.family, socket.SOCK_STREAM) as caller:
            caller.connect(listener.getsockname())
        listener.accept()[0].close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"control", ("127.0.0.1", told["udp"]))
    udp.recv(16)
    Path(told["write"]).write_text("control")
    Path(told["write"]).unlink()
    os.kill(told["sentinel"], signal.SIGCONT)


def _arrived(listener: socket.socket) -> bool:
    return bool(select.select([listener], [], [], 0)[0])


# ------------------------------------------------------------------------------------------------------- the report


def _heard(box: Box) -> bytes:
    """All that the box printed on stdout."""
    deadline, heard = time.monotonic() + SECONDS, b""
    while len(heard) <= MOST_BYTES:
        ready = select.select([box.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready:
            raise NoAnswer(f"its self-test took over {SECONDS:g} s")
        data = os.read(box.stdout.fileno(), MOST_BYTES)
        if not data:
            break
        heard += data
    if not heard:
        returncode = box.wait(1.0)
        raise NoAnswer(_last_words(box) or f"its self-test ended with {returncode}")
    return heard


def _last_words(box: Box) -> str:
    os.set_blocking(box.stderr.fileno(), False)
    with suppress(OSError):
        lines = os.read(box.stderr.fileno(), MOST_BYTES).decode("utf-8", "replace").strip().splitlines()
        return one_line(lines[-1], 300) if lines else ""
    return ""


def _read(report: bytes, job: Job) -> tuple[dict[str, str], dict[str, bool]]:
    """What the box says that it found and could do."""
    try:
        told = json.loads(report)
        found = {str(name)[:100]: one_line(str(what), 200) for name, what in told["found"].items()}
        worked = {str(name)[:100]: fine is True for name, fine in told["worked"].items()}
        answer = told["answer"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoAnswer("its self-test printed something else than a report") from error
    if answer != hashlib.sha256(job.spec.model_dump_json().encode()).hexdigest() or not found or not worked:
        raise NoAnswer("its self-test could not read its job")
    return found, worked
