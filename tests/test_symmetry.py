"""Limbs that are images of each other, on strides of known amplitude and phase; the pairs that bodies declare."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from eureka_agent.contract.task import Task, load_task
from eureka_agent.critique.analysis import _declared
from eureka_evaluation.analysis import Limbs, Variable, analyse, subject_of
from eureka_evaluation.episode import Episode
from eureka_evaluation.finding import Finding
from eureka_evaluation.symmetry import lag
from eureka_sandbox.bodies import BODIES

STRIDE = 40.0
STEPS = 600
TIME = np.arange(STEPS + 1)
LEGS = Limbs(
    ("the right leg", "the left leg"),
    joints=(("joint_angles[0]", "joint_angles[2]", 1), ("joint_angles[1]", "joint_angles[3]", 1)),
    feet=("foot_contacts[0]", "foot_contacts[1]"),
)
VARIABLES = (Variable("joint_angles", "rad", "angle", "joint"), Variable("foot_contacts", "1", "contact", "-"))


def leg(size: float, late: float, noise: float = 0.0) -> NDArray[np.float64]:
    """Hip and knee, `(2, T)`: no plain sines, the knee bends twice as fast as it stretches."""
    phase = 2 * np.pi * (TIME / STRIDE - late)
    still = np.random.default_rng(3).standard_normal((2, len(TIME)))
    return size * np.stack([np.sin(phase), 0.5 * np.cos(phase + 0.5 * np.sin(phase))]) + noise * still


def foot(late: float, duty: float = 0.4) -> NDArray[np.float64]:
    return ((TIME / STRIDE - late) % 1.0 < duty).astype(float)


def found_in(angles: NDArray[np.float64], feet: NDArray[np.float64], limbs: Limbs = LEGS) -> dict[str, Finding]:
    empty = np.zeros((STEPS + 1, 1))
    state = {"joint_angles": angles.T.astype(np.float32), "foot_contacts": feet.T.astype(np.float32)}
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (STEPS, 2)).astype(np.float32)
    episode = Episode(empty, empty, actions, state, False, 0.02)
    made = subject_of({0: episode}, [1.0], [False], [STEPS], STEPS, VARIABLES, limbs=(limbs,))
    assert made is not None
    return {finding.kind: finding for finding in analyse(made)}


@pytest.mark.parametrize("late", [0.0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("size", [0.5, 1.0, 2.2])
def test_amplitude_and_lag_of_the_second_limb_are_found(size: float, late: float) -> None:
    angles = np.concatenate([leg(0.4, 0.1, noise=0.02), leg(0.4 * size, 0.1 + late, noise=0.02)])
    numbers = found_in(angles, np.stack([foot(0.0), foot(late, 0.2)]))["symmetry"].numbers
    assert numbers["amplitude_ratio"] == pytest.approx(size, rel=0.03)
    assert numbers["lag"] == pytest.approx(late, abs=0.01) or numbers["lag"] == pytest.approx(late + 1, abs=0.01)
    assert numbers["likeness"] > 0.95
    for joint in ("joint_angles[0]", "joint_angles[1]"):
        assert numbers[f"{joint}_amplitude_ratio"] == pytest.approx(size, rel=0.05)
        assert min(abs(numbers[f"{joint}_lag"] - late), 1 - abs(numbers[f"{joint}_lag"] - late)) < 0.02
    assert numbers["duty_ratio"] == pytest.approx(0.5, rel=0.1)


def test_the_sentence_says_how_wide_when_and_which_joint_departs() -> None:
    second = leg(0.4, 0.5)
    second[1] *= 0.3
    text = found_in(np.concatenate([leg(0.4, 0.0), second]), np.stack([foot(0.0), foot(0.5)]))["symmetry"].text
    assert text.startswith("In the median episode the left leg swings 0.9")
    assert "(joint_angles[3] 0.299 times joint_angles[1]), 50% of a stride later, in turn; its foot" in text
    same = found_in(np.concatenate([leg(0.4, 0.0)] * 2), np.stack([foot(0.0)] * 2))["symmetry"].text
    assert same == (
        "In the median episode the left leg swings 1 times as wide as the right leg, together with it; its foot is on "
        "the floor 1 times as long, together with it."
    )


def test_joints_that_a_mirror_reverses_are_compared_with_their_sign() -> None:
    angles = np.concatenate([leg(0.4, 0.0), leg(0.4, 0.0)])
    angles[2] *= -1
    plain, signed = LEGS, Limbs(LEGS.names, (("joint_angles[0]", "joint_angles[2]", -1), LEGS.joints[1]), LEGS.feet)
    feet = np.stack([foot(0.0)] * 2)
    assert found_in(angles, feet, signed)["symmetry"].numbers["likeness"] == pytest.approx(1.0, abs=1e-3)
    assert found_in(angles, feet, plain)["symmetry"].numbers["joint_angles[0]_lag"] == pytest.approx(0.5, abs=0.02)


def test_without_a_rhythm_no_phase_is_told_but_a_limb_that_does_all_the_work_is() -> None:
    noise = np.random.default_rng(1).standard_normal((4, STEPS + 1))
    feet = np.stack([foot(0.0), foot(0.5)])
    assert not found_in(noise, feet).keys() & {"symmetry", "one_sided"}
    noise[2:] *= 10
    finding = found_in(noise, feet)["one_sided"]
    assert finding.text.endswith("the left leg does the work.")
    assert "lag" not in finding.numbers


def test_limbs_of_other_rhythms_follow_nobody_and_a_body_without_pairs_is_not_guessed_at() -> None:
    other = 0.4 * np.stack([np.sin(2 * np.pi * TIME / 27.3), np.cos(2 * np.pi * TIME / 27.3)])
    angles, feet = np.concatenate([1.1 * leg(0.4, 0.0), other]), np.stack([foot(0.0)] * 2)
    assert "neither follows the other" in found_in(angles, feet)["symmetry"].text
    nowhere = Limbs(LEGS.names, (("wings[0]", "wings[1]", 1),), LEGS.feet)
    assert not found_in(angles, feet, nowhere).keys() & {"symmetry", "one_sided"}


def test_still_limbs_have_no_lag() -> None:
    assert lag(np.zeros((200, 2)), np.zeros((200, 2)), 20.0) == (0.0, 0.0)


def body_task(body: str) -> Task:
    task = load_task("hopper_forward")
    environment = task.spec.environment.model_copy(update={"mujoco": body})
    return Task(task.name, task.folder, task.spec.model_copy(update={"environment": environment}), task.files, None)


@pytest.mark.parametrize("body", BODIES)
def test_declared_limbs_name_each_joint_and_foot_of_the_body_once_at_most(body: str) -> None:
    variables = {v.name: v for v in BODIES[body].variables}
    columns = [c for pair in _declared(body_task(body))["limbs"] for joint in pair.joints for c in (*joint[:2],)]
    columns += [c for pair in _declared(body_task(body))["limbs"] for c in pair.feet]
    assert len(set(columns)) == len(columns)
    known = {
        f"{n}[{i}]" for n in ("joint_angles", "foot_contacts") if n in variables for i in range(*variables[n].shape)
    }
    assert set(columns) <= known
    assert bool(columns) == (body in ("walker2d", "half_cheetah", "ant"))


def test_a_task_with_a_terminal_rule_of_its_own_is_not_held_against_the_bodys() -> None:
    task = load_task("hopper_forward")
    assert _declared(task)["healthy"] == BODIES["hopper"].healthy
    own = {
        **task.files,
        "task.py": task.files["task.py"] + b"\n\ndef terminated(state):\n    return state['torso_z'] < 1\n",
    }
    assert _declared(Task(task.name, task.folder, task.spec, own, None))["healthy"] == {}
