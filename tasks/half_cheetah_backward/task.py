"""HalfCheetah: backward displacement, the metric of BIRD's HalfCheetah-v5 task."""

from __future__ import annotations

import numpy as np

from eureka_evaluation.episode import Episode

FAR = 50.0
"""m, in 50 s."""
UPRIGHT_SHARE = 0.9
"""Part of the episode that the torso has to be the right way up: sliding along on the back is no success."""


def fitness(episode: Episode) -> float:
    """Backward displacement of the torso over the episode, in m."""
    x = episode.state["torso_x"]
    return float(x[0] - x[-1])


def success(episode: Episode) -> bool:
    """Far enough, on its feet."""
    upright = np.cos(episode.state["torso_pitch"]) > 0.0
    return fitness(episode) >= FAR and float(np.mean(upright)) >= UPRIGHT_SHARE
