"""How a candidate stands after all of its trainings: the one that selected it, and those of contests."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from eureka_agent.text import measure

if TYPE_CHECKING:
    from eureka_agent.population import Candidate


class Standing(BaseModel):
    """One candidate's trainings: mean fitness of each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    screening: float
    """Of the training that selected it."""
    warm: bool | None = None
    """Whether that one went on from its parent's policy; contests train from scratch, so it is no evidence in them.
    None: by an earlier version, whose contests went on from there too, and counted all trainings alike."""
    later: tuple[float | None, ...] = ()
    """Of those on contest seed 1, 2, …; None where it failed."""

    @classmethod
    def screened(cls, candidate: Candidate) -> Standing:
        """As a candidate stands that has its score and was never contested."""
        warm = bool(candidate.training and candidate.training.warm_start)
        return cls(id=candidate.id, screening=candidate.fitness or 0.0, warm=warm)

    def first(self, number: int) -> Standing:
        """As it was after so many contest trainings."""
        return self.model_copy(update={"later": self.later[:number]})

    @property
    def finished(self) -> tuple[float, ...]:
        """Contest trainings that did not fail."""
        return tuple(value for value in self.later if value is not None)

    @property
    def failed(self) -> bool:
        """Whether one did."""
        return None in self.later

    @property
    def counted(self) -> tuple[float, ...]:
        """Trainings that count. The screening does: it flatters whoever was selected by one, so both sides alike."""
        return self.finished if self.warm and self.finished else (self.screening, *self.finished)

    @property
    def from_scratch(self) -> bool:
        """Whether the trainings that count began with random weights; the others are no measure of them."""
        return not self.warm or bool(self.finished)

    @property
    def mean(self) -> float:
        """Over all trainings that count."""
        return fmean(self.counted)

    def told(self, unit: str) -> str:
        """`6.70 m over 3 trainings`, for a person; the figure alone of a single one."""
        over = f" over {len(self.counted)} trainings" if len(self.counted) > 1 else ""
        return measure(self.mean, unit) + over

    @property
    def fresh(self) -> float | None:
        """Over the contest trainings alone, which did not select; None without any."""
        return fmean(self.finished) if self.finished else None

    @property
    def optimism(self) -> float | None:
        """What the screening promised above that."""
        return None if self.fresh is None else self.screening - self.fresh
