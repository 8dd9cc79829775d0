"""One conformance suite over every shipped task folder, and a hand-computed fitness for each."""

from __future__ import annotations

import copy
import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from eureka_agent.content import content
from eureka_agent.contract.task import Task, builtin_tasks, load_task
from eureka_evaluation.analysis import Recorded, Variable, analyse, subject_of, tracks_of
from eureka_evaluation.episode import Episode
from eureka_evaluation.progress import carrier
from eureka_evaluation.recording import load_episodes
from eureka_sandbox.bodies import BODIES, TRAINING_PROGRESS
from eureka_sandbox.protocol import ScoreResult, ScoreSpec, TrainSpec
from eureka_sandbox.worker.emit import Emitter
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.envs.task_state import TaskState
from eureka_sandbox.worker.reward import load_reward
from eureka_sandbox.worker.scoring import score
from eureka_sandbox.worker.task_code import TaskCode, load_task_code

every_task = pytest.mark.parametrize("task", [load_task(name) for name in builtin_tasks()], ids=lambda task: task.name)


@dataclass(frozen=True)
class Scored:
    result: ScoreResult
    episodes: dict[int, Episode]


_random: dict[str, Scored] = {}


def random_policy(task: Task, tmp_path: Path) -> Scored:
    """Ten whole episodes of uniform random actions through box B, once per task."""
    if task.name not in _random:
        (tmp_path / "task.py").write_bytes(task.files["task.py"])
        spec = ScoreSpec(environment=task.environment, seeds=tuple(range(10)), record_episodes=10)
        result, blobs = score(spec, tmp_path, Emitter(io.BytesIO()))
        shapes = {v.name: v.shape for v in (*task.body.variables, *task.spec.derived)}
        _random[task.name] = Scored(result, load_episodes(blobs["episodes.npz"], shapes))
    return _random[task.name]


def code(task: Task) -> TaskCode:
    return load_task_code(task.folder / "task.py")


def test_the_seven_tasks_are_there_and_the_readme_names_each() -> None:
    assert builtin_tasks() == [
        "half_cheetah_backflip",
        "half_cheetah_backward",
        "half_cheetah_forward",
        "hopper_forward",
        "inverted_pendulum_balance",
        "reacher_reach",
        "swimmer_forward",
    ]
    readme = (content("tasks") / "README.md").read_text()
    assert [name for name in builtin_tasks() if f"`{name}/`" not in readme] == []


@every_task
def test_a_task_says_what_it_wants_and_how_it_is_measured(task: Task) -> None:
    spec = task.spec
    assert spec.description.endswith(".")
    assert spec.metric.meaning.endswith(".")
    assert spec.metric.success.endswith(".")
    assert spec.metric.unit in ("m", "s", "turns")
    assert spec.evaluation_episodes == 30
    assert spec.training.timesteps <= 500_000, "a search has to take minutes"


@every_task
def test_every_state_variable_is_there_in_its_declared_shape(task: Task) -> None:
    environment = task.environment
    simulation = Simulation(environment.body, 3, environment.max_episode_steps)
    state = TaskState(simulation, code(task), environment.derived)
    simulation.reset(range(3), [np.random.default_rng(seed) for seed in range(3)])
    simulation.step(np.zeros((3, task.body.action_size)))
    of_the_robot = [v for v in task.variables if v != TRAINING_PROGRESS.spec]
    assert len(of_the_robot) == len(task.variables) - 1
    values, _ = state.read([v.name for v in of_the_robot])
    for variable in of_the_robot:
        assert values[variable.name].shape == (3, *variable.shape), variable.name
        assert values[variable.name].dtype == np.float32, variable.name


@every_task
def test_the_human_reward_is_finite_on_states_of_random_episodes(task: Task, tmp_path: Path) -> None:
    reward = load_reward(task.folder / "reward_human.py", {v.name: v.shape for v in task.variables})
    for episode in random_policy(task, tmp_path).episodes.values():
        total, components = reward({name: episode.state[name][1:] for name in reward.arguments})
        assert total.shape == (episode.length,)
        assert np.isfinite(total).all()
        assert components
        assert all(np.isfinite(values).all() for values in components.values())
        np.testing.assert_allclose(total, sum(components.values()), rtol=1e-4, atol=1e-4)


@every_task
def test_a_random_policy_scores_finite_and_seldom_succeeds(task: Task, tmp_path: Path) -> None:
    result = random_policy(task, tmp_path).result
    assert np.isfinite(result.fitness).all()
    assert len(set(result.fitness)) > 2, "the metric tells episodes apart"
    assert sum(result.success) <= 2


@every_task
def test_fitness_and_success_depend_on_the_episode_alone(task: Task, tmp_path: Path) -> None:
    scored = random_policy(task, tmp_path)
    first, second = code(task), code(task)
    for position, episode in scored.episodes.items():
        before = copy.deepcopy(episode)
        for functions in (first, second, first):
            assert functions.fitness(episode) == scored.result.fitness[position]
            assert functions.success(episode) == scored.result.success[position]
        assert episode.qpos.tobytes() == before.qpos.tobytes()
        assert episode.qvel.tobytes() == before.qvel.tobytes()
        assert episode.actions.tobytes() == before.actions.tobytes()
        for name in before.state:
            assert episode.state[name].tobytes() == before.state[name].tobytes(), name


SCORED_BY = {
    "half_cheetah_backflip": {"torso_pitch", "cumulative_rotation"},
    "half_cheetah_backward": {"torso_x"},
    "half_cheetah_forward": {"torso_x"},
    "hopper_forward": {"torso_x"},
    "inverted_pendulum_balance": {"duration"},
    "reacher_reach": {"target_distance"},
    "swimmer_forward": {"torso_x"},
}


@every_task
def test_the_analysis_finds_what_the_score_is_made_of_and_that_random_play_is_no_better_than_itself(
    task: Task, tmp_path: Path
) -> None:
    scored = random_policy(task, tmp_path)
    result, limit = scored.result, task.spec.environment.episode_steps
    variables = [Variable(v.name, v.unit, v.kind, v.frame) for v in task.body.variables]
    floor = Recorded.of(tracks_of(scored.episodes, result.fitness), result.fitness)
    subject = subject_of(
        scored.episodes, result.fitness, result.success, result.lengths, limit, variables=variables, floor=floor
    )
    assert subject is not None
    found = carrier(subject)
    assert found is not None
    assert found.exact
    assert found.label in SCORED_BY[task.name]
    assert analyse(subject)[0].kind == "missing_exploration"


@every_task
def test_fitness_reads_the_motion_not_the_actions(task: Task, tmp_path: Path) -> None:
    scored = random_policy(task, tmp_path)
    for position, episode in scored.episodes.items():
        still = {name: np.zeros_like(episode.state[name]) for name in ("actions", "previous_actions")}
        other = replace(episode, actions=np.zeros_like(episode.actions), state={**episode.state, **still})
        assert code(task).fitness(other) == scored.result.fitness[position]


@every_task
def test_a_few_steps_of_training_on_the_human_reward_give_a_policy_that_box_b_scores(
    task: Task, tmp_path: Path
) -> None:
    from eureka_sandbox.worker.training import train

    job = tmp_path / "train"
    job.mkdir()
    (job / "task.py").write_bytes(task.files["task.py"])
    (job / "reward.py").write_bytes(task.files["reward_human.py"])
    hyperparameters = task.spec.training.hyperparameters | {"n_envs": 2, "n_steps": 32, "n_epochs": 1}
    spec = TrainSpec(
        environment=task.environment,
        algorithm=task.spec.training.algorithm,
        hyperparameters=hyperparameters,
        total_timesteps=128,
        seed=0,
    )
    result, blobs = train(spec, job, Emitter(io.BytesIO()))
    assert result.timesteps >= 128
    for name, data in blobs.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "task.py").write_bytes(task.files["task.py"])
    environment = task.environment.model_copy(update={"max_episode_steps": 30})
    scored, _ = score(ScoreSpec(environment=environment, seeds=(0, 1)), tmp_path, Emitter(io.BytesIO()))
    assert np.isfinite(scored.fitness).all()


# ------------------------------------------------------------------------------------------- by hand, task by task


def drawn(body: str, *, terminated: bool = False, dt: float = 0.05, **paths: list[float]) -> Episode:
    """An episode of which only the named scalar state variables matter; everything else is zero."""
    rows = len(next(iter(paths.values())))
    state = {v.name: np.zeros((rows, *v.shape), np.float32) for v in BODIES[body].variables}
    state |= {name: np.array(path, np.float32) for name, path in paths.items()}
    assert state.keys() == {v.name for v in BODIES[body].variables}
    zeros = np.zeros((rows, 9))
    actions = np.zeros((rows - 1, BODIES[body].action_size), np.float32)
    return Episode(qpos=zeros, qvel=zeros, actions=actions, state=state, terminated=terminated, dt=dt)


def judged(task: str, episode: Episode) -> tuple[float, bool]:
    functions = code(load_task(task))
    return functions.fitness(episode), functions.success(episode)


def turns(count: float, end: float = 0.0) -> dict[str, list[float]]:
    """`count` backward turns, at the end of which the torso is `end` rad off."""
    return {
        "cumulative_rotation": [0.0, -math.pi * count, -2 * math.pi * count],
        "torso_pitch": [0.0, -math.pi * count, -2 * math.pi * count + end],
    }


@pytest.mark.parametrize(
    ("task", "episode", "fitness", "success"),
    [
        ("hopper_forward", drawn("hopper", torso_x=[0.5, 9.0, 12.5]), 12.0, True),
        ("hopper_forward", drawn("hopper", torso_x=[0.5, 9.0, 12.5], terminated=True), 12.0, False),
        ("hopper_forward", drawn("hopper", torso_x=[0.5, 20.0, -1.5]), -2.0, False),
        ("half_cheetah_forward", drawn("half_cheetah", torso_x=[1.0, 30.0, 61.0]), 60.0, True),
        ("half_cheetah_forward", drawn("half_cheetah", torso_x=[1, 30, 61], torso_pitch=[0, 3, 3]), 60.0, False),
        ("half_cheetah_forward", drawn("half_cheetah", torso_x=[1.0, -30.0, -61.0]), -62.0, False),
        ("half_cheetah_backward", drawn("half_cheetah", torso_x=[1.0, -30.0, -61.0]), 62.0, True),
        ("half_cheetah_backward", drawn("half_cheetah", torso_x=[1.0, -30.0, -40.0]), 41.0, False),
        ("half_cheetah_backflip", drawn("half_cheetah", **turns(3.0)), 3.0, True),
        ("half_cheetah_backflip", drawn("half_cheetah", **turns(4.0, end=0.7)), 4.0, True),
        ("half_cheetah_backflip", drawn("half_cheetah", **turns(4.0, end=0.9)), 4.0, False),
        ("half_cheetah_backflip", drawn("half_cheetah", **turns(7.5)), 7.5, False),
        ("half_cheetah_backflip", drawn("half_cheetah", **turns(2.0)), 2.0, False),
        ("half_cheetah_backflip", drawn("half_cheetah", **turns(-5.0)), -5.0, False),
        ("swimmer_forward", drawn("swimmer", torso_x=[-0.5, 1.0, 8.5]), 9.0, True),
        ("swimmer_forward", drawn("swimmer", torso_x=[-0.5, 9.0, 1.5]), 2.0, False),
        ("reacher_reach", drawn("reacher", target_distance=[0.2, 0.1, 0.04]), -0.04, True),
        ("reacher_reach", drawn("reacher", target_distance=[0.2, 0.0, 0.07]), -0.07, False),
        ("inverted_pendulum_balance", drawn("inverted_pendulum", dt=0.04, pole_angle=[0.0] * 1001), 40.0, True),
        (
            "inverted_pendulum_balance",
            drawn("inverted_pendulum", dt=0.04, pole_angle=[0.0] * 26, terminated=True),
            1.0,
            False,
        ),
    ],
)
def test_fitness_and_success_are_what_one_computes_by_hand(
    task: str, episode: Episode, fitness: float, success: bool
) -> None:
    found, succeeded = judged(task, episode)
    assert found == pytest.approx(fitness, abs=1e-5)
    assert succeeded is success
