"""The search without a language model: what it writes is correct, deterministic, new, and about the task."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eureka_agent.errors import UsageError
from eureka_agent.population import Brief, Candidate, Population, Score, Training
from eureka_agent.proposers import default_model, make_proposer
from eureka_agent.proposers.grammar import Genome, Term, can_end_early, kind_of, slots
from eureka_agent.proposers.naming import component_names
from eureka_agent.proposers.operators import MAX_TERMS, Operators
from eureka_agent.proposers.words import asked_direction, read_wish, sign_convention
from eureka_agent.proposers.writing import write_reward
from eureka_agent.reward_code import check_reward_code, normalised_hash
from eureka_agent.reward_code import component_names as names_in_code
from eureka_agent.task import Task, builtin_tasks, load_task, task_from_files
from eureka_evaluation.components import component_statistics
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import COMPONENT_NAME

PILOT = Path(__file__).parent / "data" / "pilot_rewards"
TASK_YAML = """
description: {description}
environment: {{mujoco: {body}, episode_steps: 100}}
metric: {{name: score, unit: "1", meaning: Some score., success: Any.}}
training: {{timesteps: 1000}}
"""
TASK_PY = b"def fitness(episode): return 0.0\ndef success(episode): return False\n"


def make_task(body: str, description: str = "Do something useful with it.", extra: str = "", code: bytes = b"") -> Task:
    text = TASK_YAML.format(body=body, description=description) + extra
    human = (PILOT / "generation_1" / "hopper_forward" / "c0.py").read_bytes()
    files = {"task.yaml": text.encode(), "task.py": TASK_PY + code, "reward_human.py": human}
    return task_from_files("test", Path("test"), files, None)


TASKS = {name: load_task(name) for name in builtin_tasks()} | {f"any_{body}": make_task(body) for body in BODIES}


def run_reward(code: str, task: Task, num_envs: int, seed: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Execute a reward on random states; returns total, components and the state as it is afterwards."""
    generator = torch.Generator().manual_seed(seed)
    state = {v.name: 3.0 * torch.randn((num_envs, *v.shape), generator=generator) for v in task.variables}
    for name in state.keys() & {"terminated", "foot_contacts"}:
        state[name] = (state[name] > 0).float()
    for name in state.keys() & {"target_distance"}:
        state[name] = state[name].abs()
    space: dict[str, Any] = {}
    exec(compile(code, "reward.py", "exec"), space)
    function = space["compute_reward"]
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    total, components = function(**{name: state[name].clone() for name in arguments})
    return total, components, state


def assert_correct(genome: Genome, task: Task, seed: int) -> None:
    code = write_reward(genome, task)
    assert check_reward_code(code, task.variables) is None, code
    assert all(len(line) <= 120 for line in code.splitlines()), code
    names = component_names(genome, task.variables)
    assert names == names_in_code(code)
    assert len(set(names)) == len(genome.terms) <= MAX_TERMS
    assert all(re.fullmatch(COMPONENT_NAME, name) for name in names)
    assert not set(names) & {v.name for v in task.variables}, "a component would overwrite an argument"
    assert Genome.model_validate_json(genome.model_dump_json()) == genome
    for num_envs in (1, 4):
        total, components, _ = run_reward(code, task, num_envs, seed)
        assert total.shape == (num_envs,)
        assert total.dtype == torch.float32
        assert torch.isfinite(total).all()
        assert all(value.shape == (num_envs,) for value in components.values())
        torch.testing.assert_close(total, torch.stack(list(components.values())).sum(dim=0))


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


def brief(operator: str = "sample", seed: int = 0, parents: tuple[str, ...] = (), slot: int = 0) -> Brief:
    return Brief(id=f"g1c{slot}", generation=1, slot=slot, operator=operator, seed=seed, parents=parents)


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


@pytest.mark.parametrize("operator", ["sample", "mutate", "cross"])
def test_nothing_the_population_has_is_proposed_again(operator: str) -> None:
    task, population = TASKS["reacher_reach"], offline_population("reacher_reach")
    parents = {"sample": (), "mutate": ("g0c3",), "cross": ("g0c3", "g0c1")}[operator]
    proposer = make_proposer("offline", task)
    first = proposer.propose(brief(operator, 7, parents), task, population)
    again = proposer.propose(
        brief(operator, 7, parents), task, population.extended([candidate(9, first.code, None, 0.0)])
    )
    assert normalised_hash(again.code) != normalised_hash(first.code)
    assert again.failure is None


@pytest.mark.parametrize("operator", ["mutate", "cross"])
def test_parents_that_a_language_model_wrote_lead_to_a_fresh_sample(operator: str) -> None:
    task = TASKS["hopper_forward"]
    codes = [(PILOT / "generation_1" / "hopper_forward" / f"c{i}.py").read_text() for i in (0, 1)]
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


# -------------------------------------------------------------------------------------------------------------- prior

WANTED = {
    "hopper_forward": ("torso_x_velocity", 1),
    "half_cheetah_forward": ("torso_x_velocity", 1),
    "half_cheetah_backward": ("torso_x_velocity", -1),
    "half_cheetah_backflip": ("torso_pitch_velocity", -1),
    "swimmer_forward": ("torso_x_velocity", 1),
    "reacher_reach": ("target_distance", -1),
    "inverted_pendulum_balance": ("pole_angle", 0),
}


def pays_for(genome: dict[str, Any], variable: str, sign: int) -> bool:
    """Whether a term of the genome is better the more the variable goes `sign` (0: the closer it is to 0)."""
    for term in genome["terms"]:
        if term["variable"] != variable:
            continue
        if term["form"] in ("near", "inverse") and sign <= 0 and term["weight"] > 0:
            return True
        if term["form"] in ("cosine", "absolute") and sign == 0:
            return True
        if term["form"] in ("linear", "clipped", "tanh") and term["weight"] * term["direction"] * sign > 0:
            return True
    return False


@pytest.mark.parametrize("name", sorted(WANTED))
def test_most_samples_pay_for_what_the_sentence_asks(name: str) -> None:
    task, (variable, sign) = TASKS[name], WANTED[name]
    shares = {}
    for model in ("offline", "offline:uniform"):
        proposer = make_proposer(model, task)
        genomes = [proposer.propose(brief(seed=i), task, Population()).genome or {} for i in range(64)]
        shares[model] = sum(pays_for(genome, variable, sign) for genome in genomes) / 64
    assert shares["offline"] >= 0.85
    assert shares["offline:uniform"] <= 0.7, "without the prior the words must not count"


def test_every_shipped_task_says_which_way_it_means() -> None:
    assert set(WANTED) <= set(TASKS)


@pytest.mark.parametrize(
    ("body", "description", "variable", "direction"),
    [
        ("half_cheetah", "Run forward quickly.", "torso_x_velocity", 1),
        ("half_cheetah", "Run as fast as you can.", "torso_x_velocity", 1),
        ("half_cheetah", "Run in reverse.", "torso_x_velocity", -1),
        ("half_cheetah", "Do a front flip.", "torso_pitch_velocity", 1),
        ("half_cheetah", "Keep doing backflips.", "torso_pitch_velocity", -1),
        ("hopper", "Turn a somersault backwards.", "torso_pitch_velocity", -1),
        ("hopper", "Jump high into the air.", "torso_z_velocity", 1),
        ("ant", "Walk to the left.", "torso_y_velocity", 1),
        ("swimmer", "Spin clockwise.", "heading_velocity", -1),
        ("hopper", "Do as you like today.", "torso_x_velocity", 0),
        ("hopper", "Go forward, then backward.", "torso_x_velocity", 0),
    ],
)
def test_direction_words_are_matched_with_sign_conventions(
    body: str, description: str, variable: str, direction: int
) -> None:
    variables = make_task(body).variables
    spec = next(v for v in variables if v.name == variable)
    assert asked_direction(sign_convention(spec, variables), read_wish(description)) == direction


# ------------------------------------------------------------------------------------------------------------- tasks


def test_survival_terms_appear_only_where_an_episode_can_end_early() -> None:
    assert can_end_early(TASKS["hopper_forward"])
    assert not can_end_early(TASKS["half_cheetah_forward"])
    assert can_end_early(make_task("half_cheetah", code=b"def terminated(state): return state['torso_z'] < -0.4\n"))
    forms = {slot.rule.form for slot in slots(TASKS["half_cheetah_forward"])}
    assert "alive" not in forms


def test_a_derived_variable_is_used_by_its_unit() -> None:
    extra = """
derived:
  - {name: gap_to_wall, shape: [], unit: m, frame: world, meaning: Distance to the wall.}
  - {name: feet_speed, shape: [2], unit: m/s, frame: world, meaning: Speed of each foot.}
  - {name: on_mark, shape: [], unit: "1", frame: "-", meaning: 1 on the mark.}
  - {name: heat, shape: [], unit: J, frame: "-", meaning: Heat so far.}
"""
    task = make_task("half_cheetah", extra=extra)
    kinds = {v.name: kind_of(v, task) for v in task.variables[-4:]}
    assert kinds == {"gap_to_wall": "distance", "feet_speed": "velocity", "on_mark": "flag", "heat": None}
    used = {slot.variable.name for slot in slots(task)}
    assert {"gap_to_wall", "feet_speed", "on_mark"} <= used
    assert "heat" not in used
    for seed in range(30):
        assert_correct(Operators(task, Random(seed), keyword_prior=False).sample(), task, seed)


def test_a_task_that_offers_one_variable_can_be_searched() -> None:
    task = make_task("hopper", extra="state_variables: [torso_x_velocity]\n")
    for seed in range(20):
        assert_correct(Operators(task, Random(seed)).mutate(Operators(task, Random(seed)).sample(), {}), task, seed)


def test_the_default_model_needs_no_key_and_says_why() -> None:
    name, reason = default_model()
    assert name == "offline"
    assert "\n" not in reason
    assert "without a language model" in reason


@pytest.mark.parametrize("model", ["gpt-9", "", "offline:fancy", "openai/gpt"])
def test_an_unknown_model_is_refused_with_those_there_are(model: str) -> None:
    with pytest.raises(UsageError, match="offline"):
        make_proposer(model, TASKS["hopper_forward"])
