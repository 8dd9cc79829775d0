"""What box B gets: arrays and the task's own code, nothing that a candidate wrote as code, under whatever name."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from backend_cases import SCORE, policy_arrays, policy_blobs, policy_meta
from safetensors.numpy import save as save_arrays

from eureka_agent.contract.task import Task, load_task
from eureka_agent.lab.jobs import score_job
from eureka_agent.lab.lab import Lab
from eureka_agent.loop import evolve
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.strategies.incumbent import Incumbent
from eureka_sandbox.backends.job_folder import SCORING_FILES, check_names
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Job, ScoreSpec
from eureka_sandbox.worker.policy import NumpyPolicy, PolicyError

TASK = load_task("hopper_forward")


@pytest.mark.parametrize(
    "name", ["reward.py", "helper.py", "policy.zip", "policy.pt", "reward.pyc", "sitecustomize.py"]
)
def test_a_scoring_job_with_any_other_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"must not hold reward code; take {name} out"):
        check_names(Job(SCORE.spec, {"task.py": b"", name: b""}))


def test_all_that_a_scoring_needs_is_let_in() -> None:
    job = score_job(TASK, (1, 2), policy_blobs())
    assert job.files.keys() == SCORING_FILES
    check_names(job)


class Exploit:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return (Path.touch, (Path("exploited"),))  # type: ignore[return-value]


def object_array() -> bytes:
    buffer = BytesIO()
    np.savez(buffer, weight=np.array([Exploit()], dtype=object))
    return buffer.getvalue()


def zipped_pickle() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Exploit()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "weights",
    [pickle.dumps(Exploit()), zipped_pickle(), object_array(), b"", b"\xff" * 64],
    ids=["pickle", "torch archive", "object arrays", "empty", "noise"],
)
def test_weights_that_are_no_arrays_are_refused_and_nothing_in_them_runs(
    weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.json").write_bytes(policy_blobs()["policy.json"])
    (tmp_path / "policy.safetensors").write_bytes(weights)
    with pytest.raises(PolicyError):
        NumpyPolicy.load(tmp_path)
    assert not (tmp_path / "exploited").exists()
    pickle.loads(pickle.dumps(Exploit()))  # it would have
    assert (tmp_path / "exploited").exists()


def test_weights_that_are_arrays_are_taken(tmp_path: Path) -> None:
    meta = policy_meta()
    for name, data in policy_blobs().items():
        (tmp_path / name).write_bytes(data)
    policy = NumpyPolicy.load(tmp_path)
    assert policy.act(np.zeros((2, meta["observation_size"]))).shape == (2, len(meta["action_low"]))
    arrays = policy_arrays(meta)
    arrays["action_net.bias"] = arrays["action_net.bias"] * np.float32("nan")
    (tmp_path / "policy.safetensors").write_bytes(save_arrays(arrays))
    with pytest.raises(PolicyError, match=r"action_net\.bias"):
        NumpyPolicy.load(tmp_path)


def test_in_a_whole_search_no_scoring_holds_anything_that_was_proposed(tmp_path: Path) -> None:
    class Proposals:
        def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
            return Proposal(code=f"# canary of {brief.id}\n")

    settings = Settings(population=2, generations=1, timesteps=1000, final_seeds=1, jobs=2)
    sandbox = ScriptedSandbox()
    with Run.create(tmp_path / "run", TASK, settings) as run:
        lab = Lab(sandbox, run)
        lab.begin()
        evolve(run, Proposals(), Incumbent(), lab)
    scorings = [job for job in sandbox.started if isinstance(job.spec, ScoreSpec)]
    stages = {job.origin.split("/")[1] for job in scorings}
    assert stages == {"floor", "g0c0", "g0c1", "final", "film", "variation"}
    for job in scorings:
        check_names(job)
        assert not any(b"canary" in data for data in job.files.values())
        assert b"canary" not in job.spec.model_dump_json().encode()
