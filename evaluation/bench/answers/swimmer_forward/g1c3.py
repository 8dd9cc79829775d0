import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, joint_velocities: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed; a charge for the joint that rests."""
    forward = 5.0 * torso_x_velocity.clamp(-4.0, 4.0)
    asleep = -0.5 * torch.exp(-((joint_velocities / 1.0) ** 2)).amax(dim=-1)
    control = -0.005 * (actions**2).sum(dim=-1)
    total = forward + asleep + control
    return total, {"forward": forward, "asleep": asleep, "control": control}
