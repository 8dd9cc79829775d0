"""CHECKPOINT frames from a hostile box: whatever is not exactly a checkpoint is refused, by name and limit."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from backend_cases import HELLO, SCORE, as_json, frame, policy_blobs, progress, train_result
from backend_cases import TRAIN as TRAIN_WITHOUT
from checkpoint_cases import JOB, TRAIN, arrays_of, files_of, meta_of, payload_of
from gymnasium.spaces import Box
from safetensors.numpy import save as save_arrays

from eureka_sandbox.backends.checkpoint_check import check_checkpoint
from eureka_sandbox.backends.frames import MOST_EARLY, Answer, FrameDecoder
from eureka_sandbox.backends.results import checked
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.checkpoint_arrays import ARRAYS, PEAK, PEAK_STATISTICS, RETURNS, STATISTICS
from eureka_sandbox.hyperparameters import CRITIC
from eureka_sandbox.protocol import CHECKPOINT_BYTES, Job, Progress, TrainingCheckpoint, TrainResult, TrainSpec, Verdict
from eureka_sandbox.replay_size import REPLAY_BYTES, checkpoint_limit, replay_size
from eureka_sandbox.worker.hyperparameters import ALGORITHMS


def header_of(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The arrays with their header changed."""
    data = save_arrays(arrays_of())
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def entry(name: str, **changes: Any) -> bytes:
    return header_of(lambda header: header[name].update(changes))


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays_of().items() if name not in names}


def test_a_checkpoint_comes_out_as_it_went_in() -> None:
    payload = payload_of()
    reports = FrameDecoder(JOB).feed(HELLO + frame(b"P", as_json(progress())) + frame(b"C", payload))
    assert [type(report) for report in reports] == [Progress, TrainingCheckpoint]
    found = reports[1]
    assert isinstance(found, TrainingCheckpoint)
    assert json.loads(found.files["checkpoint.json"]) == meta_of()
    assert found.files["checkpoint.safetensors"] == files_of(payload)["checkpoint.safetensors"]


def test_a_checkpoint_may_lack_a_peak_and_normalisation_but_not_half_of_them() -> None:
    groups = (PEAK, PEAK_STATISTICS, STATISTICS, RETURNS)
    optional = [name for name, rule in ARRAYS.items() if rule.group in groups]
    assert check_checkpoint(payload_of(arrays=without(*optional)), JOB).meta.timesteps == 512
    with pytest.raises(Violation, match=r"normalizer\.count: is missing"):
        check_checkpoint(payload_of(arrays=without("normalizer.count")), JOB)


BAD_META = {
    "too far": ({"timesteps": 1024}, "timesteps: 1024, expected fewer than 1024"),
    "no step": ({"timesteps": 0}, "timesteps"),
    "too long": ({"seconds": 1e9}, r"seconds: 1e\+09, at most 3600"),
    "negative time": ({"seconds": -1.0}, "seconds"),
    "endless": ({"seconds": float("inf")}, "Infinity is not a finite number"),
    "bool for number": ({"updates": True}, "updates"),
    "huge": ({"updates": 2**60}, r"2\^53"),
    "another format": ({"format": 2}, "format"),
    "no hash": ({"job": "../../etc/passwd"}, "job"),
    "a component that is no name": ({"components": ["forward", "<script>"]}, r"components\.1"),
    "more components": ({"components": [f"c{i}" for i in range(33)]}, "components"),
    "a curve that is no name": ({"curves": ["rollout/ep_rew_mean", "x\ny"]}, r"curves\.1"),
    "a version that is no line": ({"versions": {"torch": "2\n\x1b[31m"}}, "versions"),
    "unknown field": ({"pickle": "gASV"}, "pickle: is no field"),
    "deep": ({"versions": json.loads("[" * 40 + "]" * 40)}, "nested deeper"),
}


@pytest.mark.parametrize("case", BAD_META)
def test_json_that_is_not_a_checkpoints_is_refused(case: str) -> None:
    changes, message = BAD_META[case]
    with pytest.raises(Violation, match=message):
        check_checkpoint(payload_of(meta_of(**changes)), JOB)


BAD_ARRAYS: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "too short for a header"),
    "a header beyond the bytes": (struct.pack("<Q", 10**6), "header of 1000000 bytes"),
    "a header that is no object": (struct.pack("<Q", 2) + b"[]", "is no object"),
    "cut": (save_arrays(arrays_of())[:-8], "the header describes"),
    "bytes behind": (save_arrays(arrays_of()) + b"\0" * 8, "the header describes"),
    "another name": (arrays_of(**{"../policy": np.ones(3)}), r"\.\./policy: no such array"),
    "metadata": (save_arrays(arrays_of(), {"a": "b"}), "__metadata__: no such array"),
    "one is missing": (without("random.torch"), r"random\.torch: is missing"),
    "another dtype": (arrays_of(**{"random.numpy": np.ones(627)}), r"random\.numpy: dtype F64, expected U64"),
    "another rank": (arrays_of(**{"random.numpy": np.ones((627, 1), np.uint64)}), "expected 1 axes"),
    "another size": (arrays_of(**{"random.numpy": np.ones(626, np.uint64)}), "expected 627"),
    "sizes that disagree": (arrays_of(**{"policy.first_moment": np.ones(51, np.float32)}), "expected 50 for D"),
    "another body": (arrays_of(**{"learner.observations": np.ones((4, 9), np.float32)}), "expected 11 for O"),
    "columns without names": (arrays_of(**{"recent.components": np.ones((5, 3))}), "expected 2 for C"),
    "too many rows": (arrays_of(**{"curves.rows": np.ones((402, 2))}), "402 for M, at most 401"),
    "NaN in the physics": (arrays_of(**{"simulation.physics": np.full((4, 30), np.nan)}), "physics: holds NaN"),
    "infinite weights": (arrays_of(**{"policy.parameters": np.full(50, np.inf, np.float32)}), "parameters: holds NaN"),
    "overlapping": (entry("random.torch", data_offsets=[0, 64]), "begins at byte|expected"),
    "span and shape disagree": (entry("random.torch", shape=[63]), "span 64 bytes, its shape has 63 numbers"),
    "a size that is no number": (entry("random.torch", shape=["64"]), "expected whole numbers"),
    "a negative size": (entry("random.torch", shape=[-64]), "expected whole numbers"),
    "a bool for a size": (entry("random.torch", shape=[True]), "expected whole numbers"),
    "three offsets": (entry("random.torch", data_offsets=[0, 1, 2]), "3 data_offsets"),
    "an extra key": (entry("random.torch", pickle="x"), "expected dtype, shape and data_offsets"),
    "no array at all": (header_of(dict.clear), "is missing"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_are_not_a_checkpoints_are_refused(case: str) -> None:
    arrays, message = BAD_ARRAYS[case]
    with pytest.raises(Violation, match=message):
        check_checkpoint(payload_of(arrays=arrays), JOB)


def test_numbers_that_need_not_be_finite_may_be_anything() -> None:
    loose = [name for name, rule in ARRAYS.items() if not rule.finite]
    arrays = arrays_of()
    for name in loose:
        if arrays[name].dtype.kind == "f":
            arrays[name] = np.full_like(arrays[name], np.nan)
    assert check_checkpoint(payload_of(arrays=arrays), JOB).meta.timesteps == 512


def test_a_checkpoint_of_nearly_the_limit_is_taken_and_a_larger_one_not_even_awaited() -> None:
    parameters = 1_000_000
    names = ("policy.parameters", "policy.first_moment", "policy.second_moment")
    arrays = arrays_of(**{name: np.ones(parameters, np.float32) for name in names})
    arrays |= {"peak.parameters": np.ones(parameters, np.float32)}
    payload = payload_of(arrays=arrays)
    assert 0.95 * CHECKPOINT_BYTES < len(payload) < CHECKPOINT_BYTES
    assert check_checkpoint(payload, JOB).meta.timesteps == 512
    most = checkpoint_limit(TRAIN)
    with pytest.raises(Violation, match=f"{most + 1} bytes, at most {most} are allowed"):
        FrameDecoder(JOB).feed(HELLO + struct.pack(">cI", b"C", most + 1))


def off_policy_job(algorithm: Any, **hyperparameters: Any) -> Job:
    changes = {"algorithm": algorithm, "hyperparameters": {"n_envs": 4, "normalize": True} | hyperparameters}
    return Job(TRAIN.model_copy(update=changes))


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
def test_a_checkpoint_holds_the_arrays_of_its_own_algorithm_and_no_others(algorithm: str) -> None:
    jobs = {"ppo": JOB, "sac": off_policy_job("sac"), "td3": off_policy_job("td3")}
    payload = payload_of(arrays=arrays_of(algorithm))
    assert check_checkpoint(payload, jobs[algorithm]).meta.timesteps == 512
    for other in jobs.keys() - {algorithm, "sac" if algorithm == "td3" else ""}:  # TD3's are SAC's but the entropy's
        with pytest.raises(Violation, match=f"no such array in a checkpoint of {other.upper()}"):
            check_checkpoint(payload, jobs[other])
    needed = "policy.first_moment" if algorithm == "ppo" else "replay.rewards"
    own = {name: array for name, array in arrays_of(algorithm).items() if name != needed}
    with pytest.raises(Violation, match=f"{needed}: is missing"):
        check_checkpoint(payload_of(arrays=own), jobs[algorithm])


def test_a_replay_buffer_is_no_larger_than_the_trainings_own() -> None:
    for rows, taken in ((7, True), (8, False)):
        arrays = arrays_of("sac")
        for name in ("observations", "actions", "rewards", "dones", "timeouts"):
            array = arrays[f"replay.{name}"]
            arrays[f"replay.{name}"] = np.ones((rows, *array.shape[1:]), array.dtype)
        job, payload = off_policy_job("sac", buffer_size=28), payload_of(arrays=arrays)
        if taken:
            assert check_checkpoint(payload, job).meta.timesteps == 512
        else:
            with pytest.raises(Violation, match="8 for B, at most 7 are allowed"):
                check_checkpoint(payload, job)


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
@pytest.mark.parametrize("arch", [{}, {"pi": [300, 200], "critic": [100]}, {"pi": [], "critic": []}], ids=str)
def test_networks_raise_the_limit_by_what_they_take(algorithm: Any, arch: dict[str, list[int]]) -> None:
    """Parameters, two moments and the peak, four bytes each; wide ones would never be sent otherwise."""
    widths = {"pi": arch["pi"], CRITIC[algorithm]: arch["critic"]} if arch else None
    policy = ({"net_arch": widths} if widths else {}) | ({} if algorithm == "ppo" else {"n_critics": 3})
    spaces = Box(-1.0, 1.0, (11,)), Box(-1.0, 1.0, (3,))  # the hopper's
    model = ALGORITHMS[algorithm].policy_aliases["MlpPolicy"](*spaces, lambda _: 1e-3, **policy)
    of_sb3 = sum(tensor.numel() for tensor in model.state_dict().values())
    spec = TRAIN.model_copy(update={"algorithm": algorithm, "hyperparameters": {"policy_kwargs": policy}})
    replay = replay_size(spec)
    assert checkpoint_limit(spec) - CHECKPOINT_BYTES - (replay.most_bytes if replay else 0) == 16 * of_sb3


def test_a_replay_buffer_raises_the_limit_by_no_more_than_it_can_take() -> None:
    small = off_policy_job("sac", buffer_size=100, normalize=False).spec
    large = TRAIN.model_copy(update={"algorithm": "td3", "hyperparameters": {}, "total_timesteps": 10**7})
    assert isinstance(small, TrainSpec)
    # 100 transitions of 11 numbers, 3 actions, a reward and two flags; each may need its next observation and place
    of_small, of_large = replay_size(small), replay_size(large)
    assert of_small
    assert of_large
    assert of_small.most_bytes == 100 * (11 * 4 + 3 * 4 + 4 + 2 + 11 * 4 + 8)
    assert of_large.most_bytes == REPLAY_BYTES
    most = checkpoint_limit(large)
    assert CHECKPOINT_BYTES + REPLAY_BYTES < most < CHECKPOINT_BYTES + REPLAY_BYTES + 16 * 2**20
    with pytest.raises(Violation, match=f"{most + 1} bytes, at most {most} are allowed"):
        FrameDecoder(Job(large)).feed(HELLO + struct.pack(">cI", b"C", most + 1))


def test_an_impossible_recipe_has_no_checkpoint() -> None:
    job = off_policy_job("sac", buffer_size=-1)
    assert isinstance(job.spec, TrainSpec)
    assert checkpoint_limit(job.spec) == CHECKPOINT_BYTES
    with pytest.raises(Violation, match="no training can have come of these hyperparameters"):
        check_checkpoint(payload_of(arrays=arrays_of("sac")), job)


def test_checkpoints_that_come_too_soon_are_dropped_and_a_flood_ends_the_box() -> None:
    clock = [0.0]
    decoder = FrameDecoder(JOB, clock=lambda: clock[0])
    sent = frame(b"C", payload_of())
    assert len(decoder.feed(HELLO + sent + sent)) == 1
    clock[0] = 5.1  # half the interval of 10 s that was asked for
    assert len(decoder.feed(sent + sent)) == 1
    decoder.feed(sent * (MOST_EARLY - 1))
    with pytest.raises(Violation, match="17 within 5 s") as caught:
        decoder.feed(sent)
    assert caught.value.verdict is Verdict.OUTPUT


def test_an_early_checkpoint_is_not_even_read() -> None:
    decoder = FrameDecoder(JOB, clock=lambda: 0.0)
    assert len(decoder.feed(HELLO + frame(b"C", payload_of()) + frame(b"C", b"no checkpoint"))) == 1


def test_the_last_checkpoint_of_a_box_that_was_to_stop_early_comes_with_its_result_however_soon() -> None:
    result = frame(b"R", as_json(train_result()))
    early = [frame(b"C", payload_of(meta=meta_of(timesteps=steps))) for steps in (300, 400, 500)]
    for stop_at, read in ((None, [300]), (450, [300, 500])):
        job = replace(JOB, spec=TRAIN.model_copy(update={"stop_at": stop_at}))
        decoder = FrameDecoder(job, clock=lambda: 0.0)
        due = decoder.feed(HELLO + b"".join(early)) + decoder.feed(result)
        assert [c.meta.timesteps for c in due if isinstance(c, TrainingCheckpoint)] == read
        assert isinstance(decoder.outcome, Answer)


def test_a_damaged_last_checkpoint_is_a_violation_as_any_other() -> None:
    decoder = FrameDecoder(replace(JOB, spec=TRAIN.model_copy(update={"stop_at": 450})), clock=lambda: 0.0)
    decoder.feed(HELLO + frame(b"C", payload_of()) + frame(b"C", b"no checkpoint"))
    with pytest.raises(Violation, match="no line end"):
        decoder.feed(frame(b"R", as_json(train_result())))


def test_a_box_that_was_to_stop_early_cannot_claim_to_have_gone_on() -> None:
    answer = Answer(TrainResult(**train_result(timesteps=1024)), policy_blobs())
    off_policy = {"algorithm": "sac", "hyperparameters": {"train_freq": 2}}
    for changes, most in (({}, 428), (off_policy, 300 + 2 * 40)):  # which may collect episodes, of 40 steps
        stopping = replace(JOB, spec=TRAIN.model_copy(update={"stop_at": 300, **changes}))
        with pytest.raises(Violation, match=rf"timesteps: 1024, expected 300\.\.{most}$"):
            checked(answer, stopping)


@pytest.mark.parametrize(
    "job",
    [
        TRAIN_WITHOUT,
        SCORE,
    ],
    ids=["none was asked for", "a scoring"],
)
def test_only_a_training_that_was_asked_for_checkpoints_may_send_them(job: Job) -> None:
    with pytest.raises(Violation, match="frame CHECKPOINT: none was asked for"):
        FrameDecoder(job).feed(HELLO + frame(b"C", payload_of()))


def test_checkpoints_come_after_hello_and_before_blobs() -> None:
    with pytest.raises(Violation, match="HELLO comes first"):
        FrameDecoder(JOB).feed(frame(b"C", payload_of()))
    with pytest.raises(Violation, match="no checkpoint may follow a blob"):
        FrameDecoder(JOB).feed(HELLO + frame(b"B", b"policy.json\n{}") + frame(b"C", payload_of()))


def test_a_cut_checkpoint_is_no_checkpoint_and_is_named() -> None:
    decoder = FrameDecoder(JOB)
    assert decoder.feed(HELLO + frame(b"C", payload_of())[:-1]) == []
    assert "in the middle of a CHECKPOINT frame" in decoder.unfinished()
    with pytest.raises(Violation, match="no line end"):
        check_checkpoint(b"{" + b" " * 2**17 + b"}\n", JOB)


def continued(seconds: float) -> Job:
    return replace(TRAIN_WITHOUT, files={**TRAIN_WITHOUT.files, **files_of(payload_of(meta_of(seconds=seconds)))})


def answer(**changes: Any) -> Answer:
    decoder = FrameDecoder(TRAIN_WITHOUT)
    decoder.feed(HELLO + frame(b"R", as_json(train_result(**changes))))
    assert isinstance(decoder.outcome, Answer)
    return replace(decoder.outcome, blobs=policy_blobs())


def test_a_training_that_went_on_may_have_taken_the_time_of_both_boxes_and_no_more() -> None:
    assert checked(answer(seconds=100.0, resumed_at=512), continued(90.0)).result.seconds == 100.0
    with pytest.raises(Violation, match=r"seconds: 111\.0, expected 0\.\.110"):
        checked(answer(seconds=111.0, resumed_at=512), continued(90.0))
    with pytest.raises(Violation, match=r"seconds: 100\.0, expected 0\.\.20"):
        checked(answer(seconds=100.0), TRAIN_WITHOUT)


def test_a_training_cannot_claim_to_have_gone_on_from_anywhere_else() -> None:
    with pytest.raises(Violation, match="resumed_at: 511, expected 0 or 512"):
        checked(answer(resumed_at=511), continued(1.0))
    with pytest.raises(Violation, match="resumed_at: 512, expected 0 or 0"):
        checked(answer(resumed_at=512), TRAIN_WITHOUT)


def test_a_note_about_the_checkpoint_is_one_clean_line() -> None:
    note = "gone\n\x1b[2J" + "x" * 1000
    result = checked(answer(checkpoint_note=note), TRAIN_WITHOUT).result
    assert len(result.checkpoint_note) <= 300
    assert result.checkpoint_note.startswith("gone x")
    assert result.checkpoint_note.isprintable()
