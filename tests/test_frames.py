"""Every way a box can misspeak, and the one way it can speak."""

# ruff: noqa: E501 (the table below reads best with one case a line)

from __future__ import annotations

import json
import struct
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from backend_cases import (
    HELLO,
    SCORE,
    TRAIN,
    as_json,
    frame,
    policy_blobs,
    progress,
    score_blobs,
    score_result,
    stream,
    train_result,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from eureka_sandbox.backends.frames import Answer, FrameDecoder
from eureka_sandbox.backends.untrusted import Violation, one_line, parse_json
from eureka_sandbox.protocol import RESULT_BYTES, Failure, Job, Limits, Progress, TrainResult, Verdict


def feed(data: bytes, job: Job = TRAIN) -> FrameDecoder:
    decoder = FrameDecoder(job)
    decoder.feed(data)
    return decoder


def curves_text(text: str) -> bytes:
    """A result whose curve holds `text` where a number belongs."""
    return json.dumps(train_result()).replace("0.25", text).encode()


def test_a_whole_stream_gives_the_result_and_its_blobs() -> None:
    decoder = feed(stream(policy_blobs(), train_result()))
    assert isinstance(decoder.outcome, Answer)
    assert decoder.outcome.blobs == policy_blobs()
    assert decoder.outcome.result == TrainResult.model_validate(train_result())


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_stream_may_come_in_pieces_of_any_size(size: int) -> None:
    data = stream(score_blobs(), score_result())
    decoder = FrameDecoder(SCORE)
    for start in range(0, len(data), size):
        decoder.feed(data[start : start + size])
    assert isinstance(decoder.outcome, Answer)
    assert decoder.outcome.blobs == score_blobs()


def test_curves_of_400_rows_and_40_columns_of_full_precision_fit_into_a_result() -> None:
    column = [-1.2345678901234567e-300] * 400
    curves = {"time/total_timesteps": column} | {f"reward/term_{i}": column for i in range(39)}
    payload = as_json(train_result(curves=curves))
    assert len(payload) < RESULT_BYTES
    assert isinstance(feed(stream(policy_blobs(), payload)).outcome, Answer)


HOSTILE: dict[str, tuple[Job, bytes, str, str]] = {
    # name: (job, bytes, words of the message, verdict)
    "garbage": (TRAIN, b"Traceback (most recent call last)", "0x54 is no frame kind", "bad result"),
    "result without hello": (TRAIN, frame(b"R", b"{}"), "frame RESULT: HELLO comes first", "bad result"),
    "two hellos": (TRAIN, HELLO * 2, "frame HELLO: HELLO comes first and once", "bad result"),
    "hello with a bool": (TRAIN, frame(b"H", b'{"pid": true}'), "frame HELLO: pid", "bad result"),
    "hello declared long": (TRAIN, struct.pack(">cI", b"H", 10**6), "frame HELLO: 1000000 bytes, at most 256", "bad result"),
    "progress declared long": (TRAIN, HELLO + struct.pack(">cI", b"P", 1025), "frame PROGRESS: 1025 bytes, at most 1024", "bad result"),
    "result declared long": (TRAIN, HELLO + struct.pack(">cI", b"R", 2**32 - 1), "frame RESULT: 4294967295 bytes, at most 1048576", "bad result"),
    "failure declared long": (TRAIN, HELLO + struct.pack(">cI", b"F", 2**20), "frame FAILURE: 1048576 bytes, at most 16384", "bad result"),
    "blob declared long": (TRAIN, HELLO + struct.pack(">cI", b"B", 2**30), "result_mb=1", "output limit"),
    "blobs too large together": (
        TRAIN,
        HELLO + frame(b"B", b"policy.json\n" + b"x" * 2**19) + struct.pack(">cI", b"B", 2**19 + 100),
        "result_mb=1",
        "output limit",
    ),
    "blob outside the folder": (TRAIN, HELLO + frame(b"B", b"../../run.db\nx"), "name '../../run.db'", "bad result"),
    "blob of the other kind of job": (TRAIN, HELLO + frame(b"B", b"video.mp4\nx"), "name 'video.mp4'", "bad result"),
    "blob without a name": (TRAIN, HELLO + frame(b"B", b"x" * 5000), "frame BLOB: name", "bad result"),
    "blob name with a terminal's escape": (TRAIN, HELLO + frame(b"B", b"\x1b[2Jvideo.mp4\nx"), "name 'video.mp4'", "bad result"),
    "blob twice": (TRAIN, HELLO + frame(b"B", b"policy.json\n1") * 2, "policy.json comes twice", "bad result"),
    "progress after a blob": (TRAIN, HELLO + frame(b"B", b"policy.json\n1") + frame(b"P", b"{}"), "no progress may follow", "bad result"),
    "bytes after the result": (TRAIN, stream({}, train_result()) + b"x", "bytes follow the last frame", "bad result"),
    "two results": (TRAIN, stream({}, train_result()) + frame(b"R", as_json(train_result())), "bytes follow", "bad result"),
    "progress below zero": (TRAIN, HELLO + frame(b"P", as_json(progress(timesteps=-1))), "timesteps: -1 is negative", "bad result"),
    "progress towards no steps": (TRAIN, HELLO + frame(b"P", as_json(progress(timesteps=0, total_timesteps=0))), "total_timesteps: 0, expected more than 0", "bad result"),
    "progress with NaN": (TRAIN, HELLO + frame(b"P", b'{"timesteps": 1, "total_timesteps": 2, "steps_per_second": NaN}'), "NaN is not a finite", "bad result"),
    "result is no JSON": (TRAIN, stream({}, b"FITNESS 1.0"), "frame RESULT: not valid JSON", "bad result"),
    "result is not utf-8": (TRAIN, stream({}, b'{"\xff": 1}'), "frame RESULT: byte 2 is not utf-8", "bad result"),
    "result in utf-16": (TRAIN, stream({}, json.dumps(train_result()).encode("utf-16")), "frame RESULT", "bad result"),
    "result with a byte order mark": (TRAIN, stream({}, b"\xef\xbb\xbf" + as_json(train_result())), "not valid JSON", "bad result"),
    "many objects": (TRAIN, stream({}, b"[" + b"{}," * 40_000 + b"{}]"), "more than 4096 lists and objects", "bad result"),
    "deep lists": (TRAIN, stream({}, b"[" * 500_000), "nested deeper than 16", "bad result"),
    "deep objects": (TRAIN, stream({}, b'{"a":' * 100_000), "nested deeper than 16", "bad result"),
    "many lists": (TRAIN, stream({}, b"[" + b"[]," * 300_000 + b"[]]"), "300000 values, at most", "bad result"),
    "many values": (TRAIN, stream({}, as_json(train_result(curves={"time/total_timesteps": [0] * 200_000}))), "values, at most 50000", "bad result"),
    "many wrong values": (TRAIN, stream({}, as_json(train_result(curves={"time/total_timesteps": [""] * 49_000}))), "curves.time/total_timesteps.0", "bad result"),
    "many wrong keys": (TRAIN, stream({}, as_json({f"k{i}": 0 for i in range(4_000)})), "k0: is no field", "bad result"),
    "too many keys": (TRAIN, stream({}, as_json({f"k{i}": 0 for i in range(50_000)})), "50000 keys, at most 4096 are allowed", "bad result"),
    "string never closed": (TRAIN, stream({}, b'{"a": "' + b'\\"' * 500_000), "never closed", "bad result"),
    "duplicate key": (TRAIN, stream({}, b'{"timesteps": 1, "timesteps": 2}'), "the key 'timesteps' appears twice", "bad result"),
    "NaN": (TRAIN, stream({}, curves_text("NaN")), "NaN is not a finite number", "bad result"),
    "Infinity": (TRAIN, stream({}, curves_text("-Infinity")), "-Infinity is not a finite number", "bad result"),
    "1e999": (TRAIN, stream({}, curves_text("1e999")), "1e999 is not a finite number", "bad result"),
    "an integer of 5000 digits": (TRAIN, stream({}, curves_text("9" * 5000)), "beyond ±2^53", "bad result"),
    "bool as a number": (TRAIN, stream({}, curves_text("true")), "curves.train/loss", "bad result"),
    "string as a number": (TRAIN, stream({}, as_json(train_result(seconds="2.5"))), "seconds: Input should be a valid number", "bad result"),
    "number as a bool": (SCORE, stream({}, as_json(score_result(success=[1, 0, 0, 1]))), "success.0: Input should be a valid boolean", "bad result"),
    "null fitness": (SCORE, stream({}, as_json(score_result(fitness=[None, 1.0, 1.0, 1.0]))), "fitness.0", "bad result"),
    "unknown field": (TRAIN, stream({}, as_json(train_result(fitness=1.0))), "fitness: is no field of a TrainResult", "bad result"),
    "missing field": (TRAIN, stream({}, b'{"timesteps": 1}'), "seconds: Field required", "bad result"),
    "result of the other kind of job": (TRAIN, stream({}, as_json(score_result())), "frame RESULT", "bad result"),
    "failure with an unknown verdict": (TRAIN, HELLO + frame(b"F", as_json({"verdict": "excellent", "message": ""})), "frame FAILURE: verdict", "bad result"),
    "failure of 5 kB": (TRAIN, HELLO + frame(b"F", as_json({"verdict": "time", "message": "x" * 5000})), "message: String should have at most 1000", "bad result"),
    "failure at a host file": (TRAIN, HELLO + frame(b"F", as_json({"verdict": "time", "message": "", "file": "/etc/passwd"})), "file: '/etc/passwd'", "bad result"),
    "failure at line -1": (TRAIN, HELLO + frame(b"F", as_json({"verdict": "time", "message": "", "line": -1})), "line -1", "bad result"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_stream_is_rejected_with_the_frame_the_field_and_the_limit(name: str) -> None:
    job, data, words, verdict = HOSTILE[name]
    with pytest.raises(Violation) as rejection:
        feed(data, job)
    assert words in str(rejection.value)
    assert rejection.value.verdict == verdict
    assert len(rejection.value.failure.message) <= 500


def test_a_declared_length_allocates_nothing_before_it_is_checked() -> None:
    tracemalloc.start()
    with pytest.raises(Violation):
        feed(HELLO + struct.pack(">cI", b"B", 2**31))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_half_a_frame_is_told_as_such() -> None:
    decoder = feed((HELLO + frame(b"R", as_json(train_result())))[:-10])
    assert decoder.outcome is None
    assert decoder.unfinished().startswith("in the middle of a RESULT frame")
    assert feed(HELLO + b"R\0").unfinished() == "in the middle of a frame's header"
    assert feed(HELLO).unfinished() == ""


def test_a_failure_may_come_instead_of_a_result_even_after_a_blob() -> None:
    payload = {"verdict": "run-time error", "message": "ValueError: negative", "file": "reward.py", "line": 7}
    decoder = feed(HELLO + frame(b"B", b"policy.json\n1") + frame(b"F", as_json(payload)))
    assert decoder.outcome == Failure.model_validate(payload)


def test_a_failure_message_is_one_clean_line() -> None:
    text = "\x1b[31mred\x1b[0m\x1b]0;title\x07 \u202eevil\u2066 a\nb\r\n\tc\x00\x9b2Jd\u200b\ufeff\U000e0041 é"
    decoder = feed(HELLO + frame(b"F", as_json({"verdict": "code error", "message": text})))
    assert isinstance(decoder.outcome, Failure)
    assert decoder.outcome.message == "red evil a b cd é"


def test_a_cut_line_says_that_it_was_cut() -> None:
    assert one_line("x" * 600, 500) == "x" * 499 + "…"


def test_progress_passes_at_most_ten_times_a_second_and_the_rest_is_dropped() -> None:
    now = 100.0
    decoder = FrameDecoder(TRAIN, clock=lambda: now)
    passed: list[Progress] = decoder.feed(HELLO)
    for i in range(200):
        now = 100.0 + i / 100
        passed += decoder.feed(frame(b"P", as_json(progress(timesteps=i))))
    assert 18 <= len(passed) <= 21
    assert passed[0].timesteps == 0


def test_a_flood_of_progress_is_an_output_violation() -> None:
    chunk = frame(b"P", as_json(progress()) + b" " * 900) * 1000
    with pytest.raises(Violation, match="frame PROGRESS: more than") as rejection:
        feed(HELLO + chunk * 70)
    assert rejection.value.verdict == Verdict.OUTPUT


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_never_raise_anything_but_a_violation(data: bytes, after_hello: bool) -> None:
    try:
        feed(HELLO + data if after_hello else data)
    except Violation:
        return


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_ordinary_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return
    assert parse_json(data, "test") == json.loads(data)


def test_the_limit_on_blobs_is_the_job_s_own() -> None:
    roomy = replace(TRAIN, limits=Limits(result_mb=2))
    data = HELLO + frame(b"B", b"policy.json\n" + b"x" * (2**20 + 1))
    feed(data, roomy)
    with pytest.raises(Violation):
        feed(data)
