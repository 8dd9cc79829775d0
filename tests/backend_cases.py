"""Valid jobs and answers, to be damaged one field at a time by the tests of the host side of a box."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from safetensors.numpy import save as save_arrays

from eureka_evaluation.episode import Episode
from eureka_evaluation.recording import save_episodes
from eureka_sandbox.backends.blob_check import policy_shapes
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import (
    FRAME_HEADER,
    EnvironmentSpec,
    Job,
    Limits,
    PolicyMeta,
    ScoreSpec,
    SheetSpec,
    TrainSpec,
    VideoSpec,
)

BODY = BODIES["hopper"]
ENVIRONMENT = EnvironmentSpec(body="hopper", max_episode_steps=20)
NETWORKS = {"pi": [8, 8], "vf": [8]}
TRAIN = Job(
    TrainSpec(
        environment=ENVIRONMENT,
        total_timesteps=1000,
        seed=1,
        hyperparameters={"policy_kwargs": {"net_arch": NETWORKS}},
    ),
    {"reward.py": b"def compute_reward(): ..."},
    Limits(wall_seconds=20, result_mb=1),
)
SCORE = Job(
    ScoreSpec(environment=ENVIRONMENT, seeds=(1, 2, 3, 4), video=VideoSpec(), sheet=SheetSpec()),
    {"task.py": b""},
    Limits(wall_seconds=20, result_mb=1),
)


def frame(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(FRAME_HEADER, kind, len(payload)) + payload


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


HELLO = frame(b"H", as_json({"pid": 7}))


def progress(**changes: Any) -> dict[str, Any]:
    return {"timesteps": 500, "total_timesteps": 1000, "steps_per_second": 10.0} | changes


def train_result(**changes: Any) -> dict[str, Any]:
    curves = {"time/total_timesteps": [500, 1000], "reward/forward": [0.5, 1.5], "train/loss": [None, 0.25]}
    return {
        "timesteps": 1000,
        "seconds": 2.5,
        "startup_seconds": 1.0,
        "peak_timesteps": 1000,
        "peak_return": 12.5,
        "curves": curves,
        "versions": {"torch": "2.8.0"},
    } | changes


def score_result(**changes: Any) -> dict[str, Any]:
    return {
        "fitness": [0.5, 1.0, -2.0, 0.0],
        "success": [True, False, False, True],
        "lengths": [20, 20, 3, 20],
        "recorded": [0, 2],
        "video_note": "",
        "seconds": 0.5,
        "versions": {"mujoco": "3.3.0"},
    } | changes


def policy_meta(algorithm: str = "ppo", **changes: Any) -> dict[str, Any]:
    size = BODY.action_size
    return {
        "format": 1,
        "algorithm": algorithm,
        "observation_size": BODY.observation_size,
        "action_low": [-1.0] * size,
        "action_high": [1.0] * size,
        "net_arch": {"pi": [8, 8], "vf" if algorithm == "ppo" else "qf": [8]},
        "activation": "tanh" if algorithm == "ppo" else "relu",
        "normalise": True,
        "clip_obs": 10.0,
        "epsilon": 1e-8,
        "body": "hopper",
        "timesteps": 1000,
    } | changes


def policy_arrays(meta: dict[str, Any]) -> dict[str, np.ndarray]:
    shapes = policy_shapes(PolicyMeta.model_validate(meta), critics=2)
    return {n: np.ones(s, np.float64 if n.startswith("normalizer") else np.float32) for n, s in shapes.items()}


def policy_blobs(**changes: Any) -> dict[str, bytes]:
    meta = policy_meta(**changes)
    return {"policy.safetensors": save_arrays(policy_arrays(meta)), "policy.json": as_json(meta)}


def episode(steps: int, **changes: Any) -> Episode:
    rng = np.random.default_rng(steps)
    state = {v.name: rng.normal(size=(steps + 1, *v.shape)).astype(np.float32) for v in BODY.variables}
    arrays: dict[str, Any] = {
        "qpos": rng.normal(size=(steps + 1, 6)),
        "qvel": rng.normal(size=(steps + 1, 6)),
        "actions": rng.normal(size=(steps, BODY.action_size)).astype(np.float32),
        "state": state,
        "terminated": steps < 20,
        "dt": BODY.dt,
    }
    return Episode(**(arrays | changes))


def score_blobs() -> dict[str, bytes]:
    return {
        "episodes.npz": save_episodes({0: episode(20), 2: episode(3)}),
        "video.mp4": b"\0\0\0\x18ftypisom" + b"\0" * 16,
        "poster.jpg": poster(),
        "frames.jpg": poster(768, 576),
    }


def poster(width: int = 480, height: int = 360, extra: bytes = b"", picture: bytes = b"\x12\xff\x00\x34") -> bytes:
    """A JPEG by its segments; its picture is noise that nobody decodes. `extra` stands before the frame's header."""

    def segment(marker: int, payload: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload

    tables = segment(0xDB, bytes(65)) + segment(0xC4, bytes(416))
    frame = segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))
    return b"\xff\xd8" + tables + extra + frame + segment(0xDA, bytes(10)) + picture + b"\xff\xd9"


def stream(blobs: dict[str, bytes], result: dict[str, Any] | bytes) -> bytes:
    payload = result if isinstance(result, bytes) else as_json(result)
    frames = [frame(b"B", name.encode() + b"\n" + data) for name, data in blobs.items()]
    return HELLO + b"".join(frames) + frame(b"R", payload)
