"""Every stored score measured again: the stored policy, on the stored reset seeds, in a fresh box B.

On the same processor, with the same packages in the same kind of box, the numbers are equal to the last bit, episode
by episode. Elsewhere numpy and BLAS round differently, and contacts amplify that within an episode. Then the mean over
the episodes must agree within `STANDARD_ERRORS` of them or `RELATIVE` of its size, whichever is more, and it is said.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from statistics import stdev

from eureka_agent.errors import RunError
from eureka_agent.lab.jobs import run_alone
from eureka_agent.lab.scores import box_name, scoring_job
from eureka_agent.population import Record, Score
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Mismatch, Records, StoredScore
from eureka_sandbox.backends import BACKENDS
from eureka_sandbox.protocol import Failed, Sandbox, ScoreResult, Wall

STANDARD_ERRORS = 3.0
RELATIVE = 0.01

Tell = Callable[[str], None]


class Verification(Record):
    """What `eureka verify` found."""

    scores: int
    """Stored scores that were measured again."""
    episodes: int
    """Of all of them together."""
    exact: int
    """Scores that came out bit-equal in every episode."""
    tolerated: int
    """Scores that differ within the tolerance, measured on another machine or with other versions."""
    unbound: int
    """Scores of an earlier version, which hold no binding."""
    candidates: int
    blobs: int
    mismatches: tuple[Mismatch, ...]
    notes: tuple[str, ...]
    """What could not be settled, and why."""


class Recomputed(Record):
    """One score measured again."""

    key: str
    exact: bool = False
    mismatches: tuple[Mismatch, ...] = ()
    note: str = ""


def usual_backend(records: Records) -> str:
    """The backend that most of the scores came from; empty if none says, or it is none of ours."""
    names = Counter(stored.score.box.split(" ")[0] for stored in records.scores)
    return next((name for name, _ in names.most_common() if name in BACKENDS), "")


def verify(
    records: Records,
    sandbox: Sandbox,
    jobs: int,
    memory_mb: int,
    tell: Tell,
    stop: threading.Event,
    wall: Wall | None = None,
) -> Verification:
    """Measure every score of a run again, `jobs` at once, and add what the records show.

    Args:
        records: of a run that is open for reading.
        sandbox: where box B runs.
        jobs: boxes side by side.
        memory_mb: memory of one box.
        tell: hears one line per finished score.
        stop: set from outside to give up.
        wall: what the sandbox's self-test found, for the image's digest.

    Raises:
        EnvironmentMissing: the sandbox itself failed.
        JobStopped: `stop` was set.
    """
    tell(f"{len(records.scores)} scores to measure again, {records.candidates} candidates, {records.blobs} blobs")
    box = box_name(sandbox, wall)

    def again(stored: StoredScore) -> Recomputed:
        found = recompute(records.run, stored, sandbox, box, memory_mb, stop)
        told = "; ".join(map(str, found.mismatches)) or found.note or "equal to the last bit"
        tell(f"{stored.key}: {told}")
        return found

    found = _side_by_side(again, records.scores, jobs, stop)
    notes = tuple(dict.fromkeys(r.note for r in found if r.note))
    return Verification(
        scores=len(found),
        episodes=sum(len(stored.score.seeds) for stored in records.scores),
        exact=sum(r.exact for r in found),
        tolerated=sum(bool(r.note) and not r.mismatches for r in found),
        unbound=sum(not stored.score.binding for stored in records.scores),
        candidates=records.candidates,
        blobs=records.blobs,
        mismatches=(*records.mismatches, *(m for r in found for m in r.mismatches)),
        notes=notes,
    )


def recompute(
    run: Run, stored: StoredScore, sandbox: Sandbox, box: str, memory_mb: int, stop: threading.Event
) -> Recomputed:
    """Measure one score again and compare.

    Raises:
        EnvironmentMissing: the sandbox itself failed.
        JobStopped: `stop` was set.
    """
    key = stored.key
    try:
        job = scoring_job(
            run,
            stored.training,
            stored.score.seeds,
            memory_mb,
            idle=stored.idle,
            record_episodes=0,
            variation=stored.score.variation,
        )
    except RunError as error:
        return Recomputed(key=key, mismatches=(_mismatch(stored, "its policy", "a blob", str(error)),))
    outcome = run_alone(sandbox, job, stop=stop)
    if isinstance(outcome, Failed) and outcome.killed:
        outcome = run_alone(sandbox, job, stop=stop)
    if isinstance(outcome, Failed):
        return Recomputed(key=key, mismatches=(_mismatch(stored, "mean", stored.score.mean, str(outcome.failure)),))
    result = outcome.result
    assert isinstance(result, ScoreResult)
    if differences(stored.score, result) == 0:
        return Recomputed(key=key, exact=True)
    here = {**result.versions, "box": box}
    there = {**stored.score.versions, "box": stored.score.box}
    if here == there:
        return Recomputed(key=key, mismatches=_unequal(stored, result))
    return _within_tolerance(stored, result, there, here)


def differences(score: Score, result: ScoreResult) -> int:
    """In how many episodes fitness, success or length differ, be it in the last bit."""
    old = zip(score.fitness, score.success, score.lengths, strict=True)
    new = zip(result.fitness, result.success, result.lengths, strict=True)
    return sum(a != b for a, b in zip(old, new, strict=True))


def tolerance(fitness: Sequence[float]) -> float:
    """How far a mean may be off on another machine."""
    mean = sum(fitness) / len(fitness)
    return max(RELATIVE * abs(mean), STANDARD_ERRORS * stdev(fitness) / sqrt(len(fitness)))


def _within_tolerance(
    stored: StoredScore, result: ScoreResult, there: dict[str, str], here: dict[str, str]
) -> Recomputed:
    score = stored.score
    changed = ", ".join(
        f"{name} {there.get(name) or 'unknown'} → {here.get(name) or 'unknown'}"
        for name in sorted(here.keys() | there.keys())
        if there.get(name) != here.get(name)
    )
    if len(score.seeds) < 2:
        return Recomputed(key=stored.key, note=f"one episode cannot be compared across machines ({changed})")
    mean, allowed = sum(result.fitness) / len(result.fitness), tolerance(score.fitness)
    if abs(mean - score.mean) > allowed:
        what = f"mean of {len(score.seeds)} episodes, off by more than {allowed:.3g} ({changed})"
        return Recomputed(key=stored.key, mismatches=(_mismatch(stored, what, score.mean, mean),))
    return Recomputed(key=stored.key, note=f"equal within the tolerance for another machine or version ({changed})")


def _unequal(stored: StoredScore, result: ScoreResult) -> tuple[Mismatch, ...]:
    """The mean, and the first episode that differs."""
    score, count = stored.score, differences(stored.score, result)
    columns: dict[str, tuple[Sequence[object], Sequence[object]]] = {
        "fitness": (score.fitness, result.fitness),
        "success": (score.success, result.success),
        "length": (score.lengths, result.lengths),
    }
    for name, (old, new) in columns.items():
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            if a != b:
                what = f"{name} of episode {i} ({count} of {len(score.seeds)} episodes differ)"
                return (_mismatch(stored, what, a, b),)
    return ()


def _mismatch(stored: StoredScore, what: str, old: object, new: object) -> Mismatch:
    return Mismatch(where=stored.key, what=what, stored=str(old), found=str(new))


def _side_by_side(
    function: Callable[[StoredScore], Recomputed], items: Sequence[StoredScore], jobs: int, stop: threading.Event
) -> list[Recomputed]:
    """In order; an error or Ctrl-C stops the boxes that run before it propagates."""
    pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="box")
    try:
        return list(pool.map(function, items))
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
