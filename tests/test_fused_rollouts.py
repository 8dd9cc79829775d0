"""The lean rollout against SB3's own `collect_rollouts`, `VecNormalize` and `RolloutBuffer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from eureka_sandbox.protocol import EnvironmentSpec
from eureka_sandbox.worker.envs.vec_env import RewardVecEnv
from eureka_sandbox.worker.learners.fused_ppo import FusedPPO
from eureka_sandbox.worker.learners.normalize import LeanSteps
from eureka_sandbox.worker.learners.rollout import generalized_advantages

th.set_num_threads(1)  # two threads fight over arrays this small: tens of times slower on a busy machine


class Drift(gym.Env[Any, Any]):
    """A smooth stochastic system: terminates far from the origin, is truncated after 17 steps."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gym.spaces.Box(np.array([-1.0, -0.5]), np.array([1.0, 0.25]), dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.normal(size=4), 0
        return self.state.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.steps += 1
        self.state += 0.3 * self.np_random.normal(size=4) + 0.1 * np.repeat(action, 2)
        terminated, truncated = bool(abs(self.state[0]) > 2.5), self.steps >= 17
        return self.state.copy(), float(self.state.sum()), terminated, truncated, {"is_success": terminated}


def normalized(n_envs: int = 3, **settings: Any) -> VecNormalize:
    env = VecNormalize(DummyVecEnv([lambda: Monitor(Drift())] * n_envs), **settings)
    env.seed(5)
    return env


class Written:
    """A reward of two components, as a file would give it."""

    arguments = ("torso_x_velocity", "actions")

    def __call__(self, state: Any, steps: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        forward, control = state["torso_x_velocity"].copy(), -0.1 * np.square(state["actions"]).sum(axis=1)
        return forward + control, {"forward": forward, "control": control}


def hopping(reward: Written | None, n_envs: int, **settings: Any) -> VecNormalize:
    spec = EnvironmentSpec(body="hopper", max_episode_steps=17)
    return VecNormalize(RewardVecEnv(spec, None, reward, n_envs, seed=5), **settings)


ENVIRONMENTS: dict[str, Callable[[], VecEnv]] = {
    "normalised": lambda: normalized(),
    "plain": lambda: DummyVecEnv([lambda: Monitor(Drift())] * 3),
    "deferred": lambda: hopping(Written(), 3),
}


def make(cls: type[PPO], env: VecEnv, **settings: Any) -> PPO:
    defaults: dict[str, Any] = {"n_steps": 40, "batch_size": 24, "n_epochs": 2, "seed": 1, "device": "cpu"}
    return cls("MlpPolicy", env, **{**defaults, **settings})


class Recorder(BaseCallback):
    """What a callback can see: the calls, its local variables, the buffer after each rollout."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.buffers: list[dict[str, Any]] = []
        self.episodes: list[bool] = []
        self.stop_at = stop_at

    def _on_rollout_start(self) -> None:
        self.calls.append("start")

    def _on_step(self) -> bool:
        self.calls.append("step")
        names = ("n_steps", "actions", "clipped_actions", "new_obs", "rewards", "dones")
        seen = {name: np.copy(self.locals[name]) for name in names}
        seen["infos"] = [sorted(info) for info in self.locals["infos"]]
        seen["truncated"] = np.array([info["TimeLimit.truncated"] for info in self.locals["infos"]])
        self.steps.append({**seen, "num_timesteps": self.model.num_timesteps})
        return self.n_calls != self.stop_at

    def _on_rollout_end(self) -> None:
        self.calls.append("end")
        buffer = self.locals["rollout_buffer"]
        self.buffers.append({k: np.copy(v) for k, v in vars(buffer).items() if isinstance(v, np.ndarray)})
        self.buffers[-1]["last values"] = self.locals["values"].numpy().ravel()
        self.buffers[-1]["last dones"] = np.copy(self.locals["dones"])
        self.episodes.append(any("episode" in info for info in self.locals["infos"]))


def train(cls: type[PPO], env: VecEnv, timesteps: int = 360, **settings: Any) -> tuple[PPO, Recorder]:
    model, recorder = make(cls, env, **settings), Recorder()
    model.set_logger(Logger(None, []))
    model.learn(timesteps, callback=CallbackList([recorder]))
    return model, recorder


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_a_whole_training_is_that_of_sb3_seed_for_seed(kind: str) -> None:
    env = ENVIRONMENTS[kind]
    stock, seen_by_stock = train(PPO, env())
    fused, seen = train(FusedPPO, env())
    assert seen.calls == seen_by_stock.calls
    for ours, theirs in zip(seen.steps, seen_by_stock.steps, strict=True):
        infos, rewards = (ours.pop("infos"), theirs.pop("infos")), (ours.pop("rewards"), theirs.pop("rewards"))
        if kind == "deferred":
            assert np.isnan(rewards[0]).all()
        else:
            assert infos[0] == infos[1]
            np.testing.assert_allclose(*rewards, rtol=1e-4, atol=1e-4)
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-4, err_msg=name)
    assert seen.episodes == seen_by_stock.episodes
    for ours, theirs in zip(seen.buffers, seen_by_stock.buffers, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)
    for name, expected in stock.policy.state_dict().items():
        np.testing.assert_allclose(fused.policy.state_dict()[name], expected, atol=1e-4, err_msg=name)
    episodes = [[info["r"], info["l"]] for info in stock.ep_info_buffer or ()]
    assert [[info["r"], info["l"]] for info in fused.ep_info_buffer or ()] == pytest.approx(
        np.array(episodes), rel=1e-4
    )
    assert fused.ep_success_buffer == stock.ep_success_buffer
    assert len(episodes) > 20
    timing = {"time/fps", "time/time_elapsed"}
    assert fused.logger.name_to_value.keys() - timing == stock.logger.name_to_value.keys() - timing


def test_the_rollout_bootstraps_truncated_episodes_and_not_terminated_ones() -> None:
    _, recorder = train(FusedPPO, normalized(), timesteps=120)
    seen = np.array([step["rewards"] for step in recorder.steps])
    raised = ~np.isclose(recorder.buffers[0]["rewards"], seen)
    truncated = np.array([step["truncated"] for step in recorder.steps])
    done = np.array([step["dones"] for step in recorder.steps])
    assert np.array_equal(raised, truncated)
    assert truncated.any()
    assert (done & ~truncated).any()


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_identical_seeds_give_bitwise_identical_trainings_and_other_seeds_others() -> None:
    def parameters(seed: int) -> list[np.ndarray]:
        model, _ = train(FusedPPO, normalized(), seed=seed)
        return [parameter.detach().numpy() for parameter in model.policy.parameters()]

    first, second, other = parameters(1), parameters(1), parameters(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "observations only": {"norm_reward": False},
    "rewards only": {"norm_obs": False},
    "frozen": {"training": False},
    "tight clips": {"clip_obs": 0.5, "clip_reward": 0.1, "gamma": 0.9, "epsilon": 1e-3},
    "one environment": {"n_envs": 1},
    "nine environments": {"n_envs": 9},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_lean_normalisation_equals_vec_normalize_to_the_last_bit(settings: dict[str, Any]) -> None:
    theirs, ours = normalized(**settings), normalized(**settings)
    assert np.array_equal(theirs.reset(), ours.reset())
    steps, rng = LeanSteps(ours, 60), np.random.default_rng(0)
    terminal = 0
    for _ in range(60):
        actions = rng.uniform(-0.5, 0.25, (theirs.num_envs, 2)).astype(np.float32)
        *expected, expected_infos = theirs.step(actions)
        *given, infos = steps.step(actions)
        for a, b in zip(given, expected, strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
        for a, b in zip(infos, expected_infos, strict=True):
            assert ("terminal_observation" in a) == ("terminal_observation" in b)
            if "terminal_observation" in a:
                assert np.array_equal(a["terminal_observation"], b["terminal_observation"])
                terminal += 1
        assert np.array_equal(ours.returns, theirs.returns)
        assert np.array_equal(ours.get_original_obs(), theirs.get_original_obs())
        assert np.array_equal(ours.get_original_reward(), theirs.get_original_reward())
        for name in ["ret_rms"] + ["obs_rms"] * theirs.norm_obs:
            a, b = getattr(ours, name), getattr(theirs, name)
            assert np.array_equal(a.mean, b.mean)
            assert np.array_equal(a.var, b.var)
            assert a.count == b.count
            assert type(a.copy().mean) is type(b.copy().mean)
    assert terminal > 0


DEFERRED = {name: settings for name, settings in SETTINGS.items() if "environment" not in name}


@pytest.mark.parametrize("settings", DEFERRED.values(), ids=DEFERRED.keys())
def test_rewards_deferred_to_the_rollout_s_end_are_those_of_vec_normalize_to_the_last_bit(
    settings: dict[str, Any],
) -> None:
    reward = None if settings else Written()
    theirs, ours = hopping(reward, 8, **settings), hopping(reward, 8, **settings)
    assert np.array_equal(theirs.reset(), ours.reset())
    rng, terminal = np.random.default_rng(0), 0
    for rollout in (40, 25):
        steps, expected, seen = LeanSteps(ours, rollout), [], []
        for _ in range(rollout):
            actions = rng.uniform(-1, 1, (8, 3)).astype(np.float32)
            expected.append(theirs.step(actions))
            seen.append(steps.step(actions))
        rewards = steps.rewards()
        assert rewards.dtype == np.float32
        assert np.array_equal(rewards, [rewards for _, rewards, _, _ in expected])
        for (a, _, dones, infos), (b, _, expected_dones, expected_infos) in zip(seen, expected, strict=True):
            assert np.array_equal(a, b)
            assert np.array_equal(dones, expected_dones)
            for info, other in zip(infos, expected_infos, strict=True):
                assert info.keys() == other.keys()
                if "episode" in info:
                    terminal += 1
                    assert np.array_equal(info["terminal_observation"], other["terminal_observation"])
                    assert info["episode"]["r"] == other["episode"]["r"]
                    assert info["episode_components"] == pytest.approx(other["episode_components"], rel=1e-12)
        assert np.array_equal(ours.returns, theirs.returns)
        assert np.array_equal(ours.get_original_reward(), theirs.get_original_reward())
        assert vars(ours.ret_rms) == vars(theirs.ret_rms)
    assert terminal > 20


def test_float32_observations_are_normalised_as_vec_normalize_does() -> None:
    class Single(Drift):
        observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    theirs, ours = (VecNormalize(DummyVecEnv([Single] * 3)) for _ in range(2))
    for env in (theirs, ours):
        env.seed(5)
        env.reset()
    steps = LeanSteps(ours, 20)
    for _ in range(20):
        actions = np.zeros((3, 2), np.float32)
        assert np.array_equal(steps.step(actions)[0], theirs.step(actions)[0])
    assert np.array_equal(ours.obs_rms.var, theirs.obs_rms.var)


def test_advantages_equal_those_of_the_rollout_buffer_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    buffer = RolloutBuffer(50, Drift.observation_space, Drift.action_space, "cpu", 0.95, 0.99, n_envs=4)
    buffer.rewards, buffer.values = (rng.standard_normal((50, 4)).astype(np.float32) for _ in range(2))
    buffer.episode_starts = (rng.random((50, 4)) < 0.1).astype(np.float32)
    last_values, last_dones = rng.standard_normal(4).astype(np.float32), rng.random(4) < 0.5
    buffer.compute_returns_and_advantage(th.from_numpy(last_values), last_dones)
    advantages = generalized_advantages(
        buffer.rewards,
        np.concatenate([buffer.values, last_values[None]]),
        np.concatenate([buffer.episode_starts[1:], last_dones[None].astype(np.float32)]),
        0.99,
        0.95,
    )
    assert np.array_equal(advantages, buffer.advantages)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("kind", ["normalised", "deferred"])
def test_a_callback_can_stop_the_training_in_the_middle_of_a_rollout(kind: str) -> None:
    env = ENVIRONMENTS[kind]()
    model, recorder = make(FusedPPO, env), Recorder(stop_at=50)
    model.learn(10_000, callback=recorder)
    assert model.num_timesteps == 150
    assert len(model.ep_info_buffer or ()) >= 6
    assert np.isfinite(env.step(np.zeros((3, *env.action_space.shape), np.float32))[1]).all()
    assert recorder.calls == ["start"] + ["step"] * 40 + ["end", "start"] + ["step"] * 10


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_a_trained_policy_acts_identically_in_stock_sb3(tmp_path: Any) -> None:
    model, _ = train(FusedPPO, normalized())
    model.save(tmp_path / "model.zip")
    stock = PPO.load(tmp_path / "model.zip", device="cpu")
    observations = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    for deterministic in (True, False):
        th.manual_seed(0)
        ours = model.predict(observations, deterministic=deterministic)[0]
        th.manual_seed(0)
        assert np.array_equal(stock.predict(observations, deterministic=deterministic)[0], ours)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("activation", [th.nn.Tanh, th.nn.ReLU, th.nn.ELU])
def test_rollouts_act_value_and_weigh_with_the_policy_s_own_numbers(activation: type[th.nn.Module]) -> None:
    kwargs = {"net_arch": {"pi": [16], "vf": [32, 8]}, "activation_fn": activation, "log_std_init": -0.7}
    model = make(FusedPPO, normalized(), policy_kwargs=kwargs)
    recorder = Recorder()
    model.learn(1, callback=recorder)
    again = make(FusedPPO, normalized(), policy_kwargs=kwargs)
    buffer = recorder.buffers[0]
    observations = th.from_numpy(buffer["observations"].reshape(-1, 4))
    with th.no_grad():
        values, log_prob, _ = again.policy.evaluate_actions(
            observations, th.from_numpy(buffer["actions"].reshape(-1, 2))
        )
    np.testing.assert_allclose(buffer["values"].ravel(), values[:, 0], atol=1e-5)
    np.testing.assert_allclose(buffer["log_probs"].ravel(), log_prob, atol=1e-5)
