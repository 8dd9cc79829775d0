"""Named moments around every durable step of a run, for the tests that kill a search at each of them.

`EUREKA_CRASH_AT=training.inside` kills at the first pass of that moment and `training.inside:3` at the third;
`EUREKA_CRASH_WHAT` says what dies: `controller` (this process, the default), `box` (those it has started) or `both`.
`EUREKA_BROKER_CRASH_AT` does the same to the process that asks language models, which has moments of its own.
Without the variable a crash point is one comparison. A moment that is not named here stops a test that listens, so
nobody adds a durable step without a name, and the tests pass every name, so nobody drops one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CRASH_AT = "EUREKA_CRASH_AT"
CRASH_WHAT = "EUREKA_CRASH_WHAT"
BROKER_CRASH_AT = "EUREKA_BROKER_CRASH_AT"
WHAT = ("controller", "box", "both")

COMMITS = (
    "lease",
    "wall",
    "floor",
    "bank",
    "inbox",
    "briefs",
    "call.reserved",
    "call.sent",
    "call.received",
    "call.parsed",
    "proposal",
    "checkpoint",
    "training",
    "evaluation-seeds",
    "score",
    "candidate",
    "incumbent",
    "generation",
    "stop",
    "maps",
    "comparison",
    "settings",
    "close",
)
"""Transactions of the journal: `before` them, `inside` (all is written, nothing committed) and `after`."""
FILES = (
    "blob",
    "file",
    "export.prompt",
    "export.response",
    "export.reward",
    "export.curves",
    "export.result",
    "report",
)
"""Files that appear by rename: `before` they are begun, `written` (and on the disk, if durable), `renamed`."""
POINTS = (
    "create.drafted",
    "create.filled",
    "create.renamed",
    "create.linking",
    "create.linked",
    "lock.taken",
    "blob.stored",
    *(f"{commit}.{moment}" for commit in COMMITS for moment in ("before", "inside", "after")),
    *(f"{file}.{moment}" for file in FILES for moment in ("before", "written", "renamed")),
)
"""Every crash point of a search."""
BROKER_POINTS = (
    "broker.asked",
    *(f"{file}.{moment}" for file in ("sent", "outcome") for moment in ("before", "written", "renamed")),
    "broker.answered",
    "broker.told",
    "broker.heard-all",
)
"""Those of the broker: a request has come, its marker is durable, the provider has answered, the answer is durable and
told, and the controller has gone."""

Hearer = Callable[[str], None]


def decision_step(key: str) -> str:
    """Which of `COMMITS` stores a decision: the last word of its key that is one, as `briefs` of `g0/briefs`."""
    return next((word for word in reversed(key.split("/")) if word in COMMITS), key)


def crashpoint(name: str) -> None:
    """Say that the search has come to the moment `name`."""
    if _hearer is not None:
        _tell(name)


@contextmanager
def heard_by(hearer: Hearer) -> Iterator[None]:
    """Let `hearer` know of every crash point that is passed, in the thread that passes it."""
    global _hearer
    before, _hearer = _hearer, hearer
    try:
        yield
    finally:
        _hearer = before


class Killer:
    """Kills at the n-th pass of one crash point."""

    def __init__(
        self, name: str, pass_number: int = 1, what: str = "controller", kill: Callable[[], object] | None = None
    ) -> None:
        """Check the arguments; `kill` ends the boxes, if they are not processes that this one has started.

        Raises:
            ValueError: there is no such crash point, or nothing of that kind to kill.
        """
        if name not in (*POINTS, *BROKER_POINTS):
            raise ValueError(f"{CRASH_AT}={name}: no crash point has that name; there are: {', '.join(POINTS)}")
        if what not in WHAT:
            raise ValueError(f"{CRASH_WHAT}={what}: one of {', '.join(WHAT)} can be killed")
        self.name, self.pass_number, self.what = name, pass_number, what
        self._kill = kill or kill_boxes
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        """Count this pass; kill if it is the one."""
        with self._lock:
            self._passed[name] += 1
            if (name, self._passed[name]) != (self.name, self.pass_number):
                return
            if self.what != "controller":
                self._kill()
            if self.what != "box":
                os.kill(os.getpid(), signal.SIGKILL)


def kill_boxes() -> int:
    """SIGKILL every process of a box that this process has started; returns how many there were."""
    from eureka_sandbox.backends.process_table import ProcessTable

    boxes = [process for process in ProcessTable().descendants(os.getpid()) if _is_box(process.pid)]
    for process in boxes:
        process.kill()
    return len(boxes)


def _is_box(pid: int) -> bool:
    """By its command line: other children, such as the one that asks language models, are spared."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"eureka_sandbox" in file.read()
    except OSError:
        return False  # it has ended


def listen(variable: str) -> None:
    """Heed what an environment variable says, in this process from now on.

    Raises:
        ValueError: it names no crash point.
    """
    global _hearer
    wanted = os.environ.get(variable)
    if wanted:
        name, _, number = wanted.partition(":")
        _hearer = Killer(name, int(number or 1), os.environ.get(CRASH_WHAT, "controller"))


def _tell(name: str) -> None:
    if name not in POINTS and name not in BROKER_POINTS:
        raise LookupError(f"crash point {name!r} is not registered; name it in eureka_agent/runs/crashpoints.py")
    hearer = _hearer
    if hearer is not None:
        hearer(name)


_hearer: Hearer | None = None
listen(CRASH_AT)
