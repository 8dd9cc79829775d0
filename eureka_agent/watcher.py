"""Who hears what the lab does: the terminal's live table, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eureka_agent.population import Candidate
from eureka_sandbox.protocol import Progress


class Watcher(Protocol):
    """Hears what the lab does; called from several threads."""

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        """A generation is about to be measured."""
        ...

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """A box reports; `key` is a candidate's id or a final trial's key, `stage` is `training` or `scoring`."""
        ...

    def finished(self, candidate: Candidate) -> None:
        """A candidate has its score or its verdict."""
        ...

    def stage(self, text: str) -> None:
        """Something else that a person may want to know, in one line."""
        ...


class Silent:
    """A watcher that says nothing."""

    def generation(self, number: int, candidates: Sequence[Candidate]) -> None:
        """Nothing."""

    def progress(self, key: str, stage: str, progress: Progress) -> None:
        """Nothing."""

    def finished(self, candidate: Candidate) -> None:
        """Nothing."""

    def stage(self, text: str) -> None:
        """Nothing."""
