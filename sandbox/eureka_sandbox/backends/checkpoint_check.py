"""A checkpoint that a box emitted: held against the table of its arrays, then kept for the same job's next box.

Nothing in it is interpreted beyond that. What it says may still be false: it was made beside the candidate's own code,
and harms nobody but that candidate.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection
from typing import Any

import numpy as np

from eureka_sandbox.backends.untrusted import Violation, one_line, parse_json, parse_model
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.checkpoint_arrays import ARRAYS, LARGEST, LEARNERS, ArrayRule
from eureka_sandbox.hyperparameters import HyperparameterError
from eureka_sandbox.protocol import (
    CHECKPOINT_META,
    CHECKPOINT_META_BYTES,
    CheckpointMeta,
    Job,
    TrainingCheckpoint,
    TrainSpec,
)
from eureka_sandbox.replay_size import replay_size

WHERE = "frame CHECKPOINT"
HEADER_BYTES = 2**14
"""Of the safetensors part: 50 arrays take 5 KiB."""
VERSION_LENGTH = 64
_ITEM_BYTES = {"F32": 4, "F64": 8, "I64": 8, "U64": 8, "U8": 1, "BOOL": 1}


def check_checkpoint(payload: bytes, job: Job) -> TrainingCheckpoint:
    """A CHECKPOINT frame's payload as what it must be.

    Raises:
        Violation: it is not; names the array or field and the limit.
    """
    text, newline, arrays = payload.partition(b"\n")
    if not newline or len(text) > CHECKPOINT_META_BYTES:
        raise Violation(WHERE, f"no line end within the first {CHECKPOINT_META_BYTES} bytes")
    meta = parse_model(text, WHERE, CheckpointMeta)
    _check_meta(meta, job)
    header, start = _header(arrays)
    assert isinstance(job.spec, TrainSpec)
    _check_names(header.keys(), job.spec.algorithm)
    _check_layout(header, len(arrays) - start, _known_sizes(meta, job), _largest(job.spec))
    for name, entry in header.items():
        if ARRAYS[name].finite and entry["dtype"] in ("F32", "F64"):
            begin, end = (start + offset for offset in entry["data_offsets"])
            kind = "<f4" if entry["dtype"] == "F32" else "<f8"
            numbers = np.frombuffer(memoryview(arrays)[begin:end], kind)
            if not np.isfinite(numbers).all():
                raise Violation(WHERE, f"{name}: holds NaN or infinity")
    return TrainingCheckpoint(meta, arrays)


def earlier_seconds(job: Job) -> float:
    """What the boxes before this one spent on the same training, as its checkpoint says; 0 if it has none."""
    meta = _own_meta(job)
    return meta.seconds if meta else 0.0


def earlier_steps(job: Job) -> int:
    """How many environment steps the job's checkpoint stands for; 0 if it has none."""
    meta = _own_meta(job)
    return meta.timesteps if meta else 0


def _own_meta(job: Job) -> CheckpointMeta | None:
    text = job.files.get(CHECKPOINT_META)
    return CheckpointMeta.model_validate_json(text) if text else None


def _check_meta(meta: CheckpointMeta, job: Job) -> None:
    assert isinstance(job.spec, TrainSpec)
    if meta.timesteps >= job.spec.total_timesteps:
        raise Violation(WHERE, f"timesteps: {meta.timesteps}, expected fewer than {job.spec.total_timesteps}")
    longest = job.limits.wall_seconds + earlier_seconds(job)
    if meta.seconds > longest:
        raise Violation(WHERE, f"seconds: {meta.seconds:g}, at most {longest:g} can have passed")
    for name, value in meta.versions.items():
        if len(name) > VERSION_LENGTH or one_line(value, VERSION_LENGTH) != value:
            raise Violation(WHERE, f"versions: {one_line(name, 40)!r} is no plain name and version")


def _known_sizes(meta: CheckpointMeta, job: Job) -> dict[str, int]:
    """Sizes that follow from the job or from the JSON part."""
    assert isinstance(job.spec, TrainSpec)
    body = BODIES[job.spec.environment.body]
    named = {"C": meta.components, "L": meta.log, "K": meta.curves}
    return {"O": body.observation_size, "A": body.action_size} | {size: len(names) for size, names in named.items()}


def _largest(spec: TrainSpec) -> dict[str, int]:
    try:
        replay = replay_size(spec)
    except HyperparameterError as error:
        raise Violation(WHERE, f"no training can have come of these hyperparameters: {error}") from error
    return LARGEST | ({"B": replay.rows} if replay else {})


def _header(arrays: bytes) -> tuple[dict[str, Any], int]:
    """The safetensors header, https://github.com/huggingface/safetensors#format, and where the arrays begin."""
    if len(arrays) < 8:
        raise Violation(WHERE, f"{len(arrays)} bytes of arrays, too short for a header")
    (size,) = struct.unpack_from("<Q", arrays)
    if size > (most := min(HEADER_BYTES, len(arrays) - 8)):
        raise Violation(WHERE, f"header of {size} bytes, at most {most} are possible")
    header = parse_json(arrays[8 : 8 + size], f"{WHERE} header")
    if not isinstance(header, dict):
        raise Violation(WHERE, "header: is no object")
    return header, 8 + size


def _check_names(names: Collection[str], algorithm: str) -> None:
    for name in sorted(set(names) - ARRAYS.keys()):
        raise Violation(WHERE, f"{one_line(name, 80)}: no such array in a checkpoint")
    own = LEARNERS[algorithm]
    foreign = {group for groups in LEARNERS.values() for group in groups} - set(own)
    for name in sorted(name for name in names if ARRAYS[name].group in foreign):
        raise Violation(WHERE, f"{name}: no such array in a checkpoint of {algorithm.upper()}")
    groups = {ARRAYS[name].group for name in names} | {own[0]}
    for name, rule in ARRAYS.items():
        if name not in names and (not rule.group or rule.group in groups):
            raise Violation(WHERE, f"{name}: is missing")


def _check_layout(header: dict[str, Any], length: int, sizes: dict[str, int], largest: dict[str, int]) -> None:
    """Types, shapes and byte ranges; `sizes` learns the sizes that only the arrays tell."""
    spans = []
    for name, rule in ARRAYS.items():
        if name in header:
            begin, end, count = _entry(name, header[name])
            _check_shape(name, header[name]["shape"], rule, sizes, largest)
            if end - begin != count * _ITEM_BYTES[header[name]["dtype"]]:
                raise Violation(WHERE, f"{name}: data_offsets span {end - begin} bytes, its shape has {count} numbers")
            spans.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            raise Violation(WHERE, f"{name}: begins at byte {begin}, expected {position}")
        position = end
    if position != length:
        raise Violation(WHERE, f"{length} bytes of arrays, the header describes {position}")


def _entry(name: str, entry: Any) -> tuple[int, int, int]:
    """First and last byte of one array, and how many numbers its shape has."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Violation(WHERE, f"{name}: expected dtype, shape and data_offsets")
    if entry["dtype"] not in ARRAYS[name].dtypes:
        found, wanted = one_line(str(entry["dtype"]), 20), " or ".join(ARRAYS[name].dtypes)
        raise Violation(WHERE, f"{name}: dtype {found}, expected {wanted}")
    for field in ("shape", "data_offsets"):
        numbers = entry[field]
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise Violation(WHERE, f"{name}: {field} {one_line(str(numbers), 80)}, expected whole numbers from 0")
    if len(entry["data_offsets"]) != 2:
        raise Violation(WHERE, f"{name}: {len(entry['data_offsets'])} data_offsets, expected 2")
    return (*entry["data_offsets"], math.prod(entry["shape"]))


def _check_shape(name: str, shape: list[int], rule: ArrayRule, sizes: dict[str, int], largest: dict[str, int]) -> None:
    if len(shape) != len(rule.shape):
        raise Violation(WHERE, f"{name}: shape {one_line(str(shape), 80)}, expected {len(rule.shape)} axes")
    for size, letter in zip(shape, rule.shape, strict=True):
        wanted = letter if isinstance(letter, int) else sizes.setdefault(letter, size)
        if size != wanted:
            raise Violation(WHERE, f"{name}: shape {one_line(str(shape), 80)}, expected {wanted} for {letter}")
        if isinstance(letter, str) and size > largest.get(letter, size):
            raise Violation(WHERE, f"{name}: {size} for {letter}, at most {largest[letter]} are allowed")
