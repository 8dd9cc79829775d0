"""What the report shows beside code and curves: maps, stills, racing, contests, other worlds, and who is like whom."""

from __future__ import annotations

import base64
import dataclasses
import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from llm_cases import search as search_
from llm_cases import small_run
from report_cases import filmed, looked_into, poster, surface
from test_report import candidate, facts
from test_report_parts import words

from eureka_agent.contract.task import load_task
from eureka_agent.errors import UsageError
from eureka_agent.lab.filming import median_seed, worth_filming
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.maps import Maps, loaded, map_rewards, maps_key, named_maps
from eureka_agent.report import choosing, robustness
from eureka_agent.report.build import FILM_BYTES, render
from eureka_agent.report.cards import LEFT_OUT, cards
from eureka_agent.report.components import component_charts
from eureka_agent.report.curves import search
from eureka_agent.report.facts import RunFacts, gather, selection
from eureka_agent.report.lineage import OPERATORS, made, tree
from eureka_agent.report.maps import BANDS, draw, map_rows, surfaces
from eureka_agent.report.record import commands
from eureka_agent.search.steps import winner
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_evaluation.finding import Finding
from eureka_evaluation.maps import Scalar, grid, most_telling_pairs, scalars, shuffled
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Failed, Failure, Job, Outcome, Verdict


def whole() -> RunFacts:
    found = facts(candidate(0, 3.0), candidate(1, 2.0), candidate(0, 9.0, generation=1), human=4.0)
    return looked_into(filmed(found))


# ---------------------------------------------------------------------------------------------------------------- maps


def test_the_axes_are_what_changes_the_total_when_it_is_shuffled_and_not_what_goes_along() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400)).astype(np.float32)
    states = {"a": a, "b": b, "copy": a + 0.01 * b, "flag": (a > 0).astype(np.float32), "unread": rng.normal(size=400)}
    names = scalars(states, ["a", "b", "copy", "flag"])
    assert [str(name) for name in names] == ["a", "b", "copy"], "a flag has too few values, one was not named"

    def total(s: dict[str, np.ndarray]) -> np.ndarray:
        return (5 * s["a"] + s["b"] ** 2).astype(np.float32)

    changed = [total(shuffled(states, name)) for name in names]
    changed[1][:100] = np.nan  # the reward failed there
    assert most_telling_pairs(names, total(states), changed) == [(Scalar("a"), Scalar("b"))]
    assert most_telling_pairs(names, total(states), [total(states)] * 3) == []


def test_a_grid_changes_two_numbers_and_holds_the_rest_at_the_median() -> None:
    base = {"v": np.array([1.0, 2.0, 9.0], np.float32), "actions": np.zeros((3, 2), np.float32)}
    base |= {"z": np.full(3, 7.0, np.float32)}
    states = grid(base, Scalar("v"), Scalar("actions", (1,)), (0.0, 1.0), (-1.0, 1.0), 3)
    assert states["v"].tolist() == pytest.approx([0, 0.5, 1] * 3)
    assert states["actions"][:, 1].tolist() == pytest.approx([-1] * 3 + [0] * 3 + [1] * 3)
    assert not states["actions"][:, 0].any()
    assert set(states["z"].tolist()) == {7.0}


def test_a_map_has_a_band_for_every_value_and_its_contours_lie_where_bands_meet() -> None:
    drawn = draw("best, total", surface("total", "speed"), 1, {"torso_x_velocity": "m/s", "torso_pitch": "1"})
    cells = sum(patch.d.count("M") for patch in drawn.patches)
    assert {patch.css for patch in drawn.patches} == {
        f"{side}{band}" for side in "np" for band in range(BANDS) if side + str(band) != "n0"
    }
    assert cells >= 9, "one run per row at least"
    assert (drawn.x_label, drawn.y_label) == ("torso_x_velocity (m/s)", "torso_pitch[2]")
    assert drawn.note == "−2.00 to 2.00"
    middle = drawn.frame.left + (drawn.frame.width - drawn.frame.left - drawn.frame.right) / 2
    upright = [float(x) for x in re.findall(r"M([\d.]+) ", drawn.contours)]
    assert any(math.isclose(x, middle, abs_tol=0.2) for x in upright), "the reward changes sign in the middle"
    assert drawn.visited.count("M") == 2, "states outside the map are left out"


def test_where_the_reward_failed_a_map_has_a_hole() -> None:
    drawn = draw("fall", surface("total", "speed", "fall"), 2, {})
    assert "none" in {patch.css for patch in drawn.patches}
    assert "nan" not in drawn.contours


def test_a_constant_reward_can_be_mapped() -> None:
    flat = dataclasses.replace(surface("total"), grids=(((2.0, 2.0), (2.0, 2.0)),))
    assert draw("t", flat, 0, {}).contours == ""
    row, *_ = map_rows({"candidate": (surface("total", "speed"),), "human": (surface("total"),)}, {})
    assert [drawing.title for drawing in row.drawings] == ["best, total", "human reward, total", "speed"]


def test_the_page_shows_the_maps_with_words_for_those_who_do_not_see_them() -> None:
    page = render(whole())
    assert 'aria-label="best, total over torso_x_velocity (m/s) and torso_pitch[2] (rad): from −3.00 to 2.00, ' in page
    assert page.count('class="map"') == 4


# ------------------------------------------------------------------------------------------------------ films and cards


def test_every_film_has_a_still_and_one_that_does_not_fit_leaves_it_behind() -> None:
    large = {**whole().films, "g0c1": b"\0\0\0\x18ftypmp42" + bytes(FILM_BYTES)}
    page = render(dataclasses.replace(whole(), films=large))
    still = base64.b64encode(poster()).decode()
    assert page.count(f'poster="data:image/jpeg;base64,{still}"') == page.count("<video")
    card = page[page.index('class="inside" id="g0c1"') : page.index('class="inside" id="g1c0"')]
    assert "<video" not in card
    assert f'<img class="still" width="480" height="360" src="data:image/jpeg;base64,{still}"' in card
    assert LEFT_OUT.capitalize() in card


def test_who_is_filmed_are_the_highest_and_whoever_led_before_the_best() -> None:
    early = [candidate(slot, float(slot)) for slot in range(6)]
    found = facts(*early, candidate(0, 9.0, generation=1))
    best = found.population["g1c0"]
    chosen = [c.id for c in worth_filming(found.population, best, 4)]
    assert chosen == ["g0c5", "g1c0", "g0c4", "g0c3"]
    assert [c.id for c in worth_filming(found.population, best, 2)] == chosen[:2]
    assert best.score
    assert median_seed(best.score) == 1


def test_a_card_tells_what_racing_saw_and_what_speaks_against_the_reward() -> None:
    shown = {card.id: card for card in cards(whole(), {})}
    assert dict(shown["g0c1"].numbers)["racing"] == "1.00 m at 1k steps; stopped there"
    assert dict(shown["g0c0"].numbers)["racing"] == "1.00 m at 1k steps; went on to the end"
    assert (shown["g0c1"].state, shown["g0c0"].state) == ("stopped", "scored")
    assert [(told.kind, told.grave) for told in shown["g0c0"].suspicions] == [
        ("fitness falls", True),
        ("ends early", False),
    ]
    page = words(render(whole()))
    assert "Signs that the reward is exploited Half of the episodes" in page
    assert "to g0c1 0.25; to the human reward 0.50" in page


def test_the_compared_candidate_shows_the_signs_that_the_end_of_the_run_found_and_no_other_does() -> None:
    facts = whole()
    assert facts.comparison
    fragile = Finding("fragile", 0.4, "On 9 variations of the task fitness drops.")
    facts = dataclasses.replace(facts, comparison=facts.comparison.model_copy(update={"suspicions": (fragile,)}))
    shown = {card.id: [told.kind for told in card.suspicions] for card in cards(facts, {})}
    assert shown == {
        "g0c0": ["fitness falls", "ends early"],
        "g0c1": ["fitness falls", "ends early"],
        "g1c0": ["fragile"],
    }
    assert "Signs that the reward is exploited On 9 variations of the task fitness drops." in words(render(facts))
    assert [finding.text for finding in facts.suspicions(facts.population["g1c0"])] == [fragile.text]


def test_each_component_has_a_curve_of_its_own() -> None:
    c = candidate(0, 3.0)
    assert c.training
    curves = {"time/total_timesteps": [1.0, 2.0, 3.0], "rollout/ep_len_mean": [10.0, 10.0, 20.0]}
    curves |= {"reward/speed": [10.0, 20.0, 80.0], "reward/effort": [-10.0, None, -20.0]}
    c = c.model_copy(update={"training": c.training.model_copy(update={"curves": curves})})
    assert [chart.title for chart in component_charts(c)] == ["speed", "effort"]
    assert component_charts(candidate(1, None)) == []


def test_operators_are_said_in_words() -> None:
    assert made(candidate(0, 3.0, generation=1)) == "mutation of g0c0"
    assert made(candidate(0, 3.0)) == "mutation"
    assert OPERATORS.keys() == {"sample", "mutate", "cross", "tune", "edit", "seed"}
    assert "Mutation of g0c0 , generation 2." in words(render(whole()))


# -------------------------------------------------------------------------------------------------- choice and worlds


def test_bars_are_drawn_up_to_the_human_reward() -> None:
    beside = facts(candidate(0, 1.0), candidate(1, 3.0))
    anchors = beside.task.anchors
    assert anchors
    assert beside.scale == (anchors.random.mean, anchors.human.mean)
    drawn = tree(beside)
    assert drawn
    assert max(node.share for node in drawn.nodes) < 0.5, "they are far below the human reward, and look it"
    compared = facts(candidate(0, 9.0), human=4.0)
    assert compared.human == compared.comparison.arm("human").iqm.value if compared.comparison else False
    chart = search(compared)
    assert chart
    assert chart.rules[0].label == "human reward, 5 fresh trainings"


def test_the_search_is_drawn_with_the_mean_of_all_trainings_and_failures_lead_nothing() -> None:
    standings = {
        "g0c0": Standing(id="g0c0", screening=9.0, later=(3.0, 3.0)),
        "g0c1": Standing(id="g0c1", screening=8.0, later=(None,)),
    }
    once = facts(candidate(0, 8.0), candidate(1, 7.0), candidate(2, 5.5))
    beside = dataclasses.replace(once, population=once.population.with_(standings=standings))
    chart = search(beside)
    assert chart
    assert [dot.title for dot in chart.dots] == ["g0c0: 5.00 m", "g0c1: 8.00 m", "g0c2: 6.50 m"]
    first, _, last = chart.dots
    (steps,) = [path.d for path in chart.paths if path.css == "incumbent"]
    assert steps == f"M{first.x} {first.y}L{last.x} {first.y}L{last.x} {last.y}"
    assert re.findall('data-fitness="([^"]*)"', render(beside)) == ["5.0", "8.0", "6.5"]


def test_contests_tell_what_was_promised_and_what_was_kept() -> None:
    (contest,) = choosing.contests(whole())
    assert [(row.id, row.leads, row.promised, row.kept, row.trainings) for row in contest.rows] == [
        ("g1c0", True, "9.00 m", "5.00 m", "2"),
        ("g0c1", False, "8.00 m", "–", "0"),
    ]
    notes = choosing.notes(whole())
    assert notes[0] == "The training that selected g1c0 came out 4.00 m above the mean of its 2 later trainings."
    assert notes[-1].startswith("The search ended: ")
    assert "to 5.00 m in 2 later trainings" in selection(whole()).replace("\u00a0", " ")
    assert choosing.contests(facts()) == []


def test_worlds_stand_beside_the_one_of_the_training() -> None:
    first, heavy, late = robustness.worlds(whole())
    assert (first.name, first.best and first.best.fitness) == ("as in training", "4.00 m")
    assert (heavy.name, heavy.human and heavy.human.share) == ("mass × 1.2", 0.5)
    assert (late.name, late.best and late.best.fitness) == ("actions 1 step late", "failed")
    assert robustness.summary(whole()).startswith(
        "g1c0 loses 2.00 m on average over 1 variation; least with mass × 1.2"
    )
    assert robustness.worlds(facts(candidate(0, 3.0), human=4.0)) == []


def test_the_command_for_the_same_search_names_every_setting_that_is_not_the_usual_one() -> None:
    unusual = {"strategy": "islands", "racing": "none", "contest_seeds": 1, "critic": True, "max_tokens": 5000}
    line = dict(commands(dataclasses.replace(facts(), settings=Settings(**unusual))))["The same search from the start"]
    for words_ in ("--strategy islands", "--racing none", "--contest-seeds 1", "--critic", "--max-tokens 5000"):
        assert words_ in line
    assert "--target" not in line
    assert line.startswith("eureka evolve /runs/hopper/task -p 8 -g 5 --seed 0 --model offline")


def test_the_command_for_the_same_search_gives_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting but those rewards that lie beside the run, through the command line and back."""
    from eureka_agent.cli import main

    unusual = {
        "population": 3,
        "generations": 2,
        "seed": 7,
        "strategy": "islands",
        "target": 2.5,
        "patience": 4,
        "steps": 10**6,
        "racing": "none",
        "contest_seeds": 1,
        "prescreen": True,
        "tune": 2,
        "warm_start": True,
        "analyst": True,
        "vision_model": "openai/eyes",
        "model": "openai/a,openai/b=2",
        "critic": True,
        "base_url": "http://127.0.0.1:1/v1",
        "effort": "low",
        "max_output_tokens": 999,
        "prompt_tokens": 9000,
        "max_cost": 1.5,
        "max_tokens": 10**6,
        "max_calls": 99,
        "on_unknown": "skip",
        "sandbox": "embedded",
        "models_file": "/m.yaml",
        "prompts": "/prompts",
        "timesteps": 5000,
        "algorithm": "ppo",
        "learner": "sb3",
        "jobs": 2,
        "final_seeds": 2,
        "films": 9,
        "maps": ("torso_pitch,joint_angles[1]", "torso_pitch,torso_z"),
        "max_seconds": 90.5,
        "wall_seconds": 600.0,
        "memory_mb": 999,
        "max_cost_per_hour": 0.75,
    }
    usual = Settings().model_dump()
    assert {name for name in usual if unusual.get(name, usual[name]) == usual[name]} == {"seed_rewards", "exhibits"}
    line = dict(commands(dataclasses.replace(facts(), settings=Settings(**unusual))))["The same search from the start"]
    given: dict[str, object] = {}
    monkeypatch.setattr("eureka_agent.cli.evolve._begin", lambda task, flags, *_: given.update(flags))
    assert main(shlex.split(line)[1:]) == 0
    assert Settings(**given) == Settings(**unusual)


WRONG_MAPS = {
    "torso_z": "two state variables with a comma between",
    "torso_z,nothing": "hopper_forward has no state variable nothing; it has torso_x",
    "torso_z,joint_angles": r"joint_angles is not one number; write joint_angles\[0\] to joint_angles\[2\]",
    "torso_z,joint_angles[3]": r"joint_angles\[3\] is not one number",
    "torso_z[0],torso_pitch": r"torso_z\[0\] is not one number; write torso_z$",
    "torso_z,torso_z": "twice the same",
    "torso_z,joint_angles[ ]": "two state variables with a comma between",
    "torso_z,joint_angles[1 2]": "two state variables with a comma between",
    "torso_z,training_progress": "no state variable training_progress",
}


@pytest.mark.parametrize("pair", WRONG_MAPS)
def test_a_pair_that_cannot_be_mapped_is_refused_before_the_search(pair: str) -> None:
    with pytest.raises(UsageError, match=rf"^--map {re.escape(pair)}: .*{WRONG_MAPS[pair]}"):
        named_maps(load_task("hopper_forward"), [pair])


def test_a_person_s_pairs_are_mapped_too_and_still_after_the_end(tmp_path: Path) -> None:
    wanted = ("torso_z , torso_pitch", "joint_angles[1], torso_x_velocity", "torso_z,torso_pitch")
    pairs = named_maps(load_task("hopper_forward"), wanted)
    assert pairs == ("torso_z,torso_pitch", "joint_angles[1],torso_x_velocity")
    with small_run(tmp_path / "run", "offline", maps=pairs[:1]) as run:
        Lab(ScriptedSandbox(), run).floor()
        search_(run)
        before = gather(run).surfaces
        run.amend({"maps": pairs})
        search_(run)
        after = gather(run).surfaces
    for found in (before, after):
        assert len(found["candidate"]) == len(found["human"])
    names = [(surface.x.name, surface.y.name) for surface in after["candidate"]]
    assert names[:2] == [("torso_z", "torso_pitch"), ("joint_angles[1]", "torso_x_velocity")]
    assert len(after["candidate"]) == len(before["candidate"]) + 1
    assert len(map_rows(after, {})) == len(names)


def test_a_search_maps_its_best_reward_and_the_human_one_on_the_same_axes_once(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", "offline") as run:
        Lab(ScriptedSandbox(), run).floor()  # this sandbox records no policy, but random play
        search_(run)
        best = winner(run.population())
        own, human = (run.decided(maps_key(name), Maps) for name in (best.id, f"human-{best.id}"))
        assert own is not None
        assert own.axes, own.note
        assert human is not None
        assert human.axes == own.axes
        values = loaded(run, own)
        assert values.shape == (len(own.terms), len(own.axes), own.cells, own.cells)
        assert np.isfinite(values).all()
        assert {"candidate", "human"} == gather(run).surfaces.keys()

        def never(job: Job) -> Outcome:
            raise AssertionError(f"a second box for {job.spec.kind}")

        map_rewards(run, best, never)


def test_a_reward_that_cannot_be_mapped_says_why_and_stops_nothing(tmp_path: Path) -> None:
    failed = Failed(Failure(verdict=Verdict.TIME, message="too slow"), 1.0)
    with small_run(tmp_path / "run", "offline") as run:
        Lab(ScriptedSandbox(), run).floor()  # this sandbox records no policy, but random play
        search_(run)
        other = run.population().ranked[-1]
        map_rewards(run, other, lambda _: failed)
        found = run.decided(maps_key(other.id), Maps)
        assert found is not None
        assert found.note == "time: too slow"
        assert surfaces(run, other).keys() <= {"human"}
