"""Between SB3's torch objects and flat vectors: parameters, Adam's moments, the rollout buffer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim, is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor

from eureka_sandbox.worker.learners.network import Float32, Network

ACTIVATIONS: dict[type[th.nn.Module], str] = {th.nn.Tanh: "tanh", th.nn.ReLU: "relu", th.nn.ELU: "elu"}


class Unsupported(Exception):
    """The model is outside what the compiled code covers; the message names what, in a few words."""


def describe(policy: ActorCriticPolicy) -> Network:
    """The layer sizes of an SB3 policy.

    Raises:
        Unsupported: the policy is not a plain Gaussian MLP actor-critic in float32 on the CPU.
    """
    _check_spaces(policy)
    if type(policy) is not ActorCriticPolicy or policy.use_sde:
        raise Unsupported("use_sde=True" if policy.use_sde else f"policy class {type(policy).__name__}")
    if type(policy.features_extractor) is not FlattenExtractor or type(policy.mlp_extractor) is not MlpExtractor:
        raise Unsupported(f"features extractor {type(policy.features_extractor).__name__}")
    if policy.activation_fn not in ACTIVATIONS:
        raise Unsupported(f"activation {policy.activation_fn.__name__}")
    if policy.device.type != "cpu":
        raise Unsupported(f"device {policy.device}")
    network = Network(
        observation_size=policy.features_dim,
        pi=_hidden_sizes(policy.mlp_extractor.policy_net),
        vf=_hidden_sizes(policy.mlp_extractor.value_net),
        action_size=get_action_dim(policy.action_space),
        activation=ACTIVATIONS[policy.activation_fn],
    )
    if tuple(tuple(parameter.shape) for parameter in policy.parameters()) != network.shapes:
        raise Unsupported("parameters beside those of MlpPolicy")
    if not all(parameter.requires_grad and parameter.dtype == th.float32 for parameter in policy.parameters()):
        raise Unsupported("a frozen parameter, or one that is not float32")
    return network


def _check_spaces(policy: ActorCriticPolicy) -> None:
    for name, space in (("action", policy.action_space), ("observation", policy.observation_space)):
        if not isinstance(space, spaces.Box):
            raise Unsupported(f"{name} space {type(space).__name__}")
    if len(policy.action_space.shape or ()) != 1:
        raise Unsupported(f"action space of shape {policy.action_space.shape}")
    if is_image_space(policy.observation_space):
        raise Unsupported("an image as observation")


def _hidden_sizes(net: th.nn.Sequential) -> tuple[int, ...]:
    return tuple(layer.out_features for layer in net if isinstance(layer, th.nn.Linear))


def pack(tensors: Iterable[th.Tensor]) -> Float32:
    """Copy tensors, in order, into one new flat vector."""
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


def unpack(vector: Float32, tensors: Iterable[th.Tensor]) -> None:
    """Copy a flat vector back into the tensors it was packed from."""
    start = 0
    for tensor in tensors:
        target = tensor.detach().numpy()
        target[...] = vector[start : start + target.size].reshape(target.shape)
        start += target.size


def check_adam(optimizer: th.optim.Optimizer) -> None:
    """Check that the optimizer is plain Adam over one parameter group.

    Raises:
        Unsupported: it is not.
    """
    if type(optimizer) is not th.optim.Adam or len(optimizer.param_groups) != 1:
        raise Unsupported(f"optimizer {type(optimizer).__name__} with {len(optimizer.param_groups)} parameter group(s)")
    group = optimizer.param_groups[0]
    for option in ("weight_decay", "amsgrad", "maximize"):
        if group[option]:
            raise Unsupported(f"Adam with {option}={group[option]}")


def read_adam(optimizer: th.optim.Optimizer) -> tuple[Float32, Float32, int]:
    """First and second moments, each flat, and the number of steps taken; zeros before the first step."""
    parameters = optimizer.param_groups[0]["params"]
    if not optimizer.state:
        zeros = np.zeros(sum(parameter.numel() for parameter in parameters), np.float32)
        return zeros, zeros, 0
    states = [optimizer.state[parameter] for parameter in parameters]
    first, second = (pack(state[name] for state in states) for name in ("exp_avg", "exp_avg_sq"))
    return first, second, int(states[0]["step"])


def write_adam(optimizer: th.optim.Optimizer, first: Float32, second: Float32, steps: int) -> None:
    """Put the moments and the step count back where torch's Adam keeps (and SB3 saves) them."""
    parameters = optimizer.param_groups[0]["params"]
    for parameter in parameters:
        if parameter not in optimizer.state:
            optimizer.state[parameter] = {
                "step": th.tensor(0.0),
                "exp_avg": th.zeros_like(parameter),
                "exp_avg_sq": th.zeros_like(parameter),
            }
        optimizer.state[parameter]["step"].fill_(float(steps))
    unpack(first, (optimizer.state[parameter]["exp_avg"] for parameter in parameters))
    unpack(second, (optimizer.state[parameter]["exp_avg_sq"] for parameter in parameters))


def flatten_buffer(buffer: RolloutBuffer) -> list[Float32]:
    """The buffer in SB3's order of samples (environment by environment), each `(n, …)` float32.

    Observations, actions, values, log-probabilities, advantages, returns. Leaves the buffer as `RolloutBuffer.get`
    leaves it: flattened and marked so.
    """
    names = ("observations", "actions", "values", "log_probs", "advantages", "returns")
    if not buffer.generator_ready:
        for name in names:
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
        buffer.generator_ready = True
    n = buffer.buffer_size * buffer.n_envs
    vectors = [getattr(buffer, name).astype(np.float32, copy=False).reshape(n, -1) for name in names]
    return vectors[:2] + [vector[:, 0] for vector in vectors[2:]]
