"""A box without a simulator: call a reward on recorded transitions, and say what it does there.

It runs before a training is spent, so it starts fast: torch and numpy are all it imports. What the reward gets wrong
becomes the same `Failure` as in training: on the first batch a code error, later a run-time error.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from eureka_sandbox.bank import BANK_FILE, Bank, read_bank
from eureka_sandbox.bodies import variable_shapes
from eureka_sandbox.protocol import FINGERPRINT_SIZE, SmokeResult, SmokeSpec, TermStatistics, Verdict
from eureka_sandbox.worker.emit import JobFailed
from eureka_sandbox.worker.reward import Reward, RewardError, load_reward, reward_failure

Rows = NDArray[np.float32]
"""The total (row 0) and every component over the bank, `(1 + components, T)`."""


def smoke(spec: SmokeSpec, folder: Path) -> tuple[SmokeResult, dict[str, bytes]]:
    """Call `reward.py` in `folder` twice on every transition of `bank.safetensors`.

    Returns:
        What it gave, and no blobs.

    Raises:
        JobFailed: the reward cannot be loaded, raised, or broke its contract.
        ValueError: the bank lacks a state variable or holds no transition.
    """
    started = time.monotonic()
    torch.set_num_threads(1)
    shapes = variable_shapes(spec.environment)
    bank = read_bank((folder / BANK_FILE).read_bytes(), shapes)
    reward: Reward | None = None
    try:
        reward = load_reward(folder / "reward.py", shapes)
        first, _ = _pass(reward, bank, spec.batch)
        second, seconds_per_step = _pass(reward, bank, spec.batch)
    except RewardError as error:
        at_once = reward is None or not reward.calls
        raise JobFailed(reward_failure(error, Verdict.CODE_ERROR if at_once else Verdict.RUNTIME_ERROR)) from error
    result = SmokeResult(
        transitions=first.shape[1],
        total=_statistics(first[0]),
        components={name: _statistics(row) for name, row in zip(reward.components, first[1:], strict=True)},
        sum_gap=float(np.abs(first[0].astype(np.float64) - first[1:].sum(axis=0, dtype=np.float64)).max()),
        deterministic=bool(np.array_equal(first[0], second[0])),
        seconds_per_step=seconds_per_step,
        fingerprint=_fingerprint(first[0][: bank.lasting]),
        seconds=time.monotonic() - started,
        versions={"python": platform.python_version()} | {name: version(name) for name in ("torch", "numpy")},
    )
    return result, {}


def _pass(reward: Reward, bank: Bank, batch: int) -> tuple[Rows, float]:
    """Everything the reward gives on the bank, and the median seconds of a call divided by its batch."""
    transitions = bank.transitions
    batch = min(batch, transitions)
    values: Rows | None = None
    took = []
    for begin in _starts(transitions, batch):
        rows = slice(begin, begin + batch)
        inputs = {name: bank.arrays[name][rows] for name in reward.arguments}
        started = time.perf_counter()
        total, components = reward(inputs)
        took.append(time.perf_counter() - started)
        if values is None:
            values = np.zeros((1 + len(components), transitions), np.float32)
        values[:, rows] = [total, *components.values()]
    assert values is not None
    return values, statistics.median(took) / batch


def _starts(transitions: int, batch: int) -> Iterator[int]:
    """Where each call begins. The last call overlaps the one before: as in training, all have the same batch."""
    yield from range(0, transitions - batch + 1, batch)
    if transitions % batch:
        yield transitions - batch


def _statistics(values: Rows) -> TermStatistics:
    exact = values.astype(np.float64)
    return TermStatistics(
        mean=float(exact.mean()), std=float(exact.std()), low=float(exact.min()), high=float(exact.max())
    )


def _fingerprint(totals: Rows) -> list[float]:
    """Totals on transitions spread evenly over the rows."""
    chosen = np.linspace(0, len(totals) - 1, min(len(totals), FINGERPRINT_SIZE)).round().astype(int)
    return [float(value) for value in totals[chosen]]
