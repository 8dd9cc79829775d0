"""The numpy policy acts as Stable-Baselines3 does, and refuses arrays that do not fit their description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.numpy import save
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from eureka_sandbox.worker.policy import NumpyPolicy, PolicyError, PolicyMeta

OBSERVATIONS, ACTIONS = 11, 3
LOW, HIGH = [-1.0, -2.0, -0.5], [1.0, 0.5, 3.0]
ALGORITHMS = {"ppo": PPO, "sac": SAC, "td3": TD3}
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "elu": torch.nn.ELU}


class Still(gymnasium.Env[np.ndarray, np.ndarray]):
    """Spaces only; the policies here are never trained."""

    observation_space = spaces.Box(-np.inf, np.inf, (OBSERVATIONS,), np.float64)
    action_space = spaces.Box(np.array(LOW, np.float32), np.array(HIGH, np.float32))

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(OBSERVATIONS), {}


def make(algorithm: str, widths: list[int], activation: str) -> tuple[Any, dict[str, np.ndarray], PolicyMeta]:
    critic = "vf" if algorithm == "ppo" else "qf"
    net_arch = {"pi": widths, critic: [16]}
    kwargs = {"net_arch": net_arch, "activation_fn": ACTIVATIONS[activation]}
    extra = {} if algorithm == "ppo" else {"buffer_size": 10}
    model = ALGORITHMS[algorithm]("MlpPolicy", Still(), policy_kwargs=kwargs, seed=3, device="cpu", **extra)
    with torch.no_grad():
        for parameter in model.policy.parameters():  # PPO's initial biases and last layer are (nearly) zero
            parameter.copy_(torch.randn_like(parameter) / max(parameter.shape[-1], 1) ** 0.5)
    arrays = {name: value.numpy() for name, value in model.policy.state_dict().items()}
    meta = PolicyMeta(
        algorithm=algorithm,
        observation_size=OBSERVATIONS,
        action_low=LOW,
        action_high=HIGH,
        net_arch=net_arch,
        activation=activation,
        normalise=False,
        body="hopper",
        timesteps=0,
    )
    return model, arrays, meta


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
@pytest.mark.parametrize(
    ("widths", "activation"), [([64, 64], "tanh"), ([400, 300], "relu"), ([32, 16, 8], "elu"), ([], "relu")]
)
def test_actions_equal_those_of_stable_baselines3(algorithm: str, widths: list[int], activation: str) -> None:
    model, arrays, meta = make(algorithm, widths, activation)
    observations = np.random.default_rng(0).normal(scale=2.0, size=(50, OBSERVATIONS))
    expected, _ = model.predict(observations, deterministic=True)
    actions = NumpyPolicy(arrays, meta).act(observations)
    assert np.ptp(expected, axis=0).max() > 0.1, "the policies must do something for the comparison to mean anything"
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-6)


def test_normalisation_equals_that_of_vecnormalize() -> None:
    model, arrays, meta = make("ppo", [64, 64], "tanh")
    rng = np.random.default_rng(1)
    normalizer = VecNormalize(DummyVecEnv([Still]), training=False, clip_obs=3.0, epsilon=1e-4)
    normalizer.obs_rms.mean = rng.normal(size=OBSERVATIONS)
    normalizer.obs_rms.var = rng.uniform(1e-3, 4.0, size=OBSERVATIONS)
    observations = rng.normal(scale=5.0, size=(40, OBSERVATIONS))
    expected, _ = model.predict(normalizer.normalize_obs(observations), deterministic=True)
    arrays |= {"normalizer.mean": normalizer.obs_rms.mean, "normalizer.var": normalizer.obs_rms.var}
    meta = meta.model_copy(update={"normalise": True, "clip_obs": 3.0, "epsilon": 1e-4})
    np.testing.assert_allclose(NumpyPolicy(arrays, meta).act(observations), expected, rtol=0, atol=1e-6)


def test_a_policy_written_to_a_folder_acts_the_same_when_loaded(tmp_path: Path) -> None:
    _, arrays, meta = make("sac", [16, 16], "relu")
    (tmp_path / "policy.safetensors").write_bytes(save(arrays))
    (tmp_path / "policy.json").write_text(meta.model_dump_json())
    observations = np.random.default_rng(2).normal(size=(5, OBSERVATIONS))
    expected = NumpyPolicy(arrays, meta).act(observations)
    np.testing.assert_array_equal(NumpyPolicy.load(tmp_path).act(observations), expected)


def break_nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["action_net.bias"] = np.full(ACTIONS, np.nan, np.float32)


def break_critic(arrays: dict[str, np.ndarray]) -> None:
    arrays["value_net.bias"] = np.full(1, np.inf, np.float32)


def break_missing(arrays: dict[str, np.ndarray]) -> None:
    del arrays["mlp_extractor.policy_net.2.bias"]


def break_shape(arrays: dict[str, np.ndarray]) -> None:
    arrays["action_net.weight"] = arrays["action_net.weight"].T


def break_dtype(arrays: dict[str, np.ndarray]) -> None:
    arrays["action_net.weight"] = arrays["action_net.weight"].astype(np.float64)


def break_kind(arrays: dict[str, np.ndarray]) -> None:
    arrays["action_net.weight"] = arrays["action_net.weight"].astype(np.int32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_nan, "'action_net.bias' holds NaN or infinity"),
        (break_critic, "'value_net.bias' holds NaN or infinity"),
        (break_missing, "'mlp_extractor.policy_net.2.bias' is missing"),
        (break_shape, r"'action_net.weight' is float32 \(64, 3\), expected float32 \(3, 64\)"),
        (break_dtype, r"'action_net.weight' is float64 \(3, 64\), expected float32 \(3, 64\)"),
        (break_kind, "'action_net.weight' is int32, expected a float"),
    ],
)
def test_damaged_arrays_are_refused_by_name(damage: Any, message: str) -> None:
    _, arrays, meta = make("ppo", [64, 64], "tanh")
    damage(arrays)
    with pytest.raises(PolicyError, match=message):
        NumpyPolicy(arrays, meta)


def test_a_negative_variance_is_refused() -> None:
    _, arrays, meta = make("ppo", [8], "tanh")
    arrays |= {"normalizer.mean": np.zeros(OBSERVATIONS), "normalizer.var": np.full(OBSERVATIONS, -1.0)}
    with pytest.raises(PolicyError, match="negative"):
        NumpyPolicy(arrays, meta.model_copy(update={"normalise": True}))


@pytest.mark.parametrize(("file", "content"), [("policy.safetensors", b"\x00" * 64), ("policy.json", b'{"format": 2}')])
def test_an_unreadable_file_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    _, arrays, meta = make("ppo", [8], "tanh")
    (tmp_path / "policy.safetensors").write_bytes(save(arrays))
    (tmp_path / "policy.json").write_text(meta.model_dump_json())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(PolicyError, match=file):
        NumpyPolicy.load(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(PolicyError, match="No such file"):
        NumpyPolicy.load(tmp_path)
