"""Facts about recorded episodes: how they ended, where each state variable went, and how the actions were used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.episode import Episode


@dataclass(frozen=True)
class Range:
    """One scalar over an episode; a vector variable gives one per element."""

    name: str
    """`torso_x`, or `joint_angles[2]`."""
    first: float
    """Right after the reset."""
    last: float
    low: float
    high: float
    mean: float


@dataclass(frozen=True)
class EpisodeFacts:
    """What one episode was like."""

    steps: int
    seconds: float
    terminated: bool
    """In a terminal state, and not because time ran out."""
    ranges: tuple[Range, ...]
    """Every element of every state variable, in the order of the recording."""
    saturation: float
    """Share of action entries that sit at a bound, in [0, 1]."""
    jerkiness: float
    """Mean absolute change of an action entry from step to step, in units of the widest range used."""


def episode_facts(episode: Episode) -> EpisodeFacts:
    """Collect the facts.

    Action bounds are not recorded; a bound is taken to be an extreme value that an action entry has at least twice.

    Args:
        episode: at least one step long.
    """
    return EpisodeFacts(
        steps=episode.length,
        seconds=episode.seconds,
        terminated=episode.terminated,
        ranges=tuple(r for name, values in episode.state.items() for r in _ranges(name, values)),
        saturation=_saturation(episode.actions),
        jerkiness=_jerkiness(episode.actions),
    )


def _ranges(name: str, values: NDArray[np.float32]) -> list[Range]:
    rows = values.reshape(len(values), -1).astype(np.float64)
    names = [name] if rows.shape[1] == 1 else [f"{name}[{i}]" for i in range(rows.shape[1])]
    return [
        Range(label, float(c[0]), float(c[-1]), float(c.min()), float(c.max()), float(c.mean()))
        for label, c in zip(names, rows.T, strict=True)
    ]


def _saturation(actions: NDArray[np.float32]) -> float:
    """Continuous actions repeat exactly only where they were clipped."""
    at_bound = 0
    for column in actions.T:
        for extreme in {float(column.min()), float(column.max())}:
            hits = int((column == np.float32(extreme)).sum())
            at_bound += hits if hits > 1 and extreme != 0.0 else 0
    return at_bound / actions.size


def _jerkiness(actions: NDArray[np.float32]) -> float:
    span = float((actions.max(axis=0) - actions.min(axis=0)).max())
    if len(actions) < 2 or span == 0.0:
        return 0.0
    return float(np.abs(np.diff(actions, axis=0)).mean()) / span
