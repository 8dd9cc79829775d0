"""Box A end to end on real MuJoCo and real SB3, with tiny trainings: results, checkpoints, curves, failures."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays

from eureka_sandbox.protocol import EnvironmentSpec, Failure, TrainResult, TrainSpec, VariableSpec, Verdict
from eureka_sandbox.worker.checkpoint import FinishedEpisode, Peak, RecentEpisodes
from eureka_sandbox.worker.emit import Emitter, JobFailed
from eureka_sandbox.worker.monitoring import CurveWriter
from eureka_sandbox.worker.task_code import TaskCodeError
from eureka_sandbox.worker.training import train

REWARD = """
def compute_reward(cart_velocity, pole_angle):
    slow = -cart_velocity ** 2
    upright = 1.0 - pole_angle ** 2
    return slow + upright, {"slow": slow, "upright": upright}
"""
SMALL = {"net_arch": [8]}
PPO = {"n_envs": 4, "n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": SMALL}
OFF_POLICY = {"n_envs": 1, "learning_starts": 20, "batch_size": 16, "train_freq": 8, "policy_kwargs": SMALL}
HYPERPARAMETERS = {"ppo": PPO, "sac": OFF_POLICY, "td3": OFF_POLICY | {"noise_type": "normal", "noise_std": 0.1}}


def spec(**changes: Any) -> TrainSpec:
    environment = EnvironmentSpec(body="inverted_pendulum", max_episode_steps=40)
    values = {"environment": environment, "hyperparameters": PPO, "total_timesteps": 512, "seed": 3}
    return TrainSpec(**(values | changes))


def frames_of(stream: bytes) -> list[tuple[bytes, bytes]]:
    frames = []
    while stream:
        kind, length = struct.unpack(">cI", stream[:5])
        frames.append((kind, stream[5 : 5 + length]))
        stream = stream[5 + length :]
    return frames


def run(
    folder: Path, job: TrainSpec, reward: str | None = REWARD, task: str = ""
) -> tuple[TrainResult, dict[str, bytes]]:
    if reward is not None:
        (folder / "reward.py").write_text(reward)
    if task:
        (folder / "task.py").write_text(task)
    return train(job, folder, Emitter(io.BytesIO()))


def failure_of(folder: Path, job: TrainSpec, reward: str = REWARD) -> Failure:
    with pytest.raises(JobFailed) as caught:
        run(folder, job, reward)
    return caught.value.failure


@pytest.mark.parametrize("algorithm", ["ppo", "sac", "td3"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_same_seed_gives_the_same_parameters_bit_for_bit(tmp_path: Path, algorithm: str, normalize: bool) -> None:
    job = spec(
        algorithm=algorithm,
        hyperparameters=HYPERPARAMETERS[algorithm] | {"normalize": normalize},
        total_timesteps=256 if algorithm == "ppo" else 120,
    )
    first, again, other = (run(tmp_path, job.model_copy(update={"seed": seed})) for seed in (3, 3, 4))
    assert first[1]["policy.safetensors"] == again[1]["policy.safetensors"]
    assert first[1]["policy.safetensors"] != other[1]["policy.safetensors"]
    for key, curve in first[0].curves.items():
        if key not in ("time/fps", "time/time_elapsed"):
            assert curve == again[0].curves[key], key


def test_algorithms_without_a_fused_learner_run_on_sb3_whichever_is_asked_for(tmp_path: Path) -> None:
    job = spec(algorithm="sac", hyperparameters=OFF_POLICY, total_timesteps=60)
    (_, stock), (_, fused) = (run(tmp_path, job.model_copy(update={"learner": name})) for name in ("sb3", "fused"))
    assert stock == fused


def test_the_fused_learner_trains_behind_the_same_callbacks_and_files(tmp_path: Path) -> None:
    results = [run(tmp_path, spec(learner=learner)) for learner in ("fused", "fused", "sb3")]
    (fused, blobs), (_, again), (stock, _) = results
    assert blobs == again
    assert set(fused.curves) == set(stock.curves)
    assert fused.peak_timesteps == stock.peak_timesteps
    np.testing.assert_allclose(fused.curves["reward/slow"][0], stock.curves["reward/slow"][0], rtol=1e-4)


def test_curves_have_sb3_keys_and_one_per_reward_component(tmp_path: Path) -> None:
    result, _ = run(tmp_path, spec())
    curves = result.curves
    assert {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "train/loss", "train/explained_variance"} <= set(
        curves
    )
    assert {len(curve) for curve in curves.values()} == {4}
    assert curves["time/total_timesteps"] == [128, 256, 384, 512]
    parts = np.array(curves["reward/slow"]) + np.array(curves["reward/upright"])
    np.testing.assert_allclose(parts, curves["rollout/ep_rew_mean"], rtol=1e-4)
    assert curves["train/loss"][0] is None  # nothing has been learned before the first dump
    assert result.timesteps == 512
    assert result.versions["torch"]


def test_an_off_policy_training_has_curves_too(tmp_path: Path) -> None:
    result, _ = run(tmp_path, spec(algorithm="sac", hyperparameters=OFF_POLICY, total_timesteps=400))
    assert result.curves["time/total_timesteps"][-1] == 400
    assert result.curves["reward/upright"][-1] is not None
    assert result.curves["train/critic_loss"][-1] is not None


def test_without_a_reward_file_the_native_reward_is_learned(tmp_path: Path) -> None:
    result, _ = run(tmp_path, spec(), reward=None)
    assert not [key for key in result.curves if key.startswith("reward/")]
    lengths, returns = (result.curves[f"rollout/{key}"][-1] for key in ("ep_len_mean", "ep_rew_mean"))
    assert returns == pytest.approx(lengths, abs=1.01)  # 1 for each step on which the pole stands


def test_rewards_may_name_variables_that_the_task_derives(tmp_path: Path) -> None:
    derived = VariableSpec(name="tilt", unit="rad", frame="world", meaning="size of the pole's angle")
    environment = EnvironmentSpec(body="inverted_pendulum", max_episode_steps=40, derived=(derived,))
    task = """
import numpy as np
def fitness(episode): return float(episode.length)
def success(episode): return True
def derive(state, dt): return {"tilt": np.abs(state["pole_angle"])}
"""
    reward = 'def compute_reward(tilt):\n    return -tilt, {"tilt": -tilt}\n'
    result, _ = run(tmp_path, spec(environment=environment), reward, task)
    assert max(value for value in result.curves["reward/tilt"] if value is not None) < 0


def test_task_code_that_raises_is_the_tasks_error_not_the_candidates(tmp_path: Path) -> None:
    derived = VariableSpec(name="tilt", unit="rad", frame="world", meaning="size of the pole's angle")
    environment = EnvironmentSpec(body="inverted_pendulum", max_episode_steps=40, derived=(derived,))
    task = 'def fitness(e): ...\ndef success(e): ...\ndef derive(state, dt):\n    return {"tilt": state["pole"]}\n'
    with pytest.raises(TaskCodeError, match="derive: KeyError: 'pole'; ") as caught:
        run(tmp_path, spec(environment=environment), "def compute_reward(tilt):\n    return tilt, {}\n", task)
    assert caught.value.line == 4


# --------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("reward", "message", "line"),
    [
        ("def compute_reward(pole_angel):\n    pass\n", "unknown argument 'pole_angel'; did you mean 'pole_angle'", 1),
        ("def compute_reward(pole_angle):\n    return pole_angle / 0, {}\n", "the total is", 1),
        ("def compute_reward(pole_angle):\n    return pole_angle, None\n", "returned a tuple of 2", 1),
        ("def compute_reward(pole_angle)\n    return 1\n", "SyntaxError", 1),
        ("def compute_reward(pole_angle):\n    raise SystemExit\n", "SystemExit", 2),
    ],
)
def test_a_reward_that_breaks_the_contract_on_its_first_batch_is_a_code_error(
    tmp_path: Path, reward: str, message: str, line: int
) -> None:
    failure = failure_of(tmp_path, spec(), reward)
    assert failure.verdict is Verdict.CODE_ERROR
    assert message in failure.message
    assert (failure.file, failure.line) == ("reward.py", line)


def test_a_reward_that_breaks_later_is_a_run_time_error(tmp_path: Path) -> None:
    reward = "def compute_reward(elapsed_time):\n    return 1 / (elapsed_time < 0.3).float(), {}\n"
    failure = failure_of(tmp_path, spec(), reward)
    assert failure.verdict is Verdict.RUNTIME_ERROR
    assert "the total is infinite in" in failure.message
    assert "at vector step" in failure.message
    assert failure.file == "reward.py"


@pytest.mark.parametrize(("names", "control"), [("pole_angle", "0"), ("pole_angle, actions", "(actions**2).sum(-1)")])
@pytest.mark.parametrize("learner", ["fused", "sb3"])
def test_a_policy_that_diverges_is_a_run_time_error_that_says_what_to_do(
    tmp_path: Path, learner: str, names: str, control: str
) -> None:
    """Also where the reward is the first that sees what became of the actions."""
    reward = f"def compute_reward({names}):\n    return 3e38 * pole_angle.sign() - {control}, {{}}\n"
    failure = failure_of(tmp_path, spec(learner=learner, hyperparameters=PPO | {"normalize": False}), reward)
    assert failure.verdict is Verdict.RUNTIME_ERROR
    assert "the policy diverged" in failure.message
    assert "scale the reward" in failure.message


def test_running_out_of_memory_has_its_own_verdict(tmp_path: Path) -> None:
    reward = "def compute_reward(pole_angle):\n    return pole_angle, {}\n"
    hyperparameters = PPO | {"n_steps": 10**12}
    failure = failure_of(tmp_path, spec(hyperparameters=hyperparameters), reward)
    assert failure.verdict is Verdict.MEMORY
    assert "net_arch" in failure.message


def test_a_reward_that_asks_for_too_much_memory_has_the_same_verdict_with_its_line(tmp_path: Path) -> None:
    reward = "import torch\ndef compute_reward(pole_angle):\n    return torch.empty(10**15)[:8] + pole_angle, {}\n"
    failure = failure_of(tmp_path, spec(), reward)
    assert (failure.verdict, failure.file, failure.line) == (Verdict.MEMORY, "reward.py", 3)


def test_an_unknown_hyperparameter_is_named_with_the_file_to_correct(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, spec(hyperparameters={"n_step": 4}))
    assert failure.file == "task.yaml"
    assert "unknown hyperparameter 'n_step'; did you mean 'n_steps'?" in failure.message


# ------------------------------------------------------------------------------------------------------- checkpoint


class FakeModel:
    """What a checkpoint reads of a model: its policy's arrays, its step count, its normaliser."""

    def __init__(self) -> None:
        import torch

        self.policy = torch.nn.Linear(1, 1)
        self.num_timesteps = 0

    def get_vec_normalize_env(self) -> None:
        return None


def test_the_kept_policy_is_the_one_at_the_peak_not_the_last(tmp_path: Path) -> None:
    import torch

    model, peak = FakeModel(), Peak()
    for timestep, value in [(10, 1.0), (20, 5.0), (30, None), (40, 2.0)]:
        model.num_timesteps = timestep
        with torch.no_grad():
            model.policy.weight.fill_(timestep)
        peak.consider(model, value)  # type: ignore[arg-type]
    assert peak.best is not None
    assert (peak.best.timesteps, peak.best.mean_return) == (20, 5.0)
    peak.best.restore(model)  # type: ignore[arg-type]
    assert model.policy.weight.item() == 20


def test_a_reward_that_cannot_fall_keeps_the_latest_policy(tmp_path: Path) -> None:
    result, _ = run(tmp_path, spec(), "def compute_reward(pole_angle):\n    return 0 * pole_angle, {}\n")
    assert result.peak_timesteps == result.timesteps


def test_a_training_that_collapses_exports_the_policy_and_normaliser_of_its_peak(tmp_path: Path) -> None:
    reward = """
calls = []
def compute_reward(torso_z):
    calls.append(0)
    return (len(calls) if len(calls) < 400 else -1.0) + 0.0 * torso_z, {}
"""
    environment = EnvironmentSpec(body="half_cheetah", max_episode_steps=10)
    job = spec(environment=environment, total_timesteps=3200, hyperparameters=PPO | {"normalize": True})
    result, blobs = run(tmp_path, job, reward)
    assert 1200 <= result.peak_timesteps <= 2000
    assert result.peak_return > 0 > result.curves["rollout/ep_rew_mean"][-1]
    assert json.loads(blobs["policy.json"])["timesteps"] == result.peak_timesteps
    _, stopped = run(tmp_path, job.model_copy(update={"total_timesteps": result.peak_timesteps}), reward)
    kept, reference = (load_arrays(b["policy.safetensors"]) for b in (blobs, stopped))
    assert json.loads(stopped["policy.json"])["timesteps"] == result.peak_timesteps
    for name in reference:
        np.testing.assert_array_equal(kept[name], reference[name])


def test_too_few_episodes_for_a_peak_export_the_last_policy(tmp_path: Path) -> None:
    environment = EnvironmentSpec(body="half_cheetah", max_episode_steps=100)
    reward = "def compute_reward(torso_x_velocity):\n    return torso_x_velocity, {}\n"
    result, _ = run(tmp_path, spec(environment=environment), reward)
    assert result.peak_timesteps == result.timesteps == 512
    assert result.peak_return is not None
    assert math.isfinite(result.peak_return)


def test_the_smoothed_return_looks_back_a_tenth_of_the_training_but_at_least_twenty_episodes() -> None:
    recent = RecentEpisodes(total_timesteps=10_000)
    for i in range(19):
        recent.add(FinishedEpisode(timestep=i, total=100.0, length=1, components={}))
    assert recent.smoothed_return(19) is None
    assert recent.mean_return() == 100.0
    for i in range(30):  # within the last 1000 steps
        recent.add(FinishedEpisode(timestep=5000 + i, total=10.0, length=3, components={}))
    assert recent.smoothed_return(5030) == 10.0
    assert recent.smoothed_return(9000) == 10.0  # none is that recent: the last twenty
    for i in range(200):
        recent.add(FinishedEpisode(timestep=9000 + i, total=float(i), length=3, components={}))
    assert recent.smoothed_return(9200) == np.mean(range(100, 200))


def test_long_curves_are_thinned_evenly_and_keep_their_last_row() -> None:
    writer = CurveWriter()
    for step in range(1, 1751):
        writer.write({"train/loss": 1.0 / step, "odd": math.nan, "text": "ignored"}, {}, step)
    curves = writer.curves()
    steps = curves["time/total_timesteps"]
    assert 200 <= len(steps) <= 400
    assert steps[-1] == 1750
    assert len(set(np.diff(steps[:-1]))) == 1
    assert set(curves["odd"]) == {None}
    assert set(curves) == {"train/loss", "odd", "time/total_timesteps"}


# ---------------------------------------------------------------------------------------------------------- process


def spawn(folder: Path, job: str, reward: str) -> tuple[list[tuple[bytes, bytes]], str]:
    (folder / "job.json").write_text(job)
    (folder / "reward.py").write_text(reward)
    process = subprocess.run(
        [sys.executable, "-I", "-m", "eureka_sandbox.worker", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    return frames_of(process.stdout), process.stderr.decode()


def test_the_worker_answers_in_frames_and_prints_nothing_between_them(tmp_path: Path) -> None:
    noisy = "import os\nprint('loud')\nos.write(1, b'louder')\nimport atexit\natexit.register(print, 'last')\n" + REWARD
    frames, stderr = spawn(tmp_path, spec(progress_seconds=0.0).model_dump_json(), noisy)
    kinds = [kind for kind, _ in frames]
    assert kinds[0] == b"H"
    assert kinds[-3:] == [b"B", b"B", b"R"]
    assert set(kinds[1:-3]) == {b"P"}
    result = TrainResult.model_validate_json(frames[-1][1])
    assert 0 < result.startup_seconds < 60
    blobs = dict(payload.split(b"\n", 1) for kind, payload in frames if kind == b"B")
    assert set(blobs) == {b"policy.safetensors", b"policy.json"}
    progress = json.loads(frames[-4][1])
    assert (progress["timesteps"], progress["total_timesteps"]) == (512, 512)
    assert "loud" in stderr
    assert "louder" in stderr
    assert "last" not in stderr


def test_a_failing_reward_leaves_as_one_failure_frame(tmp_path: Path) -> None:
    frames, _ = spawn(tmp_path, spec().model_dump_json(), "def compute_reward(pole_angle):\n    return 1\n")
    assert [kind for kind, _ in frames] == [b"H", b"F"]
    failure = Failure.model_validate_json(frames[-1][1])
    assert str(failure) == (
        "code error: returned int; return (total, components), a tensor and a dict of tensors (reward.py:1)"
    )


def test_a_fault_of_the_worker_itself_is_told_and_not_called_a_code_error(tmp_path: Path) -> None:
    frames, stderr = spawn(tmp_path, spec().model_dump_json().replace("inverted_pendulum", "unicycle"), REWARD)
    failure = Failure.model_validate_json(frames[-1][1])
    assert failure.verdict is Verdict.BAD_RESULT
    assert "unicycle" in failure.message
    assert "Traceback" in stderr
