import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, heading: torch.Tensor, joint_angles: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Saturating forward speed on two scales, mild pay for pointing along +x, charges for the joint stops and torque."""
    burst = 1.5 * torch.tanh(torso_x_velocity / 1.0)
    cruise = 4.0 * torch.tanh(torso_x_velocity / 4.0)
    aligned = 0.3 * torch.cos(heading)
    stops = -0.2 * torch.sigmoid((joint_angles.abs() - 1.5) / 0.1).sum(dim=-1)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = burst + cruise + aligned + stops + control
    return total, {"burst": burst, "cruise": cruise, "aligned": aligned, "stops": stops, "control": control}
