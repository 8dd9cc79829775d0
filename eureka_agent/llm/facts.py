"""What prompts tell of a candidate: its code as it is, and else numbers, checked names and this package's own words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from eureka_agent.contract.reward_code import component_names
from eureka_agent.population import Candidate, Population, Score
from eureka_agent.runs.summaries import success_rate
from eureka_agent.standing import Standing
from eureka_evaluation.finding import most_telling
from eureka_sandbox.protocol import COMPONENT_NAME

LONGEST_FINDING = 200
"""Characters of a finding in a table."""
Scores = Callable[[Population, Candidate], Sequence[Score]]
"""Of all trainings that a candidate's fitness is the mean of; empty if not all are known."""


def known_here(population: Population, candidate: Candidate) -> Sequence[Score]:
    """`Scores` without a run to look into: those of one training alone."""
    alone = candidate.score and not population.standing(candidate).finished
    return (candidate.score,) if candidate.score and alone else ()


def facts(candidate: Candidate, population: Population, scores: Scores = known_here) -> dict[str, Any]:
    """What templates may tell of a candidate: `fitness` is the mean over its `trainings`, and so is `success_rate`;
    None where one is not known."""
    standing = population.standing(candidate) if candidate.score else None
    counted = scores(population, candidate)
    return {
        "id": candidate.id,
        "code": candidate.code,
        "components": components(candidate.code),
        "fitness": standing.mean if standing else None,
        "trainings": trainings(standing) if standing else "",
        "warm_start": candidate.training.warm_start if candidate.training else "",
        "stopped": candidate.stopped,
        "success_rate": success_rate(counted) if counted else None,
        "reflection": candidate.reflection,
        "finding": top_finding(candidate),
        "commentary": candidate.commentary,
    }


def trainings(standing: Standing) -> str:
    """`mean of 3 trainings: 18, 11, failed, 12.5`; empty where there is but one, from scratch."""
    went_on = "that went on from its parent's policy"
    if not standing.later:
        return f"one training {went_on}" if standing.warm else ""
    values = ["failed" if value is None else number(value) for value in standing.later]
    if standing.warm and standing.finished:
        warm = f"; {number(standing.screening)} in the one {went_on}"
    else:
        first = f"{number(standing.screening)} in one {went_on}" if standing.warm else number(standing.screening)
        values, warm = [first, *values], ""
    count = len(standing.counted)
    mean = f"mean of {count} trainings" if count > 1 else "trained again"
    return f"{mean}: {', '.join(values)}{warm}"


def top_finding(candidate: Candidate) -> str:
    """The weightiest finding in short, for a table of siblings; empty without one."""
    found = most_telling((*candidate.findings, *candidate.suspicions), 1)
    text = line(found[0].text) if found else ""
    return text if len(text) <= LONGEST_FINDING else text[:LONGEST_FINDING].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())


def number(value: float | None) -> str:
    """Three significant digits; an en dash for nothing."""
    return "–" if value is None else f"{value:.3g}"


def share(value: float | None) -> str:
    """`42%`; an en dash for nothing."""
    return "–" if value is None else f"{value:.0%}"


def components(code: str) -> list[str]:
    """Names of a reward's components, as far as its text shows them."""
    return [name for name in component_names(code) if re.fullmatch(COMPONENT_NAME, name)]
