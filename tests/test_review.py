"""Reviews: what they change in a search, what they are bound to, and strengths from preferences."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm_cases import Log
from people_cases import Author, authored, opinion, prompt, prompted, review, reward, scripted_run
from test_report import candidate

from eureka_agent.cli import main
from eureka_agent.cli.people import suited_to
from eureka_agent.contract.task import Task, load_task, task_from_files
from eureka_agent.errors import UsageError
from eureka_agent.population import Brief, Population
from eureka_agent.review.record import Picks, Review, check_review, code_hash, read_review
from eureka_agent.review.steering import MOST_TOLD, steering_of, strengths
from eureka_agent.runs.inbox import Reviewed, letters, post
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_agent.strategies.eureka import Eureka
from eureka_evaluation.preferences import NORMAL_95, bradley_terry
from eureka_sandbox.backends import BACKENDS

# ------------------------------------------------------------------------------------------------------ in the search


def reviewed(tmp_path: Path, generations: int = 3) -> Run:
    """A run of three candidates per generation whose first generation is done."""
    scripted_run(tmp_path, population=3, generations=1).close()
    with Run.open(tmp_path / "run") as run:
        prompted(run)
        run.amend({"generations": generations})
    return Run.open(tmp_path / "run")


def test_comments_reach_the_next_generation_and_later_only_descendants(tmp_path: Path) -> None:
    with reviewed(tmp_path) as run:
        best = run.population().best
        assert best is not None
        others = [c.id for c in run.population().candidates if c.id != best.id]
        post(
            run.folder,
            Reviewed(
                review=review(
                    run,
                    opinion(run, best.id, verdict="approve", comment="swing the leg"),
                    opinion(run, others[0], comment="it hops in place"),
                    feedback="no falls please",
                )
            ),
        )
        population, _ = prompted(run)
        for child in population.born(1):
            text = prompt(run, child.id)
            assert f"About {best.id}:\n\n> Approved. swing the leg" in text
            assert f"About {others[0]}:\n\n> it hops in place" in text
            assert "About the search:\n\n> no falls please" in text
        for child in population.born(2):
            text = prompt(run, child.id)
            elders = run_ancestors(population, child.id)
            assert ("> Approved. swing the leg" in text) == (best.id in elders)
            assert ("> it hops in place" in text) == (others[0] in elders)
            assert "no falls please" not in text
        assert any(best.id in run_ancestors(population, child.id) for child in population.born(2))
        assert any(best.id not in run_ancestors(population, child.id) for child in population.born(2))


def run_ancestors(population: Population, name: str) -> set[str]:
    parents = set(population[name].brief.parents)
    return parents.union(*(run_ancestors(population, parent) for parent in parents))


def test_edits_are_candidates_of_the_next_generation_beside_the_usual_ones(tmp_path: Path) -> None:
    with reviewed(tmp_path, generations=2) as run:
        edited = reward("edited", 9.9)
        broken = edited.replace("torso_x_velocity}", "undefined}")
        with pytest.raises(UsageError, match=r"g0c2, edit line \d+: .*undefined"):
            check_review(review(run, opinion(run, "g0c2", edit=broken)), run)
        post(run.folder, Reviewed(review=review(run, opinion(run, "g0c1", edit=edited.replace("\n", "\r\n")))))
        author = Author()
        population, _ = authored(run, author)
        assert [c.brief.operator for c in population.born(1)][3:] == ["edit"]
        child = population["g1c3"]
        assert (child.code, child.brief.parents) == (edited, ("g0c1",))
        assert child.fitness == pytest.approx(9.9, abs=0.5)
        assert "g1c3" not in author.asked
        assert len(author.asked) == 3


def test_an_edit_that_fails_in_the_smoke_box_is_a_failed_candidate_and_stops_nothing(tmp_path: Path) -> None:
    with reviewed(tmp_path, generations=2) as run:
        bad = "# scripted: verdict=code_error\n" + reward("edited")
        post(run.folder, Reviewed(review=review(run, opinion(run, "g0c1", edit=bad))))
        population, _ = authored(run)
        failed = population["g1c3"]
        assert failed.failure is not None
        assert [catch.gate for catch in failed.catches] == ["smoke"]
        assert failed.training is None


def test_whoever_is_rejected_leads_nothing_and_has_no_children_until_it_is_approved(tmp_path: Path) -> None:
    with reviewed(tmp_path, generations=4) as run:
        best = run.population().best
        assert best is not None
        post(run.folder, Reviewed(review=review(run, opinion(run, best.id, verdict="reject"))))

        def reconsider(brief: Brief) -> None:
            if brief.id == "g2c0":
                post(run.folder, Reviewed(review=review(run, opinion(run, best.id, verdict="approve"))))

        population, log = authored(run, Author(reconsider))
        assert f"review: 1 rejected ({best.id})" in log.said
        young = [*population.born(1), *population.born(2)]
        assert not any(best.id in child.brief.parents for child in young)
        assert population.best is best or best.id not in population.rejected
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert run.steering.verdicts == {best.id: "approve"}


def test_a_rejected_program_takes_its_duplicates_and_the_incumbency_with_it() -> None:
    twin = candidate(2, 8.0).model_copy(update={"duplicate_of": "g0c0"})
    all_three = Population(candidates=(candidate(0, 8.0), candidate(1, 3.0), twin), incumbent="g0c0")
    for named in ("g0c0", "g0c2"):
        left = all_three.with_(rejected=frozenset({named}))
        assert [c.id for c in left.ranked] == ["g0c1"]
        assert [c.id for c in left.born(0)] == ["g0c1"]
        assert left.best is not None
        assert left.best.id == "g0c1"
        assert left.extended([candidate(0, 1.0, generation=1)]).rejected == {named}
    nobody = all_three.with_(rejected=frozenset({"g0c0", "g0c1"}))
    assert nobody.best is None


def test_a_search_goes_on_after_everybody_was_rejected(tmp_path: Path) -> None:
    with reviewed(tmp_path, generations=2) as run:
        everyone = [opinion(run, c.id, verdict="reject") for c in run.population().candidates]
        post(run.folder, Reviewed(review=review(run, *everyone)))
        population, _ = authored(run)
        assert {c.brief.operator for c in population.born(1)} == {"sample"}
        assert population.best in population.born(1)


# ------------------------------------------------------------------------------------------------------- what it binds


def test_a_review_of_another_run_or_of_other_code_is_refused_and_says_which(tmp_path: Path) -> None:
    scripted_run(tmp_path / "other", generations=1).close()
    with reviewed(tmp_path / "mine") as run, Run.open(tmp_path / "other" / "run") as other:
        good = review(run, opinion(run, "g0c1", comment="x"))
        check_review(good, run)
        with pytest.raises(UsageError, match="of another run"):
            check_review(good, other)
        changed = good.opinions[0].model_copy(update={"code": code_hash("other")})
        for wrong, complaint in (
            (good.model_copy(update={"opinions": (changed,)}), r"g0c1: its code is not what was reviewed"),
            (good.model_copy(update={"population": "0" * 64}), "the first 1 generations are not those"),
            (good.model_copy(update={"opinions": good.opinions * 2}), "more than one"),
            (good.model_copy(update={"preferred": (("g0c0", "g0c1"),)}), "g0c0 is compared"),
            (good.model_copy(update={"preferred": (("g0c1", "g0c1"),)}), "cannot be better than itself"),
            (good.model_copy(update={"picks": (Picks(shown=("g0c1", "g0c1")),)}), "each shown once"),
            (review(run, good.opinions[0].model_copy(update={"candidate": "g9c9"})), "g9c9: the run has no such"),
        ):
            with pytest.raises(UsageError, match=complaint):
                check_review(wrong, run)
        post(run.folder, Reviewed(review=good.model_copy(update={"opinions": (changed,)})))
        log = Log()
        prompted(run, log)
        assert any("g0c1: its code is not what was reviewed" in line for line in log.said)
        assert run.taken() == ()
        assert list((run.folder / "inbox" / "refused").glob("*.json"))


def test_a_review_of_a_younger_population_is_good_for_the_older_run(tmp_path: Path) -> None:
    with reviewed(tmp_path, generations=2) as run:
        early = review(run, opinion(run, "g0c0", comment="x"))
        authored(run)
        check_review(early, run)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"run": "x"}, "run: String should match"),
        ({"opinions": [{"candidate": "../g0c0", "code": "0" * 64}]}, "opinions.0.candidate"),
        ({"opinions": [{"candidate": "g0c0\n", "code": "0" * 64}]}, "opinions.0.candidate"),
        ({"opinions": [{"candidate": "g0c0", "code": "0" * 64, "comment": "x" * 4001}]}, "opinions.0.comment"),
        ({"opinions": [{"candidate": "g0c0", "code": "0" * 64, "verdict": "delete"}]}, "opinions.0.verdict"),
        ({"preferred": [["g0c0"]]}, "preferred.0"),
        ({"generations": True}, "generations"),
        ({"script": "x"}, "script: is no field of a Review"),
    ],
)
def test_a_review_file_that_is_no_review_is_refused_by_file_and_field(
    tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    data = {"run": "0" * 32, "generations": 0, "population": "0" * 64, **change}
    path = tmp_path / "review.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError) as raised:
        read_review(path)
    assert "review.json" in str(raised.value)
    assert complaint in str(raised.value)


def test_a_resumed_run_heeds_its_review_even_if_it_had_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(BACKENDS, "embedded", "eureka_sandbox.backends.scripted:ScriptedSandbox")
    with reviewed(tmp_path, generations=1) as run:
        said = opinion(run, "g0c0", comment="higher", edit=reward("edited"))
        (tmp_path / "review.json").write_text(review(run, said).model_dump_json())
    assert main(["evolve", "--resume", "run", "--review", "gone.json"]) == 2
    tampered = json.loads((tmp_path / "review.json").read_text())
    tampered["opinions"][0]["code"] = "1" * 64
    (tmp_path / "tampered.json").write_text(json.dumps(tampered))
    assert main(["evolve", "--resume", "run", "--review", "review.json", "--review", "tampered.json"]) == 2
    assert "tampered.json: g0c0: its code is not" in capsys.readouterr().err
    assert letters(tmp_path / "run")[0] == [], "all reviews or none"
    assert main(["evolve", "--resume", "run", "--review", "review.json"]) == 0, capsys.readouterr().err
    told = capsys.readouterr().err
    assert "hopper_forward: 6 trainings, 12.3k environment steps" in told  # 3, the edit, 2 at the end
    with Run.open(tmp_path / "run", read_only=True) as run:
        assert run.population().generations == 2
        assert "> higher" in prompt(run, "g1c0")


# --------------------------------------------------------------------------------------------------------- preferences


def test_picks_of_best_and_worst_are_comparisons_with_all_that_were_shown() -> None:
    shown = ("g0c0", "g0c1", "g0c2", "g0c3")
    bound = {"run": "0" * 32, "generations": 1, "population": "0" * 64}
    picks = [{"shown": shown, "best": "g0c1", "worst": "g0c3"}]
    pairs = Review.model_validate({**bound, "preferred": (("g0c2", "g0c0"),), "picks": picks}).comparisons
    best = [("g0c1", "g0c0"), ("g0c1", "g0c2"), ("g0c1", "g0c3")]
    assert pairs == [("g0c2", "g0c0"), *best, ("g0c0", "g0c3"), ("g0c2", "g0c3")]
    found = strengths(tuple(pairs))
    assert sorted(found, key=lambda name: -found[name].value) == ["g0c1", "g0c2", "g0c0", "g0c3"]
    assert found["g0c1"].comparisons == 3
    assert found["g0c3"].high < found["g0c1"].high


def test_two_alternatives_have_the_strengths_of_the_equation_solved_by_hand() -> None:
    """With θ₁ = −θ₂ = x and prior spread s, the log posterior is flat where 3 (1 − σ(2x)) − σ(2x) = x / s²."""
    found = bradley_terry(np.array([[5.0, 3.0], [1.0, 7.0]]), spread=2.0)
    x = float(found.value[0])
    share = 1 / (1 + math.exp(-2 * x))
    assert found.value[1] == pytest.approx(-x)
    assert 3 * (1 - share) - share == pytest.approx(x / 4, abs=1e-9)
    weight = 4 * share * (1 - share)
    inverse = np.linalg.inv(np.array([[weight + 0.25, -weight], [-weight, weight + 0.25]]))
    assert found.high[0] - x == pytest.approx(NORMAL_95 * math.sqrt(inverse[0, 0]))


def test_without_judgements_everybody_is_alike_and_uncertain() -> None:
    found = bradley_terry(np.zeros((3, 3)), spread=2.0)
    assert found.value.tolist() == [0.0, 0.0, 0.0]
    assert found.high == pytest.approx([2 * NORMAL_95] * 3)
    assert bradley_terry(np.zeros((0, 0))).value.shape == (0,)


def test_who_always_wins_has_a_finite_strength_and_many_judgements_narrow_it() -> None:
    once, often = (bradley_terry(np.array([[0.0, n], [0.0, 0.0]])) for n in (1.0, 1e6))
    assert 0 < once.value[0] < often.value[0] < 10
    even = bradley_terry(np.array([[0.0, 50.0], [50.0, 0.0]]))
    assert even.high[0] - even.low[0] < once.high[0] - once.low[0]


def test_intervals_hold_what_they_promise_on_simulated_judges() -> None:
    """95 % of true strengths lie within, if they come from the prior; 200 worlds of 6 alternatives, 40 judgements."""
    rng, inside = np.random.default_rng(3), []
    for _ in range(200):
        true = rng.normal(0.0, 1.5, size=6)
        wins = np.zeros((6, 6))
        for _ in range(40):
            i, j = rng.choice(6, size=2, replace=False)
            better, worse = (i, j) if rng.random() < 1 / (1 + np.exp(true[j] - true[i])) else (j, i)
            wins[better, worse] += 1
        found = bradley_terry(wins)
        inside += ((found.low <= true) & (true <= found.high)).tolist()
    assert 0.93 < np.mean(inside) < 0.97, "1200 draws: within three standard errors of 95 %"


@pytest.mark.parametrize("wins", [[[0.0, 1.0]], [[0.0, -1.0], [0.0, 0.0]], [[0.0, math.inf], [0.0, 0.0]]])
def test_what_is_no_table_of_wins_is_refused(wins: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="wins must be a square matrix"):
        bradley_terry(np.array(wins))


def test_preference_settles_ties_only_unless_it_is_the_fitness() -> None:
    leader, near, far = candidate(0, 5.0), candidate(1, 4.9), candidate(2, 1.0)  # one standard error is 0.58
    liked = {"g0c1": 1.0, "g0c2": 3.0}
    population = Population(candidates=(leader, near, far), preference=liked)

    def order(**changes: Any) -> list[str]:
        return [c.id for c in population.with_(**changes).ranked]

    assert order() == ["g0c1", "g0c0", "g0c2"]
    assert order(by_preference=True) == ["g0c2", "g0c1", "g0c0"]
    stopped = far.model_copy(update={"stopped": True})
    assert order(by_preference=True, candidates=(leader, near, stopped)) == ["g0c1", "g0c0", "g0c2"]
    lower = Standing(id="g0c1", screening=4.9, later=(1.1,))  # as it came out when it was trained again
    assert order(standings={"g0c1": lower}) == ["g0c0", "g0c1", "g0c2"]
    contested = population.with_(incumbent="g0c0")
    assert contested.best is leader, "a contest settles more than a liking"
    assert contested.with_(by_preference=True).best is far


def test_whoever_failed_when_it_was_trained_again_ties_with_nobody_who_did_not() -> None:
    sound, failed = candidate(0, 5.0), candidate(1, 10.0)
    broken = Standing(id="g0c1", screening=10.0, later=(None,))
    population = Population(candidates=(sound, failed), preference={"g0c1": 3.0}, standings={"g0c1": broken})
    assert [c.id for c in population.ranked] == ["g0c0", "g0c1"]


def preference_task() -> Task:
    task = load_task("hopper_forward")
    text = task.files["task.yaml"].decode()
    assert text.count("\ntraining:") == 1
    files = {**task.files, "task.yaml": text.replace("\ntraining:", "\nfitness: preference\ntraining:").encode()}
    return task_from_files(task.name, task.folder, files, None)


def test_a_task_whose_fitness_is_preference_waits_for_reviews_and_follows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llm_cases

    from eureka_agent.search import people

    monkeypatch.setattr(people, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(llm_cases, "TASK", preference_task())

    class Judge(Log):
        def waiting(self, text: str) -> None:
            super().waiting(text)
            if text:
                names = [c.id for c in run.population().ranked]
                worst = names[-1]
                pairs = [(worst, name) for name in names[:-1]]
                opinions = [opinion(run, name) for name in names]
                liked.append(worst)
                post(run.folder, Reviewed(review=review(run, *opinions, preferred=pairs)))

    liked: list[str] = []
    with scripted_run(tmp_path, population=3, generations=2) as run:
        population, log = authored(run, log=Judge())
        assert "`eureka review" in log.waits[0]
        assert len(liked) == 2, "after each generation, the last included"
        assert population.best is not None
        assert population.best.id == liked[1], "and not who has the highest metric"
        assert liked[0] in population["g1c0"].brief.parents
        for c in population.candidates:
            assert c.training is not None
            assert run.score(f"film/{c.training.policy}") is not None, "what nobody saw, nobody can prefer"
        authored(run)
        assert len(liked) == 2, "a generation that was reviewed is not asked for again"


def test_nothing_that_goes_by_the_metric_is_mixed_with_preference() -> None:
    task = preference_task()
    suited = suited_to(task, Settings(), {})
    assert (suited.racing, suited.contest_seeds) == ("none", 1)
    assert suited_to(load_task("hopper_forward"), Settings(target=3.0), {}).racing == "halving"
    with pytest.raises(UsageError, match="--prescreen goes by the metric"):
        suited_to(task, Settings(prescreen=True), {})
    for name, value in (("strategy", "islands"), ("target", 3.0), ("racing", "halving"), ("tune", 2)):
        with pytest.raises(UsageError, match=f"--{name} {value} goes by the metric"):
            suited_to(task, Settings.model_validate({name: value}), {name: value})
    with pytest.raises(UsageError, match="--contest-seeds 2 goes by the metric"):
        suited_to(task, Settings(contest_seeds=2), {"contest_seeds": 2})


def test_the_published_strategy_follows_who_is_liked_where_that_is_the_fitness() -> None:
    population = Population(candidates=(candidate(0, 5.0), candidate(1, 1.0)), preference={"g0c1": 0.5})
    for by_preference, parent in ((False, "g0c0"), (True, "g0c1")):
        briefs = Eureka().select(population.with_(by_preference=by_preference), Settings(population=2))
        assert {brief.parents for brief in briefs} == {(parent,)}


def test_a_prompt_holds_the_latest_remarks_only(tmp_path: Path) -> None:
    with reviewed(tmp_path) as run:
        for number in range(MOST_TOLD + 5):
            post(run.folder, Reviewed(review=review(run, feedback=f"remark {number:02d}")))
        prompted(run)
        text = prompt(run, "g1c0")
        assert "remark 00" not in text
        assert "remark 04" not in text
        assert "remark 05" in text
        assert f"remark {MOST_TOLD + 4}" in text
        assert len(steering_of(run.taken()).feedback) == MOST_TOLD + 5
