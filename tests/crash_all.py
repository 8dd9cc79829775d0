"""`make crash`: every crash point at every pass, every storage fault, and hundreds of kills at random, each resumed.

What CI tries once, this tries exhaustively; it takes some two hours on two cores. `--only points,random` picks
parts, `--random 5000` kills more often, `--seed` draws other moments. It prints what was tried and what failed, and
ends with 1 if anything did.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import patch

from broker_cases import CALL_POINTS, dies
from crash_cases import (
    KILLED,
    Boxes,
    Passes,
    Place,
    faults,
    in_child,
    killed_sitting,
    lineage,
    places,
    sitting,
    sitting_without_a_box,
    standing,
)
from power_cases import SIT as SEARCH
from power_cases import Step, left, recorded
from power_cases import cases as power_cases

from eureka_agent.errors import EurekaError
from eureka_agent.runs.crashpoints import BROKER_POINTS, COMMITS, CRASH_AT, CRASH_WHAT, FILES, POINTS, Killer
from eureka_agent.runs.run import Run

Case = tuple[str, Callable[[Place, str], list[str]]]
"""A name, and what is done to a new place; returns what is wrong with the run in the end."""
PR_SET_CHILD_SUBREAPER = 36
NOTHING = dict.fromkeys(("trainings", "scores"), 0)
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE)
SYSTEM_CALLS = {
    "pwrite64": "EIO ENOSPC EDQUOT",
    "fdatasync": "EIO",
    "fsync": "EIO ENOSPC",
    "rename": "EIO ENOSPC EROFS",
}
"""What a search asks of the kernel (the first two for its database, the others for its files), and how that fails."""


def finished(place: Place, expected: str, sit: Callable[[Place], None] = sitting) -> list[str]:
    """Resume to the end, in a process of its own; what is wrong then."""
    code = in_child(_finish, place, expected, sit)
    return place.lines("wrong") if code == 0 else [f"resume ended with {code}", *place.lines("wrong")]


def _finish(place: Place, expected: str, sit: Callable[[Place], None] = sitting) -> None:
    before = standing(place)
    sit(place)
    for fault in faults(place, *before, expected):
        place.note("wrong", fault)


# ------------------------------------------------------------------------------------------------------------- points


def points(passes: Passes) -> Iterator[Case]:
    """The whole cross product: every pass of every crash point, for controller, boxes, and both."""
    for name in POINTS:
        for number in range(1, passes.counts[name] + 1):
            yield f"controller {name}:{number}", partial(_controller_dies, name, number, "controller")
            yield f"box {name}:{number}", partial(_boxes_die, name, number)
            yield f"both {name}:{number}", partial(_controller_dies, name, number, "both")


def _controller_dies(name: str, number: int, what: str, place: Place, expected: str) -> list[str]:
    code = in_child(killed_sitting, place, name, number, what)
    if code not in (0, KILLED):  # 0: threads that store the same bytes at once pass a point once less
        return [f"ended with {code}"]
    return finished(place, expected, sitting_without_a_box if what == "both" else sitting)


def _boxes_die(name: str, number: int, place: Place, expected: str) -> list[str]:
    code = in_child(_sit_and_lose, place, name, number, expected)
    return place.lines("wrong") if code == 0 else [f"ended with {code}"]


def _sit_and_lose(place: Place, name: str, number: int, expected: str) -> None:
    boxes = Boxes(place)
    sitting(place, Killer(name, number, "box", boxes.kill), boxes)
    for fault in faults(place, NOTHING, NOTHING, expected):
        place.note("wrong", fault)


# -------------------------------------------------------------------------------------------------------------- calls


def calls() -> Iterator[Case]:
    """A real broker: it, its controller, or all are killed, above all while calls are in flight or just answered.

    At the first pass of every crash point around a call, and at a later one; the broker's own once with a key, which
    dies with it, so that the sitting cannot go on. It and all are killed once at every other point of the controller.
    """
    for name in (*BROKER_POINTS, *CALL_POINTS):
        for number in (1, 4) if name != "broker.heard-all" else (1,):
            for what in ("broker", "all") if name in BROKER_POINTS else ("controller", "broker", "all"):
                yield f"{what} {name}:{number}", partial(dies, name, number, what, False)
        yield f"broker {name} with a key", partial(dies, name, 1, "broker", True)
    for name in (name for name in POINTS if name not in CALL_POINTS):
        for what in ("broker", "all"):
            yield f"{what} {name}:1", partial(dies, name, 1, what, False)


# ------------------------------------------------------------------------------------------------------------- random


def at_random(count: int, draw: random.Random, seconds: float) -> Iterator[Case]:
    """SIGKILL at any moment; a fifth of the runs is killed twice or three times."""
    for number in range(count):
        kills = draw.choice((2, 3)) if draw.random() < 0.2 else 1
        yield f"random {number}", partial(_dies_at, [draw.uniform(0.0, seconds) for _ in range(kills)])


def _dies_at(moments: list[float], place: Place, expected: str) -> list[str]:
    for moment in moments:
        code = in_child(sitting, place, killed_after=moment)
        if code not in (0, KILLED):
            return [f"ended with {code}"]
    return finished(place, expected)


# ------------------------------------------------------------------------------------------------------------- faults


def storage(passes: Passes) -> Iterator[Case]:
    """Every kind of write with every error, raised in its place; and the system calls themselves, where strace is."""
    writes = [f"{file}.{moment}" for file in FILES for moment in ("before", "written")]
    for name in ["create.drafted", "create.filled", "create.linking", *writes]:
        for number in ERRORS:
            yield f"{errno.errorcode[number]} {name}", partial(_fails, name, number)
    for commit in COMMITS:
        for reason in ("database or disk is full", "disk I/O error"):
            yield f"{reason} {commit}", partial(_fails, f"{commit}.inside", reason)
    if shutil.which("strace"):
        for call, errors in SYSTEM_CALLS.items():
            for error in errors.split():
                for when in (1, 2, 3, 5, 8, 13, 21, 34, 55):
                    yield f"strace {call}={error}:{when}", partial(_fails_below, call, error, when)


def _fails(name: str, what: int | str, place: Place, expected: str) -> list[str]:
    code = in_child(_sit_and_fail, place, name, what)
    wrong = [] if code == 1 else [f"ended with {code}, not as an error that is told"]
    return wrong + finished(place, expected)


def _sit_and_fail(place: Place, name: str, what: int | str) -> None:
    error = sqlite3.OperationalError(what) if isinstance(what, str) else OSError(what, os.strerror(what))
    raised: list[str] = []

    def fault(passed: str) -> None:
        if passed == name and not raised:
            raised.append(passed)
            raise error

    try:
        sitting(place, fault)
    except EurekaError:
        sys.exit(1)
    sys.exit(2)


SIT = "import sys; sys.path.insert(0, sys.argv[1]); from crash_all import sit_alone; sit_alone(sys.argv[2])"


def _fails_below(call: str, error: str, when: int, place: Place, expected: str) -> list[str]:
    """From the n-th system call on, all of that kind fail."""
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}+"]
    command = ["strace", "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-c", SIT]
    done = subprocess.run([*command, str(Path(__file__).parent), str(place.root)], capture_output=True, check=False)
    wrong = [] if done.returncode in (0, 1) else [f"ended with {done.returncode}: {done.stderr[-500:]!r}"]
    return wrong + finished(place, expected)


def sit_alone(root: str) -> None:
    """A sitting as a program: an error that is told ends it with 1, anything else with a traceback and 2."""
    try:
        sitting(Place(Path(root)))
    except EurekaError as error:
        print(error)  # noqa: T201
        sys.exit(1)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.exit(2)


# --------------------------------------------------------------------------------------------------------- power cuts


def power(whole: Place) -> Iterator[Case]:
    """Every moment before a sync, with the states in which the disk may then be; where strace is."""
    if not shutil.which("strace"):
        return
    steps = recorded(SEARCH, whole.root, whole.root.parent / "trace")
    for number, (moment, mode) in enumerate(power_cases(steps)):
        yield f"power cut {moment} {mode}", partial(_power_is_cut, steps, moment, mode, number)


def _power_is_cut(steps: list[Step], moment: int, mode: str, number: int, place: Place, expected: str) -> list[str]:
    left(steps, moment, mode, random.Random(number), place.root)
    code = in_child(_finish_after_restart, place, expected)
    return place.lines("wrong") if code == 0 else [f"resume ended with {code}", *place.lines("wrong")]


def _finish_after_restart(place: Place, expected: str) -> None:
    with patch("eureka_agent.runs.lease._boot", lambda: "the next"):
        _finish(place, expected)


# --------------------------------------------------------------------------------------------------------- real boxes

REAL = ["evolve", "inverted_pendulum_balance", "-p", "2", "-g", "1", "-j", "2", "--final-seeds", "1"]
WHERE = ("wall.after", "floor.after", "training.before", "evaluation-seeds.after", "score.inside", "generation.after")


def real() -> Iterator[Case]:
    """Processes instead of scripted boxes: which the kernel, and nobody else, kills."""
    for what in ("controller", "box", "both"):
        for name in WHERE:
            yield f"real {what} {name}", partial(_real_dies, name, what)


def _real_dies(name: str, what: str, place: Place, _: str) -> list[str]:
    eureka, folder = [sys.executable, "-m", "eureka_agent"], str(place.root / "real")
    search = [*eureka, *REAL, "--timesteps", "2048", "--learner", "sb3", "-o", folder]
    own = {**os.environ, "EUREKA_SANDBOX": "embedded"}
    armed, before = {**own, CRASH_AT: name, CRASH_WHAT: what}, _children()
    died = subprocess.run(search, env=armed, capture_output=True, text=True, check=False)
    if died.returncode != (0 if what == "box" else KILLED):
        return [f"ended with {died.returncode}: {died.stderr[-500:]}"]
    wrong = _orphans(before)
    resumed = subprocess.run(
        [*eureka, "evolve", "--resume", folder], env=own, capture_output=True, text=True, check=False
    )
    wrong += [] if resumed.returncode == 0 else [f"resume ended with {resumed.returncode}: {resumed.stderr[-500:]}"]
    with Run.open(Path(folder), read_only=True) as run:
        wrong += [] if run.comparison() else ["no comparison"]
    return wrong + _orphans(before)


def _children() -> set[int]:
    """Processes that descend from this one, also those whose parents have died: it is their reaper, see `main`."""
    import psutil

    return {p.pid for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE}


def _orphans(before: set[int]) -> list[str]:
    """Boxes whose controller is gone; they get a moment, as the kernel tells their supervisors of its death."""
    deadline = time.monotonic() + 10
    while left := _children() - before:
        if time.monotonic() > deadline:
            return [f"left running: {left}"]
        time.sleep(0.1)
    return []


# --------------------------------------------------------------------------------------------------------------- main


def main() -> int:
    """Try what is asked for; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="points,calls,random,storage,power,real", help="parts, joined by commas")
    parser.add_argument("--random", type=int, default=500, metavar="N", help="kills at random moments (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="searches side by side (one per core)")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with places() as place:
        whole, passes = place("whole"), Passes()
        sitting(whole, passes)
        expected = lineage(whole)
        started = time.monotonic()
        in_child(sitting, place("timed"))
        seconds = time.monotonic() - started
        parts = {
            "points": points(passes),
            "calls": calls(),
            "random": at_random(options.random, random.Random(options.seed), seconds),
            "storage": storage(passes),
            "power": power(place("recorded")),
            "real": real(),
        }
        print(f"{len(POINTS)} crash points: {' '.join(POINTS)}")  # noqa: T201
        failed = sum(_try(part, list(parts[part]), place, expected, options.jobs) for part in options.only.split(","))
    return 1 if failed else 0


def _try(part: str, cases: list[Case], place: Callable[[str], Place], expected: str, jobs: int) -> int:
    def attempt(numbered: tuple[int, Case]) -> bool:
        number, (name, act) = numbered
        here = place(f"{part}-{number}")
        wrong = act(here, expected)
        if wrong:
            print(f"FAILED {name}: {'; '.join(wrong)}", flush=True)  # noqa: T201
        shutil.rmtree(here.root, ignore_errors=True)
        return bool(wrong)

    started = time.monotonic()
    failed = 0
    with ThreadPoolExecutor(jobs if part != "real" else 1) as pool:
        for done, wrong in enumerate(pool.map(attempt, enumerate(cases)), start=1):
            failed += wrong
            if done % 50 == 0 and done < len(cases):
                left = (time.monotonic() - started) / done * (len(cases) - done)
                print(f"{part}: {done} of {len(cases)}, about {left:.0f} s left", file=sys.stderr, flush=True)  # noqa: T201
    took = time.monotonic() - started
    print(f"{part}: {len(cases)} tried, {failed} failed, {took:.0f} s", flush=True)  # noqa: T201
    return failed


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
