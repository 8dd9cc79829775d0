"""The checks of `eureka doctor`. What needs a simulator or a trainer is asked of a child process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from eureka_agent import __version__
from eureka_agent.cli.common import RUNS
from eureka_agent.contract.task import builtin_tasks
from eureka_agent.errors import UsageError
from eureka_agent.lab.boxes import BOX_MEMORY_MB
from eureka_agent.lab.machine import available_memory_mb, cores
from eureka_agent.lab.wall import described
from eureka_agent.llm.attempt import provider_state
from eureka_agent.llm.keys import VARIABLES
from eureka_agent.llm.models_file import load_models, usual_path
from eureka_agent.search.estimate import cache_path, processor
from eureka_agent.text import plural
from eureka_sandbox.backends import BACKENDS, automatic, make_sandbox
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import EnvironmentSpec, Failed, Job, SandboxError, ScoreSpec

NATIVE = ("openai", "anthropic")
"""Providers that are always shown; others once a key of theirs is set."""
PACKAGES = ("mujoco", "torch", "stable-baselines3", "gymnasium", "jax", "numpy", "av")
GL_INSTALL = "apt-get install libegl1 libgl1-mesa-dri libopengl0 (EGL), or libosmesa6 (OSMesa)"
GL_PROBE = """
import mujoco
context = mujoco.GLContext(64, 64)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100)
context.free()
"""
SANDBOX_FIXES = {
    "docker": "start an Engine and build the image (`make image`), if you want containers",
    "embedded": "the message says how; or use Docker",
    "none": "",
}
TASK_CODE = b"def fitness(episode):\n    return episode.seconds\n\n\ndef success(episode):\n    return True\n"


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    name: str
    status: Literal["ok", "warning", "missing"]
    value: str
    fix: str = ""


def diagnose() -> Iterator[Finding]:
    """Look at one thing after the other."""
    yield Finding("eureka-agent", "ok", f"{__version__}, {len(builtin_tasks())} tasks, bodies: {', '.join(BODIES)}")
    yield _python()
    yield Finding("cores", "ok", f"{cores()} usable, {processor()}")
    yield _memory()
    yield from map(_package, PACKAGES)
    yield _torch_threads()
    yield _graphics()
    yield from _sandboxes()
    yield from models()
    yield _folder("cache", cache_path().parent, "set XDG_CACHE_HOME to a writable folder")
    yield _folder("runs", RUNS.absolute(), "change into a writable folder, or give --output")


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()}, {platform.platform(terse=True)}")


def _memory() -> Finding:
    free = available_memory_mb()
    value = f"{free:,.0f} MB free, room for {int(free // BOX_MEMORY_MB)} trainings side by side"
    if free < BOX_MEMORY_MB:
        return Finding("memory", "missing", value, f"free at least {BOX_MEMORY_MB} MB")
    return Finding("memory", "ok", value)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", f"pip install {name}")


def _torch_threads() -> Finding:
    value, error = _ask("import torch; print(torch.get_num_threads())", {})
    if error:
        return Finding("torch threads", "missing", error, "pip install --force-reinstall torch")
    return Finding(
        "torch threads", "ok", f"1 in every box (outside: {value}, OMP_NUM_THREADS={_variable('OMP_NUM_THREADS')})"
    )


def _graphics() -> Finding:
    """Videos only; a machine without any still searches."""
    chosen, reasons = os.environ.get("MUJOCO_GL", "").strip(), []
    for backend in (chosen,) if chosen else ("egl", "osmesa"):
        _, error = _ask(GL_PROBE, {"MUJOCO_GL": backend})
        if not error:
            return Finding("graphics", "ok", f"{backend} renders (MUJOCO_GL={_variable('MUJOCO_GL')})")
        reasons.append(f"{backend}: {error}")
    fix = f"unset MUJOCO_GL={chosen}, or {GL_INSTALL}" if chosen else GL_INSTALL
    return Finding("graphics", "warning", f"no videos: {'; '.join(reasons)}", fix)


def _sandboxes() -> Iterator[Finding]:
    """Every backend by its self-test; of the one that `auto` means here, also a box that plays some steps."""
    usual = automatic()
    for name in BACKENDS:
        try:
            wall = make_sandbox(name).check()
        except SandboxError as error:
            yield Finding(f"sandbox {name}", "missing" if name == usual else "warning", str(error), SANDBOX_FIXES[name])
        else:
            yield Finding(f"sandbox {name}", "warning" if name == usual == "none" else "ok", described(wall))
    yield _box(usual)


def _box(name: str) -> Finding:
    """Run one scoring box for real: a few steps of random actions."""
    spec = ScoreSpec(environment=EnvironmentSpec(body="inverted_pendulum", max_episode_steps=5), seeds=(0,))
    job = Job(spec, {"task.py": TASK_CODE})
    try:
        outcome = make_sandbox(name).run(job, lambda _: None, threading.Event())
    except (SandboxError, ValueError) as error:
        advice = "see the message; `eureka -v doctor` shows more"
        return Finding("sandbox in use", "missing", f"{name}: {error}", advice)
    if isinstance(outcome, Failed):
        return Finding("sandbox in use", "missing", f"{name}: {outcome.failure}", "reinstall eureka-agent")
    return Finding("sandbox in use", "ok", f"{name}, ran a box in {outcome.seconds:.1f} s")


def models() -> Iterator[Finding]:
    """Which language models could be asked, found out without asking any: nothing is spent. A search needs none."""
    others = [name for name in VARIABLES if name not in NATIVE and any(map(os.environ.get, VARIABLES[name]))]
    for provider in (*NATIVE, *others):
        state, words = provider_state(provider, os.environ)
        if state == "ready":
            yield Finding(f"models {provider}/", "ok", words)
        else:
            yield Finding(f"models {provider}/", "warning", f"{state}; searching offline needs none", words)
    try:
        known = load_models(None)
    except UsageError as error:
        yield Finding("models file", "missing", str(error), "correct it, or remove it")
    else:
        value = f"{usual_path()}: {plural(len(known), 'model')}" if known else f"none ({usual_path()})"
        yield Finding("models file", "ok", value)


def _folder(name: str, folder: Path, fix: str) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding(f"{name} folder", "ok", f"{folder} is writable")
    except OSError as error:
        return Finding(f"{name} folder", "missing", f"{folder}: {error.strerror}", fix)


def _ask(code: str, variables: dict[str, str]) -> tuple[str, str]:
    """(stdout, reason it failed) of a line of Python in a child process."""
    command = [sys.executable, "-I", "-c", code]
    settings = {**os.environ, **variables}
    try:
        with tempfile.TemporaryDirectory() as folder:  # mujoco logs its complaints into the working folder
            done = subprocess.run(
                command, env=settings, cwd=folder, capture_output=True, text=True, timeout=60, check=False
            )
    except subprocess.TimeoutExpired:
        return "", "no answer in 60 s"
    lines = done.stderr.strip().splitlines()
    return done.stdout.strip(), "" if done.returncode == 0 else (
        lines[-1] if lines else f"ended with {done.returncode}"
    )[:200]


def _variable(name: str) -> str:
    return os.environ.get(name, "not set")
