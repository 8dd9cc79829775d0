"""Signs that a reward is exploited rather than the task solved. They are shown and told; they never steer selection."""

from __future__ import annotations

from eureka_agent.population import Candidate, Population
from eureka_agent.run import Run


def suspected(candidate: Candidate, population: Population, run: Run) -> Candidate:
    """The candidate with `suspicions` set: what its curves, its episodes and its code show, the weightiest first.

    Args:
        candidate: measured; one that failed comes back as it is.
        population: the generations before it.
        run: whose journal and blobs hold the values that its reward gave on the generation's bank.
    """
    return candidate
