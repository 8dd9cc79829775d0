"""Which of a reward's trainings films and findings are of, with its fitness beside that of all: one may be lucky."""

from __future__ import annotations

from eureka_agent.population import Candidate
from eureka_agent.report.facts import RunFacts
from eureka_agent.search.comparison import Arm
from eureka_agent.text import measure


def first(facts: RunFacts, candidate: Candidate) -> str:
    """`its first training, 17.6 m; fitness 7.38 m over 3 trainings`, `its one training, 3.77 m`; empty without any."""
    if candidate.fitness is None:
        return ""
    standing, came_to = facts.population.standing(candidate), measure(candidate.fitness, facts.unit)
    if not standing.finished:
        return f"its {'training so far' if candidate.stopped else 'one training'}, {came_to}"
    return f"its first training, {came_to}; fitness {standing.told(facts.unit)}"


def median(facts: RunFacts, arm: Arm) -> str:
    """`the training of median fitness, 2.29 m; IQM of all 3: 2.86 m`, whose policy stands for the arm."""
    score, count = arm.median.score, len(arm.fitness)
    assert score is not None
    came_to = measure(score.mean, facts.unit)
    if count == 1:
        return f"its one fresh training, {came_to}"
    which, both = ("training of median fitness", f"all {count}") if count > 2 else ("lower of two trainings", "both")
    return f"the {which}, {came_to}; IQM of {both}: {measure(arm.iqm.value, facts.unit)}"
