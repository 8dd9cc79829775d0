"""Episodes as bytes and back: the `episodes.npz` that box B emits and the host reads without trusting it.

One member per array: `e3/qpos`, `e3/qvel`, `e3/actions`, `e3/terminated`, `e3/dt`, `e3/state/torso_x`, …, where 3 is
the episode's position among the seeds. Members are stored, not deflated: a small file cannot unpack into a large one.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eureka_evaluation.episode import Episode

MAX_MEMBERS = 4096
_MEMBER = re.compile(r"e(0|[1-9][0-9]{0,3})/(qpos|qvel|actions|terminated|dt|state/[a-z][a-z0-9_]{0,63})\.npy")
_DTYPES = {"qpos": "<f8", "qvel": "<f8", "actions": "<f4", "terminated": "|b1", "dt": "<f8"}
_DIMENSIONS = {"qpos": 2, "qvel": 2, "actions": 2, "terminated": 0, "dt": 0}


class RecordingError(ValueError):
    """Bytes that are not a recording of episodes; the message names the member and what is wrong with it."""


def save_episodes(episodes: Mapping[int, Episode]) -> bytes:
    """Write episodes, by their position among the seeds, as an uncompressed npz."""
    arrays: dict[str, NDArray[Any]] = {}
    for position, episode in episodes.items():
        prefix = f"e{position}/"
        arrays[prefix + "qpos"] = episode.qpos
        arrays[prefix + "qvel"] = episode.qvel
        arrays[prefix + "actions"] = episode.actions
        arrays[prefix + "terminated"] = np.array(episode.terminated)
        arrays[prefix + "dt"] = np.array(episode.dt)
        arrays |= {f"{prefix}state/{name}": values for name, values in episode.state.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def recorded_bytes(episode: Episode) -> int:
    """Size of an episode's arrays in bytes, without the few hundred bytes of headers per array."""
    states = sum(array.nbytes for array in episode.state.values())
    return episode.qpos.nbytes + episode.qvel.nbytes + episode.actions.nbytes + states


def load_episodes(data: bytes, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[int, Episode]:
    """Read a recording that came out of a box. Nothing is unpickled and nothing larger than `data` is allocated.

    Args:
        data: the npz's bytes.
        shapes: name and shape (per step) of every state variable that each episode must have, no more and no fewer;
            None accepts any names.

    Returns:
        Episodes by their position among the seeds, in ascending order.

    Raises:
        RecordingError: a member has an unknown name, a wrong dtype or shape, non-finite values, or is missing.
    """
    grouped: dict[int, dict[str, NDArray[Any]]] = defaultdict(dict)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise RecordingError(f"{len(members)} members, at most {MAX_MEMBERS} are read")
            for member in members:
                if member.compress_type != zipfile.ZIP_STORED:
                    raise RecordingError(f"{member.filename[:80]!r} is compressed; recordings are stored")
            if sum(member.file_size for member in members) > len(data):
                raise RecordingError("members overlap: together they are larger than the file")
            for member in members:
                match = _MEMBER.fullmatch(member.filename)
                if match is None:
                    raise RecordingError(f"unexpected member {member.filename[:80]!r}")
                position, key = int(match[1]), match[2]
                if key in grouped[position]:
                    raise RecordingError(f"member {member.filename!r} is there twice")
                grouped[position][key] = _read(archive, member, _DTYPES.get(key, "<f4"))
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise RecordingError(f"not a readable npz: {error}") from error
    return {position: _episode(position, grouped[position], shapes) for position in sorted(grouped)}


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, dtype: str) -> NDArray[Any]:
    stream = io.BytesIO(archive.read(member))
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise RecordingError(f"{member.filename!r} is not an npy array of version 1.0")
        shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
    except ValueError as error:
        raise RecordingError(f"{member.filename!r}: {error}") from error
    if fortran or found != np.dtype(dtype):
        raise RecordingError(f"{member.filename!r} is {found}, expected {np.dtype(dtype)} in C order")
    content = stream.read()
    size = int(np.prod(shape, dtype=object)) * found.itemsize
    if len(content) != size:
        raise RecordingError(f"{member.filename!r} has shape {shape} but {len(content)} bytes, expected {size}")
    array = np.frombuffer(content, dtype=found).reshape(shape).copy()
    if not np.isfinite(array).all():
        raise RecordingError(f"{member.filename!r} holds NaN or infinity")
    return array


def _episode(
    position: int, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]] | None
) -> Episode:
    for key, dimensions in _DIMENSIONS.items():
        if key not in arrays:
            raise RecordingError(f"e{position}/{key} is missing")
        if arrays[key].ndim != dimensions:
            raise RecordingError(f"e{position}/{key} has shape {arrays[key].shape}, expected {dimensions} dimensions")
    state = {key.removeprefix("state/"): array for key, array in arrays.items() if key.startswith("state/")}
    steps = len(arrays["actions"])
    rows = {"qpos": arrays["qpos"], "qvel": arrays["qvel"], **state}
    for name, array in rows.items():
        if array.ndim == 0 or len(array) != steps + 1:
            raise RecordingError(f"e{position}: {name} has shape {array.shape}, expected {steps + 1} rows")
    if shapes is not None:
        found = {name: array.shape[1:] for name, array in state.items()}
        wrong = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
        if wrong:
            name = wrong[0]
            raise RecordingError(f"e{position}/state/{name} has shape {found.get(name)}, expected {shapes.get(name)}")
    if not float(arrays["dt"]) > 0:
        raise RecordingError(f"e{position}/dt is {float(arrays['dt'])}, expected more than 0")
    return Episode(
        qpos=arrays["qpos"],
        qvel=arrays["qvel"],
        actions=arrays["actions"],
        state=state,
        terminated=bool(arrays["terminated"]),
        dt=float(arrays["dt"]),
    )
