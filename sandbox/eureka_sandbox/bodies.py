"""The bodies that the fast MuJoCo engine simulates, as plain data: host and box read the same catalogue.

A body is a robot with its Gymnasium v5 counterpart (observation, reset distribution, termination, native reward) and
its vocabulary: the named state variables that reward functions, metrics and the search speak. No mujoco import here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eureka_sandbox.protocol import VariableSpec

Kind = Literal[
    "position", "height", "distance", "angle", "velocity", "angular_velocity", "action", "contact", "flag", "time"
]


@dataclass(frozen=True)
class StateVariable:
    """A named quantity of the simulator state, float32 `(N, *shape)`."""

    name: str
    shape: tuple[int, ...]
    unit: str
    frame: str
    meaning: str
    kind: Kind
    """What sort of quantity it is; the offline search's grammar is typed by it."""

    @property
    def spec(self) -> VariableSpec:
        """The boundary form."""
        return VariableSpec(name=self.name, shape=self.shape, unit=self.unit, frame=self.frame, meaning=self.meaning)


@dataclass(frozen=True)
class Body:
    """One robot of the fast engine."""

    name: str
    gymnasium_id: str
    """The environment it matches number for number."""
    summary: str
    """One sentence: what the robot is and what its joints are."""
    dt: float
    """Seconds per control step."""
    action_size: int
    observation_size: int
    variables: tuple[StateVariable, ...]

    def variable(self, name: str) -> StateVariable:
        """Look one up by name; KeyError if the body has none of that name."""
        return {v.name: v for v in self.variables}[name]


BODIES: dict[str, Body] = {}
