"""The full benchmark's own machinery: what it skips, waits for, calls a bound, and writes."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest

from eureka_agent.contract.reward_code import check_reward_code, normalised_hash
from eureka_agent.contract.task import load_task
from eureka_agent.errors import UsageError
from eureka_agent.population import Population
from eureka_agent.runs.run import Run
from eureka_agent.search.bench_results import Ended
from eureka_agent.search.bench_results import Row as ResultRow
from eureka_agent.search.comparison import Estimate
from eureka_agent.strategies import STRATEGIES, strategy_of
from eureka_sandbox.protocol import Finished, TrainResult

BENCH = Path(__file__).resolve().parents[1] / "evaluation" / "bench"
sys.path.insert(0, str(BENCH))

import plan  # noqa: E402
import population as long_run  # noqa: E402
import prescreening  # noqa: E402
import searches  # noqa: E402
import stepping  # noqa: E402
import strategies  # noqa: E402
import time_to_fitness  # noqa: E402
from figures import Figures  # noqa: E402
from goals import Goal  # noqa: E402
from intervals import Interval, Sample, median_interval, ratio_interval, samples  # noqa: E402
from machine import description  # noqa: E402
from plan import PLANS, Measurement, Options  # noqa: E402
from publish import WouldLose, must_not_lose, publish  # noqa: E402
from record import Record, Row  # noqa: E402
from strategies_page import KINDS, Colophon, Tally, page, told  # noqa: E402
from work import Sitting  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
OPTIONS = Options(
    seeds=6, censor=8.0, final_timesteps=1000, search_timesteps=1000, search_projection=True, cores=2, peers=True
)


def row(measurement: Measurement, result: dict[str, Any]) -> Row:
    return Row(measurement.key, measurement.parameters, result, 1.0, 2, "2026-01-01 00:00", "abc", "a machine")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "results.jsonl")


# ------------------------------------------------------------------------------------------------------ statistics


def test_six_numbers_give_the_median_their_range_as_interval_and_five_say_that_they_cover_less() -> None:
    assert median_interval(samples([3, 1, 2, 6, 5, 4])).text() == "3.5 [1, 6]"
    assert median_interval(samples([3, 1, 2, 5, 4])).text() == "3 [1, 5] (94%)"
    assert median_interval(samples([3])).text() == "3"


def test_ten_numbers_give_the_sign_tests_interval() -> None:
    interval = median_interval(samples(range(1, 11)))
    assert (interval.value, interval.low, interval.high) == (5.5, 2, 9)


def test_a_ratios_interval_uses_the_rank_sum_tests_critical_value() -> None:
    x, y = [10.0, 20, 30, 40, 50, 60], [1.0, 2, 3, 4, 5, 6]
    interval = ratio_interval(samples(x), samples(y))
    pairs = sorted(a / b for a in x for b in y)
    assert (interval.value, interval.low, interval.high) == (10, pairs[5], pairs[-6])  # U = 5 for 6 and 6 at 5 %


def test_a_stopped_run_makes_the_median_a_lower_bound_only_if_the_median_depends_on_it() -> None:
    one, three = [Sample(9, True)] * 1, [Sample(9, True)] * 3
    assert median_interval([*samples([1, 2, 3, 4, 5]), *one]).text() == "3.5 [1, ∞]"
    assert median_interval([*samples([1, 2, 3]), *three]).text() == "≥ 6 [1, ∞]"


def test_a_goal_that_ours_missed_once_takes_the_ratios_lower_end_to_zero() -> None:
    ratio = ratio_interval([Sample(80, True)] * 6, [*samples([10] * 5), Sample(20, True)])
    assert (ratio.value, ratio.low, ratio.at_least) == (8, 0, True)


# --------------------------------------------------------------------------------------------------- what is missing


def test_sb3_waits_for_ours_and_is_stopped_at_a_multiple_of_its_median(record: Record) -> None:
    ours = [m for m in plan.fitness(OPTIONS, record) if m.key.startswith("c/hopper/ours")]
    for seconds, measurement in enumerate(ours, 10):
        before = next(m for m in plan.fitness(OPTIONS, record) if m.key == "c/hopper/sb3/0")
        assert not before.ready
        record.add(row(measurement, {"seconds": seconds, "reached": True}))
    after = next(m for m in plan.fitness(OPTIONS, record) if m.key == "c/hopper/sb3/0")
    assert after.ready
    assert after.unlimited == {"limit": 8 * 12.5}


def test_a_stopped_run_answers_no_longer_limit_and_one_that_got_there_answers_all(record: Record) -> None:
    def asked(limit: float) -> Measurement:
        return Measurement("c/hopper/sb3/0", "f.g", {"seed": 0}, 1.0, unlimited={"limit": limit})

    record.add(row(asked(10), {"reached": False, "limit": 10}))
    assert asked(10).done(record)
    assert not asked(20).done(record)
    record.add(row(asked(20), {"reached": True, "limit": 20}))
    assert asked(100).done(record)


def test_a_measurement_of_another_recipe_is_missing(record: Record) -> None:
    known = Measurement("b/x/0", "f.g", {"gamma": 0.99}, 1.0)
    record.add(row(known, {}))
    assert known.done(record)
    assert not Measurement("b/x/0", "f.g", {"gamma": 0.9}, 1.0).done(record)


def test_what_is_to_be_measured_again_is_missing_again_and_nothing_else(record: Record) -> None:
    for measurement in plan.training(OPTIONS, record):
        record.add(row(measurement, made_up(measurement)))
    whole = Sitting(record, OPTIONS, ["b"], [0], peers_python=None)
    assert whole.missing() == []
    record.doubt(["b/hopper/ours"])
    again = [m.key for m in whole.missing()]
    assert again == [f"b/hopper/ours/{seed}" for seed in range(6)], "b/hopper/ours-cold is known still"
    first = next(m for m in plan.training(OPTIONS, record) if m.key == again[0])
    record.add(row(first, {"new": 1.0}))
    assert [m.key for m in whole.missing()] == again[1:]
    kept = Record(record.path)
    assert kept.under("b/hopper/ours")[0].result == {"new": 1.0}
    assert Sitting(kept, OPTIONS, ["b"], [0], None).missing() == [], "what was not measured again is as it was"


def test_rows_survive_a_crash_in_the_middle_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, second = (Measurement(f"a/x/{seed}", "f.g", {}, 1.0) for seed in range(2))
    Record(path).add(row(first, {}))
    path.write_text(path.read_text() + '{"key": "a/x/1", "par')
    record = Record(path)
    record.add(row(second, {}))
    assert [found.key for found in Record(path).under("a/x")] == ["a/x/0", "a/x/1"]
    path.write_text("no row\n")
    with pytest.raises(ValueError, match=r"results\.jsonl, line 1 is no measurement"):
        Record(path)


# --------------------------------------------------------------------------------------------------------- a sitting


def loading(key: str, text: str, **more: Any) -> Measurement:
    """A measurement whose process parses JSON."""
    return Measurement(key, "json.loads", {"s": text}, 1.0, **more)


def test_a_sitting_runs_what_is_missing_in_processes_of_their_own_and_does_not_repeat_it(
    record: Record, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [loading("a/x/0", '{"speed": 1}'), loading("a/x/1", "broken"), loading("a/y/0", "{}", all_cores=True)]
    monkeypatch.setitem(PLANS, "a", lambda options, record: iter(wanted))
    sitting = Sitting(record, OPTIONS, ["a"], [0], peers_python=None)
    assert sitting.work(max_minutes=None) == 1
    assert "a/x/1" in capsys.readouterr().out
    assert [r.result for r in record.under("a/x")] == [{"speed": 1}]
    assert record.under("a/y")[0].side_by_side == 1
    again = Sitting(record, OPTIONS, ["a"], [0], peers_python=None)
    assert [m.key for m in again.missing()] == ["a/x/1"]


def test_no_measurement_starts_after_the_time_is_over(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLANS, "a", lambda options, record: iter([loading("a/x/0", "{}")]))
    assert Sitting(record, OPTIONS, ["a"], [0], peers_python=None).work(max_minutes=0) == 0
    assert record.under("a/x") == []


def test_every_measurement_names_a_function_that_takes_its_parameters(record: Record) -> None:
    import importlib
    import inspect

    for name in PLANS:
        for measurement in PLANS[name](OPTIONS, record):
            module, function = measurement.function.split(".")
            given = measurement.parameters | measurement.unlimited
            given |= {"spawned": 0.0} if measurement.timed_from_spawn else {}
            inspect.signature(getattr(importlib.import_module(module), function)).bind(**given)
            json.dumps(measurement.parameters)


def test_a_whole_search_is_measured_with_every_second_in_one_stage() -> None:
    measured = searches.search("inverted_pendulum_balance", 2, 1, 2048, seed=0, every_step=True, final_seeds=1)
    assert measured["failed"] == 0
    assert measured["steps"] == 2 * 2048
    stages = measured["stages"]
    assert sum(stages.values()) == pytest.approx(measured["wall"] * measured["jobs"])
    assert {"training and export", "start-up of training", "scoring", "filming"} < set(stages)
    assert min(stages.values()) > 0


def test_a_later_rung_counts_no_second_of_the_rungs_before() -> None:
    result = TrainResult(
        timesteps=2048,
        seconds=100.0,  # of all rungs
        startup_seconds=2.0,
        peak_timesteps=2048,
        peak_return=None,
        curves={},
        versions={},
    )
    spent = searches.stages_of(SimpleNamespace(spec=None), Finished(result, {}, seconds=12.0))
    assert spent == {"start-up of training": 2.0, "training and export": 10.0}


# ------------------------------------------------------------------------------------------------------- the report


def made_up(measurement: Measurement) -> dict[str, Any]:
    """A result with the keys that its kind has."""
    part, seed = measurement.key[0], int(measurement.key.rpartition("/")[2])
    speeds = dict.fromkeys(("steps_per_second", "steps_per_cpu_second", "first_iteration_seconds"), 10.0 + seed)
    stages = {"training and export": 100.0, "cores without a box": 20.0}
    return {
        "a": {
            stepping.RATES: {stepping.BARE: 100.0, stepping.WITH_STATE: 90.0 + seed},
            stepping.SHARES: {stepping.BARE: 1.0, stepping.WITH_STATE: 0.71 + seed / 25},
        },
        "b": speeds,
        "c": {
            "seconds": 10.0 + seed,
            "cpu_seconds": 9.0,
            "timesteps": 2000 if "ours" in measurement.key else 1000,
            "reached": "ours" in measurement.key,
            "limit": 1e9,
        },
        "d": {"fitness": [1.0, 2.0 + seed]},
        "e": {"wall": 60.0, "search_seconds": 40.0, "comparison_seconds": 20.0, "jobs": 2, "stages": stages}
        | {"host_cpu_seconds": 1.0, "box_cpu_seconds": 99.0, "steps": 8_000_000},
        "f": {"wall": 10.0, "steps": 1000},
        "g": {"memory_mb": 400.0, "first_seconds": 3.0, "later_seconds": 1.0},
    }[part]


def test_the_report_has_a_table_per_part_and_marks_bounds(record: Record, tmp_path: Path) -> None:
    options = replace(OPTIONS, search_timesteps=1_000_000)
    for plan_of_part in PLANS.values():
        for measurement in plan_of_part(options, record):
            record.add(row(measurement, made_up(measurement)))
    page, image = publish(options, record, tmp_path, "make bench-full")
    text = page.read_text()
    assert "Not measured yet" not in text
    assert "| Hopper, 12 m forward | 12.5 [10, 15] | 6 of 6 | 2 [2, 2] | ≥ 12.5 [10, ∞] | 0 of 6 | ≥ 1 [" in text
    assert re.search(r"^\| Hopper.* \| 2 \[1\.\d+, [23][.\d]*\] \|$", text, re.MULTILINE), "twice the steps per second"
    assert "would take\n667 [667, 667] min" in text, "half of 8 million steps on each core, 100 in a second"
    assert "| ours, observation + 5 variables | 92.5 [90, 95] | 0.81 [0.71, 0.91] |" in text
    assert "variables, of bare `mj_step` | ≥ 0.8 | 0.81 [0.71, 0.91] | met by the median, not settled |" in text
    assert re.search(r"time of SB3 / ours \| ≥ 6 \| ≥ 1 \[0\.\d+, ∞\] \| not settled \|", text)
    assert "Hopper, 12 m forward: ours, s | ≤ 30 | 12.5 [10, 15] | met |" in text
    assert "training steps/s, of SB3's defaults with 4 environments | ≥ 6 | 1 [" in text
    assert "8 × 5 × 1,000,000 steps, every step, reckoned from 1, min | ≤ 22 | 3.67 [3.67, 3.67] | met |" in text
    assert "first box, besides its training, s | ≤ 2.5 | 3 [3, 3] | missed |" in text
    assert "* (f) " in text.partition("## How this was measured")[2]
    assert "a machine" in text
    assert "make bench-full" in text
    words = [element.text for element in ElementTree.parse(image).iter(f"{SVG}text")]
    assert "Hopper, 12 m forward: ours" in words
    assert "≥ 12.5 [10, ∞]" in words


def test_shares_of_bare_mujoco_are_taken_within_each_round() -> None:
    seconds = {stepping.BARE: [1.0, 4.0], stepping.WITH_STATE: [2.0, 4.0]}  # the machine was slow in the second round
    assert stepping.summary(seconds)[stepping.SHARES][stepping.WITH_STATE] == 0.75


@pytest.mark.parametrize(
    ("measured", "limit", "verdict"),
    [
        (Interval(7.0, 6.1, 8.0), {"least": 6}, "met"),
        (Interval(7.0, 5.0, 8.0), {"least": 6}, "met by the median, not settled"),
        (Interval(5.0, 4.0, 5.5), {"least": 6}, "missed"),
        (Interval(5.0, 5.0, 5.0, coverage=0.0), {"least": 6}, "missed (one run)"),
        (Interval(4.0, 3.0, 4.0, at_least=True, open_above=True), {"least": 6}, "not settled"),
        (Interval(8.0, 7.0, 8.0, at_least=True, open_above=True), {"least": 6}, "met"),
        (Interval(20.0, 10.0, 25.0, open_above=True), {"most": 30}, "met by the median, not settled"),
        (Interval(20.0, 10.0, 20.0, at_least=True, open_above=True), {"most": 30}, "not settled"),
        (Interval(40.0, 31.0, 40.0, at_least=True, open_above=True), {"most": 30}, "missed"),
    ],
)
def test_a_goal_is_settled_only_where_the_whole_interval_says_so(
    measured: Interval, limit: dict[str, float], verdict: str
) -> None:
    assert Goal("c", "a goal", measured, **limit).verdict == verdict


def test_of_our_own_training_that_did_not_reach_the_goal_steps_are_a_bound_as_well(
    record: Record, tmp_path: Path
) -> None:
    for measurement in plan.fitness(OPTIONS, record):
        missed = measurement.key == "c/hopper/ours/5"
        record.add(row(measurement, made_up(measurement) | ({"reached": False, "timesteps": 9000} if missed else {})))
    page, image = publish(OPTIONS, record, tmp_path, "make bench-full")
    text = page.read_text()
    assert "| Hopper, 12 m forward | 12.5 [10, ∞] | 5 of 6 | 2 [2, ∞] |" in text
    assert "Hopper, 12 m forward: ours, s | ≤ 30 | 12.5 [10, ∞] | met by the median, not settled |" in text
    lines = [line for line in ElementTree.parse(image).iter(f"{SVG}line") if line.get("class") == "whisker"]
    caps = [line for line in lines if line.get("x1") == line.get("x2")]
    assert len(caps) == 2 * len(time_to_fitness.GOALS) - 1, "an interval that is open above has no cap there"


def test_a_page_is_not_replaced_by_one_that_tells_fewer_parts(record: Record, tmp_path: Path) -> None:
    for part in "ab":
        for measurement in PLANS[part](OPTIONS, record):
            record.add(row(measurement, made_up(measurement)))
    page, _ = publish(OPTIONS, record, tmp_path, "make bench-full")
    before = page.read_text()
    fewer = Record(tmp_path / "fewer.jsonl")
    for measurement in PLANS["a"](OPTIONS, fewer):
        fewer.add(row(measurement, made_up(measurement)))
    with pytest.raises(WouldLose, match=r"tells of part b, .*--only b\)"):
        publish(OPTIONS, fewer, tmp_path, "make bench-full")
    assert page.read_text() == before
    with pytest.raises(WouldLose, match=r"tells of part b, "):
        must_not_lose(OPTIONS, fewer, {"c"}, tmp_path)
    must_not_lose(OPTIONS, fewer, {"b"}, tmp_path)


def test_peers_and_seeds_that_are_missing_here_and_there_do_not_shift_what_is_compared(
    record: Record, tmp_path: Path
) -> None:
    for measurement in plan.stepping(OPTIONS, record):
        found = made_up(measurement)
        if not measurement.parameters["seed"]:
            found[stepping.RATES][stepping.ENVPOOL], found[stepping.SHARES][stepping.ENVPOOL] = 70.0, 0.7
        record.add(row(measurement, found))
    for measurement in plan.final(OPTIONS, record):
        seed, ours = measurement.parameters["seed"], measurement.parameters["learner"] == "fused"
        if (seed, ours) != (2, True):  # this one failed
            record.add(row(measurement, {"fitness": [10.0 * seed + 3.0 * ours]}))
    text = publish(OPTIONS, record, tmp_path, "make bench-full")[0].read_text()
    assert "| EnvPool (resets) | 70 | 0.70 |" in text
    assert "| +3 [+3, +3] | 5 |" in text, "each training is held against that of its own seed"


def measures(process: psutil.Process) -> bool:
    """Whether it is one of the bench's measurements; a process that has just ended is none."""
    try:
        return any("child.py" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("part", ["c/ant", "f/candidates/16"], ids=["on one core", "on all cores"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sitting_leaves_nothing_running(part: str, number: signal.Signals, tmp_path: Path) -> None:
    only = ["--only", part, "--seeds", "1", "--results", str(tmp_path / "rows.jsonl"), "--docs", str(tmp_path)]
    script = Path(plan.__file__).with_name("full.py")
    with subprocess.Popen([sys.executable, str(script), *only], stderr=subprocess.PIPE, text=True) as sitting:
        own = psutil.Process(sitting.pid)
        while not (children := [child for child in own.children() if measures(child)]):
            assert sitting.poll() is None
            time.sleep(0.05)
        sitting.send_signal(number)
        _, complaint = sitting.communicate(timeout=60)
    assert sitting.returncode == 130
    assert "what had finished is kept" in complaint
    assert "FAILED" not in complaint
    assert not any(child.is_running() for child in children)


def test_peers_that_are_not_there_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script, python = str(BENCH / "full.py"), str(tmp_path / "nowhere")
    command = [sys.executable, script, "--max-minutes", "0", "--docs", str(tmp_path), "--peers-python", python]
    assert subprocess.run([*command, "--results", str(tmp_path / "rows")]).returncode == 2
    assert capfd.readouterr().err == f"error: --peers-python {python}: it does not have EnvPool and SBX\n"


def test_a_report_of_nothing_says_so(record: Record, tmp_path: Path) -> None:
    page, image = publish(OPTIONS, record, tmp_path, "make bench-full")
    assert page.read_text().count("Not measured yet") == len(PLANS)
    ElementTree.parse(image)
    assert Figures(OPTIONS, record).rows == []


def test_the_machine_is_described_with_the_versions_that_matter() -> None:
    assert "mujoco" in description()
    assert "cores" in description()


# --------------------------------------------------------------------------------------------------- time to fitness


def test_the_clock_does_not_count_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([110.0, 150.0, 160.0])
    monkeypatch.setattr(time_to_fitness, "time", SimpleNamespace(time=lambda: next(now), process_time=lambda: 3.0))
    clock = time_to_fitness.Clock(spawned=100.0)
    reading = clock.read()
    assert reading == (10.0, 3.0)
    clock.pause_since(reading)
    assert clock.read() == (20.0, 3.0)


@pytest.mark.parametrize(("arm", "steps"), [("ours", 2048), pytest.param("sb3", 8192, marks=pytest.mark.slow)])
def test_both_arms_end_at_the_first_judgement_that_reaches_the_goal(
    arm: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_to_fitness, "JUDGE_EVERY", 1)
    monkeypatch.setattr(time_to_fitness, "JUDGE_EPISODES", 2)
    recipe = {"n_envs": 8, "n_steps": 256, "n_epochs": 1} if arm == "ours" else None
    spawned = time.time()
    found = time_to_fitness.measure("reacher", arm, 0, spawned, fitness=-10.0, hyperparameters=recipe)
    assert (found["reached"], found["timesteps"]) == (True, steps)
    assert -1 < found["fitness"] < 0
    assert found["seconds"] < time.time() - spawned


def test_a_training_that_does_not_get_there_is_stopped_at_its_limit() -> None:
    recipe = {"n_envs": 8, "n_steps": 64, "n_epochs": 1}
    found = time_to_fitness.measure("reacher", "ours", 0, time.time(), fitness=0.0, limit=0.1, hyperparameters=recipe)
    assert not found["reached"]
    assert found["limit"] == 0.1
    assert found["seconds"] >= 0.1


# ----------------------------------------------------------------------------------------------------- strategies


def strategies_asked_for(*arguments: str) -> tuple[strategies.Searches, str]:
    bench = strategies.plan(strategies.parser().parse_args([*arguments]))
    return bench, strategies.sizes_of(bench)


ENDED = Ended(
    fitness={"candidate": ((1.0, 2.0),), "human": ((0.5,),), "random": ((0.0,),)},
    promised=2.5,
    steps=1_600_000,
    seconds=90.0,
    cpu_seconds=170.0,
)


def line(task: str, contestant: str, repeat: int, sizes: str = "8x2x100000-2") -> strategies.Kept:
    sitting = Colophon("2026-01-01", "a machine", "abc", 0.0)
    which = {"sizes": sizes, "task": task, "contestant": contestant, "repeat": repeat}
    return strategies.Kept.model_validate({**which, "ended": ENDED, "tally": Tally(4, 12, 5), "sitting": sitting})


def test_the_strategies_page_shows_what_has_ended_and_says_what_is_missing() -> None:
    bench, _ = strategies_asked_for("--strategies", "incumbent", "eureka", "--tasks", "reacher_reach", "hopper_forward")
    one = {"task": "reacher_reach", "unit": "m", "iqm": Estimate(value=-0.02, low=-0.03, high=-0.01)}
    spent = {"steps": 1.5e6, "budget": 1_600_000, "seconds": 90.0, "searches": 2, "fitness": (((-0.02, -0.03),),) * 2}
    rows = [ResultRow(name="incumbent-offline", **one, **spent), ResultRow(name="human reward", **one, searches=2)]
    rows.append(ResultRow(task="hopper_forward", name="eureka-scripted", unit="m", searches=0))
    tallies = {("reacher_reach", "incumbent-offline"): [Tally(4, 12, 5), Tally(5, 10, 4)]}
    text = page(bench, rows, tallies, [Colophon("2026-01-01", "a machine", "abc", 0.0)])
    measured = "−0.020 m | [−0.030, −0.010] | – | 1.5M of 1.6M | 1 min 30 s | 4.5 | 11 | 4.5 | 2 |"
    assert f"| reacher_reach | incumbent | {measured}" in text
    assert "| reacher_reach | human reward | −0.020 m |" in text
    assert text.count("Not measured yet.") == 1  # the scripted writer
    assert "* hopper_forward: everything" in text
    assert told(text) == {("reacher_reach", "incumbent-offline"): 2}
    assert "* reacher_reach: eureka-offline (0 of 2), incumbent-scripted (0 of 2), eureka-scripted (0 of 2)" in text
    assert "an order of strategies is not" in text
    assert "a machine" in text


def test_a_page_of_strategies_is_not_replaced_by_one_of_fewer_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = BENCH.parents[1] / "docs" / "strategies.md"
    assert len(told(shipped.read_text())) == 4 * (len(STRATEGIES) + len(KINDS))
    have = told(shipped.read_text())
    strategies.must_not_lose(shipped, have)
    del have["reacher_reach", "eureka-offline"]
    with pytest.raises(
        UsageError,
        match=r"more searches than strategies.jsonl has \(1 more, such as reacher_reach with eureka-offline\)",
    ):
        strategies.must_not_lose(shipped, have)
    monkeypatch.setattr(strategies, "kept", lambda path, sizes: {})
    monkeypatch.setattr(sys, "argv", ["strategies.py", "--tasks", "reacher_reach", "--cache", str(tmp_path)])
    assert strategies.main() == 2
    assert "such as half_cheetah_backflip with eureka-offline" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "it is said before anything is run"


def test_a_script_is_asked_for_no_more_than_it_holds_and_offline_goes_on() -> None:
    bench, _ = strategies_asked_for()
    task = load_task("hopper_forward")
    of = {c.name: bench.settings_of(task, c, 0) for c in bench.contestants}
    assert of["incumbent-scripted"].generations == 2
    assert Path(of["incumbent-scripted"].model.removeprefix("scripted:")).is_dir()
    assert of["incumbent-offline"].generations > 2
    assert of["incumbent-scripted"].steps == of["incumbent-offline"].steps
    strategies.must_have_answers(bench)
    with pytest.raises(UsageError, match="g2c0"):
        strategies.must_have_answers(strategies_asked_for("--generations", "3")[0])


def test_a_strategy_that_stands_for_others_with_a_script_searches_as_they_do() -> None:
    task = load_task("hopper_forward")
    assert {*KINDS, *(name for others in KINDS.values() for name in others)} == set(STRATEGIES)
    for one, others in KINDS.items():
        bench, _ = strategies_asked_for("--writers", "scripted", "--strategies", one, *others)
        settings = [bench.settings_of(task, c, 0) for c in bench.contestants]
        assert {s.model_copy(update={"strategy": one}).model_dump_json() for s in settings} == {
            settings[0].model_dump_json()
        }
        asked = [[b.id for b in strategy_of(s.strategy).select(Population(), s)] for s in settings]
        assert asked == asked[:1] * len(settings)


def test_other_sizes_are_kept_elsewhere_and_more_repeats_join_those_that_there_are() -> None:
    folder = strategies_asked_for()[1]
    assert strategies_asked_for("--repeats", "5", "--writers", "offline")[1] == folder
    assert strategies_asked_for("--timesteps", "5000")[1] != folder


def test_no_search_begins_once_the_time_is_over() -> None:
    sitting = strategies.Sitting([100.0, 100.0], max_minutes=0)
    assert sitting.estimate() == "about 3 min 20 s left"
    with pytest.raises(strategies.TimeIsUp), sitting.watching(None, "search 1"):  # type: ignore[arg-type]
        pass
    assert "once each task has been trained" in strategies.Sitting([math.nan], None).estimate()


@pytest.mark.parametrize("folder", sorted(p for p in strategies.ANSWERS.iterdir() if p.is_dir()), ids=lambda p: p.name)
def test_every_scripted_answer_is_a_reward_of_its_own_in_the_contract(folder: Path) -> None:
    task, seen = load_task(folder.name), {}
    for path in sorted(folder.glob("*.py")):
        assert check_reward_code(path.read_text(), task.variables) is None, path.name
        seen[normalised_hash(path.read_text())] = path.name
    assert len(seen) == 16


def test_a_search_that_is_kept_is_not_made_again_on_any_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tasks", "reacher_reach", "--writers", "offline", "--repeats", "2", "--strategies", "eureka", "islands"]
    words += ["--cache", str(tmp_path / "cache"), "--page", str(tmp_path / "page.md"), "--max-minutes", "0"]
    _, sizes = strategies_asked_for(*words)
    over = [line("reacher_reach", "eureka-offline", 1), line("reacher_reach", "eureka-offline", 1, sizes="4x1x9-1")]
    (tmp_path / "page.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in over))
    assert list(strategies.kept(tmp_path / "page.jsonl", sizes)) == [("reacher_reach", "eureka-offline", 1)]
    monkeypatch.setattr(sys, "argv", ["strategies.py", *words])
    assert strategies.main() == 0
    assert "3 of 4 searches missing" in capsys.readouterr().out
    assert "| reacher_reach | eureka | 1.50 m |" in (tmp_path / "page.md").read_text()
    assert "eureka-offline (1 of 2)" in (tmp_path / "page.md").read_text()
    (tmp_path / "page.jsonl").write_text(over[0].model_dump_json() + "\nno search\n")
    assert strategies.main() == 2
    assert "page.jsonl, line 2 is no search" in capsys.readouterr().err


def test_what_ends_is_kept_once_with_its_sitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, sizes = strategies_asked_for("--tasks", "reacher_reach", "--writers", "offline", "--repeats", "1")
    which = ("reacher_reach", "islands-offline", 0)
    monkeypatch.setattr(strategies, "ended", lambda root, bench: {which: Tally(4, 12, 5)})
    monkeypatch.setattr(strategies, "ended_searches", lambda root, bench: {which: ENDED})
    strategies.keep(tmp_path / "kept.jsonl", tmp_path, bench, Colophon("2026-01-01", "a machine", "abc", 0.0))
    assert strategies.kept(tmp_path / "kept.jsonl", sizes) == {which: line(*which)}


def test_the_page_is_about_everything_that_is_kept() -> None:
    known = [("hopper_forward", "islands-scripted", repeat) for repeat in range(3)]
    given = strategies.parser().parse_args(
        ["--tasks", "reacher_reach", "--writers", "offline", "--strategies", "eureka"]
    )
    bench = strategies.everything(known, given)
    names = {c.name for c in bench.contestants}
    assert names == {f"{name}-offline" for name in STRATEGIES} | {
        "incumbent-scripted",
        "eureka-scripted",
        "islands-scripted",
    }
    assert bench.repeats == 3
    assert bench.tasks == strategies.TASKS


# ------------------------------------------------------------------------------------------------------ long runs


def test_the_long_run_has_candidates_of_the_size_of_real_ones(tmp_path: Path) -> None:
    long_run.build(tmp_path / "run", 16)
    with Run.open(tmp_path / "run", read_only=True) as run:
        sizes = [len(record) for (record,) in run._open.rows("SELECT record FROM candidates")]
        assert 9_000 < sum(sizes) / len(sizes) < 13_000, "10 to 11 kB in searches of the hopper"
        found = run.population()
        assert [sum(c.stopped for c in found.born(0)), sum(c.training is None for c in found.born(0))] == [3, 1]
        assert found.incumbent == "g0c7"
        assert len(run.standings()) == 5


def test_a_replayed_prescreening_counts_what_it_would_have_rejected_and_how_often_wrongly() -> None:
    found = [
        prescreening.Replayed("good", 0.5, 3.0),
        prescreening.Replayed("poor", 0.1, 1.0),
        prescreening.Replayed("lost", -0.2, 9.0),
        prescreening.Replayed("hack", -0.5, 0.0, hack=True),
    ]
    line = prescreening.told("a task", found)
    assert line.split()[2:5] == ["4", "2", "1"]
    assert "1 of 1 hacks" in line
    assert line.endswith("the best, lost, among them")
    assert prescreening.told("nobody", [prescreening.Replayed("one", -1.0, 0.0)]).split()[1:4] == ["1", "1", "1"]
