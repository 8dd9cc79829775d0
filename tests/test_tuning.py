"""The incumbent with other numbers: which are found and replaced, who asks for them, and what the estimator knows."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest

from eureka_agent.cli import main
from eureka_agent.contract.reward_code import check_reward_code, normalised_hash
from eureka_agent.contract.task import Task, builtin_tasks, load_task
from eureka_agent.errors import UsageError
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Candidate, Population, Proposal, Score, Training
from eureka_agent.proposers.operators import Operators
from eureka_agent.proposers.writing import write_reward
from eureka_agent.runs.run import Run
from eureka_agent.search.tuning import FACTOR, check_tuning, constants, tuned, with_numbers, with_tuning
from eureka_agent.settings import Settings
from eureka_agent.standing import Standing
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.scripted import ScriptedSandbox

TASK = load_task("hopper_forward")
CODE = '''"""Pays speed — über alles."""
import torch

SPEED_WEIGHT = 2.5  # per m/s
LEGS = 4
EPSILON: float = 1e-6


def compute_reward(torso_x_velocity, torso_z, actions):
    scale = 1.9
    "é"; forward = SPEED_WEIGHT * torch.tanh(torso_x_velocity / scale)
    tall = -0.5 * (torso_z - 1.25) ** 2.0 / 0.04
    control = 2 * -1e-3 * (actions**2).sum(dim=-1)
    parts = {"forward": forward, "tall": tall.clamp(min=-3.0)}
    parts["control"] = control * 0.1
    return forward + tall + control * 0.1, parts
'''
NUMBERS = [
    ("SPEED_WEIGHT", 2.5),
    ("EPSILON", 1e-6),
    ("scale", 1.9),
    ("tall", 0.5),
    ("tall", 0.04),
    ("control", 1e-3),
    ("control", 0.1),
    ("returned", 0.1),
]


def candidate(name: str, code: str, fitness: float | None, operator: str = "sample", *parents: str) -> Candidate:
    generation, slot = (int(part) for part in name[1:].split("c"))
    brief = Brief(id=name, generation=generation, slot=slot, operator=operator, parents=parents, seed=0)
    score = training = None
    if fitness is not None:
        score = Score(seeds=(1,), fitness=(fitness,), success=(True,), lengths=(1,), seconds=0.1)
        empty = {"seconds": 1.0, "startup_seconds": 0.0, "peak_timesteps": 1, "peak_return": 0.0, "curves": {}}
        training = Training(seed=0, timesteps=100, policy="", policy_meta="", versions={}, **empty)
    return Candidate(brief=brief, code=code, score=score, training=training)


def test_weights_and_scales_are_found_and_counts_offsets_and_exponents_are_not() -> None:
    assert [(c.name, c.value) for c in constants(CODE)] == NUMBERS
    assert constants("def broken(:") == ()
    assert len(constants("x = 1.5\n" * 50)) == 20


def test_numbers_are_replaced_in_place_with_their_signs_and_all_else_stays() -> None:
    same = with_numbers(CODE, [value for _, value in NUMBERS])
    assert normalised_hash(same) == normalised_hash(CODE)
    changed = with_numbers(CODE, [3.14159, 2e-6, 12.0, 0.25, 0.5, 0.0123456, 100.0, 1234567.0])
    assert [c.value for c in constants(changed)] == [3.14, 2e-6, 12.0, 0.25, 0.5, 0.0123, 100.0, 1230000.0]
    assert "SPEED_WEIGHT = 3.14  # per m/s\nLEGS = 4\n" in changed
    assert "tall = -0.25 * (torso_z - 1.25) ** 2.0 / 0.5\n" in changed
    assert '"""Pays speed — über alles."""' in changed
    assert check_reward_code(changed, TASK.variables) is None


def test_every_reward_of_the_grammar_and_of_the_tasks_has_numbers() -> None:
    for name in builtin_tasks():
        task = load_task(name)
        for code in (task.human_reward, write_reward(Operators(task, Random(1), keyword_prior=True).sample(), task)):
            found = constants(code)
            assert found or code == task.human_reward, name
            assert normalised_hash(with_numbers(code, [c.value for c in found])) == normalised_hash(code)


def briefs(population: Population, count: int = 2, generation: int = 1) -> list[Brief]:
    settings = Settings(tune=count, seed=3)
    return [b for b in with_tuning([], population, settings) if b.operator == "tune"]


def test_there_is_nothing_to_tune_before_there_is_an_incumbent_with_numbers() -> None:
    first = [Brief(id="g1c0", generation=1, slot=0, operator="sample", seed=1)]
    plain = candidate("g0c0", "def compute_reward(torso_x):\n    return torso_x, {}\n", 3.0)
    settings = Settings(tune=2)
    for population in (Population(), Population(candidates=(plain,))):
        assert with_tuning(first, population, settings) == first
    better = Population(candidates=(plain, candidate("g0c1", CODE, 4.0)))
    asked = with_tuning(first, better, settings)
    assert [(b.id, b.operator, b.parents) for b in asked[1:]] == [
        ("g1c1", "tune", ("g0c1",)),
        ("g1c2", "tune", ("g0c1",)),
    ]
    assert with_tuning(first, better, Settings()) == first
    far = better["g0c1"].model_copy(update={"brief": better["g0c1"].brief.model_copy(update={"island": 3})})
    elsewhere = with_tuning([], Population(candidates=(plain, far)), settings)
    assert [b.island for b in elsewhere] == [3, 3], "children live where their parent does"


def test_siblings_differ_repeat_exactly_and_stay_near_the_first_of_their_structure() -> None:
    population = Population(candidates=(candidate("g0c0", CODE, 4.0),))
    asked = briefs(population, 4)
    proposals = [tuned(brief, asked, population, TASK) for brief in asked]
    assert [tuned(brief, asked, population, TASK) for brief in reversed(asked)] == proposals[::-1]
    assert len({proposal.code for proposal in proposals}) == 4
    for proposal in proposals:
        for (_, root), constant in zip(NUMBERS, constants(proposal.code), strict=True):
            assert root / FACTOR * 0.99 <= constant.value <= root * FACTOR * 1.01


def test_the_estimator_goes_where_the_structure_scored_well() -> None:
    """Fitness falls with the distance of one weight from twice its first value; eight others do not matter."""
    root = candidate("g0c0", CODE, 0.0)
    best, members, reached = root, [root], []
    for generation in range(1, 9):
        population = Population(candidates=tuple(members), incumbent=best.id)
        asked = [
            Brief(id=f"g{generation}c{i}", generation=generation, slot=i, operator="tune", parents=(best.id,), seed=i)
            for i in range(4)
        ]
        for brief in asked:
            code = tuned(brief.model_copy(update={"seed": generation}), asked, population, TASK).code
            fitness = -abs(constants(code)[0].value - 5.0)
            members.append(candidate(brief.id, code, fitness, "tune", best.id))
        reached.append(max(c.fitness or -9.0 for c in members if c.brief.generation == generation))
        best = max(members[1:], key=lambda c: c.fitness or -9.0)
    assert max(reached) > -0.2, reached
    assert sum(reached[-4:]) > sum(reached[:4])


def test_a_stopped_a_failed_and_a_repeated_candidate_are_told_as_what_they_are() -> None:
    root = candidate("g0c0", CODE, 4.0)
    half = with_numbers(CODE, [value / 2 for _, value in NUMBERS])
    stopped = candidate("g1c0", half, 9.0, "tune", "g0c0").model_copy(update={"stopped": True})
    failed = candidate("g1c1", half, None, "tune", "g0c0")
    twin = candidate("g1c2", CODE, 4.0, "tune", "g0c0").model_copy(update={"duplicate_of": "g0c0"})
    population = Population(candidates=(root, stopped, failed, twin))
    without = Population(candidates=(root, stopped))
    asked = [Brief(id="g2c0", generation=2, slot=0, operator="tune", parents=("g0c0",), seed=1)]
    assert tuned(asked[0], asked, population, TASK) == tuned(asked[0], asked, without, TASK)
    assert tuned(asked[0], asked, without, TASK) != tuned(asked[0], asked, Population(candidates=(root,)), TASK)


def test_a_head_start_counts_less_than_a_training_from_scratch_once_the_incumbent_has_one() -> None:
    root = candidate("g0c0", CODE, 4.0)
    values = [value for _, value in NUMBERS]
    near, far = (with_numbers(CODE, [value * factor for value in values]) for factor in (1.1, 2.5))
    contested, ahead = candidate("g1c0", near, 5.0, "tune", "g0c0"), candidate("g1c1", far, 50.0, "tune", "g0c0")
    assert ahead.training
    warm = ahead.model_copy(update={"training": ahead.training.model_copy(update={"warm_start": "g0c0"})})
    settled = {"g1c0": Standing(id="g1c0", screening=5.0, later=(5.0,), warm=True)}
    asked = [Brief(id="g2c0", generation=2, slot=0, operator="tune", parents=("g1c0",), seed=1)]

    def answer(child: Candidate, standings: dict[str, Standing]) -> str:
        population = Population(candidates=(root, contested, child), incumbent="g1c0", standings=standings)
        return tuned(asked[0], asked, population, TASK).code

    assert answer(warm, settled) != answer(ahead, settled)
    assert answer(warm, settled) == answer(ahead.model_copy(update={"stopped": True}), settled)
    led = {"g1c0": Standing(id="g1c0", screening=5.0, warm=True)}
    assert answer(warm, led) == answer(ahead, led), "all of them had a head start"


def test_a_reward_of_the_offline_search_keeps_its_genome_and_can_be_mutated_further() -> None:
    kept = 0
    for seed in range(8):
        genome = Operators(TASK, Random(seed), keyword_prior=True).sample()
        root = candidate("g0c0", write_reward(genome, TASK), 4.0)
        root = root.model_copy(update={"genome": genome.model_dump(mode="json")})
        population = Population(candidates=(root,))
        (brief,) = briefs(population, 1)
        proposal = tuned(brief, [brief], population, TASK)
        assert proposal.code != root.code
        assert proposal.genome is None or proposal.genome != root.genome
        kept += proposal.genome is not None
    assert kept >= 6


class OneGoodReward:
    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        return Proposal(code=CODE + f"# {brief.id}\n# scripted: fitness={5 - brief.generation - brief.slot}\n")


def test_a_search_tunes_its_incumbent_and_counts_that_like_everything_else(tmp_path: Path) -> None:
    settings = Settings(population=2, generations=3, tune=2, contest_seeds=1, racing="none", final_seeds=1)
    with Run.create(tmp_path / "run", TASK, settings) as run:
        sandbox = ScriptedSandbox()
        lab = Lab(sandbox, run)
        lab.floor()
        evolve(run, OneGoodReward(), Incumbent(), lab)
        population = run.population()
    made = {c.id: (c.brief.operator, c.brief.parents) for c in population.candidates}
    assert [name for name, (operator, _) in made.items() if operator == "tune"] == ["g1c2", "g1c3", "g2c2", "g2c3"]
    children = [c for c in population.candidates if c.brief.operator == "tune"]
    assert all(c.training and c.score and not c.duplicate_of for c in children)
    assert len({c.code for c in children}) == 4


def test_without_optuna_the_flag_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.chdir(tmp_path)
    check_tuning(Settings())
    with pytest.raises(UsageError, match="pip install"):
        check_tuning(Settings(tune=1))
    assert main(["evolve", "hopper_forward", "--tune", "2", "--model", "offline"]) == 2
    assert "pip install eureka-agent[tune]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
