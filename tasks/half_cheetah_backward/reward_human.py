"""Gymnasium's HalfCheetah-v5 reward with the speed's sign turned: backward speed and a control cost."""

import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Backward speed in m/s minus 0.1 of the squared torques."""
    backward = -torso_x_velocity
    control = -0.1 * (actions**2).sum(dim=-1)
    return backward + control, {"backward": backward, "control": control}
