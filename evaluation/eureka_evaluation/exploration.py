"""Whether a failure looks like learning that never began, or like a reward that pays for something else."""

from __future__ import annotations

import numpy as np

from eureka_evaluation.finding import Finding
from eureka_evaluation.motion import scaled_actions
from eureka_evaluation.tracks import Array, Subject, number

INSIDE = 0.95
"""Part of the steps within random play's ranges, in all variables, from which nothing new is visited."""
AHEAD = 0.8
"""Share of pairs in which an episode must beat one of random play."""
BEGUN = 0.04
"""Part of the way from random play to the human reward, below which it has hardly begun."""
FAR = 0.25
"""Part of that way from which a score is better than random play's, however widely that spreads."""
VARIED = 0.05
"""Standard deviation of the actions, as part of half their range, below which they count as constant."""
ROSE = 1.0
"""Rise of the own return, in its spread around the trend, from which learning succeeded at something."""


def exploration(subject: Subject) -> list[Finding]:
    """Why a candidate scores hardly better than play without learning, if it does not."""
    floor = subject.floor
    if floor is None or not hardly_better(subject):
        return []
    inside = visited_inside(subject)
    varied = float(np.mean([scaled_actions(subject, t).std(axis=0).mean() for t in subject.tracks]))
    rose = rise(subject.own_return)
    numbers = {"inside": inside, "action_spread": varied} | ({"rise": rose} if rose is not None else {})
    score = (
        f"The score ({number(float(np.median(subject.fitness)))}{subject.unit} in the median episode) is hardly better "
        f"than random play's ({number(float(np.median(floor.fitness)))})"
    )
    signs = []
    if rose is not None and rose < ROSE:
        signs.append("its own return did not rise over training")
    if inside > INSIDE:
        signs.append(f"{inside:.0%} of the states in its recorded episodes are ones that random play visits too")
    if varied < VARIED:
        signs.append("its actions in them hardly vary")
    if rose is not None and rose >= ROSE:
        still = " and was still rising" if _still_rising(subject.own_return) else ""
        rose_too = f"its own return rose over training{still}"
        text = f"{score}, although {rose_too}: what it pays for first is not what scores."
        return [Finding("pays_for_something_else", 0.95, text, numbers)]
    if signs:
        text = (
            f"{score}; {'; '.join(signs)}: this looks like missing exploration, not a wrong aim. "
            "Slope is missing where learning starts."
        )
        return [Finding("missing_exploration", 0.95, text, numbers)]
    return [Finding("no_better_than_random", 0.9, score + ".", numbers)]


def hardly_better(subject: Subject) -> bool:
    """Whether an episode of random play often scores as high, or the way to the human reward has hardly begun.

    Where starts differ, random play spreads widely, and beats some episodes of a good policy.
    """
    assert subject.floor is not None
    random = subject.floor.fitness
    ahead = float((subject.fitness[:, None] > random).mean())
    on_the_way = float(np.median(subject.fitness) - np.median(random)) / subject.scale
    if subject.human is None:
        return ahead < AHEAD
    return on_the_way < BEGUN or (ahead < AHEAD and on_the_way < FAR)


def visited_inside(subject: Subject) -> float:
    """Share of single values that lie in random play's ranges; the least over all columns that random play moves."""
    assert subject.floor is not None
    low, high = subject.floor.low, subject.floor.high
    values = np.concatenate([t.values for t in subject.tracks])
    margin = 0.05 * (high - low)
    inside = ((values >= low - margin) & (values <= high + margin)).mean(axis=0)
    return float(inside[high > low].min(initial=1.0))


def _still_rising(curve: Array) -> bool:
    """Whether the last third still gains at least half of what an even rise would."""
    if len(curve) < 9:
        return False
    parts = [part.mean() for part in np.array_split(curve, 9)]
    return bool(parts[-1] - parts[-3] > 0.5 * (parts[-1] - parts[0]) * 2 / 8)


def rise(curve: Array) -> float | None:
    """Mean of the last third minus mean of the first, in units of the spread around the line through both.

    None for fewer than six points.
    """
    kept = np.asarray(curve, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if len(kept) < 6:
        return None
    third = len(kept) // 3
    gain = float(kept[-third:].mean() - kept[:third].mean())
    ramp = np.linspace(-0.5, 0.5, len(kept))
    noise = float((kept - kept.mean() - ramp * (ramp @ (kept - kept.mean())) / (ramp @ ramp)).std())
    floor = 0.02 * float(np.abs(kept).mean())
    return gain / max(noise, floor, 1e-12)
