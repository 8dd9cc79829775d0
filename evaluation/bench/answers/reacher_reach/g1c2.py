import torch


BRAKING = 8.0
"""1/s: speed that is safe per metre left."""


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Signed speed towards the target, a charge for too much of it, distance and closeness."""
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    towards = (direction * fingertip_velocity).sum(dim=-1)
    approach = 0.5 * towards.clamp(-2.0, 2.0)
    excess = (towards - BRAKING * target_distance - 0.1).clamp(min=0.0)
    braking = -0.5 * torch.tanh(excess / 0.5)
    distance = -12.0 * target_distance
    close = 1.5 * torch.exp(-target_distance / 0.02)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = approach + braking + distance + close + control
    return total, {
        "approach": approach,
        "braking": braking,
        "distance": distance,
        "close": close,
        "control": control,
    }
