"""Reacher: final distance from fingertip to target, as in BIRD's Reacher-v5 task, negated so that higher is better."""

from __future__ import annotations

from eureka_evaluation.episode import Episode

NEAR = 0.05
"""m; the arm is 0.21 m long."""


def final_distance(episode: Episode) -> float:
    """Distance from fingertip to target after the last step, in m."""
    return float(episode.state["target_distance"][-1])


def fitness(episode: Episode) -> float:
    """Minus the final distance, in m."""
    return -final_distance(episode)


def success(episode: Episode) -> bool:
    """Near enough at the end."""
    return final_distance(episode) <= NEAR
