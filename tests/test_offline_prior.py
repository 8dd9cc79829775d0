"""The keyword prior of the offline search, and what the grammar makes of a task."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from offline_cases import TASKS, assert_correct, brief, make_task

from eureka_agent.errors import UsageError
from eureka_agent.population import Population
from eureka_agent.proposers import default_model, make_proposer
from eureka_agent.proposers.grammar import can_end_early, kind_of, slots
from eureka_agent.proposers.operators import Operators
from eureka_agent.proposers.words import asked_direction, read_wish, sign_convention

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


def test_an_orientation_enters_as_its_cosine_and_never_as_a_quaternion() -> None:
    used = {(slot.variable.name, slot.rule.form) for slot in slots(TASKS["any_ant"])}
    assert ("torso_up", "linear") in used
    assert "torso_quaternion" not in {name for name, _ in used}


def test_a_task_that_offers_one_variable_can_be_searched() -> None:
    task = make_task("hopper", extra="state_variables: [torso_x_velocity]\n")
    for seed in range(20):
        assert_correct(Operators(task, Random(seed)).mutate(Operators(task, Random(seed)).sample(), {}), task, seed)


def test_the_default_model_needs_no_key_and_says_why() -> None:
    name, reason = default_model()
    assert name == "offline"
    assert "\n" not in reason
    assert "without a language model" in reason


@pytest.mark.parametrize("model", ["gpt-9", "", "offline:fancy", "gpt-x"])
def test_an_unknown_model_is_refused_with_those_there_are(model: str) -> None:
    with pytest.raises(UsageError, match="offline"):
        make_proposer(model, TASKS["hopper_forward"])
