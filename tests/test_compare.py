"""`eureka compare` and `eureka runs`: runs side by side, and no more said of them than their trainings allow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from report_cases import HOSTILE, innocent
from test_report import CODE, Outline, candidate

from eureka_agent.cli import main
from eureka_agent.cli.candidates import BLOCKS, sparkline
from eureka_agent.contract.task import load_task
from eureka_agent.population import Population
from eureka_agent.report.compare import headline, heat, odds, progress, render, spread, warnings
from eureka_agent.runs.run import Run
from eureka_agent.runs.summaries import FINISHED, PAUSED, RUNNING, Summary, summary
from eureka_agent.search.comparison import Estimate
from eureka_agent.settings import Settings

BEHIND = Estimate(value=0.2, low=0.1, high=0.3)


def run_of(name: str = "a", **changes: object) -> Summary:
    """A finished run that came out above the human reward."""
    plain = Summary(
        folder=Path("/runs") / name,
        task="hopper_forward",
        digest="0" * 64,
        metric="forward displacement",
        unit="m",
        strategy="incumbent",
        model="offline",
        timesteps=60_000,
        status=FINISHED,
        generations=2,
        wanted=2,
        candidates=8,
        failed=1,
        best="g1c0",
        code=CODE,
        fitness=8.0,
        interval=(7.0, 9.0),
        human=4.0,
        random=0.0,
        over_human=Estimate(value=0.9, low=0.7, high=1.0),
        trainings=5,
        success=0.5,
        cost=0.0,
        unpriced=0,
        calls=0,
        seconds=61.0,
        steps=480_000,
        began=1_700_000_000.0,
        history=((60_000.0, 1.0), (120_000.0, 1.0), (180_000.0, 8.0)),
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def stored(folder: Path, task: str = "hopper_forward", **settings: object) -> Path:
    """A run on disk with a candidate that was measured and one that failed."""
    with Run.create(folder, load_task(task), Settings(generations=3, **settings)) as run:  # type: ignore[arg-type]
        good = candidate(0, 7.0)
        assert good.training
        assert good.score
        run.save_training(good.id, good.training)
        run.save_score(good.id, good.score)
        run.extend(Population(), [good, candidate(1, None)])
        return run.folder


def test_a_summary_tells_how_a_run_stands_and_promises_nothing_before_the_comparison(tmp_path: Path) -> None:
    with Run.open(stored(tmp_path / "a"), read_only=True) as run:
        found = summary(run)
    assert (found.status, found.generations, found.candidates, found.failed) == (PAUSED, 1, 2, 1)
    assert (found.best, found.fitness, found.interval, found.score) == ("g0c0", 8.0, None, None)
    assert found.history == ((4000.0, 8.0),)
    with Run.open(tmp_path / "a") as run:
        assert summary(run).status == RUNNING


def test_a_score_puts_random_play_at_zero_and_the_human_reward_at_one() -> None:
    assert run_of().score == 2.0
    assert run_of(fitness=0.0).score == 0.0
    assert run_of(human=-4.0, fitness=2.0).score == 0.5, "where the human reward is the worse of the two"
    assert run_of(human=0.0).score is None
    assert run_of(over_human=None).score is None


def test_the_heat_map_means_over_runs_of_a_method_and_leaves_gaps() -> None:
    runs = [run_of(), run_of("b", fitness=2.0), run_of("c", task="swimmer_forward", model="openai/x", fitness=3.9)]
    (first, cells), (second, others) = heat(runs)
    assert (first, second) == ("incumbent, offline", "incumbent, openai/x")
    assert cells[0] is not None
    assert (cells[0].text, cells[0].css, cells[0].runs, cells[0].spread) == ("1.25", "p1", "2 runs", "0.500 to 2.00")
    assert cells[1] is None
    assert others[1] is not None
    assert others[1].css == "n0"


def test_the_headline_counts_what_is_settled_apart_from_what_came_out_ahead() -> None:
    runs = [
        run_of(),
        run_of("b", trainings=2),
        run_of("c", fitness=1.0, over_human=BEHIND),
        run_of("d", over_human=None, status=PAUSED),
    ]
    assert headline(runs) == (
        "4 runs on 1 task: 2 of 3 finished runs came out above the human reward, 1 of them with trainings enough to "
        "settle it."
    )
    assert "1 of them with trainings enough" in headline([run_of()])
    assert "0 of them with trainings enough" in headline([run_of(fails_more=True)])
    assert "none of them compared" in headline([run_of(over_human=None)])


def test_runs_that_are_not_alike_are_said_to_be_so() -> None:
    assert warnings([run_of(), run_of("b")]) == []
    (files, steps) = warnings([run_of(), run_of("b", timesteps=300_000, digest="1" * 64)])
    assert "task's files differ" in files
    assert steps == "hopper_forward: trainings of 60k, 300k steps stand side by side"
    (unwalled,) = warnings([run_of(), run_of("b", walled=False)])
    assert unwalled.startswith("no wall stood around the rewards of /runs/b: ")


def test_one_training_has_no_interval(tmp_path: Path) -> None:
    several, one = run_of(), run_of("b", trainings=1, interval=None)
    assert (spread(several), odds(several)) == ("[7.00, 9.00]", "90 % [70, 100]")
    assert (spread(one), odds(one)) == ("one training", "90 %")
    assert "[70, 100]" not in render([one], tmp_path / "compare.html")
    going = run_of("c", trainings=0, interval=None, over_human=None, status=PAUSED)
    assert (spread(going), odds(going)) == ("–", "–")


def test_each_task_has_one_chart_with_a_curve_per_run() -> None:
    charts = progress([run_of(), run_of("b"), run_of("c", task="swimmer_forward"), run_of("d", history=())])
    assert [(chart.title.split(":")[0], len(chart.paths)) for chart in charts] == [
        ("hopper_forward", 2),
        ("swimmer_forward", 1),
    ]


def test_hostile_names_and_code_add_nothing_to_the_page(tmp_path: Path) -> None:
    def page(text: str) -> str:
        name = text.replace("/", "x").replace("\x00", "x")
        spoilt = run_of(name, task=text, model=text, metric=text, unit=text, code=f'"""{text}"""', best=text)
        return render([spoilt], tmp_path / "compare.html")

    hostile = Outline(page(HOSTILE))
    assert hostile.elements == Outline(page(innocent(HOSTILE))).elements
    assert not {name for _, names in hostile.elements for name in names if name.startswith("on")}


def test_compare_writes_one_page_and_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path / "runs" / "hopper_forward" / "a")
    stored(tmp_path / "runs" / "swimmer_forward" / "b", "swimmer_forward", model="scripted:x")
    (tmp_path / "runs" / "hopper_forward" / "a" / "report.html").write_text("a page")
    page = tmp_path / "out" / "page.html"
    assert main(["compare", str(tmp_path / "runs"), str(tmp_path / "runs/hopper_forward/a"), "-o", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "swimmer_forward" in printed
    assert f"page {page}" in printed
    text = page.read_text()
    assert '<a href="../runs/hopper_forward/a/report.html">a</a>' in text
    assert text.count('<tr><th scope="row"><span class="key') == 2, "each run once"
    assert main(["compare", str(tmp_path / "runs"), "-o", str(page), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {run["task"] for run in data["runs"]} == {"hopper_forward", "swimmer_forward"}
    assert all(run["score"] is None for run in data["runs"])


def test_the_page_lies_beside_the_runs_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    stored(here / "runs" / "hopper_forward" / "a")
    stored(here / "runs" / "swimmer_forward" / "b", "swimmer_forward")
    assert main(["compare", "hopper_forward", "swimmer_forward"]) == 0
    assert "page runs/compare.html\n" in capsys.readouterr().out
    assert [path.name for path in here.iterdir()] == ["runs"]
    assert (here / "runs" / "compare.html").is_file()


@pytest.mark.parametrize("words", [["compare"], ["verify"], ["report"], ["evolve", "--resume"], ["rollout"]])
def test_a_run_that_is_not_there_is_wrong_usage_everywhere(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "nope"]) == 2
    assert "no run 'nope'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_runs_are_listed_the_newest_first_with_what_they_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old", "new"):
        stored(tmp_path / name)
    assert main(["runs", str(tmp_path), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert [Path(line["folder"]).name for line in lines] == ["new", "old"]
    assert {key for key in lines[0] if key.endswith("_text")} == set()
    assert main(["runs", str(tmp_path)]) == 0
    first = capsys.readouterr().out.splitlines()[1]
    assert "paused" in first
    assert "8.00 m" in first


def test_a_sparkline_goes_from_the_lowest_block_to_the_highest() -> None:
    assert sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == BLOCKS
    assert len(sparkline([float(i) for i in range(500)])) == 16
    assert sparkline([3.0, 3.0]) == BLOCKS[3] * 2
    assert sparkline([-1e308, 1e308]) == BLOCKS[3] * 2
    assert sparkline([]) == ""
