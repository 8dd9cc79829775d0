"""How full a run's slots for boxes were: what boxes computed, over wall time and how many could run side by side."""

from __future__ import annotations

from itertools import count, pairwise

from eureka_agent.population import Record
from eureka_agent.runs.run import Run
from eureka_agent.text import percent


class Sitting(Record):
    """One process that worked on the run."""

    jobs: int
    """Boxes that it ran side by side, at most."""
    began: float
    """Wall time of the sittings before, in seconds."""


class Utilisation(Record):
    """Of a search without its last comparison."""

    share: float
    """Seconds that boxes spent on trainings and scores that count, over `slot_seconds`."""
    box_seconds: float
    slot_seconds: float
    """Wall time times the boxes that could run side by side, summed over sittings."""
    jobs: tuple[int, int]
    """Fewest and most boxes side by side of any sitting."""

    @property
    def text(self) -> str:
        """`83 % of wall time × 2 boxes side by side`, for people."""
        fewest, most = self.jobs
        side_by_side = str(most) if fewest == most else f"{fewest} to {most}"
        return f"{percent(self.share)} of wall time × {side_by_side} side by side, last comparison not included"


def sit_down(run: Run, jobs: int) -> Sitting:
    """Journal that a sitting begins, before its wall proves itself."""
    return run.decide(
        f"sitting/{_walls(run) + 1}", Sitting, lambda: Sitting(jobs=jobs, began=round(run.elapsed_seconds, 3))
    )


def utilisation(run: Run) -> Utilisation | None:
    """From the journal alone; None before the first box, and where an earlier version sat over the run."""
    known = [run.decided(f"sitting/{number}", Sitting) for number in range(1, _walls(run) + 1)]
    sittings = [sitting for sitting in known if sitting]
    if not sittings or len(sittings) < len(known):
        return None
    stop = run.end()
    ends = [*(s.began for s in sittings), stop.seconds if stop else run.elapsed_seconds]
    slots = sum(s.jobs * max(0.0, end - began) for s, (began, end) in zip(sittings, pairwise(ends), strict=True))
    boxes = run.work_of_candidates.seconds
    if slots <= 0 or boxes <= 0:
        return None
    jobs = [s.jobs for s in sittings]
    return Utilisation(share=boxes / slots, box_seconds=boxes, slot_seconds=slots, jobs=(min(jobs), max(jobs)))


def _walls(run: Run) -> int:
    """Sittings in which the wall has proved itself."""
    return next(number for number in count() if not run.has_decided(f"wall/{number + 1}"))
