"""Named moments around every durable step of a run, for the tests that kill a search at each of them.

`EUREKA_CRASH_AT=training.inside` kills at the first pass of that moment and `training.inside:3` at the third;
`EUREKA_CRASH_WHAT` says what dies: `controller` (this process, the default), `box` (those it has started), `both`,
`broker` (the process that asks language models) or `all`. `EUREKA_BROKER_CRASH_AT` kills that process at moments of its
own; with `all`, it takes the controller that has started it and the controller's boxes along.
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
WHAT = ("controller", "box", "both", "broker", "all")
BOX, BROKER = b"eureka_sandbox", b"eureka_agent.llm.broker_main"
FORKSERVER = b"eureka_sandbox.backends.forkserver"
"""In the command lines of what a controller starts."""

COMMITS = (
    "lease",
    "sitting",
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
        self._starter = os.getppid()
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        """Count this pass; kill if it is the one."""
        with self._lock:
            self._passed[name] += 1
            if (name, self._passed[name]) != (self.name, self.pass_number):
                return
            if name in BROKER_POINTS:
                self._end_broker()
            else:
                self._end()

    def _end(self) -> None:
        """What a controller does: it ends last."""
        if self.what in ("box", "both", "all"):
            self._kill()
        if self.what in ("broker", "all"):
            kill_broker()
        if self.what in ("controller", "both", "all"):
            os.kill(os.getpid(), signal.SIGKILL)

    def _end_broker(self) -> None:
        """What the process that asks language models does: it ends itself, whatever is to die."""
        if self.what == "all" and os.getppid() == self._starter:  # else the controller has gone, and this is another
            _kill_below(self._starter, BOX)
            os.kill(self._starter, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def kill_boxes() -> int:
    """SIGKILL every process of a box that this process has started; returns how many there were."""
    return _kill_below(os.getpid(), BOX)


def kill_broker() -> int:
    """SIGKILL the process that asks language models, if this process has one; returns how many there were."""
    return _kill_below(os.getpid(), BROKER)


def _kill_below(pid: int, word: bytes) -> int:
    from eureka_sandbox.backends.process_table import ProcessTable

    below = [process for process in ProcessTable().descendants(pid) if _is_called(process.pid, word)]
    # what boxes are forked from is none itself
    found = [process for process in below if process.parent != pid or not _is_called(process.pid, FORKSERVER)]
    for process in found:
        process.kill()
    return len(found)


def _is_called(pid: int, word: bytes) -> bool:
    """By its command line: a box's has no word of the broker's, nor the other way round."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return word in file.read()
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
