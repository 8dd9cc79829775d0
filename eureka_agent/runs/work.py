"""What boxes have computed, as the journal counts it: a training that came in rungs is one, as far as it came."""

from __future__ import annotations

from eureka_agent.population import Record
from eureka_agent.runs.journal import MEASURED, Journal

TRAINED = (
    "SELECT MAX(timesteps) AS timesteps, MAX(seconds) AS seconds FROM trainings "
    "WHERE key NOT LIKE ? AND key LIKE ? AND verdict IS NULL "
    "GROUP BY substr(key, 1, instr(key || '/rung/', '/rung/') - 1)"
)
"""One row per training that did not fail at its first rung; both numbers are of all its boxes together."""


HISTORY = (
    "SELECT t.timesteps, CASE WHEN json_extract(c.record, '$.stopped') THEN NULL ELSE s.fitness END FROM candidates c "
    f"JOIN trainings t ON t.key = {MEASURED} AND t.verdict IS NULL "
    f"LEFT JOIN scores s ON s.key = {MEASURED} AND s.verdict IS NULL "
    "WHERE json_extract(c.record, '$.duplicate_of') IS NULL ORDER BY c.generation, c.slot"
)


class Tally(Record):
    """What became of a run's candidates, those of the generation under way included."""

    candidates: int
    failed: int
    history: tuple[tuple[float, float], ...]
    """Environment steps of the candidates and the highest single score until then, in order of birth; what racing
    stopped costs steps and leads nowhere, and a duplicate costs none."""


class Work(Record):
    """What boxes have computed."""

    trainings: int
    training_seconds: float
    """The start of every box included."""
    scoring_seconds: float

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return self.training_seconds + self.scoring_seconds


def steps_of(journal: Journal, but: str = "") -> int:
    """Environment steps of all finished trainings whose keys are not like `but`."""
    sql = f"SELECT COALESCE(SUM(timesteps), 0) FROM ({TRAINED})"
    return int(journal.rows(sql, (but, "%"))[0][0])


def work_of(journal: Journal, only: str = "%") -> Work:
    """All finished boxes whose keys are like `only`."""
    trainings, seconds = journal.rows(
        f"SELECT COUNT(*), COALESCE(SUM(seconds), 0) FROM ({TRAINED})", ("", only)
    )[0]  # fmt: skip
    started = "SELECT COALESCE(SUM(json_extract(record, '$.startup_seconds')), 0) FROM trainings WHERE key LIKE ?"
    scored = "SELECT COALESCE(SUM(seconds), 0) FROM scores WHERE key LIKE ?"
    startups, scoring = (float(journal.rows(sql, (only,))[0][0]) for sql in (started, scored))
    return Work(trainings=trainings, training_seconds=seconds + startups, scoring_seconds=scoring)


def tally_of(journal: Journal) -> Tally:
    """Of the columns that were kept for queries: no record of a candidate is read whole."""
    ((candidates, failed),) = journal.rows("SELECT count(*), count(verdict) FROM candidates")
    steps, best, points = 0.0, None, []
    for timesteps, fitness in journal.rows(HISTORY):
        steps += timesteps
        if fitness is not None:
            best = fitness if best is None else max(best, fitness)
        if best is not None:
            points.append((steps, best))
    return Tally(candidates=candidates, failed=failed, history=tuple(points))
