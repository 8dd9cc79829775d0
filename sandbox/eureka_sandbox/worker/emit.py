"""How a box speaks: length-prefixed frames on a private copy of stdout. Light, so that it can go first."""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from eureka_sandbox.protocol import Failure, Progress, ScoreResult, SmokeResult, TrainResult

_HEADER = struct.Struct(">cI")  # protocol.FRAME_HEADER, not imported: pydantic comes after stdout has been taken


class JobFailed(Exception):
    """The job's own code (reward, task, hyperparameters) cannot go on; ends the box with one FAILURE frame."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Emitter:
    """Writes frames; see `protocol.FrameKind` for their order and bounds."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    @classmethod
    def take_stdout(cls) -> Emitter:
        """Keep fd 1 for frames alone: whatever prints from now on, from Python or C, goes to stderr."""
        private = os.dup(1)  # not inheritable: child processes of the reward do not get it
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        return cls(os.fdopen(private, "wb"))

    def hello(self) -> None:
        """Imports are done and the job was read."""
        self._frame(b"H", json.dumps({"pid": os.getpid()}).encode())

    def progress(self, progress: Progress) -> None:
        """Where the training stands; the caller keeps to ten per second."""
        self._frame(b"P", progress.model_dump_json().encode())

    def checkpoint(self, meta: bytes, arrays: bytes) -> None:
        """Where the training could go on from; the caller keeps to the interval that it was given."""
        self._frame(b"C", meta + b"\n", arrays)

    def result(self, result: TrainResult | ScoreResult | SmokeResult, blobs: dict[str, bytes]) -> None:
        """The last word of a job that succeeded: its blobs, then the result."""
        for name, data in blobs.items():
            self._frame(b"B", name.encode() + b"\n" + data)
        self._frame(b"R", result.model_dump_json().encode())

    def failure(self, failure: Failure) -> None:
        """The last word of a job that failed."""
        self._frame(b"F", failure.model_dump_json().encode())

    def _frame(self, kind: bytes, *parts: bytes) -> None:
        self._stream.write(_HEADER.pack(kind, sum(map(len, parts))) + parts[0])
        for part in parts[1:]:  # large ones are not copied
            self._stream.write(part)
        self._stream.flush()
