import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, heading: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, linear with a steeper part around rest; course."""
    forward = 4.0 * torso_x_velocity.clamp(-4.0, 4.0) + 1.0 * torch.tanh(torso_x_velocity)
    course = 0.3 * torch.cos(heading)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = forward + course + control
    return total, {"forward": forward, "course": course, "control": control}
