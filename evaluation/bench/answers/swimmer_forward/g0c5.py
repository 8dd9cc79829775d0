import torch


LOOK = 0.1
"""s."""


def compute_reward(
    torso_x_velocity: torch.Tensor,
    heading: torch.Tensor,
    heading_velocity: torch.Tensor,
    joint_angles: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed; charges for joints and heading that will be out of bounds in 0.1 s."""
    forward = 4.0 * torso_x_velocity.clamp(-4.0, 4.0)
    joints = (joint_angles + LOOK * joint_velocities).abs()
    stop_ahead = -0.3 * torch.sigmoid((joints - 1.6) / 0.1).sum(dim=-1)
    swing = (heading + LOOK * heading_velocity).abs()
    swing_ahead = -0.5 * torch.tanh((swing - 1.0).clamp(min=0.0))
    control = -0.01 * (actions**2).sum(dim=-1)
    total = forward + stop_ahead + swing_ahead + control
    return total, {
        "forward": forward,
        "stop_ahead": stop_ahead,
        "swing_ahead": swing_ahead,
        "control": control,
    }
