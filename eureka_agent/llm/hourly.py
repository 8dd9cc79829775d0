"""The cap per hour: what language models may cost within any 3,600 s, over kills and resumes.

A call counts from its reservation until an hour after its end, so that every hour holds no more than the cap, whenever
the provider bills what happened in between. Within a sitting time is taken from a clock that does not jump; the
calendar says only how long ago the calls of earlier sittings ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from eureka_agent.runs.calls import Call
from eureka_agent.runs.run import Run

HOUR_SECONDS = 3600.0


class Room(NamedTuple):
    """What the last hour has left for a call."""

    seconds: float | None
    """From now until there is room, 0: there is; None: no time can be told, as calls under way take it up."""
    needed: float
    """US dollars that the cap would have to be to let the call go now."""


class LastHour:
    """Which of a run's calls count against its cap per hour. Its methods are called by one thread at a time."""

    def __init__(self, run: Run, clock: Callable[[], float]) -> None:
        """`clock` tells seconds from some moment on, and does not jump."""
        self._run, self._clock = run, clock
        opened, now = clock(), time.time()
        # A clock that was set back since leaves ends in the future: such a call counts as if it had just ended.
        self._ended = {
            call.key: opened - max(0.0, now - call.received) for call in run.costs() if call.received is not None
        }

    def ended(self, key: str) -> None:
        """A call has come to its end, or to the end of what can be known of it."""
        self._ended[key] = self._clock()

    def room(self, call: Call, cap: float, flying: Collection[str]) -> Room:
        """Whether a call fits, and else when it will; inside the transaction that stores it, or outside.

        A reservation of an earlier sitting that is not among those under way (`flying`) was never sent.
        """
        now, needed, leaving = self._clock(), call.cost or 0.0, []
        for other in self._run.costs():
            if other.key == call.key or (other.state == "reserved" and other.key not in flying):
                continue
            ended = self._ended.get(other.key)
            if ended is None or ended + HOUR_SECONDS > now:
                needed += other.cost
                leaving += [] if ended is None else [(ended + HOUR_SECONDS, other.cost)]
        needed = left = round(needed, 9)
        if needed <= cap:
            return Room(0.0, needed)
        for moment, cost in sorted(leaving):
            left = round(left - cost, 9)
            if left <= cap:
                return Room(moment - now, needed)
        return Room(None, needed)
