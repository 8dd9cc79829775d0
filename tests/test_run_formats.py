"""Runs that earlier versions wrote: they open, for reading and for writing, and can be searched to their end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from eureka_agent.errors import RunError
from eureka_agent.lab.lab import Lab
from eureka_agent.llm.completion import Completion
from eureka_agent.llm.prompting import Prompts, Request, fenced
from eureka_agent.llm.proposer import LLMProposer
from eureka_agent.llm.transcript import RunTranscript
from eureka_agent.loop import evolve
from eureka_agent.population import Candidate
from eureka_agent.runs.journal import SCHEMA_VERSION
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Records
from eureka_agent.search.duplicates import linked, program_of
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import TrainSpec

DUMPS = sorted((Path(__file__).parent / "data" / "runs").glob("format*.sql"))
REWARD = '''import torch


def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """again"""
    upright = torch.cos(pole_angle)
    return upright, {"upright": upright}
'''


class Model:
    """Answers what had not been answered yet."""

    free = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def complete(self, request: Request) -> Completion:
        self.asked.append(request.brief)
        return Completion(text=fenced(REWARD), model="test")


def restored(dump: Path, folder: Path) -> Path:
    """The run folder that a dump was made of."""
    (folder / "blobs").mkdir(parents=True)
    database = sqlite3.connect(folder / "run.db")
    database.executescript(dump.read_text())
    for name, content in database.execute("SELECT name, content FROM fixture_blobs").fetchall():
        (folder / "blobs" / name).write_bytes(content.encode() if isinstance(content, str) else content)
    database.execute("DROP TABLE fixture_blobs")
    database.commit()
    database.close()
    return folder


def format_of(folder: Path) -> int:
    database = sqlite3.connect(folder / "run.db")
    try:
        return int(database.execute("PRAGMA user_version").fetchone()[0])
    finally:
        database.close()


@pytest.fixture(params=DUMPS, ids=lambda dump: dump.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return restored(request.param, tmp_path / "run")


def test_there_is_a_run_of_every_format() -> None:
    """Of the present one, too: settings and records get new fields without a new format."""
    assert [dump.stem for dump in DUMPS] == [f"format{number}" for number in range(1, SCHEMA_VERSION + 1)]


def test_a_reader_sees_an_old_run_and_leaves_it_as_it_is(old: Path) -> None:
    before = (format_of(old), (old / "run.db").read_bytes())
    with Run.open(old, read_only=True) as run:
        partial = run.population(partial=True)
        assert [c.id for c in partial.candidates] == ["g0c0", "g0c1", "g1c0"]
        assert all(c.fitness is not None and c.training for c in partial.candidates)
        assert run.population().generations == 1
        assert run.comparison() is None
        states = {call.brief: call.state for call in run.calls()}
        answered = dict.fromkeys(("g0c0", "g0c1", "g1c0"), "parsed")
        assert states in ({}, {**answered, "g1c1": "sent"}, {**answered, "g1c1": "parsed"})
        assert run.settings.generations == 2
        assert (run.settings.racing, run.settings.contest_seeds) == ("none", 1), "it goes on as it began"
    assert (format_of(old), (old / "run.db").read_bytes()) == before


def test_an_old_run_resumes_to_its_end_and_repeats_nothing(old: Path) -> None:
    with Run.open(old, read_only=True) as run:
        before = run.population(partial=True).candidates
        answered = {call.brief for call in run.calls() if call.response} | {
            c.id
            for c in before  # format 1 kept proposals only
        }
    model, sandbox = Model(), ScriptedSandbox()
    with Run.open(old) as run:
        assert format_of(old) == SCHEMA_VERSION
        proposer = LLMProposer(model, Prompts(None, run.settings), RunTranscript(run))
        comparison = evolve(run, proposer, Incumbent(), Lab(sandbox, run))
        after = run.population().candidates
    assert [c.id for c in after] == ["g0c0", "g0c1", "g1c0", "g1c1"]
    assert [(c.brief, c.code, c.training, c.score) for c in after[:3]] == [
        (c.brief, c.code, c.training, c.score) for c in before
    ]
    assert comparison.arm("human").fitness
    assert not answered & set(model.asked)
    trained = {job.origin.partition("/")[2] for job in sandbox.started if isinstance(job.spec, TrainSpec)}
    assert trained, "the last comparison trains some of them once more"
    assert not trained & {c.id for c in before}
    assert not any("/seed/" in key or "/rung/" in key for key in trained)
    with Run.open(old, read_only=True) as run:
        assert run.comparison() == comparison


def test_hashes_that_an_earlier_version_wrote_change_neither_verification_nor_what_is_a_repeat(old: Path) -> None:
    with Run.open(old) as run:
        before = Records(run).mismatches
    with sqlite3.connect(old / "run.db") as database:
        database.execute("UPDATE candidates SET record = json_set(record, '$.program', ?)", ("5" * 64,))
    database.close()
    with Run.open(old) as run:
        assert Records(run).mismatches == before
        known = run.population(partial=True)
        assert {c.program for c in known.candidates} == {"5" * 64}
        brief = known.candidates[-1].brief.model_copy(update={"id": "g1c1", "slot": 1})
        (repeat,) = linked(run, [Candidate(brief=brief, code="# again\n" + known["g0c1"].code)], known)
        own = program_of(known["g0c1"])
        assert repeat.duplicate_of == next(c.id for c in known.candidates if program_of(c) == own)


def test_a_run_of_the_next_format_is_refused_with_the_version_it_needs(old: Path) -> None:
    Run.open(old).close()
    database = sqlite3.connect(old / "run.db")
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.execute("UPDATE meta SET value = '9.0' WHERE key = 'version'")
    database.commit()
    database.close()
    for read_only in (True, False):
        with pytest.raises(RunError, match=rf"format {SCHEMA_VERSION + 1} is newer .* eureka-agent 9\.0, .*; upgrade"):
            Run.open(old, read_only)
