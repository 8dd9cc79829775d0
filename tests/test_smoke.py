"""A reward tried on recorded transitions: what comes back, what fails and where, and what the box needs for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_cases import HELLO, as_json, frame
from safetensors.numpy import load, save

from eureka_sandbox.backends.frames import Answer, FrameDecoder
from eureka_sandbox.backends.results import checked
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.backends.untrusted import Violation
from eureka_sandbox.bank import BANK_FILE, Bank, bank_transitions, read_bank, write_bank
from eureka_sandbox.bodies import variable_shapes
from eureka_sandbox.protocol import EnvironmentSpec, Failed, Finished, Job, Limits, SmokeResult, SmokeSpec, Verdict
from eureka_sandbox.worker.emit import JobFailed
from eureka_sandbox.worker.smoke import smoke

ENVIRONMENT = EnvironmentSpec(body="inverted_pendulum", max_episode_steps=50)
TRANSITIONS, BATCH = 150, 64
REWARD = """
import torch

def compute_reward(pole_angle, actions):
    upright = torch.cos(pole_angle)
    effort = -0.1 * (actions**2).sum(dim=-1)
    return upright + effort, {"upright": upright, "effort": effort}
"""


def bank(transitions: int = TRANSITIONS, lasting: int | None = None, seed: int = 0) -> Bank:
    rng = np.random.default_rng(seed)
    shapes = variable_shapes(ENVIRONMENT)
    arrays = {n: rng.standard_normal((transitions, *shape)).astype(np.float32) for n, shape in shapes.items()}
    return Bank(arrays, transitions if lasting is None else lasting)


@pytest.fixture
def tried(tmp_path: Path):
    def run(code: str, data: Bank | None = None, batch: int = BATCH) -> SmokeResult:
        (tmp_path / "reward.py").write_text(code)
        (tmp_path / BANK_FILE).write_bytes(write_bank(data or bank()))
        result, blobs = smoke(SmokeSpec(environment=ENVIRONMENT, batch=batch), tmp_path)
        assert blobs == {}
        return result

    return run


def test_statistics_are_those_of_the_values_on_every_transition(tried) -> None:
    result, arrays = tried(REWARD), bank().arrays
    upright, effort = np.cos(arrays["pole_angle"]), -0.1 * (arrays["actions"] ** 2).sum(axis=-1)
    for term, values in (
        (result.total, upright + effort),
        (result.components["upright"], upright),
        (result.components["effort"], effort),
    ):
        found = (term.mean, term.std, term.low, term.high)
        np.testing.assert_allclose(found, (values.mean(), values.std(), values.min(), values.max()), rtol=1e-5)
    assert result.transitions == TRANSITIONS
    assert result.deterministic
    assert result.sum_gap < 1e-6
    assert 0 < result.seconds_per_step < 1


def test_a_total_that_is_not_the_sum_of_its_components_has_a_gap(tried) -> None:
    result = tried(REWARD.replace("upright + effort,", "upright + effort + 0.25,"))
    assert result.sum_gap == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        "torch.cos(pole_angle) + torch.rand(())",
        "torch.cos(pole_angle) + calls.append(0) * 0 + len(calls)",
        "torch.cos(pole_angle) / pole_angle.abs().max()",
    ],
    ids=["random", "with a memory", "by other rows"],
)
def test_a_reward_that_pays_the_same_transition_differently_is_found_out(tried, change: str) -> None:
    memory = (
        "class Calls(list):\n    def append(self, x):\n        super().append(x)\n        return 0\ncalls = Calls()\n"
    )
    assert not tried(memory + REWARD.replace("torch.cos(pole_angle)", change)).deterministic


def test_every_call_has_the_same_batch_as_in_training(tried) -> None:
    code = REWARD.replace("    upright", "    assert len(pole_angle) == 64, len(pole_angle)\n    upright", 1)
    assert tried(code).transitions == TRANSITIONS


@pytest.mark.parametrize("transitions", [1, 2, 3, 10])
def test_a_bank_smaller_than_a_batch_is_two_calls_so_that_company_tells(tried, transitions: int) -> None:
    assert tried(REWARD, bank(transitions)).transitions == transitions
    beside = REWARD.replace("torch.cos(pole_angle)", "torch.cos(pole_angle) - pole_angle.mean()")
    assert tried(beside, bank(transitions)).deterministic is (transitions < 3), "one row has no company"


def test_the_fingerprint_stays_when_the_bank_grows(tried) -> None:
    small = bank(40)
    more = {name: np.concatenate([rows, 7 + rows]) for name, rows in small.arrays.items()}
    first, second = tried(REWARD, small), tried(REWARD, Bank(more, lasting=40))
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 80
    assert second.transitions == 80


def test_a_fingerprint_of_many_transitions_is_spread_over_them(tried) -> None:
    large = bank(1000)
    fingerprint = tried(REWARD, large).fingerprint
    total = np.cos(large.arrays["pole_angle"]) - 0.1 * (large.arrays["actions"] ** 2).sum(axis=-1)
    assert len(fingerprint) == 256
    np.testing.assert_allclose([fingerprint[0], fingerprint[127]], [total[0], total[-1]], rtol=1e-5)


def test_a_fingerprint_tells_a_bonus_that_random_play_never_earns(tried) -> None:
    bonus = "torch.cos(pole_angle) + 3.0 * (pole_angle.abs() > {})"
    low, high, none = (tried(REWARD.replace("torch.cos(pole_angle)", bonus.format(x))).fingerprint for x in (6, 9, 1e9))
    assert low[:75] == high[:75] == none[:75], "no transition of the bank comes near"
    assert low != high
    assert high != none


def test_a_fingerprint_does_not_depend_on_how_the_same_reward_is_written(tried) -> None:
    other = REWARD.replace("pole_angle, actions)", "actions, pole_angle)").replace("effort", "cost")
    np.testing.assert_allclose(tried(REWARD).fingerprint, tried(other).fingerprint, rtol=1e-6)


def test_a_reward_that_raises_far_away_has_a_fingerprint_all_the_same(tried) -> None:
    fussy = REWARD.replace("torch.cos(pole_angle)", "torch.where(pole_angle.abs() > 8, torch.inf, pole_angle)")
    result = tried(fussy)
    assert np.isfinite(result.fingerprint).all()
    assert 0.0 in result.fingerprint[75:]
    assert any(result.fingerprint[75:]), "only the calls that raised are blank"


def test_the_part_of_the_training_that_is_over_is_spread_over_the_bank(tried) -> None:
    fading = REWARD.replace("pole_angle, actions)", "training_progress, pole_angle, actions)")
    result = tried(fading.replace("return upright + effort,", "return training_progress + 0 * effort,"))
    assert result.total.low < 0.01
    assert result.total.high > 0.99
    assert result.total.mean == pytest.approx(0.5, abs=0.01)


BROKEN = {
    "does not parse": ("def compute_reward(:\n", Verdict.CODE_ERROR, 1),
    "unknown argument": (REWARD.replace("pole_angle", "pole_angel"), Verdict.CODE_ERROR, 4),
    "raises at once": (REWARD.replace("    upright =", "    1 / 0\n    upright =", 1), Verdict.CODE_ERROR, 5),
    "reduced over the batch": (REWARD.replace("sum(dim=-1)", "sum()"), Verdict.CODE_ERROR, 7),
    "NaN": (REWARD.replace("torch.cos(", "torch.sqrt("), Verdict.CODE_ERROR, 7),
    "raises later": (
        "n = 0\n" + REWARD.replace("    upright", "    global n; n += 1\n    assert n < 3\n    upright", 1),
        Verdict.RUNTIME_ERROR,
        7,
    ),
    "raises on the second pass": (
        "n = 0\n" + REWARD.replace("    upright", "    global n; n += 1\n    assert n < 5\n    upright", 1),
        Verdict.RUNTIME_ERROR,
        7,
    ),
    "out of memory": (REWARD.replace("torch.cos(", "torch.zeros(2**60) + torch.cos("), Verdict.MEMORY, 5),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_comes_back_with_the_verdict_and_the_line_that_training_would_give(tried, case: str) -> None:
    code, verdict, line = BROKEN[case]
    with pytest.raises(JobFailed) as failed:
        tried(code)
    failure = failed.value.failure
    assert (failure.verdict, failure.file, failure.line) == (verdict, "reward.py", line), failure


def valued_pass(folder: Path, code: str, probes: int, data: Bank | None = None) -> tuple[SmokeResult, Any]:
    (folder / "reward.py").write_text(code)
    (folder / BANK_FILE).write_bytes(write_bank(data or bank()))
    spec = SmokeSpec(environment=ENVIRONMENT, batch=BATCH, values=True, probes=probes)
    result, blobs = smoke(spec, folder)
    return result, load(blobs["values.safetensors"])["values"]


def test_values_are_the_total_and_every_component_on_every_transition(tmp_path: Path) -> None:
    result, values = valued_pass(tmp_path, REWARD, probes=0)
    arrays = bank().arrays
    upright, effort = np.cos(arrays["pole_angle"]), -0.1 * (arrays["actions"] ** 2).sum(axis=-1)
    assert values.dtype == np.float32
    assert tuple(result.components) == ("upright", "effort")
    np.testing.assert_allclose(values, [upright + effort, upright, effort], rtol=1e-5, atol=1e-6)


def test_what_fails_on_a_probe_is_a_fact_and_counts_in_no_statistic(tmp_path: Path) -> None:
    data = bank()
    data.arrays["pole_angle"][[120, 149]] = 50.0
    fussy = REWARD.replace("torch.cos(pole_angle)", "torch.where(pole_angle > 40, torch.inf, pole_angle)")
    result, values = valued_pass(tmp_path, fussy, 50, data)
    plain, _ = valued_pass(tmp_path, REWARD.replace("torch.cos(pole_angle)", "pole_angle"), 50, data)
    assert result.transitions == 100
    assert result.total == plain.total
    failed = (values == np.finfo(np.float32).max).all(axis=0)
    assert failed[[120, 149]].all()
    assert not failed[:100].any()
    assert not failed.all(), "only the calls that failed"


def test_a_bank_of_probes_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all of them probes"):
        valued_pass(tmp_path, REWARD, probes=TRANSITIONS)


def test_values_are_those_of_the_end_of_the_training(tmp_path: Path) -> None:
    fading = REWARD.replace("pole_angle, actions)", "training_progress, pole_angle, actions)")
    _, values = valued_pass(tmp_path, fading.replace("torch.cos(pole_angle)", "training_progress"), probes=0)
    assert (values[1] == 1.0).all()


def test_the_box_loads_no_simulator_and_no_trainer() -> None:
    code = "import sys, eureka_sandbox.worker.main, eureka_sandbox.worker.smoke; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"mujoco", "stable_baselines3", "gymnasium", "jax", "scipy", "pandas", "matplotlib"} & set(loaded)


def test_a_bank_is_read_as_it_was_written_and_refused_without_a_variable() -> None:
    data, shapes = write_bank(bank(5, lasting=3)), variable_shapes(ENVIRONMENT)
    found = read_bank(data, shapes)
    assert (found.transitions, found.lasting, bank_transitions(data)) == (5, 3, 5)
    assert all(np.array_equal(found.arrays[name], rows) for name, rows in bank(5).arrays.items())
    assert data == write_bank(found)
    with pytest.raises(ValueError, match="does not hold the state variables"):
        read_bank(data, shapes | {"torso_z": ()})
    with pytest.raises(ValueError, match="does not hold the state variables"):
        read_bank(write_bank(bank(0)), shapes)


# ---------------------------------------------------------------------------------------------------- the host's side

JOB = Job(SmokeSpec(environment=ENVIRONMENT), {BANK_FILE: write_bank(bank())}, Limits(wall_seconds=20))
TERM = {"mean": 0.5, "std": 0.25, "low": 0.0, "high": 1.0}


def answer(**changes: Any) -> dict[str, Any]:
    return {
        "transitions": TRANSITIONS,
        "total": TERM,
        "components": {"upright": TERM},
        "sum_gap": 0.0,
        "deterministic": True,
        "seconds_per_step": 1e-6,
        "fingerprint": [0.5, 0.25],
        "seconds": 0.5,
        "versions": {"torch": "2.8.0"},
    } | changes


def received(result: dict[str, Any], blobs: bytes = b"") -> Answer:
    decoder = FrameDecoder(JOB)
    decoder.feed(HELLO + blobs + frame(b"R", as_json(result)))
    assert isinstance(decoder.outcome, Answer)
    return checked(decoder.outcome, JOB)


def test_a_true_answer_passes_unchanged() -> None:
    assert received(answer()).result == SmokeResult.model_validate(answer())


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "another bank's size": (answer(transitions=7), "transitions: 7, expected 150, as the bank has"),
    "a NaN": (answer(sum_gap=float("nan")), "NaN is not a finite number"),
    "a negative gap": (answer(sum_gap=-1.0), "sum_gap: -1.0, expected 0"),
    "a name with markup": (answer(components={"<b>": TERM}), "the name '<b>' does not match"),
    "a name of 5 kB": (answer(components={"a" * 5000: TERM}), "does not match"),
    "too many components": (
        answer(components={f"c{i}": TERM for i in range(33)}),
        "components: 33, expected at most 32",
    ),
    "a mean beyond the extremes": (answer(total=TERM | {"mean": 2.0}), "total.mean: 2.0, expected 0.0..1.0"),
    "a negative spread": (answer(components={"a": TERM | {"std": -1.0}}), "components.a.std: -1.0"),
    "a spread beyond the extremes": (answer(total=TERM | {"std": 3.0}), "total.std: 3.0, expected 0..1"),
    "extremes the wrong way round": (answer(total=TERM | {"low": 2.0}), "total.low: 2.0, expected at most high, 1.0"),
    "a size that no sum survives": (answer(total=TERM | {"high": 1e200}), "total: 1e+200, expected at most 1e+100"),
    "no fingerprint": (answer(fingerprint=[]), "fingerprint: 0 numbers, expected 1..256"),
    "a fingerprint out of bounds": (answer(fingerprint=[0.0] * 257), "fingerprint: List should have at most 256 items"),
    "an impossible speed": (answer(seconds_per_step=-1.0), "seconds_per_step: -1.0, expected 0..20"),
    "a field too many": (answer(fitness=1.0), "fitness: is no field of a SmokeResult"),
    "a word for a number": (answer(deterministic="yes"), "deterministic"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_box_cannot_have_found_is_rejected_with_its_field(case: str) -> None:
    result, words = BAD[case]
    with pytest.raises(Violation) as violation:
        received(result)
    assert words in str(violation.value)


def test_a_smoke_box_may_emit_only_what_was_asked_for() -> None:
    with pytest.raises(Violation, match="a smoke job may emit"):
        received(answer(), frame(b"B", b"policy.json\n{}"))
    with pytest.raises(Violation, match="was not asked for"):
        received(answer(), values_frame(np.zeros((2, TRANSITIONS), np.float32)))


VALUED = Job(SmokeSpec(environment=ENVIRONMENT, values=True, probes=50), JOB.files, JOB.limits)
VALUES_ARRAY = np.arange(2 * TRANSITIONS, dtype=np.float32).reshape(2, TRANSITIONS)


def values_frame(array: Any, name: str = "values", more: bytes = b"") -> bytes:
    return frame(b"B", b"values.safetensors\n" + save({name: array}) + more)


def valued(blobs: bytes) -> Answer:
    decoder = FrameDecoder(VALUED)
    decoder.feed(HELLO + blobs + frame(b"R", as_json(answer(transitions=TRANSITIONS - 50))))
    assert isinstance(decoder.outcome, Answer)
    return checked(decoder.outcome, VALUED)


def test_true_values_pass_unchanged() -> None:
    (data,) = valued(values_frame(VALUES_ARRAY)).blobs.values()
    np.testing.assert_array_equal(load(data)["values"], VALUES_ARRAY)


def test_values_of_all_that_a_box_may_send_are_held_against_names_shape_size_and_finiteness() -> None:
    nan = VALUES_ARRAY.copy()
    nan[1, 7] = np.nan
    lying = values_frame(VALUES_ARRAY).replace(b"[2,150]", b"[2,999]")
    header = b'{"values":{"dtype":"F32","shape":[2.0,150],"data_offsets":[0,1200]}}'.ljust(72)
    floating = b"values.safetensors\n" + len(header).to_bytes(8, "little") + header + VALUES_ARRAY.tobytes()
    cases = {
        "is missing": b"",
        "expected {'values'": values_frame(VALUES_ARRAY, "weights"),
        "shape': [150, 2]": values_frame(VALUES_ARRAY.T.copy()),
        "dtype': 'F64'": values_frame(VALUES_ARRAY.astype(np.float64)),
        "shape': [1, 150]": values_frame(VALUES_ARRAY[:1]),
        "shape': [2, 999]": lying,
        "1204 bytes of values, expected 1200": values_frame(VALUES_ARRAY, more=b"more"),
        "NaN or infinity": values_frame(nan),
        "cannot be read": frame(b"B", floating),
        "too short": frame(b"B", b"values.safetensors\n1234"),
        "its header too long": frame(b"B", b"values.safetensors\n" + b"\xff" * 64),
        "values.safetensors": frame(b"B", b"values.safetensors\n" + b"\x02" + b"\0" * 7 + b"{}" + b"[" * 9000),
    }
    for words, blobs in cases.items():
        with pytest.raises(Violation) as violation:
            valued(blobs)
        assert words in str(violation.value), words


def test_a_scripted_box_answers_by_the_directive_of_the_reward() -> None:
    from threading import Event

    def outcome(code: str) -> Any:
        job = Job(JOB.spec, {"reward.py": code.encode(), BANK_FILE: JOB.files[BANK_FILE]}, JOB.limits)
        return ScriptedSandbox().run(job, lambda _: None, Event())

    fine = outcome("# scripted: fitness=3")
    assert isinstance(fine, Finished)
    assert json.loads(fine.result.model_dump_json()) == json.loads(
        outcome("# scripted: fitness=3").result.model_dump_json()
    )
    checked(Answer(fine.result, fine.blobs), JOB)
    full = ScriptedSandbox().run(Job(VALUED.spec, VALUED.files | {"reward.py": b""}), lambda _: None, Event())
    assert isinstance(full, Finished)
    checked(Answer(full.result, full.blobs), VALUED)
    broken = outcome("# scripted: verdict=code_error")
    assert isinstance(broken, Failed)
    assert broken.failure.verdict is Verdict.CODE_ERROR
    assert isinstance(outcome("# scripted: verdict=run-time_error"), Finished)
