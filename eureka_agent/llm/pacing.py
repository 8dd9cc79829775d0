"""How fast a model is asked: as many at once as it takes, and no more while it is in trouble.

Concurrency grows by one with every answer and is halved when the provider says that it is too much (AIMD, as TCP does).
After failures in a row the model rests, then one call goes ahead as a probe (a circuit breaker).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import NamedTuple

from eureka_agent.llm.completion import AskingStopped

START = 2
"""Calls at once in the beginning; the first answers also fill the provider's cache of the shared prompt."""
MOST = 16
CALM_SECONDS = 15.0
"""Refusals within so long of a cut belong to the same burst and cut no further."""
TRIP = 5
"""Failures in a row after which a model rests."""
REST_SECONDS = 30.0
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
LOOK_SECONDS = 0.2


class Time(NamedTuple):
    """Clock and sleep, which tests replace."""

    clock: Callable[[], float] = time.monotonic
    """Seconds from some moment on."""
    sleep: Callable[[float, Event], object] = lambda seconds, stopping: stopping.wait(seconds)
    """Waits, at most until the event is set."""
    uniform: Callable[[float, float], float] = random.uniform


class Lane:
    """The calls to one model. Its methods may be called from several threads."""

    def __init__(self, stopping: Event, time: Time) -> None:
        self._stopping = stopping
        self._time = time
        self._changed = threading.Condition()
        self._width = float(START)
        self._flying = 0
        self._rest_until = -1.0
        self._cut = -CALM_SECONDS
        self._failures = 0
        self._refusals = 0

    @property
    def width(self) -> int:
        """How many calls may be under way now; one while the model has failed again and again."""
        return 1 if self._failures >= TRIP else int(self._width)

    @property
    def rest(self) -> float:
        """Seconds until the next call may go ahead."""
        return max(self._rest_until - self._time.clock(), 0.0)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until a call may go ahead, and count it until the block ends.

        Raises:
            AskingStopped: the sitting ends.
        """
        self._enter()
        try:
            yield
        finally:
            with self._changed:
                self._flying -= 1
                self._changed.notify()

    def answered(self) -> None:
        """The model answered."""
        with self._changed:
            self._failures = self._refusals = 0
            self._width = min(MOST, self._width + 1)
            self._changed.notify_all()

    def too_much(self, retry_after: float | None) -> None:
        """The provider asks for fewer calls, all of which wait as long as it says, or longer every time."""
        with self._changed:
            now = self._time.clock()
            if now >= self._rest_until:  # else it belongs to a burst that has been heard of
                self._refusals += 1
            if retry_after is None:
                retry_after = longest_backoff(max(self._refusals, 1))
            if now - self._cut >= CALM_SECONDS:
                self._width, self._cut = max(1.0, self._width / 2), now
            self._rest_until = max(self._rest_until, now + retry_after)

    def failed(self, retry_after: float | None) -> None:
        """The provider is in trouble, or out of reach."""
        with self._changed:
            self._failures += 1
            rest = REST_SECONDS if self._failures >= TRIP else 0.0
            self._rest_until = max(self._rest_until, self._time.clock() + max(rest, retry_after or 0.0))

    def _enter(self) -> None:
        while True:
            with self._changed:
                if self._stopping.is_set():
                    raise AskingStopped
                rest = self.rest
                if rest <= 0 and self._flying < self.width:
                    self._flying += 1
                    return
                if rest <= 0:
                    self._changed.wait(LOOK_SECONDS)
                    continue
            self._time.sleep(rest, self._stopping)


class Extra:
    """The retries that all calls of a sitting share: a fifth of the calls, and a few to begin with."""

    SHARE, FLOOR = 0.2, 10

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first = 0
        self._again = 0

    def first(self) -> None:
        """A call is made for the first time."""
        with self._lock:
            self._first += 1

    def again(self) -> bool:
        """Whether one more retry is left; it is taken."""
        with self._lock:
            if self._again >= max(self.FLOOR, self.SHARE * self._first):
                return False
            self._again += 1
            return True


def backoff(attempt: int, retry_after: float | None, time: Time) -> float:
    """Seconds to wait after the `attempt`-th failure: full jitter over 1, 2, 4, … 60 s, at least what was asked for.

    See "Exponential Backoff And Jitter" (Brooker, AWS Architecture Blog, 2015).
    """
    return max(time.uniform(0.0, longest_backoff(attempt)), retry_after or 0.0)


def longest_backoff(attempt: int) -> float:
    """Most seconds to wait after the `attempt`-th failure if nobody says how long: 1, 2, 4, … 60."""
    longest: float = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** (attempt - 1))
    return longest
