"""A trained policy as plain arrays: what leaves box A and what box B acts with. numpy and safetensors only, no torch.

The arrays are the Stable-Baselines3 policy's `state_dict()` under its own names; `NumpyPolicy` gives the actions that
`predict(deterministic=True)` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from eureka_sandbox.protocol import PolicyMeta as PolicyMeta

WEIGHTS_FILE = "policy.safetensors"
META_FILE = "policy.json"
NORMALIZER = ("normalizer.mean", "normalizer.var")


class PolicyError(Exception):
    """A policy whose arrays and description do not fit together, or that holds non-finite numbers."""


def _elu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _relu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.maximum(x, np.float32(0))


_ACTIVATIONS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "tanh": np.tanh,
    "relu": _relu,
    "elu": _elu,
}


def actor_layers(meta: PolicyMeta) -> list[str]:
    """State-dict prefixes of the actor's linear layers, first to last, in Stable-Baselines3's names."""
    depth = len(meta.net_arch["pi"])
    hidden = {"ppo": "mlp_extractor.policy_net", "sac": "actor.latent_pi", "td3": "actor.mu"}[meta.algorithm]
    last = {"ppo": "action_net", "sac": "actor.mu", "td3": f"actor.mu.{2 * depth}"}[meta.algorithm]
    return [f"{hidden}.{2 * layer}" for layer in range(depth)] + [last]


class NumpyPolicy:
    """The deterministic actor of an SB3 PPO, SAC or TD3 policy, evaluated in float32 by numpy."""

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], meta: PolicyMeta) -> None:
        """Check the arrays against the description.

        Args:
            arrays: the policy's state dict, float32, and `normalizer.mean`, `normalizer.var` (float64, `(obs,)`)
                if `meta.normalise`. Arrays that the actor does not use (critics) must only be finite.
            meta: `policy.json`.

        Raises:
            PolicyError: an array is missing, or has the wrong shape or dtype, or is not finite.
        """
        _check_finite(arrays)
        if "pi" not in meta.net_arch:
            raise PolicyError(f"net_arch needs the key 'pi', it has: {', '.join(sorted(meta.net_arch)) or 'none'}")
        if len(meta.action_low) != len(meta.action_high):
            raise PolicyError(f"action_low has {len(meta.action_low)} entries, action_high {len(meta.action_high)}")
        self.meta = meta
        self._low = np.asarray(meta.action_low, dtype=np.float32)
        self._high = np.asarray(meta.action_high, dtype=np.float32)
        sizes = [meta.observation_size, *meta.net_arch["pi"], len(meta.action_low)]
        self._layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        for name, inputs, outputs in zip(actor_layers(meta), sizes, sizes[1:], strict=False):
            weight = _take(arrays, f"{name}.weight", (outputs, inputs), np.float32)
            bias = _take(arrays, f"{name}.bias", (outputs,), np.float32)
            self._layers.append((np.ascontiguousarray(weight.T), bias))
        if meta.normalise:
            mean, variance = (_take(arrays, name, (meta.observation_size,), np.float64) for name in NORMALIZER)
            if (variance < 0).any():
                raise PolicyError(f"normalizer.var has a negative entry: {variance.min()}")
            self._mean, self._scale = mean, np.sqrt(variance + meta.epsilon)
        self._activation = _ACTIVATIONS[meta.activation]

    @classmethod
    def load(cls, folder: Path) -> NumpyPolicy:
        """Read `policy.safetensors` and `policy.json` from a folder.

        Raises:
            PolicyError: a file is missing, unreadable, or does not fit the other.
        """
        try:
            meta = PolicyMeta.model_validate_json((folder / META_FILE).read_bytes())
            arrays = load_safetensors((folder / WEIGHTS_FILE).read_bytes())
        except OSError as error:
            raise PolicyError(f"{error.filename}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise PolicyError(f"{META_FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except SafetensorError as error:
            raise PolicyError(f"{WEIGHTS_FILE}: {error}") from error
        return cls(arrays, meta)

    def act(self, observations: NDArray[np.floating]) -> NDArray[np.float32]:
        """Deterministic actions within the bounds, `(N, nu)`, for observations `(N, obs)`."""
        hidden = self._inputs(observations)
        for weight, bias in self._layers[:-1]:
            hidden = self._activation(hidden @ weight + bias)
        weight, bias = self._layers[-1]
        output: NDArray[np.float32] = hidden @ weight + bias
        if self.meta.algorithm == "ppo":
            return np.clip(output, self._low, self._high)
        actions: NDArray[np.float32] = self._low + np.float32(0.5) * (np.tanh(output) + 1) * (self._high - self._low)
        return actions

    def _inputs(self, observations: NDArray[np.floating]) -> NDArray[np.float32]:
        if self.meta.normalise:
            limit = self.meta.clip_obs
            observations = np.clip((observations - self._mean) / self._scale, -limit, limit)
        return observations.astype(np.float32)


def _check_finite(arrays: Mapping[str, NDArray[np.generic]]) -> None:
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise PolicyError(f"array {name!r} is {array.dtype}, expected a float")
        if not np.isfinite(array).all():
            raise PolicyError(f"array {name!r} holds NaN or infinity: the training diverged")


def _take(
    arrays: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int, ...], dtype: type[np.floating]
) -> NDArray[np.floating]:
    if name not in arrays:
        raise PolicyError(f"array {name!r} is missing; there are: {', '.join(sorted(arrays)) or 'none'}")
    array = arrays[name]
    if array.shape != shape or array.dtype != dtype:
        raise PolicyError(f"array {name!r} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
    return array  # type: ignore[return-value]
