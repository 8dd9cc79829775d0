"""What the components of a reward did over a training: size, share, trend, and which of them teach nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PREFIX = "reward/"
LENGTH = "rollout/ep_len_mean"
DEAD_SHARE = 1e-3
"""A component with less of the total magnitude than this steers nothing."""
DOMINANT_SHARE = 0.8
"""A component with more of it drowns the others."""
CONSTANT_VARIATION = 0.01
"""Relative spread per step, over the training, below which a component does not depend on what the policy does."""


@dataclass(frozen=True)
class ComponentStatistics:
    """One component's training curve, as mean sum per episode."""

    name: str
    values: tuple[float, ...]
    """The curve without its gaps, oldest first."""
    share: float
    """Of the summed mean magnitude of all components, in [0, 1]."""
    trend: float
    """Mean of the last third minus mean of the first, in units of the largest magnitude on the curve; in [-2, 2]."""
    dead: bool
    """Next to nothing of the total."""
    constant: bool
    """The same at every step of every policy along the training: a bonus that teaches nothing but to stay alive."""
    dominant: bool
    """So large that the other components hardly count."""


def component_statistics(curves: Mapping[str, Sequence[float | None]]) -> tuple[ComponentStatistics, ...]:
    """Statistics of every `reward/<component>` curve, the largest share first.

    Args:
        curves: logged values by key, all equally long, None where nothing was logged; `rollout/ep_len_mean`, if
            there, turns sums per episode into values per step for the test of constancy.
    """
    columns = {key.removeprefix(PREFIX): _array(curves[key]) for key in curves if key.startswith(PREFIX)}
    columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    size = {name: float(np.nanmean(np.abs(values))) for name, values in columns.items()}
    total = sum(size.values())
    lengths = _array(curves[LENGTH]) if LENGTH in curves else None
    found = [_statistics(name, v, size[name] / total if total else 0.0, lengths) for name, v in columns.items()]
    found.sort(key=lambda c: -c.share)
    if len(found) > 1:
        return tuple(found)
    return tuple(ComponentStatistics(c.name, c.values, c.share, c.trend, c.dead, c.constant, False) for c in found)


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _statistics(
    name: str, values: NDArray[np.float64], share: float, lengths: NDArray[np.float64] | None
) -> ComponentStatistics:
    dead = share < DEAD_SHARE
    kept = values[np.isfinite(values)]
    return ComponentStatistics(
        name=name,
        values=tuple(kept.tolist()),
        share=share,
        trend=_trend(kept),
        dead=dead,
        constant=not dead and _constant(values, lengths),
        dominant=share > DOMINANT_SHARE,
    )


def _trend(values: NDArray[np.float64]) -> float:
    third = max(1, len(values) // 3)
    largest = float(np.abs(values).max())
    return float(values[-third:].mean() - values[:third].mean()) / largest if largest > 0 else 0.0


def _constant(values: NDArray[np.float64], lengths: NDArray[np.float64] | None) -> bool:
    """Three logged points at least, or nothing can be said."""
    with np.errstate(over="ignore"):  # curves come out of a box: what is infinite is not constant
        per_step = values if lengths is None else values / np.where(lengths > 0, lengths, np.nan)
        per_step = per_step[np.isfinite(per_step)]
        if len(per_step) < 3:
            return False
        return bool(np.std(per_step) < CONSTANT_VARIATION * abs(float(per_step.mean())))
