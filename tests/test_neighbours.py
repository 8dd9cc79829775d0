"""Which rewards are alike, as the report's matrix shows it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import pytest
from report_cases import HOSTILE, half_done, matrix
from test_prescreen import search
from test_report_parts import words

from eureka_agent.critique.suspicions import reward_distances
from eureka_agent.lab.judging import JudgedBank, bank_key, transitions_of
from eureka_agent.population import Population
from eureka_agent.report import neighbours as neighbours_
from eureka_agent.report.build import render
from eureka_agent.report.facts import gather
from eureka_agent.report.neighbours import UNRELATED, Matrix, neighbours, tables
from eureka_agent.runs.run import Run

REVERSED = [f"g0c{slot}" for slot in range(6)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Two generations; in the first, six rewards pay trajectories in the reverse order of the score, two in its own."""
    for found, _ in search(tmp_path_factory.mktemp("alike") / "run"):
        yield found


def of_first(run: Run) -> Matrix:
    population = run.population()
    (found,) = [m for m in neighbours(run, population, population.best)[1] if m.generation == 0]
    return found


def test_a_matrix_holds_both_distances_and_the_order_of_trajectories(run: Run) -> None:
    found = of_first(run)
    names, starc = reward_distances(run, 0) or ((), None)
    assert starc is not None
    assert set(found.names) == set(names)
    assert found.names[:2] == ("g0c7", "g0c6"), "the best first"
    place = {name: i for i, name in enumerate(found.names)}
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            assert found.starc[place[a]][place[b]] == starc[i, j]
    aligned = dict(zip(found.names, found.alignment, strict=True))
    assert [aligned[name] for name in ("g0c6", "g0c7", *REVERSED)] == pytest.approx([1.0] * 2 + [-1.0] * 6)
    epic = found.epic[place["g0c7"]]
    assert epic[place["g0c6"]] == pytest.approx(0.0, abs=1e-6)
    assert [epic[place[name]] for name in REVERSED] == pytest.approx([1.0] * 6), "EPIC of opposite rewards"
    bank = run.decided(bank_key(0), JudgedBank)
    assert bank is not None
    assert found.trajectories == len(transitions_of(run, bank.players).policies) > 8


def test_a_page_shows_no_more_than_fits_and_the_best_generation_first(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = run.population()
    best = population["g0c7"]
    assert [m.generation for m in neighbours(run, population, best)[1]] == [0, 1]
    monkeypatch.setattr(neighbours_, "MOST_CELLS", 120)
    assert [m.generation for m in neighbours(run, population, best)[1]] == [0]
    monkeypatch.setattr(neighbours_, "MOST_REWARDS", 3)
    short = neighbours(run, population, best)[1][0]
    assert short.names[:3] == ("g0c7", "g0c6", "g0c5")
    assert short.left_out == 5
    assert tables([short])[0].note.endswith("Not shown: 5 rewards that came out lower.")
    assert neighbours(run, population, best)[0]["g0c0"].nearest, "the cards have what the table leaves out"


def test_what_a_person_rejected_is_not_said_to_have_come_out_lower(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    population = Population(candidates=run.population().candidates, rejected=frozenset({"g0c7"}))
    found = neighbours(run, population, population.best)[1]
    (first,) = [m for m in found if m.generation == 0]
    assert (first.left_out, first.rejected) == (0, 1)
    assert tables([first])[0].note.endswith("Not shown: 1 reward that a person rejected.")
    monkeypatch.setattr(neighbours_, "MOST_REWARDS", 4)
    (short,) = [m for m in neighbours(run, population, population.best)[1] if m.generation == 0]
    note = tables([short])[0].note
    assert note.endswith("Not shown: 3 rewards that came out lower; 1 reward that a person rejected.")


def test_starc_stands_below_the_diagonal_and_epic_above() -> None:
    made = matrix("g0c2", "g1c0", "human")
    (table,) = tables([dataclasses.replace(made, alignment=(1.0, -0.001, -0.9))])
    assert table.heads == ("g0c2", "g1c0", "human")
    assert [row.link for row in table.rows] == ["g0c2", "g1c0", ""]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["", f"{made.epic[0][1]:.2f}", f"{made.epic[0][2]:.2f}"],
        [f"{made.starc[1][0]:.2f}", "", f"{made.epic[1][2]:.2f}"],
        [f"{made.starc[2][0]:.2f}", f"{made.starc[2][1]:.2f}", ""],
    ]
    assert [row.alignment.text for row in table.rows] == ["1.00", "0.00", "−0.90"]
    assert [row.alignment.css for row in table.rows] == ["p4", "n0", "n4"]


@pytest.mark.parametrize(
    ("distance", "css"), [(0.0, "p4"), (UNRELATED - 0.01, "p0"), (UNRELATED + 0.01, "n0"), (0.99, "n4"), (1.0, "n4")]
)
def test_a_colour_says_on_which_side_of_unrelated_a_distance_lies(distance: float, css: str) -> None:
    both = ((0.0, distance), (distance, 0.0))
    (table,) = tables([dataclasses.replace(matrix("g0c0", "g0c1"), starc=both, epic=both)])
    assert table.rows[0].cells[1].css == table.rows[1].cells[0].css == css


def test_forty_rewards_are_one_dense_table_with_a_figure_in_every_cell() -> None:
    names = [f"g{i // 8}c{i % 8}" for i in range(40)]
    page = render(dataclasses.replace(half_done(), matrices=(matrix(*names, "human", "metric"),)))
    section = page.split('<section id="distances">')[1].split("</section>")[0]
    assert 'class="heat alike dense"' in section
    assert section.count("<td") == 42 * 43
    assert len(re.findall(r"<td[^>]*>−?[01]?\.\d\d</td>", section)) == 42 * 42, "all but the diagonal"
    assert section.count('scope="col"') == 44
    assert section.count('scope="row"') == 42
    assert "style=" not in section


def test_names_are_text_and_a_run_without_judgements_has_no_section(run: Run) -> None:
    page = render(dataclasses.replace(half_done(), matrices=(matrix(HOSTILE, "g0c1"),)))
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert 'id="distances"' not in render(half_done())
    assert "TAC over" in words(render(gather(run)))
