import torch


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    joint_velocities: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Following a velocity that points at the target and shrinks with the distance; distance; a charge for power."""
    slow = torch.clamp(6.0 * target_distance, max=1.0) / (target_distance + 0.001)
    wanted = fingertip_to_target * slow[:, None]
    miss = ((fingertip_velocity - wanted) ** 2).sum(dim=-1)
    follow = 1.0 * torch.exp(-miss / 0.25)
    distance = -6.0 * target_distance
    touch = 1.0 * torch.exp(-target_distance / 0.015)
    power = -0.02 * torch.tanh((actions * joint_velocities).abs().sum(dim=-1) / 5.0)
    total = follow + distance + touch + power
    return total, {"follow": follow, "distance": distance, "touch": touch, "power": power}
