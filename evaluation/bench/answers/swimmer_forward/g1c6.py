import torch


TEMPO = 5.2
"""rad/s: once around in 1.2 s."""


def compute_reward(
    torso_x_velocity: torch.Tensor,
    heading: torch.Tensor,
    joint_angles: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed; pace and size of the loop that the joint angles run through, while going forward."""
    forward = 4.0 * torso_x_velocity.clamp(-4.0, 4.0)
    gate = 0.4 + 0.6 * torch.sigmoid(torso_x_velocity / 0.4)
    squared = (joint_angles**2).sum(dim=-1)
    area = joint_angles[:, 0] * joint_velocities[:, 1] - joint_angles[:, 1] * joint_velocities[:, 0]
    pace = 0.5 * (area / (squared + 0.1) / TEMPO).clamp(-1.0, 1.0) * gate
    radius = torch.sqrt(squared + 1e-4)
    size = 0.2 * torch.exp(-(((radius - 1.3) / 0.6) ** 2)) * gate
    course = 0.15 * torch.cos(heading)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + pace + size + course + control
    return total, {"forward": forward, "pace": pace, "size": size, "course": course, "control": control}
