"""Which state variable carries the metric, and where along an episode it is earned or lost.

The metric is code that only box B runs; here it is known per episode. With the episodes of random play there are enough
of them to see which summary of which variable it is: the change of `torso_x`, the last `target_distance`, the duration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.tracks import SUMMARIES, Array, Subject, Track, number

DURATION = "duration"
"""Stands for the episode's length beside the columns."""
WORDS = {
    "change": "the change of {}",
    "last": "the last {}",
    "mean": "the mean of {}",
    "sum": "the sum of {}",
    "highest": "the highest {}",
    "lowest": "the lowest {}",
}
SAME = 0.9999
"""Correlation over episodes from which a summary is taken for the metric itself."""
CLOSE = 0.9
"""Correlation from which a summary is told at least."""
FEWEST = 6
"""Episodes without which nothing is said."""
BINS = 20
IDLE = 0.1
"""Part of an episode's usual rate of progress below which time counts as lost."""


@dataclass(frozen=True)
class Carrier:
    """The metric as a line through one summary of one column."""

    label: str
    summary: str
    slope: float
    offset: float
    correlation: float

    @property
    def exact(self) -> bool:
        """Whether it can stand for the metric."""
        return abs(self.correlation) >= SAME

    @property
    def formula(self) -> str:
        """What the metric is, if this is exact: `minus the last target_distance`, `-0.159 times the change of …`."""
        factor = number(self.slope)
        sign = {"1": "", "-1": "minus "}.get(factor, f"{factor} times ")
        offset = f" {'plus' if self.offset > 0 else 'minus'} {number(abs(self.offset))}" if self.offset else ""
        return f"{sign}{self.words}{offset}"

    @property
    def words(self) -> str:
        """`the change of torso_x`."""
        return WORDS[self.summary].format(self.label) if self.label != DURATION else "the episode's duration"

    def course(self, track: Track) -> Array:
        """The metric as if the episode had ended at each row, `(T + 1,)`."""
        if self.label == DURATION:
            return self.slope * track.dt * np.arange(track.steps + 1, dtype=np.float64) + self.offset
        v = track.column(self.label)
        return self.slope * _running(self.summary, v, track.dt) + self.offset


def _running(summary: str, v: Array, dt: float) -> Array:
    """The summary of every beginning of a column."""
    match summary:
        case "change":
            v = v - v[0]
        case "mean":
            v = np.cumsum(v) / np.arange(1.0, len(v) + 1)
        case "sum":
            v = np.cumsum(v) * dt
        case "highest":
            v = np.maximum.accumulate(v)
        case "lowest":
            v = np.minimum.accumulate(v)
    return v


def carrier(subject: Subject) -> Carrier | None:
    """The summary that goes along with the metric best over all known episodes; None if they are too few.

    Only one whose correlation is at least `SAME` can stand for the metric.
    """
    known = [*subject.tracks, *subject.incumbent, *(subject.floor.tracks if subject.floor else ())]
    fitness = np.array([t.fitness for t in known])
    if len(known) < FEWEST or np.ptp(fitness) == 0:
        return None
    summaries = np.array([t.summaries for t in known])  # (episodes, summaries, columns + 1)
    flat = summaries.reshape(len(known), -1)
    centred, target = flat - flat.mean(axis=0), fitness - fitness.mean()
    norm = np.sqrt((centred**2).sum(axis=0) * (target**2).sum())
    r = np.where(norm > 0, centred.T @ target / np.where(norm > 0, norm, 1.0), 0.0)
    best = float(np.abs(r).max(initial=0.0))
    place = int(np.flatnonzero(np.abs(r) >= best - 1e-6)[0])
    row, column = divmod(place, summaries.shape[2])
    slope = float(centred[:, place] @ target / (centred[:, place] ** 2).sum())
    offset = float(fitness.mean() - slope * flat[:, place].mean())
    offset = offset if abs(offset) > 0.01 * float(np.ptp(fitness)) else 0.0
    labels = (*subject.worst.labels, DURATION)
    return Carrier(labels[column], SUMMARIES[row], slope, offset, float(r[place]))


def closest(found: Carrier | None) -> list[Finding]:
    """What goes along with a score that no single variable carries."""
    if found is None or found.exact or abs(found.correlation) < CLOSE:
        return []
    sign = "rises" if found.correlation > 0 else "falls"
    goes = f"it {sign} with {found.words} (correlation {number(found.correlation)})"
    text = f"No single variable is the score; over all recorded episodes {goes}."
    return [Finding("closest_variable", 0.3, text, {"correlation": found.correlation})]


def progress(subject: Subject, found: Carrier | None) -> list[Finding]:
    """How the median episode earns its metric, given what carries it exactly."""
    if found is None or found.label == DURATION:
        return []
    t = subject.median
    course = found.course(t)
    if found.summary in ("change", "sum"):
        return _earned(subject, found, t, course)
    return _held(subject, found, t, course) if found.summary == "last" else []


def _earned(subject: Subject, found: Carrier, t: Track, course: Array) -> list[Finding]:
    """A metric that adds up: its rate at the start and the end, time lost, and what was given back."""
    if t.steps < BINS or not _above_random(subject):
        return []
    edges = np.linspace(0, t.steps, BINS + 1).round().astype(int)
    rates = np.diff(course[edges]) / (np.diff(edges) * t.dt)
    usual = float(np.quantile(rates, 0.75))
    if usual <= 0:
        return []
    third = BINS // 3
    early, late = (
        0.0 if abs(rate) < 1e-3 * usual else float(rate) for rate in (rates[:third].mean(), rates[-third:].mean())
    )
    lost = float((rates < IDLE * usual).mean())
    peak = int(course.argmax())
    numbers = {"early_rate": early, "late_rate": late, "time_lost": lost, "top_rate": float(rates.max())}
    text = (
        f"The score is {found.formula}; the median episode earns {number(early)}{subject.unit} per second in its first "
        f"third and {number(late)} in its last"
    )
    if lost >= 0.1:
        text += f", and next to nothing in {lost:.0%} of its time"
    findings = [Finding("progress", 0.35 + 0.4 * lost if lost >= 0.1 else 0.3, text + ".", numbers)]
    given_back = float(course[peak] - course[-1])
    if given_back > 0.1 * float(np.ptp(course)):
        reached = f"{number(course[peak])}{subject.unit}"
        text = (
            f"The median episode reaches {reached} after {number(peak * t.dt)} s and gives {number(given_back)} back."
        )
        findings.append(Finding("gives_back", 0.65, text, {"peak": float(course[peak]), "given_back": given_back}))
    return findings


def _held(subject: Subject, found: Carrier, t: Track, course: Array) -> list[Finding]:
    """A metric that is a last value: when it is reached, whether it is held."""
    if t.steps < 4:
        return []
    best = int(course.argmax())
    gain = float(course[best] - course[0])
    numbers = {"best": float(course[best]), "best_at": best * t.dt, "last": float(course[-1])}
    where = f"{number(course[best])}{subject.unit} at {number(best * t.dt)} s"
    if gain > 0 and course[best] - course[-1] > 0.15 * gain:
        last = number(course[-1])
        text = f"The score is {found.formula}: the median episode was at {where} and left it again, to {last}."
        return [Finding("not_held", 0.7, text, numbers)]
    within = course >= course[-1] - 0.1 * max(float(np.ptp(course)), 1e-12)
    since = int(np.flatnonzero(~within)[-1]) + 1 if (~within).any() else 0
    last = f"{number(course[-1])}{subject.unit}"
    text = (
        f"The score is {found.formula}: the median episode comes near its last value {last} "
        f"by {number(since * t.dt)} of {number(t.seconds)} s, and stays there."
    )
    return [Finding("progress", 0.3, text, numbers | {"settled_at": since * t.dt})]


def _above_random(subject: Subject) -> bool:
    if subject.floor is None:
        return True
    return float(np.median(subject.fitness)) - float(subject.floor.fitness.mean()) > 0.02 * subject.scale


def separating(subject: Subject, metric: str = "", count: int = 3) -> list[Finding]:
    """The variables, beside `metric`, in which the best recorded episode differs most from the worst."""
    worst, best = subject.worst, subject.best
    if best.fitness - worst.fitness < 0.1 * subject.scale:
        return []
    steps = min(worst.steps, best.steps)
    a, b = worst.values[: steps + 1], best.values[: steps + 1]
    difference = b.mean(axis=0) - a.mean(axis=0)
    chosen = subject.telling(np.abs(difference) / subject.spread(), count, 0.25, metric)
    if not chosen:
        return []
    parts = [
        f"{worst.labels[i]} {number(b[:, i].mean())} against {subject.told(worst.labels[i], float(a[:, i].mean()))}"
        for i in chosen
    ]
    text = (
        f"Over the same first {number(steps * worst.dt)} s the best episode ({number(best.fitness)}{subject.unit}) "
        f"differs from the worst ({number(worst.fitness)}) most in the means of: {'; '.join(parts)}."
    )
    return [Finding("best_and_worst", 0.4, text, {worst.labels[i]: float(difference[i]) for i in chosen})]
