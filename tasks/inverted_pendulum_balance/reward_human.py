"""Gymnasium's own InvertedPendulum-v5 reward: one for each step that the pole is up."""

import torch


def compute_reward(terminated: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """1 per step, 0 on the step in which the pole falls."""
    alive = 1.0 - terminated
    return alive, {"alive": alive}
