import torch


BRAKING = 8.0
"""1/s: speed that is safe per metre left."""


def compute_reward(
    target_distance: torch.Tensor, fingertip_velocity: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """One closeness term with a wide and a narrow part; a charge for speed that is too high for the distance left."""
    closeness = 2.0 * torch.exp(-target_distance / 0.025) - 2.0 * torch.tanh(target_distance / 0.15)
    speed = torch.sqrt((fingertip_velocity**2).sum(dim=-1) + 1e-6)
    excess = (speed - BRAKING * target_distance - 0.05).clamp(min=0.0)
    settle = -0.4 * torch.tanh(excess / 0.5)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = closeness + settle + control
    return total, {"closeness": closeness, "settle": settle, "control": control}
