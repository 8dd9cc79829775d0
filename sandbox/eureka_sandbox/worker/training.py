"""Box A: train a policy on a candidate's reward with Stable-Baselines3.

Proximal policy optimisation (Schulman et al. 2017) unless the task asks for SAC or TD3. What the candidate gets wrong
becomes a `Failure`: before training a code error, during training a run-time error.
"""

from __future__ import annotations

import importlib
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from eureka_sandbox.bodies import BODIES, reward_shapes
from eureka_sandbox.protocol import Failure, TrainResult, TrainSpec, Verdict
from eureka_sandbox.worker.checkpoint import Checkpoint
from eureka_sandbox.worker.continuation import (
    Identity,
    Keeper,
    NotContinued,
    Training,
    continue_from,
    read_checkpoint,
)
from eureka_sandbox.worker.emit import Emitter, JobFailed
from eureka_sandbox.worker.envs.vec_env import RewardVecEnv
from eureka_sandbox.worker.hyperparameters import HyperparameterError, Recipe, recipe
from eureka_sandbox.worker.learners.lean_torch import skip_dynamo
from eureka_sandbox.worker.monitoring import CurveWriter, Halted, TrainingDiverged, TrainingMonitor
from eureka_sandbox.worker.policy import META_FILE, WEIGHTS_FILE
from eureka_sandbox.worker.policy_sb3 import export_policy
from eureka_sandbox.worker.reward import Reward, RewardError, load_reward, reward_failure
from eureka_sandbox.worker.task_code import load_task_code
from eureka_sandbox.worker.user_code import out_of_memory
from eureka_sandbox.worker.warm import read_warm, warm_start

LEARNERS = {
    ("ppo", "sb3"): "stable_baselines3:PPO",
    ("ppo", "fused"): "eureka_sandbox.worker.learners.fused_ppo:FusedPPO",
    ("sac", "sb3"): "stable_baselines3:SAC",
    ("td3", "sb3"): "stable_baselines3:TD3",
}
"""By (algorithm, learner). Only PPO has a fused learner; the others run on SB3 whichever is asked for."""
PACKAGES = ("torch", "stable-baselines3", "gymnasium", "mujoco", "numpy")
PEAK_OF_CHANGING_REWARD = 0.8
"""Part of the training before which no peak is looked for where the reward names `training_progress`: returns from
stages that pay differently cannot be compared, and the last stage is the one that counts."""


def train(spec: TrainSpec, folder: Path, emit: Emitter) -> tuple[TrainResult, dict[str, bytes]]:
    """Train as `spec` says, on `reward.py` in `folder` (absent: the native reward), with `task.py` if it is there.

    Returns:
        The result, and the blobs `policy.safetensors` and `policy.json`.

    Raises:
        JobFailed: the reward or the hyperparameters cannot be used, or the policy diverged.
        TaskCodeError: `task.py` cannot be used.
    """
    torch.set_num_threads(1)
    identity = Identity.of(spec, folder)
    with _failures(Verdict.CODE_ERROR):
        training, note = _prepare(spec, folder, emit, identity)
    model, monitor, curves = training.model, training.monitor, training.curves
    keeper = Keeper(training, identity, emit)
    if spec.checkpoint_seconds is not None:
        monitor.keep_every(spec.checkpoint_seconds, keeper)
    if spec.stop_at is not None:
        monitor.stop_at(spec.stop_at)
    resumed_at = model.num_timesteps
    started = time.monotonic()
    with _failures(Verdict.RUNTIME_ERROR):
        _learn(model, spec.total_timesteps, monitor)
    seconds = monitor.earlier_seconds + time.monotonic() - started
    if curves.last_step != model.num_timesteps:
        model.dump_logs()
    kept = monitor.peak.best or Checkpoint.of(model, monitor.recent.mean_return())
    kept.restore(model)
    weights, meta = export_policy(model, body=spec.environment.body, timesteps=kept.timesteps)
    result = TrainResult(
        timesteps=model.num_timesteps,
        seconds=seconds,
        startup_seconds=monitor.startup_seconds,
        peak_timesteps=kept.timesteps,
        peak_return=kept.mean_return,
        curves=curves.curves(),
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        resumed_at=resumed_at,
        checkpoint_note=note or keeper.note,
    )
    return result, {WEIGHTS_FILE: weights, META_FILE: meta.model_dump_json(indent=2).encode()}


def _prepare(spec: TrainSpec, folder: Path, emit: Emitter, identity: Identity) -> tuple[Training, str]:
    """A training at its start, or where the job's checkpoint left it; and why that was not used, or not wholly."""
    note = ""
    try:
        found = read_checkpoint(folder, identity)  # before any of the job's code can touch it
        training = _build(spec, folder, emit)
        if found:
            note = continue_from(found, training)
    except NotContinued as reason:
        return _build(spec, folder, emit), f"the training began again, its checkpoint could not be used: {reason}"
    return training, note


def _build(spec: TrainSpec, folder: Path, emit: Emitter) -> Training:
    """Environments, model and what watches them; the reward has seen a first batch."""
    warm = read_warm(folder)  # before any of the job's code can touch it
    env, reward, plan = _build_env(spec, folder)
    model = _build_model(spec, plan, VecNormalize(env, **plan.normalize) if plan.normalize else env)
    curves = CurveWriter()
    model.set_logger(Logger(None, [curves]))
    warm_start(model, warm)
    monitor = TrainingMonitor(emit, spec.total_timesteps, spec.progress_seconds)
    env.progress = lambda: min(model.num_timesteps / spec.total_timesteps, 1.0)
    if env.tells_progress:
        monitor.peak_from = math.ceil(PEAK_OF_CHANGING_REWARD * spec.total_timesteps)
    return Training(model, env, reward, monitor, curves)


def _build_env(spec: TrainSpec, folder: Path) -> tuple[RewardVecEnv, Reward | None, Recipe]:
    task = load_task_code(folder / "task.py") if (folder / "task.py").exists() else None
    reward: Reward | None = None
    if (folder / "reward.py").exists():
        reward = load_reward(folder / "reward.py", reward_shapes(spec.environment))
    action_size = BODIES[spec.environment.body].action_size
    plan = recipe(spec.algorithm, spec.hyperparameters, action_size, spec.total_timesteps)
    env = RewardVecEnv(spec.environment, task, reward, plan.n_envs, spec.seed)
    env.reset()
    env.step(np.zeros((plan.n_envs, action_size), dtype=np.float32))  # the reward's first batch; learn() resets again
    return env, reward, plan


def _learner(spec: TrainSpec) -> type[BaseAlgorithm]:
    learner = spec.learner if spec.algorithm == "ppo" else "sb3"
    module, _, name = LEARNERS[spec.algorithm, learner].partition(":")
    found: type[BaseAlgorithm] = getattr(importlib.import_module(module), name)
    return found


def _build_model(spec: TrainSpec, plan: Recipe, env: VecEnv) -> BaseAlgorithm:
    skip_dynamo()
    try:
        return _learner(spec)("MlpPolicy", env, seed=spec.seed, device="cpu", **plan.model)
    except (AssertionError, TypeError, ValueError) as error:
        raise HyperparameterError(str(error)) from error


def _learn(model: BaseAlgorithm, total_timesteps: int, monitor: TrainingMonitor) -> None:
    """`model.learn`, with a policy of NaNs named as what it is: SB3 raises whatever breaks on it first."""
    try:
        done = model.num_timesteps  # more than 0 where a checkpoint is continued
        model.learn(total_timesteps - done, callback=monitor, reset_num_timesteps=not done)
    except Halted:
        pass
    except (ValueError, RuntimeError, FloatingPointError, RewardError):  # that of actions that are NaN
        monitor.check_finite()
        raise
    monitor.check_finite()
    monitor.report()


@contextmanager
def _failures(verdict: Verdict) -> Iterator[None]:
    """Turn what the job got wrong into a `JobFailed`: reward errors get `verdict`."""
    try:
        yield
    except RewardError as error:
        raise JobFailed(reward_failure(error, verdict)) from error
    except HyperparameterError as error:
        message = f"hyperparameters: {error}"[:1000]
        raise JobFailed(Failure(verdict=Verdict.CODE_ERROR, message=message, file="task.yaml")) from error
    except TrainingDiverged as error:
        raise JobFailed(Failure(verdict=Verdict.RUNTIME_ERROR, message=str(error))) from error
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            message = "out of memory while training; lower n_envs, n_steps, buffer_size or net_arch"
            raise JobFailed(Failure(verdict=Verdict.MEMORY, message=message)) from error
        raise
