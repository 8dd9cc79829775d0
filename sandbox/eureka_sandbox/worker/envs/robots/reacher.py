"""Reacher-v5.

Observation and native reward use MuJoCo's `xpos` as Gymnasium does, which `mj_step` leaves at the state before its last
integration; the state variables are computed from qpos, so that they describe the same instant as the joint angles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from eureka_sandbox.worker.envs.robots.robot import Array, Robot, control_cost, no_termination

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation

UPPER_ARM, FOREARM = 0.1, 0.11
"""Lengths in m, from the model file."""


def _initial_state(rng: np.random.Generator, qpos: Array, qvel: Array) -> tuple[Array, Array]:
    drawn = rng.uniform(low=-0.1, high=0.1, size=qpos.size) + qpos
    target = rng.uniform(low=-0.2, high=0.2, size=2)
    while np.linalg.norm(target) >= 0.2:
        target = rng.uniform(low=-0.2, high=0.2, size=2)
    drawn[2:] = target
    speeds = qvel + rng.uniform(low=-0.005, high=0.005, size=qvel.size)
    speeds[2:] = 0.0
    return drawn, speeds


def _readings(data: Any) -> list[Array]:
    return [data.body("fingertip").xpos, data.body("target").xpos]


def _offset(sim: Simulation) -> Array:
    return sim.now.readings[:, :3] - sim.now.readings[:, 3:]


def _observation(sim: Simulation) -> Array:
    angles = sim.now.q[:, :2]
    parts = (np.cos(angles), np.sin(angles), sim.now.q[:, 2:], sim.now.v[:, :2], _offset(sim)[:, :2])
    return np.concatenate(parts, axis=1)


def _reward(sim: Simulation) -> Array:
    reward: Array = -np.linalg.norm(_offset(sim), axis=1) - control_cost(sim)
    return reward


def _fingertip(sim: Simulation) -> Array:
    shoulder = sim.now.q[:, 0]
    wrist = shoulder + sim.now.q[:, 1]
    x = UPPER_ARM * np.cos(shoulder) + FOREARM * np.cos(wrist)
    y = UPPER_ARM * np.sin(shoulder) + FOREARM * np.sin(wrist)
    return np.stack((x, y), axis=1)


def _fingertip_velocity(sim: Simulation) -> Array:
    shoulder = sim.now.q[:, 0]
    wrist = shoulder + sim.now.q[:, 1]
    shoulder_speed = UPPER_ARM * sim.now.v[:, 0]
    wrist_speed = FOREARM * (sim.now.v[:, 0] + sim.now.v[:, 1])
    x = -shoulder_speed * np.sin(shoulder) - wrist_speed * np.sin(wrist)
    y = shoulder_speed * np.cos(shoulder) + wrist_speed * np.cos(wrist)
    return np.stack((x, y), axis=1)


def _fingertip_to_target(sim: Simulation) -> Array:
    return sim.now.q[:, 2:] - _fingertip(sim)


def _target_distance(sim: Simulation) -> Array:
    offset = _fingertip_to_target(sim)
    return np.hypot(offset[:, 0], offset[:, 1])


REACHER = Robot(
    xml="reacher.xml",
    frame_skip=2,
    initial_state=_initial_state,
    observation=_observation,
    native_reward=_reward,
    terminated=no_termination,
    readings=_readings,
    own_positions=2,
    variables={
        "fingertip_position": _fingertip,
        "target_position": lambda sim: sim.now.q[:, 2:],
        "fingertip_to_target": _fingertip_to_target,
        "target_distance": _target_distance,
        "fingertip_velocity": _fingertip_velocity,
        "joint_angles": lambda sim: sim.now.q[:, :2],
        "joint_velocities": lambda sim: sim.now.v[:, :2],
    },
)
