"""Answers that parse but do not hold: numbers against the spec, weights, recordings and films against their formats."""

# ruff: noqa: E501 (the tables below read best with one case a line)

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from backend_cases import (
    SCORE,
    TRAIN,
    as_json,
    episode,
    policy_arrays,
    policy_blobs,
    policy_meta,
    poster,
    score_blobs,
    score_result,
    train_result,
)
from safetensors.numpy import save as save_arrays

from eureka_evaluation.recording import save_episodes
from eureka_sandbox.backends.blob_check import check_recording
from eureka_sandbox.backends.frames import Answer
from eureka_sandbox.backends.results import checked
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.protocol import Job, ScoreResult, TrainResult


def check_train(blobs: dict[str, bytes] | None = None, job: Job = TRAIN, **changes: Any) -> Answer:
    blobs = policy_blobs() if blobs is None else blobs
    return checked(Answer(TrainResult.model_validate(train_result(**changes)), blobs), job)


def check_score(blobs: dict[str, bytes] | None = None, job: Job = SCORE, **changes: Any) -> Answer:
    blobs = score_blobs() if blobs is None else blobs
    return checked(Answer(ScoreResult.model_validate(score_result(**changes)), blobs), job)


def rejection(check: Callable[[], object]) -> str:
    with pytest.raises(Violation) as violation:
        check()
    return str(violation.value)


def test_a_true_answer_passes_unchanged() -> None:
    assert check_train().result == TrainResult.model_validate(train_result())
    assert check_score().result == ScoreResult.model_validate(score_result())


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_policy_of_each_algorithm_passes(algorithm: str, normalise: bool) -> None:
    recipe = {"normalize": normalise, "policy_kwargs": {"net_arch": policy_meta(algorithm)["net_arch"]}}
    job = replace(TRAIN, spec=TRAIN.spec.model_copy(update={"algorithm": algorithm, "hyperparameters": recipe}))
    check_train(policy_blobs(algorithm=algorithm, normalise=normalise), job)


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_a_recipe_that_names_no_network_means_that_of_stable_baselines3(algorithm: str) -> None:
    import gymnasium
    from stable_baselines3 import PPO, SAC, TD3

    from eureka_sandbox.worker.policy_sb3 import export_policy

    model = {"ppo": PPO, "sac": SAC, "td3": TD3}[algorithm]("MlpPolicy", gymnasium.make("Hopper-v5"), device="cpu")
    weights, meta = export_policy(model, body="hopper", timesteps=1000)
    spec = TRAIN.spec.model_copy(update={"algorithm": algorithm, "hyperparameters": {"normalize": False}})
    blobs = {"policy.safetensors": weights, "policy.json": meta.model_dump_json().encode()}
    assert check_train(blobs, replace(TRAIN, spec=spec)).blobs == blobs


def test_the_number_of_critics_is_the_task_s() -> None:
    critics = {"policy_kwargs": {"n_critics": 3, "net_arch": policy_meta("sac")["net_arch"]}}
    spec = TRAIN.spec.model_copy(update={"algorithm": "sac", "hyperparameters": critics})
    blobs = policy_blobs(algorithm="sac", normalise=False)
    words = rejection(lambda: check_train(blobs, replace(TRAIN, spec=spec)))
    assert words == "policy.safetensors: critic.qf2.0.bias: is missing"


def test_free_text_in_an_answer_is_cleaned() -> None:
    answer = check_score(video_note="\x1b[31mno\u202eGL\nhere" + "x" * 1000, versions={"mujoco": "3\x07.3"})
    assert isinstance(answer.result, ScoreResult)
    assert answer.result.video_note.startswith("noGL herexxx")
    assert len(answer.result.video_note) == 300
    assert answer.result.versions == {"mujoco": "3.3"}


def test_an_answer_without_recordings_and_film_passes_where_none_were_asked_for() -> None:
    spec = SCORE.spec.model_copy(update={"video": None, "record_episodes": 0})
    assert check_score({}, replace(SCORE, spec=spec), recorded=[]).blobs == {}


NUMBERS: dict[str, tuple[Callable[[], object], str]] = {
    "no steps": (lambda: check_train(timesteps=0), "frame RESULT: timesteps: 0, expected 1000..3048"),
    "fewer steps than asked": (lambda: check_train(timesteps=999, peak_timesteps=1), "timesteps: 999, expected 1000.."),
    "more steps than the recipe can come to": (lambda: check_train(timesteps=2**52), "timesteps: 4503599627370496, expected 1000..3048"),
    "peak after the end": (lambda: check_train(peak_timesteps=1001), "peak_timesteps: 1001, expected 0..timesteps"),
    "negative seconds": (lambda: check_train(seconds=-1.0), "seconds: -1.0, expected 0..20"),
    "longer than the box lived": (lambda: check_train(seconds=21.0), "seconds: 21.0, expected 0..20"),
    "negative start-up": (lambda: check_train(startup_seconds=-1.0), "startup_seconds: -1.0"),
    "a start-up longer than the box lived": (lambda: check_train(startup_seconds=21.0), "startup_seconds: 21.0, expected 0..20"),
    "curve name with markup": (lambda: check_train(curves={"time/total_timesteps": [1], "reward/<script>": [1.0]}), "the name 'reward/<script>' does not match"),
    "curve name of 5 kB": (lambda: check_train(curves={"time/total_timesteps": [1], "reward/" + "a" * 5000: [1.0]}), "does not match"),
    "curve name with a line break": (lambda: check_train(curves={"time/total_timesteps": [1], "reward/a\n": [1.0]}), "does not match"),
    "curve name with homoglyphs": (lambda: check_train(curves={"time/total_timesteps": [1], "reward/fоrward": [1.0]}), "does not match"),
    "too many curves": (lambda: check_train(curves={"time/total_timesteps": [1]} | {f"reward/r{i}": [1.0] for i in range(256)}), "curves: 257 columns, expected at most 256"),
    "curves without their axis": (lambda: check_train(curves={"reward/a": [1.0]}), "curves: time/total_timesteps is missing"),
    "columns of two lengths": (lambda: check_train(curves={"time/total_timesteps": [1, 2], "reward/a": [1.0]}), "curves.reward/a: 1 rows, expected 2"),
    "a point that no sum survives": (lambda: check_train(curves={"time/total_timesteps": [1, 2], "reward/a": [-1e308, 1e308]}), "curves.reward/a: -1e+308, expected at most 1e+100"),
    "a peak that no sum survives": (lambda: check_train(peak_return=1e308), "peak_return: 1e+308"),
    "an axis with a gap": (lambda: check_train(curves={"time/total_timesteps": [1, None]}), "curves.time/total_timesteps: None, expected 0..1000"),
    "an axis beyond the end": (lambda: check_train(curves={"time/total_timesteps": [1, 1001]}), "curves.time/total_timesteps: 1001"),
    "fitness that no sum survives": (lambda: check_score(fitness=[1e308] * 4), "fitness: 1e+308"),
    "version name with markup": (lambda: check_train(versions={"<b>": "1"}), "versions: the name '<b>'"),
    "too many versions": (lambda: check_train(versions={f"p{i}": "1" for i in range(33)}), "versions: 33 entries"),
    "more fitness than seeds": (lambda: check_score(fitness=[1.0] * 5), "fitness: 5 entries, expected 4, one per seed"),
    "less success than seeds": (lambda: check_score(success=[True]), "success: 1 entries"),
    "no lengths": (lambda: check_score(lengths=[]), "lengths: 0 entries"),
    "an episode of no steps": (lambda: check_score(lengths=[20, 0, 3, 20]), "lengths.1: 0, expected 1..20"),
    "an episode beyond the horizon": (lambda: check_score(lengths=[20, 20, 3, 21]), "lengths.3: 21, expected 1..20"),
    "more recordings than asked for": (lambda: check_score(recorded=[0, 1, 2, 3]), "recorded: 4, expected at most 3"),
    "a recording twice": (lambda: check_score(recorded=[2, 2]), "recorded: a position twice"),
    "a recording of no episode": (lambda: check_score(recorded=[0, 4]), "recorded.1: 4, expected 0..3"),
    "no weights": (lambda: check_train({"policy.json": b"{}"}), "policy.safetensors: is missing"),
    "no description": (lambda: check_train({"policy.safetensors": b""}), "policy.json: is missing"),
    "no recording": (lambda: check_score({}), "episodes.npz: is missing"),
    "a recording of nothing": (lambda: check_score(recorded=[]), "episodes.npz: was not asked for"),
    "an unasked film": (lambda: check_score(job=replace(SCORE, spec=SCORE.spec.model_copy(update={"video": None}))), "poster.jpg: was not asked for"),
    "an unasked contact sheet": (lambda: check_score(job=replace(SCORE, spec=SCORE.spec.model_copy(update={"sheet": None}))), "frames.jpg: was not asked for"),
    "a film that is a page": (lambda: check_score(score_blobs() | {"video.mp4": b"<html><script>alert(1)</script>"}), "video.mp4: does not begin with an MP4"),
    "a film of no bytes": (lambda: check_score(score_blobs() | {"video.mp4": b""}), "video.mp4: does not begin"),
    "an answer to another job": (lambda: checked(Answer(ScoreResult.model_validate(score_result()), {}), TRAIN), "ScoreResult does not answer a train job"),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_an_answer_that_does_not_fit_the_job_is_rejected_by_field(name: str) -> None:
    check, words = NUMBERS[name]
    assert words in rejection(check)


META: dict[str, tuple[dict[str, Any], str]] = {
    "another algorithm": ({"algorithm": "sac"}, "policy.json: algorithm: sac, expected ppo"),
    "another body": ({"body": "ant"}, "policy.json: body: ant, expected hopper"),
    "a body of 5 kB": ({"body": "x" * 5000}, "policy.json: body: xxx"),
    "wrong observation": ({"observation_size": 12}, "policy.json: observation_size: 12, expected 11"),
    "wrong actions": ({"action_low": [-1.0]}, "policy.json: action_low: 1, expected 3"),
    "bounds crossed": ({"action_low": [1.0] * 3}, "policy.json: action_low: 1.0 is not below"),
    "unknown network": ({"net_arch": {"pi": [8]}}, "policy.json: net_arch: {'pi': [8]}, expected {'pi': [8, 8], 'vf': [8]}"),
    "a larger network than the recipe's": ({"net_arch": {"pi": [256, 256], "vf": [8]}}, "policy.json: net_arch: {'pi': [256, 256], 'vf': [8]}, expected"),
    "another activation than the recipe's": ({"activation": "relu"}, "policy.json: activation: relu, expected tanh"),
    "no normaliser where the recipe has one": ({"normalise": False}, "policy.json: normalise: False, expected True"),
    "a layer too wide": ({"net_arch": {"pi": [10**6], "vf": [8]}}, "policy.json: net_arch.pi.0: Input should be less than or equal to 4096"),
    "too many layers": ({"net_arch": {"pi": [8] * 9, "vf": [8]}}, "policy.json: net_arch: {'pi': [8, 8, 8, 8, 8, 8, 8, 8, 8], "),
    "unknown activation": ({"activation": "exec"}, "policy.json: activation: Input should be"),
    "wrong format": ({"format": 2}, "policy.json: format: Input should be 1"),
    "a number as a flag": ({"normalise": 1}, "policy.json: normalise: Input should be a valid boolean"),
    "another checkpoint": ({"timesteps": 999}, "policy.json: timesteps: 999, expected 1000"),
    "an unknown field": ({"pickle": "gASV"}, "policy.json: pickle: is no field"),
}  # fmt: skip


def with_arrays(change: Callable[[dict[str, np.ndarray]], object]) -> bytes:
    arrays = policy_arrays(policy_meta())
    change(arrays)
    return save_arrays(arrays)


def with_header(change: Callable[[dict[str, Any]], object]) -> bytes:
    weights = policy_blobs()["policy.safetensors"]
    (size,) = struct.unpack_from("<Q", weights)
    header = json.loads(weights[8 : 8 + size])
    change(header)
    text = as_json(header)
    return struct.pack("<Q", len(text)) + text + weights[8 + size :]


WEIGHTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a pickle": (lambda: b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins", "header of 445973632 bytes, at most 13 are possible"),
    "nothing": (lambda: b"", "0 bytes, too short"),
    "a header beyond the file": (lambda: struct.pack("<Q", 2**63) + b"{}", "header of 9223372036854775808 bytes"),
    "a header of lists": (lambda: struct.pack("<Q", 2) + b"[]", "header: is no object"),
    "a deep header": (lambda: struct.pack("<Q", 10_000) + b"[" * 10_000, "header: nested deeper than 16"),
    "a duplicate array": (lambda: struct.pack("<Q", 16) + b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
    "metadata": (lambda: with_header(lambda h: h.update(__metadata__={"format": "pt"})), "__metadata__: no such array"),
    "an extra array": (lambda: with_arrays(lambda a: a.update({"\x1b[2Jx": np.ones(1, np.float32)})), "policy.safetensors: x: no such array"),
    "a missing array": (lambda: with_arrays(lambda a: a.pop("action_net.bias")), "action_net.bias: is missing"),
    "a wrong shape": (lambda: with_arrays(lambda a: a.update({"action_net.weight": np.ones((3, 9), np.float32)})), "action_net.weight: shape [3, 9], expected [3, 8]"),
    "a transposed array": (lambda: with_arrays(lambda a: a.update({"action_net.weight": np.ones((8, 3), np.float32)})), "action_net.weight: shape [8, 3], expected [3, 8]"),
    "float16": (lambda: with_arrays(lambda a: a.update(log_std=np.ones(3, np.float16))), "log_std: dtype F16, expected F32"),
    "float64 where float32 belongs": (lambda: with_arrays(lambda a: a.update(log_std=np.ones(3))), "log_std: dtype F64, expected F32"),
    "integers": (lambda: with_arrays(lambda a: a.update(log_std=np.ones(3, np.int32))), "log_std: dtype I32"),
    "NaN": (lambda: with_arrays(lambda a: a["log_std"].__setitem__(1, np.nan)), "log_std: holds NaN or infinity"),
    "infinity in the normalizer": (lambda: with_arrays(lambda a: a["normalizer.mean"].__setitem__(0, np.inf)), "normalizer.mean: holds NaN or infinity"),
    "a negative variance": (lambda: with_arrays(lambda a: a["normalizer.var"].__setitem__(0, -1.0)), "normalizer.var: -1.0 is negative"),
    "overlapping arrays": (lambda: with_header(lambda h: h["log_std"].update(data_offsets=[0, 12])), "begins at byte"),
    "offsets beyond the file": (lambda: with_header(lambda h: h["log_std"].update(data_offsets=[10**9, 10**9 + 12])), "begins at byte"),
    "offsets reversed": (lambda: with_header(lambda h: h["log_std"].update(data_offsets=[12, 0])), "log_std: data_offsets span -12 bytes"),
    "offsets of bools": (lambda: with_header(lambda h: h["log_std"].update(data_offsets=[False, True])), "log_std: data_offsets [False, True]"),
    "an entry without a shape": (lambda: with_header(lambda h: h["log_std"].pop("shape")), "log_std: expected dtype, shape"),
    "a shape of text": (lambda: with_header(lambda h: h["log_std"].update(shape="3")), "log_std: shape 3, expected [3]"),
    "bytes after the arrays": (lambda: policy_blobs()["policy.safetensors"] + b"x", "the header describes"),
    "arrays cut short": (lambda: policy_blobs()["policy.safetensors"][:-4], "the header describes"),
}  # fmt: skip


def recording(change: Callable[[dict[str, bytes]], object], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A true recording whose members have been changed."""
    with zipfile.ZipFile(io.BytesIO(score_blobs()["episodes.npz"])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def npy_header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1") + data


def with_member(name: str, data: bytes) -> bytes:
    return recording(lambda members: members.update({name: data}))


def with_zip_end(**fields: int) -> bytes:
    data = bytearray(score_blobs()["episodes.npz"])
    for offset, value in ((10, fields.get("members")), (12, fields.get("size"))):
        if value is not None:
            struct.pack_into("<H" if offset == 10 else "<L", data, len(data) - 22 + offset, value)
    return bytes(data)


RECORDINGS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a pickle": (lambda: b"\x80\x04\x95" + b"x" * 100, "does not end as a plain zip archive"),
    "nothing": (lambda: b"", "too short"),
    "a directory of 60000 members": (lambda: with_zip_end(members=60_000), "60000 members, at most 4096"),
    "a directory that is the whole file": (lambda: with_zip_end(size=2**20), "directory of 1048576 bytes"),
    "a comment": (lambda: score_blobs()["episodes.npz"][:-2] + b"\1\0x", "does not end as a plain zip"),
    "zip64": (lambda: score_blobs()["episodes.npz"][:-22] + b"PK\6\7" + b"\0" * 16 + score_blobs()["episodes.npz"][-22:], "is a zip64 archive"),
    "a bomb": (lambda: recording(lambda m: m.update({"e0/qpos.npy": npy(np.zeros((2**18, 6)))}), zipfile.ZIP_DEFLATED), "e0/qpos.npy' is compressed"),
    "compressed members": (lambda: recording(lambda m: None, zipfile.ZIP_DEFLATED), "episodes.npz"),
    "a path out of the folder": (lambda: with_member("../../evil.npy", b""), "unexpected member '../../evil.npy'"),
    "an unknown member": (lambda: with_member("e0/reward.npy", b""), "unexpected member 'e0/reward.npy'"),
    "an object array": (lambda: with_member("e0/qpos.npy", npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)), "e0/qpos.npy' is object"),
    "complex numbers": (lambda: with_member("e0/qpos.npy", npy(np.zeros((21, 6), np.complex128))), "is complex128"),
    "strings": (lambda: with_member("e0/dt.npy", npy(np.array("0.008"))), "e0/dt.npy"),
    "NaN": (lambda: with_member("e0/qvel.npy", npy(np.full((21, 6), np.nan))), "e0/qvel.npy' holds NaN or infinity"),
    "an array that lies about its size": (lambda: with_member("e0/qpos.npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (10**6, 6), }".replace("10**6", "1000000"))), "e0/qpos.npy"),
    "an array of 10^40 numbers": (lambda: with_member("e0/qpos.npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (0, " + "9" * 40 + "), }")), "episodes.npz"),
    "a negative shape": (lambda: with_member("e0/qpos.npy", npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1), }", b"\0" * 8)), "episodes.npz"),
    "a header of parentheses": (lambda: with_member("e0/qpos.npy", npy_header("(" * 9000)), "episodes.npz"),
    "a header that calls": (lambda: with_member("e0/qpos.npy", npy_header("__import__('os').system('true')")), "episodes.npz"),
    "a header of nested sums": (lambda: with_member("e0/qpos.npy", npy_header("1" + "+1" * 4000)), "episodes.npz"),
    "another version of npy": (lambda: with_member("e0/qpos.npy", npy(np.zeros((21, 6)), version=(3, 0))), "not an npy array of version 1.0"),
    "too few rows": (lambda: with_member("e0/qpos.npy", npy(np.zeros((20, 6)))), "qpos has shape (20, 6), expected 21 rows"),
    "a state variable of another shape": (lambda: with_member("e0/state/torso_x.npy", npy(np.zeros((21, 2), np.float32))), "e0/state/torso_x has shape (2,)"),
    "an unknown state variable": (lambda: with_member("e0/state/fitness.npy", npy(np.zeros(21, np.float32))), "e0/state/fitness"),
    "a missing member": (lambda: recording(lambda m: m.pop("e2/dt.npy")), "e2/dt is missing"),
    "no time step": (lambda: with_member("e0/dt.npy", npy(np.array(0.0))), "e0/dt is 0.0"),
    "an episode that was not recorded": (lambda: save_episodes({0: episode(20), 1: episode(20)}), "holds episodes [0, 1], `recorded` names [0, 2]"),
    "an episode of another length": (lambda: save_episodes({0: episode(20), 2: episode(4)}), "e2/actions: 4 rows, `lengths` says 3"),
    "too many actuators": (lambda: save_episodes({0: episode(20), 2: episode(3, actions=np.zeros((3, 9), np.float32))}), "e2/actions: 9 actuators, hopper has 3"),
}  # fmt: skip


def test_damaged_recordings_never_raise_anything_but_a_violation() -> None:
    true = score_blobs()["episodes.npz"]
    rng = np.random.default_rng(0)
    result = ScoreResult.model_validate(score_result())
    rejected = 0
    for _ in range(150):
        data = bytearray(true)
        for position in rng.integers(0, len(data), 20):
            data[position] = rng.integers(256)
        try:
            check_recording(bytes(data), SCORE.spec, result)  # type: ignore[arg-type]
        except Violation:
            rejected += 1
    assert rejected > 100


def test_of_the_largest_network_that_may_be_the_weights_are_missed_by_name() -> None:
    networks = {"pi": [2048, 2048, 2048, 512], "vf": [512] * 3}
    spec = TRAIN.spec.model_copy(update={"hyperparameters": {"policy_kwargs": {"net_arch": networks}}})
    blobs = policy_blobs() | {"policy.json": as_json(policy_meta(net_arch=networks))}
    message = rejection(lambda: check_train(blobs, replace(TRAIN, spec=spec)))
    assert "policy.safetensors: mlp_extractor.policy_net.4.bias: is missing" in message


def raw_meta(text: bytes) -> dict[str, bytes]:
    return policy_blobs() | {"policy.json": text}


def overlapping_members() -> bytes:
    """A hundred entries of the directory that share one member's bytes: small to send, large to read."""
    data = save_episodes({0: episode(20), 2: episode(3)})
    (start,) = struct.unpack_from("<L", data, len(data) - 6)
    first = data[start : data.index(b"PK\1\2", start + 4)]
    directory = first * 100
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 100, 100, len(directory), start, 0)
    return data[:start] + directory + end


FILES: dict[str, tuple[Callable[[], dict[str, bytes]], str]] = {
    **{f"policy.json, {name}": (lambda changes=changes: raw_meta(as_json(policy_meta() | changes)), words) for name, (changes, words) in META.items()},
    **{f"policy.safetensors, {name}": (lambda make=make: policy_blobs() | {"policy.safetensors": make()}, words) for name, (make, words) in WEIGHTS.items()},
    **{f"episodes.npz, {name}": (lambda make=make: score_blobs() | {"episodes.npz": make()}, words) for name, (make, words) in RECORDINGS.items()},
    "policy.json, fifty thousand brackets": (lambda: raw_meta(b"[" * 50_000), "policy.json: nested deeper than 16 levels"),
    "policy.json, fifty thousand empty lists": (lambda: raw_meta(b"[" + b"[]," * 40_000 + b"[]]"), "policy.json: more than 4096 lists"),
    "policy.json, NaN": (lambda: raw_meta(as_json(policy_meta(clip_obs=float("nan")))), "policy.json: not valid JSON: NaN is not a finite number"),
    "policy.json, 1e999": (lambda: raw_meta(as_json(policy_meta()).replace(b"10.0", b"1e999")), "policy.json: not valid JSON: 1e999 is not a finite number"),
    "policy.json, a key twice": (lambda: raw_meta(as_json(policy_meta()).replace(b"{", b'{"format": 1, ', 1)), "policy.json: not valid JSON: the key 'format' appears twice"),
    "policy.json, an integer of 5000 digits": (lambda: raw_meta(b'{"format": ' + b"9" * 5000 + b"}"), "policy.json: not valid JSON: the integer 999"),
    "policy.json, no text": (lambda: raw_meta(b"\xff\xfe{}"), "policy.json: byte 0 is not utf-8"),
    "policy.json, an open string": (lambda: raw_meta(b'{"format: 1}'), "policy.json: the string that opens at byte 1 is never closed"),
    "policy.json, a list": (lambda: raw_meta(b"[]"), "policy.json: PolicyMeta: Input should be an object"),
    "policy.json, a page": (lambda: raw_meta(b"<html>"), "policy.json: not valid JSON"),
    "policy.json, 48 MiB": (lambda: raw_meta(b" " * 48 * 2**20), "policy.json: 50331648 bytes, at most 131072 are allowed"),
    "policy.json, no limit for observations": (lambda: raw_meta(as_json(policy_meta(clip_obs=0.0))), "policy.json: clip_obs: Input should be greater than 0"),
    "policy.safetensors, 48 MiB of zeros": (lambda: policy_blobs() | {"policy.safetensors": bytes(48 * 2**20)}, "policy.safetensors header: not valid JSON"),
    "policy.safetensors, a header of 40 MiB": (lambda: policy_blobs() | {"policy.safetensors": struct.pack("<Q", 40 * 2**20) + b" " * (48 * 2**20)}, "header of 41943040 bytes, at most 262144"),
    "episodes.npz, 48 MiB of zeros": (lambda: score_blobs() | {"episodes.npz": bytes(48 * 2**20)}, "episodes.npz: does not end as a plain zip archive"),
    "episodes.npz, a hundred members in one place": (lambda: score_blobs() | {"episodes.npz": overlapping_members()}, "episodes.npz"),
    "video.mp4, a page": (lambda: score_blobs() | {"video.mp4": b"<html><script>alert(1)</script>"}, "video.mp4: does not begin with an MP4"),
    "video.mp4, nothing": (lambda: score_blobs() | {"video.mp4": b""}, "video.mp4: does not begin with an MP4"),
    "poster.jpg, a page": (lambda: score_blobs() | {"poster.jpg": b"<svg onload=alert(1)>"}, "poster.jpg: does not begin and end as a JPEG"),
    "poster.jpg, nothing": (lambda: score_blobs() | {"poster.jpg": b""}, "poster.jpg: does not begin"),
    "poster.jpg, no segment": (lambda: score_blobs() | {"poster.jpg": b"\xff\xd8\xff\xd9"}, "poster.jpg: byte 2: ffd9 begins no segment"),
    "poster.jpg, of another size": (lambda: score_blobs() | {"poster.jpg": poster(65535, 65535)}, "poster.jpg: sizes [(65535, 65535)], expected one picture of (480, 360)"),
    "poster.jpg, two sizes": (lambda: score_blobs() | {"poster.jpg": poster(extra=b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03" + bytes(9))}, "poster.jpg: sizes [(65535, 65535), (480, 360)]"),
    "poster.jpg, a profile": (lambda: score_blobs() | {"poster.jpg": poster(extra=b"\xff\xe2\0\x10ICC_PROFILE\0\1\1")}, "poster.jpg: byte 491: ffe2 begins no segment"),
    "poster.jpg, a long comment": (lambda: score_blobs() | {"poster.jpg": poster(extra=b"\xff\xfe\x10\0" + b"x" * 4094)}, "poster.jpg: byte 491: a segment of 4096 bytes, at most 64"),
    "poster.jpg, a segment beyond the end": (lambda: score_blobs() | {"poster.jpg": b"\xff\xd8\xff\xdb\0\x43\xff\xd9"}, "poster.jpg: byte 2: a segment of 67 bytes"),
    "poster.jpg, a second picture behind the first": (lambda: score_blobs() | {"poster.jpg": poster(picture=b"\xff\xd9\xff\xd8")}, "poster.jpg: byte 524: another segment"),
    "frames.jpg, a page": (lambda: score_blobs() | {"frames.jpg": b"<svg onload=alert(1)>"}, "frames.jpg: does not begin and end as a JPEG"),
    "frames.jpg, of another size": (lambda: score_blobs() | {"frames.jpg": poster()}, "frames.jpg: sizes [(480, 360)], expected one picture of (768, 576)"),
    "frames.jpg, too large": (lambda: score_blobs() | {"frames.jpg": poster(768, 576, picture=bytes(2**18))}, "bytes, at most 262144 are allowed"),
    "frames.jpg, cut short": (lambda: score_blobs() | {"frames.jpg": poster(768, 576)[:100] + b"\xff\xd9"}, "frames.jpg: byte 71: a segment of 418 bytes"),
    "poster.jpg, 48 MiB": (lambda: score_blobs() | {"poster.jpg": poster(picture=bytes(48 * 2**20))}, "bytes, at most 262144 are allowed"),
}  # fmt: skip
"""Hostile result files by name: what the box emits, and words of the rejection."""


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_rejected_by_name_before_anything_is_made_of_it(name: str) -> None:
    make, words = FILES[name]
    blobs = make()
    check = check_score if "episodes.npz" in blobs else check_train
    tracemalloc.start()
    with pytest.raises(Violation) as violation:
        check(blobs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(violation.value).startswith(name.partition(",")[0])
    assert words in str(violation.value)
    assert peak < 8 * 2**20


def test_there_are_hostile_files_of_every_kind() -> None:
    assert len(FILES) >= 25
    kinds = {name.partition(",")[0] for name in FILES}
    assert kinds == {"policy.json", "policy.safetensors", "episodes.npz", "video.mp4", "poster.jpg", "frames.jpg"}
