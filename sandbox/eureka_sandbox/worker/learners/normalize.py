"""`VecNormalize`'s step without its overhead: the same floating-point operations in the same order, on its own state.

The wrapper's `obs_rms`, `ret_rms`, `returns`, `old_obs` and `old_reward` are what they would be after its own `step`,
so that saving, exporting and evaluation callbacks need not know. Bitwise equality is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

Step = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]


def lean_step(env: VecEnv) -> Callable[[NDArray[Any]], Step]:
    """The environment's `step`; for a plain `VecNormalize` over `Box` observations, the lean equivalent."""
    if type(env) is VecNormalize and isinstance(env.observation_space, spaces.Box):
        return partial(_normalized_step, env, env.venv)
    return cast(Callable[[NDArray[Any]], Step], env.step)


def _normalized_step(env: VecNormalize, venv: VecEnv, actions: NDArray[Any]) -> Step:
    observations, rewards, dones, infos = cast(Step, venv.step(actions))
    env.old_obs, env.old_reward = observations, rewards
    if env.training:
        if env.norm_obs:
            update_vector(_observation_statistics(env), observations)
        env.returns = env.returns * env.gamma + rewards
        update_scalar(env.ret_rms, env.returns)
    if dones.any():
        for i in dones.nonzero()[0]:
            if "terminal_observation" in infos[i]:
                infos[i]["terminal_observation"] = normalize(env, infos[i]["terminal_observation"])
        env.returns[dones] = 0
    return normalize(env, observations), normalize_reward(env, rewards), dones, infos


def normalize(env: VecNormalize, observations: NDArray[Any]) -> NDArray[Any]:
    """`VecNormalize.normalize_obs` for `Box` observations: always a new array, float32 if normalised."""
    if not env.norm_obs:
        return observations.copy()
    rms = _observation_statistics(env)
    return _clipped((observations - rms.mean) / np.sqrt(rms.var + env.epsilon), env.clip_obs)


def normalize_reward(env: VecNormalize, rewards: NDArray[Any]) -> NDArray[np.float32]:
    """`VecNormalize.normalize_reward`: rewards `(N,)` over the standard deviation of the discounted return, clipped."""
    if not env.norm_reward:
        return rewards.astype(np.float32)
    return _clipped(rewards / np.sqrt(env.ret_rms.var + env.epsilon), env.clip_reward)


def _clipped(scaled: NDArray[Any], limit: float) -> NDArray[np.float32]:
    np.maximum(scaled, -limit, out=scaled)  # a third of the time of np.clip on arrays this small
    np.minimum(scaled, limit, out=scaled)
    return scaled.astype(np.float32)


def _observation_statistics(env: VecNormalize) -> RunningMeanStd:
    assert isinstance(env.obs_rms, RunningMeanStd)  # a dict only for Dict observations
    return env.obs_rms


def update_vector(rms: RunningMeanStd, batch: NDArray[Any]) -> None:
    """`RunningMeanStd.update` for a batch `(N, *shape)` (Chan et al. 1979, parallel variance)."""
    n = len(batch)
    batch_mean = np.add.reduce(batch, 0) / n
    deviations = batch - batch_mean
    deviations *= deviations
    batch_m2 = np.add.reduce(deviations, 0) / n * n
    delta = batch_mean - rms.mean
    total = rms.count + n
    rms.mean = rms.mean + delta * n / total
    between = np.square(delta)
    between *= rms.count
    between *= n
    between /= total
    m2 = rms.var * rms.count
    m2 += batch_m2
    m2 += between
    m2 /= total
    rms.var, rms.count = m2, total


def update_scalar(rms: RunningMeanStd, batch: NDArray[np.float64]) -> None:
    """`RunningMeanStd.update` for a batch `(N,)` of scalars; Python floats are the same doubles, and cheaper."""
    n = len(batch)
    batch_mean = float(np.add.reduce(batch)) / n
    deviations = batch - batch_mean
    deviations *= deviations
    batch_m2 = float(np.add.reduce(deviations)) / n * n
    mean, variance = float(rms.mean), float(rms.var)
    delta = batch_mean - mean
    total = rms.count + n
    m2 = variance * rms.count + batch_m2 + delta * delta * rms.count * n / total
    rms.mean = np.float64(mean + delta * n / total)  # type: ignore[assignment]  # SB3's own type after an update
    rms.var = np.float64(m2 / total)  # type: ignore[assignment]
    rms.count = total
