import torch


def compute_reward(
    target_distance: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Minus ten times the distance; a small charge for torque."""
    distance = -10.0 * target_distance.clamp(max=0.5)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = distance + control
    return total, {"distance": distance, "control": control}
