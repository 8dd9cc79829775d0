"""Decoding a box's frame stream from untrusted bytes, whatever carried them (a pipe, a container's stdout).

The stream is `HELLO`, `PROGRESS` and `CHECKPOINT`…, then `BLOB`… and `RESULT`, or at any point a `FAILURE`; nothing
follows.
Every declared length is checked against its kind's limit before the payload is awaited.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import Field

from eureka_sandbox.backends.checkpoint_check import check_checkpoint
from eureka_sandbox.backends.untrusted import Violation, one_line, parse_model
from eureka_sandbox.protocol import (
    BLOBS,
    FRAME_HEADER,
    PROGRESS_BYTES,
    RESULT_BYTES,
    Boundary,
    Failure,
    FrameKind,
    Job,
    Progress,
    Report,
    ScoreResult,
    SmokeResult,
    TrainingCheckpoint,
    TrainResult,
    TrainSpec,
    Verdict,
)
from eureka_sandbox.replay_size import checkpoint_limit

HEADER_BYTES = struct.calcsize(FRAME_HEADER)
HELLO_BYTES = 256
FAILURE_BYTES = 16 * 1024
"""1000 characters as JSON escapes of at most 12 bytes, and the other fields."""
BLOB_NAME_BYTES = 64
FAILURE_FILES = ("reward.py", "task.py", "task.yaml", "policy.json", "policy.safetensors")
"""What a failure may point at, besides the job's own files."""
MESSAGE_LENGTH = 500
"""Characters of a failure's message that reach a person or a prompt."""

PROGRESS_INTERVAL = 0.1
"""Least seconds between two progress values passed on; what comes between is dropped unread."""
PROGRESS_TOTAL = 64 * 2**20
"""Bytes of progress after which the box is flooding: an hour of the largest frames at the highest rate is 36 MiB."""
CHECKPOINT_SHARE = 0.5
"""A checkpoint that comes sooner than this share of the asked interval is dropped unread; the host may have slept.
The last one of a box that was to stop early is kept until its result has come, and read then."""
MOST_EARLY = 16
"""Checkpoints dropped in a row after which the box is flooding."""

_NAMES = {
    FrameKind.HELLO: "HELLO",
    FrameKind.PROGRESS: "PROGRESS",
    FrameKind.CHECKPOINT: "CHECKPOINT",
    FrameKind.BLOB: "BLOB",
    FrameKind.RESULT: "RESULT",
    FrameKind.FAILURE: "FAILURE",
}
_LIMITS = {
    FrameKind.HELLO: HELLO_BYTES,
    FrameKind.PROGRESS: PROGRESS_BYTES,
    FrameKind.RESULT: RESULT_BYTES,
    FrameKind.FAILURE: FAILURE_BYTES,
}
_RESULTS: dict[str, type[TrainResult] | type[ScoreResult] | type[SmokeResult]] = {
    "train": TrainResult,
    "score": ScoreResult,
    "smoke": SmokeResult,
}


class Hello(Boundary):
    """The first frame. The process id is the box's own word and never used to signal anything."""

    pid: int = Field(gt=0)


@dataclass(frozen=True)
class Answer:
    """A well-formed result with its blobs; what they say is still unchecked."""

    result: TrainResult | ScoreResult | SmokeResult
    blobs: Mapping[str, bytes]


@dataclass
class FrameDecoder:
    """One box's stream: `feed` it bytes as they come; `outcome` is set once the last frame is complete."""

    job: Job
    clock: Callable[[], float] = time.monotonic
    greeted: bool = field(default=False, init=False)
    """HELLO has come: from here on, the job's own code may have run."""
    outcome: Answer | Failure | None = field(default=None, init=False)
    frames: int = field(default=0, init=False)
    """How many whole frames have come and were none to be dropped unread."""
    _buffer: bytearray = field(default_factory=bytearray, init=False)
    _blobs: dict[str, bytes] = field(default_factory=dict, init=False)
    _blob_bytes: int = field(default=0, init=False)
    _progress_bytes: int = field(default=0, init=False)
    _next_progress: float = field(default=float("-inf"), init=False)
    _next_checkpoint: float = field(default=float("-inf"), init=False)
    _early_checkpoints: int = field(default=0, init=False)
    _last_checkpoint: bytes = field(default=b"", init=False)

    def feed(self, data: bytes) -> list[Report]:
        """Take the next bytes and return the progress values and checkpoints in them that are due.

        Raises:
            Violation: the stream breaks the protocol; nothing more may be fed.
        """
        self._buffer += data
        due: list[Report] = []
        while len(self._buffer) >= HEADER_BYTES or (self.outcome and self._buffer):
            kind, length = self._header()
            if len(self._buffer) < HEADER_BYTES + length:
                break
            payload = bytes(memoryview(self._buffer)[HEADER_BYTES : HEADER_BYTES + length])
            del self._buffer[: HEADER_BYTES + length]
            report = self._take(kind, payload)
            self.frames += report is not None or kind not in (FrameKind.PROGRESS, FrameKind.CHECKPOINT)
            if report:
                due.append(report)
        return due

    def unfinished(self) -> str:
        """What was missing when the stream ended: empty, or the frame that was cut."""
        if not self._buffer:
            return ""
        if len(self._buffer) < HEADER_BYTES:
            return "in the middle of a frame's header"
        kind, length = self._header()
        return f"in the middle of a {_NAMES[kind]} frame, {len(self._buffer) - HEADER_BYTES} of {length} bytes in"

    def _header(self) -> tuple[bytes, int]:
        if self.outcome:
            raise Violation("frames", "bytes follow the last frame")
        kind, length = struct.unpack_from(FRAME_HEADER, self._buffer)
        if kind not in _NAMES:
            raise Violation("frames", f"0x{kind.hex()} is no frame kind")
        name = f"frame {_NAMES[kind]}"
        if self.greeted == (kind == FrameKind.HELLO) and kind != FrameKind.FAILURE:
            raise Violation(name, "HELLO comes first and once")
        if self._blobs and kind in (FrameKind.PROGRESS, FrameKind.CHECKPOINT):
            raise Violation(name, f"no {_NAMES[kind].lower()} may follow a blob")
        if kind == FrameKind.CHECKPOINT and self._checkpoint_seconds is None:
            raise Violation(name, "none was asked for")
        if kind == FrameKind.BLOB:
            left = self.job.limits.result_mb * 2**20 - self._blob_bytes
            if length > left + BLOB_NAME_BYTES + 1:
                raise Violation(
                    name,
                    f"{length} bytes, of result_mb={self.job.limits.result_mb} {left} bytes are left",
                    Verdict.OUTPUT,
                )
        elif length > (most := self._checkpoint_bytes if kind == FrameKind.CHECKPOINT else _LIMITS[kind]):
            raise Violation(name, f"{length} bytes, at most {most} are allowed")
        return kind, length

    def _take(self, kind: bytes, payload: bytes) -> Report | None:
        if kind == FrameKind.PROGRESS:
            return self._progress(payload)
        if kind == FrameKind.CHECKPOINT:
            return self._checkpoint(payload)
        if kind == FrameKind.HELLO:
            parse_model(payload, "frame HELLO", Hello)
            self.greeted = True
        elif kind == FrameKind.BLOB:
            self._blob(payload)
        elif kind == FrameKind.RESULT:
            result = parse_model(payload, "frame RESULT", _RESULTS[self.job.spec.kind])
            last, self._last_checkpoint = self._last_checkpoint, b""
            self.outcome = Answer(result, self._blobs)
            return check_checkpoint(last, self.job) if last else None
        else:
            self.outcome = self._failure(payload)
        return None

    def _progress(self, payload: bytes) -> Progress | None:
        self._progress_bytes += HEADER_BYTES + len(payload)
        if self._progress_bytes > PROGRESS_TOTAL:
            raise Violation("frame PROGRESS", f"more than {PROGRESS_TOTAL} bytes in all", Verdict.OUTPUT)
        if (now := self.clock()) < self._next_progress:
            return None
        self._next_progress = now + PROGRESS_INTERVAL
        progress = parse_model(payload, "frame PROGRESS", Progress)
        for name in ("timesteps", "total_timesteps", "steps_per_second"):
            if (value := getattr(progress, name)) < 0:
                raise Violation("frame PROGRESS", f"{name}: {value} is negative")
        if progress.total_timesteps == 0:
            raise Violation("frame PROGRESS", "total_timesteps: 0, expected more than 0")
        return progress

    @property
    def _checkpoint_seconds(self) -> float | None:
        spec = self.job.spec
        return spec.checkpoint_seconds if isinstance(spec, TrainSpec) else None

    @cached_property
    def _checkpoint_bytes(self) -> int:
        assert isinstance(self.job.spec, TrainSpec)
        return checkpoint_limit(self.job.spec)

    def _checkpoint(self, payload: bytes) -> TrainingCheckpoint | None:
        assert self._checkpoint_seconds is not None
        if (now := self.clock()) < self._next_checkpoint:
            self._early_checkpoints += 1
            if self._early_checkpoints > MOST_EARLY:
                problem = f"{self._early_checkpoints} within {CHECKPOINT_SHARE * self._checkpoint_seconds:g} s"
                raise Violation("frame CHECKPOINT", problem, Verdict.OUTPUT)
            if isinstance(self.job.spec, TrainSpec) and self.job.spec.stop_at is not None:
                self._last_checkpoint = payload
            return None
        self._early_checkpoints, self._last_checkpoint = 0, b""
        self._next_checkpoint = now + CHECKPOINT_SHARE * self._checkpoint_seconds
        return check_checkpoint(payload, self.job)

    def _blob(self, payload: bytes) -> None:
        raw, newline, content = payload.partition(b"\n")
        name = one_line(raw[:BLOB_NAME_BYTES].decode("ascii", "replace"), BLOB_NAME_BYTES)
        allowed = BLOBS[self.job.spec.kind]
        if not newline or raw.decode("ascii", "replace") not in allowed:
            raise Violation("frame BLOB", f"name {name!r}: a {self.job.spec.kind} job may emit {sorted(allowed)}")
        if name in self._blobs:
            raise Violation("frame BLOB", f"{name} comes twice")
        self._blob_bytes += len(content)
        if self._blob_bytes > self.job.limits.result_mb * 2**20:
            raise Violation(name, f"the blobs exceed result_mb={self.job.limits.result_mb}", Verdict.OUTPUT)
        self._blobs[name] = content

    def _failure(self, payload: bytes) -> Failure:
        failure = parse_model(payload, "frame FAILURE", Failure)
        if failure.file not in {"", *FAILURE_FILES, *self.job.files}:
            raise Violation("frame FAILURE", f"file: {one_line(failure.file, 80)!r} is none of the job's")
        if failure.line is not None and not 1 <= failure.line <= 10**6:
            raise Violation("frame FAILURE", f"line {failure.line} is out of range 1..1000000")
        return failure.model_copy(update={"message": one_line(failure.message, MESSAGE_LENGTH)})
