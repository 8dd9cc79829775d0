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


Floats = NDArray[np.float64]


def _elu(x: Floats) -> Floats:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0.0)


_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
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
    """The deterministic actor of an SB3 PPO, SAC or TD3 policy, in numpy.

    It computes in float64, so its actions differ from SB3's by SB3's own float32 rounding, less than 1e-6.
    """

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
        self._low = np.asarray(meta.action_low)
        self._high = np.asarray(meta.action_high)
        sizes = [meta.observation_size, *meta.net_arch["pi"], len(meta.action_low)]
        self._layers: list[tuple[Floats, Floats]] = []
        for name, inputs, outputs in zip(actor_layers(meta), sizes, sizes[1:], strict=False):
            weight = _take(arrays, f"{name}.weight", (outputs, inputs), np.float32)
            bias = _take(arrays, f"{name}.bias", (outputs,), np.float32)
            self._layers.append((np.ascontiguousarray(weight.T, dtype=np.float64), bias.astype(np.float64)))
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
        """Deterministic actions within the bounds, `(N, nu)`, for observations `(N, obs)`.

        Each row is multiplied on its own, so that an episode is the same, to the last bit, whatever is played beside
        it: BLAS sums a row of a larger matrix in another order.
        """
        hidden = self._inputs(observations)[:, None, :]
        for weight, bias in self._layers[:-1]:
            hidden = self._activation(hidden @ weight + bias)
        weight, bias = self._layers[-1]
        output: Floats = (hidden @ weight + bias)[:, 0, :]
        if self.meta.algorithm != "ppo":
            output = self._low + 0.5 * (np.tanh(output) + 1.0) * (self._high - self._low)
        return np.clip(output, self._low, self._high).astype(np.float32)

    def _inputs(self, observations: NDArray[np.floating]) -> Floats:
        if self.meta.normalise:
            limit = self.meta.clip_obs
            observations = np.clip((observations - self._mean) / self._scale, -limit, limit)
        return observations.astype(np.float32).astype(np.float64)  # SB3's networks take float32


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
