"""Reacher-v5's reward as Gymnasium documents it: minus the distance to the target and 0.1 of the control cost."""

import torch


def compute_reward(
    target_distance: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Minus the distance in m, minus 0.1 of the squared torques."""
    distance = -target_distance
    control = -0.1 * (actions**2).sum(dim=-1)
    return distance + control, {"distance": distance, "control": control}
