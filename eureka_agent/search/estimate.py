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
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeVar

from eureka_agent.contract.task import Task
from eureka_agent.errors import RunError
from eureka_agent.lab.jobs import run_alone, score_job, train_job
from eureka_agent.lab.machine import cores
from eureka_agent.lab.racing import brackets, most_steps
from eureka_agent.lab.variations import variations_of
from eureka_agent.proposers import calls_cost
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import write_file
from eureka_agent.search.contest import usual_trainings
from eureka_agent.settings import Recipe, Settings
from eureka_agent.text import count, dollars, duration, plural
from eureka_sandbox.protocol import Failed, Finished, Job, JobStopped, Progress, Sandbox

N = TypeVar("N", int, float)
PROBE_SECONDS = 4.0
"""How long a training's pace is watched."""
WARM_UP = 2
"""Progress reports to let pass first: the first update carries the compilation."""
LONG_ENOUGH = 20.0
"""Seconds of training from which its mean speed says more than a probe; compilation is two or three of them."""
SCORE_STARTUP = 0.5
"""Seconds that a scoring box takes to start and end, about."""
NO_TRAINING = "reward_human.py does not train"


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains and scores one task, with `jobs` boxes side by side."""

    steps_per_second: float
    """Environment steps per second of one training."""
    startup_seconds: float
    """What every training pays besides its steps: start, compilation, export."""
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
    dollars: float | None
    """What the calls to language models will cost; None if a price is not known."""
    calls: int = 0
    """Calls to language models that cost."""
    tokens: int = 0
    """Their input and output."""

    def __str__(self) -> str:
        cost = llm_cost(self.calls, self.tokens, self.dollars)
        trainings = plural(self.trainings, "training")
        return f"{trainings}, {count(self.steps)} environment steps, about {duration(self.seconds)}, {cost}"


@dataclass(frozen=True)
class Plan:
    """What is left of a search, if nothing fails and every contest is usual."""

    trainings: int
    """Those that racing stops, contests and the last comparison included."""
    steps: int


def planned(settings: Settings, recipe: Recipe, generations: int, edits: int = 0) -> Plan:
    """So many generations, `edits` candidates more in the first of them, and the comparison's two trained arms."""
    final, contests = 2 * settings.final_seeds, round(generations * usual_trainings(settings))
    size = settings.population + settings.tune
    raced = _over_generations(lambda size: most_steps(settings, recipe, size), size, generations, edits)
    one = most_steps(settings, recipe, 1)
    trainings = _over_generations(lambda size: size, size, generations, edits) + contests
    steps = raced + contests * one
    steps = steps if settings.steps is None else min(steps, settings.steps)
    return Plan(trainings + final, steps + final * one)


def _over_generations(cost: Callable[[int], N], size: int, generations: int, edits: int) -> N:
    """Of so many generations of a size, the first of which has `edits` candidates on top."""
    return cost(size + edits) + (generations - 1) * cost(size) if generations else 0 * cost(size)


def within_steps(task: Task, settings: Settings) -> Settings:
    """The settings with no more generations than their budget of environment steps lasts for, about."""
    recipe = Recipe.of(task, settings)
    each = most_steps(settings, recipe, settings.population + settings.tune)
    each += round(usual_trainings(settings) * most_steps(settings, recipe, 1))
    last = settings.generations if settings.steps is None else max(1, round(settings.steps / each))
    return settings.model_copy(update={"generations": min(settings.generations, last)})


def price(
    task: Task,
    settings: Settings,
    speed: Speed,
    generations_done: int = 0,
    jobs: int | None = None,
    edits: int = 0,
) -> Estimate:
    """Estimate what is left of a search: each generation and its contest, then the comparison's two trained arms.

    `edits` candidates, which people have written in a review, come on top of the next generation.
    """
    side_by_side = jobs or settings.jobs or cores()
    settings, recipe = within_steps(task, settings), Recipe.of(task, settings)
    generations = max(settings.generations - generations_done, 0)
    plan = planned(settings, recipe, generations, edits)
    box = speed.startup_seconds + speed.score_seconds
    one = box + most_steps(settings, recipe, 1) / speed.steps_per_second
    waves = generations * math.ceil(usual_trainings(settings) / side_by_side)
    waves += math.ceil(2 * settings.final_seeds / side_by_side)
    size = settings.population + settings.tune

    def generation_seconds(size: int) -> float:
        return _generation_seconds(settings, recipe, speed, size, side_by_side)

    raced = _over_generations(generation_seconds, size, generations, edits)
    calls, tokens, cost = _asked(task, settings, generations_done)
    worlds = 1 + len(variations_of(task)) if settings.exhibits and variations_of(task) else 0
    scorings = 1 + math.ceil(2 * worlds / side_by_side)  # random play, and both policies in held-out variations
    seconds = raced + waves * one + scorings * speed.score_seconds
    return Estimate(plan.trainings, plan.steps, seconds, cost, calls, tokens)


def _generation_seconds(settings: Settings, recipe: Recipe, speed: Speed, size: int, side_by_side: int) -> float:
    """One generation: its boxes in waves of whole trainings; or, raced, by their work, and at least the longest way."""
    box = speed.startup_seconds + speed.score_seconds
    longest = most_steps(settings, recipe, 1) / speed.steps_per_second
    races = brackets(settings, recipe, [str(slot) for slot in range(size)])
    rungs = max(len(race.rungs) for race in races)
    if rungs == 1:
        waves = math.ceil(size / side_by_side)
        return waves * (box + longest)
    boxes = sum(len(race.members) + sum(race.keep) for race in races)
    work = boxes * box + most_steps(settings, recipe, size) / speed.steps_per_second
    return max(work / side_by_side, rungs * box + longest)


def _asked(task: Task, settings: Settings, generations_done: int) -> tuple[int, int, float | None]:
    """Calls to language models, their tokens and dollars."""
    if not calls_cost(settings):
        return 0, 0, 0.0
    from eureka_agent.llm.expected import expected

    known = expected(task, settings, generations_done)
    return known.calls, known.tokens, known.dollars


def llm_cost(calls: int, tokens: int, cost: float | None) -> str:
    """`no LLM cost`, or `about 50 calls to language models, 420k tokens, $1.90`."""
    if not calls:
        return "no LLM cost"
    price = "cost unknown" if cost is None else dollars(cost)
    return f"about {plural(calls, 'call')} to language models, {count(tokens)} tokens, {price}"


def likely_price(task: Task, settings: Settings) -> Estimate:
    """The estimate of a whole search; its time is not a number where this machine's speed at the task is unknown."""
    known = cached_price(task, settings)
    return known or replace(price(task, settings, Speed(1.0, 0.0, 0.0, "")), seconds=math.nan)


def workload(task: Task, settings: Settings, generations_done: int = 0, edits: int = 0) -> str:
    """What is left to do, without time; see `price`."""
    known = price(task, settings, Speed(1.0, 0.0, 0.0, ""), generations_done, edits=edits)
    cost = llm_cost(known.calls, known.tokens, known.dollars)
    return f"{plural(known.trainings, 'training')}, {count(known.steps)} environment steps, {cost}"


def cached_price(task: Task, settings: Settings, generations_done: int = 0, edits: int = 0) -> Estimate | None:
    """The estimate, if this machine's speed at the task is known already; see `price`."""
    speed = cached_speed(task, settings)
    return price(task, settings, speed, generations_done, edits=edits) if speed else None


def learn_from(run: Run) -> None:
    """Remember the speed that a run's own trainings had, the best measurement there is."""
    candidates = run.population(partial=True, curves=False).candidates
    trainings = [c.training for c in candidates if c.training and c.training.seconds > LONG_ENOUGH]
    scores = [c.score for c in candidates if c.score and not c.stopped]  # a rung's score has fewer episodes
    if not trainings or not scores:
        return
    speed = Speed(
        steps_per_second=median(t.steps_per_second for t in trainings),
        startup_seconds=median(t.startup_seconds for t in trainings),
        score_seconds=median(s.seconds for s in scores) + SCORE_STARTUP,
        measured=time.strftime("%Y-%m-%d %H:%M"),
    )
    remember(run.task, run.settings, speed)


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
    """Train and score the human reward briefly, then watch the pace of `jobs` trainings side by side.

    Raises:
        RunError: the human reward does not train or score.
        EnvironmentMissing: the sandbox itself failed.
    """
    side_by_side = jobs or settings.jobs or cores()
    seeds = range(task.spec.evaluation_episodes)
    # one batch costs what every box pays besides its steps: start, compilation, export
    short = _run(task, sandbox, human_job(task, settings, timesteps=1), NO_TRAINING)
    scored = _run(task, sandbox, score_job(task, seeds, short.blobs), "its policy cannot be scored")
    with ThreadPoolExecutor(side_by_side) as pool:
        paces = list(pool.map(lambda _: _pace(task, settings, sandbox), range(side_by_side)))
    speed = Speed(fmean(paces), short.seconds, scored.seconds, time.strftime("%Y-%m-%d %H:%M"))
    remember(task, settings, speed, jobs)
    return speed


def _pace(task: Task, settings: Settings, sandbox: Sandbox) -> float:
    """Steps per second of a training that has warmed up; it is stopped as soon as that is known."""
    heard: list[tuple[float, int]] = []
    stop = threading.Event()

    def listen(progress: Progress) -> None:
        heard.append((time.monotonic(), progress.timesteps))
        if len(heard) > WARM_UP and heard[-1][0] - heard[WARM_UP][0] >= PROBE_SECONDS:
            stop.set()

    began = time.monotonic()
    with suppress(JobStopped):
        _run(task, sandbox, human_job(task, settings), NO_TRAINING, listen, stop)
    if len(heard) < 2:
        return Recipe.of(task, settings).timesteps / (time.monotonic() - began)
    (since, steps), (until, more) = heard[min(WARM_UP, len(heard) - 2)], heard[-1]
    return (more - steps) / (until - since)


def human_job(task: Task, settings: Settings, timesteps: int | None = None) -> Job:
    """A training of the human reward, for the recipe's environment steps or others."""
    return train_job(task, Recipe.of(task, settings), task.human_reward, settings.seed, timesteps)


def _run(
    task: Task,
    sandbox: Sandbox,
    job: Job,
    complaint: str,
    listen: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Finished:
    outcome = run_alone(sandbox, job, listen, stop)
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


CACHE_VERSION = "2"
"""Of what was measured; until 2 each box imported for itself."""


def _key(task: Task, settings: Settings, jobs: int | None) -> str:
    recipe = Recipe.of(task, settings)
    side_by_side = jobs or settings.jobs or cores()
    parts = (CACHE_VERSION, task.digest, recipe.algorithm, recipe.learner, processor(), str(side_by_side))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
