import torch


def compute_reward(
    torso_x_velocity: torch.Tensor,
    heading: torch.Tensor,
    joint_angles: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, linear plus a signed root; course; a soft wall before the joint stops."""
    forward = 4.0 * torso_x_velocity
    start = 0.4 * torso_x_velocity / torch.sqrt(torso_x_velocity.abs() + 0.05)
    course = 0.2 * torch.cos(heading)
    wall = -0.3 * torch.sigmoid((joint_angles.abs() - 1.55) / 0.08).sum(dim=-1)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + start + course + wall + control
    return total, {"forward": forward, "start": start, "course": course, "wall": wall, "control": control}
