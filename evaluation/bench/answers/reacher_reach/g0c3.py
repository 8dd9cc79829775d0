import torch


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Distance; charges for hovering off the target and for circling around it."""
    distance = -8.0 * target_distance
    touch = 1.0 * torch.exp(-target_distance / 0.02)
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    speed = (fingertip_velocity**2).sum(dim=-1)
    off = torch.sigmoid((target_distance - 0.03) / 0.01)
    hover = -0.4 * off * torch.exp(-speed / 0.04)
    across = direction[:, 0] * fingertip_velocity[:, 1] - direction[:, 1] * fingertip_velocity[:, 0]
    near = torch.exp(-((target_distance / 0.06) ** 2))
    orbit = -0.3 * near * torch.tanh((across / 0.5) ** 2)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = distance + touch + hover + orbit + control
    return total, {"distance": distance, "touch": touch, "hover": hover, "orbit": orbit, "control": control}
