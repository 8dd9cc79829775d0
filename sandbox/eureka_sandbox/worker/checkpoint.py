"""Which policy of a training is kept: the one at the peak of the candidate's own smoothed return. No evaluation runs.

The return is the candidate's own reward summed over an episode: it chooses among the policies of one training and is
never compared between candidates. Policies often collapse late in a training (PPO on Hopper): the last is not the best.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd

LONGEST_WINDOW = 100
"""Episodes in a mean, as in SB3's `rollout/ep_rew_mean`."""
SHORTEST_WINDOW = 20
"""Fewer episodes than this say too little; no peak is looked for before."""
WINDOW_SHARE = 0.1
"""A window reaches no further back than this share of the training, lest long episodes hide a peak by their lag."""


@dataclass(frozen=True)
class FinishedEpisode:
    """One training episode."""

    timestep: int
    """Environment steps of the whole training when it ended."""
    total: float
    """Its return under the candidate's own reward."""
    length: int
    components: Mapping[str, float]
    """Sum of each reward component over the episode; empty for the native reward."""


class RecentEpisodes:
    """The last 100 finished episodes of a training of `total_timesteps` environment steps."""

    def __init__(self, total_timesteps: int) -> None:
        self._reach = WINDOW_SHARE * total_timesteps
        self._episodes: deque[FinishedEpisode] = deque(maxlen=LONGEST_WINDOW)

    def add(self, episode: FinishedEpisode) -> None:
        """Take one more into account."""
        self._episodes.append(episode)

    def snapshot(self, components: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """As arrays: `episodes` `(R, 3)` of time step, return and length; `components` `(R, C)` in the order given."""
        rows = [(e.timestep, e.total, e.length) for e in self._episodes]
        sums = [[e.components[name] for name in components] for e in self._episodes]
        return {
            "episodes": np.array(rows, dtype=np.float64).reshape(len(rows), 3),
            "components": np.array(sums, dtype=np.float64).reshape(len(rows), len(components)),
        }

    def restore(self, components: Sequence[str], arrays: Mapping[str, NDArray[np.float64]]) -> None:
        """Hold the episodes of a snapshot."""
        self._episodes.clear()
        for (step, total, length), sums in zip(arrays["episodes"].tolist(), arrays["components"].tolist(), strict=True):
            named = dict(zip(components, sums, strict=True))
            self._episodes.append(FinishedEpisode(int(step), total, int(length), named))

    def mean_return(self) -> float | None:
        """Mean over all 100 (or as many as there are); None before the first has ended."""
        return float(np.mean([e.total for e in self._episodes])) if self._episodes else None

    def mean_length(self) -> float | None:
        """Mean number of steps, likewise."""
        return float(np.mean([e.length for e in self._episodes])) if self._episodes else None

    def mean_components(self) -> dict[str, float]:
        """Mean episode sum of each component, likewise."""
        names = self._episodes[-1].components if self._episodes else ()
        return {name: float(np.mean([e.components[name] for e in self._episodes])) for name in names}

    def smoothed_return(self, timestep: int) -> float | None:
        """What the peak is measured by: mean over those that ended within the last tenth of the training.

        At least 20 and at most 100 episodes; None while fewer than 20 have ended.
        """
        if len(self._episodes) < SHORTEST_WINDOW:
            return None
        near = sum(e.timestep > timestep - self._reach for e in self._episodes)
        window = list(self._episodes)[-max(SHORTEST_WINDOW, near) :]
        return float(np.mean([e.total for e in window]))


@dataclass(frozen=True)
class Checkpoint:
    """A policy as it was at one moment, with the observation normaliser of that moment."""

    timesteps: int
    mean_return: float | None
    """Smoothed return then; None if no episode had ended."""
    weights: dict[str, torch.Tensor]
    normalizer: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    """Mean and variance of the observations, `(obs,)`."""

    @classmethod
    def of(cls, model: BaseAlgorithm, mean_return: float | None) -> Checkpoint:
        """Copy a model's policy and its `VecNormalize` statistics."""
        statistics = observation_statistics(model)
        return cls(
            timesteps=model.num_timesteps,
            mean_return=mean_return,
            weights={name: tensor.detach().clone() for name, tensor in model.policy.state_dict().items()},
            normalizer=(statistics.mean.copy(), statistics.var.copy()) if statistics else None,
        )

    def restore(self, model: BaseAlgorithm) -> None:
        """Put the copy back."""
        model.policy.load_state_dict(self.weights)
        statistics = observation_statistics(model)
        if statistics and self.normalizer:
            statistics.mean, statistics.var = (array.copy() for array in self.normalizer)


def observation_statistics(model: BaseAlgorithm) -> RunningMeanStd | None:
    """Running mean and variance by which the model's observations are normalised; None if they are not."""
    env = model.get_vec_normalize_env()
    if env is None or not env.norm_obs:
        return None
    statistics: RunningMeanStd = env.obs_rms  # type: ignore[assignment]  # a dict for Dict observations only
    return statistics


class Peak:
    """Keeps the checkpoint of the highest smoothed return; of equal ones the latest."""

    def __init__(self) -> None:
        self.best: Checkpoint | None = None
        self._highest = -math.inf

    def continue_from(self, best: Checkpoint | None) -> None:
        """Take an earlier box's best as the highest so far."""
        self.best = best
        self._highest = -math.inf if best is None or best.mean_return is None else best.mean_return

    def consider(self, model: BaseAlgorithm, smoothed_return: float | None) -> None:
        """Copy the model's policy if its smoothed return is the highest so far."""
        if smoothed_return is not None and smoothed_return >= self._highest:
            self._highest = smoothed_return
            self.best = Checkpoint.of(model, smoothed_return)
