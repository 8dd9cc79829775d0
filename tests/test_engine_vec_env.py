"""The batch under a reward and a task's code, as Stable-Baselines3 sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from eureka_sandbox.protocol import EnvironmentSpec, VariableSpec
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.envs.task_state import TaskState
from eureka_sandbox.worker.envs.vec_env import RewardVecEnv
from eureka_sandbox.worker.task_code import TaskCode, TaskCodeError

SPEED = VariableSpec(name="speed", unit="m/s", frame="world", meaning="Speed of the torso.")


class Recorder:
    """A reward that keeps what it saw."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments
        self.seen: list[dict[str, np.ndarray]] = []

    def __call__(self, state: Mapping[str, np.ndarray], steps: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        self.seen.append({name: values.copy() for name, values in state.items()})
        first = state[self.arguments[0]]
        return first.copy(), {"first": first, "one": np.ones_like(first)}


def task(derive: Any = None, terminated: Any = None) -> TaskCode:
    return TaskCode(fitness=lambda e: 0.0, success=lambda e: False, derive=derive, terminated=terminated)


def environment(body: str = "hopper", steps: int = 20, derived: tuple[VariableSpec, ...] = ()) -> EnvironmentSpec:
    return EnvironmentSpec(body=body, max_episode_steps=steps, derived=derived)


def run(env: RewardVecEnv, steps: int, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    env.reset()
    shape = (env.num_envs, *env.action_space.shape)
    return [env.step(rng.uniform(-1, 1, shape).astype(np.float32)) for _ in range(steps)]


def test_the_reward_gets_what_it_names_and_gives_the_reward() -> None:
    reward = Recorder("torso_x_velocity", "actions")
    env = RewardVecEnv(environment(), None, reward, num_envs=3, seed=0)
    steps = run(env, 5)
    for state, (_, rewards, _, _) in zip(reward.seen, steps, strict=True):
        assert set(state) == {"torso_x_velocity", "actions"}
        np.testing.assert_array_equal(rewards, state["torso_x_velocity"])


def test_the_reward_of_a_last_step_sees_the_terminal_state_not_the_next_reset() -> None:
    reward = Recorder("torso_z", "terminated", "elapsed_fraction")
    env = RewardVecEnv(environment(steps=10_000), None, reward, num_envs=4, seed=0)
    steps = run(env, 60)
    ended = 0
    for state, (observations, _, dones, infos) in zip(reward.seen, steps, strict=True):
        np.testing.assert_array_equal(state["terminated"] == 1, dones)
        for i in np.flatnonzero(dones):
            ended += 1
            assert state["torso_z"][i] == np.float32(infos[i]["terminal_observation"][0])
            assert observations[i][0] == pytest.approx(1.25, abs=0.006)
    assert ended


def test_episode_infos_sum_the_reward_and_its_components() -> None:
    reward = Recorder("torso_x_velocity")
    env = RewardVecEnv(environment(steps=7), None, reward, num_envs=2, seed=0)
    steps = run(env, 14)
    for start in (0, 7):
        infos = steps[start + 6][3]
        for i, info in enumerate(infos):
            expected = sum(float(state["torso_x_velocity"][i]) for state in reward.seen[start : start + 7])
            assert info["episode"]["r"] == pytest.approx(expected, abs=1e-5)
            assert info["episode"]["l"] == 7
            assert info["episode_components"] == pytest.approx({"first": expected, "one": 7.0}, abs=1e-5)
            assert info["TimeLimit.truncated"] is True
        assert not any("episode" in info for step in steps[start : start + 6] for info in step[3])


def test_rewards_of_a_rollout_in_one_call_are_those_of_its_steps() -> None:
    """Two deferred rollouts, of which some episodes end in neither and some twice in one."""
    names = ("torso_x_velocity", "terminated", "training_progress")
    at_once, deferred = Recorder(*names), Recorder(*names)
    one, other = (RewardVecEnv(environment(steps=13), None, reward, 3, seed=0) for reward in (at_once, deferred))
    for env in (one, other):
        env.reset()
        env.step(np.zeros((3, 3), np.float32))
    rng = np.random.default_rng(0)
    for _ in range(2):
        other.defer_rewards(steps=30)
        expected, unpaid = [], []
        for step in range(30):
            one.progress = other.progress = lambda step=step: step / 30
            actions = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
            expected.append(one.step(actions))
            unpaid.append(other.step(actions))
            assert np.isnan(unpaid[-1][1]).all()
        assert not any("r" in info.get("episode", {}) for *_, infos in unpaid for info in infos)
        np.testing.assert_array_equal(other.pay(), [rewards for _, rewards, _, _ in expected])
        ends = 0
        for (seen, _, dones, infos), (given, _, expected_dones, expected_infos) in zip(unpaid, expected, strict=True):
            np.testing.assert_array_equal(seen, given)
            np.testing.assert_array_equal(dones, expected_dones)
            for info, expected_info in zip(infos, expected_infos, strict=True):
                assert info.keys() == expected_info.keys()
                if "episode" in info:
                    ends += 1
                    assert info["episode"]["r"] == expected_info["episode"]["r"]
                    assert info["episode"]["l"] == expected_info["episode"]["l"]
                    assert info["episode_components"] == pytest.approx(expected_info["episode_components"], rel=1e-12)
        assert ends >= 6
        for name in ("environment.returns", "environment.sums"):
            np.testing.assert_allclose(other.snapshot()[name], one.snapshot()[name], rtol=1e-12)
    assert len(at_once.seen) == 61
    assert [len(state["terminated"]) for state in deferred.seen] == [3, 90, 90]
    for name in names:
        rows = np.concatenate([state[name] for state in at_once.seen])
        np.testing.assert_array_equal(np.concatenate([state[name] for state in deferred.seen]), rows)
    idle = np.zeros((3, 3), np.float32)
    np.testing.assert_array_equal(other.step(idle)[1], one.step(idle)[1])


def test_native_rewards_can_be_deferred_too_and_a_reset_forgets_what_is_not_paid() -> None:
    one, other = (RewardVecEnv(environment(), None, None, num_envs=2, seed=0) for _ in range(2))
    for env in (one, other):
        env.reset()
    idle = np.zeros((2, 3), np.float32)
    other.defer_rewards(steps=8)
    expected = [one.step(idle)[1] for _ in range(8)]
    unpaid = [other.step(idle)[1] for _ in range(8)]
    assert np.isnan(unpaid).all()
    np.testing.assert_array_equal(other.pay(), expected)
    other.defer_rewards(steps=8)
    other.step(idle)
    other.reset()  # as after an exception in a rollout
    assert np.isfinite(other.step(idle)[1]).all()
    other.defer_rewards(steps=8)
    assert other.pay().shape == (0, 2)


def test_truncation_is_not_reported_where_the_state_is_terminal() -> None:
    code = task(terminated=lambda state: state["elapsed_fraction"] >= 1.0)
    env = RewardVecEnv(environment("half_cheetah", steps=3), code, None, num_envs=2, seed=0)
    _, _, dones, infos = run(env, 3)[-1]
    assert dones.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [False, False]


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, same, other = (RewardVecEnv(environment(), None, None, num_envs=3, seed=seed) for seed in (4, 4, 5))
    a, b, c = (run(env, 60) for env in (first, same, other))
    assert all(np.array_equal(x[0], y[0]) and np.array_equal(x[1], y[1]) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a[0][0], c[0][0])


def test_environments_of_a_batch_start_apart_and_a_second_reset_starts_elsewhere() -> None:
    env = RewardVecEnv(environment(), None, None, num_envs=4, seed=0)
    first, second = env.reset(), env.reset()
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 8


def test_what_a_step_returned_does_not_change_with_the_next() -> None:
    env = RewardVecEnv(environment(steps=5), None, Recorder("torso_z"), num_envs=2, seed=0)
    steps = run(env, 6)
    again = run(RewardVecEnv(environment(steps=5), None, Recorder("torso_z"), num_envs=2, seed=0), 6)
    for kept, fresh in zip(steps, again, strict=True):
        for left, right in zip(kept[:3], fresh[:3], strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_task_adds_variables_and_replaces_the_termination() -> None:
    def derive(state: Mapping[str, np.ndarray], dt: float) -> dict[str, np.ndarray]:
        assert dt == pytest.approx(0.008)
        return {"speed": np.hypot(state["torso_x_velocity"], state["torso_z_velocity"])}

    reward = Recorder("speed", "torso_x_velocity", "torso_z_velocity", "terminated")
    code = task(derive, lambda state: state["speed"] > 0.3)
    env = RewardVecEnv(environment(steps=1000, derived=(SPEED,)), code, reward, num_envs=3, seed=0)
    steps = run(env, 40)
    ended = 0
    for state, (_, _, dones, infos) in zip(reward.seen, steps, strict=True):
        expected = np.hypot(state["torso_x_velocity"], state["torso_z_velocity"])
        np.testing.assert_allclose(state["speed"], expected)
        np.testing.assert_array_equal(dones, expected > 0.3)
        np.testing.assert_array_equal(state["terminated"], dones)
        ended += sum("terminal_observation" in info for info in infos)
    assert ended


def test_derive_is_not_called_where_nothing_needs_it() -> None:
    code = task(derive=lambda state, dt: pytest.fail("derive was called"))
    run(RewardVecEnv(environment(derived=(SPEED,)), code, Recorder("torso_z"), num_envs=2, seed=0), 3)


def test_reading_the_task_state_outside_training_gives_the_same_names_and_numbers() -> None:
    sim = Simulation("hopper", num_envs=2, max_episode_steps=10)
    sim.reset(range(2), [np.random.default_rng(seed) for seed in range(2)])
    reader = TaskState(sim, task(lambda state, dt: {"speed": np.abs(state["torso_x_velocity"])}), (SPEED,))
    assert reader.variables == (*sim.variables, "speed")
    state, terminated = reader.read(reader.variables)
    assert tuple(state) == reader.variables
    np.testing.assert_array_equal(state["speed"], np.abs(state["torso_x_velocity"]))
    np.testing.assert_array_equal(terminated, sim.terminated())
    for name in sim.variables:
        np.testing.assert_array_equal(state[name], sim.state([name])[name])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({}, "returned no 'speed'"),
        ({"speed": np.zeros((2, 1), dtype=np.float32)}, r"'speed' has shape \(2, 1\), declared as \(N, ...\) = \(2,\)"),
    ],
)
def test_derive_must_return_what_is_declared(returned: dict[str, Any], message: str) -> None:
    code = task(derive=lambda state, dt: returned)
    env = RewardVecEnv(environment(derived=(SPEED,)), code, Recorder("speed"), num_envs=2, seed=0)
    with pytest.raises(TaskCodeError, match=message):
        run(env, 1)


def test_derived_variables_need_a_derive() -> None:
    with pytest.raises(TaskCodeError, match="no function 'derive'"):
        RewardVecEnv(environment(derived=(SPEED,)), task(), Recorder("speed"), num_envs=2, seed=0)


def test_derive_cannot_ask_whether_the_state_is_terminal() -> None:
    code = task(derive=lambda state, dt: {"speed": state["terminated"]})
    env = RewardVecEnv(environment(derived=(SPEED,)), code, Recorder("speed"), num_envs=2, seed=0)
    with pytest.raises(KeyError, match="terminated"):
        run(env, 1)


def test_a_termination_of_another_length_is_refused() -> None:
    env = RewardVecEnv(environment(), task(terminated=lambda state: np.zeros(3, bool)), None, num_envs=2, seed=0)
    with pytest.raises(TaskCodeError, match="returned 3 flags for 2 environments"):
        run(env, 1)


def test_ppo_trains_on_it_under_vec_normalize() -> None:
    env = VecNormalize(RewardVecEnv(environment(), None, Recorder("torso_x_velocity"), num_envs=2, seed=0))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, seed=0)
    model.learn(128)
    assert model.num_timesteps == 128
    assert len(model.ep_info_buffer) >= 4


def test_sac_trains_on_it() -> None:
    env = RewardVecEnv(environment("inverted_pendulum"), None, None, num_envs=2, seed=0)
    model = SAC("MlpPolicy", env, learning_starts=16, batch_size=16, seed=0, policy_kwargs={"net_arch": [8]})
    model.learn(64)
    assert model.num_timesteps == 64


def test_evaluate_policy_reads_its_episode_statistics() -> None:
    env = RewardVecEnv(environment("half_cheetah", steps=5), None, Recorder("elapsed_fraction"), num_envs=2, seed=0)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, seed=0)
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True, warn=True)
    assert lengths == [5] * 4
    np.testing.assert_allclose(returns, 3.0, rtol=1e-6)


def test_the_environments_of_a_batch_are_not_objects() -> None:
    env = RewardVecEnv(environment(), None, None, num_envs=2, seed=0)
    assert env.get_attr("render_mode") == [None, None]
    with pytest.raises(NotImplementedError, match="cannot set 'goal'"):
        env.set_attr("goal", 1)
    with pytest.raises(NotImplementedError, match="cannot call 'render'"):
        env.env_method("render")
