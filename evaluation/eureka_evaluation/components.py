"""What the components of a reward did over a training: size, share, trend, and which of them teach nothing.

The curves hold, per logged point, a component's mean sum over an episode (or its mean per step). Shares are of sums of
magnitudes and of variances, so that terms of opposite sign never cancel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PREFIX = "reward/"
LENGTH = "rollout/ep_len_mean"
DEAD_SHARE = 1e-3
"""A component with less of the total magnitude than this steers nothing."""
DOMINANT_SHARE = 0.8
"""A component with more of it drowns the others."""
CONSTANT_VARIATION = 0.01
"""Relative spread per step, over the training, below which a component does not depend on what the policy does."""
LEVEL = 0.03
"""Part of its range within which a component stays over the last third, at its largest magnitude: it is saturated."""
GROWN = 0.1
"""Range of a curve, in parts of its largest magnitude, below which a component did not grow."""
SAME = 0.98
"""Correlation over training, of the values and of their changes, from which two components say the same."""
FEWEST = 6
"""Logged points without which nothing is said about saturation or duplicates."""


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
    variance_share: float = 0.0
    """Of the summed variances over training of all components, in [0, 1]: whose change the return shows."""
    saturated: bool = False
    """It grew and then stayed level: there is no more to gain or lose by it."""
    duplicate_of: str | None = None
    """A larger component that went up and down with it all along."""


def per_step(curves: Mapping[str, Sequence[float | None]]) -> dict[str, list[float | None]]:
    """The components' curves as mean per step: sums grow with the episodes' length, whatever the policy does."""
    lengths = curves.get(LENGTH, [])
    return {
        key: [None if v is None or not n else v / n for v, n in zip(values, lengths, strict=True)]
        for key, values in curves.items()
        if key.startswith(PREFIX) and lengths
    }


def component_statistics(curves: Mapping[str, Sequence[float | None]]) -> tuple[ComponentStatistics, ...]:
    """Statistics of every `reward/<component>` curve, the largest share first.

    Args:
        curves: logged values by key, all equally long, None where nothing was logged; `rollout/ep_len_mean`, if
            there, turns sums per episode into values per step for the test of constancy.
    """
    columns = {key.removeprefix(PREFIX): _array(curves[key]) for key in curves if key.startswith(PREFIX)}
    columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    # curves come out of a box: in units of the largest value no sum or square of theirs overflows
    largest = max((float(np.nanmax(np.abs(values))) for values in columns.values()), default=0.0) or 1.0
    size = {name: float(np.nanmean(np.abs(values / largest))) for name, values in columns.items()}
    spread = {name: float(np.nanvar(values / largest)) for name, values in columns.items()}
    total, variance = sum(size.values()), sum(spread.values())
    lengths = _array(curves[LENGTH]) if LENGTH in curves else None
    found = [
        replace(
            _statistics(name, v, size[name] / total if total else 0.0, lengths),
            variance_share=spread[name] / variance if variance else 0.0,
        )
        for name, v in columns.items()
    ]
    found.sort(key=lambda c: -c.share)
    if len(found) == 1:
        return (replace(found[0], dominant=False),)
    twins = _duplicates([c.name for c in found if not c.dead and not c.constant], columns)
    return tuple(replace(c, duplicate_of=twins.get(c.name)) for c in found)


def _array(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _statistics(name: str, values: Array, share: float, lengths: Array | None) -> ComponentStatistics:
    dead = share < DEAD_SHARE
    kept = values[np.isfinite(values)]
    constant = not dead and _constant(values, lengths)
    return ComponentStatistics(
        name=name,
        values=tuple(kept.tolist()),
        share=share,
        trend=_trend(kept),
        dead=dead,
        constant=constant,
        dominant=share > DOMINANT_SHARE,
        saturated=not dead and not constant and _saturated(kept),
    )


def _trend(values: Array) -> float:
    third = max(1, len(values) // 3)
    largest = float(np.abs(values).max())
    return float(values[-third:].mean() - values[:third].mean()) / largest if largest > 0 else 0.0


def _constant(values: Array, lengths: Array | None) -> bool:
    """Three logged points at least, or nothing can be said."""
    with np.errstate(over="ignore"):  # curves come out of a box: what is infinite is not constant
        per_step = values if lengths is None else values / np.where(lengths > 0, lengths, np.nan)
        per_step = per_step[np.isfinite(per_step)]
        if len(per_step) < 3:
            return False
        return bool(np.std(per_step) < CONSTANT_VARIATION * abs(float(per_step.mean())))


def _saturated(values: Array) -> bool:
    """Level over the last third, at the largest magnitude that it ever had."""
    reach = float(np.ptp(values)) if len(values) >= FEWEST else 0.0
    last, size = values[-(len(values) // 3) :], np.abs(values)
    if not 0.0 < reach < np.inf or reach < GROWN * float(size.max()):
        return False
    return float(size.max() - np.abs(last).min()) <= LEVEL * reach and float(np.ptp(last)) <= LEVEL * reach


def _duplicates(names: Sequence[str], columns: Mapping[str, Array]) -> dict[str, str]:
    """By component, the first of `names`, the largest share first, that its values and their changes follow."""
    found: dict[str, str] = {}
    for i, name in enumerate(names):
        for earlier in names[:i]:
            if earlier not in found and _alike(columns[earlier], columns[name]):
                found[name] = earlier
                break
    return found


def _alike(a: Array, b: Array) -> bool:
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < FEWEST:
        return False
    # two terms that both rise as learning goes on correlate; only twins do so in every step of it
    return min(_correlation(a, b), _correlation(np.diff(a), np.diff(b))) > SAME


def _correlation(a: Array, b: Array) -> float:
    """Magnitude of Pearson's correlation; 0 where one does not vary."""
    with np.errstate(over="ignore", invalid="ignore"):
        x, y = a - a.mean(), b - b.mean()
        norm = float(np.sqrt((x**2).sum() * (y**2).sum()))
        return abs(float(x @ y)) / norm if 0.0 < norm < np.inf else 0.0
