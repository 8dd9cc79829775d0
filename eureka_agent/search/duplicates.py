"""Finds rewards that were written before: models answer like questions alike, and a training is dear.

Two rewards are the same program if their normalised syntax trees are equal, whatever their locals are called. They
behave the same if they pay the same on the smoke box's probes: recorded transitions, and states far beyond them (see
`worker.smoke.fingerprint`). A reward that is another one times a constant counts as another: not every recipe divides
rewards by their spread. Where no smoke box ran, as in the offline search and in tuning, only the syntax tree is
compared: a box for each costs seconds, and none of 480 rewards of the grammar behaved as an earlier one (docs/log.md).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eureka_agent.contract.reward_code import FUNCTION, normalised_hash, program_hash
from eureka_agent.population import Candidate, Population
from eureka_agent.runs.run import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-5
"""Largest difference of two equal values, in parts of the value itself, or of the usual one on recorded states if that
is more: float32 sums in another order."""


def linked(run: Run, candidates: Sequence[Candidate], population: Population) -> list[Candidate]:
    """The candidates, those that are the same reward as an earlier one linked to it: nothing is trained twice.

    One that has a training of its own, from a version that did not link, keeps it.
    """
    earlier = [c for c in population.candidates if not c.duplicate_of and (c.program or c.failure is None)]
    programs = {program_of(c): c.id for c in reversed(earlier)}
    prints = _Fingerprints([c for c in earlier if c.failure is None])
    result = []
    for candidate in candidates:
        if candidate.failure is None and FUNCTION in candidate.code:
            candidate = candidate.model_copy(update={"program": normalised_hash(candidate.code)})
            same = programs.setdefault(candidate.program, candidate.id)
            like = prints.like(candidate) if same == candidate.id else None
            if (same != candidate.id or like) and run.training(candidate.id) is None:
                link = {"duplicate_of": like or same, "behaves_alike": like is not None}
                candidate = candidate.model_copy(update=link)
            else:
                prints.add(candidate)
        result.append(candidate)
    return result


def program_of(candidate: Candidate) -> str:
    """Equal for equal programs, whichever version recorded them."""
    return program_hash(candidate.program, candidate.code)


def packed(fingerprint: Sequence[float]) -> str:
    """A fingerprint as a population keeps it: little-endian float32 in Base64."""
    import numpy as np

    return base64.b64encode(np.asarray(fingerprint, dtype="<f4").tobytes()).decode()


class _Fingerprints:
    """Those of a population, compared all at once."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._ids: list[str] = []
        self._rows: list[NDArray[np.float32]] = []
        for candidate in candidates:
            self.add(candidate)

    def add(self, candidate: Candidate) -> None:
        """Take one more into account, if it has one."""
        if candidate.fingerprint:
            self._ids.append(candidate.id)
            self._rows.append(_unpacked(candidate.fingerprint))

    def like(self, candidate: Candidate) -> str | None:
        """The earliest candidate that pays the same on every probe."""
        if not candidate.fingerprint or not self._rows:
            return None
        import numpy as np

        own = _unpacked(candidate.fingerprint)
        rows = np.array([row if row.shape == own.shape else np.full(own.shape, np.inf) for row in self._rows])
        recorded = np.abs(own[: len(own) // 2])  # far states pay millions more, and a terminal one may pay -1000
        usual = np.median(recorded) if recorded.size else 0.0
        found = np.flatnonzero((np.abs(rows - own) <= TOLERANCE * np.maximum(np.abs(own), usual)).all(axis=1))
        return self._ids[found[0]] if found.size else None


def _unpacked(fingerprint: str) -> NDArray[np.float32]:
    import numpy as np

    return np.frombuffer(base64.b64decode(fingerprint), dtype="<f4")
