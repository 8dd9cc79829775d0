"""A replay buffer ↔ arrays of a checkpoint: the newest transitions that fit, oldest first, each observation once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer

from eureka_sandbox.replay_size import ReplaySize

Arrays = dict[str, NDArray[Any]]
BESIDE = ("actions", "rewards", "dones", "timeouts")
"""What a row holds beside the observations."""
CHUNK = 4096
"""Rows that are compared at once."""


def pack_replay(buffer: ReplayBuffer, dtype: type[np.floating[Any]]) -> Arrays:
    """Copy the newest transitions, as many as a checkpoint may hold, under the names of `checkpoint_arrays`.

    Args:
        buffer: of B rows, N environments.
        dtype: of the observations.
    """
    envs, width = buffer.observations.shape[1:]
    size = ReplaySize.of(buffer.buffer_size, envs, width, buffer.action_dim, np.dtype(dtype).itemsize)
    rows = min(buffer.size(), size.most_bytes // size.row_bytes)
    jumps = _jumps(buffer, rows, dtype)
    costs = size.row_bytes + size.jump_bytes * jumps.sum(axis=1)
    kept = int((np.cumsum(costs[::-1]) <= size.most_bytes).sum())
    places = np.flatnonzero(jumps[rows - kept :])
    start = (buffer.pos - kept) % buffer.buffer_size
    nexts = buffer.next_observations[(start + places // envs) % buffer.buffer_size, places % envs]
    return {
        "replay.observations": _taken(buffer.observations, start, kept, dtype),
        "replay.actions": _taken(buffer.actions, start, kept, np.float32),
        "replay.rewards": _taken(buffer.rewards, start, kept, np.float32),
        "replay.dones": _taken(buffer.dones, start, kept, np.bool_),
        "replay.timeouts": _taken(buffer.timeouts, start, kept, np.bool_),
        "replay.jumps": places.astype(np.int64),
        "replay.jump_observations": nexts.astype(dtype),
    }


def unpack_replay(buffer: ReplayBuffer, arrays: Arrays, position: int, dropped: int) -> None:
    """Fill an empty buffer; every transition lies where it lay unless some were left out.

    Args:
        buffer: as large as that of `pack_replay`.
        arrays: what it gave.
        position: where its next transition would have gone.
        dropped: how many of its rows were left out.

    Raises:
        ValueError or IndexError: they do not fit the buffer.
    """
    observations, jumps = arrays["replay.observations"], arrays["replay.jumps"]
    rows, envs, width = observations.shape
    unequal = any(len(arrays[f"replay.{name}"]) != rows for name in BESIDE)
    if unequal or position >= buffer.buffer_size or rows > buffer.buffer_size or (jumps < 0).any():
        raise ValueError(f"{rows} rows up to {position} do not fit a replay buffer of {buffer.buffer_size}")
    full = rows == buffer.buffer_size and not dropped
    nexts = np.zeros_like(observations)
    nexts[:-1] = observations[1:]
    nexts.reshape(rows * envs, width)[jumps] = arrays["replay.jump_observations"]
    start = position if full else 0
    _put(buffer.observations, start, observations)
    _put(buffer.next_observations, start, nexts)
    for name in BESIDE:
        _put(getattr(buffer, name), start, arrays[f"replay.{name}"])
    buffer.full, buffer.pos = full, position if full else rows % buffer.buffer_size


def _jumps(buffer: ReplayBuffer, rows: int, dtype: type[np.floating[Any]]) -> NDArray[np.bool_]:
    """Of the newest rows, where the next observation is not, as `dtype`, that of the row after it, `(rows, N)`."""
    jumps = np.ones((rows, buffer.observations.shape[1]), dtype=np.bool_)  # nothing follows the newest
    for begin in range(0, rows - 1, CHUNK):
        end = min(begin + CHUNK, rows - 1)
        here = (buffer.pos - rows + np.arange(begin, end)) % buffer.buffer_size
        following = buffer.observations[(here + 1) % buffer.buffer_size].astype(dtype)
        jumps[begin:end] = (following != buffer.next_observations[here].astype(dtype)).any(axis=2)
    return jumps


def _taken(ring: NDArray[Any], start: int, rows: int, dtype: type[np.generic]) -> NDArray[Any]:
    """A copy of so many rows from `start` on, which go on at the beginning where the ring ends."""
    taken = np.empty((rows, *ring.shape[1:]), dtype)
    first = min(rows, len(ring) - start)
    taken[:first], taken[first:] = ring[start : start + first], ring[: rows - first]
    return taken


def _put(ring: NDArray[Any], start: int, rows: NDArray[Any]) -> None:
    """The other way round."""
    first = min(len(rows), len(ring) - start)
    ring[start : start + first], ring[: len(rows) - first] = rows[:first], rows[first:]
