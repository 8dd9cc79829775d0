import torch


def compute_reward(
    target_distance: torch.Tensor, fingertip_velocity: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Closeness on a long and a short scale, slowness near the target, a small charge for torque."""
    far = -1.5 * torch.tanh(target_distance / 0.15)
    near = 1.5 * torch.exp(-target_distance / 0.02)
    close = torch.exp(-((target_distance / 0.05) ** 2))
    speed = (fingertip_velocity**2).sum(dim=-1)
    settle = -0.3 * close * torch.tanh(speed / 0.25)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = far + near + settle + control
    return total, {"far": far, "near": near, "settle": settle, "control": control}
