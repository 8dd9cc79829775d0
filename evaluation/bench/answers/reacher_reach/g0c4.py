import torch


def compute_reward(
    target_distance: torch.Tensor,
    fingertip_to_target: torch.Tensor,
    fingertip_velocity: torch.Tensor,
    actions: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The rate at which the distance shrinks (steeper near the target), and the distance itself."""
    direction = fingertip_to_target / (target_distance[:, None] + 0.005)
    towards = (direction * fingertip_velocity).sum(dim=-1).clamp(-4.0, 4.0)
    steep = torch.exp(-target_distance / 0.05)
    shrinking = 0.6 * towards
    homing = 0.6 * steep * towards
    distance = -10.0 * target_distance
    control = -0.005 * (actions**2).sum(dim=-1)
    total = shrinking + homing + distance + control
    return total, {"shrinking": shrinking, "homing": homing, "distance": distance, "control": control}
