import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, joint_angles: torch.Tensor, joint_velocities: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed; charges for resting on a joint stop or moving one joint only, pay for leaving the stop."""
    forward = 4.0 * torso_x_velocity.clamp(-4.0, 4.0)
    far = torch.sigmoid((joint_angles.abs() - 1.4) / 0.1)
    still = torch.exp(-((joint_velocities / 1.0) ** 2))
    parked = -0.4 * (far * still).sum(dim=-1)
    inward = -torch.sign(joint_angles) * joint_velocities
    release = 0.1 * (far * torch.tanh(inward / 3.0)).sum(dim=-1)
    asleep = -0.3 * still.amax(dim=-1)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + parked + release + asleep + control
    return total, {
        "forward": forward,
        "parked": parked,
        "release": release,
        "asleep": asleep,
        "control": control,
    }
