"""Transitions of whole trajectories, thinned so that sums over a trajectory can still be estimated.

A reward is asked about chosen transitions only; each stands for `weight` steps of its trajectory. The last step of a
trajectory is always chosen and stands for itself, as rewards often treat the end apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.episode import Episode

Floats = NDArray[np.float64]
FEWEST = 16
"""Transitions that a trajectory keeps, however many trajectories share the room."""
CLOCKS = ("elapsed_time", "elapsed_fraction")
"""State variables that no policy can bring back."""


@dataclass(frozen=True)
class Trajectory:
    """One recorded episode, whose policy played it, and what it was worth."""

    policy: str
    """`random`, `idle`, or a candidate's: trajectories of one policy resemble each other."""
    fitness: float
    episode: Episode


@dataclass(frozen=True)
class Transitions:
    """T chosen transitions of N trajectories, in the order of trajectories and time."""

    arrays: Mapping[str, NDArray[np.float32]]
    """What a reward gets, `(T, *shape)` by state variable: the state after the step, with its actions."""
    names: tuple[str, ...]
    """Every scalar of the state, `torso_x` or `joint_angles[2]`, D of them."""
    before: Floats
    """`(T, D)`, the state before the step."""
    after: Floats
    """`(T, D)`, the state after it."""
    trajectory: NDArray[np.intp]
    """`(T,)`, which trajectory."""
    step: NDArray[np.intp]
    """`(T,)`, which step of it, from 1."""
    weight: Floats
    """`(T,)`, how many steps of the trajectory the transition stands for."""
    terminal: NDArray[np.bool_]
    """`(T,)`, whether the step ended in a terminal state."""
    policies: tuple[str, ...]
    """Of each trajectory; `g0c1/rung/0` is a relative of `g0c1`, an earlier look at it or another training."""
    fitness: Floats
    """`(N,)`."""
    lengths: Floats
    """`(N,)`, control steps."""
    dt: float
    """Seconds per step."""

    def sums(self, values: Floats) -> Floats:
        """Estimated sums over each trajectory, `(K, N)`, of what K rewards or terms give, `(K, T)`."""
        rows = np.atleast_2d(values) * self.weight
        count = len(self.policies)
        return np.stack([np.bincount(self.trajectory, row, minlength=count) for row in rows])

    def of(self, policy: str) -> NDArray[np.intp]:
        """Positions of a policy's trajectories."""
        return np.array([i for i, name in enumerate(self.policies) if name == policy], dtype=np.intp)

    def rows_of(self, policy: str) -> NDArray[np.bool_]:
        """Which transitions are a policy's, `(T,)`."""
        return np.isin(self.trajectory, self.of(policy))

    def column(self, name: str) -> Floats:
        """A scalar after every transition, `(T,)`."""
        return self.after[:, self.names.index(name)]

    def mean_fitness(self) -> dict[str, float]:
        """By policy."""
        return {name: float(self.fitness[self.of(name)].mean()) for name in dict.fromkeys(self.policies)}


def chosen_transitions(trajectories: Sequence[Trajectory], room: int) -> Transitions:
    """At most about `room` transitions, as many of each trajectory as of any other; the same for the same episodes.

    Raises:
        ValueError: there is no trajectory.
    """
    if not trajectories:
        raise ValueError("no trajectory to choose transitions from")
    most = max(FEWEST, room // len(trajectories))
    state: dict[str, list[NDArray[np.float32]]] = {name: [] for name in trajectories[0].episode.state}
    before, trajectory, step, weight, terminal = [], [], [], [], []
    for index, known in enumerate(trajectories):
        episode = known.episode
        rows, weights = _chosen(episode.length, most, index)
        for name, parts in state.items():
            parts.append(episode.state[name][rows])
        before.append(np.concatenate([_flat(episode.state[name][rows - 1]) for name in state], axis=1))
        trajectory.append(np.full(len(rows), index, dtype=np.intp))
        step.append(rows)
        weight.append(weights)
        terminal.append((rows == episode.length) & episode.terminated)
    arrays = {name: np.concatenate(parts) for name, parts in state.items()}
    return Transitions(
        arrays=arrays,
        names=tuple(label for name, rows in arrays.items() for label in _labels(name, rows)),
        before=np.concatenate(before),
        after=np.concatenate([_flat(rows) for rows in arrays.values()], axis=1),
        trajectory=np.concatenate(trajectory),
        step=np.concatenate(step),
        weight=np.concatenate(weight),
        terminal=np.concatenate(terminal),
        policies=tuple(t.policy for t in trajectories),
        fitness=np.array([t.fitness for t in trajectories], dtype=np.float64),
        lengths=np.array([t.episode.length for t in trajectories], dtype=np.float64),
        dt=trajectories[0].episode.dt,
    )


def _chosen(length: int, most: int, seed: int) -> tuple[NDArray[np.intp], Floats]:
    """Steps from 1 to `length`: one at random out of each of equal stretches (even strides would beat with a gait)."""
    if length <= most:
        return np.arange(1, length + 1), np.ones(length)
    edges = np.linspace(1, length, most)
    drawn = edges[:-1] + np.random.default_rng(seed).random(most - 1) * np.diff(edges)
    rows = np.append(np.floor(drawn).astype(np.intp), length)
    return rows, np.append(np.full(most - 1, (length - 1) / (most - 1)), 1.0)


def _flat(rows: NDArray[np.float32]) -> Floats:
    return rows.reshape(len(rows), -1).astype(np.float64)


def _labels(name: str, rows: NDArray[np.float32]) -> list[str]:
    size = int(np.prod(rows.shape[1:], dtype=int))
    return [name] if rows.ndim == 1 else [f"{name}[{i}]" for i in range(size)]
