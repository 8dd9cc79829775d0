"""How full a run's slots for boxes were: what boxes computed, over wall time and how many could run side by side."""

from __future__ import annotations

from itertools import count

from eureka_agent.population import Record
from eureka_agent.runs.run import Run
from eureka_agent.text import percent


class Sitting(Record):
    """One process that worked on the run."""

    jobs: int
    """Boxes that it ran side by side, at most."""
    began: float
    """Wall time of the sittings before, in seconds."""
    wall: int = 0
    """Number of the wall that is to prove itself next: not its own number where an earlier one did not; 0: it is."""
    over: bool = False
    """Whether the search had ended, so that only its last comparison was left."""


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
    began, wall = round(run.elapsed_seconds, 3), _numbered(run, "wall") + 1
    sitting = Sitting(jobs=jobs, began=began, wall=wall, over=run.end() is not None)
    return run.decide(f"sitting/{_numbered(run, 'sitting') + 1}", Sitting, lambda: sitting)


def utilisation(run: Run) -> Utilisation | None:
    """From the journal alone; None before the first box, and where an earlier version sat over the run."""
    stops = [stop.seconds for stop in run.stops()]
    proven: dict[int, tuple[Sitting, float]] = {}  # by wall, with its end: of several the one whose wall held
    sittings = _sittings(run)
    ends = [*(sitting.began for sitting in sittings), run.elapsed_seconds][1:]
    for number, (sitting, left) in enumerate(zip(sittings, ends, strict=True), 1):
        over = min((seconds for seconds in stops if seconds >= sitting.began), default=left)
        proven[sitting.wall or number] = sitting, min(left, over)
    walls = range(1, _numbered(run, "wall") + 1)
    if any(wall not in proven for wall in walls):
        return None
    searched = [proven[wall] for wall in walls if not proven[wall][0].over]
    slots = sum(s.jobs * max(0.0, end - s.began) for s, end in searched)
    boxes = run.work_of_candidates.seconds
    if slots <= 0 or boxes <= 0:
        return None
    jobs = [s.jobs for s, _ in searched]
    return Utilisation(share=boxes / slots, box_seconds=boxes, slot_seconds=slots, jobs=(min(jobs), max(jobs)))


def _sittings(run: Run) -> list[Sitting]:
    found = (run.decided(f"sitting/{number}", Sitting) for number in range(1, _numbered(run, "sitting") + 1))
    return [sitting for sitting in found if sitting]


def _numbered(run: Run, what: str) -> int:
    """How many there are of what is numbered from 1: sittings, walls that proved themselves."""
    return next(number for number in count() if not run.has_decided(f"{what}/{number + 1}"))
