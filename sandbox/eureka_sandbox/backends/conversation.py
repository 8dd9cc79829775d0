"""Listening to one box until it has ended or has to be ended: its frames, its prints, its clock, its memory."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import IO, Protocol

from eureka_sandbox.backends.frames import Answer, FrameDecoder
from eureka_sandbox.backends.process import ending
from eureka_sandbox.backends.results import checked
from eureka_sandbox.backends.untrusted import Violation, one_line
from eureka_sandbox.protocol import (
    Failed,
    Failure,
    Finished,
    Job,
    JobStopped,
    Outcome,
    Report,
    SandboxError,
    Verdict,
)

logger = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between two looks at the stop event and the clock."""
LONGEST_LOOK = 1.0
"""Between two looks at most so many seconds count as silence: where there were more, it was the host that slept."""
MEMORY_INTERVAL = 0.1
"""Seconds between two looks at the memory at least; longer, up to the next figure, where a look costs much processor
time, and where the box could not use up what its limit leaves it so soon."""
LONGEST_INTERVAL = 2.0
FASTEST_FILLING = 4 * 2**30 * (os.cpu_count() or 1)
"""Bytes of new memory that a box may touch in a second: more than a core of today can, for every core."""
EXIT_SECONDS = 5.0
"""How long a box may take to exit after its last frame."""
CLOSE_SECONDS = 0.5
"""How long a box may live after closing its output without a result."""
STDERR_FLOOD = 1024
"""A box is stopped after printing this many times `limits.stderr_kb`; up to there it is read and dropped."""
CHUNK = 2**16


class Box(Protocol):
    """What a conversation needs of a box, be it a process tree or a container."""

    @property
    def stdout(self) -> IO[bytes]:
        """The frame stream, always the same object; ends no later than the box."""

    @property
    def stderr(self) -> IO[bytes]:
        """Everything that the box prints, always the same object."""

    @property
    def returncode(self) -> int | None:
        """The exit code, a signal negated, or None while it runs; cheap to ask."""

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed any process of it at the box's own memory limit; settled once it has ended."""

    def oom_kills(self) -> int:
        """How many processes the kernel has ended for lack of memory, as near to the box as it counts them."""

    def memory_bytes(self, suspicious: int) -> int:
        """Memory in use; more exactly, if that is dearer, beyond `suspicious`. 0 where the kernel holds the limit."""

    def wait(self, seconds: float) -> int | None:
        """The return code, once there is one within `seconds`.

        Raises:
            SandboxError: the box was lost through no fault of the job's code.
        """

    def end(self) -> None:
        """Kill it, if it still runs."""


class Killed(Failure):
    """The box ended by SIGKILL or SIGTERM, and nothing here sent it: somebody did from outside, or the job itself."""


@dataclass
class Tail:
    """The last bytes of a stream, and how many there were in all."""

    limit: int
    total: int = 0
    data: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        self.data += data
        if len(self.data) > 2 * self.limit:
            del self.data[: -self.limit]

    def text(self, length: int) -> str:
        """The last `length` bytes as one clean line."""
        return one_line(self.data[-length:].decode("utf-8", "replace"), length)

    def last_line(self, length: int) -> str:
        """The last line that says something (of a traceback: the exception), at most `length` bytes of it."""
        lines = bytes(self.data).strip().splitlines()
        return one_line(lines[-1][:length].decode("utf-8", "replace"), length) if lines else ""


def until_next_look(left: float, cost: float) -> float:
    """Seconds to the next look at a box's memory, given the bytes left to it and the last look's processor time."""
    return min(max(MEMORY_INTERVAL, 20 * cost, left / FASTEST_FILLING), LONGEST_INTERVAL)


class Conversation:
    """One box, from its first byte to its last."""

    def __init__(self, box: Box, job: Job, on_progress: Callable[[Report], None], stop: Event, started: float) -> None:
        self._box, self._job, self._on_progress, self._stop = box, job, on_progress, stop
        self._decoder = FrameDecoder(job)
        self._tail = Tail(job.limits.stderr_kb * 1024)
        self._deadline = started + job.limits.wall_seconds
        self._silence = 0.0
        self._looked = started
        self._next_memory = started + MEMORY_INTERVAL
        self._memory_limit = job.limits.memory_mb * 2**20
        self._memory_peak = 0
        self._oom_kills = box.oom_kills()

    def hold(self) -> Answer | Failure:
        """Listen to the end. The box may still run when this returns or raises; its owner ends it.

        Raises:
            SandboxError: the box ended before any of the job's code ran, or was lost, or the machine ran out of memory.
            JobStopped: the stop event was set.
        """
        try:
            self._listen()
            ended = self._decoder.outcome or self._without_result()
            self._box.wait(CLOSE_SECONDS)
        except Violation as violation:
            self._box.end()
            ended = violation.failure
        if self._box.oom_killed:  # even beside a result: a part of the work may be missing from it
            ended = self._out_of_memory()
        if not self._decoder.greeted:
            # Only the sandbox's own code runs before HELLO: whatever went wrong, no candidate did it.
            self._box.end()
            self._hear_last_words()
            reason = ended.message if isinstance(ended, Failure) else "a result came without HELLO"
            logger.info("a box did not start (%s); its last words: %s", reason, self._tail.text(2000))
            last = self._tail.last_line(500)
            words = "" if last and last in reason else f"; its last words: {last or 'none'}"
            raise SandboxError(f"the box did not start: {reason}{words}")
        return ended

    def _listen(self) -> None:
        """Read both streams until stdout ends or, after the last frame, patience does."""
        with selectors.DefaultSelector() as selector:
            for stream in (self._box.stdout, self._box.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            while True:
                ready = selector.select(TICK)
                for key, _ in ready:
                    data = os.read(key.fd, CHUNK)
                    if data:
                        (self._hear if key.fileobj is self._box.stdout else self._note)(data)
                    elif key.fileobj is self._box.stdout:
                        return
                    else:
                        selector.unregister(key.fileobj)
                if self._stop.is_set():
                    raise JobStopped("stopped by the host")
                if self._over() or (not ready and self._box.returncode is not None):
                    return
                self._weigh()

    def _hear(self, data: bytes) -> None:
        frames = self._decoder.frames
        for report in self._decoder.feed(data):
            self._on_progress(report)
        if self._decoder.frames > frames:  # single bytes are no sign of progress
            self._silence = 0.0
        if self._decoder.outcome:
            self._deadline = min(self._deadline, time.monotonic() + EXIT_SECONDS)

    def _note(self, data: bytes) -> None:
        self._tail.add(data)
        most = STDERR_FLOOD * self._job.limits.stderr_kb * 1024
        if self._tail.total > most:
            raise Violation("stderr", f"more than {most} bytes were printed", Verdict.OUTPUT)

    def _over(self) -> bool:
        """Whether time is up: for leaving after the last frame. Before it, that is the job's failure."""
        now = time.monotonic()
        self._silence += min(now - self._looked, LONGEST_LOOK)
        self._looked = now
        if self._decoder.outcome is not None:
            return now >= self._deadline
        if now >= self._deadline:
            raise Violation("", f"more than wall_seconds={self._job.limits.wall_seconds:g}", Verdict.TIME)
        most = self._job.limits.silence_seconds
        if most is not None and self._decoder.greeted and self._silence >= most:
            message = f"no progress for {most:g} s: the reward may loop forever"
            raise Violation("", message, Verdict.TIME)
        return False

    def _weigh(self) -> None:
        if time.monotonic() < self._next_memory:
            return
        spent = time.thread_time()
        used = self._box.memory_bytes(suspicious=self._memory_limit)
        cost = time.thread_time() - spent  # on a busy machine a look takes long and costs nothing
        self._next_memory = time.monotonic() + until_next_look(self._memory_limit - used, cost)
        self._memory_peak = max(self._memory_peak, used)
        if used > self._memory_limit:
            limit = f"memory_mb={self._job.limits.memory_mb}"
            raise Violation("", f"{used // 2**20} MiB in use, more than {limit}", Verdict.MEMORY)

    def _without_result(self) -> Failure:
        returncode = self._box.wait(CLOSE_SECONDS)
        if self._box.oom_killed:
            return self._out_of_memory()
        how = "it closed its output" if returncode is None else ending(returncode)
        cut = self._decoder.unfinished()
        self._hear_last_words()
        logger.info("a box ended (%s) without a result; its last words: %s", how, self._tail.text(2000))
        killed = returncode is not None and returncode < 0
        if killed and self._memory_peak > 0.9 * self._memory_limit:
            used, limit = self._memory_peak // 2**20, self._job.limits.memory_mb
            return Failure(verdict=Verdict.MEMORY, message=f"the box ended ({how}) with {used} of {limit} MiB in use")
        if returncode == -signal.SIGKILL and self._box.oom_kills() > self._oom_kills:  # perhaps another box's
            raise SandboxError("the machine ran out of memory and the kernel killed a box; run fewer jobs at once")
        message = f"the box ended ({how}) without a result" + (f", {cut}" if cut else "")
        from_outside = returncode in (-signal.SIGKILL, -signal.SIGTERM)
        return (Killed if from_outside else Failure)(verdict=Verdict.BAD_RESULT, message=message)

    def _out_of_memory(self) -> Failure:
        limit = f"memory_mb={self._job.limits.memory_mb}"
        return Failure(verdict=Verdict.MEMORY, message=f"the kernel ended the box, or a part of it, at {limit}")

    def _hear_last_words(self) -> None:
        """Read what is left on stderr, as far as it has been written."""
        try:
            while self._tail.total < STDERR_FLOOD * self._tail.limit and (
                data := os.read(self._box.stderr.fileno(), CHUNK)
            ):
                self._tail.add(data)
        except BlockingIOError:
            return


def concluded(ended: Answer | Failure, job: Job, started: float) -> Outcome:
    """What a conversation came to, its answer checked against the job; call it once the box is gone."""
    try:
        if isinstance(ended, Answer):
            answer = checked(ended, job)
            return Finished(answer.result, answer.blobs, time.monotonic() - started)
    except Violation as violation:
        ended = violation.failure
    return Failed(ended, time.monotonic() - started, killed=isinstance(ended, Killed))
