"""Rewards of many vector steps in one call, and what they add up to in each episode.

A reward is a pure function of each environment's own state and does not change what happens next, so it may be called
when a rollout is over: 2,048 rows take it little longer than 8, and a rollout of 256 steps has 256 times 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class RewardFunction(Protocol):
    """What the environment needs of a reward, see `worker.reward.Reward`."""

    arguments: tuple[str, ...]

    def __call__(self, state: Mapping[str, Floats], steps: int = 1) -> tuple[Floats, dict[str, Floats]]:
        """State variables of vector steps, one after the other → total `(steps * N,)` and components by name."""
        ...


class Payroll:
    """What N environments did and have not been rewarded for yet."""

    def __init__(self, reward: RewardFunction, num_envs: int) -> None:
        self._reward = reward
        self._num_envs = num_envs
        self._capacity = 1
        self._steps = 0
        self._columns: dict[str, Floats] = {}
        self._ended: list[tuple[int, int, dict[str, Any]]] = []
        self._components: tuple[str, ...] = ()
        self.sums: NDArray[np.float64] = np.zeros((1, num_envs))
        """Of the episodes that have not ended: the total (row 0) and every component, `(1 + components, N)`."""

    def make_room(self, steps: int) -> None:
        """Hold up to so many vector steps; what has not been paid is forgotten."""
        if steps != self._capacity:
            self._capacity, self._columns = steps, {}
        self._steps = 0
        self._ended.clear()

    def add(self, state: Mapping[str, Floats]) -> None:
        """Keep a copy of one vector step's state variables, each `(N, *shape)`."""
        columns, step = self._columns, self._steps
        for name in self._reward.arguments:
            if name not in columns:
                columns[name] = np.empty((self._capacity, *state[name].shape), np.float32)
            columns[name][step] = state[name]
        self._steps = step + 1

    def note_end(self, i: int, info: dict[str, Any]) -> None:
        """The step just added was the last of environment i's episode; `pay` completes its `info`."""
        self._ended.append((self._steps - 1, i, info))

    def pay(self) -> Floats:
        """Reward all steps that were added since the last time, `(steps, N)`, and complete the infos of their ends.

        Raises:
            RewardError: the reward broke its contract.
        """
        steps, self._steps = self._steps, 0
        ended, self._ended = self._ended, []
        if not steps:
            return np.zeros((0, self._num_envs), np.float32)
        rows = {name: column[:steps].reshape(-1, *column.shape[2:]) for name, column in self._columns.items()}
        total, components = self._reward(rows, steps)
        self._components = tuple(components)
        values = np.stack((total, *components.values())).reshape(-1, steps, self._num_envs)
        self._book(values, ended)
        paid: Floats = values[0]
        return paid

    def _book(self, values: Floats, ended: list[tuple[int, int, dict[str, Any]]]) -> None:
        """Add `(1 + components, steps, N)` to the episodes they belong to."""
        if len(self.sums) != len(values):
            self.sums = np.zeros((len(values), self._num_envs))
        begun = np.zeros(self._num_envs, np.int64)
        for step, i, info in ended:
            sums = self.sums[:, i] + values[:, begun[i] : step + 1, i].sum(axis=1, dtype=np.float64)
            info["episode"] = {"r": round(float(sums[0]), 6), **info["episode"]}
            info["episode_components"] = dict(zip(self._components, sums[1:].tolist(), strict=True))
            self.sums[:, i] = 0.0
            begun[i] = step + 1
        going_on = np.arange(values.shape[1])[:, None] >= begun
        self.sums += values.sum(axis=1, dtype=np.float64, where=going_on)


class NativeReward:
    """The body's own reward as a `RewardFunction` without components: the environment computes it at every step."""

    arguments: tuple[str, ...] = ("native reward",)

    def __call__(self, state: Mapping[str, Floats], steps: int = 1) -> tuple[Floats, dict[str, Floats]]:
        """What the environment computed."""
        return state[self.arguments[0]], {}
