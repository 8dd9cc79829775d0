"""Hopper: forward displacement, the metric of BIRD's Hopper-v5 task."""

from __future__ import annotations

from eureka_evaluation.episode import Episode

FAR = 10.0
"""m, in 8 s; Stable-Baselines3's PPO on Gymnasium's own reward reaches 7 to 14 m in a million steps."""


def fitness(episode: Episode) -> float:
    """Forward displacement of the torso over the episode, in m."""
    x = episode.state["torso_x"]
    return float(x[-1] - x[0])


def success(episode: Episode) -> bool:
    """Far enough, and not fallen."""
    return fitness(episode) >= FAR and not episode.terminated
