import torch


def compute_reward(
    torso_x_velocity: torch.Tensor,
    torso_y: torch.Tensor,
    torso_y_velocity: torch.Tensor,
    heading: torch.Tensor,
    heading_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, and the rates of two potentials: pointing along +x, and being near the line y = 0."""
    forward = 4.0 * torso_x_velocity.clamp(-4.0, 4.0)
    turning = 0.4 * (-torch.sin(heading) * heading_velocity).clamp(-4.0, 4.0)
    offset = torso_y.clamp(-3.0, 3.0)
    returning = 0.2 * (-offset * torso_y_velocity).clamp(-3.0, 3.0)
    course = 0.2 * torch.cos(heading)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = forward + turning + returning + course + control
    return total, {
        "forward": forward,
        "turning": turning,
        "returning": returning,
        "course": course,
        "control": control,
    }
