"""Names and values that a task's hyperparameters may have, in the style of rl-zoo. Plain data, known to host and box.

Beside the algorithm's own arguments (Stable-Baselines3's) a task may set `n_envs`, `normalize`, `policy_kwargs`,
`noise_type`, `noise_std`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Algorithm = Literal["ppo", "sac", "td3"]

DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": {
        "learning_rate": 3e-4,
        "n_steps": 2048,
        "batch_size": 64,
        "n_epochs": 10,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "clip_range": 0.2,
        "clip_range_vf": None,
        "normalize_advantage": True,
        "ent_coef": 0.0,
        "vf_coef": 0.5,
        "max_grad_norm": 0.5,
        "target_kl": None,
    },
    "sac": {
        "learning_rate": 3e-4,
        "buffer_size": 1_000_000,
        "learning_starts": 100,
        "batch_size": 256,
        "tau": 0.005,
        "gamma": 0.99,
        "train_freq": 1,
        "gradient_steps": 1,
        "n_steps": 1,
        "ent_coef": "auto",
        "target_update_interval": 1,
        "target_entropy": "auto",
    },
    "td3": {
        "learning_rate": 1e-3,
        "buffer_size": 1_000_000,
        "learning_starts": 100,
        "batch_size": 256,
        "tau": 0.005,
        "gamma": 0.99,
        "train_freq": 1,
        "gradient_steps": 1,
        "n_steps": 1,
        "policy_delay": 2,
        "target_policy_noise": 0.2,
        "target_noise_clip": 0.5,
    },
}
"""Stable-Baselines3's own arguments with its defaults, as far as a task may set them."""
OURS = ("n_envs", "normalize", "policy", "policy_kwargs", "noise_type", "noise_std")
SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
"""May be `lin_3e-4`: linear from there to zero, as in rl-zoo."""
POLICY = {
    "ppo": ("net_arch", "activation_fn", "log_std_init", "ortho_init"),
    "sac": ("net_arch", "activation_fn", "log_std_init", "n_critics"),
    "td3": ("net_arch", "activation_fn", "n_critics"),
}
ACTIVATION_NAMES = ("tanh", "relu", "elu")
NOISE_NAMES = ("normal", "ornstein-uhlenbeck")
NORMALIZE = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon")
MAY_BE_ZERO_OR_LESS = ("gradient_steps", "learning_starts")
ABOVE_ZERO = ("clip_range_vf", "clip_obs", "clip_reward", "epsilon")
STOCK = {"ppo": ("tanh", [64, 64]), "sac": ("relu", [256, 256]), "td3": ("relu", [400, 300])}
"""Activation and hidden widths of a policy that names none, Stable-Baselines3's."""
CRITIC = {"ppo": "vf", "sac": "qf", "td3": "qf"}
MOST_ENVS = 4096
MOST_WIDTH = 4096
MOST_PARAMETERS = 12_000_000
"""Of all networks of a policy, which leaves its box in 48 MB."""
PPO_ENVS = 8
PPO_ROLLOUT = 2048
"""Stable-Baselines3's steps per PPO update; spread over eight environments unless the task says otherwise."""


class HyperparameterError(ValueError):
    """A hyperparameter that does not exist or has no sensible value; the message names it and what is possible."""


@dataclass(frozen=True)
class Linear:
    """A schedule that falls linearly from `initial` to zero over the training."""

    initial: float


@dataclass(frozen=True)
class Settled:
    """Hyperparameters with every name checked and every value of its type."""

    n_envs: int
    model: dict[str, Any]
    """The algorithm's own arguments; a schedule is a `Linear`."""
    policy: dict[str, Any]
    """Keys of `policy_kwargs`; `activation_fn` is one of `ACTIVATION_NAMES`."""
    normalize: dict[str, Any] | None
    """Arguments of `VecNormalize`; None: no normalisation."""
    noise: tuple[str, float] | None
    """Kind and standard deviation of SAC's and TD3's action noise."""


def settle(algorithm: Algorithm, given: Mapping[str, Any]) -> Settled:
    """Check hyperparameters as in task.yaml; PPO without `n_envs`, `n_steps`, `normalize` gets 8, 2048 / n_envs, true.

    Raises:
        HyperparameterError: an unknown name (with the closest known one) or an impossible value.
    """
    defaults = DEFAULTS[algorithm]
    _known("hyperparameter", given, (*defaults, *OURS))
    if given.get("policy", "MlpPolicy") != "MlpPolicy":
        raise HyperparameterError(f"policy: only MlpPolicy, got {given['policy']!r}")
    n_envs = _integer("n_envs", given.get("n_envs", PPO_ENVS if algorithm == "ppo" else 1), most=MOST_ENVS)
    model = {name: _value(name, given[name], defaults[name]) for name in given if name in defaults}
    if algorithm == "ppo":
        model.setdefault("n_steps", max(2, PPO_ROLLOUT // n_envs))
        _enough_to_normalise(n_envs, DEFAULTS["ppo"] | model)
    elif n_envs > 1 and isinstance(model.get("train_freq"), tuple) and model["train_freq"][1] == "episode":
        raise HyperparameterError(f"train_freq: whole episodes need n_envs 1, it is {n_envs}; give steps instead")
    policy = _policy_kwargs(algorithm, given.get("policy_kwargs", {}))
    noise = _noise(given)
    if noise is not None and algorithm == "ppo":
        raise HyperparameterError("noise_type: PPO explores by its own noise; only SAC and TD3 take it")
    gamma = model.get("gamma", defaults["gamma"])
    return Settled(n_envs, model, policy, _normalize(given.get("normalize", algorithm == "ppo"), gamma), noise)


def parameters(algorithm: Algorithm, settled: Settled, observation: int, action: int) -> int:
    """Numbers in all networks of Stable-Baselines3's policy, critics and SAC's and TD3's targets included."""
    arch = net_arch(algorithm, settled)
    pi, critic = arch["pi"], arch[CRITIC[algorithm]]
    actor = _dense([observation, *pi, action])
    if algorithm == "ppo":
        return actor + action + _dense([observation, *critic, 1])  # and the noise's log std
    critics = int(settled.policy.get("n_critics", 2)) * _dense([observation + action, *critic, 1])
    if algorithm == "sac":
        return actor + _dense([pi[-1] if pi else observation, action]) + 2 * critics  # and the noise's head
    return 2 * (actor + critics)


def net_arch(algorithm: Algorithm, settled: Settled) -> dict[str, list[int]]:
    """Hidden widths of actor and critic, Stable-Baselines3's where none are given."""
    widths = STOCK[algorithm][1]
    arch: dict[str, list[int]] = settled.policy.get("net_arch", {"pi": widths, CRITIC[algorithm]: widths})
    return arch


def _dense(sizes: list[int]) -> int:
    """Weights and biases of linear layers, one after the other."""
    return sum((before + 1) * after for before, after in pairwise(sizes))


def _enough_to_normalise(n_envs: int, model: Mapping[str, Any]) -> None:
    """As Stable-Baselines3 asserts it: one advantage has no deviation."""
    for name, size in (("batch_size", model["batch_size"]), ("n_steps", n_envs * model["n_steps"])):
        if model["normalize_advantage"] and size < 2:
            raise HyperparameterError(f"{name}: a single advantage cannot be normalised; {name} 2 or more is needed")


def replay_transitions(algorithm: Algorithm, settled: Settled, total_timesteps: int) -> int:
    """Transitions that SAC's or TD3's replay buffer is built for: what could never fill only costs address space."""
    asked = settled.model.get("buffer_size", DEFAULTS[algorithm]["buffer_size"])
    return int(min(asked, total_timesteps + settled.n_envs))


def steps_at_once(algorithm: Algorithm, given: Mapping[str, Any]) -> int:
    """Environment steps that a training takes between two looks at whether it has had enough: a rollout.

    SAC and TD3 may be told to collect whole episodes, whose length nobody knows before; they count as one step.

    Raises:
        HyperparameterError: see `settle`.
    """
    settled = settle(algorithm, given)
    model = DEFAULTS[algorithm] | settled.model
    if algorithm == "ppo":
        return int(settled.n_envs * model["n_steps"])
    often, unit = model["train_freq"] if isinstance(model["train_freq"], tuple) else (model["train_freq"], "step")
    return int(settled.n_envs * often) if unit == "step" else 1


def steps_per_update(algorithm: Algorithm, given: Mapping[str, Any]) -> float:
    """How many environment steps' worth of work one update of the policy is, during which no step is taken.

    PPO's ten epochs count as much as collecting the rollout; SAC and TD3 as if every gradient step were one of theirs.

    Raises:
        HyperparameterError: see `settle`.
    """
    settled = settle(algorithm, given)
    model = DEFAULTS[algorithm] | settled.model
    if algorithm == "ppo":
        usual = DEFAULTS["ppo"]["n_epochs"]
        return float(settled.n_envs * model["n_steps"] * max(1.0, model["n_epochs"] / usual))
    collected = model["train_freq"][0] if isinstance(model["train_freq"], tuple) else model["train_freq"]
    return float(max(collected * settled.n_envs, model["gradient_steps"]))


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
    """One argument of the algorithm, of the type that its default has."""
    if name in SCHEDULES and isinstance(value, str) and value.startswith("lin_"):
        return Linear(_number(name, value.removeprefix("lin_")))
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
        kwargs["net_arch"] = _net_arch(kwargs["net_arch"], CRITIC[algorithm])
    if "activation_fn" in kwargs:
        kwargs["activation_fn"] = str(kwargs["activation_fn"]).removeprefix("nn.").lower()
        _known("activation_fn", [kwargs["activation_fn"]], ACTIVATION_NAMES)
    for name, check in (("log_std_init", _number), ("ortho_init", _flag), ("n_critics", _integer)):
        if name in kwargs:
            kwargs[name] = check(name, kwargs[name])
    return kwargs


def _net_arch(value: Any, critic: str) -> dict[str, list[int]]:
    widths = {"pi": value, critic: value} if isinstance(value, list) else value
    named = isinstance(widths, dict) and set(widths) == {"pi", critic}
    if not named or not all(isinstance(layers, list) for layers in widths.values()):
        raise HyperparameterError(f"net_arch: expected [64, 64] or {{pi: [64, 64], {critic}: [64, 64]}}, got {value!r}")
    return {part: [_integer("net_arch", width, most=MOST_WIDTH) for width in layers] for part, layers in widths.items()}


def _normalize(value: Any, gamma: float) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return {"gamma": gamma} if _flag("normalize", value) else None
    _known("key of normalize:", value, NORMALIZE)
    return {"gamma": gamma} | {n: (_flag if n.startswith("norm_") else _number)(n, v) for n, v in value.items()}


def _noise(given: Mapping[str, Any]) -> tuple[str, float] | None:
    if given.get("noise_type") is None:
        if given.get("noise_std") is not None:
            raise HyperparameterError("noise_std: give noise_type as well, normal or ornstein-uhlenbeck")
        return None
    _known("noise_type", [given["noise_type"]], NOISE_NAMES)
    return given["noise_type"], _number("noise_std", given.get("noise_std", 0.1))


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
    if name in ABOVE_ZERO and number <= 0:
        none = " (or null, for none)" * (name == "clip_range_vf")
        raise HyperparameterError(f"{name}: expected a number above 0{none}, got {value!r}")
    return number


def _integer(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    number = _number(name, value)
    if most is not None and number > most:
        raise HyperparameterError(f"{name}: at most {most}, got {value!r}")
    if number != int(number) or number < least:
        raise HyperparameterError(f"{name}: expected a whole number, at least {least}, got {value!r}")
    return int(number)
