"""The embedded backend around the real worker: real MuJoCo, real Stable-Baselines3, tiny trainings."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from backend_cases import train_result

from eureka_sandbox.backends import make_sandbox
from eureka_sandbox.backends.blob_check import check_policy
from eureka_sandbox.backends.embedded import WORKER, EmbeddedSandbox
from eureka_sandbox.bodies import BODIES
from eureka_sandbox.protocol import (
    EnvironmentSpec,
    Failed,
    Finished,
    Job,
    Limits,
    Outcome,
    PolicyMeta,
    Progress,
    SandboxError,
    ScoreResult,
    ScoreSpec,
    TrainResult,
    TrainSpec,
    Verdict,
)

ENVIRONMENT = EnvironmentSpec(body="inverted_pendulum", max_episode_steps=50)
TASK = b"""
def fitness(episode):
    return float(episode.length)

def success(episode):
    return not episode.terminated
"""
REWARD = b"""
import torch

def compute_reward(pole_angle: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    upright = torch.cos(pole_angle)
    return upright, {"upright": upright}
"""


def run(
    spec: TrainSpec | ScoreSpec, on_progress: Callable[[Progress], None] = lambda _: None, **options: Any
) -> Outcome:
    job = Job(spec, options.get("files", {}), Limits(wall_seconds=options.get("wall_seconds", 120)))
    return make_sandbox("embedded").run(job, on_progress, Event())


def train(reward: bytes = REWARD, **options: Any) -> Outcome:
    changes = options.pop("spec", {})
    spec = TrainSpec(environment=ENVIRONMENT, total_timesteps=128, seed=3, progress_seconds=0.0, **changes)
    return run(spec, files={"reward.py": reward, "task.py": TASK}, **options)


def test_training_needs_no_opengl_whatever_the_user_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "no_such_gl")
    assert isinstance(train(spec={"hyperparameters": {"n_envs": 2, "n_steps": 32}}), Finished)


def test_a_training_and_a_scoring_come_back_validated() -> None:
    seen: list[Progress] = []
    trained = train(on_progress=seen.append, spec={"hyperparameters": {"n_envs": 2, "n_steps": 32}})
    assert isinstance(trained, Finished), trained
    assert isinstance(trained.result, TrainResult)
    assert "reward/upright" in trained.result.curves
    assert seen[-1].total_timesteps == 128
    meta = PolicyMeta.model_validate_json(trained.blobs["policy.json"])
    assert meta.observation_size == BODIES["inverted_pendulum"].observation_size

    spec = ScoreSpec(environment=ENVIRONMENT, seeds=(1, 2, 3), record_episodes=2)
    scored = run(spec, files={"task.py": TASK, **trained.blobs})
    assert isinstance(scored, Finished), scored
    assert isinstance(scored.result, ScoreResult)
    assert scored.result.fitness == [float(length) for length in scored.result.lengths]
    assert "episodes.npz" in scored.blobs


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
@pytest.mark.parametrize("widths", [[], [8], [16, 8]])
def test_what_stable_baselines3_exports_is_exactly_what_the_host_expects(algorithm: str, widths: list[int]) -> None:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    from eureka_sandbox.worker.policy_sb3 import ALGORITHMS, export_policy

    kwargs: dict[str, Any] = {"net_arch": widths} if algorithm == "ppo" else {"net_arch": widths, "n_critics": 3}
    env = VecNormalize(make_vec_env("InvertedPendulum-v5"))
    model = ALGORITHMS[algorithm]("MlpPolicy", env, policy_kwargs=dict(kwargs))
    weights, meta = export_policy(model, body="inverted_pendulum", timesteps=100)
    check_policy(
        weights,
        meta.model_dump_json().encode(),
        TrainSpec(
            environment=ENVIRONMENT,
            algorithm=algorithm,
            hyperparameters={"normalize": True, "policy_kwargs": kwargs},
            total_timesteps=100,
            seed=1,
        ),
        TrainResult.model_validate(train_result(timesteps=100, peak_timesteps=100)),
    )


REWARDS: dict[str, tuple[str, Verdict, str, int | None]] = {
    "raises": ("raise ValueError('negative\\x1b[31m')", Verdict.CODE_ERROR, "ValueError: negative", 5),
    "exits": ("import os; os._exit(0)", Verdict.BAD_RESULT, "the box ended (exit code 0) without a result", None),
    "crashes": ("import os; os.abort()", Verdict.BAD_RESULT, "the box ended (signal SIGABRT) without a result", None),
    "forges a result": (
        "import os; links = {n: os.path.realpath(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')}; "
        "[os.write(int(n), b'R\\0\\0\\0\\2{}') for n, to in links.items() if 'pipe' in to and int(n) > 2]; os._exit(0)",
        Verdict.BAD_RESULT,
        "frame RESULT",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_that_misbehaves_gets_a_verdict(name: str) -> None:
    line, verdict, words, number = REWARDS[name]
    outcome = train(
        f"import torch\n\ndef compute_reward(pole_angle: torch.Tensor):\n    pole_angle\n    {line}\n".encode()
    )
    assert isinstance(outcome, Failed), outcome
    assert outcome.failure.verdict == verdict
    assert words in outcome.failure.message
    assert outcome.failure.line == number
    assert "\x1b" not in outcome.failure.message


def test_a_worker_that_lacks_its_libraries_is_the_sandbox_s_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    crippled = (WORKER[0], "-S", *WORKER[1:])  # no site-packages: no pydantic, no torch
    spec = TrainSpec(environment=ENVIRONMENT, total_timesteps=64, seed=1)
    with pytest.raises(SandboxError, match=r"did not start.*(ModuleNotFoundError|No module named)"):
        EmbeddedSandbox(crippled).run(Job(spec), lambda _: None, Event())
