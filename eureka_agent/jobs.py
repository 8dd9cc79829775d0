"""What a box is asked to do, as values: train on a reward (box A), or score a policy (box B). And one job run alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from eureka_agent.errors import EnvironmentMissing
from eureka_agent.settings import Recipe
from eureka_agent.task import Task
from eureka_sandbox.protocol import (
    Job,
    Limits,
    Outcome,
    Progress,
    Sandbox,
    SandboxError,
    ScoreSpec,
    TrainSpec,
    VideoSpec,
)


def train_job(
    task: Task,
    recipe: Recipe,
    reward: str | None,
    seed: int,
    timesteps: int | None = None,
    limits: Limits | None = None,
) -> Job:
    """A training on a reward's code (None: the environment's own), for the recipe's environment steps or others."""
    spec = TrainSpec(
        environment=task.environment,
        algorithm=recipe.algorithm,
        learner=recipe.learner,
        hyperparameters=recipe.hyperparameters,
        total_timesteps=timesteps or recipe.timesteps,
        seed=seed,
    )
    files = {"task.py": task.files["task.py"]} | ({"reward.py": reward.encode()} if reward is not None else {})
    return Job(spec, files, limits or Limits())


def score_job(
    task: Task,
    seeds: Sequence[int],
    policy: Mapping[str, bytes],
    video: VideoSpec | None = None,
    limits: Limits | None = None,
) -> Job:
    """A scoring, one episode per reset seed, of a policy's two files (none of them: uniform random actions)."""
    spec = ScoreSpec(environment=task.environment, seeds=tuple(seeds), video=video)
    return Job(spec, {"task.py": task.files["task.py"], **policy}, limits or Limits())


def run_alone(
    sandbox: Sandbox,
    job: Job,
    listen: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run a job that belongs to no search; those of a search are the lab's.

    Raises:
        EnvironmentMissing: the sandbox itself failed.
        JobStopped: `stop` was set.
    """
    try:
        return sandbox.run(job, listen, stop or threading.Event())
    except SandboxError as error:
        raise EnvironmentMissing(
            f"the sandbox failed: {error}; `eureka doctor` says what this machine lacks"
        ) from error
