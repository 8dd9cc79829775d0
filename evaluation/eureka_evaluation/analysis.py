"""Everything that recorded episodes show about a policy, as ranked findings: numbers only, no language model.

It knows a task by its declared state variables alone, so it works for any. What it holds them against is random play
and the best candidate so far. Weights, by what a finding explains:

| weight | |
|---|---|
| 0.8 – 1 | why there is no progress: learning never began, the reward aims elsewhere, the policy rests or is stuck |
| 0.6 – 0.8 | what ends episodes, what is lost or given back, what the worst episode does |
| 0.4 – 0.6 | how far it is to success, the incumbent beside it, faults of the motion (saturation, unused limbs) |
| 0 – 0.4 | a description: progress, phases, rhythm, contacts, symmetry, turns |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from eureka_evaluation.against import against_incumbent
from eureka_evaluation.episode import Episode
from eureka_evaluation.exploration import exploration
from eureka_evaluation.finding import Finding, most_telling
from eureka_evaluation.gait import contacts, joints, rhythm
from eureka_evaluation.motion import actions, attitude, effort, turns
from eureka_evaluation.outcome import causes, endings, missing, worst
from eureka_evaluation.phases import phases
from eureka_evaluation.progress import carrier, closest, progress, separating
from eureka_evaluation.rest import resting
from eureka_evaluation.symmetry import symmetry
from eureka_evaluation.tracks import Limbs as Limbs
from eureka_evaluation.tracks import Recorded as Recorded
from eureka_evaluation.tracks import Subject as Subject
from eureka_evaluation.tracks import Track as Track
from eureka_evaluation.tracks import Variable as Variable
from eureka_evaluation.tracks import tracks_of as tracks_of


def analyse(subject: Subject) -> tuple[Finding, ...]:
    """Findings about a candidate, the weightiest first; deterministic.

    Args:
        subject: its episodes, and what there is to hold them against; see `subject_of`.
    """
    close = carrier(subject)
    known = close if close and close.exact else None
    metric = known.label if known else ""
    found: list[Finding] = [
        *exploration(subject),
        *resting(subject, known),
        *causes(subject),
        *endings(subject),
        *missing(subject),
        *(worst(subject, metric) or separating(subject, metric)),
        *progress(subject, known),
        *closest(close),
        *against_incumbent(subject),
        *actions(subject),
        *turns(subject),
        *attitude(subject),
        *contacts(subject),
        *joints(subject),
        *rhythm(subject),
        *symmetry(subject),
        *phases(subject, metric),
    ]
    return most_telling(tuple(map(_finite, found)))


def subject_of(
    episodes: Mapping[int, Episode],
    fitness: Sequence[float],
    success: Sequence[bool],
    lengths: Sequence[int],
    limit: int,
    variables: Iterable[Variable] = (),
    floor: Recorded | None = None,
    incumbent: tuple[Track, ...] = (),
    own_return: Sequence[float | None] = (),
    unit: str = "",
    human: float | None = None,
    healthy: Mapping[str, tuple[float, float]] | None = None,
    limbs: tuple[Limbs, ...] = (),
) -> Subject | None:
    """A candidate as the analysis sees it, or None if no episode of it was recorded.

    Args:
        episodes: the recorded ones, by their position among the scored ones.
        fitness: of every scored episode; higher is better.
        success: of every scored episode.
        lengths: of every scored episode, in steps.
        limit: steps of the longest possible episode.
        variables: what is known of the state variables.
        floor: episodes of random play of the same task; with other columns they are left out.
        incumbent: recorded episodes of the best candidate so far, if it is another one.
        own_return: over training, None where nothing was logged.
        unit: of fitness.
        human: fitness that a reward written by a person reached, if that is known.
        healthy: by state variable, the range that a terminal state lies outside of, if that is known.
        limbs: pairs that are images of each other.
    """
    tracks = tracks_of(episodes, fitness)
    if not tracks:
        return None
    labels = tracks[0].labels
    return Subject(
        tracks=tracks,
        fitness=np.array(fitness, dtype=np.float64),
        success=np.array(success, dtype=bool),
        lengths=np.array(lengths, dtype=np.int64),
        limit=limit,
        variables={v.name: v for v in variables},
        floor=floor if floor and floor.tracks and floor.tracks[0].labels == labels else None,
        incumbent=tuple(t for t in incumbent if t.labels == labels),
        own_return=np.array([v for v in own_return if v is not None], dtype=np.float64),
        unit="" if unit in ("1", "") else f" {unit}",
        human=human,
        healthy=healthy or {},
        limbs=limbs,
    )


def behaviour(subject: Subject, descriptors: Sequence[str] = ()) -> dict[str, float]:
    """How a policy acts, as the coordinates of a map of elites.

    `effort`: mean squared action, 0 at the middle of the range and 1 at its ends. `speed`: mean magnitude of the first
    velocity among the state variables (else of the first angular velocity; else the mean change of all variables per
    second, in spreads of random play). Then the mean of each descriptor, a state variable (all its elements together).
    """
    means = {"effort": effort(subject), "speed": _speed(subject)}
    for name in descriptors:
        values = [t.of(name) for t in subject.tracks]
        if values[0].shape[1]:
            means[name] = float(np.mean([v.mean() for v in values]))
    return means


def _speed(subject: Subject) -> float:
    for sort in ("velocity", "angular_velocity"):
        names = [label.partition("[")[0] for label in subject.labels_of(sort)]
        if names:
            return float(np.mean([np.linalg.norm(t.of(names[0]), axis=1).mean() for t in subject.tracks]))
    scale = subject.spread()
    rates = [np.abs(np.diff(t.values, axis=0)).mean(axis=0) / scale / t.dt for t in subject.tracks]
    return float(np.mean(rates)) if scale.size else 0.0


def _finite(finding: Finding) -> Finding:
    numbers = {name: float(value) for name, value in finding.numbers.items() if math.isfinite(value)}
    return Finding(finding.kind, round(min(max(finding.weight, 0.0), 1.0), 3), finding.text, numbers)
