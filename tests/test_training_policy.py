"""Policies leave as arrays and come back into stock SB3 with the same actions; no pickle on the way."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from eureka_sandbox.protocol import EnvironmentSpec, TrainSpec
from eureka_sandbox.worker.emit import Emitter
from eureka_sandbox.worker.policy import NumpyPolicy, PolicyError
from eureka_sandbox.worker.policy_sb3 import load_into_sb3, save_for_sb3
from eureka_sandbox.worker.training import train

HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "ppo": {"n_envs": 2, "n_steps": 64, "batch_size": 32, "policy_kwargs": {"net_arch": {"pi": [16, 8], "vf": [4]}}},
    "sac": {"learning_starts": 20, "batch_size": 16, "policy_kwargs": {"net_arch": [16, 8], "n_critics": 3}},
    "td3": {"learning_starts": 20, "batch_size": 16, "policy_kwargs": {"net_arch": [16, 8], "activation_fn": "elu"}},
}


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trains, writes the two files, and keeps the model that the training itself ended with."""

    def run(algorithm: str, normalize: Any) -> tuple[Path, BaseAlgorithm]:
        kept: list[BaseAlgorithm] = []
        stock = {"ppo": PPO, "sac": SAC, "td3": TD3}[algorithm]
        setup = stock._setup_model

        def remember(model: BaseAlgorithm) -> None:
            kept.append(model)
            setup(model)

        with monkeypatch.context() as patch:
            patch.setattr(stock, "_setup_model", remember)
            spec = TrainSpec(
                environment=EnvironmentSpec(body="hopper", max_episode_steps=50),
                algorithm=algorithm,
                hyperparameters=HYPERPARAMETERS[algorithm] | {"normalize": normalize},
                total_timesteps=256,
                seed=1,
            )
            _, blobs = train(spec, tmp_path, Emitter(io.BytesIO()))
        for name, data in blobs.items():
            (tmp_path / name).write_bytes(data)
        return tmp_path, kept[0]

    return run


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
@pytest.mark.parametrize("normalize", [False, {"clip_obs": 2.5, "epsilon": 1e-6}])
def test_a_policy_acts_the_same_in_training_in_stock_sb3_and_in_numpy(trained, algorithm: str, normalize: Any) -> None:
    folder, original = trained(algorithm, normalize)
    model, normalizer = load_into_sb3(folder)
    assert type(model) in (PPO, SAC, TD3)
    assert (normalizer is not None) == bool(normalize)
    observations = np.random.default_rng(0).normal(0, 3, (64, 11))
    original_env = original.get_vec_normalize_env()
    expected, _ = original.predict(
        original_env.normalize_obs(observations) if original_env else observations, deterministic=True
    )
    loaded, _ = model.predict(
        normalizer.normalize_obs(observations) if normalizer else observations, deterministic=True
    )
    np.testing.assert_array_equal(loaded, expected)
    np.testing.assert_allclose(NumpyPolicy.load(folder).act(observations), expected, atol=2e-6)


def test_a_loaded_policy_can_go_on_learning_in_its_gymnasium_environment(trained) -> None:
    folder, _ = trained("ppo", True)
    model, normalizer = load_into_sb3(folder)
    assert model.get_env() is normalizer
    before = model.policy.action_net.weight.detach().clone()
    model.n_steps = model.rollout_buffer.buffer_size = 64
    model.rollout_buffer.reset()
    model.learn(64)
    assert not before.equal(model.policy.action_net.weight)


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
@pytest.mark.parametrize("normalize", [False, {"clip_obs": 2.5, "epsilon": 1e-6}])
def test_the_files_for_stock_sb3_load_with_its_own_load_and_act_the_same(
    trained, algorithm: str, normalize: Any
) -> None:
    folder, _ = trained(algorithm, normalize)
    save_for_sb3(folder)
    model = {"ppo": PPO, "sac": SAC, "td3": TD3}[algorithm].load(folder / "policy.zip")
    observations = np.random.default_rng(0).normal(0, 3, (64, 11))
    expected = NumpyPolicy.load(folder).act(observations)
    assert (folder / "vecnormalize.pkl").exists() == bool(normalize)
    if normalize:
        env = DummyVecEnv([lambda: gymnasium.make("Hopper-v5")])
        normalizer = VecNormalize.load(str(folder / "vecnormalize.pkl"), env)
        assert (normalizer.training, normalizer.norm_reward) == (False, False)
        observations = normalizer.normalize_obs(observations)
    np.testing.assert_allclose(model.predict(observations, deterministic=True)[0], expected, atol=2e-6)


def test_a_normaliser_of_rewards_alone_leaves_no_trace_in_the_policy(trained) -> None:
    folder, _ = trained("ppo", {"norm_obs": False})
    assert not NumpyPolicy.load(folder).meta.normalise
    assert load_into_sb3(folder)[1] is None


def test_a_pickle_in_place_of_the_weights_is_refused_unread(trained) -> None:
    folder, _ = trained("ppo", True)
    (folder / "policy.safetensors").write_bytes(pickle.dumps({"action_net.weight": np.zeros(3)}))
    with pytest.raises(PolicyError, match=r"policy\.safetensors"):
        load_into_sb3(folder)


def test_weights_without_the_value_network_are_refused(trained) -> None:
    folder, _ = trained("ppo", True)
    arrays = load_arrays((folder / "policy.safetensors").read_bytes())
    (folder / "policy.safetensors").write_bytes(save_arrays({n: a for n, a in arrays.items() if "value" not in n}))
    with pytest.raises(PolicyError, match=r"policy\.safetensors: .*value_net\.weight"):
        load_into_sb3(folder)


def test_an_unknown_body_asks_for_an_environment(trained) -> None:
    folder, _ = trained("ppo", True)
    meta = (folder / "policy.json").read_text()
    (folder / "policy.json").write_text(meta.replace('"hopper"', '"unicycle"'))
    with pytest.raises(ValueError, match=r"unknown body 'unicycle'; pass the environment"):
        load_into_sb3(folder)
