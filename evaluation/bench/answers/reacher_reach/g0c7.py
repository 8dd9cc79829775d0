import torch


def compute_reward(
    target_distance: torch.Tensor, fingertip_velocity: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Minus the logarithm of the distance, and the distance; slowness close to the target."""
    halvings = -0.6 * torch.log((target_distance + 0.003) / 0.2)
    distance = -4.0 * target_distance
    near = torch.exp(-((target_distance / 0.03) ** 2))
    settle = -0.2 * near * torch.tanh((fingertip_velocity**2).sum(dim=-1) / 0.25)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = halvings + distance + settle + control
    return total, {"halvings": halvings, "distance": distance, "settle": settle, "control": control}
