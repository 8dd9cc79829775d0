import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, linear; a small charge for torque."""
    forward = 5.0 * torso_x_velocity.clamp(-5.0, 5.0)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = forward + control
    return total, {"forward": forward, "control": control}
