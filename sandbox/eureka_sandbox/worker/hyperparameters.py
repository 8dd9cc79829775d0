"""Checked hyperparameters → keyword arguments of a Stable-Baselines3 algorithm. Plain mappings, never `eval`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from eureka_sandbox.hyperparameters import Algorithm, Linear, replay_transitions, settle
from eureka_sandbox.hyperparameters import HyperparameterError as HyperparameterError

ALGORITHMS: dict[str, type[PPO] | type[SAC] | type[TD3]] = {"ppo": PPO, "sac": SAC, "td3": TD3}
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}
NOISES = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}


@dataclass(frozen=True)
class Recipe:
    """What a training is built from."""

    n_envs: int
    normalize: dict[str, Any] | None
    """Keyword arguments of `VecNormalize`; None: no normalisation."""
    model: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the algorithm."""


def recipe(algorithm: Algorithm, given: dict[str, Any], action_size: int, total_timesteps: int) -> Recipe:
    """Check `given` and translate it.

    Args:
        algorithm: which one.
        given: as in task.yaml, see `hyperparameters.settle`.
        action_size: number of actuators.
        total_timesteps: environment steps of the whole training; a replay buffer is never larger.

    Raises:
        HyperparameterError: an unknown name (with the closest known one) or an impossible value.
    """
    settled = settle(algorithm, given)
    model = {name: _schedule(value) for name, value in settled.model.items()}
    if algorithm != "ppo":
        model["buffer_size"] = replay_transitions(algorithm, settled, total_timesteps)
    model["policy_kwargs"] = dict(settled.policy)
    if "activation_fn" in settled.policy:
        model["policy_kwargs"]["activation_fn"] = ACTIVATIONS[settled.policy["activation_fn"]]
    if settled.noise:
        model["action_noise"] = _noise(*settled.noise, action_size, settled.n_envs)
    return Recipe(settled.n_envs, settled.normalize, model)


def _schedule(value: Any) -> Any:
    return LinearSchedule(value.initial, 0.0, 1.0) if isinstance(value, Linear) else value


def _noise(kind: str, deviation: float, action_size: int, n_envs: int) -> ActionNoise:
    noise = NOISES[kind](np.zeros(action_size), deviation * np.ones(action_size))
    return noise if n_envs == 1 else VectorizedActionNoise(noise, n_envs)
