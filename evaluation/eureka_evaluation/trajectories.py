"""Facts about recorded episodes: how they ended and where each state variable went."""

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


def episode_facts(episode: Episode) -> EpisodeFacts:
    """Collect the facts of an episode of at least one step."""
    return EpisodeFacts(
        steps=episode.length,
        seconds=episode.seconds,
        terminated=episode.terminated,
        ranges=tuple(r for name, values in episode.state.items() for r in _ranges(name, values)),
    )


def _ranges(name: str, values: NDArray[np.float32]) -> list[Range]:
    rows = values.reshape(len(values), -1).astype(np.float64)
    names = [name] if rows.shape[1] == 1 else [f"{name}[{i}]" for i in range(rows.shape[1])]
    return [
        Range(label, float(c[0]), float(c[-1]), float(c.min()), float(c.max()), float(c.mean()))
        for label, c in zip(names, rows.T, strict=True)
    ]
