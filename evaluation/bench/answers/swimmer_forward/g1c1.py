import torch


def compute_reward(
    torso_x_velocity: torch.Tensor,
    torso_y: torch.Tensor,
    heading: torch.Tensor,
    joint_angles: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed; pay for heading back to the line y = 0; charges for resting joints."""
    forward = 4.0 * torso_x_velocity.clamp(-4.0, 4.0)
    wanted = (-0.3 * torso_y).clamp(-0.6, 0.6)
    course = 0.25 * torch.cos(heading - wanted)
    far = torch.sigmoid((joint_angles.abs() - 1.4) / 0.1)
    still = torch.exp(-((joint_velocities / 1.0) ** 2))
    parked = -0.4 * (far * still).sum(dim=-1)
    asleep = -0.3 * torch.exp(-((joint_velocities / 0.7) ** 2)).amax(dim=-1)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + course + parked + asleep + control
    return total, {
        "forward": forward,
        "course": course,
        "parked": parked,
        "asleep": asleep,
        "control": control,
    }
