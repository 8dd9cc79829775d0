"""Maps of a reward over two state variables: which two tell most, and the states on a grid over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.float32]]
"""float32 `(T, *shape)` by state variable."""
FEWEST_VALUES = 8
"""Distinct values below which a variable (a flag, a contact) is no axis."""
LEAST = 0.05
"""Of the first number's effect, what a third must have to be worth a map."""
MARGIN = 0.1
"""Of the range that was visited, how much more a map shows on each side."""


@dataclass(frozen=True)
class Scalar:
    """One number of a state variable."""

    variable: str
    index: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.variable + (f"[{', '.join(map(str, self.index))}]" if self.index else "")

    def of(self, arrays: Arrays) -> NDArray[np.float64]:
        """Its values, `(T,)`."""
        values: NDArray[np.float64] = arrays[self.variable][self.place].astype(np.float64)
        return values

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it is in the variable's array."""
        return (slice(None), *self.index)


def scalars(arrays: Arrays, names: Sequence[str]) -> list[Scalar]:
    """Every number of the named variables that takes enough values to be an axis."""
    found = [Scalar(name, index) for name in names if name in arrays for index in np.ndindex(arrays[name].shape[1:])]
    return [scalar for scalar in found if len(np.unique(scalar.of(arrays))) >= FEWEST_VALUES]


def shuffled(base: Arrays, scalar: Scalar, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """The same states with one number's values dealt out anew, so that nothing else can speak for it."""
    values = np.array(base[scalar.variable])
    values[scalar.place] = np.random.default_rng(seed).permutation(values[scalar.place])
    return {**base, scalar.variable: values}


def most_telling_pairs(
    names: Sequence[Scalar], total: NDArray[np.float32], changed: Sequence[NDArray[np.float32]]
) -> list[tuple[Scalar, Scalar]]:
    """The number whose shuffling changes the total most with the second, and with the third; fewer if fewer change it.

    Args:
        names: what was shuffled.
        total: on the states as they were, `(T,)`.
        changed: the total after shuffling each, `(T,)`; not a number where the reward failed.
    """
    with np.errstate(invalid="ignore"):
        gaps = [np.abs(np.asarray(values, np.float64) - total) for values in changed]
    effect = {s: float(g[np.isfinite(g)].mean()) for s, g in zip(names, gaps, strict=True) if np.isfinite(g).any()}
    ranked = sorted((s for s in effect if effect[s] > 0), key=lambda s: -effect[s])
    second = [s for s in ranked[2:3] if effect[s] >= LEAST * effect[ranked[0]]]
    return [(ranked[0], other) for other in (*ranked[1:2], *second)]


def shown_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where most of the values lie, and a margin."""
    low, high = (float(v) for v in np.quantile(values, (0.01, 0.99)))
    return low - MARGIN * (high - low), high + MARGIN * (high - low)


def grid(
    base: Arrays, x: Scalar, y: Scalar, x_range: tuple[float, float], y_range: tuple[float, float], cells: int
) -> dict[str, NDArray[np.float32]]:
    """States on a `cells × cells` grid, row by row from the lowest y, everything else at its median over `base`.

    Returns:
        float32 `(cells², *shape)` by state variable.
    """
    states = {}
    for name, values in base.items():
        middle = np.median(values, axis=0)
        states[name] = np.repeat(middle[None], cells * cells, axis=0).astype(np.float32)
    rows, columns = np.meshgrid(np.linspace(*y_range, cells), np.linspace(*x_range, cells), indexing="ij")
    for scalar, axis in ((x, columns), (y, rows)):
        states[scalar.variable][scalar.place] = axis.ravel()
    return states
