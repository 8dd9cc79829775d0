"""What the wall costs and bears: start-up, training speed and many jobs, for every backend beside a plain process.

    .venv/bin/python evaluation/bench/sandbox.py [--starts N] [--rounds N] [--timesteps T] [--jobs docker=50] …

Start-up is a box that answers at once, less the same script as a plain process. Training speed is that of the same
training (seed included), inside and outside in turn: the median share of rounds, with its 95 % interval, and the
fastest inside as a share of the fastest outside, since other work on the machine only ever slows a training down. Under
load, boxes that score random actions are run side by side; failures are counted, and processes, containers and folders
left behind.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from intervals import median_interval, samples

from eureka_agent.text import plural
from eureka_sandbox.backends import compile_cache, make_sandbox
from eureka_sandbox.backends.forked import close_all
from eureka_sandbox.backends.frames import Answer, FrameDecoder
from eureka_sandbox.backends.job_folder import JOB, job_folder
from eureka_sandbox.backends.local import box_environment
from eureka_sandbox.backends.process_table import ProcessTable
from eureka_sandbox.protocol import (
    FRAME_HEADER,
    EnvironmentSpec,
    Failed,
    Failure,
    Finished,
    FrameKind,
    Job,
    Sandbox,
    SandboxError,
    ScoreSpec,
    TrainSpec,
    Verdict,
)

STARTUP_LIMIT = {"embedded": 0.050, "docker": 0.350}
"""Seconds above a plain process."""
SPEED_LIMIT = 0.97
"""Training steps per second inside, as a share of outside."""
SIDE_BY_SIDE = 8
ENVIRONMENT = EnvironmentSpec(body="hopper", max_episode_steps=500)
TASK = b"def fitness(episode):\n    return 0.0\n\ndef success(episode):\n    return False\n"


def frame(kind: bytes, payload: bytes) -> bytes:
    """One frame of a box's stream."""
    return struct.pack(FRAME_HEADER, kind, len(payload)) + payload


DONE = Failure(verdict=Verdict.CODE_ERROR, message="nothing to do")
NOTHING = f"""import os
os.write(1, {frame(FrameKind.HELLO, b'{"pid": 1}') + frame(FrameKind.FAILURE, DONE.model_dump_json().encode())!r})"""
ARGUMENTS = ("-I", "-S", "-c", NOTHING)


@dataclass(frozen=True)
class Backend:
    """One that this machine can have."""

    name: str
    sandbox: Sandbox
    idle: Sandbox
    """The same wall around a worker that answers at once."""


def available(names: Sequence[str]) -> list[Backend]:
    """Those of these backends whose self-test holds here; says of the others why not."""
    found = []
    for name in names:
        python = "python3" if name == "docker" else sys.executable
        sandbox = make_sandbox(name)
        try:
            wall = sandbox.check()
        except SandboxError as error:
            print(f"{name}: not available: {error}")
            continue
        print(f"{name}: self-test held {wall.contained} of {wall.probes} in {wall.seconds:.2f} s; {wall.tier}")
        found.append(Backend(name, sandbox, type(sandbox)((python, *ARGUMENTS))))  # type: ignore[call-arg]
    return found


# ---------------------------------------------------------------------------------------------------------- start-up


def startup(backends: Sequence[Backend], starts: int) -> None:
    """Print the median start-up of each backend above a plain process, measured in turn; every box starts afresh."""
    job = Job(TrainSpec(environment=ENVIRONMENT, total_timesteps=1, seed=0))
    arms: dict[str, Callable[[], object]] = {"plain process": _plain_start}
    for backend in backends:
        arms[backend.name] = lambda sandbox=backend.idle: sandbox.run(job, _ignore, Event())
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for start in range(starts + 1):
        for name, begin in arms.items():
            before = time.perf_counter()
            begin()
            if start:  # the first one fills caches
                seconds[name].append(time.perf_counter() - before)
    plain = statistics.median(seconds["plain process"])
    print(f"\nstart-up, medians of {starts}")
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        limit = f"   limit {STARTUP_LIMIT[name] * 1e3:.0f} ms" if name in STARTUP_LIMIT else ""
        above = "" if name == "plain process" else f"   above a plain process {1e3 * (middle - plain):6.1f} ms{limit}"
        print(f"  {name:14} {1e3 * middle:6.1f} ms   longest {1e3 * max(taken):6.1f} ms{above}")


def _plain_start() -> None:
    subprocess.run([sys.executable, *ARGUMENTS], stdout=subprocess.DEVNULL, check=True)


# ------------------------------------------------------------------------------------------------------------- speed


def speed(backends: Sequence[Backend], rounds: int, timesteps: int) -> None:
    """Print training steps per second of each backend as a share of a plain process's of the same round.

    A machine's speed drifts more within minutes than a wall could cost, so neighbours are compared, in turning order.
    """
    settings = {"n_envs": 8, "n_steps": 256, "batch_size": 64, "n_epochs": 10, "normalize": True}  # as the tasks have
    spec = TrainSpec(
        environment=ENVIRONMENT, learner="fused", hyperparameters=settings, total_timesteps=timesteps, seed=0
    )
    job = Job(spec)
    arms: dict[str, Callable[[], float]] = {"plain process": lambda: _plain_speed(job)}
    for backend in backends:
        backend.sandbox.run(replace(job, warm_up=True), _ignore, Event())  # compiles, once per backend and recipe
        arms[backend.name] = lambda sandbox=backend.sandbox: _speed(sandbox, job)
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        turned = [*arms][number % len(arms) :] + [*arms][: number % len(arms)]
        for name in turned:
            rates[name].append(arms[name]())
    outside = rates.pop("plain process")
    print(f"\ntraining speed, {plural(rounds, 'training')} of {timesteps} steps each, fused PPO on {ENVIRONMENT.body}")
    print(f"  {'plain process':14} {statistics.median(outside):8.0f} steps/s")
    for name, inside in rates.items():
        share = median_interval(samples([a / b for a, b in zip(inside, outside, strict=True)])).text(".3f")
        fastest = f"fastest {max(inside) / max(outside):.3f} of fastest"
        print(f"  {name:14} {statistics.median(inside):8.0f} steps/s   {share} of it   {fastest}   limit {SPEED_LIMIT}")


def _speed(sandbox: Sandbox, job: Job) -> float:
    """Steps per second of the worker behind a wall."""
    outcome = sandbox.run(job, _ignore, Event())
    if isinstance(outcome, Failed):
        raise RuntimeError(str(outcome.failure))
    return outcome.result.timesteps / outcome.result.seconds


def _plain_speed(job: Job) -> float:
    """Steps per second of the worker as an ordinary child process."""
    decoder = FrameDecoder(job)
    with job_folder(job) as folder:
        command = [sys.executable, "-s", "-P", "-m", "eureka_sandbox.worker", str(folder / JOB)]
        programs = compile_cache.folder(compile_cache.key(job, "none"))
        variables = box_environment(str(folder), str(programs or ""), os.environ)
        done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    decoder.feed(done.stdout)
    if not isinstance(decoder.outcome, Answer):
        raise RuntimeError(f"the plain process gave no result: {decoder.outcome}")
    return decoder.outcome.result.timesteps / decoder.outcome.result.seconds


# -------------------------------------------------------------------------------------------------------------- load


def load(backends: Sequence[Backend], jobs: dict[str, int]) -> None:
    """Print failures and leftovers of many small jobs, side by side."""
    job = Job(ScoreSpec(environment=ENVIRONMENT, seeds=(1, 2), record_episodes=0), {"task.py": TASK})
    print(f"\nload, {SIDE_BY_SIDE} side by side")
    for backend in backends:
        count = jobs.get(backend.name, 0)
        if not count:
            continue
        before = time.perf_counter()
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            problems = [problem for problem in pool.map(lambda _, b=backend: _problem(b, job), range(count)) if problem]
        taken = time.perf_counter() - before
        left = leftovers(backend.name)
        print(f"  {backend.name:14} {count} jobs in {taken:.1f} s: {len(problems)} failed, {len(left)} left behind")
        for line in (*problems[:3], *left[:3]):
            print(f"    {line}")


def _problem(backend: Backend, job: Job) -> str:
    try:
        outcome = backend.sandbox.run(job, _ignore, Event())
    except SandboxError as error:
        return f"the sandbox failed: {error}"
    return "" if isinstance(outcome, Finished) else str(outcome.failure)


def leftovers(backend: str) -> list[str]:
    """Processes, job folders and containers of this process that are still there."""
    close_all()
    left = [f"process {process.pid}" for process in ProcessTable(max_age=0).descendants(os.getpid())]
    left += [str(folder) for folder in Path(tempfile.gettempdir()).iterdir()]
    if backend == "docker":
        from eureka_sandbox.backends.docker_engine import OWNER_LABEL, Engine, Owner

        mine = {"label": f"{OWNER_LABEL}={Owner.this_process()}"}
        left += [f"container {found['Id'][:12]}" for found in Engine().client.containers(all=True, filters=mine)]
    return left


def _ignore(_: object) -> None:
    """Progress is of no interest here."""


def counts(text: str) -> dict[str, int]:
    """`embedded=200,docker=50` as a mapping."""
    return {name: int(count) for name, count in (part.split("=") for part in text.split(",") if part)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--timesteps", type=int, default=20_480)
    parser.add_argument("--jobs", type=counts, default=counts("embedded=200,docker=50"))
    parser.add_argument("--backends", default="docker,embedded,none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eureka-bench-") as folder:
        tempfile.tempdir = folder  # so that every job folder in it is this measurement's
        backends = available(options.backends.split(","))
        startup(backends, options.starts)
        if options.rounds:
            speed(backends, options.rounds, options.timesteps)
        load(backends, options.jobs)


if __name__ == "__main__":
    main()
