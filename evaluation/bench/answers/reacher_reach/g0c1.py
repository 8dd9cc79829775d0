import torch


BRAKING = 8.0
"""1/s: speed that is safe per metre left."""


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Speed towards the target while it can still be braked, and closeness."""
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    towards = (direction * fingertip_velocity).sum(dim=-1)
    safe = torch.sigmoid((BRAKING * target_distance + 0.1 - towards) / 0.2)
    approach = 1.0 * torch.tanh(towards.clamp(min=0.0) / 1.0) * safe
    retreat = -1.0 * torch.tanh((-towards).clamp(min=0.0) / 1.0)
    close = 2.0 * torch.exp(-target_distance / 0.03)
    distance = -4.0 * target_distance
    control = -0.01 * (actions**2).sum(dim=-1)
    total = approach + retreat + close + distance + control
    return total, {
        "approach": approach,
        "retreat": retreat,
        "close": close,
        "distance": distance,
        "control": control,
    }
