"""What a learner has beyond its policy's weights ↔ arrays and numbers of a checkpoint, for PPO and for SAC and TD3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise, VectorizedActionNoise

from eureka_sandbox.protocol import CheckpointMeta
from eureka_sandbox.worker.checkpoint import observation_statistics
from eureka_sandbox.worker.learners.torch_exchange import pack, read_adam, unpack, write_adam
from eureka_sandbox.worker.randomness import pcg_generators, pcg_states
from eureka_sandbox.worker.replay import pack_replay, unpack_replay

Arrays = dict[str, NDArray[Any]]
OffPolicy = (SAC, TD3)


def learner_arrays(model: BaseAlgorithm) -> Arrays:
    """Optimisers, and of SAC and TD3 also the replay buffer and what they explore with."""
    if not isinstance(model, OffPolicy):
        first, second, _ = read_adam(model.policy.optimizer)
        return {"policy.first_moment": first, "policy.second_moment": second}
    arrays: Arrays = {}
    for name, optimizer in (("actor", model.actor.optimizer), ("critic", model.critic.optimizer)):
        arrays[f"{name}.first_moment"], arrays[f"{name}.second_moment"], _ = read_adam(optimizer)
    entropy, noises = _entropy(model), _wandering(model)
    if entropy:
        coefficient, optimizer = entropy
        arrays["entropy.coefficient"] = np.concatenate([pack([coefficient]), *read_adam(optimizer)[:2]])
    if noises:
        arrays["noise.previous"] = np.stack([noise.noise_prev for noise in noises])
    assert isinstance(model._last_obs, np.ndarray)
    original = model._last_obs if model._last_original_obs is None else model._last_original_obs
    arrays["learner.original_observations"] = np.asarray(original, dtype=np.float64)
    arrays["random.actions"] = pcg_states([model.action_space.np_random])
    assert model.replay_buffer is not None
    exact = observation_statistics(model) is not None  # the networks get single precision of what is not normalised
    return arrays | pack_replay(model.replay_buffer, np.float64 if exact else np.float32)


def learner_numbers(model: BaseAlgorithm, arrays: Arrays) -> dict[str, int]:
    """The fields of `CheckpointMeta` that are a learner's own, beside the arrays that were taken of it."""
    if not isinstance(model, OffPolicy):
        return {"optimizer_steps": read_adam(model.policy.optimizer)[2]}
    assert model.replay_buffer is not None
    return {
        "optimizer_steps": read_adam(model.critic.optimizer)[2],
        "actor_steps": read_adam(model.actor.optimizer)[2],
        "episodes": model._episode_num,
        "replay_position": model.replay_buffer.pos,
        "replay_dropped": model.replay_buffer.size() - len(arrays["replay.rewards"]),
    }


def restore_learner(model: BaseAlgorithm, meta: CheckpointMeta, arrays: Arrays) -> Callable[[], None] | None:
    """Put everything back; what is returned is to be called once `learn` has begun, which forgets the action noise."""
    if not isinstance(model, OffPolicy):
        moments = (arrays["policy.first_moment"], arrays["policy.second_moment"])
        write_adam(model.policy.optimizer, *moments, meta.optimizer_steps)
        return None
    critic, actor = meta.optimizer_steps, meta.actor_steps
    write_adam(model.critic.optimizer, arrays["critic.first_moment"], arrays["critic.second_moment"], critic)
    write_adam(model.actor.optimizer, arrays["actor.first_moment"], arrays["actor.second_moment"], actor)
    entropy, noises = _entropy(model), _wandering(model)
    if entropy:
        coefficient, optimizer = entropy
        values = arrays["entropy.coefficient"]
        unpack(values[:1], [coefficient])
        write_adam(optimizer, values[1:2], values[2:], critic)  # stepped as often as the critics
    model._last_original_obs = arrays["learner.original_observations"].copy()
    model._episode_num = meta.episodes
    (generator,) = pcg_generators(arrays["random.actions"])
    model.action_space.np_random.bit_generator.state = generator.bit_generator.state
    assert model.replay_buffer is not None
    unpack_replay(model.replay_buffer, arrays, meta.replay_position, meta.replay_dropped)

    def go_on() -> None:
        for noise, previous in zip(noises, arrays["noise.previous"], strict=True):
            noise.noise_prev = previous.copy()

    return go_on if noises else None


def left_out(meta: CheckpointMeta, environments: int) -> str:
    """What of the replay buffer was too large for the checkpoint, for a person; empty if nothing was."""
    if not meta.replay_dropped:
        return ""
    count = meta.replay_dropped * environments
    return (
        f"the training went on without the {count:,} oldest transitions, its replay buffer is too large to keep whole"
    )


def _entropy(model: BaseAlgorithm) -> tuple[torch.Tensor, torch.optim.Optimizer] | None:
    """SAC's learnt log entropy coefficient and its optimiser."""
    if not isinstance(model, SAC) or model.log_ent_coef is None or model.ent_coef_optimizer is None:
        return None
    return model.log_ent_coef, model.ent_coef_optimizer


def _wandering(model: SAC | TD3) -> list[OrnsteinUhlenbeckActionNoise]:
    """Action noise that remembers, one for each environment; none where the noise is drawn anew at every step."""
    noise = model.action_noise
    parts = noise.noises if isinstance(noise, VectorizedActionNoise) else [noise]
    return [part for part in parts if isinstance(part, OrnsteinUhlenbeckActionNoise)]
