"""Candidates, trainings and scores as rows of a run's database, and back."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from eureka_agent.population import Candidate, Record, Score, Training
from eureka_agent.runs.journal import Journal, Statement
from eureka_agent.runs.unread import read_record
from eureka_sandbox.protocol import Failure

HEAD, TAIL = 1000, 4000
"""Bytes at both ends of a training's record in which all lies but its curves, which are nine tenths of a long run."""
ENDS = f"substr(CAST(record AS BLOB), 1, {HEAD}), substr(CAST(record AS BLOB), -{TAIL})"
BEGIN, END = b'"curves":{', b'},"policy":'
"""Marks around the curves. Neither can occur elsewhere: inside a JSON string the quotes would be escaped."""


def read_candidates(journal: Journal, where: str, values: tuple[Any, ...], curves: bool) -> tuple[Candidate, ...]:
    """Candidates by generation and slot, with what was measured of them; without `curves` their trainings have none.

    Rows are joined and sorted here: SQL would read a long record for its keys alone, and move it about to sort it.
    """
    with uncollected():
        with journal.snapshot():
            sql = f"SELECT generation, slot, record FROM candidates WHERE {where}"
            found = [read_record(record) for *_, record in sorted(journal.rows(sql, values), key=itemgetter(0, 1))]
            keys = json.dumps(sorted({candidate.measured for candidate in found}))
            trained = _measured(journal, "trainings", "record" if curves else ENDS, keys)
            scored = _measured(journal, "scores", "record", keys)
        trainings = _trainings(trained) if curves else _without_curves(trained, journal)
        scores = {key: Score.model_validate_json(record) for key, record in scored}
        return tuple(
            c.model_copy(update={"training": trainings.get(c.measured), "score": scores.get(c.measured)}) for c in found
        )


def _trainings(rows: Iterable[tuple[Any, ...]]) -> dict[str, Training]:
    return {key: Training.model_validate_json(record) for key, record in rows}


def _without_curves(rows: Iterable[tuple[Any, ...]], journal: Journal) -> dict[str, Training]:
    """Of both ends of each record; what cannot be cut, as another version wrote it, is read whole."""
    found, whole = {}, []
    for key, head, tail in rows:
        begin, end = head.find(BEGIN), tail.find(END)
        if begin < 0 or end < 0:
            whole.append(key)
        else:
            found[key] = Training.model_validate_json(head[: begin + len(BEGIN)] + tail[end:])
    others = _trainings(_measured(journal, "trainings", "record", json.dumps(whole))) if whole else {}
    return found | {key: training.model_copy(update={"curves": {}}) for key, training in others.items()}


def _measured(journal: Journal, table: str, columns: str, keys: str) -> list[tuple[Any, ...]]:
    """Key and columns of what did not fail; `keys` are a JSON list."""
    sql = f"SELECT key, {columns} FROM {table} WHERE verdict IS NULL AND key IN (SELECT value FROM json_each(?))"
    return journal.rows(sql, (keys,))


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
    """As it is read without curves."""
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
