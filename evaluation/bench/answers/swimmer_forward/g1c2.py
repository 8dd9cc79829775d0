import torch


def compute_reward(
    torso_x_velocity: torch.Tensor,
    heading: torch.Tensor,
    joint_angles: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, a wave from head to tail on two scales, a charge for parking on the joint stops."""
    forward = 4.0 * torso_x_velocity.clamp(-4.0, 4.0)
    area = joint_angles[:, 0] * joint_velocities[:, 1] - joint_angles[:, 1] * joint_velocities[:, 0]
    wave = 0.3 * torch.tanh(area / 1.0) + 0.4 * torch.tanh(area / 5.0)
    far = torch.sigmoid((joint_angles.abs() - 1.45) / 0.1)
    still = torch.exp(-((joint_velocities / 1.0) ** 2))
    parked = -0.4 * (far * still).sum(dim=-1)
    course = 0.2 * torch.cos(heading)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + wave + parked + course + control
    return total, {"forward": forward, "wave": wave, "parked": parked, "course": course, "control": control}
