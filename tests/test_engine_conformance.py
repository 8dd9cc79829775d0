"""Number for number, every body is its Gymnasium v5 environment."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from eureka_sandbox.bodies import BODIES, Body
from eureka_sandbox.protocol import EnvironmentSpec
from eureka_sandbox.worker.envs.robots import ROBOTS
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.envs.vec_env import RewardVecEnv

TOLERANCE = 1e-6
LIMIT = 150
"""Control steps until truncation, short enough that 1,000 steps see several of either end."""
every_body = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)


@every_body
def test_a_thousand_steps_with_resets_agree_with_gymnasium(body: Body) -> None:
    reference = gym.make(body.gymnasium_id, max_episode_steps=LIMIT)
    sim = Simulation(body.name, num_envs=1, max_episode_steps=LIMIT)
    rng = np.random.default_rng(5)
    expected, _ = reference.reset(seed=5)
    sim.reset([0], [rng])
    np.testing.assert_array_equal(sim.observation()[0], expected)

    actions = np.random.default_rng(1).uniform(sim.action_low, sim.action_high, (1000, body.action_size))
    ends = 0
    for action in actions.astype(np.float32):
        expected, reward, terminated, truncated, _ = reference.step(action)
        sim.step(action[None])
        sim.state(sim.variables)  # reading state must not disturb the simulation
        np.testing.assert_allclose(sim.observation()[0], expected, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(sim.native_reward()[0], reward, rtol=0, atol=TOLERANCE)
        assert (sim.terminated()[0], sim.truncated()[0]) == (terminated, truncated)
        if terminated or truncated:
            ends += 1
            expected, _ = reference.reset()
            sim.reset([0], [rng])
            np.testing.assert_array_equal(sim.observation()[0], expected)
    assert ends >= 1000 // LIMIT


@every_body
def test_the_vec_env_agrees_with_dummy_vec_env_over_monitor(body: Body) -> None:
    reference = DummyVecEnv([lambda: Monitor(gym.make(body.gymnasium_id, max_episode_steps=40)) for _ in range(3)])
    ours = RewardVecEnv(EnvironmentSpec(body=body.name, max_episode_steps=40), None, None, num_envs=3, seed=0)
    reference.seed(11)
    ours.seed(11)
    np.testing.assert_array_equal(ours.reset(), reference.reset())
    rng = np.random.default_rng(2)
    ends = 0
    for _ in range(100):
        actions = rng.uniform(ours.action_space.low, ours.action_space.high, (3, body.action_size)).astype(np.float32)
        expected, expected_rewards, expected_dones, expected_infos = reference.step(actions)
        observations, rewards, dones, infos = ours.step(actions)
        np.testing.assert_allclose(observations, expected, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(rewards, expected_rewards, rtol=0, atol=TOLERANCE)
        assert (rewards.dtype, observations.dtype) == (expected_rewards.dtype, expected.dtype)
        np.testing.assert_array_equal(dones, expected_dones)
        for info, expected_info in zip(infos, expected_infos, strict=True):
            assert info["TimeLimit.truncated"] == expected_info["TimeLimit.truncated"]
            assert ("terminal_observation" in info) == ("terminal_observation" in expected_info)
            if "terminal_observation" in info:
                ends += 1
                last = expected_info["terminal_observation"]
                np.testing.assert_allclose(info["terminal_observation"], last, rtol=0, atol=TOLERANCE)
                assert info["episode"]["l"] == expected_info["episode"]["l"]
                assert info["episode"]["r"] == pytest.approx(expected_info["episode"]["r"], abs=1e-4)
    assert ends >= 6


@every_body
def test_spaces_and_timing_are_gymnasiums(body: Body) -> None:
    reference = gym.make(body.gymnasium_id)
    ours = RewardVecEnv(EnvironmentSpec(body=body.name, max_episode_steps=10), None, None, num_envs=1, seed=0)
    assert ours.observation_space == reference.observation_space
    assert ours.action_space == reference.action_space
    assert (body.observation_size,) == reference.observation_space.shape
    assert (body.action_size,) == reference.action_space.shape
    assert ours.simulation.dt == pytest.approx(body.dt, abs=1e-12) == pytest.approx(reference.unwrapped.dt, abs=1e-12)


@every_body
def test_the_same_generator_draws_the_same_reset_state(body: Body) -> None:
    reference = gym.make(body.gymnasium_id).unwrapped
    sim = Simulation(body.name, num_envs=40, max_episode_steps=10)
    sim.reset(range(40), [np.random.default_rng(seed) for seed in range(40)])
    for seed in range(40):
        reference.reset(seed=seed)
        np.testing.assert_array_equal(sim.qpos()[seed], reference.data.qpos)
        np.testing.assert_array_equal(sim.qvel()[seed], reference.data.qvel)


@every_body
def test_from_the_same_state_wherever_it_lies_a_step_agrees(body: Body) -> None:
    rng = np.random.default_rng(3)
    model = Simulation(body.name, num_envs=1, max_episode_steps=1).model
    sim = step_from(body, [_far_out(rng, model) for _ in range(60)])
    if body.name in ("hopper", "walker2d", "inverted_pendulum", "ant"):
        assert 0 < sim.terminated().sum() < sim.num_envs
    else:
        assert not sim.terminated().any()


@every_body
def test_the_declared_healthy_ranges_are_the_rule_that_ends_episodes(body: Body) -> None:
    rng = np.random.default_rng(5)
    sim = Simulation(body.name, 400, max_episode_steps=10)
    starts = iter([_far_out(rng, sim.model) for _ in range(400)])
    sim._robot = dataclasses.replace(sim._robot, initial_state=lambda *_: next(starts))
    sim.reset(range(400), [rng] * 400)
    outside = np.zeros(400, dtype=bool)
    for name, values in sim.state(list(body.healthy)).items():
        low, high = body.healthy[name]
        outside |= ((values < low) | (values > high)).reshape(400, -1).any(axis=1)
    np.testing.assert_array_equal(outside, sim.terminated())
    assert outside.any() == bool(body.healthy)


@pytest.mark.parametrize("mirrored", ["the front-left leg", "the back-left leg"])
def test_an_ant_in_the_mirror_has_the_angles_of_the_other_limb_with_the_declared_signs(mirrored: str) -> None:
    (pair,) = [limbs for limbs in BODIES["ant"].limbs if limbs.names[0] == mirrored]
    model = Simulation("ant", num_envs=1, max_episode_steps=1).model
    data = mujoco.MjData(model)
    feet = []
    for side in (0, 1):
        mujoco.mj_resetData(model, data)
        for place, joints in enumerate(pair.joints):
            data.qpos[7 + joints[side]] = (0.3, 0.8)[place] * (-1 if side and place in pair.opposed else 1)
            if mirrored == "the back-left leg" and place == 1:
                data.qpos[7 + joints[side]] *= -1
        mujoco.mj_forward(model, data)
        leg = model.jnt_bodyid[1 + pair.joints[1][side]]
        geom = next(g for g in range(model.ngeom) if model.geom_bodyid[g] == leg)
        feet.append(data.geom_xpos[geom].copy())
    np.testing.assert_allclose(feet[1], feet[0] * [1, -1, 1], atol=1e-6)


def test_a_hopper_whose_joints_spin_too_fast_is_terminal_as_gymnasiums() -> None:
    body = BODIES["hopper"]
    model = Simulation(body.name, num_envs=1, max_episode_steps=1).model
    sim = step_from(body, [(model.qpos0, speed * np.eye(model.nv)[5]) for speed in np.linspace(50, 400, 60)])
    fastest = np.abs(sim.qvel()).max(axis=1)
    just_beyond = (fastest > 100) & (fastest < 130) & (sim.qpos()[:, 1] > 0.7) & (np.abs(sim.qpos()[:, 2]) < 0.2)
    assert just_beyond.any()
    assert 0 < sim.terminated().sum() < sim.num_envs


def step_from(body: Body, starts: list[tuple[np.ndarray, np.ndarray]]) -> Simulation:
    """Our environments one random step after the given qpos and qvel, found to agree with Gymnasium's."""
    count, remaining, rng = len(starts), iter(starts), np.random.default_rng(4)
    sim = Simulation(body.name, count, max_episode_steps=10)
    sim._robot = dataclasses.replace(sim._robot, initial_state=lambda *_: next(remaining))
    sim.reset(range(count), [rng] * count)
    actions = rng.uniform(sim.action_low, sim.action_high, (count, body.action_size)).astype(np.float32)
    sim.step(actions)
    reference = gym.make(body.gymnasium_id).unwrapped
    for i, (qpos, qvel) in enumerate(starts):
        mujoco.mj_resetData(reference.model, reference.data)
        reference.set_state(qpos, qvel)
        observation, reward, terminated, _, _ = reference.step(actions[i])
        np.testing.assert_allclose(sim.observation()[i], observation, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(sim.native_reward()[i], reward, rtol=TOLERANCE, atol=TOLERANCE)
        assert sim.terminated()[i] == terminated
    return sim


def _far_out(rng: np.random.Generator, model: Any) -> tuple[np.ndarray, np.ndarray]:
    """A state far enough from the resting one that every rule of termination is met in some draws, missed in others."""
    qpos = model.qpos0 + rng.normal(scale=0.5, size=model.nq) * (rng.random(model.nq) < 0.5)
    return qpos, rng.normal(scale=rng.choice([0.1, 2.0, 60.0]), size=model.nv)


@every_body
def test_actions_beyond_the_bounds_count_as_the_bounds(body: Body) -> None:
    beyond, clipped = (Simulation(body.name, num_envs=2, max_episode_steps=10) for _ in range(2))
    for sim in (beyond, clipped):
        sim.reset(range(2), [np.random.default_rng(seed) for seed in range(2)])
    actions = np.full((2, body.action_size), 100.0)
    actions[1] *= -1
    beyond.step(actions)
    clipped.step(np.clip(actions, clipped.action_low, clipped.action_high))
    np.testing.assert_array_equal(beyond.observation(), clipped.observation())
    np.testing.assert_array_equal(beyond.native_reward(), clipped.native_reward())
    np.testing.assert_array_equal(beyond.state(["actions"])["actions"], np.sign(actions) * clipped.action_high)


@every_body
def test_an_environment_of_a_batch_moves_as_it_would_alone(body: Body) -> None:
    batch = Simulation(body.name, num_envs=5, max_episode_steps=10)
    batch.reset(range(5), [np.random.default_rng(seed) for seed in range(5)])
    alone = Simulation(body.name, num_envs=1, max_episode_steps=10)
    alone.reset([0], [np.random.default_rng(3)])
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 5, body.action_size))
    for action in actions:
        batch.step(action)
        alone.step(action[3:4])
    np.testing.assert_array_equal(batch.observation()[3], alone.observation()[0])


def test_every_body_has_its_robot() -> None:
    assert list(BODIES) == list(ROBOTS)
    assert all(name == body.name for name, body in BODIES.items())


def test_an_unknown_body_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown body 'unicorn'; bodies: half_cheetah, hopper"):
        Simulation("unicorn", num_envs=1, max_episode_steps=10)


def test_actions_of_another_shape_are_refused() -> None:
    sim = Simulation("hopper", num_envs=2, max_episode_steps=10)
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(2, 3\)"):
        sim.step(np.zeros(3))


def test_the_simulation_imports_neither_torch_nor_gymnasium() -> None:
    code = (
        "import sys; from eureka_sandbox.worker.envs.simulation import Simulation; Simulation('hopper', 1, 10);"
        "print([m for m in ('torch', 'gymnasium', 'stable_baselines3', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
