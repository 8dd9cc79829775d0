"""Gymnasium's own HalfCheetah-v5 reward: forward speed and a control cost."""

import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed in m/s minus 0.1 of the squared torques."""
    forward = torso_x_velocity
    control = -0.1 * (actions**2).sum(dim=-1)
    return forward + control, {"forward": forward, "control": control}
