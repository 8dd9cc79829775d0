"""Swimmer-v5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eureka_sandbox.worker.envs.robots.planar import mean_forward_velocity
from eureka_sandbox.worker.envs.robots.robot import (
    Array,
    Robot,
    control_cost,
    joint_variables,
    no_termination,
    position,
    turned_since_reset,
    uniform_noise,
    velocity,
)

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation


def _observation(sim: Simulation) -> Array:
    return sim.now.state[:, 2:].copy()


def _reward(sim: Simulation) -> Array:
    return mean_forward_velocity(sim) - 1e-4 * control_cost(sim)


SWIMMER = Robot(
    xml="swimmer.xml",
    frame_skip=4,
    initial_state=uniform_noise(0.1),
    observation=_observation,
    native_reward=_reward,
    terminated=no_termination,
    variables={
        "torso_x": position(0),
        "torso_y": position(1),
        "heading": position(2),
        "torso_x_velocity": velocity(0),
        "torso_y_velocity": velocity(1),
        "heading_velocity": velocity(2),
        "cumulative_rotation": turned_since_reset(2),
        **joint_variables(3, 3),
    },
)
