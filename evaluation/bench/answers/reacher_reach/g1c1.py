import torch


BRAKING = 8.0
"""1/s: speed that is safe per metre left."""


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Braked speed towards the target, closeness on two scales, a charge for resting beside it."""
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    towards = (direction * fingertip_velocity).sum(dim=-1)
    safe = torch.sigmoid((BRAKING * target_distance + 0.1 - towards) / 0.2)
    approach = 1.0 * torch.tanh(towards.clamp(min=0.0)) * safe
    retreat = -0.7 * torch.tanh((-towards).clamp(min=0.0))
    close = 1.5 * torch.exp(-target_distance / 0.02)
    nearing = 1.5 * torch.exp(-target_distance / 0.1)
    speed = (fingertip_velocity**2).sum(dim=-1)
    off = torch.tanh((target_distance - 0.02).clamp(min=0.0) / 0.03)
    resting = -0.4 * off * torch.exp(-speed / 0.02)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = approach + retreat + close + nearing + resting + control
    return total, {
        "approach": approach,
        "retreat": retreat,
        "close": close,
        "nearing": nearing,
        "resting": resting,
        "control": control,
    }
