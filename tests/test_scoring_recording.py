"""Recordings come back as they were written, and bytes that a hostile box could send are refused by name."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eureka_evaluation.episode import Episode
from eureka_evaluation.recording import RecordingError, load_episodes, recorded_bytes, save_episodes

SHAPES: dict[str, tuple[int, ...]] = {"torso_x": (), "joint_angles": (2,)}


def episode(steps: int = 5) -> Episode:
    rng = np.random.default_rng(steps)
    return Episode(
        qpos=rng.normal(size=(steps + 1, 3)),
        qvel=rng.normal(size=(steps + 1, 3)),
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        state={name: rng.normal(size=(steps + 1, *shape)).astype(np.float32) for name, shape in SHAPES.items()},
        terminated=steps % 2 == 1,
        dt=0.02,
    )


def arrays() -> dict[str, Any]:
    with np.load(io.BytesIO(save_episodes({4: episode()}))) as archive:
        return dict(archive)


def test_episodes_come_back_as_they_were_written() -> None:
    written = {7: episode(5), 0: episode(4)}
    read = load_episodes(save_episodes(written), SHAPES)
    assert list(read) == [0, 7]
    for position, before in written.items():
        after = read[position]
        for name in ("qpos", "qvel", "actions"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
            assert getattr(after, name).dtype == getattr(before, name).dtype
        assert after.state.keys() == before.state.keys()
        for name in before.state:
            np.testing.assert_array_equal(after.state[name], before.state[name])
        assert (after.terminated, after.dt) == (before.terminated, before.dt)


def test_a_recording_is_as_large_as_its_arrays_and_their_headers() -> None:
    size = recorded_bytes(episode(500))
    assert size < len(save_episodes({0: episode(500)})) < size + 5000


def set_member(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({name: value})


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (set_member("e4/reward", np.zeros(5)), "unexpected member 'e4/reward.npy'"),
        (set_member("../e4/qpos", np.zeros((6, 3))), "unexpected member"),
        (set_member("e4/state/Torso", np.zeros(6, np.float32)), "unexpected member"),
        (set_member("e4/qpos", np.full((6, 3), np.nan)), "e4/qpos.npy' holds NaN"),
        (set_member("e4/qpos", np.zeros((6, 3), np.float32)), "e4/qpos.npy' is float32, expected float64"),
        (set_member("e4/qpos", np.asfortranarray(np.zeros((6, 3)))), "expected float64 in C order"),
        (set_member("e4/qpos", np.zeros(6)), "expected 2 dimensions"),
        (set_member("e4/qvel", np.zeros((5, 3))), "qvel has shape .5, 3., expected 6 rows"),
        (set_member("e4/terminated", np.array(1)), "e4/terminated.npy' is int64, expected bool"),
        (set_member("e4/dt", np.array(0.0)), "dt is 0.0"),
        (set_member("e4/state/torso_x", np.zeros((6, 9), np.float32)), "torso_x has shape .9,., expected"),
        (set_member("e4/state/torso_x", np.array([object()] * 6)), "is object, expected float32"),
        (set_member("e4/state/extra", np.zeros(6, np.float32)), "extra has shape .., expected None"),
        (drop("e4/state/torso_x"), "torso_x has shape None"),
        (drop("e4/actions"), "e4/actions is missing"),
    ],
)
def test_damaged_members_are_refused_by_name(damage: Callable[[dict[str, Any]], None], message: str) -> None:
    content = arrays()
    damage(content)
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    with pytest.raises(RecordingError, match=message):
        load_episodes(buffer.getvalue(), SHAPES)


def test_compressed_members_are_refused_before_they_are_unpacked() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"e0/qpos": np.zeros((1_000_000, 3))})
    with pytest.raises(RecordingError, match="is compressed"):
        load_episodes(buffer.getvalue())


def test_a_header_that_claims_more_than_it_brings_is_refused() -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("e0/qpos.npy", member.getvalue())
    with pytest.raises(RecordingError, match=r"shape \(1000000000, 1000000000\) but 0 bytes"):
        load_episodes(buffer.getvalue())


def test_members_that_share_their_bytes_are_refused() -> None:
    source = io.BytesIO()
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("e0/qpos.npy", b"x" * 5000)
        first = archive.infolist()[0]
        for position in range(1, 50):
            alias = zipfile.ZipInfo(f"e{position}/qpos.npy")
            alias.file_size = alias.compress_size = first.file_size
            alias.header_offset, alias.CRC = first.header_offset, first.CRC
            archive.filelist.append(alias)
            archive.NameToInfo[alias.filename] = alias
    with pytest.raises(RecordingError, match="overlap"):
        load_episodes(source.getvalue())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY" * 40])
def test_bytes_that_are_no_archive_are_refused(data: bytes) -> None:
    with pytest.raises(RecordingError, match="not a readable npz"):
        load_episodes(data)


def test_a_recording_cut_short_is_refused() -> None:
    data = save_episodes({0: episode()})
    for end in range(0, len(data) - 1, 97):
        with pytest.raises(RecordingError):
            load_episodes(data[:end], SHAPES)
