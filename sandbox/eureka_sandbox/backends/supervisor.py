"""The trusted parent of one box, a program of the standard library alone, with the plan of the box on stdin.

It starts the command, inside a wall of namespaces if the plan has one, gives it its own session, resource limits and a
death signal, adopts every process that the command leaves behind (also daemons that fled their session), and kills them
all when the command ends, when it is told to end (SIGTERM), or when the host dies (for the kernel: the thread that
started it). Last it tells the host, on the same socket, how the command ended: a supervisor that goes without a
word was killed.

A process of its own does what a `preexec_fn` would, without running Python between fork and exec in a host that has
threads, and does what the host cannot: adopt orphans without becoming the reaper of the user's whole program. The host
executes it, or has it forked by a process that has imported what the command needs (`forkserver.py`).
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import sys
import time

TYPE_CHECKING = False  # `typing` takes as long to import as all the rest
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    Execute = Callable[[list[str], dict[str, str]], None]
else:
    import _signal as signal  # the same without its enumerations, whose making takes as long as Python's own start

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
FIRST_KILLED = 70  # process.FIRST_KILLED


def main(execute: Execute | None = None) -> None:
    """Run the command to its end and leave nothing of it behind; `execute` turns a process into it."""
    with os.fdopen(0, "rb", closefd=False) as stream:
        plan: dict[str, Any] = marshal.load(stream)
    host = os.dup(0)  # not inherited by the box
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the host may ignore it, which is inherited and would lose statuses
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != plan["parent"]:  # it died before the death signal was set
        sys.exit("the host is gone")
    _limit("RLIMIT_CORE", plan["core"])  # here already: behind the filter nobody may set it
    worker, report = _start(plan, execute or in_a_new_program)
    os.close(1)  # so that the host sees the end of the stream when the box ends
    status = _wait(worker)
    _kill_all()
    if report is not None and status is not None:
        # The box's first process says how the command ended, unless it was killed.
        told = os.read(report, 4)
        if len(told) == 4:
            status = int.from_bytes(told, sys.byteorder)
        elif os.WIFSIGNALED(status):
            os._exit(FIRST_KILLED)
    if status is not None:
        os.write(host, status.to_bytes(4, sys.byteorder))
    os._exit(0)


def _start(plan: dict[str, Any], execute: Execute) -> tuple[int, int | None]:
    """The process to wait for, and where the command's status comes from if that is not the command itself."""
    if plan["wall"] is None:
        parent = os.getpid()
        worker = os.fork()
        if worker == 0:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            become(plan, execute)
        return worker, None
    from eureka_sandbox.backends.namespaces import spawn

    return spawn(plan, lambda: become(plan, execute))


def become(plan: dict[str, Any], execute: Execute) -> None:
    """Turn this process into the command. Does not return."""
    os.setsid()
    for name, number in plan["rlimits"].items():
        _limit(name, number)
    if plan["wall"] is None:
        fear_memory()
    os.chdir(plan["folder"])
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    execute(plan["command"], plan["environment"])


def in_a_new_program(command: list[str], environment: dict[str, str]) -> None:
    """Execute the command. Does not return."""
    try:
        os.execve(command[0], command, environment)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(127)


def _limit(name: str, number: int) -> None:
    which = getattr(resource, name)
    hard = resource.getrlimit(which)[1]
    value = number if hard == resource.RLIM_INFINITY else min(number, hard)
    resource.setrlimit(which, (value, value))


def fear_memory() -> None:
    """If the machine runs out of memory, the box goes before the user's programs."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        sys.exit(f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def _wait(worker: int) -> int | None:
    """Reap until the worker has ended (its wait status) or the order to end has come (None)."""
    while signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGCHLD:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == worker:
                return status
            if pid == 0:
                break
    return None


def _kill_all() -> None:
    """SIGKILL every descendant, again and again until none is left; each orphan comes to this process."""
    while _any_left():
        for pid in _descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.002)  # a killed process needs a moment to die; one born meanwhile is found by the next scan


def _any_left() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has just ended
        children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
