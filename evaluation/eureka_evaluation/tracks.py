"""Recorded episodes as tables, and what play without learning was like: the common ground of the trajectory analysis.

A column is one scalar of a state variable: `torso_x`, `joint_angles[2]`. Rows are control steps, the reset first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.episode import Episode

Array = NDArray[np.float64]

UNTOLD = ("actions", "previous_actions", "elapsed_time", "elapsed_fraction", "terminated", "training_progress")
"""State variables that are the clock, the actions or the end itself."""
SUMMARIES = ("change", "last", "mean", "sum", "highest", "lowest")
"""What a column can be reduced to over an episode."""
TWINS = 0.9999
"""Correlation within an episode from which two columns say the same."""
KINDS = {"m": "position", "m/s": "velocity", "rad": "angle", "rad/s": "angular_velocity"}
"""What a variable of this unit is taken for where the task does not say."""


@dataclass(frozen=True)
class Variable:
    """What is known of a state variable beside its name."""

    name: str
    unit: str = "1"
    kind: str = ""
    """As in the catalogue of bodies (`velocity`, `contact`, …); empty for a variable that a task derives."""
    frame: str = ""
    """As declared: `world`, `joint`, …"""

    @property
    def sort(self) -> str:
        """The kind, guessed from the unit where it is not known; empty if that says nothing."""
        return self.kind or KINDS.get(self.unit, "")

    @property
    def suffix(self) -> str:
        """The unit as it follows a number: ` m/s`, or nothing."""
        return "" if self.unit in ("1", "") else f" {self.unit}"


@dataclass(frozen=True)
class Limbs:
    """Two limbs that are images of each other, by the columns that say the same of either."""

    names: tuple[str, str]
    joints: tuple[tuple[str, str, int], ...]
    """Angles of the first and the second limb; -1 where those of poses that are images have opposite signs, else 1."""
    feet: tuple[str, str]
    """Contacts."""


@dataclass(frozen=True)
class Track:
    """One episode as a table."""

    labels: tuple[str, ...]
    """Names of the columns."""
    values: Array
    """`(T + 1, C)`, T ≥ 1; row 0 right after the reset."""
    actions: Array
    """`(T, nu)`, as applied."""
    terminated: bool
    dt: float
    """Seconds per step."""
    fitness: float

    @property
    def steps(self) -> int:
        """Control steps, T."""
        return len(self.actions)

    @property
    def seconds(self) -> float:
        """Simulated duration."""
        return self.steps * self.dt

    @cached_property
    def summaries(self) -> Array:
        """`(len(SUMMARIES), C + 1)`: summaries of each column; the last column is the duration."""
        v = self.values
        rows = [v[-1] - v[0], v[-1], v.mean(axis=0), v.sum(axis=0) * self.dt, v.max(axis=0), v.min(axis=0)]
        return np.column_stack([np.array(rows), np.full(len(rows), self.seconds)])

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Column by name."""
        return {label: i for i, label in enumerate(self.labels)}

    def column(self, label: str) -> Array:
        """One column, `(T + 1,)`."""
        return self.values[:, self.index[label]]

    def of(self, name: str) -> Array:
        """All columns of a state variable, `(T + 1, k)`."""
        return self.values[:, [i for i, label in enumerate(self.labels) if label.partition("[")[0] == name]]


@dataclass(frozen=True)
class Recorded:
    """A policy's recorded episodes, and where they went; of random actions: what play without learning visits."""

    tracks: tuple[Track, ...]
    fitness: Array
    """Of all its scored episodes, recorded or not."""

    @classmethod
    def of(cls, tracks: tuple[Track, ...], fitness: Sequence[float]) -> Recorded:
        """The recorded episodes, and the fitness of all."""
        return cls(tracks, np.array(fitness, dtype=np.float64))

    @cached_property
    def low(self) -> Array:
        """Lowest value of each column, `(C,)`."""
        low: Array = np.min([t.values.min(axis=0) for t in self.tracks], axis=0)
        return low

    @cached_property
    def high(self) -> Array:
        """Highest value of each column, `(C,)`."""
        high: Array = np.max([t.values.max(axis=0) for t in self.tracks], axis=0)
        return high

    @cached_property
    def spread(self) -> Array:
        """Standard deviation of each column over all steps, `(C,)`; 1 where it never changes."""
        deviation = np.concatenate([t.values for t in self.tracks]).std(axis=0)
        return np.where(deviation > 1e-12, deviation, 1.0)

    @cached_property
    def pace(self) -> Array:
        """Mean absolute change per step of each column, `(C,)`."""
        pace: Array = np.concatenate([np.abs(np.diff(t.values, axis=0)) for t in self.tracks]).mean(axis=0)
        return pace

    @cached_property
    def actions(self) -> tuple[Array, Array]:
        """Lowest and highest action, `(nu,)` each: as good as the bounds."""
        used = np.concatenate([t.actions for t in self.tracks])
        return used.min(axis=0), used.max(axis=0)


@dataclass(frozen=True)
class Subject:
    """A candidate's episodes and what there is to hold them against."""

    tracks: tuple[Track, ...]
    """Recorded ones, from the worst to the best; at least one."""
    fitness: Array
    """Of every scored episode, `(E,)`."""
    success: NDArray[np.bool_]
    """Of every scored episode, `(E,)`."""
    lengths: NDArray[np.int64]
    """Control steps of every scored episode, `(E,)`."""
    limit: int
    """Longest possible episode, in steps."""
    variables: Mapping[str, Variable]
    floor: Recorded | None = None
    incumbent: tuple[Track, ...] = ()
    """The recorded episodes of the best candidate so far, if that is another one; from the worst to the best."""
    own_return: Array = field(default_factory=lambda: np.zeros(0))
    """The return under its own reward over training, without gaps."""
    unit: str = ""
    """Of fitness, as it follows a number."""
    human: float | None = None
    """Fitness that a reward written by a person reached."""
    healthy: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By state variable, the range that a terminal state lies outside of, in any element; empty if unknown."""
    limbs: tuple[Limbs, ...] = ()

    @property
    def worst(self) -> Track:
        """The recorded episode of lowest fitness."""
        return self.tracks[0]

    @property
    def median(self) -> Track:
        """The recorded episode in the middle (the lower one of two)."""
        return self.tracks[(len(self.tracks) - 1) // 2]

    @property
    def best(self) -> Track:
        """The recorded episode of highest fitness."""
        return self.tracks[-1]

    def called(self, track: Track) -> str:
        """Which of the recorded episodes one is: `the median episode`; of others than these three `one episode`."""
        names = ((self.median, "median"), (self.worst, "worst"), (self.best, "best"))
        return next((f"the {name} episode" for known, name in names if track is known), "one episode")

    @property
    def solved(self) -> bool:
        """Whether nearly all episodes succeed."""
        return bool(self.success.mean() > 0.9)

    @cached_property
    def scale(self) -> float:
        """What counts as a large difference of fitness: from random play to the human reward, if that is known."""
        random = float(self.floor.fitness.mean()) if self.floor else 0.0
        if self.human is not None and self.human > random:
            return self.human - random
        return max(abs(float(np.median(self.fitness)) - random), float(np.ptp(self.fitness)), 1e-9)

    @cached_property
    def first_of_twins(self) -> NDArray[np.bool_]:
        """Columns that are no shifted or scaled copy of an earlier one in the median episode, `(C,)`."""
        x = self.median.values - self.median.values.mean(axis=0)
        norm = np.sqrt((x**2).sum(axis=0))
        x = x / np.where(norm > 0, norm, 1.0)
        copies: NDArray[np.bool_] = (np.tril(np.abs(x.T @ x), -1) > TWINS).any(axis=1)
        return ~copies

    def telling(self, size: Array, count: int, least: float, apart: str = "") -> list[int]:
        """At most so many columns of the largest `size` `(C,)`, none below `least`, of twins only one, not `apart`."""
        size = np.where([label == apart for label in self.worst.labels], -1.0, size)
        order = np.argsort(-np.where(self.first_of_twins, size, -1.0), kind="stable")[:count]
        return [int(i) for i in order if size[i] > least and self.first_of_twins[i]]

    def variable(self, label: str) -> Variable:
        """Of a column."""
        name = label.partition("[")[0]
        return self.variables.get(name, Variable(name))

    def told(self, label: str, value: float) -> str:
        """A value of a column with its unit."""
        return f"{number(value)}{self.variable(label).suffix}"

    def labels_of(self, *sorts: str) -> list[str]:
        """Columns of variables of these sorts, in the order of the recording."""
        return [label for label in self.worst.labels if self.variable(label).sort in sorts]

    def action_bounds(self) -> tuple[Array, Array]:
        """Lowest and highest action that were ever seen, `(nu,)` each."""
        lows, highs = zip(*((t.actions.min(axis=0), t.actions.max(axis=0)) for t in self.tracks), strict=True)
        low, high = np.min(lows, axis=0), np.max(highs, axis=0)
        if self.floor:
            low, high = np.minimum(low, self.floor.actions[0]), np.maximum(high, self.floor.actions[1])
        return low, high

    def spread(self) -> Array:
        """What counts as a large difference in each column, `(C,)`: its spread under random play, or its own."""
        own = np.concatenate([t.values for t in self.tracks]).std(axis=0)
        own = np.where(own > 1e-12, own, 1.0)
        return self.floor.spread if self.floor else own


def track(episode: Episode, fitness: float) -> Track:
    """An episode of at least one step as a table."""
    labels: list[str] = []
    parts: list[Array] = []
    for name, rows in episode.state.items():
        if name in UNTOLD:
            continue
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        labels += [name] if rows.ndim == 1 else [f"{name}[{i}]" for i in range(flat.shape[1])]
        parts.append(flat)
    values = np.concatenate(parts, axis=1) if parts else np.zeros((episode.length + 1, 0))
    return Track(tuple(labels), values, episode.actions.astype(np.float64), episode.terminated, episode.dt, fitness)


def tracks_of(episodes: Mapping[int, Episode], fitness: Sequence[float]) -> tuple[Track, ...]:
    """Recorded episodes, by their position among the scored ones, from the worst to the best."""
    made: Iterable[Track] = (track(e, float(fitness[position])) for position, e in episodes.items() if e.length)
    return tuple(sorted(made, key=lambda t: t.fitness))


def number(value: float) -> str:
    """Three digits; nothing that rounds to `-0`."""
    text = f"{value:.3g}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def drifting(values: Array) -> NDArray[np.bool_]:
    """Columns of `(T, C)` that go one way all along, such as a position: their level says little."""
    walked = np.abs(np.diff(values, axis=0)).sum(axis=0)
    net = np.abs(values[-1] - values[0])
    one_way: NDArray[np.bool_] = (net > 0.5 * walked) & (walked > 0)
    return one_way


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
