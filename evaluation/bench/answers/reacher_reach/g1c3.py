import torch


def compute_reward(
    target_distance: torch.Tensor, fingertip_velocity: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Closeness on a long and a short scale; slowness near the target."""
    near = 2.0 * torch.exp(-target_distance / 0.1)
    there = 2.0 * torch.exp(-target_distance / 0.01)
    speed = (fingertip_velocity**2).sum(dim=-1)
    settle = -0.2 * torch.exp(-target_distance / 0.03) * torch.tanh(speed / 0.1)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = near + there + settle + control
    return total, {"near": near, "there": there, "settle": settle, "control": control}
