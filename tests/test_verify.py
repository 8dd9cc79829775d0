"""Every stored score is measured again; whatever was changed in a run's folder is found and named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eureka_agent.cli import main
from eureka_agent.contract.task import Task, load_task, task_from_files
from eureka_agent.errors import RunError
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.maps import Maps, maps_key
from eureka_agent.lab.variations import variations_of
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify import Verification, tolerance, verify
from eureka_agent.runs.verify_records import Records
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Finished, Job, Outcome, Sandbox, ScoreResult

SCRIPTED = "eureka_sandbox.backends.scripted:ScriptedSandbox"
PENDULUM = load_task("inverted_pendulum_balance")
TASK = task_from_files(
    PENDULUM.name,
    PENDULUM.folder,
    {**PENDULUM.files, "task.yaml": PENDULUM.files["task.yaml"].replace(b"episodes: 30", b"episodes: 4")},
    PENDULUM.anchors,
)
SETTINGS = Settings(population=2, generations=1, timesteps=128, final_seeds=2, jobs=2, learner="sb3", contest_seeds=1)


class Proposals:
    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        return Proposal(code=f"# {brief.id}\n# scripted: fitness={3 + brief.slot}\n")


class Noisy(ScriptedSandbox):
    """Every episode has a fitness of its own."""

    def __init__(self, off: float = 0.0, versions: dict[str, str] | None = None) -> None:
        super().__init__(episode_spread=1.0)
        self.off, self.versions = off, versions

    def run(self, job: Job, *arguments: Any) -> Outcome:
        outcome = super().run(job, *arguments)
        if isinstance(outcome, Finished) and isinstance(outcome.result, ScoreResult) and self.versions:
            fitness = [value + self.off for value in outcome.result.fitness]
            result = outcome.result.model_copy(update={"fitness": fitness, "versions": self.versions})
            return Finished(result, outcome.blobs, outcome.seconds)
        return outcome


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole scripted search with its floor and comparison."""
    folder = tmp_path_factory.mktemp("verify") / "run"
    with Run.create(folder, TASK, SETTINGS) as run:
        lab = Lab(Noisy(), run)
        lab.bank()
        evolve(run, Proposals(), Incumbent(), lab)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy to be tampered with."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def verified(folder: Path, sandbox: Sandbox | None = None) -> Verification:
    with Run.open(folder, read_only=True) as run:
        return verify(Records(run), sandbox or Noisy(), 2, 1024, lambda _: None, threading.Event())


def found(folder: Path) -> list[str]:
    return [str(mismatch) for mismatch in verified(folder).mismatches]


def change(folder: Path, table: str, key: str, edit: Callable[[Any], None], columns: str = "") -> None:
    """Edit the JSON of one row."""
    column = "record" if table in ("scores", "trainings", "candidates") else "value"
    name = "id" if table == "candidates" else "key"
    with sqlite3.connect(folder / "run.db") as database:
        (text,) = database.execute(f"SELECT {column} FROM {table} WHERE {name} = ?", (key,)).fetchone()
        record = json.loads(text)
        edit(record)
        assert json.dumps(record) != text
        row = (json.dumps(record), key)
        database.execute(f"UPDATE {table} SET {column} = ?{columns} WHERE {name} = ?", row)
    database.close()


def test_an_untouched_run_has_every_score_equal_to_the_last_bit(folder: Path) -> None:
    result = verified(folder)
    assert result.mismatches == ()
    varied = 2 * (1 + len(variations_of(TASK)))  # two policies, as trained and in every variation
    films = 2 + 2  # of the arms and of the candidates
    keys = 2 + 2 * 2 + 1 + 2 + films + varied  # candidates, two arms of two trainings, random play, the floor
    assert result.scores == result.exact == keys
    assert result.episodes == 4 * (keys - films) + films
    assert (result.tolerated, result.unbound, result.candidates, result.notes) == (0, 0, 2, ())


@pytest.mark.parametrize("key", ["g0c1", "final/human/1", "final/random", "floor/zero"])
def test_a_changed_score_is_named_with_what_is_stored_and_what_comes_out(folder: Path, key: str) -> None:
    with Run.open(folder, read_only=True) as run:
        true = run.score(key).fitness[2]  # type: ignore[union-attr]
    raised = true + 4.0

    def edit(record: dict[str, Any]) -> None:
        record["fitness"][2] = raised

    change(folder, "scores", key, edit, ", fitness = fitness + 1.0")
    expected = f"{key}: fitness of episode 2 (1 of 4 episodes differ): {raised} is stored, {true} was found"
    assert expected in found(folder)


def test_the_last_bit_of_one_episode_counts(folder: Path) -> None:
    import math

    def edit(record: dict[str, Any]) -> None:
        record["fitness"][0] = math.nextafter(record["fitness"][0], math.inf)

    change(folder, "scores", "g0c0", edit)
    assert any("g0c0: fitness of episode 0 (1 of 4" in line for line in found(folder))


def test_a_column_of_the_leaderboard_that_was_changed_alone_is_found(folder: Path) -> None:
    with sqlite3.connect(folder / "run.db") as database:
        database.execute("UPDATE scores SET fitness = 99.5 WHERE key = 'g0c0'")
    database.close()
    (line,) = found(folder)
    assert line.startswith("g0c0: fitness in the leaderboard: 99.5 is stored")


def test_a_changed_policy_is_found_by_its_name_and_cannot_be_scored(folder: Path) -> None:
    with Run.open(folder, read_only=True) as run:
        digest = run.training("g0c0").policy  # type: ignore[union-attr]
    (folder / "blobs" / digest).write_bytes(b'{"fitness": 9.0}')
    lines = found(folder)
    assert f"blobs/{digest[:12]}…: SHA-256: its name is stored" in lines[0]
    assert any(line.startswith("g0c0: its policy") and "damaged" in line for line in lines)


def test_another_candidates_policy_under_a_score_breaks_its_binding(folder: Path) -> None:
    with Run.open(folder, read_only=True) as run:
        other = run.training("g0c1").policy  # type: ignore[union-attr]

    def edit(record: dict[str, Any]) -> None:
        record["policy"] = other

    change(folder, "trainings", "g0c0", edit)
    lines = [line for line in found(folder) if line.startswith("g0c0: ")]
    assert "what binds it to candidate, policy, task, seeds and box" in lines[0]
    assert "fitness of episode 0" in lines[1]


@pytest.mark.parametrize("other", ["g0c0", "g0c1", "final/human/0", "final/human/1"])
def test_a_film_or_variation_of_a_policy_that_several_trainings_came_to_may_be_bound_to_any(
    folder: Path, other: str
) -> None:
    """As where none of them ever got better than its untrained policy, and all have one seed."""
    with Run.open(folder, read_only=True) as run:
        compared = run.comparison()
        assert compared is not None
        policy = compared.arms[0].policy

    def edit(record: dict[str, Any]) -> None:
        record["policy"] = policy

    change(folder, "trainings", other, edit)
    lines = found(folder)
    assert any(line.startswith(f"{other}: what binds it") for line in lines)
    assert [line for line in lines if line.startswith((f"film/{policy}", "variation/")) and policy in line] == []


def test_two_candidates_that_changed_places_with_all_that_belongs_to_them_are_found(folder: Path) -> None:
    """Trainings, scores and reset seeds: every number is true, of the other one."""
    with sqlite3.connect(folder / "run.db") as database:
        for table, tail in (("trainings", ""), ("scores", ""), ("decisions", "/evaluation-seeds")):
            for old, new in (("g0c0", "-"), ("g0c1", "g0c0"), ("-", "g0c1")):
                database.execute(f"UPDATE {table} SET key = ? WHERE key = ?", (new + tail, old + tail))
    database.close()
    lines = found(folder)
    for key in ("g0c0", "g0c1"):
        for what in ("SHA-256 of the reward it was trained on", "seed of its training", "what binds it to candidate"):
            assert any(line.startswith(f"{key}: {what}") for line in lines), (key, what, lines)


def test_a_score_that_lost_its_binding_is_found(folder: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["binding"] = ""

    change(folder, "scores", "g0c0", edit)
    (line,) = found(folder)
    assert line.startswith("g0c0: what binds it: nothing is stored")


def test_a_training_of_another_seed_is_no_training_of_this_run(folder: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["seed"] += 1

    change(folder, "trainings", "final/human/1", edit)
    (line,) = found(folder)
    assert line.startswith("final/human/1: seed of its training: ")


def test_a_score_whose_reset_seeds_nobody_drew_is_found(folder: Path) -> None:
    with sqlite3.connect(folder / "run.db") as database:
        database.execute("DELETE FROM decisions WHERE key = 'g0c0/evaluation-seeds'")
    database.close()
    (line,) = found(folder)
    assert line.startswith("g0c0: reset seeds: ")
    assert line.endswith("none were drawn was found")


def test_a_changed_task_snapshot_breaks_every_binding(folder: Path) -> None:
    data = TASK.files["task.py"].replace(b"episode.seconds", b"9 * episode.seconds")
    digest = hashlib.sha256(data).hexdigest()
    (folder / "blobs" / digest).write_bytes(data)

    def edit(snapshot: dict[str, Any]) -> None:
        snapshot["files"]["task.py"] = digest

    change(folder, "meta", "task", edit)
    lines, result = found(folder), verified(folder)
    assert sum("what binds it to" in line for line in lines) == result.scores
    assert any(line.startswith("task/task.py: SHA-256") for line in lines)


def test_a_task_file_that_was_overwritten_in_place_cannot_be_opened(folder: Path) -> None:
    digest = hashlib.sha256(TASK.files["task.py"]).hexdigest()
    (folder / "blobs" / digest).write_bytes(b"def fitness(episode): return 1.0")
    with pytest.raises(RunError, match=r"damaged, its bytes no longer match its name"):
        Run.open(folder, read_only=True)
    assert main(["verify", str(folder), "--sandbox", SCRIPTED]) == 1


def test_changed_code_seeds_and_statistics_are_found(folder: Path) -> None:
    (folder / "candidates" / "g0c0" / "reward.py").write_text("# another")

    def reseed(record: dict[str, Any]) -> None:
        record["seeds"][0] = 7

    def boast(record: dict[str, Any]) -> None:
        record["arms"][0]["iqm"]["value"] += 1.0
        record["over_human"]["low"] = 0.75

    change(folder, "scores", "g0c1", reseed)
    change(folder, "decisions", "comparison/1", boast)
    lines = found(folder)
    for words in (
        "g0c0: SHA-256 of its reward.py",
        "g0c1: reset seeds: 7, ",
        "comparison/1: candidate's interquartile mean",
        "comparison/1: over the human reward",
    ):
        assert any(line.startswith(words) for line in lines), (words, lines)


def test_a_record_that_cannot_be_read_is_named_and_the_rest_is_verified(folder: Path) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["fitness"] = "high"

    whole = verified(folder).scores
    change(folder, "scores", "g0c0", edit)
    result = verified(folder)
    assert str(result.mismatches[0]).startswith("g0c0: its record: something else is stored")
    assert result.exact == result.scores == whole - 1


def test_a_missing_recording_is_found(folder: Path) -> None:
    with Run.open(folder, read_only=True) as run:
        floor = run.floor()
    assert floor is not None
    (folder / "blobs" / floor.recording).unlink()
    assert any(f"blob {floor.recording[:12]}…: named is stored, missing was found" in line for line in found(folder))


def test_a_missing_map_is_found(folder: Path) -> None:
    with Run.open(folder) as run:
        blob = run.put_blob(b"a map")
        run.decide(maps_key("g9c9"), Maps, lambda: Maps(values=blob))
    assert found(folder) == []
    (folder / "blobs" / blob).unlink()
    assert any(f"blob {blob[:12]}…: named is stored, missing was found" in line for line in found(folder))


def test_on_another_machine_means_within_the_tolerance_pass_and_it_is_said(folder: Path) -> None:
    result = verified(folder, Noisy(off=1e-6, versions={"cpu": "another"}))
    assert result.mismatches == ()
    assert (result.exact, result.tolerated) == (0, result.scores)
    assert any("within the tolerance for another machine" in note and "→ another" in note for note in result.notes)
    assert any("one episode cannot be compared" in note for note in result.notes)
    far = verified(folder, Noisy(off=5.0, versions={"cpu": "another"}))
    assert {m.where for m in far.mismatches} >= {"g0c0", "g0c1", "final/random"}
    assert "off by more than" in far.mismatches[0].what


def test_the_tolerance_is_three_standard_errors_or_a_hundredth() -> None:
    assert tolerance([10.0, 10.0]) == pytest.approx(0.1)
    assert tolerance([0.0, 2.0, 0.0, 2.0]) == pytest.approx(3 * (4 / 3) ** 0.5 / 2)


def test_the_command_exits_with_1_and_the_value_on_any_mismatch(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(folder / "run.db") as database:
        database.execute("UPDATE scores SET success_rate = 0.875 WHERE key = 'g0c0'")
    database.close()
    assert main(["verify", str(folder), "--sandbox", SCRIPTED, "--json"]) == 1
    captured = capsys.readouterr()
    first = json.loads(captured.out)["mismatches"][0]
    assert (first["where"], first["what"], first["stored"]) == ("g0c0", "success rate in the leaderboard", "0.875")
    assert "success rate in the leaderboard: 0.875 is stored" in captured.err


def test_a_real_run_comes_out_equal_to_the_last_bit_and_a_changed_score_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with Run.create(folder, TASK, SETTINGS) as run:
        lab = Lab(make_sandbox("embedded"), run)
        lab.floor()
        brief = Brief(id="g0c0", generation=0, slot=0, operator="sample", seed=1)
        measured = lab.measure([Candidate(brief=brief, code=TASK.human_reward)], Population())
        assert measured[0].score is not None, measured[0].failure
    assert main(["verify", str(folder), "--jobs", "2"]) == 0
    captured = capsys.readouterr()
    assert "3 scores of 12 episodes measured again: 3 equal to the last bit" in captured.out
    assert "everything is as it was stored" in captured.out
    assert "g0c0: equal to the last bit" in captured.err

    def edit(record: dict[str, Any]) -> None:
        record["fitness"][1] = 40.0

    change(folder, "scores", "g0c0", edit)
    assert main(["verify", str(folder), "--jobs", "2"]) == 1
    assert "g0c0: fitness of episode 1 (1 of 4 episodes differ): 40.0 is stored, " in capsys.readouterr().out
