"""How large a checkpoint may be, and what of a replay buffer it carries. Plain arithmetic, known to host and box.

A transition is stored without its next observation, which is the observation of the row after it, except at an
episode's end (a *jump*). Observations are single precision unless they are normalised: the networks take no more.
"""

from __future__ import annotations

from dataclasses import dataclass

from eureka_sandbox.bodies import BODIES
from eureka_sandbox.hyperparameters import (
    MOST_PARAMETERS,
    HyperparameterError,
    parameters,
    replay_transitions,
    settle,
)
from eureka_sandbox.protocol import CHECKPOINT_BYTES, TrainSpec

REPLAY_BYTES = 64 * 2**20
"""Most that one checkpoint spends on transitions: about a million of the hopper's, 150,000 of the ant's. The host holds
three copies of a checkpoint while it checks it."""


PARAMETER_BYTES = 4 * 4
"""One, its two moments, and its value at the peak, in single precision."""


@dataclass(frozen=True)
class ReplaySize:
    """What a replay buffer takes in a checkpoint. A row is one step of every environment."""

    rows: int
    """That the buffer holds at most."""
    row_bytes: int
    """Without what its jumps take."""
    jump_bytes: int
    """For each transition whose next observation is not that of the next row."""
    most_bytes: int
    """For all rows together; where there are more, the newest that fit are sent."""

    @classmethod
    def of(cls, rows: int, envs: int, observation: int, action: int, item_bytes: int) -> ReplaySize:
        """From the buffer's shape and the bytes of one number of an observation."""
        row = envs * (observation * item_bytes + 4 * action + 4 + 1 + 1)  # action, reward, done, truncated
        jump = 8 + observation * item_bytes
        return cls(rows, row, jump, min(REPLAY_BYTES, rows * (row + envs * jump)))


def replay_size(spec: TrainSpec) -> ReplaySize | None:
    """Of the buffer that a training has; None for PPO, which has none.

    Raises:
        HyperparameterError: no training can come of these hyperparameters.
    """
    if spec.algorithm == "ppo":
        return None
    settled, body = settle(spec.algorithm, spec.hyperparameters), BODIES[spec.environment.body]
    rows = max(1, replay_transitions(spec.algorithm, settled, spec.total_timesteps) // settled.n_envs)
    exact = settled.normalize is not None and settled.normalize.get("norm_obs", True)
    return ReplaySize.of(rows, settled.n_envs, body.observation_size, body.action_size, 8 if exact else 4)


def checkpoint_limit(spec: TrainSpec) -> int:
    """Most bytes of one checkpoint of a training: what any may take, the networks, and the replay buffer if any."""
    try:
        size = replay_size(spec)
        settled, body = settle(spec.algorithm, spec.hyperparameters), BODIES[spec.environment.body]
    except HyperparameterError:  # such a training never begins
        return CHECKPOINT_BYTES
    network = min(MOST_PARAMETERS, parameters(spec.algorithm, settled, body.observation_size, body.action_size))
    return CHECKPOINT_BYTES + PARAMETER_BYTES * network + (size.most_bytes if size else 0)
