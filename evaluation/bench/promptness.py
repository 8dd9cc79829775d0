"""How soon things end that must: the self-test, a box at its time limit, a stopped one, a hostile answer, Ctrl-C.

    .venv/bin/python evaluation/bench/promptness.py [--rounds N] [--backends docker]

Each is measured as often as asked for and printed, median and longest, beside its limit. The box at its limit ignores
signals and has children that do; the hostile answers are those of the tests; Ctrl-C goes to a real search.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Timer

from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.protocol import FrameKind, Job, JobStopped, Limits, Sandbox, SandboxError, TrainSpec
from sandbox import DONE, ENVIRONMENT, frame

REPOSITORY = Path(__file__).resolve().parents[2]
SELF_TEST = {"embedded": 0.5}
OVER_LIMIT, STOPPED, ANSWER, INTERRUPT = 1.0, 1.0, 0.2, 5.0
"""Limits in seconds."""
STUBBORN = f"""import os, signal
os.write(1, {frame(FrameKind.HELLO, b'{"pid": 1}')!r})
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.fork(), os.fork()
while True:
    pass"""
SEARCH = ("evolve", "hopper_forward", "-p", "2", "-g", "1", "--final-seeds", "1")


def stubborn(name: str) -> Sandbox:
    """The wall around a worker that goes on for ever and cannot be asked to stop."""
    python = "python3" if name == "docker" else sys.executable
    sandbox: Sandbox = type(make_sandbox(name))((python, "-I", "-S", "-c", STUBBORN))  # type: ignore[call-arg]
    return sandbox


def over_limit(sandbox: Sandbox) -> float:
    """Seconds by which a box outlives its time limit."""
    limit = 1.0
    job = Job(TrainSpec(environment=ENVIRONMENT, total_timesteps=1, seed=0), limits=Limits(wall_seconds=limit))
    outcome = sandbox.run(job, lambda _: None, Event())
    return outcome.seconds - limit


def stopped(sandbox: Sandbox) -> float:
    """Seconds from a stop until the box is gone."""
    at: list[float] = []
    stop = Event()

    def end() -> None:
        at.append(time.perf_counter())
        stop.set()

    timer = Timer(1.0, end)
    timer.start()
    try:
        sandbox.run(Job(TrainSpec(environment=ENVIRONMENT, total_timesteps=1, seed=0)), lambda _: None, stop)
    except JobStopped:
        return time.perf_counter() - at[0]
    raise RuntimeError(f"a stubborn box ended by itself: {DONE}")


def answers() -> Iterator[float]:
    """Seconds until each hostile stream and each hostile file of the tests is rejected."""
    sys.path.append(str(REPOSITORY / "tests"))
    from test_backend_results import FILES, check_score, check_train
    from test_frames import HOSTILE, feed

    streams = [partial(feed, data, job) for job, data, _, _ in HOSTILE.values()]
    blobs = [make() for make, _ in FILES.values()]
    files = [partial(check_score if "episodes.npz" in found else check_train, found) for found in blobs]
    for reject in (*streams, *files):
        before = time.perf_counter()
        try:
            reject()
        except Violation:
            yield time.perf_counter() - before
        else:
            raise RuntimeError("a hostile answer was accepted")


def interrupted() -> float:
    """Seconds from Ctrl-C in mid-training until the search has ended."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "eureka_agent", *SEARCH, "-o", f"{folder}/run"]
        search = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert search.stderr is not None
        for line in search.stderr:
            if "steps/s" in line:
                break
        before = time.perf_counter()
        os.kill(search.pid, signal.SIGINT)
        said = search.stderr.read()
        code = search.wait()
        if code != 130 or "--resume" not in said:
            raise RuntimeError(f"the search ended with {code}: {said[-300:]}")
        return time.perf_counter() - before


def tell(what: str, seconds: Sequence[float], limit: float | None) -> None:
    """One line."""
    beside = "" if limit is None else f"   limit {limit:g} s{'' if max(seconds) <= limit else ': NOT KEPT'}"
    print(f"  {what:34} median {statistics.median(seconds):6.3f} s   longest {max(seconds):6.3f} s{beside}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", default="docker,embedded")
    options = parser.parse_args()
    turns = range(options.rounds)
    for name in options.backends.split(","):
        print(name)
        try:
            tell("self-test", [make_sandbox(name).check().seconds for _ in turns], SELF_TEST.get(name))
        except SandboxError as error:
            print(f"  not available: {error}")
            continue
        tell("box beyond its time limit", [over_limit(stubborn(name)) for _ in turns], OVER_LIMIT)
        tell("box after a stop", [stopped(stubborn(name)) for _ in turns], STOPPED)
    found = list(answers())
    print("any wall")
    tell(f"{len(found)} hostile answers, to rejection", found, ANSWER)
    tell("Ctrl-C in mid-training, to exit", [interrupted() for _ in turns], INTERRUPT)


if __name__ == "__main__":
    main()
