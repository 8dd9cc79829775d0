"""A training that goes on from a checkpoint ends bit for bit as one that never stopped; what does not fit is left."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_cases import REWARDS, SMALL, arrays_of, curves_of, files_of, train_in, train_spec
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from eureka_sandbox.backends.checkpoint_check import check_checkpoint
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import CHECKPOINT_BYTES, Job, TrainSpec
from eureka_sandbox.worker import continuation
from eureka_sandbox.worker.continuation import Identity
from eureka_sandbox.worker.envs.simulation import Simulation
from eureka_sandbox.worker.monitoring import MAX_ROWS, CurveWriter
from eureka_sandbox.worker.randomness import (
    global_states,
    pcg_generators,
    pcg_states,
    restore_global_states,
)

Whole = tuple[TrainSpec, dict[str, bytes], list[bytes]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A training on stock Stable-Baselines3: what was asked, the policy, and the checkpoints on the way."""
    spec = train_spec(learner="sb3", total_timesteps=768)
    _, policy, sent = train_in(tmp_path_factory.mktemp("whole"), spec)
    return spec, policy, sent


@pytest.mark.parametrize("learner", ["fused", "sb3"])
@pytest.mark.parametrize(("body", "normalize"), [("hopper", True), ("inverted_pendulum", False)])
def test_going_on_from_any_checkpoint_gives_the_same_policy_and_curves(
    tmp_path: Path, body: str, learner: str, normalize: bool
) -> None:
    spec = train_spec(body, learner=learner, hyperparameters=SMALL | {"normalize": normalize})
    whole, policy, sent = train_in(tmp_path / "whole", spec)
    assert len(sent) == 7  # between eight rollouts
    for payload in (sent[0], sent[-1]):
        result, again, _ = train_in(tmp_path / "again", spec, files_of(payload))
        assert result.resumed_at == json.loads(files_of(payload)["checkpoint.json"])["timesteps"]
        assert again == policy
        assert curves_of(result) == curves_of(whole)
        kept = ("timesteps", "peak_timesteps", "peak_return", "checkpoint_note")
        assert [getattr(result, name) for name in kept] == [getattr(whole, name) for name in kept]


def test_checkpoints_of_a_training_that_went_on_are_as_good(tmp_path: Path, whole: Whole) -> None:
    spec, policy, sent = whole
    _, _, later = train_in(tmp_path / "second", spec, files_of(sent[1]))
    third, again, _ = train_in(tmp_path / "third", spec, files_of(later[2]))
    assert third.resumed_at == 4 * 128
    assert again == policy


def test_an_update_that_stops_early_goes_on_as_well(tmp_path: Path) -> None:
    spec = train_spec(hyperparameters=SMALL | {"target_kl": 1e-4})
    _, policy, sent = train_in(tmp_path / "whole", spec)
    assert train_in(tmp_path / "again", spec, files_of(sent[3]))[1] == policy


def test_the_environments_own_reward_has_checkpoints_too(tmp_path: Path) -> None:
    spec = train_spec()
    _, policy, sent = train_in(tmp_path / "whole", spec, reward=None)
    assert train_in(tmp_path / "again", spec, files_of(sent[3]), reward=None)[1] == policy


def test_time_is_that_of_all_boxes_together(tmp_path: Path, whole: Whole) -> None:
    spec, _, sent = whole
    meta = json.loads(files_of(sent[3])["checkpoint.json"]) | {"seconds": 1000.0}
    result, _, later = train_in(tmp_path / "again", spec, files_of(sent[3]) | {"checkpoint.json": _json(meta)})
    assert 1000.0 < result.seconds < 1100.0
    assert 1000.0 <= result.curves["time/time_elapsed"][-1] < 1100.0
    assert 1000.0 < json.loads(files_of(later[0])["checkpoint.json"])["seconds"] < 1100.0


def test_what_the_box_sends_is_what_the_host_accepts(whole: Whole) -> None:
    spec, _, sent = whole
    steps = [check_checkpoint(payload, Job(spec)).meta.timesteps for payload in sent]
    assert steps == [128, 256, 384, 512, 640]
    assert load_arrays(files_of(sent[-1])["checkpoint.safetensors"]).keys() == arrays_of().keys()


def test_no_checkpoint_is_sent_before_the_interval_is_over_or_unasked(tmp_path: Path) -> None:
    assert train_in(tmp_path, train_spec(checkpoint_seconds=3600.0))[2] == []
    assert train_in(tmp_path, train_spec(checkpoint_seconds=None))[2] == []


def test_a_wide_network_has_checkpoints_too(tmp_path: Path) -> None:
    wide = SMALL | {"n_epochs": 1, "batch_size": 128, "policy_kwargs": {"net_arch": [900, 900]}}
    spec = train_spec(hyperparameters=wide, total_timesteps=256)
    result, _, sent = train_in(tmp_path, spec)
    assert result.checkpoint_note == ""
    assert len(sent[-1]) > CHECKPOINT_BYTES
    assert check_checkpoint(sent[-1], Job(spec)).meta.timesteps == 128


def test_a_training_too_large_for_a_checkpoint_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation, "checkpoint_limit", lambda spec: 1000)
    result, _, sent = train_in(tmp_path, train_spec())
    assert sent == []
    assert result.checkpoint_note.startswith("no checkpoint was kept: a checkpoint takes ")


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def changed_meta(payload: bytes, **changes: Any) -> dict[str, bytes]:
    files = files_of(payload)
    return files | {"checkpoint.json": _json(json.loads(files["checkpoint.json"]) | changes)}


def changed_arrays(payload: bytes, **changes: Any) -> dict[str, bytes]:
    files = files_of(payload)
    return files | {"checkpoint.safetensors": save_arrays(load_arrays(files["checkpoint.safetensors"]) | changes)}


UNUSABLE = {
    "another job": (lambda p: changed_meta(p, job="0" * 64), "another reward, task, recipe or seed"),
    "another torch": (
        lambda p: changed_meta(p, versions=json.loads(files_of(p)["checkpoint.json"])["versions"] | {"torch": "1.0"}),
        "it was made with torch 1.0, this is " + re.escape(torch.__version__),
    ),
    "no versions": (lambda p: changed_meta(p, versions={}), "it was made with eureka none"),
    "other components": (lambda p: changed_meta(p, components=["effort", "forward"]), "other components"),
    "no JSON": (lambda p: files_of(p) | {"checkpoint.json": b"{"}, "cannot be read"),
    "no arrays": (lambda p: files_of(p) | {"checkpoint.safetensors": b"PK"}, "cannot be read"),
    "an array of another size": (
        lambda p: changed_arrays(p, **{"policy.parameters": np.zeros(3, np.float32)}),
        r"policy.parameters has shape \(3,\)",
    ),
    "a peak of another size": (
        lambda p: changed_arrays(p, **{"peak.parameters": np.zeros(3, np.float32)}),
        "another size",
    ),
    "a generator beyond its words": (
        lambda p: changed_arrays(p, **{"random.numpy": np.full(627, 2**31, np.uint64)}),
        "beyond its words",
    ),
    "no state of torch": (lambda p: changed_arrays(p, **{"random.torch": np.zeros(5056, np.uint8)}), "cannot be read"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_checkpoint_that_does_not_fit_is_left_aside_with_a_note(tmp_path: Path, whole: Whole, case: str) -> None:
    damage, reason = UNUSABLE[case]
    spec, policy, sent = whole
    result, again, _ = train_in(tmp_path / "again", spec, damage(sent[-1]))
    assert result.resumed_at == 0
    assert result.checkpoint_note.startswith("the training began again, its checkpoint could not be used: ")
    assert re.search(reason, result.checkpoint_note)
    assert again == policy


def test_a_checkpoint_belongs_to_one_reward_task_recipe_and_seed(tmp_path: Path) -> None:
    spec = train_spec()
    (tmp_path / "reward.py").write_text(REWARDS["hopper"])
    own = Identity.of(spec, tmp_path)
    for changes in ({"seed": 4}, {"learner": "fused"}, {"total_timesteps": 2048}, {"hyperparameters": {}}):
        assert Identity.of(spec.model_copy(update=changes), tmp_path).job != own.job
    for changes in ({"checkpoint_seconds": 5.0}, {"progress_seconds": 5.0}, {"stop_at": 100}):
        assert Identity.of(spec.model_copy(update=changes), tmp_path) == own
    (tmp_path / "task.py").write_text("")
    assert Identity.of(spec, tmp_path).job == own.job
    (tmp_path / "task.py").write_text("x = 1")
    assert Identity.of(spec, tmp_path).job != own.job
    (tmp_path / "task.py").unlink()
    (tmp_path / "reward.py").write_text(REWARDS["hopper"] + "\n")
    assert Identity.of(spec, tmp_path).job != own.job


@pytest.mark.parametrize("body", BODIES)
def test_every_robot_goes_on_exactly(body: str) -> None:
    """Also those whose observations read what MuJoCo computed a step ago (Ant, Reacher)."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, size=(60, 3, BODIES[body].action_size))
    there = Simulation(body, 3, 1000)
    there.reset(range(3), pcg_generators(pcg_states([rng] * 3)))
    for action in actions[:30]:
        there.step(action)
    here = Simulation(body, 3, 1000)
    here.reset(range(3), [np.random.default_rng(9) for _ in range(3)])
    here.restore(there.snapshot())
    for action in actions[30:]:
        there.step(action)
        here.step(action)
        names = there.variables
        assert all(np.array_equal(here.state(names)[name], there.state(names)[name]) for name in names)
        for read in ("observation", "native_reward", "terminated", "qpos", "qvel"):
            assert np.array_equal(getattr(here, read)(), getattr(there, read)())


def test_generators_go_on_where_they_were() -> None:
    torch.manual_seed(1)
    np.random.seed(2)
    random.seed(3)
    generator = np.random.default_rng(4)
    np.random.standard_normal()  # leaves the second number of its pair over, as do the next two
    random.gauss(0, 1)
    generator.integers(5, dtype=np.uint32)
    states, own = global_states(), pcg_states([generator])

    def draws() -> list[float]:
        drawn = [*np.random.standard_normal(3), random.gauss(0, 1), random.random(), *torch.randn(3).tolist()]
        return [*drawn, *generator.integers(100, size=3, dtype=np.uint32).tolist(), generator.standard_normal()]

    first = draws()
    restore_global_states(states["numpy"], states["python"], states["torch"])
    (generator,) = pcg_generators(own)
    assert draws() == first


@pytest.mark.parametrize("rows", [0, 1, 7, MAX_ROWS - 1, MAX_ROWS, MAX_ROWS + 1, 2 * MAX_ROWS + 3])
def test_curves_thin_out_as_if_they_had_never_been_interrupted(rows: int) -> None:
    def write(writer: CurveWriter, first: int, last: int) -> None:
        for i in range(first, last):
            writer.write({"train/loss": np.nan if i % 3 else i, f"reward/c{i % 2}": i}, {}, step=i)

    one, other = CurveWriter(), CurveWriter()
    write(one, 0, rows)
    other.restore(one.snapshot())
    for writer in (one, other):
        write(writer, rows, rows + 5)
    assert one.curves() == other.curves()
    assert one.last_step == other.last_step


@pytest.mark.parametrize("learner", ["fused", "sb3"])
def test_a_training_in_rungs_gives_the_same_policy_and_curves(tmp_path: Path, learner: str) -> None:
    """No checkpoint but the last of each rung is sent, as the interval is an hour."""
    spec = train_spec(learner=learner, hyperparameters=SMALL | {"normalize": True}, checkpoint_seconds=3600.0)
    whole, policy, _ = train_in(tmp_path / "whole", spec)
    files: dict[str, bytes] = {}
    for stop_at, reached in ((300, 384), (512, 512)):
        rung, _, sent = train_in(tmp_path / "rung", spec.model_copy(update={"stop_at": stop_at}), files)
        assert (rung.timesteps, len(sent)) == (reached, 1)
        assert rung.curves["time/total_timesteps"] == [128.0 * i for i in range(1, reached // 128 + 1)]
        assert rung.peak_timesteps <= reached
        files = files_of(sent[0])
    result, again, _ = train_in(tmp_path / "last", spec, files)
    assert result.resumed_at == 512
    assert again == policy
    assert curves_of(result) == curves_of(whole)


def test_a_rung_that_had_ended_already_ends_at_once_with_the_same_policy(tmp_path: Path) -> None:
    spec = train_spec(learner="sb3", stop_at=256)
    first, policy, sent = train_in(tmp_path / "first", spec)
    second, again, _ = train_in(tmp_path / "second", spec, files_of(sent[-1]))
    assert (second.timesteps, second.resumed_at) == (first.timesteps, 256) == (256, 256)
    assert again == policy
    assert curves_of(second) == curves_of(first)
