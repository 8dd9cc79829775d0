import torch


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
    previous_actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Minus distance and its root; minus the distance in 0.06 s; a small charge for jerky torque."""
    root = -3.0 * (torch.sqrt(target_distance + 0.001) - 0.0316)
    distance = -5.0 * target_distance
    ahead = torch.linalg.norm(fingertip_to_target - 0.06 * fingertip_velocity, dim=-1)
    coming = -5.0 * ahead.clamp(max=0.6)
    jerk = -0.01 * ((actions - previous_actions) ** 2).sum(dim=-1)
    total = root + distance + coming + jerk
    return total, {"root": root, "distance": distance, "coming": coming, "jerk": jerk}
