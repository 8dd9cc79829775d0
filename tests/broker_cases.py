"""The reference search with a real broker that asks a provider on loopback: controller, broker, or all of it is killed.

Boxes are still simulated, and answers are those of `crash_cases`, so the lineage is that of every other crash test. A
call whose broker dies under it is asked again, and may have been paid for: that is the one thing that is paid twice,
and the journal says of which calls.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
from crash_cases import (
    KILLED,
    SETTINGS,
    Place,
    faults,
    in_child,
    killed_sitting,
    sitting,
    sitting_without_a_box,
    standing,
    written,
)
from llm_server_cases import SPECIAL, Handler, Reply, provider

from eureka_agent.errors import EurekaError
from eureka_agent.llm.keys import withdraw
from eureka_agent.llm.providers import SPOOL
from eureka_agent.runs.calls import unpacked
from eureka_agent.runs.crashpoints import BROKER_CRASH_AT, BROKER_POINTS, CRASH_WHAT
from eureka_agent.runs.run import Run

CALL_POINTS = tuple(
    f"{step}.{moment}"
    for step in ("call.reserved", "call.sent", "call.received", "call.parsed", "proposal")
    for moment in ("before", "inside", "after")
)
"""The controller's, from before a call is reserved until its answer has become a proposal."""
KEY = "sk-canary-0123456789abcdef"
THINKING_SECONDS = 0.05
"""How long the provider takes: other calls are in flight while one is answered."""
TOLD = 1
"""Exit code of a sitting that ends with an error that is told."""
_PLACES: dict[str, Place] = {}
"""Whom a server answers, by its address."""


@contextmanager
def asked_through_a_broker(place: Place) -> Iterator[Place]:
    """The place with a provider, which lives outside all that is killed and books what it is paid for."""
    with provider() as server:
        _PLACES[server.url] = place
        place.provider = f"{server.url}/v1"
        try:
            yield place
        finally:
            del _PLACES[server.url]


def _play(handler: Handler) -> None:
    place = _PLACES[handler.server.url]
    try:
        with Run.open(place.run, read_only=True) as run:
            (call,) = (call for call in run.calls() if call.ticket == handler.entry.idempotency_key)
            text = written(call.key, unpacked(run.blob(call.prompt)))
    except Exception as error:
        place.note("wrong", f"a request that the journal does not know: {error}")
        raise
    place.note("paid", call.key)
    time.sleep(THINKING_SECONDS)
    handler.answer(Reply(text=text, usage={"input": 100, "output": 10}))


SPECIAL[SETTINGS.model.partition("/")[2]] = _play


def dies(
    name: str, number: int, what: str, keyed: bool, place: Place, expected: str, surely: bool = False
) -> list[str]:
    """Kill at a crash point of the controller or of its broker, and resume; what is wrong then.

    Args:
        surely: whether it is wrong if the controller does not come to that point.
    """
    with asked_through_a_broker(place):
        code = in_child(_armed, place, name, number, what, keyed)
        if code not in _codes(what, keyed) or (surely and what != "broker" and code != KILLED):
            return [*place.lines("wrong"), f"ended with {code}"]
        code = in_child(_finish, place, expected, code == KILLED and what == "all", keyed)
        wrong = [] if code == 0 else [f"resume ended with {code}"]
        wrong += [] if what != "controller" or not lost(place) else [f"lost with a living broker: {lost(place)}"]
        return wrong + place.lines("wrong") + _left_behind(place) + misbooked(place)


def _codes(what: str, keyed: bool) -> tuple[int, ...]:
    """How a sitting may end; 0 where it comes to the crash point less often, or goes on with another broker."""
    if what == "broker":
        return (0, TOLD) if keyed else (0,)
    return (0, KILLED)


def _armed(place: Place, name: str, number: int, what: str, keyed: bool) -> None:
    """A sitting whose first broker, or which itself, heeds a crash point."""
    if name not in BROKER_POINTS:
        return _told(partial(killed_sitting, place, name, number, what), keyed)
    os.environ |= {BROKER_CRASH_AT: f"{name}:{number}", CRASH_WHAT: what}
    return _told(partial(sitting, place, _disarm), keyed)


def _disarm(passed: str) -> None:
    if passed == "briefs.before":  # its broker has been started
        os.environ.pop(BROKER_CRASH_AT, None)


def _finish(place: Place, expected: str, without_a_box: bool, keyed: bool) -> None:
    before = standing(place)
    _told(partial(sitting_without_a_box if without_a_box else sitting, place), keyed)
    for fault in faults(place, *before, expected):
        place.note("wrong", fault)


def _told(sit: partial[None], keyed: bool) -> None:
    """A sitting with the provider's key, or with none at all: then it can start another broker itself."""
    withdraw()
    if keyed:
        os.environ["OPENAI_API_KEY"] = KEY
    try:
        sit()
    except EurekaError as error:
        if "OPENAI_API_KEY" not in str(error):
            sit.args[0].note("wrong", str(error))
        sys.exit(TOLD)


def lost(place: Place) -> set[str]:
    """Calls that may have been paid for, and whose answer nobody has."""
    with Run.open(place.run, read_only=True) as run:
        return {call.key for call in run.calls() if call.state == "unknown"}


def misbooked(place: Place) -> list[str]:
    """Where the journal and the provider's book differ; `faults` sees calls that are in the book twice."""
    with Run.open(place.run, read_only=True) as run:
        answered = [call for call in run.calls() if call.answered]
    keys, paid = {call.key for call in answered}, set(place.lines("paid"))
    again = Counter((call.brief, call.purpose) for call in answered)
    found = [f"{key} is answered {times} times" for key, times in again.items() if times > 1]
    found += [f"never paid: {keys - paid}"] if keys - paid else []
    found += [f"paid and forgotten: {paid - keys - lost(place)}"] if paid - keys - lost(place) else []
    found += [f"too many are lost: {lost(place)}"] if len(lost(place)) > SETTINGS.population else []
    return found


def _left_behind(place: Place) -> list[str]:
    """Brokers of a run that has ended, and what they left in its spool; they get a moment to end."""
    deadline = time.monotonic() + 10
    while left := _brokers(place.run / SPOOL):
        if time.monotonic() > deadline:
            return [f"left running: {left}"]
        time.sleep(0.02)
    spool = [path.name for path in (place.run / SPOOL).iterdir()]
    return [f"left in the spool: {spool}"] if spool else []


def _brokers(spool: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(spool) in process.cmdline():
                found.append(process.pid)
    return found
