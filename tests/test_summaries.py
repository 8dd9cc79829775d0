"""What a run comes to in a few values is the same as all of its candidates say, though few of them are loaded."""

from __future__ import annotations

import threading
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from llm_cases import Log
from test_llm import TapeLLM
from test_run import SCORE, TRAINING
from test_vision import vision_task

from eureka_agent.contract.task import load_task
from eureka_agent.llm.proposer import proposer_of
from eureka_agent.population import Brief, Candidate, Rung, Vision, rung_key
from eureka_agent.proposers import Sitting
from eureka_agent.review.record import Opinion, Review
from eureka_agent.runs.inbox import Reviewed, Taken
from eureka_agent.runs.journal import MEASURED
from eureka_agent.runs.run import Run
from eureka_agent.runs.summaries import summary
from eureka_agent.search.contest import Incumbency, incumbency_key, training_key
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_sandbox.protocol import Failure, Verdict

HASH = "0" * 64
FITNESS = {"g0c0": 5.0, "g0c1": 4.0, "g0c2": 9.0, "g1c0": 6.0, "g1c1": 7.0}
"""g0c2 was stopped by racing, g0c3 failed, g1c1 is as g0c2, and the second generation is under way."""


def candidates() -> list[Candidate]:
    def born(name: str, **what: object) -> Candidate:
        brief = Brief(id=name, generation=int(name[1]), slot=int(name[3]), operator="sample", seed=0)
        vision = Vision(progress=90.0 if name == "g0c0" else 10.0, seen="It hops.")
        return Candidate.model_validate({"brief": brief, "code": f"# {name}\n", "vision": vision, **what})

    stopped = {"stopped": True, "rungs": (Rung(timesteps=100, fitness=9.0, own_return=None),) * 2}
    return [
        born("g0c0"),
        born("g0c1"),
        born("g0c2", **stopped),
        born("g0c3", failure=Failure(verdict=Verdict.TIME, message="slow"), vision=None),
        born("g1c0"),
        born("g1c1", duplicate_of="g0c2", **stopped),
    ]


def filled(folder: Path, *, vision: bool = False, contested: bool = False, rejected: str = "") -> Run:
    """A run with one finished generation of four, and two candidates more."""
    task = vision_task() if vision else load_task("hopper_forward")
    run = Run.create(folder, task, Settings(population=4, generations=2))
    for c in candidates():
        if c.failure is None and c.duplicate_of is None:
            fitness = FITNESS[c.id]
            run.save_training(c.measured, TRAINING)
            run.save_score(c.measured, SCORE.model_copy(update={"fitness": (fitness, fitness + 0.1)}))
        run.save(c)
    if contested:
        standings = (
            Standing(id="g0c1", screening=4.05, later=(4.5,)),
            Standing(id="g0c0", screening=5.05, later=(1.0, None)),
        )
        held = Incumbency(id="g0c1", before=None, standings=standings, reason="kept what it promised")
        run.decide(incumbency_key(0), Incumbency, lambda: held)
        again = SCORE.model_copy(update={"fitness": (4.5, 4.5), "success": (True, True)})
        run.save_score(training_key(("g0c1", 1)), again)
    run.extend(run.population(), [c for c in run.population(partial=True).candidates if c.brief.generation == 0])
    if rejected:
        said = Opinion(candidate=rejected, code=HASH, verdict="reject")
        letter = Reviewed(review=Review(run="0" * 32, generations=1, population=HASH, opinions=(said,)))
        run.decide("g1/inbox/0", Taken, lambda: Taken(generation=1, files=(), messages=(letter,)))
    return run


@pytest.mark.parametrize(
    ("what", "best", "loaded"),
    [
        ({}, "g1c0", 6),
        ({"contested": True}, "g0c1", 1),
        ({"contested": True, "rejected": "g0c1"}, "g1c0", 6),
        ({"contested": True, "rejected": "g0c0"}, "g0c1", 6),
        ({"vision": True}, "g0c0", 6),
        ({"vision": True, "contested": True}, "g1c0", 6),  # g0c0 failed in its contest
        ({"vision": True, "rejected": "g0c0"}, "g1c0", 6),
    ],
)
def test_a_summary_says_what_the_whole_population_says(
    tmp_path: Path, what: dict[str, Any], best: str, loaded: int
) -> None:
    with filled(tmp_path / "run", **what) as run:
        population, few, found = run.population(partial=True), run.leaders(), summary(run)
        assert len(few.candidates) == loaded
        assert population.best is not None
        assert few.best is not None
        assert found.best == population.best.id == few.best.id == best
        assert found.code == population.best.code
        assert found.fitness == population.mean(population.best)
        assert population.best.score is not None
        first = population.best.score.success_rate
        assert found.success == (fmean((first, 1.0)) if what.get("contested") and best == "g0c1" else first)
        assert found.candidates == len(population.candidates) == 6
        assert found.failed == 1
        assert found.history == ((100, 5.05), (200, 5.05), (300, 5.05), (400, 6.05))


def test_prompts_tell_success_over_the_same_trainings_as_the_list_of_runs(tmp_path: Path) -> None:
    with filled(tmp_path / "run", contested=True) as run:
        llm, population = TapeLLM("no code", "no code"), run.population()
        sitting = Sitting(run, Log(), threading.Event())
        asked = Brief(id="g1c2", generation=1, slot=2, operator="mutate", parents=("g0c1",), seed=0)
        proposer_of(llm, None, sitting).propose(asked, run.task, population)
        success = summary(run).success
    assert success is not None
    assert population["g0c1"].score is not None
    assert success != population["g0c1"].score.success_rate, "or it would not show which of them is told"
    told = f"## g0c1: fitness 4.28 (mean of 2 trainings: 4.05, 4.5), success {success:.0%}"
    assert told in llm.requests[0].messages[1].content


def test_a_run_in_which_nothing_trained_has_no_best_and_no_history(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", load_task("hopper_forward"), Settings()) as run:
        run.decide(incumbency_key(-1), Incumbency, lambda: Incumbency(id=None, before=None, reason="nobody"))
        found = summary(run)
        assert (found.best, found.fitness, found.candidates, found.history) == (None, None, 0, ())


def test_queries_and_candidates_agree_on_where_a_measurement_is(tmp_path: Path) -> None:
    with filled(tmp_path / "run") as run:
        keys = dict(run._open.rows(f"SELECT c.id, {MEASURED} FROM candidates c"))
        assert keys == {c.id: c.measured for c in run.population(partial=True).candidates}
        assert keys["g0c2"] == keys["g1c1"] == rung_key("g0c2", 1)
