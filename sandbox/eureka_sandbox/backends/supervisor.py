"""The trusted parent of one box, a script of the standard library: `supervisor.py HOST_PID RLIMIT=VALUE,… COMMAND…`.

It gives the command its own session, resource limits and a death signal, adopts every process that the command leaves
behind (also daemons that fled their session), and kills them all when the command ends, when it is told to end
(SIGTERM), or when the host dies (for the kernel: the host's thread that started it). It ends as the command ended, with
the same exit code or by the same signal.

A process of its own does what a `preexec_fn` would, without running Python between fork and exec in a host that has
threads, and does what the host cannot: adopt orphans without becoming the reaper of the user's whole program.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> None:
    """Run the command to its end and leave nothing of it behind."""
    host, limits, command = int(arguments[0]), arguments[1], arguments[2:]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the host may ignore it, which is inherited and would lose statuses
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != host:  # it died before the death signal was set
        sys.exit("the host is gone")
    worker = os.fork()
    if worker == 0:
        _become(command, limits)
    os.close(1)  # so that the host sees the end of the stream when the box ends
    status = _wait(worker)
    _kill_all()
    _end_like(status)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        sys.exit(f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def _become(command: list[str], limits: str) -> None:
    parent = os.getppid()
    os.setsid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    for limit in limits.split(","):
        name, _, number = limit.partition("=")
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        value = int(number) if hard == resource.RLIM_INFINITY else min(int(number), hard)
        resource.setrlimit(which, (value, value))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # if the machine runs out of memory, the box goes before the user's programs
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    try:
        os.execv(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(127)


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


def _end_like(status: int | None) -> None:
    if status is None:
        os._exit(0)
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(sys.argv[1:])
