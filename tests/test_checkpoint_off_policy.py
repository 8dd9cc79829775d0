"""SAC and TD3 go on from a checkpoint bit for bit, replay buffer and all; of one too large the newest part goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_cases import OFF_POLICY, arrays_of, curves_of, files_of, train_in, train_spec
from gymnasium import spaces
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from stable_baselines3.common.buffers import ReplayBuffer

from eureka_sandbox import replay_size
from eureka_sandbox.backends.checkpoint_check import check_checkpoint
from eureka_sandbox.protocol import Job, TrainSpec
from eureka_sandbox.replay_size import ReplaySize
from eureka_sandbox.worker.replay import pack_replay, unpack_replay

STEPS = 240
RECIPES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sac": ("hopper", "sac", {}),
    "sac, normalised, fixed entropy": ("hopper", "sac", {"normalize": True, "ent_coef": 0.1}),
    "sac, schedule, a ring that has gone round": (
        "inverted_pendulum",
        "sac",
        {"buffer_size": 100, "learning_rate": "lin_1e-3", "target_update_interval": 2, "gradient_steps": 2}
        | {"normalize": {"norm_obs": False}},
    ),
    "sac, whole episodes": ("hopper", "sac", {"n_envs": 1, "train_freq": [1, "episode"], "gradient_steps": -1}),
    "td3": ("inverted_pendulum", "td3", {"noise_type": "normal", "noise_std": 0.1}),
    "td3, wandering noise, three steps at a time": (
        "hopper",
        "td3",
        {"noise_type": "ornstein-uhlenbeck", "noise_std": 0.3, "n_steps": 3, "normalize": True, "buffer_size": 90},
    ),
    "td3, wandering noise of one": (
        "inverted_pendulum",
        "td3",
        {"noise_type": "ornstein-uhlenbeck", "noise_std": 0.3, "n_envs": 1},
    ),
}


def spec_of(name: str, **changes: Any) -> TrainSpec:
    body, algorithm, recipe = RECIPES[name]
    own = {"algorithm": algorithm, "hyperparameters": OFF_POLICY | recipe, "total_timesteps": STEPS}
    return train_spec(body, **own | changes)


def meta_of(payload: bytes) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(files_of(payload)["checkpoint.json"])
    return meta


def state_of(payload: bytes) -> dict[str, Any]:
    """All that does not tell the time."""
    arrays = load_arrays(files_of(payload)["checkpoint.safetensors"])
    clocks = ("learner.episodes", "learner.log", "curves.rows")
    return {name: array.tobytes() for name, array in arrays.items() if name not in clocks} | {
        name: value for name, value in meta_of(payload).items() if name != "seconds"
    }


@pytest.mark.parametrize("name", RECIPES)
def test_going_on_from_any_checkpoint_gives_the_same_policy_and_curves(tmp_path: Path, name: str) -> None:
    """Before the first update, just after it, and near the end: the last checkpoint is then the same, too."""
    spec = spec_of(name)
    whole, policy, sent = train_in(tmp_path / "whole", spec)
    steps = [meta_of(payload)["timesteps"] for payload in sent]
    assert len(sent) >= 3
    learning = next(i for i, payload in enumerate(sent) if meta_of(payload)["updates"])
    for payload in (sent[0], sent[learning], sent[-2]):
        assert check_checkpoint(payload, Job(spec)).meta.timesteps in steps
        result, again, later = train_in(tmp_path / "again", spec, files_of(payload))
        assert result.resumed_at == meta_of(payload)["timesteps"]
        assert again == policy
        assert state_of(later[-1]) == state_of(sent[-1])
        assert curves_of(result) == curves_of(whole)
        kept = ("timesteps", "peak_timesteps", "peak_return", "checkpoint_note")
        assert [getattr(result, field) for field in kept] == [getattr(whole, field) for field in kept]
        assert result.checkpoint_note == ""


def test_checkpoints_of_a_training_that_went_on_are_as_good(tmp_path: Path) -> None:
    spec = spec_of("td3, wandering noise, three steps at a time")
    _, policy, sent = train_in(tmp_path / "whole", spec)
    _, _, later = train_in(tmp_path / "second", spec, files_of(sent[2]))
    third, again, _ = train_in(tmp_path / "third", spec, files_of(later[-3]))
    assert third.resumed_at == meta_of(later[-3])["timesteps"] > meta_of(sent[2])["timesteps"]
    assert again == policy


@pytest.mark.parametrize("algorithm", ["sac", "td3"])
def test_the_table_of_arrays_says_what_is_sent(tmp_path: Path, algorithm: str) -> None:
    everything = OFF_POLICY | {"normalize": True, "noise_type": "ornstein-uhlenbeck", "train_freq": 50}
    _, _, sent = train_in(tmp_path, spec_of(algorithm, hyperparameters=everything, total_timesteps=1000))
    assert load_arrays(files_of(sent[-1])["checkpoint.safetensors"]).keys() == arrays_of(algorithm).keys()


def test_a_box_that_is_to_stop_early_leaves_a_checkpoint_and_the_next_goes_on(tmp_path: Path) -> None:
    spec = spec_of("sac", checkpoint_seconds=3600.0)
    _, policy, sent = train_in(tmp_path / "whole", spec)
    assert sent == []
    first, _, left = train_in(tmp_path / "rung", spec.model_copy(update={"stop_at": 100}))
    assert [meta_of(payload)["timesteps"] for payload in left] == [first.timesteps] == [104]
    second, again, _ = train_in(tmp_path / "rest", spec, files_of(left[0]))
    assert (second.resumed_at, second.timesteps) == (104, STEPS)
    assert again == policy


def test_of_a_replay_buffer_that_is_too_large_the_newest_part_goes_on_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_size, "REPLAY_BYTES", 6000)
    spec = spec_of("sac")
    whole, policy, sent = train_in(tmp_path / "whole", spec)
    assert whole.checkpoint_note == ""  # nothing was lost
    meta = check_checkpoint(sent[-1], Job(spec)).meta
    arrays = load_arrays(files_of(sent[-1])["checkpoint.safetensors"])
    spent = sum(array.nbytes for name, array in arrays.items() if name.startswith("replay."))
    assert 6000 - 2 * 200 < spent <= 6000
    assert meta.replay_dropped + len(arrays["replay.rewards"]) == meta.timesteps // 2
    result, other, later = train_in(tmp_path / "again", spec, files_of(sent[-10]))
    dropped = meta_of(sent[-10])["replay_dropped"]
    assert result.resumed_at == meta_of(sent[-10])["timesteps"]
    assert result.checkpoint_note == (
        f"the training went on without the {2 * dropped} oldest transitions, "
        "its replay buffer is too large to keep whole"
    )
    assert other != policy
    again = load_arrays(files_of(later[-1])["checkpoint.safetensors"])
    assert len(again["replay.rewards"]) > 0
    assert train_in(tmp_path / "twice", spec, files_of(sent[-10]))[1] == other


def test_wide_networks_have_checkpoints_too(tmp_path: Path) -> None:
    wide = OFF_POLICY | {"policy_kwargs": {"net_arch": [1200, 1200]}}
    spec = spec_of("td3", hyperparameters=wide, total_timesteps=48)
    result, _, sent = train_in(tmp_path, spec)
    assert result.checkpoint_note == ""
    assert check_checkpoint(sent[-1], Job(spec)).meta.timesteps <= 48


def changed(payload: bytes, arrays: dict[str, Any] | None = None, **meta: Any) -> dict[str, bytes]:
    files = files_of(payload)
    own = load_arrays(files["checkpoint.safetensors"])
    replaced = {name: change(own[name]) for name, change in (arrays or {}).items()}
    return {
        "checkpoint.json": json.dumps(json.loads(files["checkpoint.json"]) | meta).encode(),
        "checkpoint.safetensors": save_arrays(own | replaced),
    }


ROWS = ("observations", "actions", "rewards", "dones", "timeouts")
UNUSABLE: dict[str, tuple[Callable[[bytes], dict[str, bytes]], str]] = {
    "a place beyond the buffer": (lambda p: changed(p, replay_position=10**6), "do not fit a replay buffer of 121"),
    "more rows than the buffer has": (
        lambda p: changed(p, {f"replay.{name}": lambda array: np.repeat(array, 9, axis=0) for name in ROWS}),
        "do not fit a replay buffer of 121",
    ),
    "a jump before the first": (lambda p: changed(p, {"replay.jumps": lambda j: -1 - j}), "do not fit"),
    "a jump after the last": (lambda p: changed(p, {"replay.jumps": lambda j: j + 10**6}), "IndexError"),
    "rows of unequal number": (lambda p: changed(p, {"replay.rewards": lambda r: r[1:]}), "do not fit"),
    "no learner's state": (lambda p: changed(p, {"critic.first_moment": lambda m: m[1:]}), "critic.first_moment has"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_replay_buffer_that_does_not_fit_is_left_aside_with_a_note(tmp_path: Path, case: str) -> None:
    damage, reason = UNUSABLE[case]
    spec = spec_of("sac")
    _, policy, sent = train_in(tmp_path / "whole", spec)
    result, again, _ = train_in(tmp_path / "again", spec, damage(sent[-1]))
    assert result.resumed_at == 0
    assert result.checkpoint_note.startswith("the training began again, its checkpoint could not be used: ")
    assert re.search(reason, result.checkpoint_note)
    assert again == policy


def filled(rows: int, envs: int, steps: int) -> ReplayBuffer:
    """A buffer as SB3 fills it: each observation comes twice, except at episodes' ends."""
    rng = np.random.default_rng(steps)
    observation, action = (spaces.Box(-9, 9, (size,), dtype) for size, dtype in ((5, np.float64), (2, np.float32)))
    buffer = ReplayBuffer(rows * envs, observation, action, device="cpu", n_envs=envs)
    here = rng.normal(size=(envs, 5))
    for _ in range(steps):
        done, following = rng.random(envs) < 0.1, rng.normal(size=(envs, 5))
        infos = [{"TimeLimit.truncated": bool(rng.random() < 0.5 and ended)} for ended in done]
        final = np.where(done[:, None], rng.normal(size=(envs, 5)), following)
        buffer.add(here, final, rng.normal(size=(envs, 2)), rng.normal(size=envs), done, infos)
        here = following
    return buffer


FIELDS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@pytest.mark.parametrize("steps", [0, 1, 19, 20, 27, 40, 10_000])
@pytest.mark.parametrize("envs", [1, 3])
def test_a_replay_buffer_comes_back_as_it_was(steps: int, envs: int) -> None:
    rows = 20 if steps < 100 else 9_000  # those are compared in several parts
    buffer, fresh = filled(rows, envs, steps), filled(rows, envs, 0)
    unpack_replay(fresh, pack_replay(buffer, np.float64), buffer.pos, 0)
    assert (fresh.pos, fresh.full) == (buffer.pos, buffer.full)
    for name in FIELDS:
        assert np.array_equal(getattr(fresh, name), getattr(buffer, name)), name


@pytest.mark.parametrize("steps", [15, 27, 40])
def test_only_the_newest_transitions_are_packed_where_not_all_have_room(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_size, "REPLAY_BYTES", 900)
    buffer, fresh = filled(20, 2, steps), filled(20, 2, 0)
    arrays = pack_replay(buffer, np.float64)
    kept = len(arrays["replay.rewards"])
    assert sum(array.nbytes for array in arrays.values()) <= 900
    assert 0 < kept < 10
    unpack_replay(fresh, arrays, buffer.pos, buffer.size() - kept)
    assert (fresh.pos, fresh.full, fresh.size()) == (kept, False, kept)
    newest = (buffer.pos - kept + np.arange(kept)) % 20
    for name in FIELDS:
        assert np.array_equal(getattr(fresh, name)[:kept], getattr(buffer, name)[newest]), name


def test_the_size_that_is_reckoned_is_the_size_that_is_packed() -> None:
    buffer = filled(20, 3, 33)
    for dtype in (np.float32, np.float64):
        arrays = pack_replay(buffer, dtype)
        size = ReplaySize.of(20, 3, 5, 2, np.dtype(dtype).itemsize)
        jumps = len(arrays["replay.jumps"])
        assert 3 <= jumps < 60
        assert sum(array.nbytes for array in arrays.values()) == 20 * size.row_bytes + jumps * size.jump_bytes
        assert size.most_bytes == 20 * size.row_bytes + 60 * size.jump_bytes
