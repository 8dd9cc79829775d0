"""A candidate's median episode beside the incumbent's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.gait import rhythm
from eureka_evaluation.tracks import Subject, Track, drifting, number

COUNT = 3
CLEAR = 0.3
"""Least difference of means, in spreads of random play, that is told."""


def against_incumbent(subject: Subject) -> list[Finding]:
    """What it does otherwise than the best candidate so far."""
    if not subject.incumbent:
        return []
    own, other = subject.median, subject.incumbent[(len(subject.incumbent) - 1) // 2]
    if own.labels != other.labels:
        return []
    a, b = own.values.mean(axis=0), other.values.mean(axis=0)
    drift = drifting(own.values) | drifting(other.values)  # its rate is told elsewhere
    parts = [
        f"{own.labels[i]} {number(a[i])} against {subject.told(own.labels[i], float(b[i]))}"
        for i in subject.telling(np.where(drift, 0.0, np.abs(a - b) / subject.spread()), COUNT, CLEAR)
    ]
    text = f"Beside the incumbent's median episode ({number(other.fitness)}{subject.unit}, {number(other.seconds)} s)"
    numbers = {"fitness": own.fitness, "incumbent_fitness": other.fitness, "incumbent_seconds": other.seconds}
    if not parts:
        return [
            Finding("like_the_incumbent", 0.3, f"{text} its own moves alike in the mean of every variable.", numbers)
        ]
    text += f" its own differs most in the means of: {'; '.join(parts)}"
    mine, theirs = _period(subject, subject.tracks), _period(subject, subject.incumbent)
    if mine and theirs and not 0.8 < mine / theirs < 1.25:
        text += f"; the joints' period is {number(mine)} against {number(theirs)} s"
    return [Finding("unlike_the_incumbent", 0.5, text + ".", numbers)]


def _period(subject: Subject, tracks: tuple[Track, ...]) -> float | None:
    found = [f for f in rhythm(replace(subject, tracks=tracks)) if f.kind == "rhythm"]
    return found[0].numbers["period_seconds"] if found else None
