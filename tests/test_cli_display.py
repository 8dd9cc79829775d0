"""What a search shows while it runs, and what it says it will take before it starts."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from eureka_agent.contract.task import load_task
from eureka_agent.lab.racing import rounding_note
from eureka_agent.population import Brief, Candidate
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Trial
from eureka_agent.search.estimate import Speed, cached_price, cached_speed, price, remember, workload
from eureka_agent.settings import Recipe, Settings
from eureka_agent.terminal.board import Board, board_of
from eureka_agent.terminal.display import LiveTable, PlainLines, watching
from eureka_agent.text import count, duration, measure, number, visible
from eureka_sandbox.protocol import Failure, Progress, Verdict

SPEED = Speed(steps_per_second=1000.0, startup_seconds=5.0, score_seconds=2.0, measured="2026-01-01 00:00")
LONG = 45 * 2048
"""Steps of a training whose thirds are whole rollouts."""


def candidate(slot: int, failure: Failure | None = None) -> Candidate:
    brief = Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=0)
    return Candidate(brief=brief, code="", failure=failure)


def board(**changes: object) -> Board:
    values = {"task": "hopper_forward", "unit": "m", "generations": 2, "trainings": 4, "timesteps": 1000}
    return Board(**{**values, **changes})  # type: ignore[arg-type]


def progress(done: int) -> Progress:
    return Progress(timesteps=done, total_timesteps=1000, steps_per_second=100.0, episode_return=12.5)


def test_the_live_table_shows_every_candidate_and_the_header() -> None:
    shown, stream = board(human=13.2, best=("g0c9", 11.0)), io.StringIO()
    console = Console(file=stream, width=120)
    table = LiveTable(shown, console)
    failure = Failure(verdict=Verdict.CODE_ERROR, message="no torso_w\u202e", file="reward.py", line=3)
    table.generation(0, [candidate(0), candidate(1)])
    table.progress("g0c0", "training", progress(250))
    table.finished(candidate(1, failure))
    console.print(table)
    text = stream.getvalue()
    for words in ("hopper_forward", "generation 1/2", "best 11.0 m (g0c9)", "human 13.2 m", "g0c0", "training"):
        assert words in text
    assert "12.5" in text
    assert "8 s" in text  # 750 steps at 100 steps/s
    assert "no torso_w⟨U+202E⟩" in text


def test_share_counts_finished_trainings_of_every_page() -> None:
    shown = board()
    shown.generation_begins(0, [candidate(0), candidate(1)])
    shown.progressed("g0c0", "training", progress(500))
    assert shown.share == pytest.approx(0.5 / 4)
    shown.ended(candidate(0))
    shown.progressed("g0c1", "training", progress(1000))
    shown.ended(candidate(1))
    shown.progressed("final/human/0", "training", progress(500))
    assert shown.share == pytest.approx(2.5 / 4)
    assert list(shown.rows) == ["final/human/0"]
    assert "comparison" in shown.headline


def test_the_time_left_forgets_what_was_wrongly_foreseen() -> None:
    shown = board(ahead=lambda generations: 2.0 if generations is None else 6.0 - 2 * generations)
    shown.generation_begins(0, [candidate(0), candidate(1)])
    assert shown.trainings == 6.0
    for seed in range(9):  # a contest of more trainings than anybody expects
        shown.progressed(f"g0c0/seed/{seed}", "training", progress(1000))
        shown.rows[f"g0c0/seed/{seed}"].state = "done"
    assert shown.share == 1.0
    shown.progressed("final/human/0", "training", progress(500))
    assert shown.share == pytest.approx(9.5 / (9 + 2))


def test_the_time_left_goes_by_the_pace_since_the_first_training_began() -> None:
    shown = board(expected_seconds=1000.0)
    shown.generation_begins(0, [candidate(0), candidate(1)])
    assert shown.seconds_left == 1000.0
    shown.began -= 500.0  # proving the wall, scoring random play: once
    shown.begun("g0c0", "training")
    assert shown.seconds_left == 1000.0, "time alone is no progress"
    shown.progressed("g0c0", "training", progress(0))
    shown.began -= 60.0
    shown.progressed("g0c0", "training", progress(400))
    assert shown.share == 0.1
    assert shown.seconds_left == pytest.approx(0.9 * (0.5 * 600 + 0.5 * 1000), rel=0.01)
    shown.progressed("g0c0", "training", progress(1000))
    assert shown.seconds_left == pytest.approx(60 / 0.25 * 0.75, rel=0.01), "a quarter is done, in a minute"
    for key in ("g0c1", "final/g0c0/0", "final/human/0"):
        shown.begun(key, "training")
        for done in (0, 1000):
            shown.progressed(key, "training", progress(done))
    assert shown.seconds_left is None, "what is scored and filmed now is not in it"


def test_what_a_killed_sitting_had_measured_is_no_pace_of_this_one() -> None:
    shown = board(trainings=4)
    shown.generation_begins(0, [candidate(slot) for slot in range(4)])
    for slot in range(3):
        shown.ended(candidate(slot))
    assert (shown.share, shown.seconds_left) == (0, None), "one is left, and of its pace nothing is known"
    shown.began -= 100.0
    shown.progressed("g0c3", "training", progress(500))
    assert shown.share == 0.5
    assert shown.seconds_left == pytest.approx(100, rel=0.1)
    shown.ended(candidate(3))
    shown.generation_begins(1, [candidate(0)])
    assert shown.share == 1.0


def test_what_a_checkpoint_had_is_no_pace_of_this_sitting() -> None:
    shown = board(trainings=1)
    shown.generation_begins(0, [candidate(0)])
    shown.begun("g0c0", "training")
    shown.rows["g0c0"].since -= 1.0  # a second ago, at 100 steps/s: 600 of these 700 steps are from before
    shown.progressed("g0c0", "training", progress(700))
    assert shown.share == pytest.approx(0.1 / 0.4, rel=0.01)
    shown.progressed("g0c0", "training", progress(1000))
    assert shown.share == 1.0


def test_a_row_says_waiting_until_its_box_begins_then_starting_training_and_scoring() -> None:
    shown = board()
    shown.generation_begins(0, [candidate(0)])
    row = shown.rows["g0c0"]
    states = [row.state]
    for step in (
        lambda: shown.begun("g0c0", "training"),
        lambda: shown.progressed("g0c0", "training", progress(1000)),
        lambda: shown.begun("g0c0", "scoring"),
        lambda: shown.ended(candidate(0)),
    ):
        step()
        states.append(row.state)
    assert states == ["waiting", "starting", "training", "scoring", "done"]


def test_the_trials_of_the_comparison_are_named_by_arm_and_seed() -> None:
    shown = board()
    shown.generation_begins(0, [candidate(0)])
    for key in ("final/random", "final/g0c0/0", "final/human/1"):
        shown.begun(key, "scoring" if key == "final/random" else "training")
    shown.begun("film/0123", "scoring")
    assert [row.name for row in shown.rows.values()] == ["random policy", "best, seed 1", "human, seed 2"]
    assert [row.state for row in shown.rows.values()] == ["scoring", "starting", "starting"]
    assert shown.share == 0, "a random policy's scoring is no training"
    failure = Failure(verdict=Verdict.TIME, message="too slow")
    row = shown.concluded("final/g0c0/0", Trial(training=None, score=None, failure=failure))
    assert (row.state, row.trouble) == ("failed", str(failure))


def test_plain_lines_name_what_is_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("eureka_agent.terminal.display.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    lines = PlainLines(board(), Console(file=stream, width=200))
    lines.generation(0, [candidate(0), candidate(1)])
    lines.started("g0c0", "training")
    clock[0] += 20
    lines.started("g0c1", "training")
    assert stream.getvalue().splitlines()[1] == "  g0c0 starting, g0c1 starting"


def test_plain_lines_come_seldom_while_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("eureka_agent.terminal.display.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    lines = PlainLines(board(), Console(file=stream, width=200))
    lines.generation(0, [candidate(0)])
    for step in range(100):
        clock[0] += 0.25
        lines.progress("g0c0", "training", progress(step))
    text = stream.getvalue().splitlines()
    assert text[0] == "generation 1 of 2: 1 candidate"
    assert len(text) == 1 + 2  # 25 s of progress
    assert "g0c0 4%" in text[1]


def test_without_a_terminal_the_watcher_prints_no_control_codes(tmp_path: Path) -> None:
    stream = io.StringIO()
    with (
        Run.create(tmp_path / "run", load_task("hopper_forward"), Settings(population=1, generations=1)) as run,
        watching(run, Console(file=stream, width=200)) as watcher,
    ):
        watcher.generation(0, [candidate(0)])
        watcher.stage("comparing [red]nothing[/red]")
    assert stream.getvalue() == "generation 1 of 1: 1 candidate\ncomparing [red]nothing[/red]\n"


def test_a_board_counts_what_is_left_of_a_run(tmp_path: Path) -> None:
    settings = Settings(population=4, generations=3, final_seeds=2, timesteps=500, contest_seeds=1)
    with Run.create(tmp_path / "run", load_task("hopper_forward"), settings) as run:
        shown = board_of(run)
    assert shown.trainings == 3 * 4 + 2 * 2
    assert shown.timesteps == 500
    assert shown.ahead is not None
    assert [shown.ahead(1), shown.ahead(None)] == [2 * 4 + 2 * 2, 2 * 2]


def test_on_a_budget_of_steps_what_is_left_of_it_is_ahead_in_whatever_generation(tmp_path: Path) -> None:
    settings = Settings(population=2, generations=50, final_seeds=2, timesteps=2048, contest_seeds=1, steps=10 * 2048)
    with Run.create(tmp_path / "run", load_task("hopper_forward"), settings) as run:
        shown = board_of(run)
        assert shown.ahead is not None
        assert shown.ahead(40) == 10 + 2 * 2, "nothing has been taken of it"
        shown.generation_begins(59, [candidate(0)])
        assert "generation 60/60" in shown.headline


def test_an_estimate_counts_waves_of_trainings() -> None:
    task = load_task("hopper_forward")
    settings = Settings(population=5, generations=2, final_seeds=3, timesteps=2048, contest_seeds=1)
    estimate = price(task, settings, SPEED, jobs=2)
    assert estimate.trainings == 5 * 2 + 6
    assert estimate.steps == 16 * 2048
    # one training with its scoring takes 5 + 2.048 + 2 s; 2 × 3 waves, then 3, then the random policy's scoring, and
    # both policies' in 1 + 10 worlds
    assert estimate.seconds == pytest.approx(9 * 9.048 + 2 + 11 * 2)
    assert price(task, settings, SPEED, generations_done=2, jobs=2).trainings == 6
    assert "no LLM cost" in str(estimate)


def test_an_estimate_knows_that_a_race_takes_its_longest_way_and_a_contest_some_more() -> None:
    task = load_task("hopper_forward")
    settings = Settings(population=8, generations=1, final_seeds=1, timesteps=LONG, contest_seeds=1)
    # a box takes 5 + 2 s beside its steps, of which 1024 are a second; then the comparison, the random policy, and both
    # policies in 1 + 10 worlds
    final, speed = 7 + 90 + 2 + 3 * 2, dataclasses.replace(SPEED, steps_per_second=1024.0)
    assert price(task, settings, speed, jobs=1).seconds == pytest.approx(14 * 7 + 420 + 2 * (7 + 90) + 2 + 22 * 2)
    assert price(task, settings, speed, jobs=2).seconds == pytest.approx((14 * 7 + 420) / 2 + final + 8 * 2)
    assert price(task, settings, speed, jobs=8).seconds == pytest.approx(3 * 7 + 90 + final)
    assert price(task, settings, speed, jobs=8).steps == (420 + 2 * 90) * 1024
    contested = price(task, settings.model_copy(update={"contest_seeds": 3}), speed, jobs=8)
    assert contested.seconds == pytest.approx(3 * 7 + 90 + 7 + 90 + final)
    assert contested.trainings == 8 + 2 + 3


def test_a_measured_speed_is_remembered_for_its_task_and_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    hopper, settings = load_task("hopper_forward"), Settings()
    assert cached_speed(hopper, settings) is None
    remember(hopper, settings, SPEED)
    assert cached_speed(hopper, settings) == SPEED
    assert cached_price(hopper, settings) == price(hopper, settings, SPEED)
    assert cached_speed(load_task("swimmer_forward"), settings) is None
    assert cached_speed(hopper, Settings(learner="sb3")) is None
    (tmp_path / "eureka-agent" / "speed.json").write_text("{broken")
    assert cached_speed(hopper, settings) is None


def test_an_estimate_counts_what_a_review_has_people_write_once() -> None:
    task = load_task("hopper_forward")
    settings = Settings(population=2, generations=3, timesteps=LONG, final_seeds=1, racing="none", contest_seeds=1)
    plain, edited = (price(task, settings, SPEED, 1, jobs=2, edits=edits) for edits in (0, 3))
    assert (edited.trainings - plain.trainings, edited.steps - plain.steps) == (3, 3 * LONG)
    assert edited.seconds - plain.seconds == pytest.approx(2 * (7 + 92.16))  # two more waves, in one generation
    assert workload(task, settings, 1, edits=3).startswith("9 trainings, 829k environment steps")


def test_an_estimate_stays_within_a_budget_of_steps() -> None:
    task = load_task("hopper_forward")
    settings = Settings(population=8, generations=50, timesteps=LONG, steps=1_000_000, final_seeds=1)
    assert price(task, settings, SPEED).steps <= 1_000_000 + 2 * LONG


def test_an_estimate_counts_whole_rollouts_and_says_so_where_they_are_much_longer() -> None:
    task = load_task("hopper_forward")
    short, plain = Settings(timesteps=10, population=1, generations=1, final_seeds=1), Settings(timesteps=120_000)
    assert price(task, short, SPEED).steps == 3 * 2048
    assert price(task, short, SPEED) == price(task, short.model_copy(update={"timesteps": 2048}), SPEED)
    note = "a training takes 2,048 environment steps, not 10: ppo trains in rollouts of 2,048"
    assert rounding_note(short, Recipe.of(task, short)) == note
    assert rounding_note(plain, Recipe.of(task, plain)) == ""


def test_the_workload_is_known_without_a_measurement() -> None:
    settings = Settings(population=2, generations=1, final_seeds=1, timesteps=1000, contest_seeds=1)
    assert workload(load_task("hopper_forward"), settings) == "4 trainings, 8.19k environment steps, no LLM cost"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (17.438, "17.4"), (-0.0321, "−0.032"), (1234.6, "1,235"), (None, "–"), (9.996, "10.0")],
)
def test_numbers_read_with_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_durations_counts_and_units_read_as_words() -> None:
    assert [duration(s) for s in (8, 200, 7500, None)] == ["8 s", "3 min 20 s", "2 h 05 min", "–"]
    assert [count(n) for n in (950, 12_500, 3_200_000)] == ["950", "12.5k", "3.2M"]
    assert measure(2.0, "1") == "2.00"
    assert measure(2.0, "m") == "2.00 m"
    assert measure(None, "m") == "–"


def test_characters_that_hide_are_written_out() -> None:
    assert visible("a\u202eb\tc\nd\x1b[31m") == "a⟨U+202E⟩b\tc\nd⟨U+001B⟩[31m"
