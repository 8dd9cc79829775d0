"""Limbs that are images of each other: how much each of them moves, and how far apart in the stride."""

from __future__ import annotations

import math

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.gait import rhythm, settled
from eureka_evaluation.tracks import Array, Limbs, Subject, number

UNEVEN = 3.0
"""Ratio of the amplitudes of two limbs from which one of them does the work."""
LIKE = 0.5
"""Correlation at the best lag from which two limbs move alike, so that there is a lag to tell."""
APART = 1.5
"""Ratio of one joint to that of its whole limb from which it is told."""
NEAR = 0.1
"""Part of a stride within which limbs move together, or in turn."""
STILL = 1e-3
"""Radians."""


def symmetry(subject: Subject) -> list[Finding]:
    """Amplitudes, and where the joints have a rhythm lags, of every declared pair of limbs in the median episode."""
    found = rhythm(subject)
    stride = found[0].numbers["period_steps"] if found and found[0].kind == "rhythm" else None
    return [finding for limbs in subject.limbs if (finding := _compared(subject, limbs, stride))]


def _compared(subject: Subject, limbs: Limbs, stride: float | None) -> Finding | None:
    """The limb that moves less beside the one that moves more."""
    t = subject.median
    columns = {label for a, b, _ in limbs.joints for label in (a, b)}
    if not columns <= t.index.keys():
        return None
    first = settled(np.column_stack([t.column(a) for a, _, _ in limbs.joints]))
    second = settled(np.column_stack([sign * t.column(b) for _, b, sign in limbs.joints]))
    size = np.array([first.std(axis=0), second.std(axis=0)])  # (2, joints)
    if size.max() < STILL:
        return None
    ratio = _ratio(*np.sqrt((size**2).sum(axis=1)))
    numbers = {"amplitude_ratio": ratio}
    for (a, _, _), one, other in zip(limbs.joints, *size, strict=True):
        numbers[f"{a}_amplitude_ratio"] = _ratio(one, other)
    wide = f"{limbs.names[1]} swings {number(ratio)} times as wide as {limbs.names[0]}{_widest(limbs, numbers)}"
    text = f"In the median episode {wide}"
    if not 1 / UNEVEN < ratio < UNEVEN:
        busy = limbs.names[0] if ratio < 1 else limbs.names[1]
        return Finding("one_sided", 0.35, f"{text}: {busy} does the work.", numbers)
    if stride is None:
        return None
    for (a, _, _), x, y in zip(limbs.joints, first.T, second.T, strict=True):
        numbers[f"{a}_lag"], numbers[f"{a}_likeness"] = lag(x[:, None], y[:, None], stride)
    numbers["lag"], numbers["likeness"] = lag(first, second, stride)
    text += f", {_when(numbers['lag'], numbers['likeness'])}{_feet(subject, limbs, stride, numbers)}."
    return Finding("symmetry", 0.25, text, numbers)


def lag(first: Array, second: Array, stride: float) -> tuple[float, float]:
    """How much later the second signals do what the first do.

    Args:
        first: `(T, k)`.
        second: `(T, k)`, T longer than two strides.
        stride: the period of both, in steps.

    Returns:
        The lag as part of the stride, in [0, 1), and the correlation at it, from -1 to 1; (0, 0) for still signals.
    """
    x, y = first - first.mean(axis=0), second - second.mean(axis=0)
    furthest = math.ceil(stride) + 1
    rows = len(x) - furthest - 1
    norms = [np.sqrt((x[1 : 1 + rows] ** 2).sum() * (y[k : k + rows] ** 2).sum()) for k in range(furthest + 2)]
    if min(norms) <= 1e-12:
        return 0.0, 0.0
    # from one step early to one step more than a stride late: the highest has neighbours
    likeness = [float((x[1 : 1 + rows] * y[k : k + rows]).sum() / norms[k]) for k in range(furthest + 2)]
    best = 1 + int(np.argmax(likeness[1:-1]))
    left, middle, right = likeness[best - 1 : best + 2]
    curvature = left - 2 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return (best - 1 + min(max(shift, -1.0), 1.0)) / stride % 1.0, middle


def _ratio(first: float, second: float) -> float:
    """Second to first, at most a thousandfold either way."""
    return float(min(max(second / max(first, 1e-12), 1e-3), 1e3))


def _widest(limbs: Limbs, numbers: dict[str, float]) -> str:
    """The joint that departs most from the ratio of the whole limb."""
    apart = {j: abs(math.log(numbers[f"{j[0]}_amplitude_ratio"] / numbers["amplitude_ratio"])) for j in limbs.joints}
    joint = max(apart, key=lambda j: apart[j])
    if apart[joint] < math.log(APART):
        return ""
    a, b, _ = joint
    return f" ({b} {number(numbers[f'{a}_amplitude_ratio'])} times {a})"


def _when(lag: float, likeness: float) -> str:
    if likeness < LIKE:
        return "and neither follows the other"
    if min(lag, 1 - lag) <= NEAR:
        return "together with it"
    turn = ", in turn" if abs(lag - 0.5) <= NEAR else ""
    return f"{lag:.0%} of a stride later{turn}"


def _feet(subject: Subject, limbs: Limbs, stride: float, numbers: dict[str, float]) -> str:
    """Their time on the floor and their lag, where both step."""
    t = subject.median
    if not set(limbs.feet) <= t.index.keys():
        return ""
    first, second = (settled(t.column(label)[:, None]) for label in limbs.feet)
    duty = float(first.mean()), float(second.mean())
    if min(duty) < 0.02 or max(duty) > 0.98:
        return ""
    numbers["duty_ratio"] = _ratio(*duty)
    numbers["foot_lag"], numbers["foot_likeness"] = lag(first, second, stride)
    text = f"; its foot is on the floor {number(numbers['duty_ratio'])} times as long"
    follows = numbers["foot_likeness"] >= LIKE
    return f"{text}, {_when(numbers['foot_lag'], 1.0)}" if follows else text
