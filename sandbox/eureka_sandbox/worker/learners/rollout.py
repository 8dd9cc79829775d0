"""What a rollout computes per step and, in one batch each, after its last step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from eureka_sandbox.worker.learners.network import IN_PLACE, Float32, Network, numpy_mlp

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Actor:
    """The policy's networks in NumPy, with the parameters of one rollout's start, for N environments."""

    def __init__(self, policy: ActorCriticPolicy, network: Network, num_envs: int) -> None:
        self.log_std, pi, self._vf = network.parts([p.detach().numpy().copy() for p in policy.parameters()])
        self._activation, self._shape = network.activation, (-1, network.observation_size)
        # Contiguous weights and arrays of equal shape: NumPy takes half the time on arrays this small.
        self._pi = [
            (np.ascontiguousarray(weight.T), np.tile(bias, (num_envs, 1)), np.empty((num_envs, len(bias)), np.float32))
            for weight, bias in zip(pi[::2], pi[1::2], strict=True)
        ]
        self._std = np.tile(np.exp(self.log_std), (num_envs, 1))
        self._noise = th.empty(num_envs, network.action_size)
        self.noise: Float32 = self._noise.numpy()
        """Standard normal deviates of the latest actions, `(N, A)`."""

    def sample(self, observations: NDArray[Any]) -> Float32:
        """Actions `(N, A)` before clipping. Draws from torch's global generator exactly what SB3's policy draws."""
        outputs, activate = self._inputs(observations), IN_PLACE[self._activation]
        for depth, (weight, bias, buffer) in enumerate(self._pi):
            if depth:
                activate(outputs)
            outputs = np.dot(outputs, weight, out=buffer)
            outputs += bias
        self._noise.normal_()
        actions: Float32 = outputs + self.noise * self._std
        return actions

    def values(self, observations: NDArray[Any]) -> Float32:
        """V(s) of observations `(B, *shape)` → `(B,)`."""
        return numpy_mlp(self._vf, self._inputs(observations), self._activation)[:, 0]

    def log_prob(self, noise: Float32) -> Float32:
        """log π(a|s) of the actions sampled with this noise, `(…, A)` → `(…,)`."""
        log_prob: Float32 = -(0.5 * noise**2 + self.log_std + HALF_LOG_TWO_PI).sum(axis=-1)
        return log_prob

    def _inputs(self, observations: NDArray[Any]) -> Float32:
        return observations.reshape(self._shape).astype(np.float32, copy=False)


class Rollout:
    """Fills an empty rollout buffer: `add` per step only stores, `finish` computes for all steps at once."""

    def __init__(self, buffer: RolloutBuffer, actor: Actor) -> None:
        self._buffer, self._actor = buffer, actor
        self._noise: Float32 = np.empty(buffer.actions.shape, np.float32)
        self._truncated: list[tuple[int, int]] = []
        self._terminal_observations: list[NDArray[Any]] = []

    def add(self, observations: NDArray[Any], actions: Float32, episode_starts: NDArray[np.bool_]) -> None:
        """Store one step of all environments but its rewards; the actor has just sampled these actions."""
        buffer, step = self._buffer, self._buffer.pos
        buffer.observations[step] = observations
        buffer.actions[step] = actions
        buffer.episode_starts[step] = episode_starts
        self._noise[step] = self._actor.noise
        buffer.pos = step + 1

    def note_truncations(self, dones: NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        """Remember the last states of the episodes that ran out of time in the step about to be added."""
        for i in dones.nonzero()[0].tolist():
            observation = infos[i].get("terminal_observation")
            if observation is not None and infos[i].get("TimeLimit.truncated", False):
                self._truncated.append((self._buffer.pos, i))
                self._terminal_observations.append(observation)

    def finish(self, last_observations: NDArray[Any], last_dones: NDArray[np.bool_]) -> Float32:
        """Log-probabilities, values, advantages and returns of all T steps, whose rewards are in the buffer.

        Args:
            last_observations: the states after step T, `(N, *shape)`, as the policy sees them.
            last_dones: whether step T ended an episode, `(N,)`.

        Returns:
            The values of the last observations, `(N,)`.
        """
        buffer, actor = self._buffer, self._actor
        buffer.log_probs[:] = actor.log_prob(self._noise)
        buffer.values[:] = actor.values(buffer.observations).reshape(buffer.values.shape)
        self._bootstrap()
        last_values = actor.values(last_observations)
        buffer.advantages[:] = generalized_advantages(
            buffer.rewards,
            np.concatenate([buffer.values, last_values[None]]),
            np.concatenate([buffer.episode_starts[1:], last_dones[None].astype(np.float32)]),
            buffer.gamma,
            buffer.gae_lambda,
        )
        buffer.returns = buffer.advantages + buffer.values
        buffer.full = True
        return last_values

    def _bootstrap(self) -> None:
        """Add γ V(s_T) to the last reward of episodes that ran out of time (https://arxiv.org/abs/1712.00378)."""
        if self._truncated:
            steps, envs = zip(*self._truncated, strict=True)
            values = self._actor.values(np.stack(self._terminal_observations))
            self._buffer.rewards[steps, envs] += np.float32(self._buffer.gamma) * values


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
