"""Held-out variations in box B: another model, other start states, late and noisy actions, noisy observations.

What a policy meets here it never met in training; see `protocol.Variation` for the quantities.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from eureka_sandbox.protocol import Variation
from eureka_sandbox.worker.envs.simulation import Simulation

NOISE_STREAM = 2
"""An episode's noise comes from the generator of `[seed, NOISE_STREAM]`, apart from its reset and its actions."""


def vary(simulation: Simulation, variation: Variation) -> None:
    """Change a freshly built simulation's model and its start states; the state variables keep their meaning."""
    model = simulation.model
    model.body_mass *= variation.mass
    model.body_inertia *= variation.mass
    model.geom_friction *= variation.friction
    model.dof_damping *= variation.damping
    model.opt.density *= variation.damping
    model.opt.viscosity *= variation.damping
    model.opt.gravity *= variation.gravity
    model.actuator_gear *= variation.strength
    mujoco.mj_setConst(model, mujoco.MjData(model))  # what MuJoCo derives from masses when it compiles a model
    simulation.start_spread = variation.start


class Disturbance:
    """What lies between a policy and the simulation: noise on what it sees, noise and delay on what it does.

    Every episode has a generator of its own, so that it does not depend on what is played beside it.
    """

    def __init__(self, variation: Variation, simulation: Simulation) -> None:
        self._seen, self._done = variation.observation_noise, variation.action_noise
        low, high = simulation.action_low, simulation.action_high
        self._half_range = (high - low) / 2.0
        self._rngs: list[np.random.Generator | None] = [None] * simulation.num_envs
        self._waiting = np.zeros((variation.delay, simulation.num_envs, len(low)), dtype=np.float32)
        """Actions that have not arrived yet, the oldest first."""

    def begin(self, slots: NDArray[np.intp], seeds: Sequence[int]) -> None:
        """New episodes with these reset seeds."""
        for slot, seed in zip(slots, seeds, strict=True):
            self._rngs[slot] = np.random.default_rng([seed, NOISE_STREAM])
        self._waiting[:, slots] = 0.0

    def seen(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the policy gets to see, `(N, obs)`."""
        return observations + self._noise(self._seen, observations.shape[1])

    def arriving(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """What arrives at the actuators, `(N, nu)`; not clipped yet."""
        actions = (actions + self._half_range * self._noise(self._done, actions.shape[1])).astype(np.float32)
        if not len(self._waiting):
            return actions
        first: NDArray[np.float32] = self._waiting[0].copy()
        self._waiting[:-1] = self._waiting[1:]
        self._waiting[-1] = actions
        return first

    def _noise(self, level: float, size: int) -> NDArray[np.float64]:
        """Normal noise `(N, size)`."""
        noise = np.zeros((len(self._rngs), size))
        if level:
            for row, rng in zip(noise, self._rngs, strict=True):
                if rng is not None:
                    row[:] = level * rng.standard_normal(size)
        return noise
