"""The Docker backend around the real worker, its self-test, and its image."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from docker_cases import mine

from eureka_sandbox.backends import compile_cache, docker
from eureka_sandbox.backends import docker_engine as engine_module
from eureka_sandbox.backends.docker import DockerSandbox
from eureka_sandbox.backends.docker_engine import Engine, Owner, _has_ended
from eureka_sandbox.backends.docker_limits import missing_limits
from eureka_sandbox.backends.embedded import EmbeddedSandbox
from eureka_sandbox.bank import BANK_FILE, Bank, write_bank
from eureka_sandbox.bodies import variable_shapes
from eureka_sandbox.protocol import (
    EnvironmentSpec,
    Finished,
    Job,
    Sandbox,
    SandboxError,
    ScoreResult,
    ScoreSpec,
    SmokeResult,
    SmokeSpec,
    TrainResult,
    TrainSpec,
    VideoSpec,
)

IMAGE_FOLDER = Path(__file__).parents[1] / "sandbox" / "image"
ENVIRONMENT = EnvironmentSpec(body="inverted_pendulum", max_episode_steps=60)
REWARD = b"""
import torch

def compute_reward(pole_angle, actions):
    upright, effort = torch.cos(pole_angle), -0.1 * (actions**2).sum(dim=-1)
    return upright + effort, {"upright": upright, "effort": effort}
"""
TASK = b"""
def fitness(episode):
    return float(len(episode.state["pole_angle"])) + float(episode.state["pole_angle"].sum())

def success(episode):
    return False
"""
SMALL = {"n_envs": 2, "n_steps": 128, "batch_size": 64, "n_epochs": 2, "policy_kwargs": {"net_arch": [16]}}


def finished(sandbox: Sandbox, job: Job) -> Finished:
    outcome = sandbox.run(job, lambda _: None, Event())
    assert isinstance(outcome, Finished), outcome
    return outcome


def training(**changes: Any) -> TrainSpec:
    recipe: dict[str, Any] = {"hyperparameters": SMALL, "total_timesteps": 512, "seed": 5} | changes
    return TrainSpec(environment=ENVIRONMENT, **recipe)


def test_a_container_answers_a_job_exactly_as_an_embedded_box_does(docker_engine: Engine) -> None:
    sandboxes = (DockerSandbox(engine=docker_engine), EmbeddedSandbox())
    train = Job(training(), {"reward.py": REWARD, "task.py": TASK})
    trained = [finished(sandbox, train) for sandbox in sandboxes]
    ours, theirs = (outcome.result for outcome in trained)
    assert isinstance(ours, TrainResult)
    assert isinstance(theirs, TrainResult)
    assert ours.timesteps == 512
    if {**ours.versions, "python": ""} != {**theirs.versions, "python": ""}:
        pytest.skip(f"the image and this Python have different packages: {ours.versions}, {theirs.versions}")
    assert trained[0].blobs["policy.safetensors"] == trained[1].blobs["policy.safetensors"]
    spec = ScoreSpec(environment=ENVIRONMENT, seeds=(1, 2, 3), record_episodes=0)
    scores = [finished(sandbox, Job(spec, {"task.py": TASK, **trained[0].blobs})).result for sandbox in sandboxes]
    ours, theirs = scores
    assert isinstance(ours, ScoreResult)
    assert isinstance(theirs, ScoreResult)
    assert ours.fitness == theirs.fitness


def test_a_reward_is_tried_on_a_bank_in_a_container(docker_engine: Engine) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.standard_normal((100, *shape)).astype(np.float32)
        for name, shape in variable_shapes(ENVIRONMENT).items()
    }
    job = Job(SmokeSpec(environment=ENVIRONMENT), {"reward.py": REWARD, BANK_FILE: write_bank(Bank(arrays, 100))})
    result = finished(DockerSandbox(engine=docker_engine), job).result
    assert isinstance(result, SmokeResult)
    assert (result.transitions, set(result.components)) == (100, {"upright", "effort"})


def test_a_policy_of_sac_trains_and_is_filmed_in_containers(docker_engine: Engine) -> None:
    sandbox = DockerSandbox(engine=docker_engine)
    small = {"learning_starts": 50, "train_freq": 8, "policy_kwargs": {"net_arch": [16]}}
    trained = finished(sandbox, Job(training(algorithm="sac", hyperparameters=small, total_timesteps=128)))
    video = VideoSpec(width=64, height=64, seconds=0.5, frames_per_second=10)
    spec = ScoreSpec(environment=ENVIRONMENT, seeds=(1,), video=video)
    scored = finished(sandbox, Job(spec, {"task.py": TASK, **trained.blobs}))
    assert isinstance(scored.result, ScoreResult)
    assert scored.result.video_note == ""
    assert b"ftyp" in scored.blobs["video.mp4"][:16]


def test_the_compiled_learner_finds_programs_of_a_warm_up_and_cannot_write_there(
    docker_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EUREKA_COMPILE_CACHE", str(tmp_path))
    sandbox, image = DockerSandbox(engine=docker_engine), docker_engine.image()
    job = Job(training(learner="fused"), warm_up=True)
    assert compile_cache.is_cold(job, image)
    finished(sandbox, job)
    assert not compile_cache.is_cold(job, image)
    (kept,) = tmp_path.iterdir()
    programs = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert programs
    writes = DockerSandbox(("python3", "-I", "-S", "-c", "open('/cache/mine', 'w')"), docker_engine)
    with pytest.raises(SandboxError, match="Read-only file system: '/cache/mine'"):
        writes.run(Job(training(learner="fused")), lambda _: None, Event())
    finished(sandbox, Job(training(learner="fused"), {"reward.py": REWARD}))
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == programs


# ------------------------------------------------------------------------------------------------ the self-test


def test_the_self_test_finds_the_wall_whole_and_names_the_image(docker_engine: Engine) -> None:
    wall = DockerSandbox(engine=docker_engine).check()
    assert wall.backend == "docker"
    assert (wall.contained, wall.image) == (wall.probes, docker_engine.image())
    assert wall.probes >= 20
    assert wall.controls >= 5
    assert "unknown bugs of the Linux kernel" in wall.gaps
    assert mine(docker_engine) == []


def _network_of_the_host(config: dict[str, Any]) -> None:
    config["HostConfig"]["NetworkMode"] = "host"
    config["NetworkDisabled"] = False


def _no_filter(config: dict[str, Any]) -> None:
    config["HostConfig"]["SecurityOpt"] = ["no-new-privileges:true", "seccomp=unconfined"]


def _processes_of_the_host(config: dict[str, Any]) -> None:
    config["HostConfig"] |= {"PidMode": "host", "CapDrop": [], "CapAdd": ["SYS_PTRACE"]}
    config["User"] = "0:0"


def _files_of_the_host(config: dict[str, Any]) -> None:
    folder = tempfile.gettempdir()  # where the canaries are
    config["HostConfig"]["Mounts"].append({"Type": "bind", "Source": folder, "Target": folder, "ReadOnly": True})
    config["HostConfig"]["Tmpfs"].pop(folder, None)


HOLES = {
    "network: abstract socket": _network_of_the_host,
    "kernel: ptrace": _no_filter,
    "processes: signals": _processes_of_the_host,
    "files: read": _files_of_the_host,
}


@pytest.mark.parametrize("probe", HOLES)
def test_the_self_test_finds_a_hole_and_says_which(
    probe: str, docker_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = docker.container_config

    def with_a_hole(*arguments: Any, **options: Any) -> dict[str, Any]:
        config = whole(*arguments, **options)
        HOLES[probe](config)
        return config

    monkeypatch.setattr(docker, "container_config", with_a_hole)
    with pytest.raises(SandboxError, match=f"the wall leaks: .*{probe}.*no candidate was started"):
        DockerSandbox(engine=docker_engine).check()


def test_a_box_that_cannot_run_is_no_wall_that_holds(docker_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "SELF_TEST", ("python3", "-c", "import sys; sys.exit('nothing works')"))
    with pytest.raises(SandboxError, match="a container did not start: nothing works"):
        DockerSandbox(engine=docker_engine).check()


def test_an_image_of_another_version_is_refused_with_the_command_that_builds_it(
    docker_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "RECIPE", "0" * 64)
    with pytest.raises(SandboxError, match="not the one of this version; build it again: make image"):
        DockerSandbox().check()
    monkeypatch.setattr(engine_module, "IMAGE", "eureka-no-such-image")
    with pytest.raises(SandboxError, match="no image eureka-no-such-image; build it: make image"):
        DockerSandbox().check()


# ------------------------------------------------------------------------------------- without an Engine too


def test_the_image_is_recognised_by_the_files_that_it_is_built_from() -> None:
    recipe = b"".join((IMAGE_FOLDER / name).read_bytes() for name in ("Dockerfile", "requirements.txt"))
    assert hashlib.sha256(recipe).hexdigest() == engine_module.RECIPE, "put the new sum into docker_engine.RECIPE"


def test_an_engine_that_cannot_be_reached_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/engine.sock")
    for attempt in (lambda: DockerSandbox().check(), lambda: DockerSandbox().run(Job(training()), print, Event())):
        with pytest.raises(SandboxError, match=r"no Docker Engine answers at unix:///no/such/.*--sandbox embedded"):
            attempt()


class Described:
    """An Engine that only describes itself."""

    api_version = (1, 40)

    def __init__(self, **info: bool) -> None:
        self._info = info

    @property
    def client(self) -> Described:
        return self

    def info(self) -> dict[str, bool]:
        return self._info


def test_an_engine_without_limits_on_memory_or_processes_is_refused_and_lesser_lacks_are_told() -> None:
    for lack in ("MemoryLimit", "PidsLimit"):
        with pytest.raises(SandboxError, match=r"cannot limit the (memory|number of processes) of a container"):
            missing_limits(Described(**{lack: False}))  # type: ignore[arg-type]
    told = missing_limits(Described(MemoryLimit=True, PidsLimit=True, SwapLimit=False))  # type: ignore[arg-type]
    assert [gap.split(":")[0] for gap in told] == ["swap is not limited", "names of the host's cgroups can be seen"]


def test_another_machine_s_container_is_not_taken_for_ended_before_it_started() -> None:
    def ended(state: str, age: float) -> bool:
        return _has_ended({"State": state, "Created": 1000}, 1000 + age)

    assert not ended("created", 5)
    assert ended("created", 3600)
    assert [ended(state, 3600) for state in ("running", "paused", "restarting", "exited", "dead")] == [
        *(False, False, False),
        *(True, True),
    ]


def test_a_container_is_forgotten_if_its_owner_is_dead_or_it_ended_elsewhere() -> None:
    me = Owner.this_process()
    assert Owner.parse(str(me)) == me
    assert Owner.parse("anything else") is None
    assert not me.is_dead(running=False)
    assert replace(me, started=me.started - 1).is_dead(running=True)
    assert replace(me, boot="another").is_dead(running=False)
    assert replace(me, pid=2**22 + 1).is_dead(running=True)
    assert not replace(me, boot="another").is_dead(running=True)


def test_another_user_s_process_that_proc_does_not_show_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    me = Owner.this_process()

    def refused(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(Owner, "this_process", lambda: me)
    monkeypatch.setattr(engine_module, "read_process", lambda _: None)
    monkeypatch.setattr(engine_module.os, "kill", refused)
    assert not me.is_dead(running=True)
