"""Box B: seeds in, one number per episode out, and nothing of the training's libraries in the process."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from safetensors.numpy import save

from eureka_evaluation.recording import load_episodes
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import EnvironmentSpec, PolicyMeta, ScoreResult, ScoreSpec, VariableSpec
from eureka_sandbox.worker import scoring
from eureka_sandbox.worker.emit import Emitter, JobFailed
from eureka_sandbox.worker.policy import NumpyPolicy
from eureka_sandbox.worker.scoring import score
from eureka_sandbox.worker.task_code import TaskCodeError

DISPLACEMENT = """
def fitness(episode):
    return float(episode.qpos[-1, 0] - episode.qpos[0, 0])

def success(episode):
    return not episode.terminated
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "task.py").write_text(DISPLACEMENT)
    (tmp_path / "scratch").mkdir()
    return tmp_path


def run(folder: Path, body: str = "hopper", seeds: range = range(6), steps: int = 60, **fields: Any) -> Any:
    environment = EnvironmentSpec(body=body, max_episode_steps=steps, derived=fields.pop("derived", ()))
    spec = ScoreSpec(environment=environment, seeds=tuple(seeds), **fields)
    return score(spec, folder, Emitter(io.BytesIO()))


def write_policy(folder: Path, body: str, gain: float = 0.3) -> NumpyPolicy:
    """A linear PPO policy with random weights."""
    catalogue = BODIES[body]
    rng = np.random.default_rng(5)
    shape = (catalogue.action_size, catalogue.observation_size)
    arrays = {
        "action_net.weight": rng.normal(scale=gain, size=shape).astype(np.float32),
        "action_net.bias": rng.normal(scale=gain, size=shape[0]).astype(np.float32),
    }
    meta = PolicyMeta(
        algorithm="ppo",
        observation_size=shape[1],
        action_low=[-1.0] * shape[0],
        action_high=[1.0] * shape[0],
        net_arch={"pi": [], "vf": []},
        activation="tanh",
        normalise=False,
        body=body,
        timesteps=0,
    )
    (folder / "policy.safetensors").write_bytes(save(arrays))
    (folder / "policy.json").write_text(meta.model_dump_json())
    return NumpyPolicy(arrays, meta)


def gymnasium_episode(body: str, seed: int, steps: int, act: Any) -> tuple[float, int, bool]:
    """Displacement, length and termination of an episode played in Gymnasium itself."""
    env = gymnasium.make(BODIES[body].gymnasium_id, max_episode_steps=steps).unwrapped
    env.reset()
    env.np_random = np.random.default_rng(seed)
    observation = env.reset_model()
    start = env.data.qpos[0]
    for step in range(steps):
        observation, _, terminated, _, _ = env.step(act(step, observation))
        if terminated:
            break
    return float(env.data.qpos[0] - start), step + 1, terminated


def test_random_episodes_are_those_that_gymnasium_plays_from_the_same_generators(folder: Path) -> None:
    result, _ = run(folder, seeds=range(3, 8))
    for position, seed in enumerate(range(3, 8)):
        actions = np.random.default_rng([seed, scoring.ACTION_STREAM]).uniform(-1, 1, (60, 3)).astype(np.float32)
        fitness, length, terminated = gymnasium_episode("hopper", seed, 60, lambda step, _, a=actions: a[step])
        assert result.fitness[position] == pytest.approx(fitness, abs=1e-9)
        assert (result.lengths[position], result.success[position]) == (length, not terminated)


@pytest.mark.parametrize("body", ["half_cheetah", "hopper", "swimmer"])
def test_policy_episodes_are_those_that_gymnasium_plays_with_the_same_policy(folder: Path, body: str) -> None:
    policy = write_policy(folder, body)
    result, _ = run(folder, body, seeds=range(4), steps=25)
    for seed in range(4):
        fitness, length, _ = gymnasium_episode(body, seed, 25, lambda _, observation: policy.act(observation[None])[0])
        assert result.fitness[seed] == pytest.approx(fitness, abs=1e-9)
        assert result.lengths[seed] == length
    assert len(set(result.fitness)) == 4


@pytest.mark.parametrize("trained", [False, True])
def test_an_episode_is_the_same_whatever_is_played_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    if trained:
        write_policy(folder, "hopper")
    together, blobs = run(folder, seeds=range(12), record_episodes=12)
    monkeypatch.setattr(scoring, "MAX_SIMULATORS", 5)
    in_turns, blobs_in_turns = run(folder, seeds=range(12), record_episodes=12)
    assert len(set(together.lengths)) > 1, "episodes of different length, or nothing is refilled"
    assert in_turns.fitness == together.fitness
    assert in_turns.lengths == together.lengths
    assert blobs_in_turns == blobs
    alone, _ = run(folder, seeds=range(7, 8))
    assert alone.fitness[0] == together.fitness[7]


def test_a_score_repeats_exactly(folder: Path) -> None:
    write_policy(folder, "hopper")
    first, blobs = run(folder, seeds=range(20), steps=200)
    again, blobs_again = run(folder, seeds=range(20), steps=200)
    assert (first.fitness, first.success, first.lengths) == (again.fitness, again.success, again.lengths)
    assert blobs == blobs_again


def test_a_recorded_episode_holds_every_state_from_reset_to_end(folder: Path) -> None:
    result, blobs = run(folder, seeds=range(6), record_episodes=6)
    shapes = {v.name: v.shape for v in BODIES["hopper"].variables}
    episodes = load_episodes(blobs["episodes.npz"], shapes)
    assert list(episodes) == result.recorded == list(range(6))
    for position, episode in episodes.items():
        assert episode.length == result.lengths[position]
        assert episode.qpos.shape == (episode.length + 1, 6)
        assert episode.qvel.shape == (episode.length + 1, 6)
        assert episode.terminated == bool(episode.state["terminated"][-1]) == (episode.length < 60)
        assert not episode.state["terminated"][:-1].any()
        assert episode.dt == pytest.approx(0.008)
        np.testing.assert_allclose(episode.state["torso_z"], episode.qpos[:, 1], atol=1e-6)
        np.testing.assert_allclose(episode.state["elapsed_time"], np.arange(episode.length + 1) * 0.008, atol=1e-6)
        np.testing.assert_array_equal(episode.state["actions"][1:], episode.actions)
        np.testing.assert_array_equal(episode.state["previous_actions"][2:], episode.actions[:-1])
        assert episode.qpos[-1, 0] - episode.qpos[0, 0] == result.fitness[position]


def test_worst_median_and_best_are_recorded(folder: Path) -> None:
    result, blobs = run(folder, seeds=range(7))
    ranked = sorted(range(7), key=lambda i: result.fitness[i])
    assert result.recorded == sorted([ranked[0], ranked[3], ranked[6]])
    none, blobs = run(folder, record_episodes=0)
    assert none.recorded == []
    assert "episodes.npz" not in blobs


def test_a_recording_too_large_keeps_the_median_and_says_which_it_holds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, blobs = run(folder, "half_cheetah", seeds=range(5), steps=50, record_episodes=5)
    assert len(whole.recorded) == 5
    monkeypatch.setattr(scoring, "MAX_RECORDING_BYTES", len(blobs["episodes.npz"]) // 4)
    thinned, blobs = run(folder, "half_cheetah", seeds=range(5), steps=50, record_episodes=5)
    ranked = sorted(range(5), key=lambda i: thinned.fitness[i])
    assert thinned.recorded == [ranked[2]]
    assert list(load_episodes(blobs["episodes.npz"])) == thinned.recorded


def test_a_task_may_derive_variables_and_end_episodes_itself(folder: Path) -> None:
    (folder / "task.py").write_text(
        DISPLACEMENT
        + """
def derive(state, dt):
    return {"doubled": 2 * state["torso_z"]}

def terminated(state):
    return state["elapsed_time"] > 0.05
"""
    )
    derived = (VariableSpec(name="doubled", unit="m", frame="world", meaning="Twice the height."),)
    result, blobs = run(folder, seeds=range(3), derived=derived)
    assert result.lengths == [7, 7, 7]
    for episode in load_episodes(blobs["episodes.npz"]).values():
        assert episode.terminated
        np.testing.assert_allclose(episode.state["doubled"], 2 * episode.state["torso_z"])


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("return episode.state['altitude'][-1]", 2, "KeyError: 'altitude'; state variables: .*, torso_z"),
        ("return episode.state['torso_zz'][-1]", 2, "KeyError: 'torso_zz'; did you mean 'torso_z'?"),
        ("return {}['torso_z']", 2, "KeyError: 'torso_z'$"),
        ("return float('nan')", 1, "must be finite"),
        ("return 1.0 / 0.0", 2, "ZeroDivisionError"),
    ],
)
def test_a_metric_that_fails_is_reported_with_its_line(folder: Path, body: str, line: int, message: str) -> None:
    (folder / "task.py").write_text(f"def fitness(episode):\n    {body}\n\ndef success(episode):\n    return True\n")
    with pytest.raises(TaskCodeError, match=message) as caught:
        run(folder)
    assert caught.value.line == line


def test_a_policy_for_another_body_is_refused(folder: Path) -> None:
    write_policy(folder, "hopper")
    with pytest.raises(JobFailed, match="policy for body 'hopper' with 11 observations and 3 actions, the task needs"):
        run(folder, "half_cheetah")


def test_half_a_policy_is_refused_rather_than_scored_as_random(folder: Path) -> None:
    write_policy(folder, "hopper")
    (folder / "policy.safetensors").unlink()
    with pytest.raises(JobFailed, match=r"policy\.safetensors: No such file"):
        run(folder)


def test_box_b_runs_as_a_process_without_training_libraries(folder: Path) -> None:
    write_policy(folder, "hopper")
    environment = EnvironmentSpec(body="hopper", max_episode_steps=20)
    (folder / "job.json").write_text(ScoreSpec(environment=environment, seeds=(1, 2)).model_dump_json())
    program = f"""
import io, json, sys
from eureka_sandbox.worker.emit import Emitter
from eureka_sandbox.worker.main import main
stream = io.BytesIO()
status = main([{str(folder)!r}], Emitter(stream))
modules = sorted({{name.partition(".")[0] for name in sys.modules}})
print(json.dumps({{"status": status, "modules": modules, "frames": stream.getvalue().decode("latin1")}}))
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["status"] == 0
    frames = answer["frames"].encode("latin1")
    last = frames[frames.rindex(b'{"fitness"') :]
    assert len(ScoreResult.model_validate_json(last).fitness) == 2
    assert "mujoco" in answer["modules"]
    heavy = {"torch", "stable_baselines3", "gymnasium", "jax", "scipy", "av", "glfw", "OpenGL", "eureka_agent"}
    assert heavy.isdisjoint(answer["modules"])
