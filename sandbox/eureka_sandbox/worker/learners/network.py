"""The actor-critic of SB3's `MlpPolicy`: its parameters as one flat float32 vector, its forward pass in JAX and NumPy.

One vector instead of a dozen arrays makes Adam, gradient clipping and the exchange with torch one operation each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jax import Array

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """Layer sizes of a Gaussian actor-critic without shared layers; hashable, so that programs are cached by it."""

    observation_size: int
    pi: tuple[int, ...]
    """Hidden units of the actor, per layer."""
    vf: tuple[int, ...]
    """Hidden units of the critic, per layer."""
    action_size: int
    activation: str
    """`tanh`, `relu` or `elu`."""

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Parameter shapes in the order of `ActorCriticPolicy.parameters()`; weights are `(out, in)`."""
        shapes: list[tuple[int, ...]] = [(self.action_size,)]
        for hidden in (self.pi, self.vf):
            for size_in, size_out in zip((self.observation_size, *hidden), hidden, strict=False):
                shapes += [(size_out, size_in), (size_out,)]
        for hidden, size_out in ((self.pi, self.action_size), (self.vf, 1)):
            shapes += [(size_out, (self.observation_size, *hidden)[-1]), (size_out,)]
        return tuple(shapes)

    def split(self, vector: Any) -> list[Any]:
        """Cut a flat vector (NumPy or JAX) into one array per parameter."""
        arrays, start = [], 0
        for shape in self.shapes:
            size = int(np.prod(shape))
            arrays.append(vector[start : start + size].reshape(shape))
            start += size
        return arrays

    def parts(self, arrays: list[Any]) -> tuple[Any, list[Any], list[Any]]:
        """Group parameters: log_std `(A,)`, the actor's and the critic's `[weight, bias, weight, bias, …]`."""
        n_pi, n_vf = 2 * len(self.pi), 2 * len(self.vf)
        log_std, hidden, heads = arrays[0], arrays[1 : 1 + n_pi + n_vf], arrays[1 + n_pi + n_vf :]
        return log_std, hidden[:n_pi] + heads[:2], hidden[n_pi:] + heads[2:]


def mlp(layers: list[Array], inputs: Array, activation: Callable[[Array], Array]) -> Array:
    """JAX forward pass: inputs `(B, in)` → `(B, out)`; the last layer is linear."""
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        inputs = activation(inputs @ weight.T + bias)
    return inputs @ layers[-2].T + layers[-1]


def numpy_mlp(layers: list[Float32], inputs: Float32, activation: str) -> Float32:
    """NumPy forward pass of the same network."""
    apply = IN_PLACE[activation]
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        inputs = inputs @ weight.T
        inputs += bias
        apply(inputs)
    outputs: Float32 = inputs @ layers[-2].T
    outputs += layers[-1]
    return outputs


def _tanh(x: Float32) -> None:
    np.tanh(x, out=x)


def _relu(x: Float32) -> None:
    np.maximum(x, 0, out=x)


def _elu(x: Float32) -> None:
    np.copyto(x, np.expm1(np.minimum(x, 0)), where=x < 0)


IN_PLACE: dict[str, Callable[[Float32], None]] = {"tanh": _tanh, "relu": _relu, "elu": _elu}
"""NumPy's activations, overwriting their argument."""
