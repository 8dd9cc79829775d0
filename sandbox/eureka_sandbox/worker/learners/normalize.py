"""`VecNormalize` without its overhead: the same floating-point operations in the same order, on its own state.

The wrapper's `obs_rms`, `ret_rms`, `returns`, `old_obs` and `old_reward` are what they would be after its own `step`,
so that saving, exporting and evaluation callbacks need not know; where rewards are deferred, `ret_rms`, `returns` and
`old_reward` stand still until the rollout's end. Bitwise equality is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from eureka_sandbox.worker.envs.vec_env import RewardVecEnv

Step = tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], list[dict[str, Any]]]


class LeanSteps:
    """The steps of one rollout. A `RewardVecEnv` is asked for their rewards when it is over, in one call."""

    def __init__(self, env: VecEnv, steps: int) -> None:
        """Begin a rollout of at most `steps` steps; end it with `rewards`."""
        lean = type(env) is VecNormalize and isinstance(env.observation_space, spaces.Box)
        self._normalizer = cast(VecNormalize, env) if lean else None
        self._venv = cast(VecNormalize, env).venv if lean else env
        self._deferring = self._venv if isinstance(self._venv, RewardVecEnv) else None
        self._rewards: list[NDArray[Any]] = []
        self._dones: list[NDArray[np.bool_]] = []
        if self._deferring:
            self._deferring.defer_rewards(steps)

    def step(self, actions: NDArray[Any]) -> Step:
        """`env.step`, but that rewards are NaN where they are deferred."""
        observations, rewards, dones, infos = cast(Step, self._venv.step(actions))
        env = self._normalizer
        if env is not None:
            env.old_obs = observations
            if env.training and env.norm_obs:
                update_vector(_observation_statistics(env), observations)
            for i in dones.nonzero()[0]:
                if "terminal_observation" in infos[i]:
                    infos[i]["terminal_observation"] = normalize(env, infos[i]["terminal_observation"])
            observations = normalize(env, observations)
        self._dones.append(dones)
        if not self._deferring:
            rewards = rewards if env is None else normalize_rewards(env, rewards[None], [dones])[0]
            self._rewards.append(rewards.copy())
        return observations, rewards, dones, infos

    def rewards(self) -> NDArray[np.float32]:
        """What `env.step` would have given in each step, `(steps, N)`; deferred, they complete the infos.

        Raises:
            RewardError: the reward broke its contract.
        """
        if not self._deferring:
            return np.array(self._rewards, np.float32)
        paid = self._deferring.pay()
        return paid if self._normalizer is None else normalize_rewards(self._normalizer, paid, self._dones)


def normalize(env: VecNormalize, observations: NDArray[Any]) -> NDArray[Any]:
    """`VecNormalize.normalize_obs` for `Box` observations: always a new array, float32 if normalised."""
    if not env.norm_obs:
        return observations.copy()
    rms = _observation_statistics(env)
    return _clipped((observations - rms.mean) / np.sqrt(rms.var + env.epsilon), env.clip_obs)


def normalize_rewards(
    env: VecNormalize, rewards: NDArray[Any], dones: Sequence[NDArray[np.bool_]]
) -> NDArray[np.float32]:
    """`VecNormalize.normalize_reward` for consecutive steps: over the deviation of the discounted return, clipped.

    Args:
        env: its statistics go on.
        rewards: `(steps, N)`.
        dones: of each step, `(N,)`.

    Returns:
        `(steps, N)`.
    """
    env.old_reward = rewards[-1]
    variances = np.full(len(rewards), env.ret_rms.var)
    returns = np.empty(rewards.shape)
    running = env.returns
    for step, done in enumerate(dones):
        if env.training:
            running = running * env.gamma + rewards[step]
            returns[step] = running
        if done.any():
            running[done] = 0
    env.returns = running
    if env.training:
        variances[:] = update_scalar(env.ret_rms, returns)
    if not env.norm_reward:
        return rewards.astype(np.float32)
    return _clipped(rewards / np.sqrt(variances + env.epsilon)[:, None], env.clip_reward)


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


def update_scalar(rms: RunningMeanStd, batches: NDArray[np.float64]) -> list[float]:
    """`RunningMeanStd.update` for consecutive batches of scalars, `(steps, N)`; the variance after each of them."""
    n = batches.shape[1]
    means = np.add.reduce(batches, 1) / n
    m2s = np.add.reduce(np.square(batches - means[:, None]), 1) / n * n
    mean, variance, seen, variances = float(rms.mean), float(rms.var), rms.count, []
    for batch_mean, batch_m2 in zip(means.tolist(), m2s.tolist(), strict=True):  # Python floats: the same doubles
        delta = batch_mean - mean
        total = seen + n
        m2 = variance * seen + batch_m2 + delta * delta * seen * n / total
        mean, variance, seen = mean + delta * n / total, m2 / total, total
        variances.append(variance)
    rms.mean, rms.var = np.float64(mean), np.float64(variance)  # type: ignore[assignment]  # SB3's own type
    rms.count = seen
    return variances
