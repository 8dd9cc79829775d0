"""rl-zoo style hyperparameters → keyword arguments of a Stable-Baselines3 algorithm. Plain mappings, never `eval`.

Beside the algorithm's own arguments a task may set `n_envs`, `normalize`, `policy_kwargs`, `noise_type`, `noise_std`.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

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

ALGORITHMS: dict[str, type[PPO] | type[SAC] | type[TD3]] = {"ppo": PPO, "sac": SAC, "td3": TD3}
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}
NOISES = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
"""May be `lin_3e-4`: linear from there to zero, as in rl-zoo."""
OURS = ("n_envs", "normalize", "policy", "policy_kwargs", "noise_type", "noise_std")
POLICY = {
    "ppo": ("net_arch", "activation_fn", "log_std_init", "ortho_init"),
    "sac": ("net_arch", "activation_fn", "log_std_init", "n_critics"),
    "td3": ("net_arch", "activation_fn", "n_critics"),
}
NORMALIZE = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon")
WITHHELD = (
    *("policy", "env", "policy_kwargs", "action_noise", "stats_window_size", "tensorboard_log", "verbose", "seed"),
    *("device", "use_sde", "sde_sample_freq", "use_sde_at_warmup", "optimize_memory_usage", "rollout_buffer_class"),
    *("rollout_buffer_kwargs", "replay_buffer_class", "replay_buffer_kwargs", "monitor_wrapper", "_init_setup_model"),
)
"""Constructor arguments that are the trainer's business, or that `NumpyPolicy` could not follow."""
MAY_BE_ZERO_OR_LESS = ("gradient_steps", "learning_starts")
PPO_ROLLOUT = 2048
"""Stable-Baselines3's steps per PPO update; spread over eight environments unless the task says otherwise."""


class HyperparameterError(ValueError):
    """A hyperparameter that does not exist or has no sensible value; the message names it and what is possible."""


@dataclass(frozen=True)
class Recipe:
    """What a training is built from."""

    n_envs: int
    normalize: dict[str, Any] | None
    """Keyword arguments of `VecNormalize`; None: no normalisation."""
    model: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the algorithm."""


def recipe(
    algorithm: Literal["ppo", "sac", "td3"], given: dict[str, Any], action_size: int, total_timesteps: int
) -> Recipe:
    """Check `given` and translate it.

    Args:
        algorithm: whose constructor says which arguments exist.
        given: as in task.yaml. PPO without `n_envs`, `n_steps`, `normalize` gets 8, 2048 / n_envs and true.
        action_size: number of actuators.
        total_timesteps: environment steps of the whole training; a replay buffer is never larger.

    Raises:
        HyperparameterError: an unknown name (with the closest known one) or an impossible value.
    """
    arguments = {n: p for n, p in inspect.signature(ALGORITHMS[algorithm]).parameters.items() if n not in WITHHELD}
    _known("hyperparameter", given, (*arguments, *OURS))
    if given.get("policy", "MlpPolicy") != "MlpPolicy":
        raise HyperparameterError(f"policy: only MlpPolicy, got {given['policy']!r}")
    n_envs = _integer("n_envs", given.get("n_envs", 8 if algorithm == "ppo" else 1))
    model = {name: _value(name, given[name], arguments[name].default) for name in given if name in arguments}
    if algorithm == "ppo":
        model.setdefault("n_steps", max(2, PPO_ROLLOUT // n_envs))
    else:  # a buffer that could never fill only costs address space
        model["buffer_size"] = min(model.get("buffer_size", arguments["buffer_size"].default), total_timesteps + n_envs)
        if n_envs > 1 and isinstance(model.get("train_freq"), tuple) and model["train_freq"][1] == "episode":
            raise HyperparameterError(f"train_freq: whole episodes need n_envs 1, it is {n_envs}; give steps instead")
    model["policy_kwargs"] = _policy_kwargs(algorithm, given.get("policy_kwargs", {}))
    noise = _noise(given, action_size, n_envs)
    if noise is not None:
        if algorithm == "ppo":
            raise HyperparameterError("noise_type: PPO explores by its own noise; only SAC and TD3 take it")
        model["action_noise"] = noise
    gamma = model.get("gamma", arguments["gamma"].default)
    return Recipe(n_envs, _normalize(given.get("normalize", algorithm == "ppo"), gamma), model)


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = sorted(known)
    for name in names:
        if name not in known:
            if name == "n_timesteps":
                raise HyperparameterError("n_timesteps: the budget is training.timesteps, not a hyperparameter")
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise HyperparameterError(f"unknown {what} {str(name)[:60]!r}; {hint}known: {', '.join(known)}")


def _value(name: str, value: Any, default: Any) -> Any:
    """One constructor argument, of the type that its default has."""
    if name in SCHEDULES and isinstance(value, str) and value.startswith("lin_"):
        return LinearSchedule(_number(name, value.removeprefix("lin_")), 0.0, 1.0)
    if isinstance(default, str) and isinstance(value, str) and value.startswith(default):
        return value  # SAC's `auto`, and `auto_0.1` for an entropy coefficient that starts at 0.1
    if name == "train_freq":
        return _train_freq(value)
    if isinstance(default, bool):
        return _flag(name, value)
    if value is None and default is None:
        return None
    if isinstance(default, int):
        return _integer(name, value, least=-1 if name in MAY_BE_ZERO_OR_LESS else 1)
    return _number(name, value)


def _train_freq(value: Any) -> int | tuple[int, str]:
    if isinstance(value, (list, tuple)) and len(value) == 2 and value[1] in ("step", "episode"):
        return _integer("train_freq", value[0]), value[1]
    return _integer("train_freq", value)


def _policy_kwargs(algorithm: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise HyperparameterError(f"policy_kwargs: expected a mapping, got {str(given)[:60]!r}; it is never evaluated")
    _known("key of policy_kwargs:", given, POLICY[algorithm])
    kwargs = dict(given)
    if "net_arch" in kwargs:
        kwargs["net_arch"] = _net_arch(kwargs["net_arch"], "vf" if algorithm == "ppo" else "qf")
    if "activation_fn" in kwargs:
        name = str(kwargs["activation_fn"]).removeprefix("nn.").lower()
        _known("activation_fn", [name], ACTIVATIONS)
        kwargs["activation_fn"] = ACTIVATIONS[name]
    if "log_std_init" in kwargs:
        kwargs["log_std_init"] = _number("log_std_init", kwargs["log_std_init"])
    if "ortho_init" in kwargs:
        kwargs["ortho_init"] = _flag("ortho_init", kwargs["ortho_init"])
    if "n_critics" in kwargs:
        kwargs["n_critics"] = _integer("n_critics", kwargs["n_critics"])
    return kwargs


def _net_arch(value: Any, critic: str) -> dict[str, list[int]]:
    widths = {"pi": value, critic: value} if isinstance(value, list) else value
    named = isinstance(widths, dict) and set(widths) == {"pi", critic}
    if not named or not all(isinstance(layers, list) for layers in widths.values()):
        raise HyperparameterError(f"net_arch: expected [64, 64] or {{pi: [64, 64], {critic}: [64, 64]}}, got {value!r}")
    return {part: [_integer("net_arch", width) for width in layers] for part, layers in widths.items()}


def _normalize(value: Any, gamma: float) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return {"gamma": gamma} if _flag("normalize", value) else None
    _known("key of normalize:", value, NORMALIZE)
    return {"gamma": gamma} | {n: (_flag if n.startswith("norm_") else _number)(n, v) for n, v in value.items()}


def _noise(given: dict[str, Any], action_size: int, n_envs: int) -> ActionNoise | None:
    if given.get("noise_type") is None:
        if given.get("noise_std") is not None:
            raise HyperparameterError("noise_std: give noise_type as well, normal or ornstein-uhlenbeck")
        return None
    _known("noise_type", [given["noise_type"]], NOISES)
    deviation = _number("noise_std", given.get("noise_std", 0.1))
    noise = NOISES[given["noise_type"]](np.zeros(action_size), deviation * np.ones(action_size))
    return noise if n_envs == 1 else VectorizedActionNoise(noise, n_envs)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise HyperparameterError(f"{name}: expected true or false, got {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    """A finite number; YAML reads `3e-4` as text, people write it all the same."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise HyperparameterError(f"{name}: expected a number, got {value!r}")
    return number


def _integer(name: str, value: Any, least: int = 1) -> int:
    number = _number(name, value)
    if number != int(number) or number < least:
        raise HyperparameterError(f"{name}: expected a whole number, at least {least}, got {value!r}")
    return int(number)
