"""A training's whole state between two rollouts, as arrays and JSON, and the way back: a killed box loses little.

What goes on from a checkpoint ends bit for bit as if it had never stopped, as long as the reward keeps nothing of its
own between calls and draws only from the global generators of Python, NumPy and torch. Of a replay buffer that is
larger than a checkpoint may be, the newest transitions go on; such a training ends otherwise than one never stopped.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

import eureka_sandbox
from eureka_sandbox.checkpoint_arrays import ARRAYS, PEAK, PEAK_STATISTICS
from eureka_sandbox.protocol import (
    CHECKPOINT_ARRAYS,
    CHECKPOINT_META,
    WARM_META,
    WARM_WEIGHTS,
    CheckpointMeta,
    TrainingCheckpoint,
    TrainSpec,
)
from eureka_sandbox.replay_size import checkpoint_limit
from eureka_sandbox.worker.checkpoint import Checkpoint
from eureka_sandbox.worker.emit import Emitter
from eureka_sandbox.worker.envs.vec_env import RewardVecEnv
from eureka_sandbox.worker.learner_state import learner_arrays, learner_numbers, left_out, restore_learner
from eureka_sandbox.worker.learners.torch_exchange import pack, unpack
from eureka_sandbox.worker.monitoring import CurveState, CurveWriter, TrainingMonitor
from eureka_sandbox.worker.randomness import global_states, restore_global_states
from eureka_sandbox.worker.reward import Reward

PACKAGES = ("torch", "stable-baselines3", "gymnasium", "mujoco", "numpy", "jax")
FREE = frozenset("BEJLMKR")
"""Sizes that grow during a training; all others follow from its recipe."""
Arrays = dict[str, NDArray[Any]]


class NotContinued(Exception):
    """A checkpoint that this training cannot go on from, or one that cannot be sent; the message says why."""


@dataclass(frozen=True)
class Identity:
    """What a training is and what runs it. A checkpoint is continued only by its equal."""

    job: str
    versions: dict[str, str]
    most_bytes: int
    """That a checkpoint of it may take."""

    @classmethod
    def of(cls, spec: TrainSpec, folder: Path) -> Identity:
        """Read from the job's folder; to be called before any of the job's code runs."""
        asked = spec.model_dump(exclude={"progress_seconds", "checkpoint_seconds", "stop_at"})
        parts = [json.dumps(asked, sort_keys=True).encode()]
        for name in ("reward.py", "task.py", WARM_META, WARM_WEIGHTS):
            path = folder / name
            parts.append(path.read_bytes() if path.exists() else b"")
        digests = b"".join(hashlib.sha256(part).digest() for part in parts)
        versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
        job = hashlib.sha256(digests).hexdigest()
        return cls(job, versions | {"eureka": _own_source()}, checkpoint_limit(spec))

    def check(self, meta: CheckpointMeta) -> None:
        """Refuse what another job or other versions left.

        Raises:
            NotContinued: says what differs.
        """
        if meta.job != self.job:
            raise NotContinued("it belongs to another reward, task, recipe or seed")
        for name in sorted(self.versions.keys() | meta.versions.keys()):
            then, now = meta.versions.get(name, "none"), self.versions.get(name, "none")
            if then != now:
                raise NotContinued(f"it was made with {name} {then}, this is {now}")


@dataclass(frozen=True)
class Training:
    """The objects of one training."""

    model: BaseAlgorithm
    env: RewardVecEnv
    reward: Reward | None
    monitor: TrainingMonitor
    curves: CurveWriter

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the reward's components; none for the native reward."""
        return self.reward.components if self.reward else ()


class Keeper:
    """Sends a checkpoint of one training whenever it is called."""

    def __init__(self, training: Training, identity: Identity, emit: Emitter) -> None:
        self.note = ""
        """Why the last checkpoint could not be sent; empty if it was."""
        self._training, self._identity, self._emit = training, identity, emit

    def __call__(self) -> None:
        """Send one, unless it cannot be; the training goes on either way."""
        try:
            taken = checkpoint(self._training, self._identity)
        except NotContinued as reason:
            self.note = f"no checkpoint was kept: {reason}"
        except Exception as error:  # never the candidate's fault
            self.note = f"no checkpoint was kept: {type(error).__name__}: {error}"
        else:
            self._emit.checkpoint(taken.files[CHECKPOINT_META], taken.arrays)
            self.note = ""


def checkpoint(training: Training, identity: Identity) -> TrainingCheckpoint:
    """The training as it stands between two rollouts.

    Raises:
        NotContinued: it is too large to be sent, or holds a number that is not finite.
    """
    model, best = training.model, training.monitor.peak.best
    curves = training.curves.snapshot()
    arrays = _arrays(training, curves)
    for name, array in arrays.items():
        if ARRAYS[name].finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NotContinued(f"{name} is not finite")
    meta = CheckpointMeta(
        job=identity.job,
        versions=identity.versions,
        timesteps=model.num_timesteps,
        seconds=training.monitor.seconds,
        updates=model._n_updates,
        **learner_numbers(model, arrays),
        reward_calls=training.reward.calls if training.reward else 0,
        components=training.components,
        log=tuple(_log(training)),
        curves=_columns(curves),
        curves_every=curves.every,
        curves_written=curves.written,
        curves_whole=curves.whole,
        peak_timesteps=best.timesteps if best else None,
        peak_return=best.mean_return if best else None,
    )
    saved = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    sent = TrainingCheckpoint(meta, saved)
    if (size := sum(map(len, sent.files.values())) + 1) > identity.most_bytes:
        raise NotContinued(f"a checkpoint takes {size} bytes, at most {identity.most_bytes} can be sent")
    return sent


def read_checkpoint(folder: Path, identity: Identity) -> TrainingCheckpoint | None:
    """The checkpoint among the job's files, if there is one.

    Raises:
        NotContinued: it is another training's, or not readable.
    """
    if not (folder / CHECKPOINT_META).exists():
        return None
    try:
        meta = CheckpointMeta.model_validate_json((folder / CHECKPOINT_META).read_bytes())
        arrays = (folder / CHECKPOINT_ARRAYS).read_bytes()
    except (OSError, ValueError) as error:
        raise NotContinued(f"it cannot be read: {type(error).__name__}") from error
    identity.check(meta)
    return TrainingCheckpoint(meta, arrays)


def continue_from(found: TrainingCheckpoint, training: Training) -> str:
    """Put a freshly built training where the checkpoint was taken; `learn` goes on with `reset_num_timesteps=False`.

    Returns:
        What the checkpoint had no room for, for a person; empty where the training goes on exactly.

    Raises:
        NotContinued: the checkpoint does not fit. The training's objects are then of no use any more: build them anew.
    """
    try:
        arrays = load_arrays(found.arrays)
        _check_fit(found.meta, arrays, training)
        _restore(found.meta, arrays, training)
        return left_out(found.meta, training.env.num_envs)
    except NotContinued:
        raise
    except Exception as error:  # whatever damaged numbers raise in NumPy, torch or MuJoCo
        raise NotContinued(f"it cannot be read: {type(error).__name__}: {error}") from error


def _arrays(training: Training, curves: CurveState) -> Arrays:
    model, best = training.model, training.monitor.peak.best
    assert isinstance(model._last_obs, np.ndarray)
    assert model._last_episode_starts is not None
    recent = training.monitor.recent.snapshot(training.components)
    episodes = [(e["r"], e["l"], e["t"]) for e in model.ep_info_buffer or ()]
    columns = _columns(curves)
    rows = [[row.get(name, np.nan) for name in columns] for row in curves.rows]
    present = [[name in row for name in columns] for row in curves.rows]
    shape = (len(rows), len(columns))
    arrays: Arrays = {
        "policy.parameters": pack(model.policy.parameters()),
        "learner.observations": model._last_obs,
        "learner.episode_starts": model._last_episode_starts.astype(np.bool_),
        "learner.episodes": np.array(episodes, dtype=np.float64).reshape(-1, 3),
        "learner.log": np.array(list(_log(training).values()), dtype=np.float64),
        "curves.rows": np.array(rows, dtype=np.float64).reshape(shape),
        "curves.present": np.array(present, dtype=np.bool_).reshape(shape),
        **learner_arrays(model),
        **training.env.snapshot(),
        **_normalizer(model),
        **{f"random.{name}": state for name, state in global_states().items()},
        **{f"recent.{name}": array for name, array in recent.items()},
    }
    if best:
        arrays["peak.parameters"] = pack(best.weights[name] for name, _ in model.policy.named_parameters())
        if best.normalizer:
            arrays["peak.mean"], arrays["peak.var"] = best.normalizer
    return arrays


def _normalizer(model: BaseAlgorithm) -> Arrays:
    env = model.get_vec_normalize_env()
    if env is None:
        return {}
    moments: Any = env.ret_rms
    arrays = {
        "normalizer.return_moments": np.array([moments.mean, moments.var, moments.count], dtype=np.float64),
        "normalizer.returns": env.returns.astype(np.float64),
    }
    if env.norm_obs:
        statistics: Any = env.obs_rms
        arrays |= {"normalizer.mean": statistics.mean, "normalizer.var": statistics.var}
        arrays |= {"normalizer.count": np.array([statistics.count], dtype=np.float64)}
    return arrays


def _log(training: Training) -> dict[str, float]:
    """What the update logged; the next row of the curves will show it."""
    values = training.model.logger.name_to_value
    return {name: float(value) for name, value in values.items() if hasattr(value, "__float__")}


def _columns(curves: CurveState) -> tuple[str, ...]:
    return tuple(sorted({name for row in curves.rows for name in row}))


def _check_fit(meta: CheckpointMeta, arrays: Arrays, training: Training) -> None:
    """Hold names, types and shapes against those of the training as it begins."""
    model = training.model
    assert model.env is not None
    model._last_obs = model.env.reset()  # type: ignore[assignment]  # as `learn` would; the arrays are laid over it
    model._last_episode_starts = np.ones(model.env.num_envs, dtype=np.bool_)
    model.ep_info_buffer = deque(maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    fresh = _arrays(training, training.curves.snapshot())
    peak = {name for name in ARRAYS if ARRAYS[name].group in (PEAK, PEAK_STATISTICS)}
    if arrays.keys() - peak != fresh.keys():
        raise NotContinued("it holds other arrays than this training has")
    for name, array in fresh.items():
        for letter, size, wanted in zip(ARRAYS[name].shape, arrays[name].shape, array.shape, strict=True):
            if size != wanted and letter not in FREE:
                raise NotContinued(f"{name} has shape {arrays[name].shape}, expected {array.shape}")
        if arrays[name].dtype != array.dtype:
            raise NotContinued(f"{name} is {arrays[name].dtype}, expected {array.dtype}")
    if meta.components != training.components:
        raise NotContinued("the reward has other components now")


def _restore(meta: CheckpointMeta, arrays: Arrays, training: Training) -> None:
    model, monitor = training.model, training.monitor
    _prepare_learner(model)
    unpack(arrays["policy.parameters"], model.policy.parameters())
    monitor.at_start = restore_learner(model, meta, arrays) or monitor.at_start
    model.num_timesteps, model._n_updates = meta.timesteps, meta.updates
    model._last_obs = arrays["learner.observations"].copy()
    model._last_episode_starts = arrays["learner.episode_starts"].copy()
    assert model.ep_info_buffer is not None
    model.ep_info_buffer.extend({"r": r, "l": int(n), "t": t} for r, n, t in arrays["learner.episodes"].tolist())
    for name, value in zip(meta.log, arrays["learner.log"].tolist(), strict=True):
        model.logger.record(name, value)
    _restore_normalizer(model.get_vec_normalize_env(), arrays)
    training.env.restore(arrays)
    if training.reward:
        training.reward.calls = meta.reward_calls
    recent = {name: arrays[f"recent.{name}"] for name in ("episodes", "components")}
    monitor.recent.restore(meta.components, recent)
    monitor.peak.continue_from(_peak(meta, arrays, model))
    monitor.earlier_seconds = meta.seconds
    training.curves.restore(_curves(meta, arrays))
    restore_global_states(arrays["random.numpy"], arrays["random.python"], arrays["random.torch"])


def _prepare_learner(model: BaseAlgorithm) -> None:
    """Import what a first update would import, before the states of the generators are restored."""
    from eureka_sandbox.worker.learners import xla
    from eureka_sandbox.worker.learners.fused_ppo import FusedPPO

    if isinstance(model, FusedPPO):
        xla.prepare()


def _restore_normalizer(env: VecNormalize | None, arrays: Mapping[str, NDArray[Any]]) -> None:
    if env is None:
        return
    moments: Any = env.ret_rms
    moments.mean, moments.var = (np.float64(x) for x in arrays["normalizer.return_moments"][:2])
    moments.count = float(arrays["normalizer.return_moments"][2])
    env.returns = arrays["normalizer.returns"].copy()
    if env.norm_obs:
        statistics: Any = env.obs_rms
        statistics.mean, statistics.var = arrays["normalizer.mean"].copy(), arrays["normalizer.var"].copy()
        statistics.count = float(arrays["normalizer.count"][0])


def _peak(meta: CheckpointMeta, arrays: Arrays, model: BaseAlgorithm) -> Checkpoint | None:
    if "peak.parameters" not in arrays or meta.peak_timesteps is None:
        return None
    named = dict(model.policy.named_parameters())
    weights = {name: torch.empty_like(parameter) for name, parameter in named.items()}
    if sum(tensor.numel() for tensor in weights.values()) != arrays["peak.parameters"].size:
        raise NotContinued("the best policy so far has another size")
    unpack(arrays["peak.parameters"], weights.values())
    normalizer = (arrays["peak.mean"], arrays["peak.var"]) if "peak.mean" in arrays else None
    return Checkpoint(meta.peak_timesteps, meta.peak_return, weights, normalizer)


def _curves(meta: CheckpointMeta, arrays: Arrays) -> CurveState:
    values, present = arrays["curves.rows"].tolist(), arrays["curves.present"].tolist()
    rows = tuple(
        {name: number for name, number, there in zip(meta.curves, row, flags, strict=True) if there}
        for row, flags in zip(values, present, strict=True)
    )
    return CurveState(rows, meta.curves_every, meta.curves_written, meta.curves_whole)


def _own_source() -> str:
    """SHA-256 of everything here that a training runs through, shortened: finer than a version, and always true."""
    root = Path(eureka_sandbox.__file__).parent
    shared = ("bodies.py", "checkpoint_arrays.py", "hyperparameters.py", "replay_size.py")
    sources = [*sorted((root / "worker").rglob("*.py")), *(root / name for name in shared)]
    digests = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in sources)
    return hashlib.sha256(digests).hexdigest()[:16]
