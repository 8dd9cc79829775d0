"""A small training, its checkpoints, and a valid CHECKPOINT frame to be damaged one field at a time."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as save_arrays

from eureka_sandbox.bodies import BODIES
from eureka_sandbox.checkpoint_arrays import ARRAYS, LEARNERS
from eureka_sandbox.protocol import EnvironmentSpec, Job, TrainResult, TrainSpec

HOPPER_REWARD = """
import random

import numpy as np
import torch

def compute_reward(torso_x_velocity, actions, foot_contacts, elapsed_time):
    noise = 0.01 * random.random() + 0.01 * float(np.random.rand()) + 0.01 * torch.rand(len(actions))
    forward = torso_x_velocity + noise
    effort = -1e-3 * (actions**2).sum(dim=-1)
    return forward + effort, {"forward": forward, "effort": effort}
"""
"""It draws from all three global generators, which a checkpoint must restore."""
PENDULUM_REWARD = """
def compute_reward(cart_velocity, pole_angle):
    slow = -cart_velocity ** 2
    return 1.0 + slow - pole_angle ** 2, {"slow": slow}
"""
REWARDS = {"hopper": HOPPER_REWARD, "inverted_pendulum": PENDULUM_REWARD}
SMALL = {
    "n_envs": 4,
    "n_steps": 32,
    "batch_size": 32,
    "n_epochs": 2,
    "learning_rate": "lin_1e-3",
    "clip_range": "lin_0.2",
    "policy_kwargs": {"net_arch": [8]},
}
OFF_POLICY = {"n_envs": 2, "learning_starts": 40, "batch_size": 16, "train_freq": 4, "policy_kwargs": {"net_arch": [8]}}
CLOCKS = ("time/fps", "time/time_elapsed")
"""Curves of how fast the machine was."""
DTYPES: dict[str, Any] = {
    "F32": np.float32,
    "F64": np.float64,
    "I64": np.int64,
    "U64": np.uint64,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
TRAIN = TrainSpec(
    environment=EnvironmentSpec(body="hopper", max_episode_steps=40),
    hyperparameters=SMALL,
    total_timesteps=1024,
    seed=3,
    checkpoint_seconds=10.0,
)
JOB = Job(TRAIN)


def train_spec(body: str = "hopper", **changes: Any) -> TrainSpec:
    """A training that sends a checkpoint after every rollout."""
    environment = EnvironmentSpec(body=body, max_episode_steps=40)
    return TRAIN.model_copy(update={"environment": environment, "checkpoint_seconds": 1e-9, **changes})


def train_in(
    folder: Path, spec: TrainSpec, files: dict[str, bytes] | None = None, reward: str | None = ""
) -> tuple[TrainResult, dict[str, bytes], list[bytes]]:
    """Train in this process: result, blobs, and the payloads of the checkpoints that were sent."""
    from eureka_sandbox.worker.emit import Emitter
    from eureka_sandbox.worker.training import train

    folder.mkdir(exist_ok=True)
    code = REWARDS[spec.environment.body] if reward == "" else reward
    if code is not None:
        (folder / "reward.py").write_text(code)
    for name, data in (files or {}).items():
        (folder / name).write_bytes(data)
    stream = io.BytesIO()
    result, blobs = train(spec, folder, Emitter(stream))
    return result, blobs, checkpoints_of(stream.getvalue())


def checkpoints_of(stream: bytes) -> list[bytes]:
    found = []
    while stream:
        kind, length = struct.unpack(">cI", stream[:5])
        if kind == b"C":
            found.append(stream[5 : 5 + length])
        stream = stream[5 + length :]
    return found


def files_of(payload: bytes) -> dict[str, bytes]:
    meta, _, arrays = payload.partition(b"\n")
    return {"checkpoint.json": meta, "checkpoint.safetensors": arrays}


def curves_of(result: Any) -> dict[str, Any]:
    """All that does not tell the time."""
    return {name: column for name, column in result.curves.items() if name not in CLOCKS}


def meta_of(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "job": "0" * 64,
        "versions": {"torch": "2.8.0"},
        "timesteps": 512,
        "seconds": 1.5,
        "updates": 8,
        "optimizer_steps": 64,
        "actor_steps": 0,
        "episodes": 0,
        "replay_position": 0,
        "replay_dropped": 0,
        "reward_calls": 129,
        "components": ["forward", "effort"],
        "log": ["train/loss"],
        "curves": ["rollout/ep_rew_mean", "time/total_timesteps"],
        "curves_every": 1,
        "curves_written": 4,
        "curves_whole": True,
        "peak_timesteps": 256,
        "peak_return": 2.5,
    } | changes


def arrays_of(algorithm: str = "ppo", **changes: Any) -> dict[str, np.ndarray]:
    """One array per rule of the table that the algorithm may have, of plausible sizes, all ones."""
    body = BODIES["hopper"]
    sizes = {"D": 50, "N": 4, "O": body.observation_size, "A": body.action_size, "S": 30, "W": 12, "Q": 6, "C": 2}
    sizes |= {"L": 1, "M": 3, "K": 2, "R": 5, "E": 5, "T": 64, "F": 20, "G": 30, "B": 6, "J": 4}
    foreign = {group for groups in LEARNERS.values() for group in groups} - set(LEARNERS[algorithm])
    arrays = {}
    for name, rule in ARRAYS.items():
        if rule.group in foreign:
            continue
        shape = tuple(size if isinstance(size, int) else sizes[size] for size in rule.shape)
        arrays[name] = np.ones(shape, DTYPES[rule.dtypes[0]])
    return arrays | changes


def payload_of(
    meta: dict[str, Any] | bytes | None = None, arrays: dict[str, np.ndarray] | bytes | None = None
) -> bytes:
    text = meta if isinstance(meta, bytes) else json.dumps(meta or meta_of()).encode()
    data = arrays if isinstance(arrays, bytes) else save_arrays(arrays or arrays_of())
    return text + b"\n" + data
