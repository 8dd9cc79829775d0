"""The search without a language model: what it writes is correct, deterministic, new, and about the task."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offline_cases import PILOT, TASKS, assert_correct, brief

from eureka_agent.contract.reward_code import normalised_hash
from eureka_agent.population import Brief, Candidate, Population, Score, Training
from eureka_agent.proposers import make_proposer
from eureka_agent.proposers.grammar import Genome, Term, slots
from eureka_agent.proposers.naming import component_names
from eureka_agent.proposers.operators import Operators
from eureka_agent.proposers.writing import write_reward
from eureka_agent.standing import Standing
from eureka_evaluation.components import component_statistics
from eureka_sandbox.worker.reward import load_reward


@settings(max_examples=60, deadline=None)
@given(task=st.sampled_from(sorted(TASKS)), seed=st.integers(0, 2**32 - 1), prior=st.booleans())
def test_every_sampled_mutated_and_crossed_genome_is_a_correct_reward(task: str, seed: int, prior: bool) -> None:
    operators = Operators(TASKS[task], Random(seed), keyword_prior=prior)
    first, second = operators.sample(), operators.sample()
    child = operators.cross([first, second])
    for genome in (first, second, child):
        assert_correct(genome, TASKS[task], seed)
    for _ in range(4):
        child = operators.mutate(child, {})
        assert_correct(child, TASKS[task], seed)


@settings(max_examples=30, deadline=None)
@given(task=st.sampled_from(sorted(TASKS)), seed=st.integers(0, 2**32 - 1))
def test_two_digits_in_the_genome_are_the_two_digits_in_the_code(task: str, seed: int) -> None:
    genome = Operators(TASKS[task], Random(seed)).sample()
    code = write_reward(genome, TASKS[task])
    written = [abs(float(number)) for number in re.findall(r"-?\d+\.\d+", code.split("def compute_reward")[1])]
    for term in genome.terms:
        assert abs(term.weight) in written, code


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_trainer_loads_what_the_search_writes(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    variables = {v.name: v.shape for v in task.variables}
    state = {v.name: np.zeros((2, *v.shape), dtype=np.float32) for v in task.variables}
    for seed in range(5):
        genome = Operators(task, Random(seed)).sample()
        path = tmp_path / f"reward_{seed}.py"
        path.write_text(write_reward(genome, task))
        reward = load_reward(path, variables)
        total, components = reward(state)
        assert tuple(components) == component_names(genome, task.variables)
        np.testing.assert_allclose(total, sum(components.values()), rtol=1e-5)


def test_a_reward_is_written_as_a_person_would_write_it() -> None:
    task = TASKS["hopper_forward"]
    genome = Genome(
        terms=(
            Term(form="tanh", variable="torso_x_velocity", weight=2.5, scale=3.0),
            Term(form="near", variable="torso_pitch", weight=0.4, scale=0.15),
            Term(form="effort", variable="actions", weight=-0.002),
            Term(form="linear", variable="terminated", weight=-8.0),
        )
    )
    assert write_reward(genome, task) == (
        '"""Pays forward speed (levelling off near 3 m/s) and pitch near 0; charges effort and a fall."""\n'
        "\n"
        "from __future__ import annotations\n"
        "\n"
        "import torch\n"
        "\n"
        "\n"
        "def compute_reward(\n"
        "    torso_pitch: torch.Tensor,\n"
        "    torso_x_velocity: torch.Tensor,\n"
        "    actions: torch.Tensor,\n"
        "    terminated: torch.Tensor,\n"
        ") -> tuple[torch.Tensor, dict[str, torch.Tensor]]:\n"
        "    forward = 2.5 * torch.tanh(torso_x_velocity / 3.0)\n"
        "    upright = 0.4 * torch.exp(-((torso_pitch / 0.15) ** 2))\n"
        "    control = -0.002 * (actions**2).sum(dim=-1)\n"
        "    fall = -8.0 * terminated\n"
        "    total = forward + upright + control + fall\n"
        '    return total, {"forward": forward, "upright": upright, "control": control, "fall": fall}\n'
    )


# ----------------------------------------------------------------------------------------------------------- proposer


def candidate(slot: int, code: str, genome: dict[str, Any] | None, fitness: float) -> Candidate:
    training = Training(
        seed=0, timesteps=100, seconds=1.0, startup_seconds=1.0, peak_timesteps=100, peak_return=1.0, curves={},
        policy="", policy_meta="", versions={},
    )  # fmt: skip
    return Candidate(
        brief=Brief(id=f"g0c{slot}", generation=0, slot=slot, operator="sample", seed=slot),
        code=code,
        genome=genome,
        training=training,
        score=Score(seeds=(0,), fitness=(fitness,), success=(False,), lengths=(100,), seconds=1.0),
    )


@cache
def offline_population(task: str) -> Population:
    proposer = make_proposer("offline", TASKS[task])
    proposals = [proposer.propose(brief(seed=i), TASKS[task], Population()) for i in range(4)]
    return Population(candidates=tuple(candidate(i, p.code, p.genome, float(i)) for i, p in enumerate(proposals)))


@pytest.mark.parametrize("operator", ["sample", "mutate", "cross"])
def test_the_same_brief_gives_the_same_proposal_and_another_seed_another(operator: str) -> None:
    task, population = TASKS["hopper_forward"], offline_population("hopper_forward")
    parents = {"sample": (), "mutate": ("g0c3",), "cross": ("g0c3", "g0c1")}[operator]
    answers = [
        make_proposer("offline", task).propose(brief(operator, seed, parents), task, population) for seed in (5, 5, 6)
    ]
    assert answers[0] == answers[1] != answers[2]
    assert answers[0].failure is None
    assert answers[0].genome is not None


@pytest.mark.parametrize("program", ["", "5" * 64], ids=["no hash", "an earlier version's hash"])
@pytest.mark.parametrize("operator", ["sample", "mutate", "cross"])
def test_nothing_the_population_has_is_proposed_again(operator: str, program: str) -> None:
    task, population = TASKS["reacher_reach"], offline_population("reacher_reach")
    parents = {"sample": (), "mutate": ("g0c3",), "cross": ("g0c3", "g0c1")}[operator]
    proposer = make_proposer("offline", task)
    first = proposer.propose(brief(operator, 7, parents), task, population)
    known = candidate(9, first.code, None, 0.0).model_copy(update={"program": program})
    again = proposer.propose(brief(operator, 7, parents), task, population.extended([known]))
    assert normalised_hash(again.code) != normalised_hash(first.code)
    assert again.failure is None


@pytest.mark.parametrize("operator", ["mutate", "cross"])
def test_parents_that_a_language_model_wrote_lead_to_a_fresh_sample(operator: str) -> None:
    task = TASKS["hopper_forward"]
    codes = [(PILOT / "hopper_forward" / f"g0c{i}.py").read_text() for i in (0, 1)]
    foreign = Population(candidates=(candidate(0, codes[0], None, 1.0), candidate(1, codes[1], {"format": 9}, 2.0)))
    proposer = make_proposer("offline", task)
    answer = proposer.propose(brief(operator, 3, ("g0c0", "g0c1")), task, foreign)
    assert answer.code == proposer.propose(brief("sample", 3), task, Population()).code


def test_crossing_with_one_readable_parent_mutates_it() -> None:
    task, population = TASKS["hopper_forward"], offline_population("hopper_forward")
    mixed = population.extended([candidate(9, "x = 1", None, 9.0)])
    proposer = make_proposer("offline", task)
    crossed = proposer.propose(brief("cross", 3, ("g0c9", "g0c2")), task, mixed)
    assert crossed.code == proposer.propose(brief("mutate", 3, ("g0c2",)), task, population).code


@pytest.mark.parametrize("later", [-9.0, None])
@pytest.mark.parametrize("operator", ["mutate", "cross"])
def test_a_parent_that_came_out_worse_when_it_was_trained_again_is_no_longer_the_first(
    operator: str, later: float | None
) -> None:
    task, population = TASKS["hopper_forward"], offline_population("hopper_forward")
    refuted = population.with_(standings={"g0c3": Standing(id="g0c3", screening=3.0, later=(later,))})
    last = population["g0c3"]
    low = candidate(3, last.code, last.genome, -3.0)
    never_high = population.with_(candidates=(*population.candidates[:3], low))
    asked, proposer = brief(operator, 5, ("g0c3", "g0c1")), make_proposer("offline", task)
    answer = proposer.propose(asked, task, refuted)
    assert answer == proposer.propose(asked, task, never_high) != proposer.propose(asked, task, population)


def test_a_crossed_reward_has_only_its_parents_terms() -> None:
    task = TASKS["half_cheetah_backflip"]
    for seed in range(50):
        operators = Operators(task, Random(seed))
        parents = [operators.sample(), operators.sample()]
        inherited = {term.key for parent in parents for term in parent.terms}
        child = operators.cross(parents)
        assert {term.key for term in child.terms} <= inherited
        assert any(
            slot.rule.role == "goal" for slot in slots(task) if slot.key in {t.key for t in child.terms}
        ) or not any(slot.rule.role == "goal" for slot in slots(task) if slot.key in inherited)


def test_ending_the_episode_never_pays_best_in_a_sample() -> None:
    for seed in range(200):
        terms = Operators(TASKS["inverted_pendulum_balance"], Random(seed)).sample().terms
        assert any(term.weight > 0 for term in terms)


def test_a_mutation_keeps_a_goal() -> None:
    task = TASKS["hopper_forward"]
    goals = {slot.key for slot in slots(task) if slot.rule.role == "goal"}
    genome = SHAPED
    for seed in range(200):
        genome = Operators(task, Random(seed)).mutate(genome, {})
        assert goals & {term.key for term in genome.terms}


# -------------------------------------------------------------------------------------------- component statistics

SHAPED = Genome(
    terms=(
        Term(form="linear", variable="torso_x_velocity", weight=1.0),
        Term(form="near", variable="torso_pitch", weight=0.4, scale=0.15),
        Term(form="effort", variable="actions", weight=-0.001),
        Term(form="alive", variable="terminated", weight=1.0),
    )
)


Weights = dict[str, float]


def mutations(forward: float, upright: float, alive: float) -> list[Weights]:
    """Weights by form of 200 mutations of SHAPED, whose components had these sums per episode."""
    curves = {"reward/forward": [forward] * 4, "reward/upright": [upright] * 4, "reward/alive": [alive] * 4}
    curves["reward/control"] = [-0.01] * 4
    statistics = {c.name: c for c in component_statistics(curves)}
    children: list[Weights] = []
    for seed in range(200):
        child = Operators(TASKS["hopper_forward"], Random(seed)).mutate(SHAPED, statistics)
        children.append(
            {term.form: term.weight for term in child.terms if term.form in ("linear", "near", "alive", "effort")}
        )
    return children


def mean_weight(children: list[Weights], form: str) -> float:
    kept = [child[form] for child in children if form in child]
    return sum(kept) / len(kept)


def test_a_dead_component_is_dropped_or_boosted() -> None:
    dead, living = mutations(100.0, 0.01, 50.0), mutations(100.0, 40.0, 50.0)
    assert sum("near" in child for child in dead) < 0.7 * sum("near" in child for child in living)
    assert mean_weight(dead, "near") > 1.5 * mean_weight(living, "near")


def test_a_small_cost_of_actions_is_not_taken_for_dead() -> None:
    assert sum("effort" in child for child in mutations(100.0, 40.0, 50.0)) > 150


def test_a_dominant_bonus_is_damped_and_a_dominant_goal_is_left() -> None:
    calm, farming = mutations(100.0, 40.0, 50.0), mutations(5.0, 5.0, 900.0)
    assert mean_weight(farming, "alive") < 0.6 * mean_weight(calm, "alive")
    driven = mutations(900.0, 5.0, 50.0)
    assert mean_weight(driven, "linear") > 0.8 * mean_weight(calm, "linear")
