"""One recorded episode: what fitness, success and trajectory analysis see. Simulator state only, no reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Episode:
    """T control steps of one environment. Row 0 of every state array is the state after reset, row t after step t."""

    qpos: NDArray[np.float64]
    """Generalised positions, `(T + 1, nq)`."""
    qvel: NDArray[np.float64]
    """Generalised velocities, `(T + 1, nv)`."""
    actions: NDArray[np.float32]
    """Actions as applied (clipped to the bounds), `(T, nu)`."""
    state: Mapping[str, NDArray[np.float32]]
    """Named state variables, each `(T + 1, *shape)`, body's and derived; see `eureka tasks show`."""
    terminated: bool
    """True if the episode ended in a terminal state, False if time ran out."""
    dt: float
    """Seconds per control step."""

    @property
    def length(self) -> int:
        """Number of control steps, T."""
        return len(self.actions)

    @property
    def seconds(self) -> float:
        """Simulated duration."""
        return self.length * self.dt
