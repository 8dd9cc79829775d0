"""Signs of hacking in single terms of a reward (signals 5 to 7): one that drowns the rest, dead, double, unbounded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.hacking_evidence import LARGEST, Evidence, correlation

DOMINANT = 0.8
DEAD = 1e-3
"""Of the total's spread, or of its magnitude where it has no spread."""
DOUBLE = 0.98
UNBOUNDED = 100.0
"""Times the 99th percentile of magnitudes on recorded transitions."""
PERCENTILE = 99.0


def dominant(evidence: Evidence) -> Iterator[Finding]:
    """Signal 5: a component's covariance with the total over the total's variance, and its share of magnitude."""
    if len(evidence.components) < 2:
        return
    variance, magnitude = shares(evidence)
    for share, words, kind in (
        (variance, "of the variance of returns, over the recorded episodes of all policies", "dominant_variance"),
        (magnitude, "of the magnitude per step in its own recorded episodes", "dominant_magnitude"),
    ):
        largest = int(np.argmax(share))
        if share[largest] > DOMINANT:
            name = evidence.components[largest]
            text = f"Component `{name}` gives {100 * share[largest]:.0f} % {words}."
            yield Finding(kind, 0.05, text, {"share": float(share[largest])})


def shares(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """Per component: Cov(c, R) / Var(R) over trajectories, and mean |c| over the sum of all means on the own steps."""
    sums = evidence.transitions.sums(evidence.values)
    centred = sums - sums.mean(axis=1, keepdims=True)
    variance = float((centred[0] ** 2).sum())
    covariance = centred[1:] @ centred[0] / variance if variance > 0 else np.zeros(len(sums) - 1)
    own = evidence.transitions.rows_of(evidence.policy)
    size = np.abs(evidence.values[1:, own]) @ evidence.transitions.weight[own]
    return covariance, size / size.sum() if size.sum() > 0 else np.zeros_like(size)


def dead_or_double(evidence: Evidence) -> Iterator[Finding]:
    """Signal 6."""
    values, known = evidence.values, evidence.transitions
    scale = float(values[0].std()) or float(np.abs(values[0]).max())
    dead = [name for name, row in zip(evidence.components, values[1:], strict=True) if row.std() <= DEAD * scale]
    if dead:
        text = f"{_named(dead)} the same nearly everywhere, and teaches nothing but to last or to end."
        yield Finding("dead_component", 0.05, text, {"count": float(len(dead))})
    pairs = [
        (a, b)
        for i, a in enumerate(evidence.components)
        for j, b in enumerate(evidence.components[:i])
        if a not in dead and b not in dead and abs(correlation(values[1 + i], values[1 + j], known.weight)) > DOUBLE
    ]
    if pairs:
        text = f"Components `{pairs[0][1]}` and `{pairs[0][0]}` say the same (correlation above {DOUBLE})."
        yield Finding("double_component", 0.05, text, {"pairs": float(len(pairs))})


def unbounded(evidence: Evidence) -> Iterator[Finding]:
    """Signal 7: what it pays in states far out of range, beside what it pays in recorded ones."""
    if evidence.probes is None:
        return
    usual = np.percentile(np.abs(evidence.values), PERCENTILE, axis=1)
    extreme = np.abs(evidence.probes.values).max(axis=1)
    names = ("", *evidence.components)
    ratio = {n: float(e / u) for n, e, u in zip(names, extreme, usual, strict=True) if u > 0}
    worst = max((n for n in ratio if n), key=lambda n: ratio[n], default="")
    if not worst or max(ratio.get("", 0.0), ratio[worst]) <= UNBOUNDED:
        return
    times, exponent = min(ratio[worst], 1e30), growth(evidence, names.index(worst))
    if extreme.max() >= LARGEST:
        text = "In states ten times out of range it gives no finite number; bound its terms."
    else:
        text = (
            f"Component `{worst}` has no bound: ten times out of range it is {times:.3g} times its usual largest "
            f"(growing as the power {exponent:.1f} of the state)."
        )
    yield Finding("unbounded_term", 0.2, text, {"ratio": times, "exponent": exponent})


def growth(evidence: Evidence, row: int) -> float:
    """Slope of log magnitude over log scale between the smallest and the largest scale of the probes; 0 if unknown."""
    assert evidence.probes is not None
    scale, values = evidence.probes.scale, np.abs(evidence.probes.values[row])
    near, far = scale == scale.min(), scale == scale.max()
    sizes = [float(np.median(np.minimum(values[rows], LARGEST))) for rows in (near, far)]
    if scale.min() == scale.max() or not all(sizes):
        return 0.0
    return float(np.log(sizes[1] / sizes[0]) / np.log(scale.max() / scale.min()))


def _named(names: list[str]) -> str:
    quoted = ", ".join(f"`{name}`" for name in names)
    return f"Component {quoted} is" if len(names) == 1 else f"Each of the components {quoted} is"
