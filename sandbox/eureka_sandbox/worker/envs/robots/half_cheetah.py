"""HalfCheetah-v5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eureka_sandbox.worker.envs.robots.planar import PLANAR, mean_forward_velocity, observation_without_x
from eureka_sandbox.worker.envs.robots.robot import (
    Array,
    Robot,
    control_cost,
    no_termination,
    uniform_and_normal_noise,
)

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation


def _reward(sim: Simulation) -> Array:
    return mean_forward_velocity(sim) - 0.1 * control_cost(sim)


HALF_CHEETAH = Robot(
    xml="half_cheetah.xml",
    frame_skip=5,
    initial_state=uniform_and_normal_noise(0.1),
    observation=observation_without_x,
    native_reward=_reward,
    terminated=no_termination,
    variables=PLANAR,
    feet=("bfoot", "ffoot"),
)
