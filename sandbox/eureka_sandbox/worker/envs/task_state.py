"""The simulation as a task sees it: the body's state variables, the task's derived ones, and its own termination.

Box A (training) and box B (scoring) read the state through here, so that a name means the same number in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eureka_sandbox.protocol import VariableSpec
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.task_code import TaskCode, TaskCodeError

TERMINATED = "terminated"
Values = NDArray[np.float32]


class LazyState(Mapping[str, Values]):
    """State variables of one instant, each computed when it is first asked for. Valid until the next step or reset."""

    def __init__(self, simulation: Simulation, names: Sequence[str]) -> None:
        self._simulation = simulation
        self._names = names
        self._known: dict[str, Values] = {}

    def __getitem__(self, name: str) -> Values:
        if name not in self._known:
            if name not in self._names:
                raise KeyError(name)
            self._known.update(self._simulation.state((name,)))
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known.keys() | set(self._names))

    def __len__(self) -> int:
        return len(self._known.keys() | set(self._names))

    def add(self, values: Mapping[str, Values]) -> None:
        """Hold these values from now on."""
        self._known.update(values)


class TaskState:
    """Reads state variables and termination of a simulation under a task's code."""

    def __init__(self, simulation: Simulation, task: TaskCode | None, derived: Sequence[VariableSpec] = ()) -> None:
        """Bind a task to a simulation.

        Args:
            simulation: whose state is read.
            task: its `derive` and `terminated` are used, where it has them.
            derived: what `derive` is declared to return.

        Raises:
            TaskCodeError: variables are declared but there is no `derive`.
        """
        self._simulation = simulation
        self._derive = task.derive if task else None
        self._terminated = task.terminated if task else None
        self._shapes = {spec.name: (simulation.num_envs, *spec.shape) for spec in derived}
        self._names = [name for name in simulation.variables if name != TERMINATED]
        if derived and self._derive is None:
            raise TaskCodeError(f"no function 'derive', but task.yaml declares {derived[0].name!r} as derived")

    @property
    def variables(self) -> tuple[str, ...]:
        """Every name that `read` knows: the body's, then the derived."""
        return (*self._simulation.variables, *self._shapes)

    def read(self, names: Sequence[str]) -> tuple[dict[str, Values], NDArray[np.bool_]]:
        """State variables by name, float32 `(N, *shape)`, and terminal states `(N,)`, at this instant.

        `derive` sees the body's variables except `terminated`; the task's `terminated` sees those and the derived
        ones. Neither is called where nothing needs it.

        Raises:
            TaskCodeError: the task's code raised, or returned other names or shapes than it declares.
        """
        if self._terminated is None and not any(name in self._shapes for name in names):
            return self._simulation.state(names), self._simulation.terminated()
        state = LazyState(self._simulation, self._names)
        if self._shapes:
            state.add(self._derived(state))
        terminated = self._simulation.terminated()
        if self._terminated is not None:
            terminated = self._terminated(state)
            if len(terminated) != (num_envs := self._simulation.num_envs):
                raise TaskCodeError(f"terminated: returned {len(terminated)} flags for {num_envs} environments")
        state.add({TERMINATED: terminated.astype(np.float32)})
        return {name: state[name] for name in names}, terminated

    def _derived(self, state: LazyState) -> dict[str, Values]:
        assert self._derive is not None  # __init__ refuses declared variables without it
        values = self._derive(state, self._simulation.dt)
        for name, shape in self._shapes.items():
            if name not in values:
                raise TaskCodeError(f"derive: returned no {name!r}, which task.yaml declares; got {', '.join(values)}")
            if values[name].shape != shape:
                raise TaskCodeError(f"derive: {name!r} has shape {values[name].shape}, declared as (N, ...) = {shape}")
        return {name: values[name] for name in self._shapes}
