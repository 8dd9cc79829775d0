"""Inverted pendulum: how long the pole stays up."""

from __future__ import annotations

from eureka_evaluation.episode import Episode


def fitness(episode: Episode) -> float:
    """Simulated time until the pole fell or time ran out, in s."""
    return episode.seconds


def success(episode: Episode) -> bool:
    """The pole never fell."""
    return not episode.terminated
