import torch


def compute_reward(
    torso_x_velocity: torch.Tensor,
    heading: torch.Tensor,
    joint_angles: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, a wave from head to tail, course; a charge for resting on a joint stop."""
    forward = 4.5 * torso_x_velocity.clamp(-4.0, 4.0)
    area = joint_angles[:, 0] * joint_velocities[:, 1] - joint_angles[:, 1] * joint_velocities[:, 0]
    wave = 0.4 * torch.tanh(area / 4.0)
    course = 0.15 * torch.cos(heading)
    far = torch.sigmoid((joint_angles.abs() - 1.4) / 0.1)
    parked = -0.5 * (far * torch.exp(-((joint_velocities / 1.0) ** 2))).sum(dim=-1)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + wave + course + parked + control
    return total, {"forward": forward, "wave": wave, "course": course, "parked": parked, "control": control}
