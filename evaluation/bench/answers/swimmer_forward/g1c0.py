import torch


def compute_reward(
    torso_x_velocity: torch.Tensor,
    heading: torch.Tensor,
    joint_angles: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
    training_progress: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed; a wave from head to tail and the course, which fade out over two thirds of the training."""
    teaching = (1.0 - 1.5 * training_progress).clamp(0.0, 1.0)
    forward = 6.0 * torso_x_velocity.clamp(-4.0, 4.0)
    area = joint_angles[:, 0] * joint_velocities[:, 1] - joint_angles[:, 1] * joint_velocities[:, 0]
    wave = 0.6 * torch.tanh(area / 4.0) * teaching
    course = 0.2 * torch.cos(heading) * teaching
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + wave + course + control
    return total, {"forward": forward, "wave": wave, "course": course, "control": control}
