"""Warm start: the training of a candidate with a parent begins with that parent's policy (`--warm-start`).

It holds for the training that screens a candidate, rungs too. Contests and the final comparison train from scratch:
there a reward has to do without its ancestors, whose training would count as evidence for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from eureka_agent.runs.run import Run
from eureka_agent.strategies import Briefs
from eureka_sandbox.protocol import WARM_META, WARM_WEIGHTS

_OF_A_CANDIDATE = re.compile("(g([0-9]+)c[0-9]+)(/rung/.*)?")


@dataclass(frozen=True)
class WarmStart:
    """What a training begins with."""

    parent: str = ""
    """Candidate id; empty: random weights."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """For the job: the parent's policy as its box A emitted it."""


def warm_start(run: Run, key: str) -> WarmStart:
    """What the training under a key begins with; the same whenever it is asked.

    Raises:
        RunError: a blob of the policy is missing or damaged.
    """
    found = _OF_A_CANDIDATE.fullmatch(key)
    if not run.settings.warm_start or not found:
        return WarmStart()
    briefs = run.decided(f"g{found[2]}/briefs", Briefs)
    parents = next((b.parents for b in briefs.briefs if b.id == found[1]), ()) if briefs else ()
    training = run.candidate(parents[0]).training if parents else None
    if training is None:
        return WarmStart()
    policy = {WARM_WEIGHTS: run.blob(training.policy), WARM_META: run.blob(training.policy_meta)}
    return WarmStart(parents[0], policy)
