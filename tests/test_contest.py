"""Contests: the incumbent is replaced on several trainings, never on one lucky one, and for few of them."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean

import pytest

from eureka_agent.contract.task import Task, load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Score
from eureka_agent.report.cards import cards
from eureka_agent.report.facts import gather
from eureka_agent.review.record import Opinion, Review, code_hash, population_hash, run_id
from eureka_agent.runs.inbox import Reviewed, post
from eureka_agent.runs.run import Run
from eureka_agent.runs.summaries import counted_scores, success_rate
from eureka_agent.runs.verify_records import Mismatch, Records
from eureka_agent.search import contesting
from eureka_agent.search.contest import (
    Incumbency,
    Spread,
    contenders,
    decision,
    entrants,
    settled,
    still_in,
    sure_of,
    wanted,
)
from eureka_agent.search.contesting import contest
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_agent.strategies.incumbent import Incumbent
from eureka_agent.terminal.board import board_of
from eureka_agent.terminal.watcher import Silent
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Failed, Failure, Job, Outcome, Progress, TrainSpec, Verdict

TASK = load_task("hopper_forward")
KNOWN = Spread(squares=9.0, freedom=9)
"""A training deviates by 1."""


def standing(name: str, screening: float, *later: float | None) -> Standing:
    return Standing(id=name, screening=screening, later=later)


INCUMBENT = standing("old", 10.0, 9.0, 8.0)


def test_the_spread_is_pooled_over_rewards_of_different_means() -> None:
    spread = Spread().including([standing("a", 11.0, 9.0), standing("b", 101.0, 99.0, None)])
    assert (spread.squares, spread.freedom) == (4.0, 2)
    assert spread.deviation == pytest.approx(2**0.5)
    assert Spread().including([standing("a", 5.0)]).deviation == 0.0


def test_the_difference_has_students_t_around_it() -> None:
    """By hand: means 12 and 9, standard error √(1/3 + 1/3), t(0.6; 9) = 0.2610, t(0.8; 9) = 0.8834."""
    low, high = sure_of(standing("new", 13.0, 12.0, 11.0), INCUMBENT, KNOWN)
    assert low == pytest.approx(3.0 - 0.2610 * (2 / 3) ** 0.5, abs=1e-4)
    assert high == pytest.approx(3.0 + 0.8834 * (2 / 3) ** 0.5, abs=1e-4)
    assert sure_of(standing("new", 13.0), standing("old", 10.0), Spread()) == (3.0, 3.0)


def test_a_lucky_screening_that_fresh_seeds_do_not_bear_out_replaces_nobody() -> None:
    settled = decision([standing("lucky", 14.0, 7.0, 5.5)], INCUMBENT, KNOWN, 3, "m", 2)
    assert settled.id == settled.before == "old"
    assert settled.reason == (
        "old stays, nobody was better with 60 % confidence: lucky 8.83 m over 3 trainings, 14.0 m in the one that "
        "selected it; old 9.00 m over 3 trainings, 10.0 m in the one that selected it"
    )
    assert settled.optimism == 10.0 - 8.5


def test_one_that_keeps_what_it_promised_replaces_the_incumbent_and_the_best_of_two_does() -> None:
    new, newer = standing("new", 12.0, 11.5, 11.0), standing("newer", 12.5, 12.0, 12.0)
    settled = decision([newer, new], INCUMBENT, KNOWN, 3, "m", 2)
    assert (settled.id, settled.before) == ("newer", "old")
    assert settled.reason.startswith("newer replaces old, better with 60 % confidence: newer 12.2 m over 3 trainings")
    assert settled.leader == newer
    assert [s.id for s in settled.standings] == ["newer", "old", "new"]
    assert settled.spread == KNOWN.including([INCUMBENT, new])


def test_a_little_higher_within_the_noise_is_no_evidence() -> None:
    settled = decision([standing("new", 9.3, 9.1, 9.0)], INCUMBENT, KNOWN, 3, "m", 2)
    assert settled.id == "old"


def test_a_contender_with_a_failed_training_is_dropped_at_once() -> None:
    broken = standing("new", 99.0, None)
    assert still_in([broken], INCUMBENT, KNOWN, 2) == []
    assert wanted([broken], INCUMBENT, KNOWN, 3) == []
    settled = decision([broken], INCUMBENT, KNOWN, 3, "m", 2)
    assert settled.id == "old"
    assert "another one failed" in settled.reason


def test_a_clearly_worse_contender_is_dropped_and_a_close_one_goes_on() -> None:
    worse, close = standing("worse", 9.9, 3.0), standing("close", 9.9, 9.0)
    assert wanted([worse, close], INCUMBENT, KNOWN, 3) == [("close", 2)]
    assert wanted([worse], INCUMBENT, KNOWN, 3) == []


def test_one_that_no_steps_were_left_to_contest_replaces_nobody() -> None:
    assert decision([standing("lucky", 99.0)], INCUMBENT, KNOWN, 1, "m", 2).id == "old"
    assert decision([standing("lucky", 99.0, 99.0)], INCUMBENT, KNOWN, 2, "m", 2).id == "lucky"


def test_seeds_are_wanted_in_turn_and_the_incumbents_only_once() -> None:
    new, old = standing("new", 11.0), standing("old", 10.0)
    assert wanted([new], old, Spread(), 3) == [("new", 1), ("old", 1), ("new", 2), ("old", 2)]
    assert wanted([new], INCUMBENT, Spread(), 3) == [("new", 1), ("new", 2)]
    assert wanted([new], INCUMBENT, Spread(), 2) == [("new", 1)]
    assert wanted([], INCUMBENT, Spread(), 3) == []
    assert wanted([new], None, Spread(), 3) == []  # alone in the first generation
    assert wanted([new, old], None, Spread(), 2) == [("new", 1), ("old", 1)]


def test_what_idle_boxes_trained_beyond_a_drop_changes_nothing() -> None:
    needed = decision([standing("worse", 9.9, 3.0)], standing("old", 10.0, 9.0), KNOWN, 3, "m")
    idle = decision([standing("worse", 9.9, 3.0, 50.0)], standing("old", 10.0, 9.0, -7.0), KNOWN, 3, "m")
    assert idle == needed
    known = decision([standing("worse", 9.9, 3.0)], INCUMBENT, KNOWN, 3, "m", 2)
    assert known.leader == INCUMBENT  # what an earlier contest measured is kept


def test_without_an_incumbent_the_highest_mean_leads() -> None:
    lucky, steady = standing("lucky", 15.0, 5.0, 6.0), standing("steady", 12.0, 11.0, 11.0)
    assert decision([lucky, steady], None, Spread(), 3, "m").id == "steady"
    assert decision([lucky], None, Spread(), 3, "m").id == "lucky"
    nobody = decision([], None, Spread(), 3, "m")
    assert (nobody.id, nobody.reason) == (None, "nothing has trained to its end")


def test_only_close_finishers_are_contested_and_two_at_most() -> None:
    population = [
        _candidate("far", 5.0),
        _candidate("close", 8.6),
        _candidate("above", 9.5),
        _candidate("high", 14.0),
        _candidate("halted", 20.0, stopped=True),
        _candidate("copy", 20.0, duplicate_of="high"),
        _candidate("failed", 20.0, failure=Failure(verdict=Verdict.TIME, message="")),
    ]
    assert [s.id for s in contenders(population, INCUMBENT, KNOWN)] == ["high", "above"]
    assert [s.id for s in contenders(population[:2], INCUMBENT, KNOWN)] == ["close"]  # 9.0 − 0.5 × 1
    assert [s.id for s in contenders(population, None, Spread())] == ["high", "above"]
    for alone in (standing("lucky", 99.0), standing("lucky", 99.0, None)):
        assert len(contenders(population[:2], alone, KNOWN)) == 2
    alone = standing("lucky", 99.0)
    assert [s.id for s in contenders(population[:2], alone, KNOWN)] == ["close", "far"], (
        "it owes its place to one training"
    )


def _candidate(name: str, fitness: float, **changes: object) -> Candidate:
    score = Score(seeds=(0,), fitness=(fitness,), success=(True,), lengths=(1,), seconds=0.0)
    brief = Brief(id=name, generation=0, slot=0, operator="sample", seed=0)
    return Candidate(brief=brief, code="", score=score).model_copy(update=changes)


# ---------------------------------------------------------------------------------------------------------- in a search


class Noisy(ScriptedSandbox):
    """Trainings whose fitness depends on what the reward's text says and on the kind of seed: lucky when selected."""

    def __init__(self, run: Run, lose: Callable[[Job], bool] = lambda job: False) -> None:
        super().__init__(training_spread=0.0)
        self.later = {run.settings.derived_seed("contest", k) for k in range(1, 10)}
        self.later |= {run.settings.derived_seed("final", k) for k in range(10)}
        self.lose = lose

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: threading.Event) -> Outcome:
        if isinstance(job.spec, TrainSpec) and self.lose(job):
            with self._lock:
                self.started.append(job)
            return Failed(Failure(verdict=Verdict.RUNTIME_ERROR, message="scripted", file="reward.py", line=1), 0.0)
        if isinstance(job.spec, TrainSpec) and job.spec.seed in self.later:
            code = job.files["reward.py"].replace(b"fitness=", b"once=").replace(b"kept=", b"fitness=")
            job = Job(job.spec, {**job.files, "reward.py": code}, job.limits, origin=job.origin)
        return super().run(job, on_progress, stop)


class Proposals:
    """Fitness when selected and on later seeds, by candidate."""

    def __init__(self, promised: dict[str, tuple[float, float]]) -> None:
        self.promised = promised

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        once, kept = self.promised.get(brief.id, (1.0, 1.0))
        return Proposal(code=f"# {brief.id}\n# scripted: fitness={once} kept={kept}\n")


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs, names = [], itertools.count()

    def make(**settings: object) -> Run:
        small = {"population": 4, "generations": 2, "timesteps": 1000, "final_seeds": 2, "jobs": 2}
        runs.append(Run.create(tmp_path / f"run{next(names)}", TASK, Settings.model_validate(small | settings)))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


PROMISED = {"g0c0": (9.0, 2.0), "g0c1": (8.0, 7.0), "g1c0": (12.0, 3.0), "g1c1": (11.0, 10.5)}
"""The best score of the first generation is luck, and so is that of the second."""


def search(run: Run, sandbox: ScriptedSandbox | None = None, watcher: Silent | None = None) -> None:
    lab = Lab(sandbox or Noisy(run), run, watcher=watcher)
    lab.floor()
    evolve(run, Proposals(PROMISED), Incumbent(), lab)


def mismatches(run: Run) -> list[Mismatch]:
    """But those of films: scripted policies of one fitness are the same file, whichever reward they were trained on."""
    return [wrong for wrong in Records(run).mismatches if not wrong.where.startswith("film/")]


def incumbents(run: Run) -> list[Incumbency | None]:
    return [run.decided(f"g{i}/incumbent", Incumbency) for i in range(2)]


def test_a_search_is_led_by_those_who_keep_what_they_promise(make_run: Callable[..., Run]) -> None:
    run = make_run()
    search(run)
    first, second = incumbents(run)
    assert first is not None
    assert second is not None
    assert (first.id, first.before, second.id, second.before) == ("g0c1", None, "g1c1", "g0c1")
    assert second.optimism == pytest.approx(0.5)
    assert next(c.brief.parents[0] for c in run.population().candidates if c.brief.operator == "mutate") == "g0c1"
    population = run.population()
    assert population.incumbent == "g1c1"
    assert population.best is not None
    assert population.best.id == "g1c1"
    assert population.ranked[0].id == "g1c1"  # not g1c0, whose screening promised more
    comparison = run.comparison()
    assert comparison is not None
    assert comparison.candidate == "g1c1"
    assert comparison.optimism is not None
    assert comparison.optimism.value == pytest.approx(0.5)
    leading = board_of(run).best
    assert leading is not None
    assert leading[0] == "g1c1"
    assert leading[1] == pytest.approx((11.0 + 10.5 + 10.5) / 3)
    contested = {standing.id for held in (first, second) for standing in held.standings}
    gone = {standing.id for standing in first.standings} - {standing.id for standing in second.standings}
    assert gone, "the second contest says nothing of somebody in the first"
    assert run.standings().keys() == contested, "prompts tell of everyone's later trainings"
    assert all(run.standings()[s.id] == s for s in second.standings)


def test_a_lucky_reward_that_finished_its_generation_alone_is_contested_by_the_next(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(timesteps=90_000, contest_seeds=3)
    lab = Lab(Noisy(run), run)
    lab.floor()
    promised = {"g0c0": (17.6, 1.0), "g1c0": (9.0, 9.0)}
    evolve(run, Proposals(promised), Incumbent(), lab)
    first, second = incumbents(run)
    assert first is not None
    assert second is not None
    assert sum(not c.stopped for c in run.population().born(0)) == 1, "of four that race, one finishes"
    assert first.reason == "g0c0 leads with 17.6 m in one training"
    assert (second.before, second.id) == ("g0c0", "g1c0")
    assert {s.id: s.later for s in second.standings} == {"g0c0": (1.0, 1.0), "g1c0": (9.0, 9.0)}
    assert mismatches(run) == []


def test_a_run_of_the_version_before_whose_lucky_leader_nobody_challenged_still_verifies(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contesting, "entrants", partial(entrants, rule=1))
    monkeypatch.setattr(contesting, "settled", lambda *given: settled(*given).model_copy(update={"rule": 1}))
    run = make_run(timesteps=90_000, contest_seeds=3)
    lab = Lab(Noisy(run), run)
    lab.floor()
    evolve(run, Proposals({"g0c0": (17.6, 1.0), "g1c0": (9.0, 9.0)}), Incumbent(), lab)
    held = incumbents(run)[1]
    assert held is not None
    assert (held.id, held.rule, held.reason) == ("g0c0", 1, "g0c0 stays: nobody came close to 17.6 m")
    assert mismatches(run) == []


def test_the_report_tells_success_over_the_same_trainings_as_fitness(make_run: Callable[..., Run]) -> None:
    run = make_run()
    search(run)
    (lucky,) = (card for card in cards(gather(run), {}) if card.id == "g0c0")  # 9 m once, 2 m twice; above 5 m succeeds
    assert lucky.mean == pytest.approx((9.0 + 2.0 + 2.0) / 3)
    assert lucky.success == "33 %"
    numbers = dict(lucky.numbers)
    assert numbers["all trainings"].startswith("4.33")
    assert numbers["success"].startswith("33 %, ")
    assert numbers["success"].endswith(" of 3 trainings")
    assert numbers["first training"].endswith("success 100 %")


def test_scores_that_count_are_those_that_the_fitness_is_the_mean_of(make_run: Callable[..., Run]) -> None:
    run = make_run()
    search(run)
    population = run.population()
    counted = {c.id: counted_scores(run, population, c) for c in population.candidates}
    assert [score.mean for score in counted["g0c0"]] == pytest.approx([9.0, 2.0, 2.0])
    assert all(fmean(s.mean for s in counted[c.id]) == pytest.approx(population.mean(c)) for c in population.candidates)
    assert success_rate(counted["g0c0"]) == pytest.approx(1 / 3)


def test_one_training_each_is_the_old_way(make_run: Callable[..., Run]) -> None:
    run = make_run(contest_seeds=1)
    search(run)
    assert incumbents(run) == [None, None]
    assert run.population().incumbent is None
    best = run.population().best
    assert best is not None
    assert best.id == "g1c0"


def test_both_sides_train_on_the_same_seeds_which_no_other_training_has(make_run: Callable[..., Run]) -> None:
    run, sandbox = make_run(), None
    sandbox = Noisy(run)
    search(run, sandbox)
    seeds: dict[str, list[int]] = {}
    for job in sandbox.started:
        if isinstance(job.spec, TrainSpec) and "/seed/" in job.origin:
            place, _, number = job.origin.partition("/")[2].split("/")
            seeds.setdefault(number, []).append(job.spec.seed)
            assert place in PROMISED
    assert {number: len(set(found)) for number, found in seeds.items()} == {"1": 1, "2": 1}
    assert len(seeds["1"]) == 4  # two of the first generation, two of the second; the incumbent's are not repeated
    others = {j.spec.seed for j in sandbox.started if isinstance(j.spec, TrainSpec) and "/seed/" not in j.origin}
    assert not others & {found[0] for found in seeds.values()}


def test_a_contest_that_was_interrupted_ends_the_same_and_repeats_nothing(make_run: Callable[..., Run]) -> None:
    whole = make_run(jobs=1)
    reference = Noisy(whole)
    search(whole, reference)
    for after in (9, 14, 19, 23):
        run = make_run(jobs=1)
        first, second = Noisy(run), Noisy(run)

        def interrupt(job: Job, first: Noisy = first, after: int = after) -> bool:
            if len(first.started) >= after:
                raise KeyboardInterrupt
            return False

        first.lose = interrupt
        with pytest.raises(KeyboardInterrupt):
            search(run, first)
        search(run, second)
        assert incumbents(run) == incumbents(whole)
        assert len(first.started) + len(second.started) == len(reference.started)


@pytest.mark.parametrize("trainings", range(4, 13))
def test_a_budget_of_steps_is_never_overspent_and_less_than_a_contested_candidate_of_it_is_left(
    make_run: Callable[..., Run], trainings: int
) -> None:
    run = make_run(timesteps=2048, generations=9, steps=trainings * 2048 + 2047)
    search(run)
    assert run.searched_steps <= trainings * 2048
    assert run.searched_steps > (trainings - 3) * 2048


def test_a_contest_without_steps_for_its_next_round_decides_on_what_there_is(make_run: Callable[..., Run]) -> None:
    run, watcher = make_run(timesteps=2048, generations=9, steps=7 * 2048), Hearing()
    search(run, watcher=watcher)
    (first, second) = incumbents(run)
    assert first is not None
    assert (first.seeds, [len(s.later) for s in first.standings]) == (2, [1, 1])  # of the three that were left
    assert (first.id, second) == ("g0c1", None)
    assert any("no room for more trainings of those who may lead" in text for text in watcher.said)
    assert mismatches(run) == []


def test_a_contest_that_is_cut_short_by_steps_resumes_to_the_same_end(make_run: Callable[..., Run]) -> None:
    whole = make_run(timesteps=2048, jobs=1, steps=13 * 2048)
    search(whole)
    for after in (9, 11, 13, 15, 17, 19):
        run = make_run(timesteps=2048, jobs=1, steps=13 * 2048)
        first = Noisy(run)

        def interrupt(job: Job, first: Noisy = first, after: int = after) -> bool:
            if len(first.started) >= after:
                raise KeyboardInterrupt
            return False

        first.lose = interrupt
        with pytest.raises(KeyboardInterrupt):
            search(run, first)
        search(run)
        assert incumbents(run) == incumbents(whole)
        assert run.searched_steps == whole.searched_steps


def test_a_contender_whose_later_training_fails_does_not_lead(make_run: Callable[..., Run]) -> None:
    run = make_run()
    search(run, Noisy(run, lambda job: job.origin.endswith("g1c1/seed/1")))
    _, second = incumbents(run)
    assert second is not None
    assert second.id == "g0c1"
    broken = next(s for s in second.standings if s.id == "g1c1")
    assert broken.later[0] is None


class Hearing(Silent):
    """Remembers what a person was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)

    def leads(self, name: str, fitness: float) -> None:
        self.said.append(f"{name} leads with {fitness:.3g}")


def test_people_and_reports_hear_what_was_settled(make_run: Callable[..., Run]) -> None:
    watcher = Hearing()
    search(make_run(), watcher=watcher)
    assert "g0c1 leads with 7.33" in watcher.said
    assert any(text.startswith("g1c1 replaces g0c1, better with 60 % confidence") for text in watcher.said)


def test_what_a_contest_says_of_its_trainings_is_verified(make_run: Callable[..., Run]) -> None:
    run = make_run()
    search(run)
    assert mismatches(run) == []
    change = "UPDATE decisions SET value = replace(value, '10.5', '11.5') WHERE key = 'g1/incumbent'"
    run._open.write([(change, ())], "settings")
    assert [str(wrong) for wrong in mismatches(run)] == [
        f"g1/incumbent: its copy of g1c1/seed/{i}'s mean: 11.5 is stored, 10.5 was found" for i in (1, 2)
    ]


def test_a_contest_that_was_decided_otherwise_than_its_trainings_say_is_found(make_run: Callable[..., Run]) -> None:
    run = make_run()
    search(run)
    for path, wrong, told in (
        ("$.id", "g1c0", "g1/incumbent: who leads: g1c0 is stored, g1c1 was found"),
        ("$.before", "g0c3", "g1/incumbent: who led before: g0c3 is stored, g0c1 was found"),
        ("$.spread.squares", 1e6, "g1/incumbent: spread of trainings: squares=1000000.0"),
        ("$.standings[1].later", [], "g1/incumbent: contest trainings that counted: g1c1 2, g0c1 0, g1c0"),
        ("$.optimism", -3.0, "g1/incumbent: optimism: -3.0 is stored, 0.5 was found"),
    ):
        (true,) = run._open.rows("SELECT value FROM decisions WHERE key = 'g1/incumbent'")[0]
        edit = f"json_set(value, '{path}', json(?))"
        change = f"UPDATE decisions SET value = {edit} WHERE key = 'g1/incumbent'"
        run._open.write([(change, (json.dumps(wrong),))], "settings")
        found = [str(mismatch) for mismatch in mismatches(run)]
        assert [line for line in found if line.startswith(told)], (told, found)
        run._open.write([("UPDATE decisions SET value = ? WHERE key = 'g1/incumbent'", (true,))], "settings")
    assert mismatches(run) == []


def test_who_is_contested_after_a_person_rejected_the_incumbent_is_found_again(make_run: Callable[..., Run]) -> None:
    run = make_run()
    lab = Lab(Noisy(run), run)
    lab.floor()
    evolve(run, Proposals(PROMISED), Incumbent(), lab)
    run.amend({"generations": 3})
    rejected = Opinion(candidate="g1c1", code=code_hash(run.candidate("g1c1").code), verdict="reject")
    population = run.population()
    seen = population_hash(population.candidates, 2)
    mine = run_id(run.created, run.task, run.settings.seed)
    post(run.folder, Reviewed(review=Review(run=mine, generations=2, population=seen, opinions=(rejected,))))
    evolve(run, Proposals(PROMISED), Incumbent(), Lab(Noisy(run), run))
    third = run.decided("g2/incumbent", Incumbency)
    assert third is not None
    assert third.before == "g0c1"  # not g1c0, which promised more and kept less
    assert mismatches(run) == []
    run._open.write([("UPDATE decisions SET value = '{}' WHERE key = 'g2/inbox/0'", ())], "settings")
    assert [wrong.what for wrong in mismatches(run)] == ["what people said"]


def test_peoples_preferences_leave_no_room_for_contests(make_run: Callable[..., Run]) -> None:
    run = make_run()
    lab = Lab(Noisy(run), run)
    assert contest(lab, Population(by_preference=True), []) is None
    assert run.decided("g0/incumbent", Incumbency) is None


def test_an_incumbent_that_a_person_rejected_is_not_the_one_to_beat(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(generations=1)
    search(run)
    population = run.population().with_(rejected=frozenset({"g0c1"}))
    assert population.best is not None
    newcomer = _candidate("g1c3", 1.5)
    newcomer = newcomer.model_copy(update={"brief": newcomer.brief.model_copy(update={"generation": 1})})
    settled = contesting._contested(Lab(Noisy(run), run), population, [newcomer])
    assert settled.before == "g0c0"
    monkeypatch.setattr(Run, "population", lambda *_, **__: population)
    assert board_of(run).best == ("g0c0", population.mean(population["g0c0"])), "not with the figure of g0c1"
