"""The run folder: durable, resumable, one writer, readable errors."""

from __future__ import annotations

import csv
import gc
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eureka_agent.contract.task import Task, load_task
from eureka_agent.errors import RunError, UsageError
from eureka_agent.population import Brief, Candidate, Population, Record, Score, Training
from eureka_agent.runs import storage
from eureka_agent.runs.calls import Call, Message, packed
from eureka_agent.runs.crashpoints import decision_step
from eureka_agent.runs.journal import Journal
from eureka_agent.runs.rows import uncollected
from eureka_agent.runs.run import Run, start_run
from eureka_agent.runs.storage import DRAFT, appearing
from eureka_agent.settings import Settings
from eureka_sandbox.protocol import Failure, Verdict

SETTINGS = Settings(population=2, generations=2, seed=5)
TRAINING = Training(
    seed=1,
    timesteps=100,
    seconds=2.0,
    startup_seconds=1.0,
    peak_timesteps=50,
    peak_return=None,
    curves={"time/total_timesteps": [50.0, 100.0], "reward/speed": [None, 0.1]},
    policy="p",
    policy_meta="m",
    versions={"torch": "2"},
)
SCORE = Score(seeds=(1, 2), fitness=(1.0, 0.1), success=(True, False), lengths=(10, 10), seconds=1.0)


class Choice(Record):
    value: float


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("hopper_forward")


@pytest.fixture
def run(tmp_path: Path, task: Task) -> Iterator[Run]:
    with Run.create(tmp_path / "run", task, SETTINGS) as run:
        yield run


def born(name: str, generation: int = 0, slot: int = 0, **what: object) -> Candidate:
    brief = Brief(id=name, generation=generation, slot=slot, operator="sample", seed=3)
    return Candidate(brief=brief, code=f"# {name}\n", **what)


def fill(run: Run) -> None:
    for number in range(100):
        run.decide(f"filling {number} {'x' * 2000}", Choice, lambda: Choice(value=2.0))


def look_at_all(folder: Path, read_only: bool) -> None:
    with Run.open(folder, read_only) as run:
        run.population()
        run.calls()
        run.stops()


def reopened(run: Run) -> Run:
    run.close()
    return Run.open(run.folder)


def test_a_run_keeps_its_task_and_settings_whatever_happens_to_the_task_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in load_task("hopper_forward").files.items():
        (folder / name).write_bytes(data)
    task = load_task(str(folder))
    Run.create(tmp_path / "run", task, SETTINGS).close()
    (folder / "task.yaml").write_text("broken: [")
    with Run.open(tmp_path / "run") as run:
        assert run.task.digest == task.digest
        assert run.task.name == "mine"
        assert run.settings == SETTINGS
        assert (run.folder / "task" / "reward_human.py").read_bytes() == task.files["reward_human.py"]


def test_a_decision_is_computed_once_and_survives(run: Run) -> None:
    assert run.decide("choice", Choice, lambda: Choice(value=0.1 + 0.2)).value == 0.1 + 0.2
    with reopened(run) as again:
        assert again.decide("choice", Choice, lambda: pytest.fail("computed again")).value == 0.1 + 0.2
        assert again.decided("other", Choice) is None


def test_threads_that_decide_at_once_agree(run: Run) -> None:
    together = threading.Barrier(8)

    def decide(value: int) -> float:
        def compute() -> Choice:
            together.wait(10)
            return Choice(value=value)

        return run.decide("choice", Choice, compute).value

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(decide, range(8)))) == 1


def test_a_decision_that_fails_is_not_kept(run: Run) -> None:
    with pytest.raises(ZeroDivisionError):
        run.decide("choice", Choice, lambda: Choice(value=1 / 0))
    assert run.decide("choice", Choice, lambda: Choice(value=2.0)).value == 2.0


def test_candidates_come_back_with_what_was_measured(run: Run) -> None:
    failure = Failure(verdict=Verdict.RUNTIME_ERROR, message="division by zero", file="reward.py", line=3)
    good, bad = born("g0c0"), born("g0c1", slot=1, failure=failure)
    run.save_training("g0c0", TRAINING)
    run.save_score("g0c0", SCORE)
    run.save_training("g0c1", failure)
    run.save(bad)
    run.save(good)
    assert run.population() == Population()  # the generation is not finished
    full = good.model_copy(update={"training": TRAINING, "score": SCORE})
    assert run.population(partial=True).candidates == (full, bad)
    extended = run.extend(Population(), [full, bad])
    with reopened(run) as again:
        assert again.population(curves=False) == extended
        assert again.population().best == full
        assert again.with_curves(extended, ["g0c0"]) == again.population()
        assert again.candidate("g0c0") == full
        assert again.training("g0c0") == TRAINING
        assert again.score("g0c0") == SCORE
        assert again.training("g0c1") == failure
        assert again.training("g1c0") is None
        assert again.comparison() is None


@pytest.mark.parametrize("note", ["", 'a note with "curves":{ and },"policy": in it', "long " * 2000])
@pytest.mark.parametrize("sort_keys", [False, True])
def test_curves_can_be_left_out_whatever_a_record_looks_like(run: Run, note: str, sort_keys: bool) -> None:
    long = {f"reward/part{i}": [float(j) for j in range(200)] for i in range(20)}
    training = TRAINING.model_copy(update={"curves": long, "checkpoint_note": note})
    run.save_training("g0c0", training)
    run.save_score("g0c0", SCORE)
    run.extend(Population(), [born("g0c0")])
    run.close()
    with sqlite3.connect(run.folder / "run.db") as database:  # as another version may have written it
        (record,) = database.execute("SELECT record FROM trainings").fetchone()
        record = json.dumps(json.loads(record), sort_keys=sort_keys, separators=(",", ":"))
        database.execute("UPDATE trainings SET record = ?", (record,))
    with Run.open(run.folder) as again:
        (bare,) = again.population(curves=False).candidates
        assert bare.training == training.model_copy(update={"curves": {}})
        assert bare.score == SCORE
        assert again.candidate("g0c0").training == training


def test_a_snapshot_is_of_one_moment_and_hinders_nobody(run: Run) -> None:
    reader = Journal(run.folder, read_only=True)
    with reader.snapshot():
        assert reader.rows("SELECT count(*) FROM trainings") == [(0,)]
        run.save_training("g0c0", TRAINING)
        assert reader.rows("SELECT count(*) FROM trainings") == [(0,)]
    assert reader.rows("SELECT count(*) FROM trainings") == [(1,)]
    reader.close()


def test_people_can_query_the_journal_with_sql(run: Run) -> None:
    run.save_training("g0c0", TRAINING)
    run.save_score("g0c0", SCORE)
    run.save(born("g0c0"))
    with sqlite3.connect(f"file:{run.folder / 'run.db'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT id, fitness, success_rate, timesteps, verdict FROM leaderboard").fetchall()
    assert rows == [("g0c0", 0.55, 0.5, 100, None)]


def test_a_candidate_is_exported_readably(run: Run) -> None:
    run.save(born("g0c0", training=TRAINING, score=SCORE, reflection="well done"))
    folder = run.folder / "candidates" / "g0c0"
    assert (folder / "reward.py").read_text() == "# g0c0\n"
    result = json.loads((folder / "result.json").read_text())
    assert (result["fitness"], result["reflection"]) == (0.55, "well done")
    with open(folder / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"time/total_timesteps": "50.0", "reward/speed": ""}
    assert rows[1] == {"time/total_timesteps": "100.0", "reward/speed": "0.1"}
    assert sorted(p.name for p in folder.iterdir()) == ["curves.csv", "result.json", "reward.py"]


def test_a_resume_writes_the_exports_that_may_be_missing_and_reads_no_prompt_of_earlier_generations(run: Run) -> None:
    prompt, population = run.put_blob(packed((Message(role="user", content="Write a reward."),))), run.population()
    names = ("g0c0", "g1c0", "g2c0")
    for generation, name in enumerate(names):
        run.save_call(Call(key=f"{name}/propose/1", brief=name, purpose="propose", prompt=prompt, reserved=0.0))
        run.save(born(name, generation))
        population = run.extend(population, [born(name, generation)])
    exports = [run.folder / "candidates" / name for name in names]
    for folder in exports:
        (folder / "prompt.md").unlink()
    (exports[1] / "result.json").unlink()
    with reopened(run):
        assert [(folder / "prompt.md").is_file() for folder in exports] == [False, True, True]
        assert (exports[1] / "result.json").is_file()


def test_blobs_are_named_by_their_content_and_checked(run: Run) -> None:
    digest = run.put_blob(b"policy")
    assert run.put_blob(b"policy") == digest
    assert run.blob(digest) == b"policy"
    (run.folder / "blobs" / digest).write_bytes(b"p0licy")
    with pytest.raises(RunError, match="damaged"):
        run.blob(digest)
    with pytest.raises(RunError, match="No such file"):
        run.blob("0" * 64)


def test_half_written_blobs_of_a_killed_writer_are_removed(run: Run) -> None:
    leftover = run.folder / "blobs" / ".tmp-0123"
    leftover.write_bytes(b"half")
    reopened(run).close()
    assert not leftover.exists()


def test_a_damaged_blob_is_stored_anew_when_it_comes_again(run: Run) -> None:
    digest = run.put_blob(b"policy")
    path = run.folder / "blobs" / digest
    for damage in (b"pol", b"p0licy", b""):
        path.write_bytes(damage)
        assert run.put_blob(b"policy") == digest
        assert path.read_bytes() == b"policy"
    assert sorted(run.folder.glob("blobs/.tmp-*")) == []


def test_a_missing_blob_is_called_damage_and_nothing_is_promised(run: Run) -> None:
    path = run.folder / "blobs" / run.put_blob(b"policy")
    path.unlink()
    with pytest.raises(RunError) as gone:
        run.blob(path.name)
    assert str(gone.value) == f"{path}: No such file; the run is damaged: restore this from a copy of the run"
    path.write_bytes(b"p0licy")
    with pytest.raises(RunError, match="no longer match its name; the run is damaged: restore this from a copy"):
        run.blob(path.name)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("damage", ["cut short", "random bytes", "no database"])
def test_a_damaged_database_is_called_so_and_nothing_is_promised(run: Run, damage: str, read_only: bool) -> None:
    fill(run)
    run.close()
    path = run.folder / "run.db"
    data = path.read_bytes()
    noise = bytes(n * 7919 % 251 for n in range(20_000))
    path.write_bytes({"cut short": data[:20_000], "no database": noise}.get(damage, data[:4096] + noise + data[24096:]))
    with pytest.raises(RunError) as told:
        look_at_all(run.folder, read_only)
    message = str(told.value)
    assert message.startswith(f"{path}: ")
    assert "the run is damaged: restore this from a copy of the run; reports and exported candidates" in message
    assert "whole" not in message
    assert "MB free" not in message
    assert "eureka runs" not in message


@pytest.mark.parametrize("name", ["checkpoints/foo", "blobs/.tmp-x", "task/.tmp-x", "candidates/g0c0/.tmp-x"])
def test_folders_that_no_writer_makes_are_left_alone(run: Run, name: str) -> None:
    strange = run.folder / name
    strange.mkdir(parents=True)
    (strange / "note.txt").write_text("mine")
    reopened(run).close()
    assert (strange / "note.txt").read_text() == "mine"


def test_a_file_in_the_way_of_exports_is_named_and_the_run_goes_on_without_it(run: Run) -> None:
    strange = run.folder / "candidates"
    strange.write_text("mine")
    with pytest.raises(RunError) as told:
        run.save(born("g0c0"))
    assert str(told.value) == (
        f"{strange}: is in the way of the folder that candidates are exported to; move it away, and resume"
    )
    run.close()
    with pytest.raises(RunError, match="move it away, and resume"):
        Run.open(run.folder)
    strange.unlink()
    with Run.open(run.folder) as again:
        assert [c.id for c in again.population(partial=True).candidates] == ["g0c0"]
    assert (strange / "g0c0" / "reward.py").is_file()


def test_a_second_writer_is_told_who_holds_the_run(run: Run) -> None:
    with pytest.raises(RunError, match=rf"the run is open by pid {os.getpid()} on host \S+ since \d{{4}}-"):
        Run.open(run.folder)
    Run.open(run.folder, read_only=True).close()
    reopened(run).close()


def test_a_reader_sees_what_the_writer_saves_and_cannot_write(run: Run) -> None:
    with Run.open(run.folder, read_only=True) as reader:
        run.extend(Population(), [born("g0c0")])
        assert [c.id for c in reader.population().candidates] == ["g0c0"]
        with pytest.raises(RunError, match="reading only"):
            reader.decide("choice", Choice, lambda: Choice(value=1.0))


def test_a_run_of_a_newer_format_is_refused_with_the_version_it_needs(run: Run) -> None:
    run.close()
    with sqlite3.connect(run.folder / "run.db") as database:
        database.execute("PRAGMA user_version = 7")
        database.execute("UPDATE meta SET value = '3.2.1' WHERE key = 'version'")
    for read_only in (False, True):
        with pytest.raises(RunError, match=r"format 7 is newer .* eureka-agent 3\.2\.1, this is .*; upgrade"):
            Run.open(run.folder, read_only)


@pytest.mark.parametrize(
    ("key", "step"),
    [
        ("g0/briefs", "briefs"),
        ("g12/inbox/3", "inbox"),
        ("g0c1/seed/2/evaluation-seeds", "evaluation-seeds"),
        ("variation/g0c1/evaluation-seeds", "evaluation-seeds"),
        ("judged/0/human/bank", "bank"),
        ("prescreen/g0c1/bank", "bank"),
        ("maps/human-g0c1", "maps"),
        ("stop/2/12345678", "stop"),
        ("comparison/2", "comparison"),
        ("floor", "floor"),
        ("something/else", "something/else"),
    ],
)
def test_a_decision_is_the_step_that_its_key_names(key: str, step: str) -> None:
    assert decision_step(key) == step


def test_what_is_not_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        Run.open(tmp_path)
    (tmp_path / "run.db").write_bytes(b"not a database, but long enough to look at" * 30)
    with pytest.raises(RunError, match="not a database"):
        Run.open(tmp_path)
    (tmp_path / "run.db").write_bytes(b"")
    with pytest.raises(RunError, match="not a run's database"):
        Run.open(tmp_path)


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path, task: Task) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"file/runs.*: Not a directory; nothing was left behind"):
        start_run(tmp_path / "file" / "runs", task, SETTINGS)
    with pytest.raises(UsageError, match="already exists"):
        Run.create(tmp_path, task, SETTINGS)
    assert os.listdir(tmp_path) == ["file"]


def test_a_creation_that_fails_midway_leaves_nothing(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, meta: object) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr("eureka_agent.runs.draft.write_new_database", full)
    with pytest.raises(RunError, match="No space left on device"):
        Run.create(tmp_path / "run", task, SETTINGS)
    assert os.listdir(tmp_path) == []


def test_a_creation_that_was_killed_leaves_a_draft_that_the_next_one_removes(tmp_path: Path, task: Task) -> None:
    code = (
        "import os, signal; from pathlib import Path; from eureka_agent.runs import draft, run\n"
        "from eureka_agent.contract.task import load_task; from eureka_agent.settings import Settings\n"
        "draft.write_new_database = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"run.Run.create(Path({str(tmp_path / 'killed')!r}), load_task('hopper_forward'), Settings())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (draft,) = tmp_path.iterdir()
    assert DRAFT in draft.name
    with appearing(tmp_path / "living"):
        living = {path.name for path in tmp_path.iterdir()} - {draft.name}
        Run.create(tmp_path / "run", task, SETTINGS).close()
        assert {path.name for path in tmp_path.iterdir()} == {"run"} | living, "only the dead one's draft is removed"
    assert sorted(os.listdir(tmp_path)) == ["living", "run"]


def test_every_folder_that_a_creation_made_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(storage, "fsync_folder", synced.append)
    with appearing(tmp_path / "a" / "b" / "run"):
        pass
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= set(synced)


def test_a_creation_that_fails_removes_the_parents_it_made(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), appearing(tmp_path / "a" / "b" / "run") as draft:
        (draft / "file").write_text(str(1 / 0))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_stops_the_run_and_keeps_what_was_saved(run: Run) -> None:
    run.decide("before", Choice, lambda: Choice(value=1.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(RunError, match=r"File too large \(.* MB free there\)"):
            run.put_blob(bytes(100_000))
        with pytest.raises(RunError, match=r"run\.db: .* MB free there"):
            fill(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with reopened(run) as again:
        assert again.decided("before", Choice) == Choice(value=1.0)
        assert list((again.folder / "blobs").glob(".tmp-*")) == []
        assert again.decide("after", Choice, lambda: Choice(value=3.0)).value == 3.0


def test_runs_are_sorted_by_task_and_latest_points_at_the_newest(tmp_path: Path, task: Task) -> None:
    for _ in range(2):
        with start_run(tmp_path, task, SETTINGS) as run:
            assert run.folder.parent == tmp_path / "hopper_forward"
            assert (tmp_path / "hopper_forward" / "latest").resolve() == run.folder
    with Run.open(tmp_path / "hopper_forward" / "latest", read_only=True) as latest:
        assert latest.folder == run.folder


def test_only_bounds_of_the_search_can_be_amended(run: Run) -> None:
    run.amend({"generations": 9, "max_seconds": 60.0})
    with reopened(run) as again:
        assert (again.settings.generations, again.settings.max_seconds) == (9, 60.0)
        with pytest.raises(UsageError, match="--timesteps is fixed when a run begins"):
            again.amend({"timesteps": 5})


def test_time_is_booked_over_sittings(run: Run) -> None:
    run.decide("choice", Choice, lambda: Choice(value=1.0))
    first = run.elapsed_seconds
    with reopened(run) as again:
        assert 0 < first <= again.elapsed_seconds + 0.001


def test_garbage_is_collected_again_once_records_are_made() -> None:
    with uncollected():
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled(), "whoever waits longer"
    assert gc.isenabled()


def test_a_closed_run_says_so(run: Run) -> None:
    run.close()
    with pytest.raises(RunError, match="the run is closed"):
        run.population()
