import torch


LOOK = 0.08
"""s."""


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Closeness now, the distance that the present velocity leads to, and a charge for moving away."""
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    towards = (direction * fingertip_velocity).sum(dim=-1)
    retreat = -0.7 * torch.tanh((-towards).clamp(min=0.0))
    ahead = torch.linalg.norm(fingertip_to_target - LOOK * fingertip_velocity, dim=-1)
    coming = -3.0 * torch.tanh(ahead / 0.25)
    close = 1.2 * torch.exp(-target_distance / 0.04)
    fine = 1.2 * torch.exp(-target_distance / 0.008)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = coming + close + fine + retreat + control
    return total, {"coming": coming, "close": close, "fine": fine, "retreat": retreat, "control": control}
