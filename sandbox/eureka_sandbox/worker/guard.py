"""The first process of a container after init, a script of the standard library: `guard.py SECONDS COMMAND…`.

It runs the command and ends as the command ended. The host keeps the container's stdin open: when that ends, the host
is gone, and the box with it. It also ends after SECONDS, whatever happens, so that no box outlives its time for long.
"""

from __future__ import annotations

import os
import select
import sys


def main(arguments: list[str]) -> int:
    """Run and watch; the exit code."""
    seconds, *command = arguments
    worker = os.fork()
    if worker == 0:
        become(command)
    ended = os.pidfd_open(worker)
    watched = select.poll()
    watched.register(ended, select.POLLIN)
    watched.register(0, select.POLLIN | select.POLLHUP)
    for descriptor, _ in watched.poll(float(seconds) * 1000):
        if descriptor == ended:
            status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            return status if status >= 0 else 128 - status
    return 1  # init ends with this process, and the kernel ends whatever else is in the container


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
