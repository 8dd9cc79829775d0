"""The reflection text, compared with golden files; UPDATE_GOLDEN=1 writes them anew after a wanted change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eureka_agent.contract.task import load_task
from eureka_agent.critique.parents import changes
from eureka_agent.critique.reflection import MOST_CHARACTERS, MOST_LINES, reflection
from eureka_agent.population import Brief, Candidate, Population, Rung, Score, Training, Vision
from eureka_agent.standing import Standing
from eureka_evaluation.episode import Episode
from eureka_evaluation.finding import Finding
from eureka_sandbox.protocol import Failure, Verdict

GOLDEN = Path(__file__).parent / "data" / "golden"
TASK = load_task("hopper_forward")


def trained(name: str, fitness: float, **curves: list[float | None]) -> Candidate:
    generation, parents = (1, ("g0c0", "g0c1")) if name.startswith("g1") else (0, ())
    training = Training(
        seed=1,
        timesteps=300_000,
        seconds=30.0,
        startup_seconds=4.0,
        peak_timesteps=281_000,
        peak_return=512.25,
        curves={
            "time/total_timesteps": [30_000.0 * (i + 1) for i in range(10)],
            "rollout/ep_rew_mean": [None, *(50.0 * i for i in range(9))],
            "rollout/ep_len_mean": [20.0 + 40.0 * i for i in range(10)],
            **{f"reward/{component}": values for component, values in curves.items()},
        },
        policy="p",
        policy_meta="m",
        versions={},
    )
    score = Score(
        seeds=(1, 2, 3),
        fitness=(fitness, fitness + 1.5, fitness - 2.5),
        success=(True, True, False),
        lengths=(380, 1000, 120),
        recorded=(0, 2),
        seconds=1.0,
    )
    brief = Brief(
        id=name, generation=generation, slot=0, operator="cross" if parents else "sample", parents=parents, seed=0
    )
    return Candidate(brief=brief, code="", training=training, score=score)


def episode(steps: int, terminated: bool) -> Episode:
    time = np.linspace(0.0, 1.0, steps + 1, dtype=np.float32)
    state = {
        "torso_x": 8.0 * time,
        "torso_z": 1.25 - 0.5 * time**2,
        "joint_angles": np.zeros((steps + 1, 3), dtype=np.float32),
        "elapsed_time": time,
    }
    actions = np.clip(np.stack([4.0 * time[1:] - 2.0] * 3, axis=1), -0.7, 0.7)
    empty = np.zeros((steps + 1, 6))
    return Episode(empty, empty, actions, state, terminated, dt=0.008)


PARENT = trained(
    "g0c0",
    6.0,
    speed=[None, *(20.0 + 40.0 * i for i in range(1, 10))],
    alive=[20.0 + 40.0 * i for i in range(10)],
    posture=[0.2 * (20.0 + 40.0 * i) * (1.0 + (i > 4)) for i in range(10)],
    jerk=[-1.0] * 10,
).model_copy(
    update={
        "findings": (
            Finding("terminal_cause", 0.7, "2 of 2 recorded terminal states came with torso_z below 0.7 m."),
            Finding("ends_early", 0.7, "100% of the episodes end early."),
            Finding("unlike_the_incumbent", 0.5, "Beside the incumbent's median episode it falls."),
            Finding("actions", 0.1, "Actions are small."),
        ),
    }
)
POPULATION = Population().extended([PARENT, trained("g0c1", 7.25), trained("g0c2", 9.0)])
STOPPED = trained(
    "g1c0",
    8.0,
    speed=[None, 5.0, 30.0, 80.0, 200.0, 300.0, 420.0, 500.0, 510.0, 512.0],
    alive=[20.0 + 40.0 * i for i in range(10)],
    posture=[9.0, 25.0, 40.0, 50.0, 40.0, 20.0, 10.0, 4.0, 2.0, 1.0],
    control=[-0.1 * i * i for i in range(10)],
    effort=[-1e-3] * 10,
).model_copy(
    update={
        "findings": (
            Finding("rhythm", 0.25, "The joints move in a rhythm of 0.4 s."),
            Finding("ends_early", 0.7, "67% of the episodes end early."),
        ),
        "suspicions": (Finding("survival_farming", 0.6, "Standing still earns 80% of the best return."),),
        "vision": Vision(progress=35, seen="It hops twice and falls; # it never stands."),
        "rungs": (Rung(timesteps=100_000, fitness=3.25, own_return=80.0),),
        "stopped": True,
    }
)
EPISODES = {0: episode(380, terminated=True), 2: episode(120, terminated=True)}
CASES = {
    "trained": reflection(STOPPED, POPULATION, TASK, EPISODES, 900_000),
    "failed": reflection(
        Candidate(
            brief=Brief(id="g1c1", generation=1, slot=1, operator="mutate", parents=("g0c2",), seed=0),
            code="",
            failure=Failure(
                verdict=Verdict.RUNTIME_ERROR, message="RuntimeError: shape [8, 3] …", file="reward.py", line=7
            ),
        ),
        POPULATION,
        TASK,
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reflection_reads_as_its_golden_file(name: str) -> None:
    path = GOLDEN / f"reflection_{name}.txt"
    if "UPDATE_GOLDEN" in os.environ:
        path.write_text(CASES[name])
    assert CASES[name] == path.read_text()


def test_a_reflection_stays_within_a_page_whatever_the_reward_returns_and_however_much_was_found() -> None:
    many: dict[str, list[float | None]] = {f"component_{i}": [float(i)] * 10 for i in range(300)}
    plenty = tuple(Finding(f"kind_{i}", i / 100, f"Sentence {i} " + 90 * "word " + ".") for i in range(100))
    candidate = trained("g1c0", 8.0, **many).model_copy(update={"findings": plenty, "suspicions": plenty})
    text = reflection(candidate, POPULATION, TASK, {0: episode(50, terminated=False)})
    assert len(text.splitlines()) <= MOST_LINES
    assert len(text) <= MOST_CHARACTERS
    assert "smaller ones" in text
    assert "Sentence 99 " in text
    assert "Sentence 3 " not in text


def test_what_changed_since_a_parent_is_told_of_parents_that_have_findings_and_components_only() -> None:
    lines = CASES["trained"].splitlines()
    place = lines.index(next(line for line in lines if line.startswith("Against parent g0c0")))
    assert "without: jerk" in lines[place]
    assert lines[place + 1] == "  Findings: no longer terminal cause; now survival farming, rhythm."
    assert "posture 98% -> 9% of the variance" in lines[place + 2]
    assert "trend of" not in lines[place + 2], "this one was stopped, its parent was not"
    assert len(lines[place + 2]) < 300
    assert "alive" not in lines[place + 2]
    assert lines[place + 3].startswith("Against parent g0c1")
    assert lines[place + 4].startswith("Against incumbent g0c2")


@pytest.mark.parametrize("stopped", [True, False])
def test_trends_are_compared_over_trainings_of_one_length_only(stopped: bool) -> None:
    parent = PARENT.model_copy(update={"stopped": stopped})
    whole = STOPPED.model_copy(update={"stopped": False})
    told = {child.stopped: "\n".join(changes(child, parent)) for child in (STOPPED, whole)}
    assert "trend of posture" in told[stopped]
    assert "trend of" not in told[not stopped]


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        (
            {"later": (2.0, 3.0)},
            "with 3.556 (mean of 3 trainings): +4.11, ahead in 78% of episode pairs with its first",
        ),
        ({"later": (None,)}, "with 5.667 (1 training, another one failed): +2, ahead in 78% of episode pairs with its"),
        ({"later": (2.0, 3.0), "warm": True}, "with 2.5 (mean of 2 trainings from scratch): +5.17, ahead"),
        ({"warm": True}, "with 5.667 (one training that went on from its parent's policy): +2, ahead"),
    ],
)
def test_a_parent_is_told_with_the_mean_of_all_its_trainings(standing: dict[str, Any], told: str) -> None:
    known = POPULATION.with_(standings={"g0c0": Standing(id="g0c0", screening=PARENT.fitness or 0.0, **standing)})
    assert f"Against parent g0c0 {told}" in reflection(STOPPED, known, TASK, {})


def test_a_training_that_went_on_from_its_parents_policy_says_so() -> None:
    assert STOPPED.training
    warm = STOPPED.training.model_copy(update={"warm_start": "g0c0"})
    text = reflection(STOPPED.model_copy(update={"training": warm}), POPULATION, TASK, {})
    assert "mean of 3 episodes of one policy, which went on from its parent's), success" in text


def test_findings_and_suspicions_are_told_together_the_weightiest_first() -> None:
    told = [line for line in CASES["trained"].splitlines() if line.startswith("  - ")]
    assert [line.split()[1] for line in told] == ["67%", "Standing", "The", "Success"]
