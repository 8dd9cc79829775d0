"""What all searches of a bench together may spend on language models: each gets what the others have left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from eureka_agent.errors import BudgetExhausted
from eureka_agent.llm.ledger import so_far, unpriced_text
from eureka_agent.runs.calls import Booked
from eureka_agent.runs.journal import DATABASE
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.text import command, dollars, flag_of

MOST_NAMED = 6
"""Missing searches that are named; of more, only how many."""


class Caps(NamedTuple):
    """Named as the settings that bound one search; None: no cap."""

    max_cost: float | None = None
    """US dollars."""
    max_tokens: int | None = None
    """Input and output."""
    max_calls: int | None = None

    @property
    def given(self) -> dict[str, float]:
        """Those that there are, by name."""
        return {name: cap for name, cap in self._asdict().items() if cap is not None}


NO_CAPS = Caps()


class Purse:
    """The caps of a bench, and what its searches have booked so far."""

    def __init__(self, caps: Caps, folders: Iterable[Path]) -> None:
        """`folders` are those of all searches, begun or not."""
        self.caps = caps
        self._booked = {folder: _booked(folder) for folder in folders} if caps.given else {}

    def bounded(self, settings: Settings, folder: Path) -> Settings:
        """The settings of the search in `folder` with caps of its own: what the others have not booked.

        Raises:
            BudgetExhausted: nothing is left for it.
        """
        if not self.caps.given or settings.model == "offline":
            return settings
        others = _sum(booked for other, booked in self._booked.items() if other != folder)
        left = {name: round(cap - _counted(name, others), 9) for name, cap in self.caps.given.items()}
        if min(left.values()) <= 0 or (self.caps.max_cost is not None and others.unpriced):
            raise BudgetExhausted(str(folder))
        return settings.model_copy(update=left)

    def book(self, folder: Path, run: Run) -> None:
        """Take over what the search in `folder` has booked."""
        if self.caps.given:
            self._booked[folder] = run.booked()

    def exhausted(self, root: Path, missing: Sequence[str], searches: int) -> BudgetExhausted:
        """Why the bench in `root` stops, which of its searches are missing, and how it goes on."""
        total = _sum(self._booked.values())
        name, cap = max(self.caps.given.items(), key=lambda item: _counted(item[0], total) / item[1])
        if self.caps.max_cost is not None and total.unpriced:
            why, more = unpriced_text(total.unpriced, f"cost cap of {dollars(self.caps.max_cost)}"), []
        else:
            why = f"{flag_of(name)} {cap:.12g} leaves no room for the bench's next call ({so_far(total)})"
            more = [flag_of(name), f"{2 * cap:.12g}"]
        named = "; ".join(missing[:MOST_NAMED]) + (" …" if len(missing) > MOST_NAMED else "")
        return BudgetExhausted(
            f"{why}. {len(missing)} of {searches} searches have not ended: {named}. What has ended is kept; continue "
            f"with the same command and {command([*more, '--output', str(root)])}"
        )


def _counted(cap: str, booked: Booked) -> float:
    counted: float = getattr(booked, cap.removeprefix("max_"))
    return counted


def _booked(folder: Path) -> Booked:
    if not (folder / DATABASE).is_file():
        return Booked(cost=0.0, tokens=0, calls=0, unpriced=0)
    with Run.open(folder, read_only=True) as run:
        return run.booked()


def _sum(parts: Iterable[Booked]) -> Booked:
    parts = list(parts)
    return Booked(
        cost=round(sum(part.cost for part in parts), 9),
        tokens=sum(part.tokens for part in parts),
        calls=sum(part.calls for part in parts),
        unpriced=sum(part.unpriced for part in parts),
    )
