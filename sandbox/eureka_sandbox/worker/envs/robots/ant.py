"""Ant-v5.

Gymnasium's forward reward uses the torso's `xpos`, which `mj_step` leaves at the state before its last integration, and
its observation the contact forces of that state; the state variables are computed from qpos and qvel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eureka_sandbox.worker.envs.robots.robot import (
    Array,
    Robot,
    control_cost,
    joint_variables,
    position,
    uniform_and_normal_noise,
    velocity,
)

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation


def _readings(data: Any) -> list[Array]:
    """Torso x, then the external forces on every body but the world."""
    return [data.xpos[1][:1], data.cfrc_ext[1:].reshape(-1)]


def _contact_forces(sim: Simulation) -> Array:
    return np.minimum(np.maximum(sim.now.readings[:, 1:], -1.0), 1.0)


def _observation(sim: Simulation) -> Array:
    return np.concatenate((sim.now.state[:, 2:], _contact_forces(sim)), axis=1)


def _terminated(sim: Simulation) -> NDArray[np.bool_]:
    height = sim.now.q[:, 2]
    healthy = np.isfinite(sim.now.state).all(axis=1) & (height >= 0.2) & (height <= 1.0)
    return ~healthy


def _reward(sim: Simulation) -> Array:
    forward = (sim.now.readings[:, 0] - sim.before.readings[:, 0]) / sim.dt
    contact_cost: Array = 5e-4 * np.square(_contact_forces(sim)).sum(axis=1)
    reward: Array = forward + ~sim.terminated() - 0.5 * control_cost(sim) - contact_cost
    return reward


def _quaternion(sim: Simulation) -> Array:
    # Gymnasium's reset noise leaves it unnormalised until the first step.
    quaternion = sim.now.q[:, 3:7]
    unit: Array = quaternion / np.sqrt(np.square(quaternion).sum(axis=1, keepdims=True))
    return unit


def _up(sim: Simulation) -> Array:
    quaternion = _quaternion(sim)
    up: Array = 1.0 - 2.0 * (np.square(quaternion[:, 1]) + np.square(quaternion[:, 2]))
    return up


def _heading(sim: Simulation) -> Array:
    w, x, y, z = _quaternion(sim).T
    heading: Array = np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return heading


ANT = Robot(
    xml="ant.xml",
    frame_skip=5,
    initial_state=uniform_and_normal_noise(0.1),
    observation=_observation,
    native_reward=_reward,
    terminated=_terminated,
    readings=_readings,
    contact_forces=True,
    variables={
        "torso_x": position(0),
        "torso_y": position(1),
        "torso_z": position(2),
        "torso_quaternion": _quaternion,
        "torso_up": _up,
        "heading": _heading,
        "torso_x_velocity": velocity(0),
        "torso_y_velocity": velocity(1),
        "torso_z_velocity": velocity(2),
        "torso_velocity": lambda sim: sim.now.v[:, :3],
        "torso_angular_velocity": lambda sim: sim.now.v[:, 3:6],
        "cumulative_rotation": lambda sim: sim.turned,
        **joint_variables(7, 6),
    },
    free_root=True,
    feet=("left_ankle_geom", "right_ankle_geom", "third_ankle_geom", "fourth_ankle_geom"),
)
