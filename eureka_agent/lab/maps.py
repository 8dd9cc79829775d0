"""Maps of the best reward and of the human one: what each pays over two state variables, for the report.

A smoke box calls the reward's code on made-up states: a grid over the two numbers whose shuffling changes the best
reward's total most, all others at the median of the best policy's own episodes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from eureka_agent.contract.reward_code import FUNCTION
from eureka_agent.contract.syntax import parse
from eureka_agent.contract.task import Task
from eureka_agent.errors import UsageError
from eureka_agent.lab.bank import thinned, transitions
from eureka_agent.population import Candidate, Record
from eureka_agent.runs.run import Run
from eureka_sandbox.bodies import TRAINING_PROGRESS
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
NUMBER = r"([a-z_][a-z0-9_]*)(?:\[([0-9]{1,4}(?:\s*,\s*[0-9]{1,4})*)\])?"
"""A state variable, or one number of it."""
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
    """Map the best reward and, on the same axes, the human one; each is journaled, and done once.

    Over the pairs that tell most, and over those of `--map`.
    """
    human = run.task.human_reward
    own = run.decide(maps_key(best.id), Maps, lambda: _best(run, best, box))
    states = _states(run, best)
    if states is None:
        return
    if own.axes:
        run.decide(maps_key(f"human-{best.id}"), Maps, lambda: _on(run, human, own.axes, states, box))
    for pair in run.settings.maps:
        axes = (_axes(run, chosen(pair, run.task), states),)
        for name, code in ((best.id, best.code), (f"human-{best.id}", human)):
            key = maps_key(name, pair)
            run.decide(key, Maps, lambda code=code, axes=axes: _on(run, code, axes, states, box))  # type: ignore[misc]


def maps_key(name: str, pair: str = "") -> str:
    """Key of the decision that holds a reward's maps: over the pairs that tell most, or over one that was chosen."""
    return f"maps/{name}" + (f"/{pair}" if pair else "")


def named_maps(task: Task, pairs: Iterable[str]) -> tuple[str, ...]:
    """The pairs of `--map`, each once and written in one way.

    Raises:
        UsageError: one cannot be drawn.
    """
    return tuple(dict.fromkeys(",".join(map(str, chosen(pair, task))) for pair in pairs))


def chosen(pair: str, task: Task) -> tuple[Scalar, Scalar]:
    """`torso_x_velocity,joint_angles[2]` as numbers of the task's state variables.

    Raises:
        UsageError: it is no such pair.
    """
    from eureka_evaluation.maps import Scalar

    shapes = {v.name: v.shape for v in task.variables if v.name != TRAINING_PROGRESS.name}
    words = re.fullmatch(rf"\s*{NUMBER}\s*,\s*{NUMBER}\s*", pair)
    if words is None:
        raise UsageError(f"--map {pair}: two state variables with a comma between, as torso_x_velocity,joint_angles[2]")
    found = []
    for name, place in (words.group(1, 2), words.group(3, 4)):
        index = tuple(int(number) for number in place.split(",")) if place else ()
        if name not in shapes:
            raise UsageError(f"--map {pair}: {task.name} has no state variable {name}; it has {', '.join(shapes)}")
        shape = shapes[name]
        if len(index) != len(shape) or any(i >= most for i, most in zip(index, shape, strict=True)):
            first, last = ", ".join("0" for _ in shape), ", ".join(str(most - 1) for most in shape)
            instead = f"{name}[{first}] to {name}[{last}]" if shape else name
            raise UsageError(f"--map {pair}: {name}{f'[{place}]' if place else ''} is not one number; write {instead}")
        found.append(Scalar(name, index))
    if found[0] == found[1]:
        raise UsageError(f"--map {pair}: twice the same; name two")
    return found[0], found[1]


def loaded(run: Run, maps: Maps) -> NDArray[np.float32]:
    """The values, `(terms, maps, cells, cells)`."""
    import numpy as np

    assert maps.values is not None
    shape = (len(maps.terms), len(maps.axes), maps.cells, maps.cells)
    return np.frombuffer(run.blob(maps.values), "<f4").reshape(shape)


def _best(run: Run, best: Candidate, box: Box) -> Maps:
    import numpy as np

    from eureka_evaluation.maps import most_telling_pairs, scalars, shuffled

    own = _states(run, best)
    if own is None:
        return Maps(note="no episode was recorded")
    both = _with_random_play(run, own)
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
    return _on(run, best.code, tuple((_axis(x, both), _axis(y, both)) for x, y in pairs), own, box)


def _axes(run: Run, pair: tuple[Scalar, Scalar], own: Arrays) -> tuple[Axis, Axis]:
    both = _with_random_play(run, own)
    return _axis(pair[0], both), _axis(pair[1], both)


def _axis(scalar: Scalar, both: Arrays) -> Axis:
    from eureka_evaluation.maps import shown_range

    low, high = shown_range(scalar.of(both))
    around = 0.5 if low == high else 0.0  # it never changed
    return Axis(variable=scalar.variable, index=scalar.index, low=low - around, high=high + around)


def _with_random_play(run: Run, own: Arrays) -> Arrays:
    """States of the best policy, and of random actions, which go where it does not."""
    import numpy as np

    floor = run.floor()
    random = transitions(run.blob(floor.recording), run.task.environment) if floor else own
    return {name: np.concatenate([rows, random[name]]) for name, rows in own.items()}


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
