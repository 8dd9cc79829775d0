import torch


LOOK = 0.1
"""s."""


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Minus the distance now and the one in 0.1 s at the present velocity."""
    ahead = torch.linalg.norm(fingertip_to_target - LOOK * fingertip_velocity, dim=-1)
    coming = -3.0 * torch.tanh(ahead / 0.3)
    present = -6.0 * target_distance
    fine = 0.8 * torch.exp(-target_distance / 0.015)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = coming + present + fine + control
    return total, {"coming": coming, "present": present, "fine": fine, "control": control}
