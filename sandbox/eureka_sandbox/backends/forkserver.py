"""A process that has imported what boxes need, and forks a box's supervisor whenever it is asked to.

What a worker imports takes longer than anything else it does before its first step; here it is imported once. No job
ever runs in this process. A box that it forks has the same supervisor, wall, limits and environment as one that is
started afresh; what differs is that its command is a module, run without executing Python anew.

A forked process keeps its parent's program and libraries, and can open the program (`/proc/self/exe`) on the mount
that it was started from. Hence the first thing that happens here: where there is a wall, this process moves into a
mount namespace in which everything is read-only, and is executed there.

The host speaks on a socket, descriptor 0: one datagram with the descriptors of a new supervisor, answered by its
number and a pidfd. Once the host is gone, so is this process, and with it, by their death signal, the supervisors.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import marshal
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import traceback
from contextlib import suppress

from eureka_sandbox.backends import namespaces, supervisor

TYPE_CHECKING = False  # see supervisor.py
if TYPE_CHECKING:
    from typing import Any, NoReturn

READY = b"ready"
PRELOAD = "eureka_sandbox.worker.preload"
"""Named, not imported: nothing in this folder depends on the worker."""
MOST_BYTES = 2**16


def begin() -> None:
    """Take the plan from the host, seal this process if it says so, and execute `serve` with the boxes' environment."""
    plan: dict[str, Any] = marshal.loads(os.read(0, MOST_BYTES))
    try:
        if plan["sealed"]:
            namespaces.seal()
        os.chdir("/")
        os.execve(plan["command"][0], plan["command"], plan["environment"])
    except OSError as error:
        os.write(0, str(error).encode())
        os._exit(1)


def serve(kind: str) -> NoReturn:
    """Import what a job of that kind needs, then fork a supervisor for every request, until the host is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the host may ignore it, which is inherited and would lose statuses
    gc.disable()  # nothing that imports allocate is garbage
    line = socket.socket(fileno=0)
    try:
        importlib.import_module(PRELOAD).preload(kind)
        if len(os.listdir("/proc/self/task")) > 1:
            raise RuntimeError("an import has started a thread, which no fork would have")
    except BaseException as error:
        line.send(f"{type(error).__name__}: {error}".encode()[:MOST_BYTES])
        os._exit(1)
    gc.freeze()  # and no collection writes to the pages that all boxes share
    line.send(READY)
    poller = select.poll()
    poller.register(line, select.POLLIN)
    living: dict[int, tuple[int, int]] = {}
    while True:
        for descriptor, _ in poller.poll():
            if descriptor != line.fileno():
                poller.unregister(descriptor)
                _bury(descriptor, *living.pop(descriptor))
                continue
            message, given, _, _ = socket.recv_fds(line, 16, 4, socket.MSG_CMSG_CLOEXEC)
            if not message:
                os._exit(0)
            if forked := _fork(line, given):
                pidfd, pid = forked
                living[pidfd] = pid, given[-1]
                poller.register(pidfd, select.POLLIN)


def _fork(line: socket.socket, given: list[int]) -> tuple[int, int] | None:
    """Fork a supervisor with the streams, and tell the host; its pidfd and number. None: no process can be had."""
    streams = given[:-1]
    try:
        pid = os.fork()
    except OSError as error:
        line.send(str(error).encode())
        for descriptor in given:
            os.close(descriptor)
        return None
    if pid == 0:
        line.detach()
        _supervise(streams)
    for stream in streams:
        os.close(stream)
    pidfd = os.pidfd_open(pid)
    socket.send_fds(line, [str(pid).encode()], [pidfd])
    return pidfd, pid


def _bury(pidfd: int, pid: int, status: int) -> None:
    """Tell the host how a supervisor ended."""
    ended = os.waitpid(pid, 0)[1]
    os.close(pidfd)
    with suppress(OSError):  # nobody asks any more
        os.write(status, ended.to_bytes(4, sys.byteorder))
    os.close(status)


def _supervise(streams: list[int]) -> NoReturn:
    """Be the supervisor of one box, in a session of its own, with nothing open but its three streams."""
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.setsid()
        supervisor.main(in_this_program)
    except SystemExit as end:
        print(end.code, file=sys.stderr)  # noqa: T201
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def in_this_program(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Run `python … -m MODULE ARGUMENT…` here, as if Python had just been executed with that environment."""
    module, *arguments = command[command.index("-m") + 1 :]
    code = 0
    try:
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after an execve: /proc/self belongs to its user
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()  # unlike Python's own generator it is not seeded anew by a fork
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
