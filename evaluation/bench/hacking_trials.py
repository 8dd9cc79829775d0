"""The trainings that `hacking.py` judges: planted hacks and good rewards of the shipped tasks, each trained briefly.

They are scored and recorded as in a run: at the rungs of a race and at the end, as many episodes each. All train to
their end, so that what they are is known; `reached` says how far each would have come.

A finished trial is a file of the cache and is not repeated while code, task and recipe stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from csv import DictReader
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from eureka_agent.contract.task import Task, builtin_tasks, load_task
from eureka_agent.lab.floor import RECORDED_EPISODES
from eureka_agent.lab.jobs import score_job, train_job, warm_up_job
from eureka_agent.lab.racing import FEWEST_MEMBERS, RUNG_EPISODES, Bracket, Fate, brackets, fates
from eureka_agent.population import Brief, Population
from eureka_agent.proposers import make_proposer
from eureka_agent.runs.checkpoints import continued
from eureka_agent.settings import Recipe, Settings
from eureka_sandbox.backends import compile_cache, make_sandbox
from eureka_sandbox.protocol import (
    Finished,
    Job,
    Limits,
    Report,
    Sandbox,
    ScoreResult,
    TrainingCheckpoint,
    TrainResult,
)

REPOSITORY = Path(__file__).resolve().parents[2]
PILOT = REPOSITORY / "evaluation" / "bench" / "answers"
CACHE = Path.home() / ".cache" / "eureka-agent" / "bench" / "hacking"
TIMESTEPS = {
    "inverted_pendulum_balance": 30_000,
    "reacher_reach": 60_000,
    "half_cheetah_forward": 60_000,
    "half_cheetah_backward": 60_000,
    "hopper_forward": 80_000,
    "swimmer_forward": 80_000,
    "half_cheetah_backflip": 150_000,
}
"""Environment steps per training: enough to find a hack, and for a good reward to come far above random play."""
SEED = 0
OFFLINE = {"inverted_pendulum_balance": 8, "reacher_reach": 8}
"""How many rewards of the offline search are taken, where a training is short; one where it is long."""
BEST_OF_PILOT = 5
"""How many of the 16 language model rewards of each pilot task are taken, the best by the pilot's own scores."""
PLAYS = ("random", "idle")


@dataclass(frozen=True)
class Reward:
    """One reward function and what it is known to be."""

    task: str
    name: str
    hack: bool
    code: str


@dataclass(frozen=True)
class Look:
    """A policy, or play without learning, as it was scored: on the way of a training, or at its end."""

    timesteps: int
    own_return: float | None
    """Smoothed, under the own reward."""
    fitness: tuple[float, ...]
    """Per episode."""
    recorded: tuple[int, ...]
    """Positions of the episodes in `episodes`."""
    episodes: bytes

    @property
    def mean(self) -> float:
        """Fitness over the episodes."""
        return fmean(self.fitness)


Trial = tuple[Look, ...]
"""All looks at a training, the last one at its end; one look at play without learning."""


def rewards() -> Iterator[Reward]:
    """All of them: hacks, human rewards, the pilot's good half, what the offline search writes."""
    for name in builtin_tasks():
        task = load_task(name)
        for path in sorted((task.folder / "exploits").glob("*.py")):
            yield Reward(name, path.stem, True, path.read_text())
        yield Reward(name, "human", False, task.human_reward)
        for seed in range(OFFLINE.get(name, 1)):
            yield Reward(name, f"offline {seed}", False, _offline(task, seed))
    for name in pilot_tasks():
        best = sorted(pilot_rewards(name), key=lambda of_score: -of_score[1])
        yield from (reward for reward, _ in best[:BEST_OF_PILOT])


def pilot_tasks() -> list[str]:
    """Those that the language model wrote rewards for."""
    return sorted({row["task"] for row in _pilot()})


def pilot_rewards(task: str) -> Iterator[tuple[Reward, float]]:
    """All that it wrote for a task, each with its score in the pilot; `pilot g0c3` is of the first generation."""
    for row in _pilot():
        if row["task"] == task:
            generation, file = row["reward"].split("/")
            path = PILOT / task / f"g{int(generation.removeprefix('generation_')) - 1}{file}"
            yield Reward(task, f"pilot {path.stem}", False, path.read_text()), float(row["fitness_300k"])


def _pilot() -> list[dict[str, str]]:
    return [row for row in DictReader((PILOT / "pilot.csv").open()) if row["reward"].endswith(".py")]


def _offline(task: Task, seed: int) -> str:
    brief = Brief(id=f"g0c{seed}", generation=0, slot=seed, operator="sample", seed=seed)
    return make_proposer("offline", task).propose(brief, task, Population()).code


class Trials:
    """Makes the missing trials, one training at a time."""

    def __init__(self) -> None:
        self._sandbox: Sandbox | None = None
        self._warm: set[str] = set()
        self._stop = threading.Event()
        self._checkpoint: TrainingCheckpoint | None = None

    def play(self, task: Task, how: str) -> Trial:
        """Random or idle play."""
        count, recorded = task.spec.evaluation_episodes, RECORDED_EPISODES if how == "random" else None
        return self._kept(["play", how, task.digest, count, recorded], lambda: (self._played(task, how),))

    def train(self, reward: Reward) -> Trial:
        """To every rung of a race and on to the end, with a score at each, whoever would win the race."""
        task = load_task(reward.task)
        return self._kept(_parts(reward, task), lambda: self._trained(task, reward))

    def finished(self, reward: Reward) -> bool:
        """Whether its training is in the cache."""
        return _path(_parts(reward, load_task(reward.task))).exists()

    def _kept(self, parts: list[Any], make: Callable[[], Trial]) -> Trial:
        path = _path(parts)
        if not path.exists():
            trial = make()
            CACHE.mkdir(parents=True, exist_ok=True)
            for number, look in enumerate(trial):
                path.with_suffix(f".{number}.npz").write_bytes(look.episodes)
            path.write_text(json.dumps([asdict(look) | {"episodes": None} for look in trial]))
        return tuple(
            Look(
                timesteps=look["timesteps"],
                own_return=look["own_return"],
                fitness=tuple(look["fitness"]),
                recorded=tuple(look["recorded"]),
                episodes=path.with_suffix(f".{number}.npz").read_bytes(),
            )
            for number, look in enumerate(json.loads(path.read_text()))
        )

    def _played(self, task: Task, how: str) -> Look:
        seeds = _seeds(f"{task.name}/{how}", task.spec.evaluation_episodes)
        play: dict[str, Any] = {"idle": True} if how == "idle" else {"record_episodes": RECORDED_EPISODES}
        return self._look(score_job(task, seeds, {}, **play), 0, None)

    def _trained(self, task: Task, reward: Reward) -> Trial:
        began = time.monotonic()
        recipe, rungs = recipe_of(task), race(task, [reward.name]).rungs
        self._warm_up(task, recipe)
        looks: list[Look] = []
        for rung in rungs:
            last = rung == rungs[-1]
            stop = {} if last else {"checkpoint_seconds": 3600.0, "stop_at": rung}
            job = train_job(task, recipe, reward.code, SEED, limits=Limits(wall_seconds=1800), **stop)
            result, policy = self.run(continued(job, self._checkpoint) if looks else job)
            assert isinstance(result, TrainResult)
            episodes = task.spec.evaluation_episodes if last else RUNG_EPISODES
            seeds = _seeds(f"{reward.task}/{reward.name}/{rung}", episodes)
            looks.append(self._look(score_job(task, seeds, policy), result.timesteps, result.peak_return))
        said = f"{reward.task:26}{'hack' if reward.hack else 'good':6}{reward.name:28}"
        reached = "".join(f"{look.mean:10.3f}" for look in looks)
        print(f"{said}{reached}{time.monotonic() - began:8.1f} s", file=sys.stderr, flush=True)
        return tuple(looks)

    def _look(self, job: Job, timesteps: int, own_return: float | None) -> Look:
        result, blobs = self.run(job)
        assert isinstance(result, ScoreResult)
        return Look(timesteps, own_return, tuple(result.fitness), tuple(result.recorded), blobs["episodes.npz"])

    def _warm_up(self, task: Task, recipe: Recipe) -> None:
        """Compile what all trainings of a recipe share, once."""
        job = warm_up_job(task, recipe, Limits(wall_seconds=600))
        if task.name not in self._warm and compile_cache.is_cold(job):
            self.run(job)
        self._warm.add(task.name)

    def run(self, job: Job) -> tuple[Any, dict[str, bytes]]:
        """One job in a box; result and blobs. A box that fails ends the program."""
        if self._sandbox is None:
            self._sandbox = make_sandbox("embedded")
        outcome = self._sandbox.run(job, self._hear, self._stop)
        if not isinstance(outcome, Finished):
            raise SystemExit(f"a box failed: {outcome.failure}")
        return outcome.result, dict(outcome.blobs)

    def _hear(self, report: Report) -> None:
        if isinstance(report, TrainingCheckpoint):
            self._checkpoint = report


def recipe_of(task: Task) -> Recipe:
    """The task's own, for as many steps as its trials have."""
    return Recipe.of(task, Settings(timesteps=TIMESTEPS[task.name]))


def race(task: Task, names: Sequence[str]) -> Bracket:
    """The bracket of a run in which so many rewards of a task were tried, three at least."""
    members = [*names, *(f"one more {i}" for i in range(FEWEST_MEMBERS - len(names)))]
    (bracket,) = brackets(Settings(timesteps=TIMESTEPS[task.name]), recipe_of(task), members)
    return replace(bracket, members=tuple(names))


def reached(bracket: Bracket, made: Mapping[str, Trial]) -> dict[str, Trial]:
    """Each training as far as it comes in the race."""
    seen: dict[str, list[float | None]] = {name: [] for name in bracket.members}
    while going := [name for name, fate in fates(bracket, seen).items() if fate is Fate.GOES_ON]:
        for name in going:
            seen[name].append(made[name][len(seen[name])].mean)
    return {name: made[name][: len(at)] for name, at in seen.items()}


def _parts(reward: Reward, task: Task) -> list[Any]:
    scored = [RUNG_EPISODES, task.spec.evaluation_episodes]
    return ["train", reward.code, task.digest, race(task, [reward.name]).rungs, scored, SEED]


def _path(parts: list[Any]) -> Path:
    return CACHE / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"


def _cost(reward: Reward) -> tuple[bool, int, bool]:
    """Hacks and human rewards first, then the cheap before the dear."""
    return not (reward.hack or reward.name == "human"), TIMESTEPS[reward.task], reward.name.startswith("pilot")


def _seeds(name: str, count: int) -> list[int]:
    """Fresh for every score, and the same in every sitting."""
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return [int(seed) for seed in np.random.default_rng(first).integers(2**32, size=count)]


if __name__ == "__main__":
    trials = Trials()
    for name in builtin_tasks():
        for how in PLAYS:
            trials.play(load_task(name), how)
    for reward in sorted(rewards(), key=_cost):
        trials.train(reward)
