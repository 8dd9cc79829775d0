"""What a candidate's recorded episodes show, as typed findings and behaviour descriptors: no language model, no reward.

Everything comes from simulator state, the task's own score and what play without learning reached.
"""

from __future__ import annotations

from eureka_agent.population import Candidate, Population
from eureka_agent.run import Run


def analysed(candidate: Candidate, population: Population, run: Run) -> Candidate:
    """The candidate with `findings` and `behaviour`; as it was if nothing of it was recorded."""
    return candidate
