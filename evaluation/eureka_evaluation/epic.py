"""EPIC, the equivalent-policy invariant comparison of Gleave et al. 2021 (equations after definitions 4.1 and 4.6).

It is the Pearson distance of two rewards after each was *canonically shaped*, which takes away whatever a potential
added. It is no bound on regret, and on transitions that cannot happen it may mislead (Wulfe et al. 2022); STARC is
preferred. Tables are `(S, A, S)`: reward of state, action, next state.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def canonically_shaped(reward: Floats, states: Floats, actions: Floats, gamma: float) -> Floats:
    """R(s, a, s') + E[γ R(s', A, S') − R(s, A, S') − γ R(S, A, S')]: S and S' drawn from `states`, A from `actions`.

    Args:
        reward: `(S, A, S)`.
        states: `(S,)`, probabilities.
        actions: `(A,)`, probabilities.
        gamma: discount.
    """
    leaving = np.einsum("saz,a,z->s", reward, actions, states)
    shaped: Floats = reward + gamma * leaving[None, None, :] - leaving[:, None, None] - gamma * (states @ leaving)
    return shaped


def pearson_distance(a: Floats, b: Floats, weights: Floats | None = None) -> float:
    """√((1 − ρ) / 2), in [0, 1]: 0 if one is a positive multiple of the other but for a constant.

    A reward that is constant where `weights` are says nothing: it is 0 from another such one, √½ from any other.
    """
    x, y = a.ravel(), b.ravel()
    w = np.full(x.shape, 1.0 / x.size) if weights is None else weights.ravel() / weights.sum()
    x, y = _centred(x, w), _centred(y, w)
    sizes = np.sqrt(w @ x**2), np.sqrt(w @ y**2)
    if not all(sizes):
        return 0.0 if not any(sizes) else float(np.sqrt(0.5))
    # ‖x/|x| − y/|y|‖ / 2 is the same number, and exact where ρ is close to 1
    return float(np.sqrt(w @ (x / sizes[0] - y / sizes[1]) ** 2) / 2.0)


def epic_distance(a: Floats, b: Floats, states: Floats, actions: Floats, gamma: float, coverage: Floats) -> float:
    """The EPIC distance of two tables, in [0, 1]; `coverage` `(S, A, S)` weighs the transitions it is taken over."""
    shaped = [canonically_shaped(reward, states, actions, gamma) for reward in (a, b)]
    return pearson_distance(shaped[0], shaped[1], coverage)


def _centred(x: Floats, w: Floats) -> Floats:
    """Minus the mean; what is left of a constant by rounding counts as nothing."""
    centred = x - w @ x
    return np.zeros_like(x) if np.abs(centred).max() <= 1e-12 * np.abs(x).max() else centred
