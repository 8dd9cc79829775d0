"""InvertedPendulum-v5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eureka_sandbox.worker.envs.robots.robot import Array, Robot, position, uniform_noise, velocity

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation


def _observation(sim: Simulation) -> Array:
    return sim.now.state.copy()


def _terminated(sim: Simulation) -> NDArray[np.bool_]:
    state = sim.now.state
    return ~np.isfinite(state).all(axis=1) | (np.abs(state[:, 1]) > 0.2)


def _reward(sim: Simulation) -> Array:
    return (~sim.terminated()).astype(np.float64)


INVERTED_PENDULUM = Robot(
    xml="inverted_pendulum.xml",
    frame_skip=2,
    initial_state=uniform_noise(0.01),
    observation=_observation,
    native_reward=_reward,
    terminated=_terminated,
    variables={
        "cart_position": position(0),
        "cart_velocity": velocity(0),
        "pole_angle": position(1),
        "pole_velocity": velocity(1),
    },
)
