"""The trainings that `hacking.py` judges: planted hacks and good rewards of the shipped tasks, each trained briefly.

A finished trial is a file of the cache and is not repeated while code, task and recipe stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from csv import DictReader
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eureka_agent.contract.task import Task, builtin_tasks, load_task
from eureka_agent.lab.jobs import score_job, train_job, warm_up_job
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
EPISODES, RECORDED = 12, 6
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
class Trial:
    """What came of a training, or of play without learning."""

    rungs: tuple[tuple[int, float, float | None], ...]
    """Environment steps, mean fitness, smoothed own return; the earliest first."""
    curves: dict[str, list[float | None]]
    fitness: tuple[float, ...]
    """Per episode of the last rung."""
    recorded: dict[int, float]
    """Fitness by position of the episodes in `episodes`."""
    episodes: bytes


def rewards() -> Iterator[Reward]:
    """All of them: hacks, human rewards, the pilot's good half, what the offline search writes."""
    for name in builtin_tasks():
        task = load_task(name)
        for path in sorted((task.folder / "exploits").glob("*.py")):
            yield Reward(name, path.stem, True, path.read_text())
        yield Reward(name, "human", False, task.human_reward)
        for seed in range(OFFLINE.get(name, 1)):
            yield Reward(name, f"offline {seed}", False, _offline(task, seed))
    rows = [row for row in DictReader((PILOT / "pilot.csv").open()) if row["reward"].endswith(".py")]
    for name in sorted({row["task"] for row in rows}):
        of_task = sorted((row for row in rows if row["task"] == name), key=lambda row: -float(row["fitness_300k"]))
        for row in of_task[:BEST_OF_PILOT]:
            generation, file = row["reward"].split("/")
            path = PILOT / name / f"g{int(generation.removeprefix('generation_')) - 1}{file}"
            yield Reward(name, f"{generation}/{file}", False, path.read_text())


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
        return self._kept(["play", how, task.digest, EPISODES], lambda: self._played(task, how))

    def train(self, reward: Reward) -> Trial:
        """A third of the training, a score, and the rest, as racing does it."""
        task = load_task(reward.task)
        return self._kept(self._parts(reward, task), lambda: self._trained(task, reward, TIMESTEPS[reward.task]))

    def finished(self, reward: Reward) -> bool:
        """Whether its training is in the cache."""
        return _path(self._parts(reward, load_task(reward.task))).exists()

    def _parts(self, reward: Reward, task: Task) -> list[Any]:
        return ["train", reward.code, task.digest, TIMESTEPS[reward.task], EPISODES, RECORDED, SEED]

    def _kept(self, parts: list[Any], make: Callable[[], Trial]) -> Trial:
        path = _path(parts)
        if not path.exists():
            trial = make()
            CACHE.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".npz").write_bytes(trial.episodes)
            path.write_text(json.dumps(asdict(trial) | {"episodes": None}))
        known = json.loads(path.read_text())
        known["episodes"] = path.with_suffix(".npz").read_bytes()
        known["recorded"] = {int(position): fitness for position, fitness in known["recorded"].items()}
        known["rungs"] = tuple(tuple(rung) for rung in known["rungs"])
        return Trial(**known)

    def _played(self, task: Task, how: str) -> Trial:
        idle = how == "idle"
        job = score_job(task, _seeds(f"{task.name}/{how}"), {}, idle=idle, record_episodes=EPISODES)
        result, blobs = self.run(job)
        assert isinstance(result, ScoreResult)
        return Trial(
            (), {}, tuple(result.fitness), {i: result.fitness[i] for i in result.recorded}, blobs[EPISODES_FILE]
        )

    def _trained(self, task: Task, reward: Reward, total: int) -> Trial:
        began = time.monotonic()
        recipe = Recipe.of(task, Settings(timesteps=total))
        self._warm_up(task, recipe)
        limits = Limits(wall_seconds=1800)
        job = train_job(task, recipe, reward.code, SEED, limits=limits, checkpoint_seconds=3600, stop_at=total // 3)
        first, blobs = self.run(job)
        assert isinstance(first, TrainResult)
        rungs = [(first.timesteps, self._scored(task, reward, blobs, first.timesteps)[0], first.peak_return)]
        job = train_job(task, recipe, reward.code, SEED, limits=limits)
        result, blobs = self.run(continued(job, self._checkpoint))
        assert isinstance(result, TrainResult)
        fitness, score, episodes = self._scored(task, reward, blobs, total)
        rungs.append((result.timesteps, fitness, result.peak_return))
        said = f"{reward.task:26}{'hack' if reward.hack else 'good':6}{reward.name:28}"
        took = f"{time.monotonic() - began:6.1f} s"
        print(f"{said}{rungs[0][1]:10.3f}{rungs[1][1]:10.3f}{took}", file=sys.stderr, flush=True)
        recorded = {i: score.fitness[i] for i in score.recorded}
        return Trial(tuple(rungs), result.curves, tuple(score.fitness), recorded, episodes)

    def _scored(
        self, task: Task, reward: Reward, policy: dict[str, bytes], timesteps: int
    ) -> tuple[float, ScoreResult, bytes]:
        seeds = _seeds(f"{reward.task}/{reward.name}/{timesteps}")
        score, blobs = self.run(score_job(task, seeds, policy, record_episodes=RECORDED))
        assert isinstance(score, ScoreResult)
        return float(np.mean(score.fitness)), score, blobs[EPISODES_FILE]

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


EPISODES_FILE = "episodes.npz"


def _path(parts: list[Any]) -> Path:
    return CACHE / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"


def _cost(reward: Reward) -> tuple[bool, int, bool]:
    """Hacks and human rewards first, then the cheap before the dear."""
    return not (reward.hack or reward.name == "human"), TIMESTEPS[reward.task], "/" in reward.name


def _seeds(name: str) -> list[int]:
    """Fresh for every score, and the same in every sitting."""
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return [int(seed) for seed in np.random.default_rng(first).integers(2**32, size=EPISODES)]


if __name__ == "__main__":
    trials = Trials()
    for name in builtin_tasks():
        for how in PLAYS:
            trials.play(load_task(name), how)
    for reward in sorted(rewards(), key=_cost):
        trials.train(reward)
