"""Where a policy gets stuck: it comes to rest, or its score stops rising while it wriggles in one pose."""

from __future__ import annotations

import math

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.progress import DURATION, Carrier
from eureka_evaluation.tracks import Array, Subject, Track, listed, number

STILL = 0.1
"""Part of the usual change per step below which a policy rests."""
LONG = 0.2
"""Part of the longest episode that a rest must last."""
WINDOW = 10
"""Steps over which movement is averaged."""


def resting(subject: Subject, found: Carrier | None) -> list[Finding]:
    """The rest or the dead end that the median episode runs into, with its pose."""
    t = subject.median
    if t.steps < 3 * WINDOW:
        return []
    since = _still_since(subject, t)
    if t.steps - since >= LONG * subject.limit:
        text = f"From {number(since * t.dt)} s on the median episode is nearly at rest: {_pose(subject, t, since)}."
        return [Finding("comes_to_rest", _weight(subject, found), text, {"seconds": since * t.dt})]
    since = _stuck_since(t, found)
    if not subject.solved and t.steps - since >= LONG * subject.limit:
        text = (
            f"From {number(since * t.dt)} s on the median episode's score no longer rises, though it still moves: "
            f"{_pose(subject, t, since)}."
        )
        return [Finding("stuck", 0.8, text, {"seconds": since * t.dt})]
    return []


def _weight(subject: Subject, found: Carrier | None) -> float:
    """Rest costs a score that adds up; where a pose or the time counts, it may be what is wanted."""
    rate = float(subject.success.mean())
    if found is not None and found.label != DURATION and found.summary in ("change", "sum"):
        return 0.85 - 0.15 * rate
    return 0.2 if rate > 0.5 or (found is not None and found.label == DURATION) else 0.85


def _still_since(subject: Subject, t: Track) -> int:
    """First step of the rest in which the episode ends; its length if it moves to the end."""
    change = np.abs(np.diff(t.values, axis=0))
    usual = subject.floor.pace if subject.floor else np.quantile(change, 0.9, axis=0)
    moving = usual > 1e-9
    if not moving.any():
        return t.steps
    movement = np.median(change[:, moving] / usual[moving], axis=1)
    smooth = np.convolve(movement, np.full(WINDOW, 1.0 / WINDOW), mode="valid")
    awake = np.flatnonzero(smooth > STILL)
    return int(awake[-1]) + WINDOW if len(awake) else 0


def _stuck_since(t: Track, found: Carrier | None) -> int:
    """First step from which a metric that adds up stays where it is; the episode's length if it goes on."""
    if found is None or found.summary != "change" or found.label == DURATION:
        return t.steps
    course = found.course(t)
    reach = float(np.ptp(course))
    if reach <= 0:
        return t.steps
    away = np.flatnonzero(np.abs(course - course[-1]) > 0.1 * reach)
    since = int(away[-1]) + 1 if len(away) else 0
    # a steady gain passes the last tenth in a tenth of the time
    return since if t.steps - since > 0.3 * t.steps else t.steps


def _pose(subject: Subject, t: Track, since: int) -> str:
    """What is unlike the start there, and steady."""
    tail: Array = t.values[since:]
    shift = np.abs(tail.mean(axis=0) - t.values[0]) / subject.spread()
    steady = tail.std(axis=0) < 0.5 * subject.spread() + 1e-12
    contact = np.array([subject.variable(label).sort == "contact" for label in t.labels])
    chosen = subject.telling(np.where(steady & ~contact, shift, 0.0), 4, 0.5)
    parts = [
        f"{t.labels[i]} stays near {subject.told(t.labels[i], float(tail[:, i].mean()))} (at the reset "
        f"{number(t.values[0, i])}{_beyond_turns(subject, t.labels[i], float(tail[:, i].mean()))})"
        for i in chosen
    ]
    return listed(parts) if parts else "in the pose of the reset"


def _beyond_turns(subject: Subject, label: str, value: float) -> str:
    """What an angle of more than a turn is without its whole turns."""
    if subject.variable(label).sort != "angle" or abs(value) < 1.5 * math.pi:
        return ""
    return f"; without whole turns {number(math.remainder(value, 2 * math.pi))}"
