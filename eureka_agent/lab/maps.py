"""Maps of the best reward and of the human one: what each pays over two state variables, for the report.

A smoke box calls the reward's code on made-up states: a grid over the two numbers whose shuffling changes the best
reward's total most, all others at the median of the best policy's own episodes.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eureka_agent.contract.reward_code import FUNCTION
from eureka_agent.contract.syntax import parse
from eureka_agent.lab.bank import thinned, transitions
from eureka_agent.population import Candidate, Record
from eureka_agent.runs.run import Run
from eureka_sandbox.protocol import Failed, Job, Outcome, SmokeResult, SmokeSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from eureka_evaluation.maps import Scalar

    Arrays = dict[str, NDArray[np.float32]]
    Box = Callable[[Job], Outcome]

CELLS = 41
"""Along each axis."""
PROBES = 4096
"""Made-up states in one box."""
SCALARS = 32
"""Numbers that are tried as axes at most, in the order in which the reward names them."""


class Axis(Record):
    """One state variable, or one number of it, over a range."""

    variable: str
    index: tuple[int, ...] = ()
    low: float
    high: float

    @property
    def name(self) -> str:
        """`joint_angles[2]`."""
        return self.variable + (f"[{', '.join(map(str, self.index))}]" if self.index else "")

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it is in the variable's array, `(T, *shape)`."""
        return (slice(None), *self.index)


class Maps(Record):
    """What one reward pays on the grids."""

    axes: tuple[tuple[Axis, Axis], ...] = ()
    """x and y of each map."""
    cells: int = CELLS
    terms: tuple[str, ...] = ()
    """`total`, then the components."""
    values: str | None = None
    """Blob: float32 `(terms, maps, cells, cells)`, rows from the lowest y; not a number where the reward failed."""
    note: str = ""
    """Why there are none."""


def map_rewards(run: Run, best: Candidate, box: Box) -> None:
    """Map the best reward and, on the same axes, the human one; each is journaled, and done once."""
    own = run.decide(maps_key(best.id), Maps, lambda: _best(run, best, box))
    states = _states(run, best)
    if own.axes and states:
        run.decide(maps_key(f"human-{best.id}"), Maps, lambda: _on(run, run.task.human_reward, own.axes, states, box))


def maps_key(name: str) -> str:
    """Key of the decision that holds a reward's maps."""
    return f"maps/{name}"


def loaded(run: Run, maps: Maps) -> NDArray[np.float32]:
    """The values, `(terms, maps, cells, cells)`."""
    import numpy as np

    assert maps.values is not None
    shape = (len(maps.terms), len(maps.axes), maps.cells, maps.cells)
    return np.frombuffer(run.blob(maps.values), "<f4").reshape(shape)


def _best(run: Run, best: Candidate, box: Box) -> Maps:
    import numpy as np

    from eureka_evaluation.maps import most_telling_pairs, scalars, shown_range, shuffled

    own, floor = _states(run, best), run.floor()
    if own is None:
        return Maps(note="no episode was recorded")
    random = transitions(run.blob(floor.recording), run.task.environment) if floor else own
    both = {name: np.concatenate([rows, random[name]]) for name, rows in own.items()}
    numbers = scalars(both, _arguments(best.code))[:SCALARS]
    few = thinned(both, PROBES // max(len(numbers), 1))
    dealt = [few, *(shuffled(few, number) for number in numbers)]
    states = {name: np.concatenate([part[name] for part in dealt]) for name in few}
    count = len(states[next(iter(states))]) // len(dealt)
    tried = _tried(run, best.code, states, count * len(numbers), box)
    if isinstance(tried, Maps):
        return tried
    total, *changed = np.split(tried[1][0], len(dealt))
    pairs = most_telling_pairs(numbers, total, changed)
    if not pairs:
        return Maps(note="the reward reads no two state variables that vary")

    def axis(scalar: Scalar) -> Axis:
        low, high = shown_range(scalar.of(both))
        return Axis(variable=scalar.variable, index=scalar.index, low=low, high=high)

    return _on(run, best.code, tuple((axis(x), axis(y)) for x, y in pairs), own, box)


def _on(run: Run, code: str, axes: tuple[tuple[Axis, Axis], ...], own: Arrays, box: Box) -> Maps:
    import numpy as np

    from eureka_evaluation.maps import Scalar, grid

    grids = [
        grid(own, Scalar(x.variable, x.index), Scalar(y.variable, y.index), (x.low, x.high), (y.low, y.high), CELLS)
        for x, y in axes
    ]
    first = thinned(own, 64)
    states = {name: np.concatenate([rows, *(g[name] for g in grids)]) for name, rows in first.items()}
    known = len(next(iter(first.values())))
    tried = _tried(run, code, states, len(grids) * CELLS**2, box)
    if isinstance(tried, Maps):
        return tried
    names, values = tried
    return Maps(axes=axes, terms=("total", *names), values=run.put_blob(values[:, known:].astype("<f4").tobytes()))


def _tried(run: Run, code: str, states: Arrays, probes: int, box: Box) -> tuple[list[str], NDArray[np.float32]] | Maps:
    """Components and what the reward gives on the states, `(1 + components, T)`; or why it gives nothing."""
    import numpy as np
    from safetensors.numpy import load

    from eureka_sandbox.bank import BANK_FILE, VALUES, VALUES_FILE, Bank, write_bank

    count = len(next(iter(states.values())))
    spec = SmokeSpec(environment=run.task.environment, values=True, probes=probes)
    bank = write_bank(Bank(states, count - probes))
    outcome = box(Job(spec, {"reward.py": code.encode(), BANK_FILE: bank}))
    if isinstance(outcome, Failed):
        return Maps(note=str(outcome.failure))
    assert isinstance(outcome.result, SmokeResult)
    if VALUES_FILE not in outcome.blobs:
        return Maps(note="the box sent no values")
    values = load(outcome.blobs[VALUES_FILE])[VALUES]
    failed = values >= np.finfo(np.float32).max
    return list(outcome.result.components), np.where(failed, np.float32(np.nan), values)


def _states(run: Run, best: Candidate) -> Arrays | None:
    """What the best policy's recorded episodes visited; random play if none was recorded."""
    floor = run.floor()
    recording = best.score.episodes if best.score and best.score.episodes else floor.recording if floor else None
    return transitions(run.blob(recording), run.task.environment) if recording else None


def _arguments(code: str) -> list[str]:
    """The state variables that a reward names."""
    functions = [n for n in parse(code, "reward.py").body if isinstance(n, ast.FunctionDef) and n.name == FUNCTION]
    arguments = functions[-1].args if functions else None
    return [a.arg for a in (*arguments.args, *arguments.kwonlyargs)] if arguments else []
