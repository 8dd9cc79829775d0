"""Who hears what the lab does: the terminal's live table, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eureka_agent.population import Candidate
from eureka_agent.search.comparison import Trial
from eureka_sandbox.protocol import Progress


class Watcher(Protocol):
    """Hears what the lab does; called from several threads."""

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        """A generation is about to be measured."""
        ...

    def started(self, key: str, stage: str) -> None:
        """A box begins; `key` is a candidate's id or another trial's key, `stage` is `training` or `scoring`."""
        ...

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """A box reports."""
        ...

    def raced(self, candidate: Candidate) -> None:
        """A candidate has come to a rung, `candidate.rungs[-1]`, and may go on, wait or be stopped."""
        ...

    def finished(self, candidate: Candidate) -> None:
        """A candidate has its score or its verdict, or was stopped."""
        ...

    def concluded(self, key: str, trial: Trial) -> None:
        """A trial of a contest or of the comparison has its score or its verdict."""
        ...

    def leads(self, name: str, fitness: float) -> None:
        """The contest of a generation settled who leads, with what mean fitness."""
        ...

    def waiting(self, text: str) -> None:
        """What the search waits for outside the boxes, in one line; empty once that has come."""
        ...

    def stage(self, text: str) -> None:
        """Something else that a person may want to know, in one line."""
        ...


class Silent:
    """A watcher that says nothing."""

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Nothing."""

    def started(self, key: str, stage: str) -> None:
        """Nothing."""

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """Nothing."""

    def raced(self, candidate: Candidate) -> None:
        """Nothing."""

    def finished(self, candidate: Candidate) -> None:
        """Nothing."""

    def concluded(self, key: str, trial: Trial) -> None:
        """Nothing."""

    def leads(self, name: str, fitness: float) -> None:
        """Nothing."""

    def waiting(self, text: str) -> None:
        """Nothing."""

    def stage(self, text: str) -> None:
        """Nothing."""
