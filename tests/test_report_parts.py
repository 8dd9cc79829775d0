"""What the report draws and says, part by part: diffs, components, lineage, cards, costs; hostile text stays text."""

from __future__ import annotations

import base64
import dataclasses
import html
import re
from pathlib import Path

import pytest
from llm_cases import search, small_run
from report_cases import HOSTILE, TRANSCRIPT, film, filmed, half_done, innocent, tainted
from test_report import CODE, Outline, candidate, facts, stages

from eureka_agent.lab.floor import Floor, Level
from eureka_agent.population import Candidate, Catch
from eureka_agent.report import costs, curves
from eureka_agent.report.baselines import baselines
from eureka_agent.report.build import FILM_BYTES, render
from eureka_agent.report.cards import FULL_CARDS, LEFT_OUT, cards, rejected
from eureka_agent.report.components import formulas, parts, stacked
from eureka_agent.report.diffs import diff
from eureka_agent.report.facts import RunFacts, cost, gather
from eureka_agent.report.lineage import ancestors, tree
from eureka_agent.report.markup import code_lines
from eureka_agent.report.record import commands, digests
from eureka_agent.report.thoughts import prose
from eureka_agent.standing import Standing
from eureka_agent.text import visible
from eureka_evaluation.finding import Finding


def words(markup: str) -> str:
    """What a reader sees of some markup."""
    plain = re.sub(r"<(style|script)>.*?</\1>", "", markup, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", plain)).replace("&#39;", "'")


# -------------------------------------------------------------------------------------------------------- hostile text


def test_hostile_text_adds_no_element_and_no_attribute_anywhere() -> None:
    hostile, twin = render(tainted(HOSTILE)), render(tainted(innocent(HOSTILE)))
    assert Outline(hostile).elements == Outline(twin).elements
    assert hostile.count("alert(1)") > 30, "the text must be there to be harmless"


def test_characters_that_mislead_are_written_out_wherever_they_stand() -> None:
    page = render(tainted(HOSTILE))
    assert not [c for c in page if c in "\u202e\u2066\u200b\ufeff\x1b\x00"]
    for mark in ("⟨U+202E⟩", "⟨U+2066⟩", "⟨U+200B⟩", "⟨U+FEFF⟩", "⟨U+001B⟩"):
        assert page.count(mark) > 30


@pytest.mark.parametrize("code", [0x1B, 0xAD, 0x034F, 0x115F, 0x2028, 0x2800, 0x3164, 0xD800, 0xE000, 0xFE0F, 0xE0041])
def test_a_hidden_character_is_told_by_its_number(code: int) -> None:
    assert visible(f"a{chr(code)}b") == f"a⟨U+{code:04X}⟩b"
    assert visible("tab\tand\nline, ünïcödé 漢字 😀") == "tab\tand\nline, ünïcödé 漢字 😀"


# --------------------------------------------------------------------------------------------------------- code, diffs


def test_highlighted_lines_say_what_the_source_says() -> None:
    source = 'def f(x):\n    """Two\n    lines <b>."""\n    return x  # "&"\n'
    shown = [html.unescape(re.sub(r"<[^>]*>", "", line)) for line in code_lines(source)]
    assert "\n".join(shown) == source
    assert all(line.count("<span") == line.count("</span") for line in code_lines(source))


def test_a_diff_keeps_the_changes_and_counts_what_it_leaves_out() -> None:
    old = "\n".join(f"line_{i} = {i}" for i in range(20))
    new = old.replace("line_10 = 10", "line_10 = 11\nextra = 1")
    found = diff("g0c0", old, new)
    assert (found.added, found.removed) == (2, 1)
    kinds = [row.kind for row in found.rows]
    assert kinds == ["skip", *["same"] * 3, "del", "add", "add", *["same"] * 3, "skip"]
    assert words(found.rows[0].text) == "7 unchanged lines"
    assert words(found.rows[-1].text) == "6 unchanged lines"
    assert [row.number for row in found.rows if row.kind == "add"] == [11, 12]
    assert diff("g0c0", old, old).rows == ()


def test_each_component_is_shown_with_its_formula_and_its_line() -> None:
    code = (
        "def compute_reward(x):\n    speed = 2 * x\n    parts = {'speed': speed, 'rest': -x}\n    return speed, parts\n"
    )
    assert formulas(code) == {"speed": ("2 * x", 2), "rest": ("-x", 3)}
    assert formulas("def compute_reward(x: return") == {}
    assert formulas("x = 1") == {}


def test_components_are_told_by_share_and_stacked_over_training() -> None:
    c = candidate(0, 3.0)
    assert c.training
    curves_ = {
        "time/total_timesteps": [1.0, 2.0, 3.0],
        "rollout/ep_len_mean": [10.0, 10.0, 20.0],
        "reward/speed": [10.0, 20.0, 80.0],
        "reward/effort": [-10.0, -10.0, -20.0],
    }
    c = c.model_copy(update={"training": c.training.model_copy(update={"curves": curves_})})
    first, second = parts(c)
    assert (first.name, first.role, first.first, first.last) == ("speed", "pays", "1.00", "4.00")
    assert (second.name, second.role) == ("effort", "costs, constant")
    assert first.formula == "torso_x_velocity"
    chart = stacked(c)
    assert chart
    assert [area.label for area in chart.areas] == ["speed", "effort"]
    assert chart.frame.y_range[0] < 0 < chart.frame.y_range[1]
    assert stacked(candidate(1, None)) is None


def test_curves_beyond_all_measure_do_not_stop_the_page() -> None:
    c = candidate(0, 3.0)
    assert c.training
    huge = {"time/total_timesteps": [1.0, 2.0, 3.0], "rollout/ep_len_mean": [1.0, 1.0, 1.0]}
    huge |= {f"reward/{name}": [1e305, 2e305, -1e305] for name in "ab"}
    c = c.model_copy(update={"training": c.training.model_copy(update={"curves": huge})})
    assert "</html>" in render(facts(c))


# ------------------------------------------------------------------------------------------------- lineage and learning


def test_the_tree_leads_from_parents_to_children_and_marks_the_bests_line() -> None:
    whole = facts(candidate(0, 3.0), candidate(1, None), candidate(0, 9.0, generation=1))
    drawn = tree(whole)
    assert drawn
    by_id = {node.id: node for node in drawn.nodes}
    assert by_id["g1c0"].x > by_id["g0c0"].x
    assert by_id["g0c1"].y > by_id["g0c0"].y
    assert [(edge.parent, edge.child, edge.css) for edge in drawn.edges] == [("g0c0", "g1c0", "trail")]
    assert ancestors(whole) == {"g0c0", "g1c0"}
    assert by_id["g0c1"].figure == "code error"
    assert by_id["g1c0"].css == "trail best"
    assert tree(facts()) is None


def test_bands_are_called_what_they_are() -> None:
    shown = facts(candidate(0, 9.0), human=4.0, seeds=3)
    assert "bands reach from the lowest to the highest" in curves.band_note(shown)
    assert "Student's t" in curves.band_note(facts(candidate(0, 9.0), human=4.0, seeds=5))
    assert "no interval" in curves.band_note(facts(candidate(0, 9.0), human=4.0, seeds=1))
    assert "no interval" in curves.band_note(facts(candidate(0, 9.0)))


def test_fresh_trainings_become_a_mean_with_a_band_only_if_there_are_several() -> None:
    one, three = (curves.learning(facts(candidate(0, 9.0), human=4.0, seeds=n)) for n in (1, 3))
    assert [len(chart.areas) for chart in one] == [0, 0]
    assert [len(chart.areas) for chart in three] == [1, 1]
    assert [chart.title for chart in three] == ["Own return of g0c0", "Own return of the human reward"]
    assert three[0].heads == ["steps", "best"]


# --------------------------------------------------------------------------------------------------------------- cards


def test_a_card_tells_parents_children_duplicates_and_what_gates_caught() -> None:
    page = words(render(half_done()))
    assert "The same program as g0c2 : its figures are that one's" in page
    assert "Parent of g1c0" in page
    assert "smoke gate the total is 1 on all transitions Mended by the next answer." in page
    assert "Against its parent g0c0 : +1 −0 lines" in page


def test_what_was_rejected_is_listed_with_its_reason_and_what_came_of_it() -> None:
    rows = [(r.candidate, r.stage, r.outcome) for r in rejected(half_done().population.candidates)]
    assert rows == [("g0c1", "code error", "rejected"), ("g0c2", "smoke gate", "mended by the next answer")]
    kept = candidate(0, 1.0).model_copy(update={"catches": (Catch(gate="critic", reason="weak", fatal=False),)})
    assert [r.outcome for r in rejected([kept])] == ["kept as it was"]


@pytest.mark.parametrize("stage", list(stages()))
def test_a_section_without_anything_to_show_is_left_out(stage: str) -> None:
    page = render(stages()[stage])
    ids = re.findall(r'<section id="(\w+)">', page)
    nav = re.findall(r'<a href="#(\w+)">', page.split("</nav>")[0])
    assert nav == ids
    expected = {"just begun": ["statistics", "costs", "sandbox", "record"]}
    assert ids == expected.get(stage, ids)
    assert ("rejected" in ids) == (stage != "just begun")
    assert ("reward" in ids) == (stage in ("half done", "finished"))


def test_many_candidates_get_plain_cards_so_that_the_page_stays_light() -> None:
    many = [candidate(slot, float(slot), generation) for generation in range(10) for slot in range(100)]
    page = render(facts(*many, human=3.0))
    assert page.count('<details class="card') == 1000
    assert page.count("code numbered") == FULL_CARDS + 2  # and the best at the top, the human reward at the end
    assert len(page) < 10_000_000
    assert len(Outline(page).elements) < 60_000
    assert "drawn for 60 of 1000" in words(page)


def test_films_fill_the_page_up_to_its_bound_the_best_first() -> None:
    large = b"\0\0\0\x18ftypmp42" + bytes(900_000)
    population = [candidate(slot, float(slot)) for slot in range(40)]
    whole = facts(*population, human=3.0)
    names = ["candidate", "human", *(c.id for c in population)]
    page = render(dataclasses.replace(whole, films=dict.fromkeys(names, large)))
    assert len(page) < 15_000_000
    assert page.count("<video") == FILM_BYTES // len(large)
    assert page.count(LEFT_OUT) == 40 - (FILM_BYTES // len(large) - 2)
    best, worst = (page.index(f'id="{name}"') for name in ("g0c39", "g0c0"))
    assert "<video" in page[best:]
    assert "<video" not in page[worst : page.index('id="g0c1"')]


def told(page: str, begin: str, end: str) -> str:
    """What a part of a page says, in words."""
    return words("<" + page.split(begin)[1].split(end)[0]).replace("\u00a0", " ")


def section(page: str, name: str) -> str:
    """What a section says."""
    return told(page, f'<section id="{name}">', "</section>")


def trained_again(*candidates: Candidate, human: float | None = None, seeds: int = 3) -> RunFacts:
    """A run whose g0c0 came to 9 m first, and to 2 m and 1 m later."""
    whole = filmed(facts(*candidates, human=human, seeds=seeds))
    found = tuple(c.model_copy(update={"findings": (Finding("rest", 0.9, "Lucky."),)}) for c in candidates)
    standings = {"g0c0": Standing(id="g0c0", screening=9.0, later=(2.0, 1.0))}
    return dataclasses.replace(whole, population=whole.population.with_(candidates=found, standings=standings))


def test_findings_and_films_say_which_training_they_are_of_beside_the_fitness_of_all() -> None:
    whole = trained_again(candidate(0, 9.0), candidate(1, 3.0), human=4.0)
    assert whole.comparison is not None
    first = "its first training, 10.0 m; fitness 4.00 m over 3 trainings"
    page = render(whole)
    lucky, once = (told(page, f'class="inside" id="{name}"', "</details>") for name in ("g0c0", "g0c1"))
    assert f"Median episode of {first}." in lucky
    assert f"Of {first}. Lucky." in lucky
    assert "Median episode of its one training, 4.00 m." in once
    assert f"signs of exploitation are of {first}" in section(page, "reward")
    assert f"Of {first}. Lucky." in section(page, "reward"), "nothing of the fresh trainings was recorded"


def test_the_best_is_told_by_its_fresh_training_of_median_fitness_where_that_was_recorded() -> None:
    whole = trained_again(candidate(0, 9.0), candidate(1, 3.0), human=4.0)
    assert whole.comparison is not None
    arm = whole.comparison.arm("candidate")
    means = sorted(t.score.mean for t in arm.trials if t.score)
    assert arm.median.score is not None
    assert arm.median.score.mean == means[1]
    usual = f"the training of median fitness, {means[1]:.1f} m; IQM of all 3: {arm.iqm.value:.1f} m"
    page = render(dataclasses.replace(whole, findings=(Finding("rest", 0.9, "As usual."),)))
    assert f"Of {usual}; on fresh seeds. As usual." in section(page, "reward")
    assert "Lucky." not in section(page, "reward").split("What its first training showed")[0]
    assert f"best, g0c0 : {usual}" in section(page, "films")
    pair = dataclasses.replace(whole, comparison=trained_again(candidate(0, 9.0), human=4.0, seeds=2).comparison)
    assert "best, g0c0 : the lower of two trainings, 10.5 m; IQM of both: " in section(render(pair), "films")
    assert "human reward : the training of median fitness" in section(page, "films")
    alone = dataclasses.replace(whole, comparison=trained_again(candidate(0, 9.0), human=4.0, seeds=1).comparison)
    assert "best, g0c0 : its one fresh training, " in section(render(alone), "films")


def test_the_previous_best_is_filmed_beside_the_best_where_it_was() -> None:
    whole = filmed(facts(candidate(0, 3.0), candidate(0, 9.0, generation=1), human=4.0))
    section = render(whole).split('<section id="films">')[1].split("</section>")[0]
    assert words(section).count("previous best, g0c0") == 1
    assert section.count(base64.b64encode(film()).decode()) == 3


# ------------------------------------------------------------------------------------------ baselines, costs and record


def test_baselines_tell_what_play_without_learning_reaches_and_how_it_was_measured() -> None:
    random, zero = Level(mean=0.5, low=0.1, high=0.9, success_rate=0.0), Level(mean=0, low=0, high=0, success_rate=0.0)
    floor = Floor(random=random, zero=zero, ranges=(), recording="0" * 64, warnings=())
    rows = baselines(dataclasses.replace(facts(), floor=floor))
    assert [row.label for row in rows] == ["human reward", "random policy", "random actions", "zero actions"]
    assert (rows[2].fitness, rows[2].spread) == ("0.500 m", "[0.100, 0.900]")
    assert "shipped with the task; 5 trainings of 300k steps" in rows[0].basis


def test_the_cost_is_said_in_one_sentence() -> None:
    assert cost(facts(candidate(0, 3.0))) == "It took 1 min 01 s and 0 environment steps in all trainings."


def test_the_words_around_the_code_are_the_design_thought() -> None:
    answer = "<!-- model: m -->\nSpeed pays.\n\n~~~python\ndef f(): ...\n~~~\n\nThis should do.\n\n```\ncut off"
    assert prose(answer) == "Speed pays.\n\nThis should do."


def test_a_paragraph_that_an_answer_wraps_is_one_line_and_its_lists_stay_lists() -> None:
    rest = "\n- upright: a bound\n- alive: a bonus\n1. first\n\n# Heading\nNew paragraph."
    assert prose("Speed pays,\nuntil it\nfalls." + rest) == "Speed pays, until it falls." + rest


def test_a_recorded_search_shows_thoughts_calls_and_what_they_led_to(tmp_path: Path) -> None:
    with small_run(tmp_path / "run", f"replay:{TRANSCRIPT}", population=4, jobs=1) as run:  # none on speculation
        search(run)
        whole = gather(run)
    assert len(whole.thoughts) == 8
    assert whole.thoughts["g1c0"].text.startswith("The policy hops at 2.2 m/s")
    assert "def compute_reward" not in whole.thoughts["g1c0"].text
    by_name = {line.name: line for line in costs.calls(whole)}
    assert by_name["all"].calls == "8"
    assert by_name["all"].cost == "–", "a recording costs nothing, and no price was measured"
    page = words(render(whole))
    assert "8 calls to language models" in page
    (first, *_), trained = cards(whole, {}), dict(costs.times(whole))
    assert first.thought == whole.thoughts["g0c0"]
    assert trained["CPU time of trainings"].endswith("12 trainings"), "8, 2 of the contest, 2 fresh ones"


def test_the_record_has_what_it_takes_to_do_it_again_and_to_check_it() -> None:
    whole = facts(candidate(0, 3.0), human=4.0)
    lines = [line for _, line in commands(whole)]
    assert "eureka verify /runs/hopper" in lines
    assert any(line.startswith("eureka evolve /runs/hopper/task -p 8 -g 2 --seed 0") for line in lines)
    page = words(render(whole))
    assert digests(whole)["task"] == whole.task.digest
    assert all(digest in page for digest in digests(whole).values())
    assert "candidate, fresh 1" in page
    assert "max_output_tokens 16000" in page


def test_the_gates_tally_stands_with_the_costs() -> None:
    (gate,) = costs.gates(half_done())
    assert (gate.gate, gate.stopped, gate.mended) == ("smoke", 1, 1)
    assert "smoke 1 1 3 s" in words(render(half_done()))
    assert CODE in half_done().population["g0c0"].code
