"""What a rollout computes per step and, in one batch each, after its last step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from eureka_sandbox.worker.learners.network import Float32, Network, numpy_mlp

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Actor:
    """The policy's networks in NumPy, on the torch parameters' own memory, for one rollout of N environments."""

    def __init__(self, policy: ActorCriticPolicy, network: Network, num_envs: int) -> None:
        arrays = [parameter.detach().numpy() for parameter in policy.parameters()]
        self.log_std, self._pi, self._vf = network.parts(arrays)
        self._std = np.exp(self.log_std)
        self._activation = network.activation
        self._shape = (-1, network.observation_size)
        self._noise = th.empty(num_envs, network.action_size)
        self.noise: Float32 = self._noise.numpy()
        """Standard normal deviates of the latest actions, `(N, A)`."""

    def sample(self, observations: NDArray[Any]) -> Float32:
        """Actions `(N, A)` before clipping. Draws from torch's global generator exactly what SB3's policy draws."""
        mean = numpy_mlp(self._pi, self._inputs(observations), self._activation)
        self._noise.normal_()
        mean += self.noise * self._std
        return mean

    def values(self, observations: NDArray[Any]) -> Float32:
        """V(s) of observations `(B, *shape)` → `(B,)`."""
        return numpy_mlp(self._vf, self._inputs(observations), self._activation)[:, 0]

    def log_prob(self, noise: Float32) -> Float32:
        """log π(a|s) of the actions sampled with this noise, `(…, A)` → `(…,)`."""
        log_prob: Float32 = -(0.5 * noise**2 + self.log_std + HALF_LOG_TWO_PI).sum(axis=-1)
        return log_prob

    def _inputs(self, observations: NDArray[Any]) -> Float32:
        return observations.reshape(self._shape).astype(np.float32, copy=False)


class Truncations:
    """Episodes that ran out of time: their last states' values are added to the last rewards after the rollout."""

    def __init__(self) -> None:
        self._where: list[tuple[int, int]] = []
        self._observations: list[NDArray[Any]] = []

    def note(self, step: int, dones: NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        """Remember the truncated ones among the environments that are done."""
        for i in dones.nonzero()[0].tolist():
            observation = infos[i].get("terminal_observation")
            if observation is not None and infos[i].get("TimeLimit.truncated", False):
                self._where.append((step, i))
                self._observations.append(observation)

    def bootstrap(self, rewards: Float32, actor: Actor, gamma: float) -> None:
        """Add γ V(s_T) to the rewards `(T, N)` of truncated steps (https://arxiv.org/abs/1712.00378), in place."""
        if self._where:
            steps, envs = zip(*self._where, strict=True)
            rewards[steps, envs] += np.float32(gamma) * actor.values(np.stack(self._observations))


def finish(
    buffer: RolloutBuffer,
    actor: Actor,
    noise: Float32,
    truncations: Truncations,
    last_observations: NDArray[Any],
    last_dones: NDArray[np.bool_],
) -> Float32:
    """Fill in what needs no environment: log-probabilities, values, advantages, returns; last values `(N,)` back.

    Args:
        buffer: observations, actions, rewards and episode starts of all T steps are in place.
        actor: the networks that acted.
        noise: what the actions were sampled with, `(T, N, A)`.
        truncations: where time ran out.
        last_observations: the states after step T, `(N, *shape)`, as the policy sees them.
        last_dones: whether step T ended an episode, `(N,)`.
    """
    buffer.log_probs[:] = actor.log_prob(noise)
    buffer.values[:] = actor.values(buffer.observations).reshape(buffer.values.shape)
    truncations.bootstrap(buffer.rewards, actor, buffer.gamma)
    last_values = actor.values(last_observations)
    buffer.advantages[:] = generalized_advantages(
        buffer.rewards,
        np.concatenate([buffer.values, last_values[None]]),
        np.concatenate([buffer.episode_starts[1:], last_dones[None].astype(np.float32)]),
        buffer.gamma,
        buffer.gae_lambda,
    )
    buffer.returns = buffer.advantages + buffer.values
    buffer.pos, buffer.full = buffer.buffer_size, True
    return last_values


def generalized_advantages(
    rewards: Float32, values: Float32, dones: Float32, gamma: float, gae_lambda: float
) -> Float32:
    """GAE(λ), PPO's eq. 11-12: rewards `(T, N)`, values `(T + 1, N)`, dones `(T, N)` after each step → `(T, N)`."""
    alive = 1.0 - dones
    advantages: Float32 = rewards + gamma * values[1:] * alive - values[:-1]  # δ, eq. 12
    decay = gamma * gae_lambda * alive
    for t in range(len(advantages) - 2, -1, -1):
        advantages[t] += decay[t] * advantages[t + 1]
    return advantages
