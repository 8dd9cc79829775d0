"""Findings of a loaded population are read when somebody looks, and are never missing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError
from test_run import born

from eureka_agent.contract.task import load_task
from eureka_agent.population import Candidate, Population
from eureka_agent.runs.run import Run
from eureka_agent.runs.unread import Unread, read_record
from eureka_agent.settings import Settings
from eureka_evaluation.finding import Finding, most_telling

MARKS = 'words with "findings":[{ and }],"commentary":"" and "suspicions":[{ and }],"behaviour":{ – in them'
FINDINGS = (Finding("falls", 0.25, MARKS, {"speed": 0.1}), Finding("hops", 0.5, "It hops."))
SUSPICIONS = (Finding("rests", 0.75, MARKS),)
TOLD = born("g0c0", findings=FINDINGS, suspicions=SUSPICIONS, reflection=MARKS, commentary=MARKS, behaviour={"a": 0.1})


@pytest.mark.parametrize("candidate", [TOLD, born("g0c0", findings=FINDINGS), born("g0c0")])
@pytest.mark.parametrize("layout", [{"separators": (",", ":")}, {}, {"sort_keys": True, "separators": (",", ":")}])
def test_findings_come_back_whatever_a_record_looks_like(candidate: Candidate, layout: dict[str, object]) -> None:
    record = json.dumps(json.loads(candidate.model_dump_json()), ensure_ascii=False, **layout)  # type: ignore[arg-type]
    read = read_record(record)
    assert read == candidate
    assert candidate == read
    assert tuple(read.findings) == candidate.findings
    assert read.model_dump_json() == candidate.model_dump_json()
    assert read.model_dump() == candidate.model_dump()


def test_a_record_as_it_is_written_keeps_its_findings_unread_and_they_read_as_a_tuple() -> None:
    read = read_record(TOLD.model_dump_json())
    assert isinstance(read.findings, Unread)
    assert isinstance(read.suspicions, Unread)
    assert most_telling((*read.findings, *read.suspicions), 1) == SUSPICIONS
    assert (len(read.findings), read.findings[1], read.findings[:1]) == (2, FINDINGS[1], FINDINGS[:1])
    assert repr(read.findings) == repr(FINDINGS)
    assert read.findings != SUSPICIONS
    again = Candidate(**dict(read))
    assert (again, type(again.findings)) == (TOLD, tuple)


@pytest.mark.parametrize("text", ['[{"kind":1}]', '[{"kind":"falls","weight":0.5', '["falls"]', "[{}]"])
def test_what_are_no_findings_is_never_taken_for_none(text: str) -> None:
    unread: Sequence[Finding] = Unread(text)
    for look in (len, bool, tuple, repr):
        with pytest.raises(ValidationError):
            look(unread)
    with pytest.raises(ValidationError):
        Candidate.model_validate({**dict(TOLD), "findings": text})


def test_a_population_that_is_loaded_and_stored_again_loses_nothing(tmp_path: Path) -> None:
    def records() -> list[tuple[str]]:
        with sqlite3.connect(tmp_path / "run" / "run.db") as database:
            return database.execute("SELECT record FROM candidates").fetchall()

    with Run.create(tmp_path / "run", load_task("hopper_forward"), Settings()) as run:
        run.extend(Population(), [TOLD])
        before = records()
        (read,) = run.population(curves=False).candidates
        assert isinstance(read.findings, Unread)
        run.save(read)
        assert records() == before
        exported = json.loads((run.folder / "candidates" / "g0c0" / "result.json").read_text())
        assert [finding["text"] for finding in exported["suspicions"]] == [MARKS]
