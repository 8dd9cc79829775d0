"""Hopper-v5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eureka_sandbox.worker.envs.robots.planar import PLANAR, observation_with_clipped_velocities, speed_while_healthy
from eureka_sandbox.worker.envs.robots.robot import Robot, uniform_noise

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation


def _terminated(sim: Simulation) -> NDArray[np.bool_]:
    # Comparisons that are false for NaN, negated: a broken state is terminal.
    magnitude = np.abs(sim.now.state[:, 2:])
    healthy = (magnitude < 100.0).all(axis=1)
    healthy &= magnitude[:, 0] < 0.2
    healthy &= sim.now.state[:, 1] > 0.7
    return ~healthy


HOPPER = Robot(
    xml="hopper.xml",
    frame_skip=4,
    initial_state=uniform_noise(5e-3),
    observation=observation_with_clipped_velocities,
    native_reward=speed_while_healthy,
    terminated=_terminated,
    variables=PLANAR,
    feet=("foot_geom",),
)
