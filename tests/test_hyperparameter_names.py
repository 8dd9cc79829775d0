"""The hyperparameters that the host knows are Stable-Baselines3's, and a wrong one is told before anything runs."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from eureka_agent.contract.task import load_task, task_from_files
from eureka_agent.errors import TaskError
from eureka_sandbox.hyperparameters import ACTIVATION_NAMES, DEFAULTS, NOISE_NAMES
from eureka_sandbox.worker.hyperparameters import ACTIVATIONS, ALGORITHMS, NOISES

WITHHELD = {
    *("policy", "env", "policy_kwargs", "action_noise", "stats_window_size", "tensorboard_log", "verbose", "seed"),
    *("device", "use_sde", "sde_sample_freq", "use_sde_at_warmup", "optimize_memory_usage", "rollout_buffer_class"),
    *("rollout_buffer_kwargs", "replay_buffer_class", "replay_buffer_kwargs", "monitor_wrapper", "_init_setup_model"),
}
"""Constructor arguments that are the trainer's business, or that a policy of NumPy could not follow."""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_names_and_defaults_are_those_of_the_installed_stable_baselines3(algorithm: str) -> None:
    parameters = inspect.signature(ALGORITHMS[algorithm]).parameters
    assert {name: p.default for name, p in parameters.items() if name not in WITHHELD} == DEFAULTS[algorithm]


def test_every_activation_and_noise_that_has_a_name_exists() -> None:
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES)
    assert set(NOISES) == set(NOISE_NAMES)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"n_epoch: 10", "unknown hyperparameter 'n_epoch'; did you mean 'n_epochs'?"),
        (b"n_epochs: many", "n_epochs: expected a number, got 'many'"),
        (b"n_epochs: 0", "n_epochs: expected a whole number, at least 1, got 0"),
    ],
)
def test_a_wrong_hyperparameter_is_told_when_the_task_is_read(line: bytes, complaint: str) -> None:
    task = load_task("hopper_forward")
    files = task.files | {"task.yaml": task.files["task.yaml"].replace(b"n_epochs: 10", line)}
    with pytest.raises(TaskError) as caught:
        task_from_files("hopper_forward", task.folder, files, None)
    assert complaint in str(caught.value)
    assert "task.yaml:22: training.hyperparameters" in str(caught.value)


def test_a_policy_too_large_to_leave_its_box_is_told_when_a_task_is_loaded_but_not_when_a_run_is_read(
    tmp_path: Path,
) -> None:
    task = load_task("hopper_forward")
    wide = task.files["task.yaml"].replace(b"n_epochs: 10", b"policy_kwargs: {net_arch: [3000, 3000]}")
    files = task.files | {"task.yaml": wide}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=r"task.yaml:26: .*policy_kwargs: the policy would have 18,090,007 parameters"):
        load_task(str(tmp_path))
    assert task_from_files("old", tmp_path, files, None).spec.training.hyperparameters["policy_kwargs"]
