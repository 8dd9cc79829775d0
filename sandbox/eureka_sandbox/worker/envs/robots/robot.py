"""What the simulation must know about a robot, and the state variables that all robots share.

Everything is a function of the simulation's arrays with leading axis N, so that one numpy call serves all environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from eureka_sandbox.worker.envs.simulation import Simulation

Array = NDArray[np.float64]
Variable = Callable[["Simulation"], NDArray[Any]]
"""One state variable, `(N, *shape)`; may be a view, the simulation copies it."""


@dataclass(frozen=True)
class Robot:
    """One robot, number for number as its Gymnasium v5 environment."""

    xml: str
    """Model file among Gymnasium's assets."""
    frame_skip: int
    """Simulator steps per control step."""
    initial_state: Callable[[np.random.Generator, Array, Array], tuple[Array, Array]]
    """Generator, the model's own `(nq,)` and `(nv,)` → a drawn `qpos` and `qvel`: Gymnasium's draws in its order."""
    observation: Callable[[Simulation], Array]
    """`(N, observation_size)`, freshly allocated."""
    native_reward: Callable[[Simulation], Array]
    """`(N,)`: Gymnasium's reward of the last step."""
    terminated: Callable[[Simulation], NDArray[np.bool_]]
    """`(N,)`: Gymnasium's rule."""
    variables: Mapping[str, Variable]
    """Besides those that all robots share."""
    readings: Callable[[Any], list[Array]] = lambda data: []
    """`MjData` → one-dimensional views that are read after each step beside qpos and qvel."""
    contact_forces: bool = False
    """Whether `cfrc_ext` is read, which MuJoCo computes only on demand."""
    feet: tuple[str, ...] = ()
    """Names of the capsule geoms that `foot_contacts` reports."""
    own_positions: int | None = None
    """How many entries of qpos, from the first, are the robot's and not a target's; None: all."""
    free_root: bool = False
    """Whether the torso moves freely: qpos starts with x, y, z and a quaternion, and its rotation is summed up."""


def no_termination(sim: Simulation) -> NDArray[np.bool_]:
    """No terminal states."""
    return np.zeros(sim.num_envs, dtype=np.bool_)


def control_cost(sim: Simulation) -> Array:
    """Sum of squared actions, `(N,)`."""
    cost: Array = np.square(sim.actions).sum(axis=1)
    return cost


def uniform_noise(scale: float) -> Callable[[np.random.Generator, Array, Array], tuple[Array, Array]]:
    """Positions and velocities uniform within `scale` of the model's own."""

    def draw(rng: np.random.Generator, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        drawn = qpos + rng.uniform(low=-scale, high=scale, size=qpos.size)
        return drawn, qvel + rng.uniform(low=-scale, high=scale, size=qvel.size)

    return draw


def uniform_and_normal_noise(scale: float) -> Callable[[np.random.Generator, Array, Array], tuple[Array, Array]]:
    """Positions uniform within `scale` of the model's own, velocities normal with standard deviation `scale`."""

    def draw(rng: np.random.Generator, qpos: Array, qvel: Array) -> tuple[Array, Array]:
        drawn = qpos + rng.uniform(low=-scale, high=scale, size=qpos.size)
        return drawn, qvel + scale * rng.standard_normal(qvel.size)

    return draw


def position(column: int) -> Variable:
    """One generalised position."""
    return lambda sim: sim.now.q[:, column]


def velocity(column: int) -> Variable:
    """One generalised velocity."""
    return lambda sim: sim.now.v[:, column]


def joint_variables(first_angle: int, first_velocity: int) -> dict[str, Variable]:
    """Angles and speeds of the driven joints, which come last in qpos and qvel."""
    return {
        "joint_angles": lambda sim: sim.now.q[:, first_angle:],
        "joint_velocities": lambda sim: sim.now.v[:, first_velocity:],
    }


def turned_since_reset(column: int) -> Variable:
    """How far an unwrapped hinge has turned."""
    return lambda sim: sim.now.q[:, column] - sim.start_q[:, column]


SHARED: dict[str, Variable] = {
    "actions": lambda sim: sim.actions,
    "previous_actions": lambda sim: sim.previous_actions,
    "elapsed_time": lambda sim: sim.elapsed * sim.dt,
    "elapsed_fraction": lambda sim: sim.elapsed / sim.max_episode_steps,
    "terminated": lambda sim: sim.terminated(),
    "foot_contacts": lambda sim: sim.foot_contacts(),
}
"""State variables of every robot (`foot_contacts` where it has feet)."""
