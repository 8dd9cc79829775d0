"""What a well-formed answer says, held against what was asked: lengths, ranges, names, and which blobs belong to it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from eureka_sandbox.backends.blob_check import (
    check_frames,
    check_policy,
    check_poster,
    check_recording,
    check_values,
    check_video,
)
from eureka_sandbox.backends.checkpoint_check import earlier_seconds, earlier_steps
from eureka_sandbox.backends.frames import Answer
from eureka_sandbox.backends.untrusted import Violation, one_line
from eureka_sandbox.bank import BANK_FILE, VALUES_FILE, bank_transitions
from eureka_sandbox.hyperparameters import HyperparameterError, steps_per_update
from eureka_sandbox.protocol import (
    COMPONENT_NAME,
    FINGERPRINT_SIZE,
    MAX_COMPONENTS,
    Job,
    ScoreResult,
    ScoreSpec,
    SmokeResult,
    SmokeSpec,
    TermStatistics,
    TrainResult,
    TrainSpec,
)

WHERE = "frame RESULT"
CURVE_NAME = re.compile(r"[a-z]+/[a-z0-9_]{1,64}")
CURVE_AXIS = "time/total_timesteps"
MAX_CURVES = 256
MAX_SIZE = 1e100
"""Largest magnitude of a return, a curve's point or a fitness: sums, means and axes over such numbers stay finite."""
MAX_VERSIONS = 32
VERSION_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
NOTE_LENGTH = 300


def checked(answer: Answer, job: Job) -> Answer:
    """The same answer with its free text cleaned, after checking every part of it.

    Raises:
        Violation: it is not an answer to this job; names the file, the field and the limit.
    """
    result, spec = answer.result, job.spec
    versions = _versions(result.versions)
    _check_time(result, job)
    if isinstance(spec, TrainSpec) and isinstance(result, TrainResult):
        _check_training(result, job)
        _check_names(answer.blobs, {"policy.safetensors", "policy.json"}, ())
        check_policy(answer.blobs["policy.safetensors"], answer.blobs["policy.json"], spec, result)
        note = one_line(result.checkpoint_note, NOTE_LENGTH)
        return replace(answer, result=result.model_copy(update={"versions": versions, "checkpoint_note": note}))
    if isinstance(spec, ScoreSpec) and isinstance(result, ScoreResult):
        _check_score(result, spec)
        optional = (*(("video.mp4", "poster.jpg") if spec.video else ()), *(("frames.jpg",) if spec.sheet else ()))
        _check_names(answer.blobs, {"episodes.npz"} if result.recorded else set(), optional)
        if "episodes.npz" in answer.blobs:
            check_recording(answer.blobs["episodes.npz"], spec, result)
        if "video.mp4" in answer.blobs:
            check_video(answer.blobs["video.mp4"])
        if "poster.jpg" in answer.blobs and spec.video:
            check_poster(answer.blobs["poster.jpg"], spec.video)
        if "frames.jpg" in answer.blobs and spec.sheet:
            check_frames(answer.blobs["frames.jpg"], spec.sheet)
        note = one_line(result.video_note, NOTE_LENGTH)
        return replace(answer, result=result.model_copy(update={"versions": versions, "video_note": note}))
    if isinstance(spec, SmokeSpec) and isinstance(result, SmokeResult):
        _check_names(answer.blobs, {VALUES_FILE} if spec.values else (), ())
        _check_smoke(result, job)
        if spec.values:
            check_values(answer.blobs[VALUES_FILE], 1 + len(result.components), bank_transitions(job.files[BANK_FILE]))
        return replace(answer, result=result.model_copy(update={"versions": versions}))
    raise Violation(WHERE, f"{type(result).__name__} does not answer a {spec.kind} job")


def _check_training(result: TrainResult, job: Job) -> None:
    start = earlier_steps(job)
    _require(result.resumed_at in (0, start), "resumed_at", result.resumed_at, f"0 or {start}, as the checkpoint says")
    assert isinstance(job.spec, TrainSpec)
    least, most = _asked_timesteps(job.spec), _most_timesteps(job.spec)
    _require(least <= result.timesteps <= most, "timesteps", result.timesteps, f"{least}..{most}")
    _require(0 <= result.peak_timesteps <= result.timesteps, "peak_timesteps", result.peak_timesteps, "0..timesteps")
    _check_size("peak_return", [result.peak_return])
    curves = result.curves
    _require(len(curves) <= MAX_CURVES, "curves", f"{len(curves)} columns", f"at most {MAX_CURVES}")
    if not curves:
        return
    if CURVE_AXIS not in curves:
        raise Violation(WHERE, f"curves: {CURVE_AXIS} is missing")
    rows = len(curves[CURVE_AXIS])
    for name, column in curves.items():
        if not CURVE_NAME.fullmatch(name):
            raise Violation(WHERE, f"curves: the name {one_line(name, 80)!r} does not match {CURVE_NAME.pattern}")
        _require(len(column) == rows, f"curves.{name}", f"{len(column)} rows", f"{rows}, as {CURVE_AXIS} has")
        _check_size(f"curves.{name}", column)
    for step in curves[CURVE_AXIS]:
        inside = step is not None and 0 <= step <= result.timesteps
        _require(inside, f"curves.{CURVE_AXIS}", step, f"0..{result.timesteps}")


def _asked_timesteps(spec: TrainSpec) -> int:
    """Fewer would be a training that was not done, or one that takes less of the run's budget than it took."""
    return min(spec.total_timesteps, spec.stop_at or spec.total_timesteps)


def _most_timesteps(spec: TrainSpec) -> int:
    """A training ends with the first whole update at or after what was asked for."""
    try:
        update = steps_per_update(spec.algorithm, spec.hyperparameters)
    except HyperparameterError as error:
        raise Violation(WHERE, f"no training can have come of these hyperparameters: {error}") from error
    asked = _asked_timesteps(spec)
    if spec.algorithm == "ppo":
        return asked + int(update)
    return asked + int(update) * spec.environment.max_episode_steps  # they may count episodes


def _check_score(result: ScoreResult, spec: ScoreSpec) -> None:
    episodes = len(spec.seeds)
    for name in ("fitness", "success", "lengths"):
        count = len(getattr(result, name))
        _require(count == episodes, name, f"{count} entries", f"{episodes}, one per seed")
    _check_size("fitness", result.fitness)
    longest = spec.environment.max_episode_steps
    for i, length in enumerate(result.lengths):
        _require(1 <= length <= longest, f"lengths.{i}", length, f"1..{longest}")
    recorded = result.recorded
    _require(len(recorded) <= spec.record_episodes, "recorded", len(recorded), f"at most {spec.record_episodes}")
    _require(len(set(recorded)) == len(recorded), "recorded", "a position twice", "each once")
    for i, position in enumerate(recorded):
        _require(0 <= position < episodes, f"recorded.{i}", position, f"0..{episodes - 1}")


def _check_smoke(result: SmokeResult, job: Job) -> None:
    assert isinstance(job.spec, SmokeSpec)
    transitions = bank_transitions(job.files[BANK_FILE]) - job.spec.probes
    _require(result.transitions == transitions, "transitions", result.transitions, f"{transitions}, as the bank has")
    components = result.components
    _require(len(components) <= MAX_COMPONENTS, "components", len(components), f"at most {MAX_COMPONENTS}")
    for name in components:
        if not re.fullmatch(COMPONENT_NAME, name):
            raise Violation(WHERE, f"components: the name {one_line(name, 80)!r} does not match {COMPONENT_NAME}")
    _check_term("total", result.total)
    for name, term in components.items():
        _check_term(f"components.{name}", term)
    _require(0 <= result.sum_gap <= MAX_SIZE, "sum_gap", result.sum_gap, f"0..{MAX_SIZE:g}")
    limit = job.limits.wall_seconds
    _require(0 <= result.seconds_per_step <= limit, "seconds_per_step", result.seconds_per_step, f"0..{limit:g}")
    _require(bool(result.fingerprint), "fingerprint", "0 numbers", f"1..{FINGERPRINT_SIZE}")
    _check_size("fingerprint", result.fingerprint)


def _check_term(field: str, term: TermStatistics) -> None:
    """Within rounding, a mean lies between the extremes, and no spread is wider than they are apart."""
    _check_size(field, [term.mean, term.std, term.low, term.high])
    slack = 1e-6 * max(abs(term.low), abs(term.high))
    _require(term.low <= term.high, f"{field}.low", term.low, f"at most high, {term.high}")
    inside = term.low - slack <= term.mean <= term.high + slack
    _require(inside, f"{field}.mean", term.mean, f"{term.low}..{term.high}")
    widest = term.high - term.low + slack
    _require(0 <= term.std <= widest, f"{field}.std", term.std, f"0..{widest:g}")


def _check_size(field: str, values: Iterable[float | None]) -> None:
    for value in values:
        _require(value is None or abs(value) <= MAX_SIZE, field, value, f"at most {MAX_SIZE:g} either way")


def _check_time(result: TrainResult | ScoreResult | SmokeResult, job: Job) -> None:
    limit = job.limits.wall_seconds + earlier_seconds(job)
    times = {"seconds": result.seconds}
    if isinstance(result, TrainResult):
        times["startup_seconds"] = result.startup_seconds
    for field, seconds in times.items():
        _require(0 <= seconds <= limit, field, seconds, f"0..{limit:g}")


def _check_names(blobs: Mapping[str, bytes], required: Collection[str], optional: Collection[str]) -> None:
    for name in sorted(set(required) - blobs.keys()):
        raise Violation(name, "is missing from the box's answer")
    for name in sorted(blobs.keys() - set(required) - set(optional)):
        raise Violation(name, "was not asked for")


def _versions(versions: dict[str, str]) -> dict[str, str]:
    _require(len(versions) <= MAX_VERSIONS, "versions", f"{len(versions)} entries", f"at most {MAX_VERSIONS}")
    for name in versions:
        if not VERSION_NAME.fullmatch(name):
            raise Violation(WHERE, f"versions: the name {one_line(name, 80)!r} does not match {VERSION_NAME.pattern}")
    return {name: one_line(value, 64) for name, value in versions.items()}


def _require(holds: bool, field: str, found: object, expected: str) -> None:
    if not holds:
        raise Violation(WHERE, f"{field}: {found}, expected {expected}")
