"""Candidates, trainings and scores as rows of a run's database, and back."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from eureka_agent.population import Candidate, Record
from eureka_agent.runs.journal import MEASURED, Statement
from eureka_sandbox.protocol import Failure

TAIL = 4000
"""Bytes at the end of a training's record in which all that follows its curves lies."""
WITHOUT_CURVES = f"""(SELECT key, verdict, CASE
    WHEN begins > 0 AND ends > 0
    THEN substr(whole, 1, begins + 9) || substr(whole, max(length(whole) - {TAIL}, 0) + ends)
    ELSE json_set(text, '$.curves', json('{{}}')) END AS record
  FROM (SELECT key, verdict, record AS text, CAST(record AS BLOB) AS whole,
    instr(CAST(record AS BLOB), CAST('"curves":{{' AS BLOB)) AS begins,
    instr(substr(CAST(record AS BLOB), -{TAIL}), CAST('}},"policy":' AS BLOB)) AS ends FROM trainings))"""
"""Trainings with their curves cut out as text: three times faster than as JSON, and they are nine tenths of a long run.

Neither mark can occur elsewhere: inside a JSON string the quotes would be escaped.
"""


def candidates_query(where: str, curves: bool) -> str:
    """Selects what `candidate_of` takes, by generation and slot."""
    trainings = "trainings" if curves else WITHOUT_CURVES
    return (
        "SELECT c.record, t.record, s.record FROM candidates c "
        f"LEFT JOIN {trainings} t ON t.key = {MEASURED} AND t.verdict IS NULL "
        f"LEFT JOIN scores s ON s.key = {MEASURED} AND s.verdict IS NULL "
        f"WHERE {where} ORDER BY c.generation, c.slot"
    )


def candidate_of(record: str, training: str | None, score: str | None) -> Candidate:
    """A candidate from its own record, which is a JSON object without the other two."""
    parts = [record[:-1], f'"training":{training}' if training else "", f'"score":{score}' if score else ""]
    return Candidate.model_validate_json(",".join(filter(None, parts)) + "}")


@contextmanager
def uncollected() -> Iterator[None]:
    """Garbage collection waits: while ten thousand records are made, looking at all of them again and again takes half
    the time, and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def without_curves(candidate: Candidate) -> Candidate:
    """As it comes from a query without curves."""
    bare = candidate.training and candidate.training.model_copy(update={"curves": {}})
    return candidate.model_copy(update={"training": bare})


def candidate_row(candidate: Candidate) -> Statement:
    """Stores a candidate; its training and score have rows of their own."""
    brief, failure = candidate.brief, candidate.failure
    verdict = (str(failure.verdict), failure.message) if failure else (None, None)
    record = candidate.model_dump_json(exclude={"training", "score"})
    place = (brief.id, brief.generation, brief.slot, brief.operator, " ".join(brief.parents))
    values = (*place, *verdict, candidate.code, candidate.reflection, record)
    return "INSERT OR REPLACE INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values


def outcome_row(table: str, key: str, numbers: tuple[Any, ...], outcome: Record | Failure) -> Statement:
    """Stores what a box answered, with the figures that queries ask for."""
    verdict = (str(outcome.verdict), outcome.message) if isinstance(outcome, Failure) else (None, None)
    values = (key, *numbers, *verdict, outcome.model_dump_json(), time.time())
    return f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values
