"""N robots of one kind, stepped as a batch: one `MjModel`, N `MjData`, numpy arrays with leading axis N.

Number for number Gymnasium's v5 environment: same reset draws, observation, native reward, termination and truncation.

Which instant a number describes: `mj_step` integrates last, so right after it qpos and qvel are new while everything
derived from them (`xpos`, contacts, `cfrc_ext`) is still that of the last state it evaluated. Gymnasium's observations
and rewards read some of those late numbers (Ant, Reacher), and so do ours. Every *state variable* is computed from qpos
and qvel alone, if need be after `mj_kinematics`, so that all state variables describe the end of the control step.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from eureka_sandbox.bodies import BODIES
from eureka_sandbox.worker.envs.feet import FootSensor
from eureka_sandbox.worker.envs.robots import ROBOTS
from eureka_sandbox.worker.envs.robots.robot import SHARED, Array, Variable

YZX, ZXY = np.array([1, 2, 0]), np.array([2, 0, 1])
"""Columns of a cross product, which `np.cross` takes several times as long for."""


KEPT = ("start_q", "actions", "previous_actions", "elapsed", "turned")
"""Arrays of the simulation that MuJoCo does not hold."""


class Readout:
    """What is read from N simulators after a step, gathered into one array by one numpy call."""

    rows: Array
    """qpos, qvel and readings, `(N, width)`."""
    flat: Array
    state: Array
    """qpos then qvel, `(N, nq + nv)`."""
    q: Array
    v: Array
    readings: Array
    """What else the robot reads, see `Robot.readings`."""

    def __init__(self, num_envs: int, nq: int, nv: int, width: int) -> None:
        self.rows = np.zeros((num_envs, width))
        self.flat = self.rows.reshape(-1)
        self.state = self.rows[:, : nq + nv]
        self.q = self.rows[:, :nq]
        self.v = self.rows[:, nq : nq + nv]
        self.readings = self.rows[:, nq + nv :]


class Simulation:
    """N environments of one body. Arrays that are attributes are buffers: read them, and copy what you keep."""

    num_envs: int
    max_episode_steps: int
    frame_skip: int
    """Simulator steps per control step."""
    dt: float
    """Seconds per control step."""
    now: Readout
    """What was read after the last step or reset."""
    before: Readout
    """The same, one control step earlier."""
    start_q: Array
    """qpos at the last reset, `(N, nq)`."""
    actions: Array
    """Last actions as applied (clipped to the bounds), `(N, nu)`; 0 after a reset."""
    previous_actions: Array
    elapsed: NDArray[np.int64]
    """Control steps since the reset, `(N,)`."""
    turned: Array
    """Rotation of a free torso since the reset, rad about its own axes, summed over control steps, `(N, 3)`."""

    def __init__(self, body: str, num_envs: int, max_episode_steps: int) -> None:
        """Build the simulators; `reset` them before the first step.

        Args:
            body: a name in `BODIES`.
            num_envs: N, at least 1.
            max_episode_steps: control steps after which an episode is truncated.

        Raises:
            ValueError: unknown body.
        """
        if body not in ROBOTS:
            raise ValueError(f"unknown body {body!r}; bodies: {', '.join(ROBOTS)}")
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self._robot = robot = ROBOTS[body]
        self.model = model = mujoco.MjModel.from_xml_path(str(assets() / robot.xml))
        self.data = [mujoco.MjData(model) for _ in range(num_envs)]
        self.frame_skip = robot.frame_skip
        self.dt = float(model.opt.timestep * robot.frame_skip)
        self.action_low, self.action_high = model.actuator_ctrlrange.T.copy()
        bound = np.full(BODIES[body].observation_size, np.inf)
        self.observation_space_bounds = (-bound, bound)
        self.start_spread = 1.0
        """Factor on how far the robot's start states are from the resting one."""
        self._allocate(body)

    def _allocate(self, body: str) -> None:
        model, robot, num_envs = self.model, self._robot, self.num_envs
        self._views = [[data.qpos, data.qvel, *robot.readings(data)] for data in self.data]
        self._all_views = [view for views in self._views for view in views]
        self._steppers = [(data, data.ctrl) for data in self.data]
        width = sum(view.size for view in self._views[0])
        self.now = Readout(num_envs, model.nq, model.nv, width)
        self.before = Readout(num_envs, model.nq, model.nv, width)
        self.start_q = np.zeros((num_envs, model.nq))
        self.actions = np.zeros((num_envs, model.nu))
        # As large as the actions: numpy takes twice as long where it must broadcast.
        self._least, self._most = np.tile(self.action_low, (num_envs, 1)), np.tile(self.action_high, (num_envs, 1))
        self.previous_actions = self.actions.copy()
        self.elapsed = np.zeros(num_envs, dtype=np.int64)
        self.turned = np.zeros((num_envs, 3))
        self._terminated: NDArray[np.bool_] | None = None
        self._feet = FootSensor(model, self.data, robot.feet)
        available = {**SHARED, **robot.variables}
        self._variables: dict[str, Variable] = {v.name: available[v.name] for v in BODIES[body].variables}

    def reset(self, indices: Iterable[int] | NDArray[np.integer[Any]], rngs: Sequence[np.random.Generator]) -> None:
        """Start new episodes.

        Args:
            indices: which environments.
            rngs: one generator for each; the same generator gives Gymnasium's own reset state.
        """
        model, robot = self.model, self._robot
        resting = np.zeros(model.nv)
        for i, rng in zip(indices, rngs, strict=True):
            data = self.data[i]
            mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = robot.initial_state(rng, model.qpos0, resting)
            if self.start_spread != 1.0:
                self._spread(data)
            mujoco.mj_forward(model, data)
            np.concatenate(self._views[i], out=self.now.rows[i])
            self.start_q[i] = self.now.q[i]
            self.actions[i] = self.previous_actions[i] = 0.0
            self.turned[i] = 0.0
            self.elapsed[i] = 0
        self._terminated = None

    def _spread(self, data: Any) -> None:
        own, rest = slice(self._robot.own_positions), self.model.qpos0
        data.qpos[own] = rest[own] + self.start_spread * (data.qpos[own] - rest[own])
        data.qvel[:] *= self.start_spread

    def step(self, actions: NDArray[Any]) -> None:
        """One control step of every environment.

        Args:
            actions: `(N, nu)`; clipped to the bounds.

        Raises:
            ValueError: another shape.
        """
        if actions.shape != self.actions.shape:
            raise ValueError(f"actions have shape {actions.shape}, expected {self.actions.shape}")
        self.now, self.before = self.before, self.now
        self.actions, self.previous_actions = self.previous_actions, self.actions
        self.actions[...] = actions
        np.maximum(self.actions, self._least, out=self.actions)
        np.minimum(self.actions, self._most, out=self.actions)
        model, frame_skip, mj_step = self.model, self.frame_skip, mujoco.mj_step
        for (data, control), action in zip(self._steppers, self.actions, strict=True):
            control[:] = action
            mj_step(model, data, frame_skip)
        if self._robot.contact_forces:
            for data in self.data:
                mujoco.mj_rnePostConstraint(model, data)
        np.concatenate(self._all_views, out=self.now.flat)
        if self._robot.free_root:
            self.turned += rotation_vector(self.before.q[:, 3:7], self.now.q[:, 3:7])
        self.elapsed += 1
        self._terminated = None

    @property
    def variables(self) -> tuple[str, ...]:
        """Names that `state` knows, in catalogue order."""
        return tuple(self._variables)

    def observation(self) -> Array:
        """Gymnasium's observation, float64 `(N, observation_size)`."""
        return self._robot.observation(self)

    def native_reward(self) -> Array:
        """Gymnasium's reward of the last step, float64 `(N,)`; meaningless right after a reset."""
        return self._robot.native_reward(self)

    def terminated(self) -> NDArray[np.bool_]:
        """Gymnasium's terminal states, `(N,)`."""
        if self._terminated is None:
            self._terminated = self._robot.terminated(self)
        return self._terminated

    def truncated(self) -> NDArray[np.bool_]:
        """Where time is up, `(N,)`."""
        return self.elapsed >= self.max_episode_steps

    def foot_contacts(self) -> NDArray[np.bool_]:
        """Which feet touch the floor, `(N, feet)`."""
        return self._feet.contacts()

    def state(self, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """State variables by name, float32 `(N, *shape)`, fresh copies; only those named are computed.

        Raises:
            KeyError: the body has none of that name.
        """
        variables = self._variables
        return {name: variables[name](self).astype(np.float32) for name in names}

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of everything that the next steps depend on; `checkpoint_arrays` says the shapes."""
        model, kind = self.model, mujoco.mjtState.mjSTATE_INTEGRATION  # MuJoCo's own list of what `mj_step` reads
        physics = np.empty((self.num_envs, mujoco.mj_stateSize(model, kind)))
        for data, row in zip(self.data, physics, strict=True):
            mujoco.mj_getState(model, data, row, kind)
        arrays = {name: getattr(self, name).copy() for name in KEPT}
        return {"physics": physics, "now": self.now.rows.copy(), "before": self.before.rows.copy(), **arrays}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on where `snapshot` was taken; the arrays have the shapes of this simulation's own snapshot."""
        for data, row in zip(self.data, arrays["physics"], strict=True):
            mujoco.mj_resetData(self.model, data)
            mujoco.mj_setState(self.model, data, row, mujoco.mjtState.mjSTATE_INTEGRATION)
        self.now.rows[:], self.before.rows[:] = arrays["now"], arrays["before"]
        for name in KEPT:
            getattr(self, name)[:] = arrays[name]
        self._terminated = None

    def qpos(self) -> Array:
        """Generalised positions, a copy, `(N, nq)`."""
        return self.now.q.copy()

    def qvel(self) -> Array:
        """Generalised velocities, a copy, `(N, nv)`."""
        return self.now.v.copy()


def assets() -> Path:
    """Folder of Gymnasium's MuJoCo models, found without importing gymnasium.

    Raises:
        ModuleNotFoundError: gymnasium is not installed.
    """
    spec = importlib.util.find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gymnasium, whose MuJoCo models are simulated; pip install 'gymnasium[mujoco]'")
    return Path(spec.origin).parent / "envs" / "mujoco" / "assets"


def rotation_vector(start: Array, end: Array) -> Array:
    """Rotation from orientation `start` to `end`, as a vector along the axis in the body's frame.

    Args:
        start: quaternions w, x, y, z of any length but 0, `(N, 4)`.
        end: the same, at most half a turn away.

    Returns:
        rad, `(N, 3)`.
    """
    scalar = (start * end).sum(axis=1)
    axis, other = start[:, 1:], end[:, 1:]
    cross = axis[:, YZX] * other[:, ZXY] - axis[:, ZXY] * other[:, YZX]
    vector = start[:, :1] * other - end[:, :1] * axis - cross
    sine = np.sqrt(np.square(vector).sum(axis=1))
    angle = np.copysign(2.0 * np.arctan2(sine, np.abs(scalar)), scalar)
    rotation: Array = vector * (angle / np.maximum(sine, np.finfo(np.float64).tiny))[:, None]
    return rotation
