"""A job as one stream of bytes, for a box that shares no folder with the host; `worker/guard.py` unpacks it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from eureka_sandbox.protocol import Job

ENTRY = struct.Struct(">HQ")
"""Length of a file's name and of the file, in bytes; both 0 after the last file."""


def job_stream(job: Job) -> bytes:
    """`job.json` and the job's files."""
    return pack({"job.json": job.spec.model_dump_json().encode(), **job.files})


def pack(files: Mapping[str, bytes]) -> bytes:
    """Each file behind its header, and the end."""
    parts: list[bytes] = []
    for name, data in files.items():
        parts += (ENTRY.pack(len(name.encode()), len(data)), name.encode(), data)
    return b"".join([*parts, ENTRY.pack(0, 0)])
