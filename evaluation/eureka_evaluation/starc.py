"""STARC, standardised reward comparison, of Skalse et al. 2024: distances that bound regret from both sides.

A reward is *canonicalised*, which takes away what potential shaping and redistribution over next states add, divided
by a norm, and compared. With V the value of the reward under a fixed policy π:

* VAL            c(R)(s, a, s') = E[R(s, a, S') − V(s) + γ V(S')], S' drawn from the environment
* VALPotential   c(R)(s, a, s') = R(s, a, s') − V(s) + γ V(s')

Tables are `(S, A, S)`. On recorded transitions V is not known and is found by least squares in features of the state
(LSTD(0), Bradtke and Barto 1996), for the policies that played them. MuJoCo's step is a function of state and action,
so there S' is the state that followed, and VAL and VALPotential are the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDING = 1e-5
"""Of a reward's size: a canonical reward that is smaller is 0, by the ridge and by float32."""
RIDGE = 1e-9
"""Of the features' mean square: enough to solve, too little to keep a potential from being taken away."""


def value(reward: Floats, transition: Floats, policy: Floats, gamma: float) -> Floats:
    """V of a policy, `(S,)`, exactly.

    Args:
        reward: `(S, A, S)`.
        transition: `(S, A, S)`, probability of the next state.
        policy: `(S, A)`, probability of each action.
        gamma: discount, below 1.
    """
    expected = np.einsum("sa,saz,saz->s", policy, transition, reward)
    moves = np.einsum("sa,saz->sz", policy, transition)
    found: Floats = np.linalg.solve(np.eye(len(moves)) - gamma * moves, expected)
    return found


def val_potential(reward: Floats, transition: Floats, policy: Floats, gamma: float) -> Floats:
    """VALPotential of a table; arguments as for `value`."""
    worth = value(reward, transition, policy, gamma)
    canonical: Floats = reward - worth[:, None, None] + gamma * worth[None, None, :]
    return canonical


def val(reward: Floats, transition: Floats, policy: Floats, gamma: float) -> Floats:
    """VAL of a table; arguments as for `value`. It is the same for every next state."""
    expected = (transition * val_potential(reward, transition, policy, gamma)).sum(axis=-1, keepdims=True)
    return np.broadcast_to(expected, reward.shape)


def sampled_canonical(rewards: Floats, before: Floats, after: Floats, ended: NDArray[np.bool_], gamma: float) -> Floats:
    """Canonical rewards on recorded transitions, `(K, T)`.

    A potential that is a linear combination of the features is taken away exactly.

    Args:
        rewards: `(K, T)`, what K rewards gave.
        before: `(T, F)`, features of the state before each transition; one of them constant.
        after: `(T, F)`, of the state after it.
        ended: `(T,)`, whether that was terminal: V is 0 there.
        gamma: discount.
    """
    following = np.where(ended[:, None], 0.0, after)
    difference = before - gamma * following
    normal = before.T @ difference + RIDGE * np.mean(before**2) * len(before) * np.eye(before.shape[1])
    weights = np.linalg.lstsq(normal, before.T @ rewards.T, rcond=None)[0]
    canonical: Floats = rewards - (difference @ weights).T
    size, left = (np.sqrt((rows**2).mean(axis=1)) for rows in (rewards, canonical))
    canonical[left <= ROUNDING * size] = 0.0  # nothing but potential: what is left must not be scaled up
    return canonical


def standardised(canonical: Floats, weights: Floats | None = None, order: float = 2.0) -> Floats:
    """Divided by its norm (over the last axis for rows of samples, over all of a table); 0 stays 0.

    Args:
        canonical: `(T,)` samples or any table.
        weights: of the same shape; None: all equal.
        order: of the norm; `inf` for the largest magnitude.
    """
    size = _norm(canonical, weights, order)
    return canonical / size if size > 0 else np.zeros_like(canonical)


def starc_distance(a: Floats, b: Floats, weights: Floats | None = None, order: float = 2.0) -> float:
    """Half the norm of the difference of two standardised canonical rewards: 0 for equal aims, 1 for opposite ones."""
    return _norm(standardised(a, weights, order) - standardised(b, weights, order), weights, order) / 2.0


def _norm(values: Floats, weights: Floats | None, order: float) -> float:
    if np.isinf(order):
        return float(np.abs(values if weights is None else values[weights > 0]).max(initial=0.0))
    w = np.full(values.shape, 1.0 / values.size) if weights is None else weights / weights.sum()
    return float((w * np.abs(values) ** order).sum() ** (1.0 / order))
