"""What is otherwise than with a parent: components by name, what was found, and the part that each component played."""

from __future__ import annotations

from eureka_agent.contract.reward_code import is_scheduled
from eureka_agent.population import Candidate
from eureka_evaluation.components import PREFIX, ComponentStatistics, component_statistics, per_step
from eureka_evaluation.finding import most_telling

WEIGHTY = 0.25
"""Weight of a finding from which its coming and going is told."""
RELATIVE = ("like_the_incumbent", "unlike_the_incumbent")
"""Kinds that depend on who else was there."""
VARIANCE = 0.15
"""Change of a component's share of the variance that is told."""
TREND = 0.5
"""Change of a component's trend that is told."""
MOST = 6
"""Names in a list."""
MOST_SHIFTS = 4


def other_parts(candidate: Candidate, other: Candidate) -> str:
    """Which components came and went, by the names that were logged."""
    mine, theirs = _logged(candidate), _logged(other)
    new, gone = [name for name in mine if name not in theirs], [name for name in theirs if name not in mine]
    told = [f"{word} {_list(names)}" for word, names in (("new:", new), ("without:", gone)) if names and theirs]
    return f" ({'; '.join(told)})" if told else ""


def changes(candidate: Candidate, parent: Candidate) -> list[str]:
    """At most two lines: kinds of findings that are gone or new, and kept components that play another part."""
    mine, theirs = _kinds(candidate), _kinds(parent)
    gone, new = [kind for kind in theirs if kind not in mine], [kind for kind in mine if kind not in theirs]
    if is_scheduled(candidate.code) != is_scheduled(parent.code):  # what curves show is looked for in one of them alone
        gone, new = [], []
    told = [f"{word} {_list(kinds)}" for word, kinds in (("no longer", gone), ("now", new)) if kinds and theirs]
    shifts = _shifts(candidate, parent)
    lines = [f"  Findings: {'; '.join(told)}."] if told else []
    if shifts:
        lines.append(f"  Components of the same name, parent -> this: {'; '.join(shifts)}.")
        if "trend of" in lines[-1]:
            lines[-1] += " (Trend: last third of training minus the first, in parts of the largest value.)"
    return lines


def _kinds(candidate: Candidate) -> list[str]:
    """The weightiest first, in plain words."""
    found = most_telling((*candidate.findings, *candidate.suspicions))
    kinds = [f.kind for f in found if f.weight >= WEIGHTY and f.kind not in RELATIVE]
    return list(dict.fromkeys(kind.replace("_", " ") for kind in kinds))


def _shifts(candidate: Candidate, parent: Candidate) -> list[str]:
    """Shares of the variance that changed, and trends over trainings of one length, the largest change first."""
    theirs = {c.name: c for c in _statistics(parent)}
    alike = _steps(candidate) == _steps(parent)
    found = []
    for c in _statistics(candidate):
        if c.name not in theirs:
            continue
        was, now = theirs[c.name].variance_share, c.variance_share
        if abs(now - was) >= VARIANCE:
            found.append((abs(now - was) / VARIANCE, f"{c.name} {was:.0%} -> {now:.0%} of the variance"))
        was, now = theirs[c.name].trend, c.trend
        if alike and abs(now - was) >= TREND and not c.dead and not theirs[c.name].dead:
            found.append((abs(now - was) / TREND, f"trend of {c.name} {was:+.2f} -> {now:+.2f}"))
    return [text for _, text in sorted(found, key=lambda shift: -shift[0])[:MOST_SHIFTS]]


def _steps(candidate: Candidate) -> int | None:
    """Of its training; None: it was a whole one."""
    return candidate.training.timesteps if candidate.training and candidate.stopped else None


def _statistics(candidate: Candidate) -> tuple[ComponentStatistics, ...]:
    return component_statistics(per_step(candidate.training.curves)) if candidate.training else ()


def _logged(candidate: Candidate) -> list[str]:
    curves = candidate.training.curves if candidate.training else {}
    return [key.removeprefix(PREFIX) for key in curves if key.startswith(PREFIX)]


def _list(names: list[str]) -> str:
    return ", ".join(names[:MOST]) + (" …" if len(names) > MOST else "")
