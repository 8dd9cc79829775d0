"""The first process in a container, a script of the standard library: `guard.py FOLDER SCRATCH SECONDS COMMAND…`.

It reads the job from stdin, writes its files into FOLDER, runs the command there (with FOLDER appended), and ends as
the command ended. While it runs, the host keeps stdin open: when that ends, the host is gone, and so is the box. It
also ends after SECONDS, whatever happens: a box whose host was killed burns no core for long.

The stream: for every file the length of its name, its length in bytes, the name, the bytes; a name of length 0 ends it.
"""

from __future__ import annotations

import os
import select
import struct
import sys
from typing import BinaryIO

ENTRY = struct.Struct(">HQ")
"""`job_stream.ENTRY`, not imported: nothing of the package is needed here."""
CHUNK = 2**20


def main(arguments: list[str]) -> int:
    """Unpack, run, watch; the exit code."""
    folder, scratch, seconds, *command = arguments
    unpack(sys.stdin.buffer, folder)
    os.symlink(scratch, os.path.join(folder, "scratch"))
    worker = os.fork()
    if worker == 0:
        become([*command, folder], scratch)
    ended = os.pidfd_open(worker)
    watched = select.poll()
    watched.register(ended, select.POLLIN)
    watched.register(0, select.POLLIN | select.POLLHUP)
    for descriptor, _ in watched.poll(float(seconds) * 1000):
        if descriptor == ended:
            status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            return status if status >= 0 else 128 - status
    return 1  # the first process of a container takes the others with it


def unpack(stream: BinaryIO, folder: str) -> None:
    """Write the files of the stream into the folder."""
    while True:
        name_bytes, size = ENTRY.unpack(stream.read(ENTRY.size))
        if not name_bytes:
            return
        name = stream.read(name_bytes).decode()
        with open(os.path.join(folder, name), "wb") as file:
            while size:
                data = stream.read(min(size, CHUNK))
                if not data:
                    sys.exit(f"the job was cut short in {name}")
                file.write(data)
                size -= len(data)


def become(command: list[str], scratch: str) -> None:
    """Turn into the command, with nothing to read and the scratch folder around it."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.chdir(scratch)
    os.setsid()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
