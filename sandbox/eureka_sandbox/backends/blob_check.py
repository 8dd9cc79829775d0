"""The files in a box's answer: policy weights, recorded episodes, a film. Read with numpy alone, nothing unpickled."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import pairwise
from typing import Any, ParamSpec

import numpy as np
from safetensors.numpy import load as load_safetensors

from eureka_evaluation.recording import MAX_MEMBERS, RecordingError, load_episodes
from eureka_sandbox.backends.untrusted import Violation, one_line, parse_json, parse_model
from eureka_sandbox.bank import VALUES, VALUES_FILE
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.hyperparameters import STOCK, net_arch, settle
from eureka_sandbox.protocol import PolicyMeta, ScoreResult, ScoreSpec, SheetSpec, TrainResult, TrainSpec, VideoSpec

WEIGHTS, META, EPISODES, VIDEO = "policy.safetensors", "policy.json", "episodes.npz", "video.mp4"
POSTER, FRAMES = "poster.jpg", "frames.jpg"
PICTURE_BYTES = 2**18
HEADER_BYTES = 2**18
"""Largest safetensors header: thousands of arrays."""
META_BYTES = 2**17
JPEG_SEGMENTS = {0xFE: 64, 0xE0: 18, 0xDB: 200, 0xDD: 4, 0xC4: 600, 0xC0: 17, 0xDA: 12}
"""Markers that a plain JPEG has before its picture, with the most bytes of each: comment, JFIF, tables, frame, scan."""
_ITEM_BYTES = {"F32": 4, "F64": 8}
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR_BYTES = 20

Shapes = dict[str, tuple[int, ...]]
P = ParamSpec("P")


def _verdict_on(name: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Whatever reading hostile bytes raises is a finding about those bytes, never the host's own failure."""

    def decorate(check: Callable[P, None]) -> Callable[P, None]:
        @wraps(check)
        def checking(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                check(*args, **kwargs)
            except Violation:
                raise
            except Exception as error:
                raise Violation(name, f"cannot be read: {type(error).__name__}: {error}") from error

        return checking

    return decorate


@_verdict_on(WEIGHTS)
def check_policy(weights: bytes, meta: bytes, spec: TrainSpec, result: TrainResult) -> None:
    """`policy.json` describes the policy that was asked for, and `policy.safetensors` holds exactly its arrays.

    Raises:
        Violation: they do not, or a number is not finite.
    """
    if len(meta) > META_BYTES:
        raise Violation(META, f"{len(meta)} bytes, at most {META_BYTES} are allowed")
    policy = parse_model(meta, META, PolicyMeta)
    _check_meta(policy, spec, result)
    shapes = policy_shapes(policy, int(spec.hyperparameters.get("policy_kwargs", {}).get("n_critics", 2)))
    _check_header(weights, shapes)
    for name, array in load_safetensors(weights).items():
        if not np.isfinite(array).all():
            raise Violation(WEIGHTS, f"{name}: holds NaN or infinity")
        if name == "normalizer.var" and (array < 0).any():
            raise Violation(WEIGHTS, f"{name}: {array.min()} is negative")


def policy_shapes(meta: PolicyMeta, critics: int) -> Shapes:
    """Name and shape of every array of a Stable-Baselines3 MlpPolicy's `state_dict()`, and of the normalizer's."""
    observation, action = meta.observation_size, len(meta.action_low)
    pi = meta.net_arch["pi"]
    last = [observation, *pi][-1]
    shapes: Shapes = {}
    if meta.algorithm == "ppo":
        vf = meta.net_arch["vf"]
        shapes["log_std"] = (action,)
        shapes |= _layers("mlp_extractor.policy_net", [observation, *pi])
        shapes |= _layers("mlp_extractor.value_net", [observation, *vf])
        shapes |= _linear("action_net", last, action) | _linear("value_net", [observation, *vf][-1], 1)
    else:
        for net in ("critic", "critic_target"):
            for i in range(critics):
                shapes |= _layers(f"{net}.qf{i}", [observation + action, *meta.net_arch["qf"], 1])
        if meta.algorithm == "sac":
            shapes |= _layers("actor.latent_pi", [observation, *pi])
            shapes |= _linear("actor.mu", last, action) | _linear("actor.log_std", last, action)
        else:
            for net in ("actor", "actor_target"):
                shapes |= _layers(f"{net}.mu", [observation, *pi, action])
    if meta.normalise:
        shapes |= {"normalizer.mean": (observation,), "normalizer.var": (observation,)}
    return shapes


@_verdict_on(VALUES_FILE)
def check_values(data: bytes, rows: int, transitions: int) -> None:
    """`values.safetensors` holds one float32 array `values`, `(rows, transitions)`, and nothing else; all finite.

    Raises:
        Violation: it does not.
    """
    count = rows * transitions
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(HEADER_BYTES, len(data) - 8):
        raise Violation(VALUES_FILE, f"{len(data)} bytes with a header of {size}: too short, or its header too long")
    header = parse_json(data[8 : 8 + size], f"{VALUES_FILE} header")
    wanted = {VALUES: {"dtype": "F32", "shape": [rows, transitions], "data_offsets": [0, 4 * count]}}
    if header != wanted:
        raise Violation(VALUES_FILE, f"header {one_line(str(header), 120)}, expected {wanted}")
    if len(data) != 8 + size + 4 * count:
        raise Violation(VALUES_FILE, f"{len(data) - 8 - size} bytes of values, expected {4 * count}")
    try:
        found = load_safetensors(data)[VALUES]  # as it is read later: JSON's 3.0 equals 3 here, and not there
    except Exception as error:  # safetensors raises types of its own
        raise Violation(VALUES_FILE, f"cannot be read: {one_line(str(error), 120)}") from error
    if not np.isfinite(found).all():
        raise Violation(VALUES_FILE, f"{VALUES}: holds NaN or infinity")


@_verdict_on(EPISODES)
def check_recording(data: bytes, spec: ScoreSpec, result: ScoreResult) -> None:
    """`episodes.npz` holds the episodes that `result.recorded` names, with the lengths it gives and the task's state.

    Raises:
        Violation: it does not, or is no plain uncompressed archive of finite arrays.
    """
    _check_zip_end(data)
    body = BODIES[spec.environment.body]
    shapes = {v.name: v.shape for v in body.variables} | {v.name: v.shape for v in spec.environment.derived}
    try:
        episodes = load_episodes(data, shapes)
    except RecordingError as error:
        raise Violation(EPISODES, str(error)) from error
    if sorted(episodes) != sorted(result.recorded):
        raise Violation(EPISODES, f"holds episodes {sorted(episodes)}, `recorded` names {sorted(result.recorded)}")
    for position, episode in episodes.items():
        if episode.length != result.lengths[position]:
            raise Violation(
                EPISODES, f"e{position}/actions: {episode.length} rows, `lengths` says {result.lengths[position]}"
            )
        if episode.actions.shape[1] != body.action_size:
            raise Violation(
                EPISODES,
                f"e{position}/actions: {episode.actions.shape[1]} actuators, {body.name} has {body.action_size}",
            )


def check_video(data: bytes) -> None:
    """`video.mp4` begins as an MP4 file does; it is shown, never decoded, by the host.

    Raises:
        Violation: it does not.
    """
    if len(data) < 16 or data[4:8] != b"ftyp":
        raise Violation(VIDEO, "does not begin with an MP4 file's `ftyp` box")


@_verdict_on(POSTER)
def check_poster(data: bytes, video: VideoSpec) -> None:
    """`poster.jpg` is a plain JPEG of the film's size.

    Raises:
        Violation: it is not.
    """
    _check_jpeg(POSTER, data, (video.width // 2 * 2, video.height // 2 * 2))


@_verdict_on(FRAMES)
def check_frames(data: bytes, sheet: SheetSpec) -> None:
    """`frames.jpg` is a plain JPEG of the contact sheet's size.

    Raises:
        Violation: it is not.
    """
    _check_jpeg(FRAMES, data, sheet.size)


def _check_jpeg(name: str, data: bytes, wanted: tuple[int, int]) -> None:
    """One baseline JPEG of the wanted width and height, with tables and a short comment and nothing else.

    Whoever opens the report or is shown frames decodes it, so no profile, thumbnail, metadata or trailing byte gets
    that far.
    """
    if len(data) > PICTURE_BYTES:
        raise Violation(name, f"{len(data)} bytes, at most {PICTURE_BYTES} are allowed")
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        raise Violation(name, "does not begin and end as a JPEG does")
    place, sizes = 2, []
    while True:
        mark, marker = data[place], data[place + 1]
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if mark != 0xFF or marker not in JPEG_SEGMENTS:
            raise Violation(name, f"byte {place}: {mark:02x}{marker:02x} begins no segment of a plain JPEG")
        if not 2 <= length <= JPEG_SEGMENTS[marker] or place + 2 + length > len(data):
            raise Violation(name, f"byte {place}: a segment of {length} bytes, at most {JPEG_SEGMENTS[marker]}")
        if marker == 0xC0:
            sizes.append(struct.unpack_from(">HH", data, place + 5)[::-1])
        place += 2 + length
        if marker == 0xDA:
            break
    if sizes != [wanted]:
        raise Violation(name, f"sizes {sizes}, expected one picture of {wanted}")
    inside = re.search(rb"\xff[^\x00\xd0-\xd7]", data[place:-2])
    if inside:
        raise Violation(name, f"byte {place + inside.start()}: another segment after the picture's")


def _check_meta(meta: PolicyMeta, spec: TrainSpec, result: TrainResult) -> None:
    """What was asked for: a candidate that brings a larger network of its own would compete with another recipe's."""
    body = BODIES[spec.environment.body]
    recipe = settle(spec.algorithm, spec.hyperparameters)
    expected = {
        "algorithm": (meta.algorithm, spec.algorithm),
        "body": (meta.body, body.name),
        "observation_size": (meta.observation_size, body.observation_size),
        "action_low": (len(meta.action_low), body.action_size),
        "action_high": (len(meta.action_high), body.action_size),
        "net_arch": (meta.net_arch, net_arch(spec.algorithm, recipe)),
        "activation": (meta.activation, recipe.policy.get("activation_fn", STOCK[spec.algorithm][0])),
        "normalise": (meta.normalise, recipe.normalize is not None and recipe.normalize.get("norm_obs", True)),
        "timesteps": (meta.timesteps, result.peak_timesteps),
    }
    for field, (found, wanted) in expected.items():
        if found != wanted:
            raise Violation(META, f"{field}: {one_line(str(found), 80)}, expected {wanted}")
    for low, high in zip(meta.action_low, meta.action_high, strict=True):
        if low >= high:
            raise Violation(META, f"action_low: {low} is not below action_high, {high}")


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _layers(name: str, sizes: list[int]) -> Shapes:
    """Linear layers of a `torch.nn.Sequential`, where every second module is an activation."""
    shapes: Shapes = {}
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        shapes |= _linear(f"{name}.{2 * i}", inputs, outputs)
    return shapes


def _check_header(weights: bytes, shapes: Shapes) -> None:
    """Names, dtypes, shapes and byte ranges before any array is made; https://github.com/huggingface/safetensors#format."""
    if len(weights) < 8:
        raise Violation(WEIGHTS, f"{len(weights)} bytes, too short for a header")
    (size,) = struct.unpack_from("<Q", weights)
    if size > min(HEADER_BYTES, len(weights) - 8):
        raise Violation(WEIGHTS, f"header of {size} bytes, at most {min(HEADER_BYTES, len(weights) - 8)} are possible")
    header = parse_json(weights[8 : 8 + size], f"{WEIGHTS} header")
    if not isinstance(header, dict):
        raise Violation(WEIGHTS, "header: is no object")
    for name in sorted(header.keys() - shapes.keys()):
        raise Violation(WEIGHTS, f"{one_line(name, 80)}: no such array in this policy")
    for name in sorted(shapes.keys() - header.keys()):
        raise Violation(WEIGHTS, f"{name}: is missing")
    end = 0
    for begin, stop, name in sorted(_ranges(header, shapes)):
        if begin != end:
            raise Violation(WEIGHTS, f"{name}: begins at byte {begin}, expected {end}")
        end = stop
    if end != len(weights) - 8 - size:
        raise Violation(WEIGHTS, f"{len(weights) - 8 - size} bytes of arrays, the header describes {end}")


def _ranges(header: dict[str, Any], shapes: Shapes) -> Iterator[tuple[int, int, str]]:
    for name, shape in shapes.items():
        entry = header[name]
        wanted = "F64" if name.startswith("normalizer.") else "F32"
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise Violation(WEIGHTS, f"{name}: expected dtype, shape and data_offsets")
        if entry["dtype"] != wanted:
            raise Violation(WEIGHTS, f"{name}: dtype {one_line(str(entry['dtype']), 20)}, expected {wanted}")
        if entry["shape"] != list(shape) or any(isinstance(n, bool) for n in entry["shape"]):
            raise Violation(WEIGHTS, f"{name}: shape {one_line(str(entry['shape']), 80)}, expected {list(shape)}")
        offsets = entry["data_offsets"]
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int for n in offsets):
            raise Violation(WEIGHTS, f"{name}: data_offsets {one_line(str(offsets), 80)}, expected two integers")
        begin, stop = offsets
        size = int(np.prod(shape)) * _ITEM_BYTES[wanted]
        if stop - begin != size:
            raise Violation(WEIGHTS, f"{name}: data_offsets span {stop - begin} bytes, its shape takes {size}")
        yield begin, stop, name


def _check_zip_end(data: bytes) -> None:
    """A plain archive: its directory, which zipfile reads whole, is small, and declared at the very end of the file."""
    if len(data) < _ZIP_END.size:
        raise Violation(EPISODES, f"{len(data)} bytes, too short for an archive")
    signature, disk, _, _, members, size, _, comment = _ZIP_END.unpack_from(data, len(data) - _ZIP_END.size)
    if signature != b"PK\5\6" or comment or disk:
        raise Violation(EPISODES, "does not end as a plain zip archive does")
    if members > MAX_MEMBERS:
        raise Violation(EPISODES, f"{members} members, at most {MAX_MEMBERS} are allowed")
    if size > members * 512:
        raise Violation(EPISODES, f"directory of {size} bytes, at most 512 for each of {members} members are allowed")
    locator = len(data) - _ZIP_END.size - _ZIP64_LOCATOR_BYTES
    if locator >= 0 and data[locator : locator + 4] == b"PK\6\7":
        raise Violation(EPISODES, "is a zip64 archive; a recording never needs one")
