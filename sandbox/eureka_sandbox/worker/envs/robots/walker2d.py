"""Walker2d-v5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eureka_sandbox.worker.envs.robots.planar import PLANAR, observation_with_clipped_velocities, speed_while_healthy
from eureka_sandbox.worker.envs.robots.robot import Robot, uniform_noise

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation


def _terminated(sim: Simulation) -> NDArray[np.bool_]:
    height, pitch = sim.now.q[:, 1], sim.now.q[:, 2]
    healthy = (height > 0.8) & (height < 2.0) & (np.abs(pitch) < 1.0)
    return ~healthy


WALKER2D = Robot(
    xml="walker2d_v5.xml",
    frame_skip=4,
    initial_state=uniform_noise(5e-3),
    observation=observation_with_clipped_velocities,
    native_reward=speed_while_healthy,
    terminated=_terminated,
    variables=PLANAR,
    feet=("foot_geom", "foot_left_geom"),
)
