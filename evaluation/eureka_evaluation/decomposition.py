"""The task's metric, which is known per trajectory, spread over its steps: what each step was worth.

Every scalar of the state gives terms per step: its value, its change, both of its magnitude; and 1 (time) is one. Terms
are taken greedily, a few at most, as long as they explain fitness better on policies that were left out. A displacement
is found as the sum of its changes, a balanced time as a count of steps. What the terms leave unexplained is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.transitions import CLOCKS, Transitions

Floats = NDArray[np.float64]
MOST_TERMS = 3
WORTH_A_TERM = 0.02
"""Of fitness's variance: a further term that explains less is left out."""
FOLDS = 8
"""Policies are left out in so many groups at most."""
TRUSTED = 0.8
"""Explained share from which the metric per step may stand for the metric."""


@dataclass(frozen=True)
class PerStep:
    """The metric per step."""

    values: Floats
    """`(T,)`, per step of the simulation (not per chosen transition)."""
    terms: tuple[str, ...]
    """`change of torso_x`, `step`, …"""
    explained: float
    """Share of fitness's variance over trajectories that the sums explain, by terms and weights of other policies."""


def metric_per_step(transitions: Transitions) -> PerStep:
    """Find the terms; with fewer than three policies nothing can be left out, and nothing is explained."""
    columns, names = _terms(transitions)
    sums = transitions.sums(columns)
    fitness, spread = transitions.fitness, float(transitions.fitness.var())
    owners = [policy.partition("/")[0] for policy in transitions.policies]
    policies = np.unique(np.array(owners), return_inverse=True)[1] % FOLDS
    if spread == 0.0 or policies.max() < 2:
        return PerStep(np.zeros(columns.shape[1]), (), 0.0)
    sizes = sums.std(axis=1)
    usable = [i for i in range(len(sums)) if sizes[i] > 1e-9 * (1.0 + np.abs(sums[i]).max())]
    chosen = _chosen(sums, usable, fitness, policies)
    if not chosen:
        return PerStep(np.zeros(columns.shape[1]), (), 0.0)
    weights = _fit(sums[chosen], fitness)
    explained = _explained(sums, usable, fitness, policies)
    return PerStep(weights[1:] @ columns[chosen], tuple(names[i] for i in chosen), explained)


def _chosen(sums: Floats, usable: list[int], fitness: Floats, policies: NDArray[np.intp]) -> list[int]:
    """The terms that predict policies left out best, one added after the other."""
    chosen: list[int] = []
    explained = 0.0
    while len(chosen) < MOST_TERMS:
        scores = {i: _left_out(sums[[*chosen, i]], fitness, policies) for i in usable if i not in chosen}
        best = max(scores, key=lambda i: scores[i], default=None)
        if best is None or scores[best] < explained + WORTH_A_TERM:
            break
        chosen.append(best)
        explained = scores[best]
    return chosen


def _explained(sums: Floats, usable: list[int], fitness: Floats, policies: NDArray[np.intp]) -> float:
    """Explained share of policies that had no say in the choice of terms either: the best of many terms fits noise."""
    residual = np.zeros_like(fitness)
    for policy in range(policies.max() + 1):
        out = policies == policy
        inner = np.unique(policies[~out], return_inverse=True)[1]
        chosen = _chosen(sums[:, ~out], usable, fitness[~out], inner) if np.ptp(fitness[~out]) > 0 else []
        weights = _fit(sums[chosen][:, ~out], fitness[~out])
        residual[out] = fitness[out] - weights[0] - weights[1:] @ sums[chosen][:, out]
    return max(0.0, 1.0 - float(np.mean(residual**2)) / float(fitness.var()))


def _terms(transitions: Transitions) -> tuple[Floats, list[str]]:
    kept = [i for i, name in enumerate(transitions.names) if name not in CLOCKS and not name.startswith("previous_")]
    names = [transitions.names[i] for i in kept]
    before, after = transitions.before[:, kept].T, transitions.after[:, kept].T
    step = np.ones((1, after.shape[1]))
    columns = np.concatenate([step, after - before, np.abs(after) - np.abs(before), after, np.abs(after)])
    shapes = ("change of {}", "change of |{}|", "{}", "|{}|")
    return columns, ["step", *(shape.format(name) for shape in shapes for name in names)]


def _left_out(sums: Floats, fitness: Floats, policies: NDArray[np.intp]) -> float:
    """Explained share where each policy's trajectories are predicted from the others'."""
    residual = np.zeros_like(fitness)
    for policy in range(policies.max() + 1):
        out = policies == policy
        weights = _fit(sums[:, ~out], fitness[~out])
        residual[out] = fitness[out] - weights[0] - weights[1:] @ sums[:, out]
    return 1.0 - float(np.mean(residual**2)) / float(fitness.var())


def _fit(sums: Floats, fitness: Floats) -> Floats:
    """Least squares with a constant."""
    scale = np.abs(sums).max(axis=1, keepdims=True)
    scale[scale == 0] = 1.0
    design = np.concatenate([np.ones((1, sums.shape[1])), sums / scale]).T
    weights = np.linalg.lstsq(design, fitness, rcond=1e-10)[0]
    weights[1:] /= scale[:, 0]
    return np.asarray(weights)
