"""Three terms by hand: backward pitch rate up to a limit, height to turn in, and a small control cost."""

import torch


def compute_reward(
    torso_pitch_velocity: torch.Tensor, torso_z: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A backflip turns the pitch negative; the rate is limited so that a violent spin earns no more than a fast one."""
    rotation = -torso_pitch_velocity.clamp(-10.0, 10.0) / 2.0
    height = torso_z.clamp(-1.0, 1.0)
    control = -0.02 * (actions**2).sum(dim=-1)
    return rotation + height + control, {"rotation": rotation, "height": height, "control": control}
