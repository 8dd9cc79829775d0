import torch


BRAKING = 8.0
"""1/s: speed that is safe per metre left."""


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Closeness on three scales; speed towards the target while it can still be braked."""
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    towards = (direction * fingertip_velocity).sum(dim=-1)
    safe = torch.sigmoid((BRAKING * target_distance + 0.1 - towards) / 0.2)
    approach = 0.6 * torch.tanh(towards) * torch.where(towards > 0, safe, torch.ones_like(safe))
    close = 1.5 * torch.exp(-target_distance / 0.03)
    exact = 1.0 * torch.exp(-target_distance / 0.004)
    distance = -8.0 * target_distance
    control = -0.005 * (actions**2).sum(dim=-1)
    total = approach + close + exact + distance + control
    return total, {
        "approach": approach,
        "close": close,
        "exact": exact,
        "distance": distance,
        "control": control,
    }
