"""Strategies side by side: one budget, shared baselines, nothing paid twice; with a scripted sandbox."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eureka_agent.cli import main
from eureka_agent.contract.task import load_task
from eureka_agent.errors import UsageError
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Records
from eureka_agent.search.bench_results import markdown, results
from eureka_agent.search.benching import Bench, contestants, keep_plan, run_bench, search_folder
from eureka_agent.terminal.watcher import Silent, Watcher
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import TrainSpec

NAME = "inverted_pendulum_balance"
REWARD = """import torch


def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    upright = {}.0 * torch.cos(pole_angle)
    return upright, {{"upright": upright}}
"""
TASKS = {NAME: load_task(NAME)}


def plan(**changes: object) -> Bench:
    small = {
        "tasks": (NAME,),
        "contestants": contestants(["islands"], "offline"),
        "repeats": 2,
        "population": 3,
        "generations": 2,
        "steps": None,
        "settings": {"timesteps": 1000, "final_seeds": 2},
    }
    return Bench.model_validate({**small, **changes})


@contextmanager
def unwatched(run: Run, title: str) -> Iterator[Watcher]:
    yield Silent()


def run_all(root: Path, bench: Bench, sandbox: ScriptedSandbox | None = None) -> ScriptedSandbox:
    sandbox = sandbox or ScriptedSandbox()
    run_bench(root, bench, TASKS, lambda settings: sandbox, unwatched, {"jobs": 2})
    return sandbox


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bench, ScriptedSandbox]:
    root, bench = tmp_path_factory.mktemp("bench"), plan()
    return root, bench, run_all(root, bench)


def test_the_baselines_are_always_beside_what_was_asked_for() -> None:
    assert [c.name for c in contestants(["islands"], "offline")] == ["islands", "zero_shot", "incumbent"]
    names = [c.name for c in contestants(["zero_shot", "incumbent"], "openai/x")]
    assert names == ["zero_shot", "incumbent", "incumbent-offline"]


def test_every_search_takes_about_the_same_steps_and_a_row_pools_its_repeats(
    done: tuple[Path, Bench, ScriptedSandbox],
) -> None:
    root, bench, _ = done
    rows = {row.name: row for row in results(root, bench, TASKS)}
    assert list(rows) == ["islands", "zero_shot", "incumbent", "human reward", "random policy"]
    budget, dearest = 3 * 2 * 1000, 1000 + 2 * 2 * 1000  # a candidate with the contest that may follow
    assert rows["zero_shot"].steps == budget
    for name in ("islands", "incumbent"):
        assert abs((rows[name].steps or 0) - budget) <= dearest
        assert rows[name].searches == 2
        assert [len(trainings) for trainings in rows[name].fitness] == [2, 2]
        assert rows[name].iqm is not None
        assert rows[name].optimism is not None
        assert (rows[name].cpu_seconds or 0.0) > 0.0
    assert rows["human reward"].searches == 2
    assert rows["random policy"].iqm is not None
    assert rows["random policy"].iqm.value == -1.0
    table = markdown(bench, list(rows.values()))
    assert all(f"| {name} |" in table for name in rows)
    assert "2 searches each settle only large differences" in table


def test_the_human_reward_is_trained_once_per_repeat_and_nothing_runs_again(
    done: tuple[Path, Bench, ScriptedSandbox],
) -> None:
    root, bench, sandbox = done
    human = TASKS[NAME].files["reward_human.py"]
    trained = [job for job in sandbox.started if isinstance(job.spec, TrainSpec) and job.files["reward.py"] == human]
    assert len(trained) == 2 * 2  # repeats × final seeds, for three contestants
    arms = []
    for contestant in bench.contestants:
        with Run.open(search_folder(root, NAME, contestant, 0), read_only=True) as run:
            comparison = run.comparison()
            assert comparison is not None
            arms.append(comparison.arm("human").fitness)
            assert run.settings.seed == 0
    assert arms[0] == arms[1] == arms[2]
    assert run_all(root, bench).started == []


def test_what_was_handed_on_holds_in_every_search(done: tuple[Path, Bench, ScriptedSandbox]) -> None:
    root, bench, _ = done
    for contestant in bench.contestants:
        with Run.open(search_folder(root, NAME, contestant, 1), read_only=True) as run:
            assert Records(run).mismatches == []


def test_intervals_of_a_version_with_other_statistics_are_no_mismatch(
    done: tuple[Path, Bench, ScriptedSandbox], tmp_path: Path
) -> None:
    root, bench, _ = done
    folder = shutil.copytree(search_folder(root, NAME, bench.contestants[1], 0), tmp_path / "old")
    for method, wrong in ((1, False), (2, True)):
        with sqlite3.connect(folder / "run.db") as database:
            edit = "json_set(value, '$.method', ?, '$.arms[0].iqm.low', -9.0)"
            database.execute(f"UPDATE decisions SET value = {edit} WHERE key LIKE 'comparison/%'", (method,))
        with Run.open(folder, read_only=True) as run:
            assert [m.what for m in Records(run).mismatches] == ["candidate's interquartile mean"] * wrong


def test_an_interrupted_bench_goes_on_where_it_was(tmp_path: Path) -> None:
    class Interrupted(ScriptedSandbox):
        def run(self, *args: object) -> object:  # type: ignore[override]
            if len(self.started) == 20:
                raise KeyboardInterrupt
            return super().run(*args)  # type: ignore[arg-type]

    bench = plan(repeats=1, contestants=contestants([], "offline"), generations=1)
    whole = run_all(tmp_path / "whole", bench)
    broken = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run_all(tmp_path / "broken", bench, broken)
    assert [row.iqm for row in results(tmp_path / "broken", bench, TASKS)][1] is None
    rest = run_all(tmp_path / "broken", bench)
    assert len(broken.started) + len(rest.started) <= len(whole.started) + 2  # those that were under way
    ends = [results(tmp_path / name, bench, TASKS) for name in ("whole", "broken")]
    assert [(row.name, row.steps) for row in ends[0]] == [(row.name, row.steps) for row in ends[1]]


def test_a_folder_keeps_one_bench(tmp_path: Path) -> None:
    keep_plan(tmp_path, plan())
    keep_plan(tmp_path, plan())
    with pytest.raises(UsageError, match="holds a bench with other tasks or settings"):
        keep_plan(tmp_path, plan(repeats=5))


def test_published_strategies_neither_race_nor_contest_unless_asked_to() -> None:
    arms = {c.strategy: c for c in contestants(["eureka", "incumbent"], "offline")}
    usual = plan().settings_of(TASKS[NAME], arms["incumbent"], 3)
    assert (usual.racing, usual.contest_seeds, usual.seed, usual.steps) == ("halving", 3, 3, 6000)
    published = plan().settings_of(TASKS[NAME], arms["eureka"], 0)
    assert (published.racing, published.contest_seeds) == ("none", 1)
    asked = plan(settings={"racing": "hyperband"}).settings_of(TASKS[NAME], arms["eureka"], 0)
    assert (asked.racing, asked.contest_seeds) == ("hyperband", 1)


def test_the_command_prints_tables_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eureka_agent.cli.sandboxes.chosen_sandbox", lambda name="auto": ScriptedSandbox())
    for number in (1, 2):
        (tmp_path / f"{number}.py").write_text(REWARD.format(number))
    words = ["bench", NAME, "--strategies", "zero_shot", "-p", "2", "-g", "1", "--timesteps", "1000"]
    words += ["--model", f"scripted:{tmp_path}"]
    words += ["--repeats", "1", "--final-seeds", "1", "--output", str(tmp_path / "b")]
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("2 searches (zero_shot, incumbent-offline), about ")
    assert not (tmp_path / "b").exists()
    assert main(words) == 0
    said = capsys.readouterr()
    assert "search 2 of 2: inverted_pendulum_balance, incumbent-offline, repeat 1" in said.err
    for name in ("zero_shot", "incumbent-offline", "human reward", "random policy"):
        assert f"\n{name} " in said.out
    assert "One search each: the intervals say nothing about how much searches differ" in said.out
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    kept = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert printed["rows"] == kept["rows"]
    assert [row["name"] for row in kept["rows"]][:2] == ["zero_shot", "incumbent-offline"]
    assert "| zero_shot |" in (tmp_path / "b" / "bench.md").read_text()


def test_an_unknown_strategy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", NAME, "--strategies", "incumbent,annealing"]) == 2
    assert "unknown strategy 'annealing'; there is incumbent, eureka" in capsys.readouterr().err
