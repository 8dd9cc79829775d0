"""What runs on this machine, from one pass over /proc: who descends from a process, and how much memory that takes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock

PAGE = os.sysconf("SC_PAGE_SIZE")
STREAM = b"0001"
"""How /proc/net/unix writes a socket of bytes, in whose queue only its peer's bytes are."""
DATAGRAMS = 11
"""Senders whose messages may wait in one socket of any other kind (`net.unix.max_dgram_qlen`, and one on its way)."""

PIPE, SHORT_PIPE, ALL_PIPES = 2**16, 2**13, 2**26
"""Bytes that a pipe holds: usually, and once a user's pipes hold `ALL_PIPES` together (`fs.pipe-user-pages-soft`)."""

MAPPING, MOST_MAPPINGS = 203, 65530
"""Bytes that the kernel keeps on one mapping, measured, and how many a process may have (`vm.max_map_count`)."""
FEW = 8
"""Processes that an honest box may well have."""


@dataclass(frozen=True)
class Process:
    """One line of the table."""

    pid: int
    parent: int
    started: int
    """Clock ticks since boot; with `pid` it names a process for good."""
    resident: int
    """Bytes of memory, shared pages included."""
    mapped: int
    """Bytes of its address space, whether there is memory behind them or not."""
    told_by: str = ""
    """Folder in /proc that tells of its memory, if that is not its own: one whose first thread has ended, and others
    have not, looks empty."""

    @property
    def folder(self) -> str:
        """Where the kernel tells of it."""
        return self.told_by or f"/proc/{self.pid}"

    def proportional(self) -> int:
        """Bytes of memory, each shared page divided by the number of its users; 0 once it has ended."""
        try:
            with open(f"{self.folder}/smaps_rollup", "rb") as file:
                for line in file:
                    if line.startswith(b"Pss:"):
                        return int(line.split()[1]) * 1024
        except OSError:  # it has ended, or may not be read
            pass
        now = read_process(self.pid)
        return now.resident if now and now.started == self.started else 0

    def kill(self) -> None:
        """SIGKILL, if it still is the same process."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return  # it has ended
        try:
            now = read_process(self.pid)
            if now and now.started == self.started:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError:
            return  # it has ended meanwhile, or became another user's
        finally:
            os.close(descriptor)


KERNEL_SECONDS = 1.0
"""How long a process id is taken for a thread of the kernel's: it may end, and a process get its number."""


@dataclass
class ProcessTable:
    """The last pass over /proc, shared by all boxes that ask within `max_age` seconds.

    What has no address space (threads of the kernel, on a small machine most of what there is, and zombies) is passed
    over for `KERNEL_SECONDS`.
    """

    max_age: float = 0.05
    _lock: Lock = field(default_factory=Lock, init=False)
    _taken: float = field(default=float("-inf"), init=False)
    _below: dict[int, list[Process]] = field(default_factory=dict, init=False)
    """Parent id → its children."""
    _kernel: frozenset[int] = field(default=frozenset(), init=False)
    _kernel_taken: float = field(default=float("-inf"), init=False)

    def descendants(self, pid: int) -> list[Process]:
        """Children, grandchildren and so on, parents first."""
        with self._lock:
            if time.monotonic() - self._taken > self.max_age:
                self._take()
            below = self._below
        found = list(below.get(pid, ()))
        for process in found:  # grows while it is read
            found += below.get(process.pid, ())
        return found

    def _take(self) -> None:
        now, below = time.monotonic(), dict[int, list[Process]]()
        anew = now - self._kernel_taken > KERNEL_SECONDS
        pids = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}
        for process in filter(None, map(read_process, pids if anew else pids - self._kernel)):
            below.setdefault(process.parent, []).append(process)
        if anew:
            everybody = (process for children in below.values() for process in children)
            self._kernel, self._kernel_taken = frozenset(p.pid for p in everybody if not p.mapped), now
        self._below, self._taken = below, time.monotonic()


def read_process(pid: int) -> Process | None:
    """One process's line of the table; None once it has ended."""
    fields, folder = _stat(f"/proc/{pid}"), ""
    if not fields:
        return None
    parent, started = int(fields[1]), int(fields[19])
    if fields[0] == b"Z" and int(fields[17]) > 1:
        with suppress(OSError):
            threads = (f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task"))
            living = ((place, found) for place in threads if (found := _stat(place)) and found[0] not in b"ZX")
            folder, fields = next(living, ("", fields))
    return Process(pid, parent, started, int(fields[21]) * PAGE, int(fields[20]), folder)


def _stat(folder: str) -> list[bytes]:
    """The fields after the name, from the state on; nothing once it has ended."""
    try:
        with open(f"{folder}/stat", "rb", buffering=0) as file:
            return file.read(1024).rpartition(b")")[2].split()  # the name may hold anything
    except OSError:
        return []


def hidden_bytes(processes: Iterable[Process]) -> int:
    """Memory that `resident` leaves out: page tables, which reading empty memory fills, what was swapped out, and the
    most that the pipes of so many descriptors can hold."""
    tables = descriptors = 0
    for process in processes:
        try:
            with open(f"{process.folder}/status", "rb") as file:
                lines = file.read(8192).splitlines()
        except OSError:
            continue  # it has ended
        tables += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith((b"VmPTE:", b"VmSwap:")))
        descriptors += next((int(line.split()[1]) for line in lines if line.startswith(b"FDSize:")), 0)
    pipes = descriptors // 2
    return tables + min(pipes * PIPE, ALL_PIPES + pipes * SHORT_PIPE)


def mapping_bytes(processes: Sequence[Process]) -> int:
    """The most that the kernel keeps on the mappings of the youngest processes, in memory that counts for none.

    Counting the mappings takes seconds where there are many. As few processes as an honest box has are not charged.
    """
    return sum(min(process.mapped // PAGE, MOST_MAPPINGS) for process in processes[FEW:]) * MAPPING


def socket_bytes(pid: int) -> int:
    """The most that the local sockets of a process's network namespace can hold, in memory that counts for no process.

    Also of those that wait to be accepted, and of those whose sender is gone.
    """
    try:
        with open(f"/proc/{pid}/net/unix", "rb") as file:
            kinds = [line.split()[4] for line in file.read().splitlines()[1:]]
    except (OSError, IndexError):
        return 0  # it has ended
    return sum(_queue_bytes() * (1 if kind == STREAM else DATAGRAMS) for kind in kinds)


@cache
def _queue_bytes() -> int:
    """What a socket's sender may have under way (a box may not ask for more), and room for a last message."""
    try:
        with open("/proc/sys/net/core/wmem_default") as file:
            return int(file.read()) + 2**16
    except (OSError, ValueError):
        return 2**19


def oom_kills() -> int:
    """How many processes of this machine the kernel has killed since boot because memory ran out."""
    return _count(Path("/proc/vmstat"), "oom_kill") or 0  # not told here: no death is then blamed on the machine


def oom_kills_here(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """The same, of this process's own control group, to which the boxes that it starts belong.

    What dies elsewhere, in another user's session or in a container, does not count. Where the kernel does not tell,
    it is the whole machine's number.
    """
    try:
        lines = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return oom_kills()
    for _, controllers, path in lines:
        if controllers == "memory":
            place = root / "memory" / path.lstrip("/") / "memory.oom_control"
        elif not controllers:
            place = root / path.lstrip("/") / "memory.events.local"
        else:
            continue
        if (killed := _count(place, "oom_kill")) is not None:
            return killed
    return oom_kills()


def _count(path: Path, name: str) -> int | None:
    """The number behind a name in a file of the kernel; None if it is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
