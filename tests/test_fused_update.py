"""The compiled update against `stable_baselines3.PPO.train()` itself."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from eureka_sandbox.worker.learners.fused_ppo import FusedPPO

th.set_num_threads(1)  # two threads fight over arrays this small: tens of times slower on a busy machine

N_STEPS, N_ENVS = 64, 2


class Blank(gym.Env[Any, Any]):
    """Spaces only: these tests fill the rollout buffer themselves."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def box(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(-1.0, 1.0, shape, np.float32)


def make(cls: type[PPO], action_space: gym.Space[Any] | None = None, **settings: Any) -> PPO:
    env = DummyVecEnv([lambda: Blank(box(5), action_space or box(3))] * N_ENVS)
    defaults: dict[str, Any] = {"n_steps": N_STEPS, "batch_size": 16, "n_epochs": 4, "seed": 3, "device": "cpu"}
    model = cls("MlpPolicy", env, **{**defaults, **settings})
    model.set_logger(Logger(None, []))
    return model


def fill(model: PPO, seed: int) -> RolloutBuffer:
    """Random transitions under the model's own policy, as a rollout would leave them."""
    rng = np.random.default_rng(seed)
    buffer = model.rollout_buffer
    buffer.reset()
    for _ in range(buffer.buffer_size):
        observations = rng.standard_normal((N_ENVS, 5)).astype(np.float32)
        with th.no_grad():
            actions, values, log_probs = model.policy(th.as_tensor(observations))
        rewards, starts = rng.standard_normal(N_ENVS), rng.random(N_ENVS) < 0.1
        buffer.add(observations, actions.numpy(), rewards, starts, values, log_probs)
    buffer.compute_returns_and_advantage(th.zeros(N_ENVS), np.zeros(N_ENVS, bool))
    return copy.deepcopy(buffer)


def assert_same_models(fused: PPO, stock: PPO, tolerance: float = 1e-4) -> None:
    for name, expected in stock.policy.state_dict().items():
        np.testing.assert_allclose(fused.policy.state_dict()[name], expected, atol=tolerance, rtol=0, err_msg=name)
    for ours, theirs in zip(fused.policy.parameters(), stock.policy.parameters(), strict=True):
        state, expected = fused.policy.optimizer.state[ours], stock.policy.optimizer.state[theirs]
        assert float(state["step"]) == float(expected["step"])
        for moment in ("exp_avg", "exp_avg_sq"):
            np.testing.assert_allclose(state[moment], expected[moment], atol=tolerance, rtol=0)


CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "advantages not normalised": {"normalize_advantage": False},
    "value clipping": {"clip_range_vf": 0.05},
    "entropy bonus": {"ent_coef": 0.02},
    "gradient clipping active at every step": {"max_grad_norm": 0.01},
    "gradient clipping never active": {"max_grad_norm": 1e9},
    "policy clipping active": {"clip_range": 0.01, "learning_rate": 3e-3},
    "early stopping": {"target_kl": 0.01, "learning_rate": 3e-3},
    "early stopping that never stops": {"target_kl": 10.0},
    "truncated last minibatch": {"batch_size": 24},
    "last minibatch of one sample": {"batch_size": 127},
    "minibatch larger than the rollout": {"batch_size": 1000},
    "ten epochs": {"n_epochs": 10},
    "value coefficient": {"vf_coef": 1.7},
    "schedules": {
        "learning_rate": lambda remaining: 1e-3 * remaining,
        "clip_range": lambda remaining: 0.3 * remaining,
        "clip_range_vf": lambda remaining: 0.2 * remaining,
    },
    "ReLU, uneven nets": {"policy_kwargs": {"activation_fn": th.nn.ReLU, "net_arch": {"pi": [32], "vf": [48, 24, 8]}}},
    "ELU": {"policy_kwargs": {"activation_fn": th.nn.ELU, "net_arch": [16, 16], "log_std_init": -1.0}},
    "linear actor": {"policy_kwargs": {"net_arch": {"pi": [], "vf": [16]}}},
    "Adam's own settings": {"policy_kwargs": {"optimizer_kwargs": {"betas": (0.8, 0.99), "eps": 1e-3}}},
    "everything at once": {
        "clip_range_vf": 0.1,
        "ent_coef": 0.01,
        "target_kl": 0.02,
        "batch_size": 24,
        "max_grad_norm": 0.1,
        "learning_rate": lambda remaining: 2e-3 * remaining,
    },
}


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
@pytest.mark.parametrize("settings", CASES.values(), ids=CASES.keys())
def test_gives_the_parameters_logs_and_random_state_of_sb3_over_three_updates(settings: dict[str, Any]) -> None:
    stock, fused = make(PPO, **settings), make(FusedPPO, **settings)
    for update, remaining in enumerate((1.0, 0.6, 0.3)):
        fused.rollout_buffer = fill(stock, seed=update)
        for model in (stock, fused):
            model._current_progress_remaining = remaining
            np.random.seed(update)
            model.train()
            model.final_draw = np.random.random()
        assert stock.final_draw == fused.final_draw
        assert_same_models(fused, stock)
        expected = stock.logger.name_to_value
        assert fused.logger.name_to_value == pytest.approx(dict(expected), rel=1e-3, abs=1e-5)


def test_early_stopping_case_really_stops_early_and_not_at_once() -> None:
    model = make(FusedPPO, **CASES["early stopping"])
    fill(model, seed=0)
    model.train()
    steps = float(model.policy.optimizer.state_dict()["state"][0]["step"])
    assert 0 < steps < 4 * 8
    assert 1 <= model.logger.name_to_value["train/n_updates"] < 4


def test_continues_after_save_and_load_with_adam_s_moments_in_stock_sb3(tmp_path: Any) -> None:
    fused = make(FusedPPO)
    fill(fused, seed=0)
    fused.train()
    fused.save(tmp_path / "model.zip")
    stock, again = PPO.load(tmp_path / "model.zip", device="cpu"), FusedPPO.load(tmp_path / "model.zip")
    assert_same_models(stock, fused, tolerance=0)
    buffer = fill(fused, seed=1)
    for model in (stock, again):
        model.set_logger(Logger(None, []))
        model.rollout_buffer = copy.deepcopy(buffer)
        np.random.seed(1)
        model.train()
    assert_same_models(again, stock)


UNCOVERED: dict[str, tuple[dict[str, Any], str]] = {
    "Discrete actions": ({"action_space": gym.spaces.Discrete(3)}, "action space Discrete"),
    "gSDE": ({"use_sde": True}, "use_sde=True"),
    "another activation": ({"policy_kwargs": {"activation_fn": th.nn.SiLU}}, "activation SiLU"),
    "another optimizer": ({"policy_kwargs": {"optimizer_class": th.optim.SGD}}, "optimizer SGD"),
    "weight decay": ({"policy_kwargs": {"optimizer_kwargs": {"weight_decay": 0.1}}}, "weight_decay=0.1"),
}


@pytest.mark.parametrize(("settings", "reason"), UNCOVERED.values(), ids=UNCOVERED.keys())
def test_falls_back_to_sb3_with_one_log_line_where_the_model_is_not_covered(
    settings: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = make(FusedPPO, **settings)
    for seed in (0, 1):
        fill(model, seed)
        model.train()
    assert [record for record in caplog.messages if reason in record] == caplog.messages
    assert len(caplog.messages) == 1
