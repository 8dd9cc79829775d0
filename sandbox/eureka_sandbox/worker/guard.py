"""The first process of a container, a script of the standard library: `guard.py SECONDS COMMAND…`.

It runs the command and ends as the command ended, and with it, as it is process 1, the kernel ends whatever else is in
the container. The host keeps the container's stdin open: when that ends, the host is gone, and so is the box. It also
ends after SECONDS, whatever happens, so that no box outlives its time for long.

Nothing in the box can stop or end it: the kernel keeps from the first process every signal of its own namespace that it
does not handle, SIGKILL and SIGSTOP included; nobody looks into its memory or takes its stdin, as it is not dumpable;
and nobody sets limits of it, of which the kernel would end it all the same: the filter (`seccomp.json`) sees to that.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

PR_SET_DUMPABLE = 4
LOOK_SECONDS = 1.0
"""Between two looks for processes that have ended and whose parents had ended before."""
AT_ONCE = 256
"""Processes reaped between two looks at the host and the clock: orphans may come as fast as they are reaped."""


def main(arguments: list[str]) -> int:
    """Run and watch; the exit code."""
    seconds, *command = arguments
    deadline = time.monotonic() + float(seconds)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would handle it, and what is handled is delivered
    if ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        print("the guard cannot hide its memory", file=sys.stderr)  # noqa: T201
        return 1
    worker = os.fork()
    if worker == 0:
        become(command)
    watched = select.poll()
    watched.register(os.pidfd_open(worker), select.POLLIN)
    watched.register(0, select.POLLIN | select.POLLHUP)
    while (left := deadline - time.monotonic()) > 0:
        ready = {descriptor for descriptor, _ in watched.poll(1000 * min(left, LOOK_SECONDS))}
        status = reaped(worker)
        if status is not None:
            return status if status >= 0 else 128 - status
        if 0 in ready:
            return 1
    return 1


def reaped(worker: int) -> int | None:
    """Reap what has ended, `AT_ONCE` at most; the worker's exit code, its signal negated, or None while it runs."""
    for _ in range(AT_ONCE):
        ended = os.waitpid(-1, os.WNOHANG)
        if not ended[0]:
            break
        if ended[0] == worker:
            return os.waitstatus_to_exitcode(ended[1])
    return None


def become(command: list[str]) -> None:
    """Turn into the command, in a session of its own, with nothing to read."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
