"""Distances between the rewards of a population, on transitions that were recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.epic import pearson_distance
from eureka_evaluation.starc import sampled_canonical, starc_distance
from eureka_evaluation.transitions import CLOCKS, Transitions

Floats = NDArray[np.float64]
FARTHEST = 5.0
"""A state variable's standard deviations beyond which a feature grows no more."""


def starc_matrix(values: Floats, transitions: Transitions, gamma: float) -> Floats:
    """STARC distances with the L2 norm, `(K, K)` in [0, 1], of K rewards given as `(K, T)`.

    Values are taken for functions linear in the state variables and their squares. `gamma` is the discount that the
    policies are trained with: what is shaping under one is none under another.
    """
    before, after = features(transitions)
    canonical = sampled_canonical(_unit(values), before, after, transitions.terminal, gamma)
    return _matrix(canonical, lambda a, b: starc_distance(a, b, transitions.weight))


def epic_matrix(values: Floats, transitions: Transitions) -> Floats:
    """EPIC distances, `(K, K)` in [0, 1], of K rewards given as `(K, T)`.

    A reward here is a function of an action and the state after it. For such a one canonical shaping adds the same
    number everywhere, as E[R(s', A, S')] does not depend on s', so EPIC is the Pearson distance of the values.
    """
    return _matrix(_unit(values), lambda a, b: pearson_distance(a, b, transitions.weight))


def features(transitions: Transitions) -> tuple[Floats, Floats]:
    """Features of the states before and after each transition, `(T, F)`: 1, every state variable, and its square."""
    names = transitions.names
    state = [i for i, name in enumerate(names) if not name.startswith(("actions", "previous_actions", "terminated"))]
    state = [i for i in state if names[i] not in CLOCKS]
    kept = [i for i in state if transitions.after[:, i].std() > 0]
    mean, spread = transitions.after[:, kept].mean(axis=0), transitions.after[:, kept].std(axis=0)

    def of(rows: Floats) -> Floats:
        scaled = np.clip((rows[:, kept] - mean) / spread, -FARTHEST, FARTHEST)
        return np.concatenate([np.ones((len(rows), 1)), scaled, scaled**2], axis=1)

    return of(transitions.before), of(transitions.after)


def _unit(values: Floats) -> Floats:
    """Each reward divided by its largest magnitude, so that squares stay finite."""
    largest = np.abs(values).max(axis=1, keepdims=True)
    found: Floats = np.divide(values, largest, out=np.zeros_like(values, dtype=np.float64), where=largest > 0)
    return found


def _matrix(rows: Floats, distance: Callable[[Floats, Floats], float]) -> Floats:
    found = np.zeros((len(rows), len(rows)))
    for i, a in enumerate(rows):
        for j in range(i):
            found[i, j] = found[j, i] = distance(a, rows[j])
    return found
