"""When a search is over, and that it says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eureka_agent.cli import main
from eureka_agent.contract.task import Task, load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Score
from eureka_agent.runs.run import Run
from eureka_agent.search.stopping import affordable, reason_to_stop, stopped
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox

TASK = load_task("inverted_pendulum_balance")


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
    assert reason_to_stop(history(1.0, 2.0), settings(generations=2), 10) == "2 generations done"
    assert reason_to_stop(history(1.0, 2.0), settings(generations=3), 10) is None


def test_it_ends_at_the_target_of_the_contested_mean_and_not_of_one_lucky_training() -> None:
    wanted = settings(target=5.0)
    assert reason_to_stop(history(1.0, 4.9), wanted, 10) is None
    assert reason_to_stop(history(1.0, 6.0), wanted, 10, unit="m") == (
        "target reached: g1c0 with 6.00 m, wanted 5.00 m"
    )
    assert reason_to_stop(history(1.0, 6.0), wanted, 10, contested=4.0) is None
    assert reason_to_stop(history(1.0, 4.0), wanted, 10, contested=5.5) is not None
    assert reason_to_stop(Population(), wanted, 0) is None


def test_it_ends_after_patience_without_a_better_candidate() -> None:
    assert reason_to_stop(history(3.0, 5.0, 2.0), settings(patience=2), 10) is None
    found = reason_to_stop(history(3.0, 5.0, 2.0, 4.0), settings(patience=2), 10)
    assert found == "no better candidate than g1c0 in 2 generations"


def test_it_ends_nearest_to_its_steps() -> None:
    population = history(1.0, 2.0)  # four candidates
    budget = settings(steps=1000)
    assert affordable(population, settings(), 400) is None
    assert affordable(population, budget, 400) == 6
    assert affordable(population, budget, 800) == 1
    assert reason_to_stop(population, budget, 800) is None
    assert affordable(population, budget, 900) == 0  # another would end it further beyond than it is short
    assert reason_to_stop(population, budget, 900) == "900 of 1k environment steps taken"
    assert reason_to_stop(population, budget, 5000) == "5k of 1k environment steps taken"


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs = []

    def make(**changes: object) -> Run:
        small = {"population": 4, "generations": 9, "timesteps": 1000, "final_seeds": 1, "jobs": 2}
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
    assert (end.steps, run.searched_steps, run.trained_steps) == (12_000, 12_000, 14_000)
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
    run = make_run(steps=10_000)
    search(run)
    assert [len(run.population().born(g)) for g in range(run.generations)] == [4, 4, 2]
    assert run.searched_steps == 10_000
    end = run.end()
    assert end is not None
    assert end.reason == "10k of 10k environment steps taken"


def test_a_generation_that_was_begun_is_finished_though_its_trainings_use_the_steps_up(
    make_run: Callable[..., Run],
) -> None:
    class Killed(ScriptedSandbox):
        def run(self, *args: object) -> object:  # type: ignore[override]
            if len(self.started) == 14:  # seven candidates are measured
                raise KeyboardInterrupt
            return super().run(*args)  # type: ignore[arg-type]

    run = make_run(steps=7_600)
    with pytest.raises(KeyboardInterrupt):
        evolve(run, Scripts(), Incumbent(), Lab(Killed(), run))
    assert run.searched_steps >= 6_000
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
    assert main(["evolve", TASK.name, "--strategy", "luck"]) == 2
    assert "--strategy luck: expected incumbent, eureka, islands" in capsys.readouterr().err
