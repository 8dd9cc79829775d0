"""A trained SB3 model ↔ `policy.safetensors` + `policy.json`. No pickle on either way.

SB3's own `save` and `load` go through cloudpickle, which must never read what came out of a box. Outside of a box,
`python -m eureka_sandbox.worker.policy_sb3 FOLDER` writes SB3's own files from the arrays, for people to load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as save_arrays
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from eureka_sandbox.bodies import BODIES
from eureka_sandbox.worker.checkpoint import observation_statistics
from eureka_sandbox.worker.hyperparameters import ACTIVATIONS, ALGORITHMS
from eureka_sandbox.worker.policy import META_FILE, NORMALIZER, WEIGHTS_FILE, NumpyPolicy, PolicyError, PolicyMeta


def export_policy(model: BaseAlgorithm, *, body: str, timesteps: int | None = None) -> tuple[bytes, PolicyMeta]:
    """Turn a model's policy into arrays and their description.

    Args:
        model: PPO, SAC or TD3 (or a subclass) with an `MlpPolicy`, and with its `VecNormalize` if it has one.
        body: the robot it was trained on.
        timesteps: environment steps behind these weights; None: all of the model's.

    Returns:
        The content of `policy.safetensors` (see `NumpyPolicy`), and of `policy.json`.
    """
    algorithm = next(name for name, known in ALGORITHMS.items() if isinstance(model, known))
    arrays = {n: t.detach().cpu().numpy().astype(np.float32) for n, t in model.policy.state_dict().items()}
    statistics = observation_statistics(model)
    clipping = {}
    if statistics:
        parts = (statistics.mean, statistics.var)
        arrays |= {n: np.ascontiguousarray(a, dtype=np.float64) for n, a in zip(NORMALIZER, parts, strict=True)}
        env = model.get_vec_normalize_env()
        clipping = {"clip_obs": env.clip_obs, "epsilon": env.epsilon} if env else {}
    policy: Any = model.policy
    bounds: Any = model.action_space
    meta = PolicyMeta(
        algorithm=algorithm,
        observation_size=int(np.prod(model.observation_space.shape or ())),
        action_low=[float(x) for x in bounds.low],
        action_high=[float(x) for x in bounds.high],
        net_arch=_net_arch(policy.net_arch, "vf" if algorithm == "ppo" else "qf"),
        activation=next(name for name, kind in ACTIVATIONS.items() if kind is policy.activation_fn),
        normalise=statistics is not None,
        **clipping,
        body=body,
        timesteps=model.num_timesteps if timesteps is None else timesteps,
    )
    return save_arrays(arrays), meta


def load_into_sb3(folder: Path, env: VecEnv | None = None) -> tuple[BaseAlgorithm, VecNormalize | None]:
    """Rebuild a stock SB3 model, and its `VecNormalize` (not training) if observations were normalised.

    Args:
        folder: holds `policy.safetensors` and `policy.json`; both are checked as `NumpyPolicy.load` does.
        env: environments for the model; None: one Gymnasium environment of the policy's body.

    Returns:
        The model, with exactly the saved parameters; `model.predict` takes `normalizer.normalize_obs(observation)`.

    Raises:
        PolicyError: the files do not hold together.
        ValueError: `env` is None and the body is unknown here.
    """
    meta = NumpyPolicy.load(folder).meta
    if env is None:
        env = _gymnasium_env(meta.body)
    normalizer = None
    if meta.normalise:
        normalizer = VecNormalize(env, training=False, norm_reward=False, clip_obs=meta.clip_obs, epsilon=meta.epsilon)
    arrays = _read_tensors(folder)
    kwargs: dict[str, Any] = {"net_arch": meta.net_arch, "activation_fn": ACTIVATIONS[meta.activation]}
    if meta.algorithm != "ppo":
        critics = {match[1] for name in arrays if (match := re.match(r"critic\.qf(\d+)\.", name))}
        kwargs["n_critics"] = len(critics)
    model = ALGORITHMS[meta.algorithm]("MlpPolicy", normalizer or env, policy_kwargs=kwargs, device="cpu")
    give_policy(model, arrays, meta)
    model.num_timesteps = meta.timesteps
    return model, normalizer


def give_policy(model: BaseAlgorithm, arrays: Mapping[str, torch.Tensor], meta: PolicyMeta) -> None:
    """Give a model of the same shape the weights, and the observation statistics if it normalises.

    Raises:
        PolicyError: the model is of another shape, or normalises where the policy does not or the other way round.
    """
    statistics = observation_statistics(model)
    if (statistics is not None) != meta.normalise:
        raise PolicyError(f"{META_FILE}: normalise is {meta.normalise}, the model says otherwise")
    try:
        model.policy.load_state_dict({name: tensor for name, tensor in arrays.items() if name not in NORMALIZER})
    except RuntimeError as error:
        raise PolicyError(f"{WEIGHTS_FILE}: {' '.join(str(error).split())}") from error
    if statistics:
        statistics.mean, statistics.var = (arrays[name].numpy().copy() for name in NORMALIZER)
        statistics.count = float(max(meta.timesteps, 1))  # going on with training must not forget them at once


def save_for_sb3(folder: Path) -> None:
    """Write `policy.zip`, and `vecnormalize.pkl` if observations were normalised, beside the arrays in `folder`.

    Both are SB3's own formats, which stock SB3 loads; nothing in them refers to this package.

    Raises:
        PolicyError: the files do not hold together.
        ValueError: the body is unknown here.
    """
    model, normalizer = load_into_sb3(folder)
    model.save(folder / "policy.zip")
    if normalizer:
        normalizer.save(str(folder / "vecnormalize.pkl"))


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load as load_tensors

    tensors: dict[str, torch.Tensor] = load_tensors((folder / WEIGHTS_FILE).read_bytes())
    return tensors


def _net_arch(value: Any, critic: str) -> dict[str, list[int]]:
    widths = value if isinstance(value, dict) else {"pi": value, critic: value}
    return {part: list(widths[part]) for part in ("pi", critic)}


def _gymnasium_env(body: str) -> VecEnv:
    import gymnasium

    if body not in BODIES:
        raise ValueError(f"{META_FILE}: unknown body {body!r}; pass the environment to load the policy for")
    return DummyVecEnv([lambda: gymnasium.make(BODIES[body].gymnasium_id)])


if __name__ == "__main__":
    import sys

    save_for_sb3(Path(sys.argv[1]))
