"""When a search is over, and that it says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eureka_agent.cli import main
from eureka_agent.contract.task import Task, load_task
from eureka_agent.errors import UsageError
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.racing import most_steps
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Score
from eureka_agent.runs.run import Run
from eureka_agent.search.stopping import StepsLeft, check_budget, reason_to_stop, stop_key, stopped
from eureka_agent.settings import Recipe, Settings
from eureka_agent.standing import Standing
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox

TASK = load_task("inverted_pendulum_balance")
WHOLE = 2048
"""Environment steps of the shortest training: a rollout."""
RECIPE = Recipe.of(TASK, Settings(timesteps=WHOLE))


def history(*best: float) -> Population:
    """Two candidates per generation, the better of the given fitness."""
    candidates = []
    for generation, fitness in enumerate(best):
        for slot in range(2):
            brief = Brief(id=f"g{generation}c{slot}", generation=generation, slot=slot, operator="sample", seed=1)
            score = Score(seeds=(1,), fitness=(fitness - slot,), success=(True,), lengths=(9,), seconds=1.0)
            candidates.append(Candidate(brief=brief, code="", score=score))
    return Population(candidates=tuple(candidates))


def settings(**changes: object) -> Settings:
    return Settings.model_validate({"population": 4, "generations": 9, **changes})


def test_it_ends_after_its_generations() -> None:
    assert reason_to_stop(history(1.0, 2.0), settings(generations=2), None) == "2 generations done"
    assert reason_to_stop(history(1.0, 2.0), settings(generations=3), None) is None


def test_it_ends_at_the_target_of_the_contested_mean_and_not_of_one_lucky_training() -> None:
    wanted, uncontested = settings(target=5.0), settings(target=5.0, contest_seeds=1)
    assert reason_to_stop(history(1.0, 4.9), uncontested, None) is None
    assert reason_to_stop(history(1.0, 6.0), uncontested, None, unit="m") == (
        "target reached: g1c0 with 6.00 m, wanted 5.00 m"
    )
    assert reason_to_stop(history(1.0, 6.0), wanted, None) is None, (
        "one training is no evidence where contests are held"
    )
    lucky = Standing(id="g1c0", screening=6.0, later=(3.0, 3.0))
    unlucky = Standing(id="g1c0", screening=4.0, later=(6.0, 6.5))
    leads: dict[str, Any] = {"incumbent": "g1c0"}
    assert reason_to_stop(history(1.0, 6.0).with_(standings={"g1c0": lucky}, **leads), wanted, None) is None
    assert reason_to_stop(history(1.0, 4.0).with_(standings={"g1c0": unlucky}, **leads), wanted, None) is not None
    assert reason_to_stop(Population(), wanted, None) is None


def test_it_ends_after_patience_without_a_better_candidate() -> None:
    assert reason_to_stop(history(3.0, 5.0, 2.0), settings(patience=2), None) is None
    found = reason_to_stop(history(3.0, 5.0, 2.0, 4.0), settings(patience=2), None)
    assert found == "no better candidate than g1c0 in 2 generations"


def test_no_generation_is_begun_that_might_not_fit_into_the_steps_that_are_left() -> None:
    def room(taken: int) -> StepsLeft:
        return StepsLeft(settings(steps=10 * WHOLE, contest_seeds=1), RECIPE, taken)

    assert StepsLeft(settings(), RECIPE, 400).candidates_at_most() is None
    assert room(0).candidates_at_most() == 4
    assert room(8 * WHOLE + 1).candidates_at_most() == 1
    assert room(4 * WHOLE).candidates_at_most() == 4
    assert room(4 * WHOLE).candidates_at_most(edits=3) == 6  # six trainings are left
    assert room(6 * WHOLE).candidates_at_most() == 4
    assert room(9 * WHOLE).candidates_at_most() == 1
    assert room(9 * WHOLE + 1).candidates_at_most() == 0


def test_a_search_ends_where_one_more_candidate_might_not_fit() -> None:
    population, budget = history(1.0, 2.0), settings(steps=10 * WHOLE)

    def reason(taken: int) -> str | None:
        return reason_to_stop(population, budget, StepsLeft(budget, RECIPE, taken))

    assert reason(9 * WHOLE) is None
    assert reason(9 * WHOLE + 1) == "18.4k of 20.5k environment steps taken, one more candidate could take 2,048"
    assert reason(50_000) == "50k of 20.5k environment steps taken"


def test_where_somebody_leads_the_first_round_of_a_contest_must_fit_as_well() -> None:
    def needed(size: int, **more: Any) -> int:
        return StepsLeft(settings(steps=1, **more.pop("changes", {})), RECIPE, 0, **more).needed(size) // WHOLE

    assert needed(4) == 4
    assert needed(4, incumbent=True) == 4 + 2 + 1
    assert needed(4, incumbent=True, proven=True) == 4 + 2
    assert needed(1, incumbent=True, proven=True) == 1 + 1
    assert needed(4, incumbent=True, changes={"contest_seeds": 1}) == 4


def test_of_a_race_only_those_that_finish_can_be_contested() -> None:
    long = Settings(timesteps=150 * WHOLE)
    recipe, whole = Recipe.of(TASK, long), most_steps(long, Recipe.of(TASK, long), 1)

    def needed(size: int) -> float:
        return StepsLeft(long, recipe, 0, incumbent=True, proven=True).needed(size) / whole

    assert needed(8) == pytest.approx(4 / 3 + 2 * 2 / 3 + 2 + 2)
    assert needed(2) == 2 + 2  # so few do not race
    assert needed(3) == needed(4) == needed(2)  # one finishes, but failures may leave two, who do not race
    assert needed(1) == 1 + 1


def test_generations_stay_whole_as_long_as_the_first_round_of_their_contest_fits() -> None:
    """A budget of sixteen trainings: eight, their contest, and what then fits; never several small generations."""
    budget = Settings(timesteps=150 * WHOLE, steps=16 * 150 * WHOLE)
    recipe = Recipe.of(TASK, budget)
    left, sizes = StepsLeft(budget, recipe, 0), []
    while size := left.candidates_at_most() or 0:
        sizes.append(size)
        contests = 4 if len(sizes) == 1 else 1  # of the first generation two rounds of two, then one newcomer at a time
        taken = left.taken + most_steps(budget, recipe, size) + contests * most_steps(budget, recipe, 1)
        left = StepsLeft(budget, recipe, taken, incumbent=True, proven=True)
    assert sizes == [8, 8]
    assert left.taken == pytest.approx(0.9 * 16 * 150 * WHOLE, rel=0.01)


def test_a_training_counts_in_whole_rollouts_and_a_race_at_its_longest() -> None:
    recipe = Recipe.of(TASK, Settings(timesteps=100_000))
    assert most_steps(Settings(racing="none"), recipe, 2) == 2 * 49 * WHOLE
    race = 4 * 17 * WHOLE + 2 * (33 - 17) * WHOLE + (49 - 33) * WHOLE  # rungs after 33.3k and 66.7k steps
    assert most_steps(Settings(), recipe, 4) == race


def test_a_budget_without_room_for_a_training_is_refused_with_what_it_takes() -> None:
    check_budget(TASK, settings(timesteps=1000, steps=WHOLE))
    with pytest.raises(UsageError, match=r"--steps 2047: one training of inverted_pendulum_balance takes 2,048"):
        check_budget(TASK, settings(timesteps=1000, steps=WHOLE - 1))
    with pytest.raises(UsageError, match="room for 1 training, and there are 2 rewards to begin with"):
        check_budget(TASK, settings(timesteps=1000, steps=WHOLE, seed_rewards=("a", "b")))


def test_the_keys_of_ends_are_those_that_runs_hold() -> None:
    assert stop_key(3, Settings(generations=3, patience=2)) == "stop/3/224733558124087"


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs = []

    def make(**changes: object) -> Run:
        small = {"population": 4, "generations": 9, "timesteps": WHOLE, "final_seeds": 1, "jobs": 2}
        chosen = {**small, "racing": "none", "contest_seeds": 1, **changes}
        runs.append(Run.create(tmp_path / f"run{len(runs)}", TASK, Settings.model_validate(chosen)))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


class Scripts:
    """The first generation is the best."""

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        return Proposal(code=f"# {brief.id}\n# scripted: fitness={9 - brief.generation}\n")


def search(run: Run) -> None:
    evolve(run, Scripts(), Incumbent(), Lab(ScriptedSandbox(), run))


def test_a_search_that_ends_early_is_finished_and_says_why(make_run: Callable[..., Run]) -> None:
    run = make_run(patience=2)
    search(run)
    end = run.end()
    assert run.generations == 3
    assert end is not None
    assert end.reason.startswith("no better candidate than g0c")
    assert (end.steps, run.searched_steps, run.trained_steps) == (12 * WHOLE, 12 * WHOLE, 14 * WHOLE)
    assert run.comparison() is not None


def test_other_bounds_let_it_search_on_and_the_old_ones_end_it_again(make_run: Callable[..., Run]) -> None:
    run = make_run(patience=1)
    search(run)
    assert run.generations == 2
    run.amend({"patience": 3})
    assert run.comparison() is None
    assert stopped(run, run.population()) is None
    search(run)
    assert run.generations == 4
    assert run.comparison() is not None


def test_the_last_generation_is_as_large_as_the_steps_allow(make_run: Callable[..., Run]) -> None:
    run = make_run(steps=10 * WHOLE)
    search(run)
    assert [len(run.population().born(g)) for g in range(run.generations)] == [4, 4, 2]
    assert run.searched_steps == 10 * WHOLE
    end = run.end()
    assert end is not None
    assert end.reason == "20.5k of 20.5k environment steps taken"


def test_a_generation_that_was_begun_is_finished_though_its_trainings_use_the_steps_up(
    make_run: Callable[..., Run],
) -> None:
    class Killed(ScriptedSandbox):
        def run(self, *args: object) -> object:  # type: ignore[override]
            if len(self.started) == 14:  # seven candidates are measured
                raise KeyboardInterrupt
            return super().run(*args)  # type: ignore[arg-type]

    run = make_run(steps=8 * WHOLE)
    with pytest.raises(KeyboardInterrupt):
        evolve(run, Scripts(), Incumbent(), Lab(Killed(), run))
    assert run.searched_steps >= 6 * WHOLE
    search(run)
    assert len(run.population().candidates) == 8


def test_the_command_says_why_it_ended_and_what_would_let_it_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eureka_agent.cli.sandboxes.chosen_sandbox", lambda name="auto": ScriptedSandbox())
    folder = str(tmp_path / "run")
    words = ["-p", "2", "-g", "5", "--strategy", "zero_shot", "--target", "-5", "--final-seeds", "1"]
    assert main(["evolve", TASK.name, *words, "--timesteps", "1000", "-o", folder, "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)["ended"]
    assert ended.startswith("target reached: g0c")
    assert main(["evolve", "--resume", folder]) == 0
    said = capsys.readouterr()
    assert f"has ended already ({ended})" in " ".join(said.err.split())
    assert f"ended: {ended}" in said.out
    assert main(["evolve", "--resume", folder, "--strategy", "eureka"]) == 2
    assert main(["evolve", TASK.name, "--steps", "1000", "-o", str(tmp_path / "other")]) == 2
    assert "--steps 1000: one training of inverted_pendulum_balance takes 30,720" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert main(["evolve", TASK.name, "--strategy", "luck"]) == 2
    assert "--strategy luck: expected incumbent, eureka, islands" in capsys.readouterr().err
