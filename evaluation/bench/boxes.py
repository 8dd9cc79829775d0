"""One real box A and, if asked for, box B: what a learner reaches and what a worker takes of the machine's memory."""

from __future__ import annotations

import resource
import threading
import time
from typing import Any

from eureka_sandbox.backends import forked

SCORE_EPISODES = 30
SCORE_STREAM = 2
"""Scoring seeds come from the generator of `[training seed, SCORE_STREAM]`."""


def train(body: str, episode_steps: int, hyperparameters: dict[str, Any], timesteps: int, seed: int) -> dict[str, Any]:
    """Peak memory of a training box, MB, and what the first one and a later one take besides their training, s."""
    asked = (_box_a(body, episode_steps, hyperparameters, timesteps, "fused", seed) for _ in range(2))
    (first, first_seconds), (later, later_seconds) = asked
    return {
        "memory_mb": _memory_mb(),
        "first_seconds": first_seconds - first.result.seconds,
        "later_seconds": later_seconds - later.result.seconds,
        "box_seconds": later_seconds,
    }


def train_and_score(task: str, learner: str, timesteps: int, seed: int) -> dict[str, Any]:
    """Train on the native reward and score the exported policy on fresh seeds; one fitness per episode."""
    import numpy as np

    from eureka_agent.contract.task import load_task
    from eureka_sandbox.protocol import ScoreSpec

    known = load_task(task)
    environment, recipe = known.environment, known.spec.training.hyperparameters
    trained, seconds = _box_a(environment.body, environment.max_episode_steps, recipe, timesteps, learner, seed)
    memory_mb = _memory_mb()
    seeds = np.random.default_rng([seed, SCORE_STREAM]).integers(2**32, size=SCORE_EPISODES)
    spec = ScoreSpec(environment=environment, seeds=tuple(int(s) for s in seeds), record_episodes=0)
    scored, _ = _run(spec, {"task.py": known.files["task.py"], **trained.blobs})
    return {
        "fitness": scored.result.fitness,
        "seconds": seconds,
        "startup_seconds": trained.result.startup_seconds,
        "steps_per_second": trained.result.timesteps / trained.result.seconds,
        "memory_mb": memory_mb,
    }


def _memory_mb() -> float:
    """Of the largest process so far, which is a training."""
    forked.close_all()  # what a forkserver has waited for is told once it has been waited for itself
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6


def _box_a(
    body: str, episode_steps: int, hyperparameters: dict[str, Any], timesteps: int, learner: str, seed: int
) -> tuple[Any, float]:
    from eureka_sandbox.protocol import EnvironmentSpec, TrainSpec

    spec = TrainSpec.model_validate(
        {
            "environment": EnvironmentSpec(body=body, max_episode_steps=episode_steps),
            "learner": learner,
            "hyperparameters": hyperparameters,
            "total_timesteps": timesteps,
            "seed": seed,
        }
    )
    return _run(spec, {})


def _run(spec: Any, files: dict[str, bytes]) -> tuple[Any, float]:
    """The `Finished` of one box, and seconds from when it was asked for; a box that fails ends the measurement."""
    from eureka_sandbox.backends import make_sandbox
    from eureka_sandbox.protocol import Failed, Job

    asked = time.monotonic()
    outcome = make_sandbox("embedded").run(Job(spec, files), lambda progress: None, threading.Event())
    if isinstance(outcome, Failed):
        raise RuntimeError(f"the box failed after {outcome.seconds:.0f} s: {outcome.failure}")
    return outcome, time.monotonic() - asked
