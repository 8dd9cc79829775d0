import torch


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Distance on two scales; power while far and closing in, braking and stillness when near."""
    distance = -8.0 * target_distance
    close = 1.5 * torch.exp(-target_distance / 0.02)
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    towards = (direction * fingertip_velocity).sum(dim=-1)
    power = torch.tanh((actions * joint_velocities).sum(dim=-1) / 5.0)
    far = torch.sigmoid((target_distance - 0.08) / 0.02)
    pulse = 0.3 * (far * torch.sigmoid(towards / 0.2) * power.clamp(min=0.0) - (1.0 - far) * power.clamp(min=0.0))
    speed = (joint_velocities**2).sum(dim=-1)
    still = 0.5 * torch.exp(-target_distance / 0.05) * torch.exp(-speed / 4.0)
    total = distance + close + pulse + still
    return total, {"distance": distance, "close": close, "pulse": pulse, "still": still}
