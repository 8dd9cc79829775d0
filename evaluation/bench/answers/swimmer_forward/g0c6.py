import torch


def compute_reward(
    torso_x_velocity: torch.Tensor,
    heading: torch.Tensor,
    joint_angles: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed, and the area per second that the joint angles sweep (a wave from head to tail) while going forward."""
    forward = 3.0 * torso_x_velocity.clamp(-4.0, 4.0)
    area = joint_angles[:, 0] * joint_velocities[:, 1] - joint_angles[:, 1] * joint_velocities[:, 0]
    gate = 0.3 + 0.7 * torch.sigmoid(torso_x_velocity / 0.3)
    wave = 0.5 * torch.tanh(area / 4.0) * gate
    course = 0.2 * torch.cos(heading)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = forward + wave + course + control
    return total, {"forward": forward, "wave": wave, "course": course, "control": control}
