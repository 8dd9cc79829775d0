import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, heading: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, linear plus a signed logarithm, so that slope is left at rest and at speed."""
    start = 0.6 * torch.sign(torso_x_velocity) * torch.log1p(torso_x_velocity.abs() / 0.3)
    forward = 3.0 * torso_x_velocity
    course = 0.2 * torch.cos(heading)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = start + forward + course + control
    return total, {"start": start, "forward": forward, "course": course, "control": control}
