"""Strategies side by side: one budget, shared baselines, nothing paid twice; with a scripted sandbox."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, get_args

import pytest

from eureka_agent.cli import bench as bench_command
from eureka_agent.cli import main
from eureka_agent.contract.task import load_task, task_from_files
from eureka_agent.errors import BudgetExhausted, RunError, UsageError
from eureka_agent.runs.calls import Booked
from eureka_agent.runs.run import Run
from eureka_agent.runs.verify_records import Records
from eureka_agent.search import benching
from eureka_agent.search.bench_caps import NO_CAPS, Caps, Purse
from eureka_agent.search.bench_results import HEADINGS, Row, _clustered, _iqm, cells, markdown, results
from eureka_agent.search.benching import Bench, contestants, is_over, keep_plan, run_bench, search_folder
from eureka_agent.search.comparison import Estimate
from eureka_agent.settings import Settings
from eureka_agent.strategies import PUBLISHED, as_published
from eureka_agent.terminal.watcher import Silent, Watcher
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Failed, Failure, Job, Outcome, Report, TrainSpec, Verdict, Wall

NAME = "inverted_pendulum_balance"
REWARD = """import torch


def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    upright = {}.0 * torch.cos(pole_angle)
    return upright, {{"upright": upright}}
"""
TASKS = {NAME: load_task(NAME)}
SURE = Estimate(value=1.0, low=1.0, high=1.0)
WHOLE = 2048
"""Environment steps of the shortest training: a rollout."""


def plan(**changes: object) -> Bench:
    small = {
        "tasks": (NAME,),
        "contestants": contestants(["islands"], "offline"),
        "repeats": 2,
        "population": 3,
        "generations": 2,
        "steps": None,
        "settings": {"timesteps": WHOLE, "final_seeds": 2},
    }
    return Bench.model_validate({**small, **changes})


@contextmanager
def unwatched(run: Run, title: str) -> Iterator[Watcher]:
    yield Silent()


def run_all(root: Path, bench: Bench, sandbox: ScriptedSandbox | None = None, caps: Caps = NO_CAPS) -> ScriptedSandbox:
    sandbox = sandbox or ScriptedSandbox()
    run_bench(root, bench, TASKS, lambda settings: sandbox, unwatched, {"jobs": 2}, caps)
    return sandbox


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bench, ScriptedSandbox]:
    root, bench = tmp_path_factory.mktemp("bench"), plan()
    return root, bench, run_all(root, bench)


def test_the_baselines_are_always_beside_what_was_asked_for() -> None:
    assert [c.name for c in contestants(["islands"], "offline")] == ["islands", "zero_shot", "incumbent"]
    names = [c.name for c in contestants(["zero_shot", "incumbent"], "openai/x")]
    assert names == ["zero_shot", "incumbent", "incumbent-offline"]


def test_help_names_the_strategies_that_come_with_settings_of_their_own() -> None:
    (racing,) = [note for note in get_args(bench_command.Racing) if hasattr(note, "help")]
    (seeds,) = [note for note in get_args(bench_command.ContestSeeds) if hasattr(note, "help")]
    assert racing.help.endswith(f"none for {', '.join(sorted(PUBLISHED))}).")
    assert len(PUBLISHED) == 3
    assert seeds.help.endswith("1 for those three).")


def test_no_search_takes_more_than_its_budget_and_a_row_pools_its_repeats(
    done: tuple[Path, Bench, ScriptedSandbox],
) -> None:
    root, bench, _ = done
    rows = {row.name: row for row in results(root, bench, TASKS)}
    assert list(rows) == ["islands", "zero_shot", "incumbent", "human reward", "random policy"]
    budget, dearest = 3 * 2 * WHOLE, 3 * WHOLE  # a candidate with the first round of its contest
    assert rows["zero_shot"].steps == rows["zero_shot"].budget == budget
    for name in ("islands", "incumbent"):
        assert budget - dearest < (rows[name].steps or 0) <= budget
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
    assert table.count(" of 12.3k |") == 3


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


def test_a_search_that_ended_under_another_budget_is_not_searched_on(
    done: tuple[Path, Bench, ScriptedSandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, bench, _ = done
    monkeypatch.setattr(Bench, "budget", lambda bench, task: 99 * WHOLE)
    assert run_all(root, bench).started == []


def test_a_search_of_another_version_of_the_task_is_refused(done: tuple[Path, Bench, ScriptedSandbox]) -> None:
    root, bench, _ = done
    yaml = TASKS[NAME].files["task.yaml"] + b"\n# changed\n"
    changed = task_from_files(NAME, TASKS[NAME].folder, {**TASKS[NAME].files, "task.yaml": yaml}, None)
    with pytest.raises(RunError, match=r"begun with another version of the task; .* choose another --output"):
        run_bench(root, bench, {NAME: changed}, lambda settings: ScriptedSandbox(), unwatched)


def test_a_search_that_an_earlier_version_began_names_what_differs_and_is_made_again_once_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = plan(repeats=1)
    began = {"racing": "halving", "contest_seeds": 3}
    with monkeypatch.context() as earlier:
        earlier.setattr(benching, "as_published", lambda name: began if name == "islands" else as_published(name))
        run_all(tmp_path / "bench", bench)
    folder = search_folder(tmp_path / "bench", NAME, bench.contestants[0], 0)
    with pytest.raises(RunError) as refused:
        run_all(tmp_path / "bench", bench)
    assert str(refused.value) == (
        f"{folder}: begun with --racing halving, where it is none now; --contest-seeds 3, where it is 1 now; its "
        "result would not compare. Move this folder away, and the search is made again when the bench goes on, or "
        "choose another --output"
    )
    folder.rename(tmp_path / "away")
    trained = {job.origin for job in run_all(tmp_path / "bench", bench).started if isinstance(job.spec, TrainSpec)}
    assert trained, "the one search"
    with Run.open(folder, read_only=True) as run:
        assert run.settings.racing == "none"
        assert run.comparison() is not None


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


def test_searches_whose_winners_failed_in_some_trainings_count_with_the_others() -> None:
    """By hand: of the scores 0, 1, 2, 3, 4, 10 the middle half, 1 to 4, is left."""
    searches = (((0.0, 1.0), (2.0, 3.0)), ((4.0, 10.0),))
    rows = _clustered(searches)
    assert [list(row) for row in rows] == [[0.0, 1.0, 2.0, 3.0], [4.0, 10.0]]
    assert _iqm(rows).value == 2.5
    assert [list(row) for row in _clustered(searches[:1])] == [[0.0, 1.0], [2.0, 3.0]]


def test_the_first_strategy_is_compared_with_each_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {"prescreen": True, "tune": 2, "warm_start": True}
    arms = {c.name: c for c in contestants(["eureka", "incumbent"], "offline", options)}
    assert list(arms) == [
        *("eureka", "incumbent", "eureka-prescreen", "eureka-tune", "eureka-warm-start", "zero_shot"),
    ]
    settings = {name: plan().settings_of(TASKS[NAME], arm, 0) for name, arm in arms.items()}
    for name, (option, value) in zip(list(arms)[2:5], options.items(), strict=True):
        plain = settings["eureka"].model_copy(update={option: value})
        assert settings[name] == plain, "nothing else differs"
        assert getattr(settings["incumbent"], option) == getattr(Settings(), option)
    assert main(["bench", NAME, "--prescreen", "--warm-start", "--strategies", "eureka,islands", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "(eureka, islands, eureka-prescreen, eureka-warm-start, zero_shot, incumbent)" in said


def test_odds_from_few_searches_have_no_interval() -> None:
    """Two above two others would be sure of everything."""
    row = Row(task=NAME, name="eureka", unit="m", iqm=SURE, over_human=SURE, searches=2, units=4)
    place = HEADINGS.index("beats human")
    assert cells(row)[place] == "100 %"
    assert cells(row.model_copy(update={"units": 5}))[place] == "100 % [100, 100]"
    assert row.data()["over_human"] == {"value": 1.0, "low": None, "high": None}
    assert row.model_copy(update={"units": 5}).data()["over_human"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    bench = plan(repeats=2)
    assert "An interval takes 5 searches of each" in markdown(bench, [row])
    assert "An interval takes" not in markdown(bench, [row.model_copy(update={"units": 5})])


def test_cpu_time_that_nobody_saw_is_not_told(tmp_path: Path) -> None:
    class Contained(ScriptedSandbox):
        def check(self, private: Sequence[Path] = ()) -> Wall:
            return super().check().model_copy(update={"backend": "docker"})

    bench = plan(contestants=contestants([], "offline")[:1], repeats=1)
    run_all(tmp_path, bench, Contained())
    (row, *_) = rows = results(tmp_path, bench, TASKS)
    assert row.searches == 1
    assert row.cpu_seconds is None
    assert cells(row)[HEADINGS.index("CPU")] == "–"
    assert "it is not known where boxes ran under Docker" in markdown(bench, rows)


# ---------------------------------------------------------------------------------------------------------------- money


def scripted(folder: Path, answers: int = 12) -> str:
    """A language model without a price, whose calls count all the same."""
    folder.mkdir()
    for number in range(answers):
        (folder / f"{number:02}.py").write_text(REWARD.format(number + 1))
    return f"scripted:{folder}"


def calls_of(root: Path, bench: Bench) -> list[int]:
    found = []
    for which in bench.searches():
        folder = search_folder(root, *which)
        if folder.exists():
            with Run.open(folder, read_only=True) as run:
                found.append(run.booked().calls)
    return found


def test_a_bench_stops_at_its_cap_and_goes_on_with_a_higher_one_without_repeating_a_search(tmp_path: Path) -> None:
    model = scripted(tmp_path / "answers")
    bench = plan(contestants=contestants([], model), population=2, generations=1)  # two calls per search with a model
    assert [c.name for c in bench.contestants] == ["zero_shot", "incumbent-offline"]
    root = tmp_path / "bench"
    with pytest.raises(BudgetExhausted) as stopped:
        run_all(root, bench, caps=Caps(max_calls=3))
    told = str(stopped.value)
    assert "--max-calls 3 leaves no room for the bench's next call (3 calls," in told
    assert f"1 of 4 searches have not ended: {NAME}, zero_shot, repeat 2." in told, "what costs nothing has been run"
    assert told.endswith(f"continue with the same command and --max-calls 6 --output {root}")
    assert calls_of(root, bench) == [2, 0, 1, 0]
    assert [row.searches for row in results(root, bench, TASKS)][:2] == [1, 2]
    again = run_all(root, bench, caps=Caps(max_calls=4))
    assert calls_of(root, bench) == [2, 0, 2, 0]
    trained = {job.origin for job in again.started if isinstance(job.spec, TrainSpec)}
    assert {origin.partition("/")[0] for origin in trained} == {"1"}, "folders of the second repeat"
    assert run_all(root, bench, caps=Caps(max_calls=1)).started == []


def test_a_script_that_ends_ends_its_search_and_not_the_bench(tmp_path: Path) -> None:
    class Heard(Silent):
        said: ClassVar[list[str]] = []

        def stage(self, text: str) -> None:
            self.said.append(text)

    @contextmanager
    def heard(run: Run, title: str) -> Iterator[Watcher]:
        yield Heard()

    model = scripted(tmp_path / "answers", answers=5)
    bench = plan(contestants=contestants([], model), population=2, generations=4, repeats=1)
    root, sandbox = tmp_path / "bench", ScriptedSandbox()
    run_bench(root, bench, TASKS, lambda settings: sandbox, heard, {"jobs": 2})
    rows = {row.name: row for row in results(root, bench, TASKS)}
    assert (rows["zero_shot"].searches, rows["incumbent-offline"].searches) == (1, 1)
    assert rows["zero_shot"].steps == 2 * 2 * WHOLE, "whole generations only"
    (told,) = [text for text in Heard.said if "no answer" in text]
    assert "no answer for candidate g2c1" in told
    assert told.endswith("; this search ends with 2 generations")
    assert run_all(root, bench).started == [], "it has ended"
    few = plan(contestants=contestants([], scripted(tmp_path / "one", answers=1)), population=2, repeats=1)
    run_all(tmp_path / "few", few)
    rows = {row.name: row for row in results(tmp_path / "few", few, TASKS)}
    assert (rows["zero_shot"].searches, rows["incumbent-offline"].searches) == (0, 1)


def test_a_cap_per_hour_bounds_each_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = plan(contestants=contestants([], "offline")[:1], repeats=1)
    sandbox = ScriptedSandbox()
    run_bench(tmp_path, bench, TASKS, lambda settings: sandbox, unwatched, {"max_cost_per_hour": 2.0})
    (which,) = bench.searches()
    with Run.open(search_folder(tmp_path, *which), read_only=True) as run:
        assert run.settings.max_cost_per_hour == 2.0
    assert main(["bench", NAME, "--max-cost-per-hour", "2"]) == 2
    assert "--max-cost-per-hour is for models of a provider" in capsys.readouterr().err


def test_a_search_may_spend_what_the_others_have_left(tmp_path: Path) -> None:
    class Spent(Purse):
        def __init__(self, caps: Caps, **others: Booked) -> None:
            super().__init__(caps, [])
            self._booked = {Path(name): booked for name, booked in others.items()}

    caps = Caps(max_cost=1.0, max_tokens=1000)
    one, two = Booked(cost=0.3, tokens=400, calls=1, unpriced=0), Booked(cost=0.6, tokens=100, calls=2, unpriced=0)
    paid = Settings(model="openai/a")
    bounded = Spent(caps, one=one, two=two).bounded(paid, Path("two"))
    assert (bounded.max_cost, bounded.max_tokens, bounded.max_calls) == (0.7, 600, None)
    assert Spent(caps, one=one, two=two).bounded(Settings(), Path("three")) == Settings(), "offline spends nothing"
    unpriced = one.model_copy(update={"unpriced": 1})
    for others in ({"one": one, "two": one, "three": one}, {"one": unpriced}):
        with pytest.raises(BudgetExhausted):
            Spent(caps, **others).bounded(paid, Path("new"))
    told = str(Spent(caps, one=unpriced).exhausted(tmp_path, [f"search {n}" for n in range(9)], 12))
    assert "1 call of a model without a known price cannot be counted against the cost cap of $1.00" in told
    assert "9 of 12 searches have not ended: search 0; search 1; search 2; search 3; search 4; search 5 …." in told
    dear = Spent(caps, one=one, two=two).exhausted(tmp_path, ["last"], 3)
    assert "--max-cost 1 leaves no room for the bench's next call (3 calls, 500 tokens, $0.90)" in str(dear)


def test_caps_are_for_models_that_cost_and_must_have_room_for_a_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", NAME, "--max-cost", "2"]) == 2
    assert "--max-cost is for models of a provider, and --model offline asks none" in capsys.readouterr().err
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert main(["bench", NAME, "--model", "openai/gpt-4o-mini", "--max-tokens", "100"]) == 2
    assert "--max-tokens 100: one call of openai/gpt-4o-mini can come to" in capsys.readouterr().err


def test_the_command_shows_what_has_ended_when_the_money_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eureka_agent.cli.sandboxes.chosen_sandbox", lambda name="auto": ScriptedSandbox())
    monkeypatch.setattr("eureka_agent.proposers.check_flags", lambda model, given: None)
    words = [
        "bench",
        NAME,
        "--strategies",
        "zero_shot",
        "-p",
        "2",
        "-g",
        "1",
        "--timesteps",
        str(WHOLE),
        "--repeats",
        "2",
    ]
    words += ["--model", scripted(tmp_path / "answers"), "--final-seeds", "1", "--output", str(tmp_path / "b")]
    assert main([*words, "--max-calls", "3"]) == 3
    said = capsys.readouterr()
    assert "1 of 4 searches have not ended" in said.err
    assert "human reward" in said.out
    assert json.loads((tmp_path / "b" / "bench.json").read_text())["rows"][0]["searches"] == 1


def test_a_budget_without_room_for_a_training_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", NAME, "--steps", "1000", "--dry-run"]) == 2
    assert f"--steps 1000: one training of {NAME} takes 30,720 environment steps" in capsys.readouterr().err


def test_a_task_whose_fitness_is_no_metric_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "liked"
    shutil.copytree(TASKS[NAME].folder, folder)
    with (folder / "task.yaml").open("a") as file:
        file.write("fitness: preference\n")
    assert main(["bench", str(folder), "--dry-run"]) == 2
    assert "its fitness is preference; a bench compares by the metric" in capsys.readouterr().err


def test_a_folder_keeps_one_bench(tmp_path: Path) -> None:
    keep_plan(tmp_path, plan())
    keep_plan(tmp_path, plan())
    with pytest.raises(UsageError, match="holds a bench with other tasks or settings"):
        keep_plan(tmp_path, plan(repeats=5))
    (tmp_path / "plan.json").write_text('{"tasks": 3}')
    with pytest.raises(UsageError, match=r"plan\.json: no plan that this version can read; choose another --output"):
        keep_plan(tmp_path, plan())


def test_two_tasks_of_one_name_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(TASKS[NAME].folder, tmp_path / NAME)
    assert main(["bench", NAME, str(tmp_path / NAME), "--dry-run"]) == 2
    assert f"two of the tasks are called {NAME}; rename a folder" in " ".join(capsys.readouterr().err.split())


def test_a_search_in_which_nothing_trains_is_over(tmp_path: Path) -> None:
    class Broken(ScriptedSandbox):
        def run(self, job: Job, on_progress: Callable[[Report], None], stop: threading.Event) -> Outcome:
            if isinstance(job.spec, TrainSpec):
                self.started.append(job)
                return Failed(Failure(verdict=Verdict.RUNTIME_ERROR, message="scripted"), 0.0)
            return super().run(job, on_progress, stop)

    bench = plan(contestants=contestants([], "offline")[:1], repeats=1)
    first, again = Broken(), Broken()
    run_all(tmp_path, bench, first)
    with Run.open(search_folder(tmp_path, NAME, bench.contestants[0], 0), read_only=True) as run:
        assert is_over(run)
    run_all(tmp_path, bench, again)
    assert (bool(first.started), again.started) == (True, [])
    assert [row.barren for row in results(tmp_path, bench, TASKS)] == [1]


def test_published_strategies_neither_race_nor_contest_unless_asked_to() -> None:
    arms = {c.strategy: c for c in contestants(["eureka", "islands", "incumbent"], "offline")}
    usual = plan().settings_of(TASKS[NAME], arms["incumbent"], 3)
    assert (usual.racing, usual.contest_seeds, usual.seed, usual.steps) == ("halving", 3, 3, 6 * WHOLE)
    for name in ("eureka", "islands", "zero_shot"):
        published = plan().settings_of(TASKS[NAME], arms[name], 0)
        assert (published.racing, published.contest_seeds) == ("none", 1)
    asked = plan(settings={"racing": "hyperband"}).settings_of(TASKS[NAME], arms["eureka"], 0)
    assert (asked.racing, asked.contest_seeds) == ("hyperband", 1)


def test_the_command_prints_tables_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eureka_agent.cli.sandboxes.chosen_sandbox", lambda name="auto": ScriptedSandbox())
    for number in (1, 2):
        (tmp_path / f"{number}.py").write_text(REWARD.format(number))
    words = ["bench", NAME, "--strategies", "zero_shot", "-p", "2", "-g", "1", "--timesteps", str(WHOLE)]
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
