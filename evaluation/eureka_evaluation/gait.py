"""Rhythm and contacts: the period of the joints, how the feet touch the floor, and which joints are not used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.finding import Finding
from eureka_evaluation.tracks import Array, Subject, Track, listed, number

SETTLING = 0.2
"""Part of an episode that is left out at its start."""
FEWEST = 64
"""Steps without which no rhythm is looked for."""
REGULAR = 0.5
"""Height of the autocorrelation at the period from which a movement counts as a rhythm."""
UNUSED = 0.05
"""Part of the liveliest joint's spread below which a joint counts as unused."""


def rhythm(subject: Subject) -> list[Finding]:
    """The common period of the joints in the median episode."""
    t = subject.median
    labels = _joints(subject)
    found = period(_moving(t, labels)) if labels else None
    if found is None:
        return []
    steps, height = found
    numbers = {"period_seconds": steps * t.dt, "period_steps": steps, "regularity": height}
    if height < REGULAR:
        repeats = f"their movement repeats itself to {max(height, 0.0):.0%} at best"
        text = f"In the median episode the joints keep no rhythm ({repeats})."
        return [Finding("no_rhythm", 0.15, text, numbers)]
    length = f"{number(steps * t.dt)} s ({number(steps)} steps; it repeats itself to {height:.0%})"
    text = f"In the median episode the joints move in a rhythm of {length}"
    if steps <= 4:
        return [Finding("vibrates", 0.5, f"{text}: that is vibration, not a stride.", numbers)]
    return [Finding("rhythm", 0.25, text + ".", numbers)]


def period(values: Array) -> tuple[float, float] | None:
    """The strongest period of several signals, in steps, and how well they repeat themselves after it.

    Args:
        values: `(T, k)`; each column counts by its share of the variance.

    Returns:
        The lag of the first high peak of the mean autocorrelation and its height (1: exact repetition); None if the
        signals are too short or still.
    """
    if len(values) < FEWEST:
        return None
    x = values - values.mean(axis=0)
    x = x - np.outer(np.linspace(-0.5, 0.5, len(x)), _slopes(x))  # a slow drift is no rhythm
    size = len(x)
    spectrum = np.abs(np.fft.rfft(x, n=2 * size, axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, axis=0)[: size // 2].sum(axis=1)
    if correlation[0] <= 1e-12 * size:
        return None
    correlation = correlation / correlation[0] * (size / (size - np.arange(len(correlation))))
    below = np.flatnonzero(correlation < 0)
    if not len(below):
        return None
    rest = correlation[below[0] :]
    peaks = np.flatnonzero((rest[1:-1] > rest[:-2]) & (rest[1:-1] >= rest[2:])) + 1
    highest = float(rest[peaks].max()) if len(peaks) else 0.0
    if highest <= 0.0:
        return None
    first = next(p for p in peaks if rest[p] >= 0.9 * highest)
    left, middle, right = rest[first - 1 : first + 2]
    curvature = left - 2 * middle + right
    shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float(below[0] + first + shift), float(rest[first])


def _slopes(x: Array) -> Array:
    ramp = np.linspace(-0.5, 0.5, len(x))
    slopes: Array = ramp @ x / (ramp @ ramp)
    return slopes


def contacts(subject: Subject) -> list[Finding]:
    """How much each foot is on the floor, how often it steps, and when none is."""
    labels = subject.labels_of("contact")
    t = subject.median
    if not labels or t.steps < 5:
        return []
    touching = settled(np.column_stack([t.column(label) for label in labels])) > 0.5
    duty, flight = touching.mean(axis=0), float((~touching.any(axis=1)).mean())
    steps = (touching[1:] & ~touching[:-1]).sum(axis=0) / ((len(touching) - 1) * t.dt)
    if duty.max() < 0.02:
        text = (
            "No foot touches the floor once the median episode has begun: it lies or moves on other parts of its body."
        )
        return [Finding("off_its_feet", 0.6, text, {"flight": flight})]
    parts = [
        f"{label} {d:.0%} of the time ({number(s)} touch-downs per second)"
        for label, d, s in zip(labels, duty, steps, strict=True)
    ]
    text = f"On the floor in the median episode: {listed(parts)}; none of them {flight:.0%} of the time"
    text += f"{_together(touching)}." if touching.shape[1] == 2 else "."
    numbers = {f"{label}_duty": float(d) for label, d in zip(labels, duty, strict=True)} | {"flight": flight}
    findings = [Finding("contacts", 0.3, text, numbers)]
    never = [label for label, d in zip(labels, duty, strict=True) if d < 0.02]
    always = [label for label, d in zip(labels, duty, strict=True) if d > 0.98]
    if never:
        text = f"{listed(never)} hardly ever {'touches' if len(never) == 1 else 'touch'} the floor"
        findings.append(Finding("unused_feet", 0.5, f"In the median episode {text}.", numbers))
    if always and not subject.solved:
        text = f"{listed(always)} never {'leaves' if len(always) == 1 else 'leave'} the floor"
        findings.append(Finding("dragging", 0.35, f"In the median episode {text}.", numbers))
    return findings


def _together(touching: NDArray[np.bool_]) -> str:
    """Whether two feet go together or in turn, by how much of its time the lighter one shares with the other."""
    duty = touching.mean(axis=0)
    if duty.min() < 0.02 or duty.max() > 0.7:  # whoever is always there is there with the other too
        return ""
    shared = float(touching.all(axis=1).mean() / duty.min())
    return "; they touch together" if shared > 0.8 else "; they touch in turn" if shared < 0.2 else ""


def joints(subject: Subject) -> list[Finding]:
    """Joints that are not used."""
    t = subject.median
    labels = _joints(subject)
    if len(labels) < 2:
        return []
    spread = settled(np.column_stack([t.column(label) for label in labels])).std(axis=0)
    if spread.max() < 1e-6:
        return []
    findings = []
    unused = [(label, t.column(label)) for label, s in zip(labels, spread, strict=True) if s < UNUSED * spread.max()]
    if unused and len(unused) < len(labels):
        parts = [f"{label} (near {subject.told(label, float(settled(v[:, None]).mean()))})" for label, v in unused]
        numbers = {label: float(settled(v[:, None]).mean()) for label, v in unused}
        text = f"In the median episode these joints hardly move: {listed(parts)}."
        findings.append(Finding("unused_joints", 0.4, text, numbers))
    return findings


def _joints(subject: Subject) -> list[str]:
    """Columns of angles of joints: those in their frame; else vectors of angles; else angles that do not turn over."""
    angles = subject.labels_of("angle")
    framed = [label for label in angles if subject.variable(label).frame == "joint"]
    still = [label for label in angles if np.ptp(subject.median.column(label)) < 2 * np.pi]
    return framed or [label for label in still if "[" in label] or still


def settled(values: Array) -> Array:
    """Rows after the start of an episode."""
    return values[int(SETTLING * len(values)) :]


def _moving(t: Track, labels: list[str]) -> Array:
    """The joints' angles after the start, `(T', k)`; the liveliest count most."""
    return settled(np.column_stack([t.column(label) for label in labels]))
