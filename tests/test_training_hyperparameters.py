"""rl-zoo style hyperparameters: what they become, and what is said about the ones that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise
from torch import nn

from eureka_sandbox.worker.hyperparameters import HyperparameterError, recipe


def test_ppo_without_hyperparameters_is_sb3s_recipe_over_eight_normalised_environments() -> None:
    plan = recipe("ppo", {}, 3, 1000)
    assert (plan.n_envs, plan.model["n_steps"]) == (8, 256)
    assert plan.normalize == {"gamma": 0.99}


def test_an_rl_zoo_entry_is_understood_as_it_stands() -> None:
    entry = {
        "normalize": True,
        "n_envs": 1,
        "policy": "MlpPolicy",
        "n_steps": 512,
        "batch_size": 32,
        "gamma": 0.999,
        "learning_rate": "lin_9.8e-5",
        "ent_coef": 0.00229519,
        "clip_range": 0.2,
        "max_grad_norm": 0.7,
        "policy_kwargs": {
            "log_std_init": -2,
            "ortho_init": False,
            "activation_fn": "nn.ReLU",
            "net_arch": {"pi": [256, 256], "vf": [256, 128]},
        },
    }
    plan = recipe("ppo", entry, 3, 1000)
    assert plan.normalize == {"gamma": 0.999}
    assert plan.model["learning_rate"](0.5) == pytest.approx(4.9e-5)
    assert plan.model["policy_kwargs"] == {
        "log_std_init": -2.0,
        "ortho_init": False,
        "activation_fn": nn.ReLU,
        "net_arch": {"pi": [256, 256], "vf": [256, 128]},
    }


def test_numbers_that_yaml_leaves_as_text_are_numbers() -> None:
    plan = recipe("sac", {"learning_rate": "3e-4", "batch_size": "1e2", "ent_coef": "auto_0.1"}, 1, 1000)
    assert (plan.model["learning_rate"], plan.model["batch_size"]) == (3e-4, 100)
    assert plan.model["ent_coef"] == "auto_0.1"


def test_a_replay_buffer_is_no_larger_than_the_training() -> None:
    assert recipe("sac", {}, 1, 5000).model["buffer_size"] == 5001
    assert recipe("sac", {"buffer_size": 300}, 1, 5000).model["buffer_size"] == 300


def test_action_noise_has_the_size_of_the_action_in_every_environment() -> None:
    single = recipe("td3", {"noise_type": "normal", "noise_std": 0.3}, 2, 100).model["action_noise"]
    assert isinstance(single, NormalActionNoise)
    assert single().shape == (2,)
    several = recipe("td3", {"noise_type": "ornstein-uhlenbeck", "n_envs": 4}, 2, 100).model["action_noise"]
    assert isinstance(several, VectorizedActionNoise)
    assert several().shape == (4, 2)


def test_options_of_normalize_reach_vecnormalize() -> None:
    plan = recipe("ppo", {"normalize": {"norm_reward": False, "clip_obs": 5}, "gamma": 0.9}, 1, 100)
    assert plan.normalize == {"gamma": 0.9, "norm_reward": False, "clip_obs": 5.0}
    assert recipe("ppo", {"normalize": False}, 1, 100).normalize is None


@pytest.mark.parametrize(
    ("algorithm", "given", "message"),
    [
        ("ppo", {"learning_rat": 1}, "unknown hyperparameter 'learning_rat'; did you mean 'learning_rate'"),
        ("ppo", {"buffer_size": 1}, "unknown hyperparameter 'buffer_size'"),
        ("sac", {"n_epochs": 1}, "unknown hyperparameter 'n_epochs'"),
        ("ppo", {"use_sde": True}, "unknown hyperparameter 'use_sde'"),
        ("ppo", {"seed": 1}, "unknown hyperparameter 'seed'"),
        ("ppo", {"n_timesteps": 1e6}, "training.timesteps"),
        ("ppo", {"policy": "CnnPolicy"}, "only MlpPolicy"),
        ("ppo", {"n_steps": 0}, "n_steps: expected a whole number, at least 1, got 0"),
        ("ppo", {"n_envs": 1.5}, "n_envs: expected a whole number"),
        ("ppo", {"gamma": "high"}, "gamma: expected a number, got 'high'"),
        ("ppo", {"gamma": True}, "gamma: expected a number"),
        ("ppo", {"gamma": float("nan")}, "gamma: expected a number"),
        ("ppo", {"n_steps": "inf"}, "n_steps: expected a number"),
        ("ppo", {"normalize_advantage": 1}, "normalize_advantage: expected true or false"),
        ("ppo", {"normalize": "dict(norm_obs=True)"}, "normalize: expected true or false"),
        ("ppo", {"normalize": {"norm_rewards": True}}, "did you mean 'norm_reward'"),
        ("ppo", {"learning_rate": "sin_3e-4"}, "learning_rate: expected a number"),
        ("ppo", {"learning_rate": "lin_x"}, "learning_rate: expected a number"),
        ("ppo", {"policy_kwargs": "dict(net_arch=[64])"}, "policy_kwargs: expected a mapping.*never evaluated"),
        ("ppo", {"policy_kwargs": {"net_arc": [64]}}, "did you mean 'net_arch'"),
        ("ppo", {"policy_kwargs": {"net_arch": {"pi": [64]}}}, "net_arch: expected"),
        ("ppo", {"policy_kwargs": {"net_arch": [0]}}, "net_arch: expected a whole number"),
        ("ppo", {"policy_kwargs": {"activation_fn": "nn.Tan"}}, "unknown activation_fn 'tan'; did you mean 'tanh'"),
        ("ppo", {"noise_type": "normal"}, "only SAC and TD3"),
        ("td3", {"noise_type": "pink"}, "unknown noise_type 'pink'"),
        ("td3", {"noise_std": 0.1}, "give noise_type as well"),
        ("td3", {"train_freq": [1, "episode"], "n_envs": 2}, "whole episodes need n_envs 1"),
        ("td3", {"train_freq": [1, "year"]}, "train_freq: expected a number"),
        ("ppo", {"n_envs": 4097}, "n_envs: at most 4096, got 4097"),
        ("ppo", {"policy_kwargs": {"net_arch": [4097]}}, "net_arch: at most 4096, got 4097"),
        ("ppo", {"clip_range_vf": 0}, r"clip_range_vf: expected a number above 0 \(or null, for none\), got 0"),
        ("ppo", {"clip_range_vf": "lin_-0.2"}, "clip_range_vf: expected a number above 0"),
        ("ppo", {"normalize": {"epsilon": 0}}, "epsilon: expected a number above 0"),
        ("ppo", {"normalize": {"clip_obs": -1}}, "clip_obs: expected a number above 0"),
        ("ppo", {"batch_size": 1}, "batch_size: a single advantage cannot be normalised; batch_size 2 or more"),
        ("ppo", {"n_envs": 1, "n_steps": 1}, "n_steps: a single advantage cannot be normalised"),
    ],
)
def test_what_cannot_be_is_refused_by_name(algorithm: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        recipe(algorithm, given, 2, 1000)


def test_a_single_advantage_is_enough_where_none_is_normalised() -> None:
    plan = recipe("ppo", {"n_envs": 1, "n_steps": 1, "batch_size": 1, "normalize_advantage": False}, 1, 100)
    assert (plan.n_envs, plan.model["n_steps"], plan.model["batch_size"]) == (1, 1, 1)


def test_whole_episodes_between_updates_are_possible_with_one_environment() -> None:
    model = recipe("td3", {"train_freq": [1, "episode"], "gradient_steps": -1, "learning_starts": 0}, 1, 100).model
    assert (model["train_freq"], model["gradient_steps"], model["learning_starts"]) == ((1, "episode"), -1, 0)
