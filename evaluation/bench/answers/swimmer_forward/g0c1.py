import torch


def compute_reward(
    torso_x_velocity: torch.Tensor, torso_y_velocity: torch.Tensor, heading: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward speed in proportion to being on course; backward speed is charged in full."""
    on_course = torch.sigmoid((torch.cos(heading) - 0.25) / 0.1)
    speed = 3.0 * torso_x_velocity.clamp(-4.0, 4.0)
    gain = speed.clamp(min=0.0) * on_course
    loss = speed.clamp(max=0.0)
    course = 0.3 * on_course
    drift = -0.05 * torch.tanh((torso_y_velocity / 2.0) ** 2)
    control = -0.01 * (actions**2).sum(dim=-1)
    total = gain + loss + course + drift + control
    return total, {"gain": gain, "loss": loss, "course": course, "drift": drift, "control": control}
