"""What a search will cost before it starts: trainings, environment steps, wall time on this machine, money.

Time comes from a short real training and scoring of the human reward in the sandbox, as many side by side as the search
will run. The measurement is cached by task, learner and processor, and doubles as a check that the task works.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from eureka_agent.errors import RunError
from eureka_agent.machine import cores
from eureka_agent.run import Run
from eureka_agent.settings import Recipe, Settings
from eureka_agent.storage import write_file
from eureka_agent.task import Task
from eureka_agent.text import count, duration, plural
from eureka_sandbox.protocol import Failed, Finished, Job, Sandbox, ScoreSpec, TrainResult, TrainSpec

PROBE_SECONDS = 3.0
"""How long the second, longer probe should train; the first (one batch) only finds the speed to plan it with."""
NO_TRAINING = "reward_human.py does not train"


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains and scores one task, with `jobs` boxes side by side."""

    steps_per_second: float
    """Environment steps per second of one training."""
    startup_seconds: float
    """From spawning a training to its first step, with compilation."""
    score_seconds: float
    """One scoring box from spawn to exit."""
    measured: str
    """Local date and time."""


@dataclass(frozen=True)
class Estimate:
    """The price of a search."""

    trainings: int
    steps: int
    seconds: float
    dollars: float

    def __str__(self) -> str:
        cost = "no LLM cost" if self.dollars == 0 else f"about ${self.dollars:.2f}"
        trainings = plural(self.trainings, "training")
        return f"{trainings}, {count(self.steps)} environment steps, about {duration(self.seconds)}, {cost}"


def price(task: Task, settings: Settings, speed: Speed, generations_done: int = 0, jobs: int | None = None) -> Estimate:
    """Estimate what is left of a search: each generation in waves of `jobs`, then the comparison's two trained arms."""
    side_by_side = jobs or settings.jobs or cores()
    timesteps = Recipe.of(task, settings).timesteps
    one = speed.startup_seconds + timesteps / speed.steps_per_second + speed.score_seconds
    generations = max(settings.generations - generations_done, 0)
    waves = generations * math.ceil(settings.population / side_by_side)
    final = 2 * settings.final_seeds
    trainings = generations * settings.population + final
    seconds = (waves + math.ceil(final / side_by_side)) * one + speed.score_seconds
    return Estimate(trainings, trainings * timesteps, seconds, dollars=0.0)


def workload(task: Task, settings: Settings, generations_done: int = 0) -> str:
    """What is left to do, without time."""
    known = price(task, settings, Speed(1.0, 0.0, 0.0, ""), generations_done)
    return f"{plural(known.trainings, 'training')}, {count(known.steps)} environment steps, no LLM cost"


def cached_price(task: Task, settings: Settings, generations_done: int = 0) -> Estimate | None:
    """The estimate, if this machine's speed at the task is known already."""
    speed = cached_speed(task, settings)
    return price(task, settings, speed, generations_done) if speed else None


def learn_from(run: Run) -> None:
    """Remember the speed that a run's own trainings had, the best measurement there is."""
    trainings = [c.training for c in run.population(partial=True).candidates if c.training and c.training.seconds > 1]
    scores = [c.score for c in run.population(partial=True).candidates if c.score]
    if not trainings or not scores:
        return
    known = cached_speed(run.task, run.settings)
    speed = Speed(
        steps_per_second=median(t.steps_per_second for t in trainings),
        startup_seconds=median(t.startup_seconds for t in trainings),
        score_seconds=max(median(s.seconds for s in scores), known.score_seconds if known else 0.0),
        measured=time.strftime("%Y-%m-%d %H:%M"),
    )
    remember(run.task, run.settings, speed)


def speed_of(task: Task, settings: Settings, sandbox: Sandbox, jobs: int | None = None) -> Speed:
    """The cached speed, or a fresh measurement (some seconds)."""
    return cached_speed(task, settings, jobs) or measure_speed(task, settings, sandbox, jobs)


def cached_speed(task: Task, settings: Settings, jobs: int | None = None) -> Speed | None:
    """What was measured on this machine before; None if nothing usable is there."""
    entry = _read_cache().get(_key(task, settings, jobs))
    try:
        return Speed(**entry) if entry else None
    except TypeError:  # a cache of another version
        return None


def remember(task: Task, settings: Settings, speed: Speed, jobs: int | None = None) -> None:
    """Cache a measurement; a cache that cannot be written is no reason to stop."""
    path = cache_path()
    known = {**_read_cache(), _key(task, settings, jobs): asdict(speed)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(dict(list(known.items())[-200:]), indent=1).encode(), durable=False)
    except OSError:
        return


def measure_speed(task: Task, settings: Settings, sandbox: Sandbox, jobs: int | None = None) -> Speed:
    """Train and score the human reward briefly, `jobs` boxes side by side.

    Raises:
        RunError: the human reward does not train or score.
    """
    side_by_side = jobs or settings.jobs or cores()
    first = _run(task, sandbox, train_job(task, settings, timesteps=1), NO_TRAINING)
    result = first.result
    assert isinstance(result, TrainResult)
    rate = result.timesteps / max(result.seconds, 1e-3)
    timesteps = min(max(int(rate * PROBE_SECONDS), 1), Recipe.of(task, settings).timesteps)
    with ThreadPoolExecutor(side_by_side) as pool:
        job = train_job(task, settings, timesteps)
        probes = list(pool.map(lambda _: _run(task, sandbox, job, NO_TRAINING), range(side_by_side)))
    results = [p.result for p in probes if isinstance(p.result, TrainResult)]
    scored = _run(task, sandbox, score_job(task, probes[0]), "its policy cannot be scored")
    speed = Speed(
        steps_per_second=sum(r.timesteps / max(r.seconds, 1e-3) for r in results) / len(results),
        startup_seconds=max(p.seconds - r.seconds for p, r in zip(probes, results, strict=True)),
        score_seconds=scored.seconds,
        measured=time.strftime("%Y-%m-%d %H:%M"),
    )
    remember(task, settings, speed, jobs)
    return speed


def train_job(task: Task, settings: Settings, timesteps: int) -> Job:
    """A training of the human reward."""
    recipe = Recipe.of(task, settings)
    spec = TrainSpec(
        environment=task.environment,
        algorithm=recipe.algorithm,
        learner=recipe.learner,
        hyperparameters=recipe.hyperparameters,
        total_timesteps=timesteps,
        seed=settings.seed,
    )
    return Job(spec, {"reward.py": task.files["reward_human.py"], "task.py": task.files["task.py"]})


def score_job(task: Task, trained: Finished | None) -> Job:
    """A scoring of that training's policy, or of random actions."""
    spec = ScoreSpec(environment=task.environment, seeds=tuple(range(task.spec.evaluation_episodes)))
    return Job(spec, {"task.py": task.files["task.py"], **(trained.blobs if trained else {})})


def _run(task: Task, sandbox: Sandbox, job: Job, complaint: str) -> Finished:
    outcome = sandbox.run(job, lambda _: None, threading.Event())
    if isinstance(outcome, Failed):
        raise RunError(f"{task.folder}: {complaint}: {outcome.failure}; `eureka tasks check` tells more")
    return outcome


def cache_path() -> Path:
    """Where speeds are remembered: `$XDG_CACHE_HOME/eureka-agent/speed.json`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "eureka-agent" / "speed.json"


def _read_cache() -> Mapping[str, dict[str, Any]]:
    try:
        known = json.loads(cache_path().read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(task: Task, settings: Settings, jobs: int | None) -> str:
    recipe = Recipe.of(task, settings)
    side_by_side = jobs or settings.jobs or cores()
    parts = (task.digest, recipe.algorithm, recipe.learner, processor(), str(side_by_side))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
