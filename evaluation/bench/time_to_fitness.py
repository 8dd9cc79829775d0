"""Wall time from process start to a deterministic policy of a given fitness on fresh seeds: ours and SB3's defaults.

Both arms train on the native reward and are judged by the same code, box B's: a numpy forward pass on our simulators,
the task's own metric, new episodes each time. The clock stands still while a policy is judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

TASKS = Path(__file__).resolve().parents[2] / "tasks"
JUDGE_EVERY = 16_384
"""Environment steps between two judgements: whole rollouts of both arms (2 x 4 x 2048 and 8 x 8 x 256)."""
JUDGE_EPISODES = 20
JUDGE_STREAM = 1
"""Judging seeds come from the generator of `[training seed, JUDGE_STREAM]`; training draws from the seed itself."""
STEP_BUDGET = 2_000_000
"""Environment steps after which a training of ours has failed to get there."""
SB3, OURS = "sb3", "ours"
DEFAULT_RECIPE = {"n_envs": 8, "n_steps": 256, "batch_size": 64, "n_epochs": 10, "normalize": True}
"""For bodies without a shipped task: the recipe that most shipped tasks have."""


@dataclass(frozen=True)
class Goal:
    """A fitness to reach."""

    body: str
    task: str
    """Folder in tasks/ whose `fitness` judges; its recipe too, if it is about this body."""
    fitness: float
    words: str
    """The goal in words."""
    episode_steps: int = 1000
    recipe: dict[str, Any] = field(default_factory=dict)
    """Over the task's recipe."""

    def hyperparameters(self) -> dict[str, Any]:
        """What ours trains with."""
        task = _task(self.task)
        shipped = task["environment"]["mujoco"] == self.body
        return {**(task["training"]["hyperparameters"] if shipped else DEFAULT_RECIPE), **self.recipe}


@cache
def _task(name: str) -> Any:
    import yaml

    return yaml.safe_load((TASKS / name / "task.yaml").read_text())


GOALS = {
    "hopper": Goal("hopper", "hopper_forward", 12.0, "Hopper, 12 m forward"),
    "half_cheetah": Goal("half_cheetah", "half_cheetah_forward", 90.0, "HalfCheetah, 90 m forward"),
    "swimmer": Goal("swimmer", "swimmer_forward", 1.9, "Swimmer, 1.9 m forward"),
    "reacher": Goal("reacher", "reacher_reach", -0.06, "Reacher, 0.06 m from the target", episode_steps=50),
    "walker2d": Goal("walker2d", "hopper_forward", 12.0, "Walker2d, 12 m forward"),
    "ant": Goal("ant", "hopper_forward", 20.0, "Ant, 20 m forward", recipe={"policy_kwargs": {"log_std_init": -1.0}}),
}


class Clock:
    """Wall and CPU time since the process was spawned, without the pauses."""

    def __init__(self, spawned: float) -> None:
        """Start at `spawned`, what `time.time()` was right before."""
        self._spawned = spawned
        self._pause = (0.0, 0.0)

    def read(self) -> tuple[float, float]:
        """Wall and CPU seconds that count."""
        return time.time() - self._spawned - self._pause[0], time.process_time() - self._pause[1]

    def pause_since(self, reading: tuple[float, float]) -> None:
        """Count nothing since `read()` gave this."""
        now = self.read()
        self._pause = (self._pause[0] + now[0] - reading[0], self._pause[1] + now[1] - reading[1])


def measure(
    goal: str,
    arm: str,
    seed: int,
    spawned: float,
    fitness: float,
    limit: float | None = None,
    step_budget: int = STEP_BUDGET,
    hyperparameters: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train one arm until it gets there, or `limit` seconds or `step_budget` steps have passed.

    Args:
        goal: key of `GOALS`.
        arm: `ours` or `sb3`.
        seed: of the training; new episodes for judging are drawn from it too, from a stream of their own.
        spawned: `time.time()` right before this process was started.
        fitness: to reach.
        limit: seconds that count.
        step_budget: environment steps.
        hyperparameters: of ours, as in task.yaml.

    Returns:
        `reached`, `seconds` and `cpu_seconds` that count, `timesteps`, `fitness` at the last judgement, and the
        `curve` of all judgements: (timesteps, seconds, mean fitness).
    """
    clock, aim = Clock(spawned), replace(GOALS[goal], fitness=fitness)
    if arm == OURS:
        model, callbacks = _ours(aim, seed, step_budget, hyperparameters or {})
    else:
        model, callbacks = _sb3(aim, seed), []
    judge = _judge(clock, aim, seed, limit)
    model.learn(step_budget, callback=[*callbacks, judge])
    return {**judge.outcome(), "limit": limit}


def _sb3(goal: Goal, seed: int) -> Any:
    """Stable-Baselines3 as its documentation has it: default PPO, 4 Gymnasium environments under Monitor."""
    import training

    return training.build(training.ARMS["sb3-4"], goal.body, seed)


def _ours(goal: Goal, seed: int, total_timesteps: int, hyperparameters: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What box A builds, its monitor (progress, peak checkpoint, curves) included."""
    import os

    import torch
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.vec_env import VecEnv, VecNormalize

    from eureka_sandbox.bodies import BODIES
    from eureka_sandbox.protocol import EnvironmentSpec
    from eureka_sandbox.worker.emit import Emitter
    from eureka_sandbox.worker.envs.vec_env import RewardVecEnv
    from eureka_sandbox.worker.hyperparameters import recipe
    from eureka_sandbox.worker.learners.fused_ppo import FusedPPO
    from eureka_sandbox.worker.monitoring import CurveWriter, TrainingMonitor

    torch.set_num_threads(1)
    plan = recipe("ppo", hyperparameters, BODIES[goal.body].action_size, total_timesteps)
    environment = EnvironmentSpec(body=goal.body, max_episode_steps=goal.episode_steps)
    env: VecEnv = RewardVecEnv(environment, None, None, plan.n_envs, seed)
    env = VecNormalize(env, **plan.normalize) if plan.normalize else env
    model = FusedPPO("MlpPolicy", env, seed=seed, **plan.model)
    model.set_logger(Logger(None, [CurveWriter()]))
    return model, [TrainingMonitor(Emitter(open(os.devnull, "wb")), total_timesteps, progress_seconds=0.5)]


def _judge(clock: Clock, goal: Goal, seed: int, limit: float | None) -> Any:
    """The callback that stops the clock, judges the policy and ends the training."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Judge(BaseCallback):
        reached = False
        over = False

        def _init_callback(self) -> None:
            self.curve: list[tuple[int, float, float]] = []
            self.reading = (0.0, 0.0)
            self.fitness_of: Callable[[Any], float] | None = None

        def _on_rollout_start(self) -> None:
            if self.num_timesteps >= JUDGE_EVERY * (len(self.curve) + 1):
                self._judge()
            elif limit is not None and clock.read()[0] > limit:
                self._stop()

        def _on_step(self) -> bool:
            return not self.over

        def _on_training_end(self) -> None:
            if not self.over:
                self._judge()
                self.over = True

        def _judge(self) -> None:
            self.reading = clock.read()
            self.fitness_of = self.fitness_of or judging(goal, seed)
            fitness = self.fitness_of(self.model)
            self.curve.append((self.num_timesteps, round(self.reading[0], 2), round(fitness, 4)))
            self.reached = fitness >= goal.fitness
            self.over = self.reached or (limit is not None and self.reading[0] > limit)
            clock.pause_since(self.reading)

        def _stop(self) -> None:
            self.reading = clock.read()
            self.over = True

        def outcome(self) -> dict[str, Any]:
            wall, cpu = self.reading
            fitness = self.curve[-1][2] if self.curve else None
            steps = self.curve[-1][0] if self.reached else self.num_timesteps
            return {"reached": self.reached, "seconds": wall, "cpu_seconds": cpu, "timesteps": steps,
                    "fitness": fitness, "curve": self.curve}  # fmt: skip

    return Judge()


def judging(goal: Goal, seed: int) -> Callable[[Any], float]:
    """A function from a model to its mean fitness over new episodes, as box B measures it."""
    import numpy as np
    from safetensors.numpy import load

    from eureka_sandbox.protocol import EnvironmentSpec
    from eureka_sandbox.worker.envs.simulation import Simulation
    from eureka_sandbox.worker.policy import NumpyPolicy
    from eureka_sandbox.worker.policy_sb3 import export_policy
    from eureka_sandbox.worker.scoring import Rollout
    from eureka_sandbox.worker.task_code import load_task_code

    environment = EnvironmentSpec(body=goal.body, max_episode_steps=goal.episode_steps)
    simulation = Simulation(goal.body, JUDGE_EPISODES, goal.episode_steps)
    task, rng = load_task_code(TASKS / goal.task / "task.py"), np.random.default_rng([seed, JUDGE_STREAM])

    def fitness(model: Any) -> float:
        weights, meta = export_policy(model, body=goal.body)
        seeds = [int(s) for s in rng.integers(2**32, size=JUDGE_EPISODES)]
        episodes = Rollout(simulation, environment, task, NumpyPolicy(load(weights), meta), seeds).run()
        return float(np.mean([task.fitness(episode) for episode in episodes]))

    return fitness
