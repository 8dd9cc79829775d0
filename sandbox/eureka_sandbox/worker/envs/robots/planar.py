"""Robots confined to the x-z plane: qpos and qvel start with x, z and pitch, the driven joints follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eureka_sandbox.worker.envs.robots.robot import (
    Array,
    Variable,
    control_cost,
    joint_variables,
    position,
    turned_since_reset,
    velocity,
)

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation

PLANAR: dict[str, Variable] = {
    "torso_x": position(0),
    "torso_z": position(1),
    "torso_pitch": position(2),
    "torso_x_velocity": velocity(0),
    "torso_z_velocity": velocity(1),
    "torso_pitch_velocity": velocity(2),
    "cumulative_rotation": turned_since_reset(2),
    **joint_variables(3, 3),
}


def mean_forward_velocity(sim: Simulation) -> Array:
    """Displacement along x over the last control step, per second: what Gymnasium rewards."""
    return (sim.now.q[:, 0] - sim.before.q[:, 0]) / sim.dt


def speed_while_healthy(sim: Simulation) -> Array:
    """Gymnasium's reward for walkers: forward velocity, 1 per step until a terminal state, minus the control cost."""
    return mean_forward_velocity(sim) + ~sim.terminated() - 1e-3 * control_cost(sim)


def observation_without_x(sim: Simulation) -> Array:
    """All positions but x, then all velocities."""
    return sim.now.state[:, 1:].copy()


def observation_with_clipped_velocities(sim: Simulation) -> Array:
    """All positions but x, then all velocities clipped to ±10."""
    observation = sim.now.state[:, 1:].copy()
    velocities = observation[:, sim.now.q.shape[1] - 1 :]
    np.maximum(velocities, -10.0, out=velocities)
    np.minimum(velocities, 10.0, out=velocities)
    return observation
