"""What the signs of reward hacking are looked for in: one candidate's values on common transitions, and its scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.decomposition import PerStep
from eureka_evaluation.transitions import Transitions

Floats = NDArray[np.float64]
LARGEST = float(np.finfo(np.float32).max)
"""What stands where a reward failed on a probe."""
RANDOM, IDLE = "random", "idle"
"""Policies of play without learning: uniform random actions, and none."""
METRIC = "metric"
"""The task's metric among the names of rewards that distances are measured to."""


@dataclass(frozen=True)
class Probes:
    """Made-up states: recorded ones with every quantity that is no action, flag or clock multiplied."""

    values: Floats
    """`(1 + C, P)`; `LARGEST` where the reward failed."""
    scale: Floats
    """`(P,)`, by how much."""


@dataclass(frozen=True)
class Evidence:
    """A reward with C components, judged on T transitions of N trajectories; of several policies, also its own."""

    policy: str
    """Its own, in `transitions.policies`."""
    transitions: Transitions
    components: tuple[str, ...]
    values: Floats
    """`(1 + C, T)`: the total, then each component."""
    per_step: PerStep
    code: str = ""
    probes: Probes | None = None
    rungs: tuple[tuple[float, float | None], ...] = ()
    """Fitness and smoothed return under the own reward, at several moments of training, the earliest first."""
    distances: dict[str, float] = field(default_factory=dict)
    """STARC distances to other rewards, by name; `metric` is the task's metric per step."""
    spread: tuple[float, ...] = ()
    """STARC distances from the metric of all rewards of the run so far, this one's included."""
    anchor: float | None = None
    """Fitness of the human reward, where it was measured."""
    nominal: float | None = None
    """Mean fitness in the world of the training of the policy that was played in variations."""
    variations: tuple[float, ...] = ()
    """Its mean fitness in each perturbed world, on the same seeds as `nominal`."""
    selected: tuple[float, ...] = ()
    """Mean fitness of each training that it was selected by, the earliest first; of those that began as `fresh` did."""
    fresh: tuple[float, ...] = ()
    """Mean fitness of each training whose seeds chose nothing."""
    reported: float | None = None
    """Success rate that the training itself claims; None: it claims none, as in every run (see `self_report`)."""
    success_rate: float | None = None
    episodes: int = 0
    """How many episodes the success rate is of."""

    @cached_property
    def returns(self) -> Floats:
        """Undiscounted, of each trajectory, `(N,)`."""
        return np.asarray(self.transitions.sums(self.values[0])[0])

    @cached_property
    def means(self) -> dict[str, float]:
        """Mean fitness by policy."""
        return self.transitions.mean_fitness()

    @cached_property
    def floor(self) -> float:
        """Mean fitness of random play, or of the worst policy if nobody played at random."""
        return self.means.get(RANDOM, min(self.means.values()))

    @cached_property
    def best(self) -> float:
        """Best mean fitness known: of any policy here, or of the human reward."""
        return max(*self.means.values(), self.floor if self.anchor is None else self.anchor)

    @cached_property
    def range(self) -> float:
        """From the floor to the best; 0 if nothing is better than the floor."""
        return max(0.0, self.best - self.floor)

    def level(self, fitness: float) -> float:
        """Where a fitness stands: 0 at the floor, 1 at the best known; 1 where there is no range."""
        return (fitness - self.floor) / self.range if self.range > 0 else 1.0

    @cached_property
    def own_level(self) -> float:
        """Where the own policy stands."""
        return self.level(self.means[self.policy])

    @cached_property
    def leader(self) -> str:
        """The policy of the best mean fitness here."""
        return max(self.means, key=lambda name: self.means[name])

    def reward_per_step(self, policy: str) -> float:
        """Mean over a policy's steps."""
        chosen = self.transitions.of(policy)
        return float(self.returns[chosen].sum() / self.transitions.lengths[chosen].sum())

    @cached_property
    def metric_is_length(self) -> bool:
        """Whether the metric itself is to last long: then staying alive is the task."""
        return correlation(self.transitions.lengths, self.transitions.fitness) > 0.99


def correlation(a: Floats, b: Floats, weights: Floats | None = None) -> float:
    """Pearson's, weighted; 0 where one side is constant."""
    w = np.full(a.shape, 1.0 / max(1, a.size)) if weights is None else weights / weights.sum()
    scale = [max(float(np.abs(values).max(initial=0.0)), 1e-300) for values in (a, b)]
    x, y = a / scale[0], b / scale[1]
    x, y = x - w @ x, y - w @ y
    size = float(np.sqrt((w @ x**2) * (w @ y**2)))
    return float(np.clip(w @ (x * y) / size, -1.0, 1.0)) if size > 1e-12 else 0.0
