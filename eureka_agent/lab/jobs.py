"""What a box is asked to do, as values: train on a reward (box A), score a policy (box B), or try a reward on a bank.

And one job run alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from eureka_agent.contract.task import Task
from eureka_agent.errors import EnvironmentMissing
from eureka_agent.lab.proof import prove_once
from eureka_agent.settings import Recipe
from eureka_sandbox.bank import BANK_FILE
from eureka_sandbox.hyperparameters import steps_per_update
from eureka_sandbox.protocol import (
    Job,
    Limits,
    Outcome,
    Progress,
    Report,
    Sandbox,
    SandboxError,
    ScoreSpec,
    SheetSpec,
    SmokeSpec,
    TrainSpec,
    Variation,
    VideoSpec,
)

SLOWEST_STEPS_PER_SECOND = {"ppo": 200, "sac": 20, "td3": 20}
"""For the wall limit: far below any machine on which a search makes sense."""
STARTUP_SECONDS = 180
CHECKPOINT_SECONDS = 30.0
"""Between two checkpoints of a training: with one rollout on top, a killed box loses a minute at the very most."""
SILENCE_SECONDS = 120
"""Longest time without progress in a training, beside what its recipe makes longer; the start takes 1 to 20 s."""


def train_job(
    task: Task,
    recipe: Recipe,
    reward: str | None,
    seed: int,
    timesteps: int | None = None,
    limits: Limits | None = None,
    checkpoint_seconds: float | None = None,
    stop_at: int | None = None,
) -> Job:
    """A training on a reward's code (None: the environment's own), for the recipe's environment steps or others.

    `stop_at` ends the box earlier, with a checkpoint from which a later one goes on.
    """
    spec = TrainSpec(
        environment=task.environment,
        algorithm=recipe.algorithm,
        learner=recipe.learner,
        hyperparameters=recipe.hyperparameters,
        total_timesteps=timesteps or recipe.timesteps,
        seed=seed,
        checkpoint_seconds=checkpoint_seconds,
        stop_at=stop_at,
    )
    files = {"task.py": task.files["task.py"]} | ({"reward.py": reward.encode()} if reward is not None else {})
    return Job(spec, files, limits or Limits())


def warm_up_job(task: Task, recipe: Recipe, limits: Limits) -> Job:
    """The shortest training that compiles all that the recipe's trainings will: on the environment's own reward."""
    return replace(train_job(task, recipe, None, seed=0, timesteps=1, limits=limits), warm_up=True)


def training_limits(recipe: Recipe, memory_mb: int, wall_seconds: float | None = None) -> Limits:
    """What a training of the recipe may use, on the slowest machine on which a search makes sense.

    Silence follows from the recipe: no progress is sent while the policy is updated.
    """
    slowest = SLOWEST_STEPS_PER_SECOND[recipe.algorithm]
    return Limits(
        wall_seconds=wall_seconds or STARTUP_SECONDS + recipe.timesteps / slowest,
        silence_seconds=SILENCE_SECONDS + steps_per_update(recipe.algorithm, recipe.hyperparameters) / slowest,
        memory_mb=memory_mb,
    )


def score_job(
    task: Task,
    seeds: Sequence[int],
    policy: Mapping[str, bytes],
    video: VideoSpec | None = None,
    limits: Limits | None = None,
    idle: bool = False,
    record_episodes: int = 3,
    variation: Variation | None = None,
    sheet: SheetSpec | None = None,
) -> Job:
    """A scoring, one episode per reset seed, of a policy's two files (none: uniform random actions, or zero ones)."""
    spec = ScoreSpec(
        environment=task.environment,
        seeds=tuple(seeds),
        video=video,
        idle=idle,
        record_episodes=record_episodes,
        variation=variation,
        sheet=sheet,
    )
    return Job(spec, {"task.py": task.files["task.py"], **policy}, limits or Limits())


def smoke_job(task: Task, code: str, bank: bytes, limits: Limits | None = None) -> Job:
    """Two passes of a reward's code over a bank of recorded transitions, in two orders; a box without a simulator."""
    spec = SmokeSpec(environment=task.environment)
    return Job(spec, {"reward.py": code.encode(), BANK_FILE: bank}, limits or Limits())


def judging_job(task: Task, code: str, bank: bytes, probes: int, limits: Limits | None = None) -> Job:
    """Everything that a reward's code gives on a bank whose last transitions are probes."""
    spec = SmokeSpec(environment=task.environment, batch=4096, values=True, probes=probes)
    return Job(spec, {"reward.py": code.encode(), BANK_FILE: bank}, limits or Limits())


def run_alone(
    sandbox: Sandbox,
    job: Job,
    listen: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Run a job that belongs to no search; those of a search are the lab's. The wall proves itself before the first.

    Raises:
        EnvironmentMissing: the sandbox itself failed, or its wall leaks.
        JobStopped: `stop` was set.
    """

    def hear(report: Report) -> None:
        if isinstance(report, Progress):
            listen(report)

    prove_once(sandbox)
    try:
        return sandbox.run(job, hear, stop or threading.Event())
    except SandboxError as error:
        raise EnvironmentMissing(
            f"the sandbox failed: {error}; `eureka doctor` says what this machine lacks"
        ) from error
