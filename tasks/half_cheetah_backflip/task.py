"""HalfCheetah: backward rotations per episode."""

from __future__ import annotations

import math

from eureka_evaluation.episode import Episode

ENOUGH = 3
"""Full turns."""
UPRIGHT = math.pi / 4
"""Largest tilt at the end, rad; lying on the back is pi."""


def fitness(episode: Episode) -> float:
    """Net backward turns over the episode. The pitch is not wrapped; backward turns are negative."""
    return -float(episode.state["cumulative_rotation"][-1]) / (2 * math.pi)


def success(episode: Episode) -> bool:
    """Enough full turns, and upright at the end."""
    tilt = abs(math.remainder(float(episode.state["torso_pitch"][-1]), 2 * math.pi))
    return fitness(episode) >= ENOUGH and tilt <= UPRIGHT
