"""Swimmer: forward displacement, the metric of BIRD's Swimmer-v5 task."""

from __future__ import annotations

from eureka_evaluation.episode import Episode

FAR = 8.0
"""m, in 40 s; random flapping drifts about half a metre either way."""


def fitness(episode: Episode) -> float:
    """Displacement of the torso along +x over the episode, in m."""
    x = episode.state["torso_x"]
    return float(x[-1] - x[0])


def success(episode: Episode) -> bool:
    """Far enough."""
    return fitness(episode) >= FAR
