"""How episodes end: when, by which state variable, what the worst one is like, and what is missing for success."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.tracks import Subject, Track, drifting, listed, number

EARLY = 0.9
"""Part of the longest episode below which an episode counts as cut short."""
WINDOW_SECONDS = 0.5
"""How long before a terminal state its forerunners are looked for."""
TOLD = 2
"""Forerunners of a terminal state."""


def endings(subject: Subject) -> list[Finding]:
    """How many episodes end before the time is up, and how late."""
    short = subject.lengths < EARLY * subject.limit
    if not short.any():
        return []
    dt = subject.worst.dt
    low, middle, high = np.quantile(subject.lengths[short], [0.0, 0.5, 1.0]) * dt
    when = f"after {number(low)} s" if high - low < dt else f"after {number(low)} to {number(high)} s"
    text = (
        f"{short.mean():.0%} of the scored episodes end early, {when} (half of them by {number(middle)} s) of "
        f"{number(subject.limit * dt)} s."
    )
    numbers = {"share": float(short.mean()), "median_seconds": float(middle), "limit_seconds": subject.limit * dt}
    return [
        Finding("ends_early", 0.4 + 0.35 * float(short.mean()) * (1 - middle / (subject.limit * dt)), text, numbers)
    ]


def causes(subject: Subject) -> list[Finding]:
    """Which state variable passed which bound in the terminal states, and what went astray just before.

    Where the terminal rule is not known it is inferred: a bound that ends episodes is one no other step has passed.
    """
    ended = [t for t in subject.tracks if t.terminated]
    rules = list(_declared(subject) if subject.healthy else _inferred(subject)) if ended else []
    by_rule: dict[_Rule | None, list[Track]] = {}
    for t in ended:
        by_rule.setdefault(next((rule for rule in rules if rule.holds(t)), None), []).append(t)
    commonest = sorted(by_rule.items(), key=lambda item: -len(item[1]))
    return [_cause(subject, rule, tracks, len(ended)) for rule, tracks in commonest[:2]]


def _cause(subject: Subject, rule: _Rule | None, tracks: Sequence[Track], ended: int) -> Finding:
    """What ended these episodes, and what the worst of them, the first, shows before."""
    t = tracks[0]
    numbers = {"episodes": float(len(tracks)), "seconds": t.seconds}
    count = f"{len(tracks)} of {ended} recorded terminal states came"
    where = f"after {number(t.seconds)} s in {'the worst of them' if len(tracks) > 1 else subject.called(t)}"
    if rule:
        label, value = t.labels[rule.column], float(t.values[-1, rule.column])
        inferred = "" if rule.declared else ", where no other step has been"
        bound = f"{rule.side} {subject.told(label, rule.bound)}{inferred}"
        text = f"{count} with {label} {bound}: {where} it was {number(value)}"
        numbers |= {"value": value, "bound": rule.bound}
    else:
        text = f"{count} by no bound that is known: {where}"
    words, leads = _forerunners(subject, t, rule)
    text += f". Before that, {words}." if words else "."
    return Finding("terminal_cause", 0.6 + (0.15 * len(tracks) / ended if rule else 0.0), text, numbers | leads)


@dataclass(frozen=True)
class _Rule:
    """A bound beyond which a state is terminal."""

    column: int
    side: str
    """`above` or `below`."""
    bound: float
    declared: bool

    def holds(self, t: Track) -> bool:
        """Whether the episode's end lies beyond it, as far as single precision tells."""
        beyond = t.values[-1, self.column] - self.bound
        slack = 1e-6 * abs(self.bound) if self.declared else 0.0
        return bool(beyond > -slack if self.side == "above" else beyond < slack)


def _declared(subject: Subject) -> Iterator[_Rule]:
    for name, (low, high) in subject.healthy.items():
        for column, label in enumerate(subject.worst.labels):
            if label.partition("[")[0] == name:
                yield from (
                    _Rule(column, side, b, True) for side, b in (("below", low), ("above", high)) if isfinite(b)
                )


def _inferred(subject: Subject) -> Iterator[_Rule]:
    """Bounds that only terminal states have passed; the one that explains most of them comes first."""
    known = [*subject.tracks, *subject.incumbent, *(subject.floor.tracks if subject.floor else ())]
    labels = subject.worst.labels
    lasts = np.array([t.values[-1] for t in known if t.terminated])
    inner = [t.values[:-1] if t.terminated else t.values for t in known]
    high, low = np.max([v.max(axis=0) for v in inner], axis=0), np.min([v.min(axis=0) for v in inner], axis=0)
    above, below = (lasts > high).sum(axis=0), (lasts < low).sum(axis=0)
    explained = above + below  # a tilt that ends episodes on either side is one rule
    drift = np.all([drifting(t.values) for t in subject.tracks], axis=0)  # a way that goes on is always at its farthest
    for column in np.flatnonzero(drift & np.array([subject.variable(label).sort == "position" for label in labels])):
        above[column] = below[column] = 0
    rate = np.array([subject.variable(label).unit.endswith("/s") for label in labels])
    for column in np.lexsort((-explained, rate)):  # a fall is fast, but it is the level that ends the episode
        if above[column]:
            yield _Rule(int(column), "above", float(high[column]), False)
        if below[column]:
            yield _Rule(int(column), "below", float(low[column]), False)


def _forerunners(subject: Subject, t: Track, rule: _Rule | None) -> tuple[str, dict[str, float]]:
    """Which variables left their usual range for good before the end, the earliest first."""
    window = min(round(WINDOW_SECONDS / t.dt), t.steps // 3)
    if window < 2:
        return "", {}
    usual = t.values[: t.steps + 1 - window]
    if len(usual) < 5:
        return "", {}
    low, high = usual.min(axis=0), usual.max(axis=0)
    margin = 0.1 * (high - low) + 1e-9
    tail = t.values[-window:]
    outside = (tail > high + margin) | (tail < low - margin)
    # last step inside, counted from the window's start; outside ever since
    since = np.where(outside[-1], window - np.argmax(~outside[::-1], axis=0), window)
    since = np.where(outside.all(axis=0), 0, since)
    known = drifting(usual) | ~subject.first_of_twins
    if rule:
        known[rule.column] = True
    places = [i for i in np.argsort(since, kind="stable") if since[i] < window and not known[i]][:TOLD]
    parts = [
        f"{t.labels[i]} (usually {number(low[i])} to {number(high[i])}) was out of range for "
        f"{number((window - since[i]) * t.dt)} s, {subject.told(t.labels[i], float(t.values[-1, i]))} at the end"
        for i in places
    ]
    return listed(parts), {f"{t.labels[i]}_lead_seconds": float((window - since[i]) * t.dt) for i in places}


def worst(subject: Subject, metric: str = "") -> list[Finding]:
    """The worst recorded episode beside the median one, if it falls far behind; `metric` is told anyway."""
    bad, usual = subject.worst, subject.median
    if len(subject.tracks) < 3:
        return []
    gap = usual.fitness - bad.fitness
    if gap < 0.25 * float(np.ptp(subject.fitness)) or gap < 0.05 * subject.scale:
        return []
    text = f"The worst episode scores {number(bad.fitness)}{subject.unit}, the median one {number(usual.fitness)}: "
    if bad.steps == usual.steps and not bad.terminated:
        text += "both run to the time limit"
    else:
        text += f"it {_end(bad)}, the median one {_end(usual)}"
    parts = _unlike(subject, bad, usual, metric)
    text += f"; it differs in {listed(parts)}." if parts else "; as long as both run they go alike."
    numbers = {"fitness": bad.fitness, "median_fitness": usual.fitness, "seconds": bad.seconds}
    return [Finding("worst_episode", 0.6, text, numbers)]


def _unlike(subject: Subject, bad: Track, usual: Track, metric: str) -> list[str]:
    steps = min(bad.steps, usual.steps)
    a, b = bad.values[: steps + 1].mean(axis=0), usual.values[: steps + 1].mean(axis=0)
    given = (np.ptp(bad.values, axis=0) == 0) & (np.ptp(usual.values, axis=0) == 0)  # a target, say: no behaviour
    return [
        f"{bad.labels[i]} ({'given as' if given[i] else 'mean'} {number(a[i])}, "
        f"not {subject.told(bad.labels[i], float(b[i]))})"
        for i in subject.telling(np.abs(a - b) / subject.spread(), 2, 0.5, metric)
    ]


def _end(t: Track) -> str:
    if t.terminated:
        return f"ends in a terminal state after {number(t.seconds)} s"
    return f"runs to the time limit ({number(t.seconds)} s)"


def missing(subject: Subject) -> list[Finding]:
    """How far it is to success, and what the failures have in common."""
    rate = float(subject.success.mean())
    if rate == 1.0:
        return []
    fitness, success = subject.fitness, subject.success
    numbers = {"success_rate": rate, "mean": float(fitness.mean()), "spread": float(fitness.std())}
    if rate == 0.0:
        text = f"No scored episode succeeds; fitness is {_spread(subject)}{_way(subject)}."
        short = float((subject.lengths < EARLY * subject.limit).mean())
        return [Finding("no_success", 0.45, text, numbers | {"short": short})]
    enough, best_failure = float(fitness[success].min()), float(fitness[~success].max())
    text = f"{rate:.0%} of the scored episodes succeed; fitness is {_spread(subject)}"
    if best_failure >= enough:
        many = float((fitness[~success] >= enough).mean())
        text += f"; {many:.0%} of the failures have at least the fitness of a success ({number(enough)})"
        text += " and fail by something else"
    else:
        text += f"; the best failure has {number(best_failure)}, the worst success {number(enough)}"
    early = float((subject.lengths[~success] < EARLY * subject.limit).mean())
    early_successes = float((subject.lengths[success] < EARLY * subject.limit).mean())
    if early > 0.5 and early_successes < 0.5:
        text += f"; {early:.0%} of them end early"
    return [Finding("some_success", 0.3 + 0.35 * (1 - rate), text + ".", numbers | {"early_failures": early})]


def _way(subject: Subject) -> str:
    """How far the best episode came towards the human reward, where that is known: what success takes nobody showed."""
    if subject.floor is None or subject.human is None:
        return ""
    random, best = float(subject.floor.fitness.mean()), float(subject.fitness.max())
    if subject.human <= random:
        return ""
    goal = f"what the human reward reached when the task was measured, {number(subject.human)}"
    if best >= subject.human:
        return f"; the best is beyond {goal}"
    share = max(0.0, (best - random) / (subject.human - random))
    return f"; the best came {share:.0%} of the way from random play to {goal}"


def _spread(subject: Subject) -> str:
    low, middle, high = np.quantile(subject.fitness, [0.0, 0.5, 1.0])
    return f"{number(low)} to {number(high)}{subject.unit}, median {number(middle)}"
