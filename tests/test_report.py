"""The HTML report: the same page at every stage of a run, self-contained, and hostile text stays text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from eureka_agent.contract.task import load_task
from eureka_agent.population import Brief, Candidate, Population, Score, Training
from eureka_agent.report.build import render, write_report
from eureka_agent.report.charts import Frame, IntervalRow, Line, interval_plot, line_chart, path_data, sparkline, ticks
from eureka_agent.report.curves import intervals
from eureka_agent.report.facts import RunFacts, comparison_rows, gather, selection, tiles, verdict
from eureka_agent.runs.run import Run
from eureka_agent.search.comparison import Estimate, Trial, compare, measured_arm
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_sandbox.backends.unwalled import UnwalledSandbox
from eureka_sandbox.protocol import Failure, Verdict, Wall

CODE = "def compute_reward(torso_x_velocity, actions):\n    return torso_x_velocity, {'speed': torso_x_velocity}\n"


def training(seed: int = 0) -> Training:
    return Training(
        seed=seed,
        timesteps=4000,
        seconds=2.0,
        startup_seconds=1.0,
        peak_timesteps=3000,
        peak_return=4.0,
        curves={
            "time/total_timesteps": [1000.0, 2000.0, 3000.0, 4000.0],
            "rollout/ep_rew_mean": [None, 1.0, 4.0, 3.0],
            "reward/speed": [None, 1.0, 4.0, 3.0],
        },
        policy="0" * 64,
        policy_meta="0" * 64,
        versions={"mujoco": "3.3.0"},
    )


def score(fitness: tuple[float, ...]) -> Score:
    return Score(
        seeds=tuple(range(len(fitness))),
        fitness=fitness,
        success=tuple(value > 5 for value in fitness),
        lengths=(100,) * len(fitness),
        seconds=1.0,
    )


def candidate(slot: int, fitness: float | None, generation: int = 0, code: str = CODE, text: str = "") -> Candidate:
    name = f"g{generation}c{slot}"
    parents = ("g0c0",) if generation else ()
    brief = Brief(id=name, generation=generation, slot=slot, operator="mutate", parents=parents, seed=slot)
    if fitness is None:
        failure = Failure(verdict=Verdict.CODE_ERROR, message=text or "no such thing", file="reward.py", line=2)
        return Candidate(brief=brief, code=code, failure=failure)
    measured = score((fitness, fitness + 1, fitness + 2))
    return Candidate(brief=brief, code=code, training=training(slot), score=measured, reflection=text)


def facts(*candidates: Candidate, human: float | None = None, text: str = "", seeds: int = 5) -> RunFacts:
    """A run with these candidates; compared with a human reward of that fitness if one is given."""
    from eureka_agent.population import Population

    population, comparison = Population(candidates=candidates), None
    if human is not None and population.best:
        best = population.best
        arms = [
            measured_arm(name, tuple(Trial(training=training(i), score=score((m + i, m + 1))) for i in range(seeds)), 0)
            for name, m in (("candidate", best.fitness or 0.0), ("human", human), ("random", 0.0))
        ]
        comparison = compare(best.id, arms[0], arms[1].model_copy(update={"video_note": text}), arms[2], 0)
    return RunFacts(
        folder="/runs/hopper" + text,
        task=load_task("hopper_forward"),
        settings=Settings(generations=2),
        population=population,
        comparison=comparison,
        started=1_700_000_000.0,
        seconds=61.0,
        versions={"mujoco": "3.3.0"},
    )


class Outline(HTMLParser):
    """Elements with their attribute names: what text must never add to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value or "" for _, value in attrs]


def stages() -> dict[str, RunFacts]:
    return {
        "just begun": facts(),
        "only failures": facts(candidate(0, None)),
        "half done": facts(candidate(0, 3.0), candidate(1, None)),
        "finished": facts(candidate(0, 3.0), candidate(1, None), candidate(0, 9.0, generation=1), human=4.0),
    }


@pytest.mark.parametrize("stage", list(stages()))
def test_a_page_of_every_stage_is_whole_and_asks_nobody_for_anything(stage: str) -> None:
    page = render(stages()[stage])
    outline = Outline(page)
    assert page.rstrip().endswith("</html>")
    assert [tag for tag, _ in outline.elements].count("script") == 1
    assert not {name for _, names in outline.elements for name in names if name.startswith("on")}
    assert all("style" not in names for _, names in outline.elements), "the policy would block a style attribute"
    assert not [value for value in outline.values if re.match(r"(https?:)?//|file:|javascript:", value)]
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_exactly_the_style_and_the_script_that_the_page_has() -> None:
    page = render(stages()["finished"])
    parts = {tag: page.split(f"<{tag}>")[1].split(f"</{tag}>")[0] for tag in ("style", "script")}
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    content = policy.group(1).replace("&#39;", "'")
    for tag, part in parts.items():
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in content
    assert content.startswith("default-src 'none';")
    assert "unsafe" not in content


def test_the_verdict_says_no_more_than_the_trainings_allow() -> None:
    better = facts(candidate(0, 50.0), human=4.0)
    worse = facts(candidate(0, 1.0), human=40.0)
    same = facts(candidate(0, 4.0), human=4.0)
    few = facts(candidate(0, 50.0), human=4.0, seeds=3)
    assert "g0c0 beats the human reward by 47.0\u00a0m" in verdict(better)
    assert "over 5 trainings each" in verdict(better)
    assert "short of the human reward" in verdict(worse)
    assert "ahead in 77\u00a0% of episode pairs" in verdict(same)
    assert "but 5 trainings each do not settle it" in verdict(same)
    assert "ahead of the human reward" in verdict(few)
    assert "3 trainings each cannot settle it" in verdict(few)
    assert "not yet compared" in verdict(facts(candidate(0, 4.0)))
    assert "Nothing has trained" in verdict(facts(candidate(0, None)))
    for seeds, lost in ((8, "but 1 of its 8 fresh trainings failed"), (4, "cannot settle it and 1 of its 4 fresh")):
        assert lost in verdict(with_a_failure(facts(candidate(0, 50.0), human=4.0, seeds=seeds), "candidate"))
    assert "beats the human reward" in verdict(with_a_failure(facts(candidate(0, 50.0), human=4.0, seeds=8), "human"))


def with_a_failure(given: RunFacts, arm: str) -> RunFacts:
    """The same run, but the last fresh training of one arm failed."""
    assert given.comparison
    lost = Trial(training=None, score=None, failure=Failure(verdict=Verdict.TIME, message="too slow"))
    arms = {a.name: a for a in given.comparison.arms}
    arms[arm] = measured_arm(arm, (*arms[arm].trials[:-1], lost), 0)
    made = compare(given.comparison.candidate, arms["candidate"], arms["human"], arms["random"], 0)
    assert ("fails more often is not shown" in made.note) is (arm == "candidate")
    return dataclasses.replace(given, comparison=made)


def test_a_mean_that_says_the_opposite_of_the_iqm_is_told() -> None:
    whole = facts(candidate(0, 7.0), human=4.5, seeds=3)
    assert "The mean" not in verdict(whole)
    assert whole.comparison
    best = whole.comparison.arm("candidate")
    trials = [t.model_copy(update={"score": rarely_lost(t.score)}) for t in best.trials if t.score]
    lost = best.model_copy(update={"trials": tuple(trials)})
    comparison = whole.comparison.model_copy(
        update={"arms": (lost, *(arm for arm in whole.comparison.arms if arm.name != "candidate"))}
    )
    said = verdict(dataclasses.replace(whole, comparison=comparison)).replace("\u00a0", " ")
    assert "9.00 m against 5.50 m" in said
    assert said.endswith(
        "which counts the worst and the best episodes too, puts the human reward ahead: −446 m against 5.50 m."
    )


def rarely_lost(score: Score) -> Score:
    return score.model_copy(update={"fitness": (-900.0, *score.fitness[1:])})


def test_before_the_comparison_a_contests_word_counts_more_than_the_training_that_selected() -> None:
    standing = Standing(id="g0c0", screening=14.0, later=(13.0, 12.0))

    def early(standing: Standing) -> RunFacts:
        alone = facts(candidate(0, 14.0))
        return dataclasses.replace(alone, population=alone.population.with_(standings={"g0c0": standing}))

    assert "g0c0 leads with 13.0 m over 3 trainings" in verdict(early(standing)).replace("\u00a0", " ")
    assert tiles(early(standing))[0][2:] == ("13.0 m", "3 trainings")
    assert "g0c0 leads with 14.0 m, beside" in verdict(early(standing.first(0))).replace("\u00a0", " ")
    assert tiles(early(standing.first(0)))[0][2:] == ("14.0 m", "1 training")
    shown = render(early(standing)).replace("\u00a0", " ")
    assert "<dt>all trainings</dt><dd>13.0 m over 3 trainings: 14.0, 13.0, 12.0</dd>" in shown
    assert "<dt>first training</dt><dd>15.0 m, episodes 14.0 to 16.0, success 100 %</dd>" in shown
    assert 'aria-label="g0c0 13.0 m' in shown, "the lineage"


def test_an_interval_that_includes_one_half_is_said_with_its_figures() -> None:
    whole = facts(candidate(0, 7.0), human=4.5, seeds=3)
    assert whole.comparison

    def with_odds(value: float, low: float, high: float) -> str:
        odds = Estimate(value=value, low=low, high=high)
        comparison = whole.comparison.model_copy(update={"over_human": odds}) if whole.comparison else None
        return verdict(dataclasses.replace(whole, comparison=comparison)).replace("\u00a0", " ")

    assert with_odds(0.95, 0.4, 1.0) == (
        "g0c0 reaches 9.00 m, the human reward 5.50 m: ahead in 95 % of episode pairs (95 % interval 40–100 %), "
        "but 3 trainings each cannot settle it."
    )
    assert "ahead in half of the episode pairs (95 % interval 20–80 %), but" in with_odds(0.5, 0.2, 0.8)
    assert "behind in 70 % of episode pairs (95 % interval 40–90 %), but" in with_odds(0.3, 0.1, 0.6)


def test_one_training_has_no_interval_anywhere_on_the_page() -> None:
    one = facts(candidate(0, 50.0), human=4.0, seeds=1)
    assert [small for _, name, _, small in tiles(one) if name in ("best, forward displacement", "human reward")] == [
        "one training",
        "one training",
    ]
    plot = intervals(one)
    assert plot is not None
    assert [row.low == row.high for row in plot.rows] == [True, True, False]


def test_a_best_reward_that_is_no_better_than_chance_is_called_so() -> None:
    assert "no better than random actions" in verdict(facts(candidate(0, -60.0), human=4.0))
    assert "random actions" not in verdict(facts(candidate(0, 50.0), human=4.0))


def test_the_steps_are_those_of_all_trainings(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", load_task("hopper_forward"), Settings()) as run:
        for key in ("g0c0", "final/human/0"):
            run.save_training(key, training())
        run.save_training("g0c1", Failure(verdict=Verdict.TIME, message="too slow"))
        assert gather(run).trained_steps == 2 * 4000
        assert "8k environment steps in all trainings" in render(gather(run))


def test_the_page_shows_the_best_code_failures_and_the_way_on() -> None:
    page = render(stages()["half done"])
    assert "code error: no such thing (reward.py:2)" in page
    assert "eureka evolve --resume /runs/hopper" in page
    assert "not finished" in page
    assert "ran in a box of its own" in page
    text = re.sub(r"<[^>]*>", "", page)
    assert "def compute_reward(torso_x_velocity, actions):" in text


def test_the_page_says_which_wall_stood_and_what_it_does_not_cover() -> None:
    wall = Wall(
        backend="embedded",
        tier="namespaces & a filter",
        covers=("the network",),
        gaps=("kernel bugs",),
        contained=30,
        probes=30,
        controls=7,
        seconds=0.4,
    )
    again = wall.model_copy(update={"seconds": 0.5})
    page = render(RunFacts(**{**facts(candidate(0, 3.0)).__dict__, "walls": (wall, again)}))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert text.count("Embedded : namespaces &amp; a filter.") == 1
    probes = "30 of 30 canary probes were contained and 7 positive controls succeeded in each of 2 sittings."
    assert f"Before the first candidate, {probes} Kept from a box the network Not covered kernel bugs" in text
    assert 'role="alert"' not in page


def test_a_run_without_a_wall_says_so_at_the_top_of_the_page() -> None:
    none = UnwalledSandbox().check()
    page = render(RunFacts(**{**facts(candidate(0, 3.0)).__dict__, "walls": (none,)}))
    banner, rest = page.index("No wall stood around the rewards"), page.index("<h1>")
    assert banner < rest


def test_the_films_are_inside_the_page() -> None:
    with_film = facts(candidate(0, 3.0))
    film = b"\0\0\0\x18ftypmp42"
    page = render(RunFacts(**{**with_film.__dict__, "films": {"candidate": film}}))
    assert f"data:video/mp4;base64,{base64.b64encode(film).decode()}" in page


def test_a_report_of_a_stored_run_replaces_the_old_one_whole(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", load_task("hopper_forward"), Settings()) as run:
        path = run.folder / "report.html"
        path.write_text("old")
        first = write_report(run)
        assert first == path
        assert "Nothing has trained" in path.read_text()
        saved = candidate(0, 7.0)
        assert saved.training
        assert saved.score
        run.save_training(saved.id, saved.training)
        run.save_score(saved.id, saved.score)
        run.save(saved)
        with Run.open(run.folder, read_only=True) as reader:
            write_report(reader)
            assert gather(reader).best == saved
        assert "g0c0 leads with" in path.read_text()
        assert not list(run.folder.glob(".tmp-*"))


def test_a_page_of_a_full_search_stays_small() -> None:
    many = [candidate(slot, float(slot), generation) for generation in range(5) for slot in range(8)]
    assert len(render(facts(*many, human=3.0))) < 1_000_000


# ----------------------------------------------------------------------------------------------------------- charts


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 17.9), (0.0, 1e6), (1e-4, 3e-4), (-5.0, -4.0)])
def test_ticks_are_round_and_lie_inside(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 6
    assert all(low - 1e-9 <= mark <= high + 1e-9 for mark in marks)
    steps = {round((b - a) / (marks[1] - marks[0]), 6) for a, b in pairwise(marks)}
    assert steps == {1.0}


def test_a_curve_passes_over_missing_values() -> None:
    frame = Frame(100, 100, (0.0, 3.0), (0.0, 1.0))
    assert path_data(frame, [0, 1, 2, 3], [0.0, None, 1.0, None]) == path_data(frame, [0, 2], [0.0, 1.0])
    assert path_data(frame, [0, 1, 2], [None, float("nan"), None]) == ""


def test_up_is_more_and_right_is_later() -> None:
    chart = line_chart("title", [Line([0, 10], [1.0, 5.0], "")], x_label="x", y_label="y")
    (x0, y0), (x1, y1) = (map(float, part.split()) for part in chart.paths[0].d[1:].split("L"))
    assert x1 > x0
    assert y1 < y0


def test_a_constant_curve_and_a_single_point_can_be_drawn() -> None:
    assert line_chart("title", [Line([1, 2], [3.0, 3.0], "")], x_label="x", y_label="y").paths[0].d
    assert line_chart("title", [Line([1], [3.0], "")], x_label="x", y_label="y").paths[0].d
    assert ticks(0.0, 5e-324) == [0.0]
    assert sparkline([1.0], [1.0], 1.0, "t") is None
    assert sparkline([8.0, 8.0], [1.0, 2.0], 8.0, "t") is None, "two logs of one step, as SAC over several robots has"


def test_a_winner_that_trained_for_much_longer_than_the_others_is_told() -> None:
    def timed(slot: int, fitness: float, seconds: float) -> Candidate:
        made = candidate(slot, fitness)
        assert made.training is not None
        return made.model_copy(update={"training": made.training.model_copy(update={"box_seconds": seconds})})

    others = [timed(slot, 3.0, 10.0 + slot) for slot in (1, 2, 3)]
    told = selection(facts(timed(0, 17.0, 60.0), *others, human=5.0))
    assert "Its training ran 5.00 times as long as equal trainings" in told
    population = facts(timed(0, 17.0, 60.0), *others).population
    assert [population.overtime(c) for c in others] == [None, None, None]
    assert Population(candidates=(timed(0, 17.0, 31.0), *others)).overtime(timed(0, 17.0, 31.0)) is None, "no 20 s more"
    assert Population(candidates=(timed(0, 17.0, 60.0), *others[:2])).overtime(timed(0, 17.0, 60.0)) is None, "too few"


def test_intervals_keep_their_order_on_the_axis() -> None:
    (row,) = interval_plot([IntervalRow("best", "", 1.0, 2.0, 4.0, [1.5, 3.0])], "m").rows
    assert row.low < row.points[0] < row.middle < row.points[1] < row.high


def test_the_winners_score_in_the_search_is_told_beside_what_fresh_seeds_say() -> None:
    told = facts(candidate(0, 17.0), candidate(1, 3.0), human=5.0)
    assert "chosen for 18.0 m on one training, the best of 2" in selection(told)
    assert selection(facts(candidate(0, 17.0), human=5.0)) == ""
    assert selection(facts(candidate(0, 17.0), candidate(1, 3.0))) == ""


def test_one_training_has_no_interval_over_trainings() -> None:
    best, human, random = comparison_rows(facts(candidate(0, 17.0), human=5.0, seeds=1))
    assert best.interval == human.interval == "one training"
    assert "[" in random.interval
    assert "[" not in human.odds
    several = comparison_rows(facts(candidate(0, 17.0), human=5.0, seeds=5))
    assert all("[" in row.interval for row in several)
