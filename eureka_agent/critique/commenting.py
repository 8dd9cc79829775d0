"""Commentary of a language model on the findings of a generation's best (`--analyst`): words beside the numbers.

It is quoted in later prompts and in the report. It changes no number and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from eureka_agent.contract.task import Task
from eureka_agent.lab.lab import Lab
from eureka_agent.population import Candidate, Record
from eureka_agent.proposers import Proposer

MOST = 2
"""Candidates of a generation that are commented on, the fittest: what the calls of an analyst are bounded by."""


class Commentary(Record):
    """What was said of one candidate; empty if there was no answer."""

    text: str


@runtime_checkable
class Analyst(Protocol):
    """A proposer that can also comment on what was measured."""

    def comment(self, candidate: Candidate, task: Task) -> str:
        """A few sentences; empty if there is no answer.

        Raises:
            EurekaError: nobody can be asked as things are.
        """
        ...


def commented(lab: Lab, proposer: Proposer, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates of a generation, the best of them with commentary if the run wants it and its model has words."""
    if not lab.run.settings.analyst or not isinstance(proposer, Analyst):
        return list(candidates)
    analyst: Analyst = proposer

    def ask(candidate: Candidate) -> Commentary:
        key = f"{candidate.id}/commentary"
        return lab.run.decide(key, Commentary, lambda: Commentary(text=analyst.comment(candidate, lab.run.task)))

    chosen = fittest(candidates)
    texts = {c.id: said.text for c, said in zip(chosen, lab.boxes.side_by_side(ask, chosen, workers=MOST), strict=True)}
    return [c.model_copy(update={"commentary": texts.get(c.id, "")}) for c in candidates]


def fittest(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Whoever is commented on: the best that were trained to their end, each program once."""
    scored = [c for c in candidates if c.fitness is not None and c.duplicate_of is None and not c.stopped]
    return sorted(scored, key=lambda c: -(c.fitness or 0.0))[:MOST]
