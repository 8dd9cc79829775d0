"""A box without a simulator: call a reward on recorded transitions, and say what it does there.

It runs before a training is spent, so it starts fast: torch and numpy are all it imports. What the reward gets wrong
becomes the same `Failure` as in training: on the first batch a code error, later a run-time error.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from eureka_sandbox.bank import BANK_FILE, VALUES, VALUES_FILE, Bank, read_bank
from eureka_sandbox.bodies import TRAINING_PROGRESS, reward_shapes, variable_shapes
from eureka_sandbox.protocol import FINGERPRINT_SIZE, SmokeResult, SmokeSpec, TermStatistics, Verdict
from eureka_sandbox.worker.emit import JobFailed
from eureka_sandbox.worker.reward import Reward, RewardError, load_reward, reward_failure

Rows = NDArray[np.float32]
"""The total (row 0) and every component over the bank, `(1 + components, T)`."""
FAR_BATCH = 16
"""Transitions per call where a reward may well raise."""
SAME = 1e-4
"""Of the total's range: as much as rounding may change where other rows stand beside one."""


def smoke(spec: SmokeSpec, folder: Path) -> tuple[SmokeResult, dict[str, bytes]]:
    """Call `reward.py` in `folder` twice on every transition of `bank.safetensors`, the second time in another order.

    Returns:
        What it gave, and the blob of all values if `spec` asks for it.

    Raises:
        JobFailed: the reward cannot be loaded, raised, or broke its contract.
        ValueError: the bank lacks a state variable or holds no transition.
    """
    started = time.monotonic()
    torch.set_num_threads(1)
    bank = read_bank((folder / BANK_FILE).read_bytes(), variable_shapes(spec.environment))
    bank = _with_progress(bank, ended=spec.values)
    reward: Reward | None = None
    try:
        reward = load_reward(folder / "reward.py", reward_shapes(spec.environment))
        known, probes = split(bank, spec.probes)
        first, _ = _pass(reward, known, spec.batch)
        order = np.random.default_rng(0).permutation(known.transitions)
        shuffled = Bank({name: rows[order] for name, rows in known.arrays.items()}, 0)
        second, seconds_per_step = _pass(reward, shuffled, spec.batch)
        values = np.concatenate([first, _probed(reward, probes, len(first))], axis=1)
    except RewardError as error:
        at_once = reward is None or not reward.calls
        raise JobFailed(reward_failure(error, Verdict.CODE_ERROR if at_once else Verdict.RUNTIME_ERROR)) from error
    result = SmokeResult(
        transitions=first.shape[1],
        total=_statistics(first[0]),
        components={name: _statistics(row) for name, row in zip(reward.components, first[1:], strict=True)},
        sum_gap=float(np.abs(first[0].astype(np.float64) - first[1:].sum(axis=0, dtype=np.float64)).max()),
        deterministic=bool(np.allclose(first[0, order], second[0], rtol=0.0, atol=SAME * np.ptp(first[0]))),
        seconds_per_step=seconds_per_step,
        fingerprint=fingerprint(reward, known, first[0]),
        seconds=time.monotonic() - started,
        versions={"python": platform.python_version()} | {name: version(name) for name in ("torch", "numpy")},
    )
    return result, {VALUES_FILE: save({VALUES: values})} if spec.values else {}


def split(bank: Bank, probes: int) -> tuple[Bank, Bank]:
    """The recorded transitions, and the last `probes`, which are made up.

    Raises:
        ValueError: nothing is recorded.
    """
    count = bank.transitions - probes
    if count < 1:
        raise ValueError(f"{BANK_FILE} holds {bank.transitions} transitions, all of them probes")
    known = {name: rows[:count] for name, rows in bank.arrays.items()}
    return Bank(known, min(bank.lasting, count)), Bank({name: rows[count:] for name, rows in bank.arrays.items()}, 0)


def _probed(reward: Reward, probes: Bank, rows: int) -> Rows:
    """What the reward gives on the probes; the largest float32 in every column of a call that fails."""
    values = np.full((rows, probes.transitions), np.finfo(np.float32).max)
    for begin in range(0, probes.transitions, FAR_BATCH):
        columns = slice(begin, begin + FAR_BATCH)
        try:
            total, components = reward({name: probes.arrays[name][columns] for name in reward.arguments})
        except RewardError:
            continue
        values[:, columns] = [total, *components.values()]
    return values


def _pass(reward: Reward, bank: Bank, batch: int) -> tuple[Rows, float]:
    """Everything the reward gives on the bank, and the median seconds of a call divided by its batch.

    There are two calls at least: rows of one call alone have the same company in any order.
    """
    transitions = bank.transitions
    batch = min(batch, (transitions + 1) // 2)
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
    """Where each call begins. The last call overlaps the one before: all have the same batch, so that times compare."""
    yield from range(0, transitions - batch + 1, batch)
    if transitions % batch:
        yield transitions - batch


def _statistics(values: Rows) -> TermStatistics:
    exact = values.astype(np.float64)
    return TermStatistics(
        mean=float(exact.mean()), std=float(exact.std()), low=float(exact.min()), high=float(exact.max())
    )


def _with_progress(bank: Bank, ended: bool) -> Bank:
    """The bank with values of `training_progress` spread over 0 to 1; row i has the same in every bank.

    All are 1 where the reward of a training that has `ended` is looked at.
    """
    golden = (np.sqrt(5.0) - 1.0) / 2.0  # its multiples modulo 1 leave no gap, however many are taken
    spread = np.ones(bank.transitions) if ended else np.arange(bank.transitions) * golden % 1.0
    return Bank({**bank.arrays, TRAINING_PROGRESS.name: spread.astype(np.float32)}, bank.lasting)


def fingerprint(reward: Reward, bank: Bank, totals: Rows) -> list[float]:
    """Totals on lasting transitions spread evenly over the rows, then on as many states that are far from them.

    Two rewards may differ only where random play never comes (a bonus above some speed). So the other half is made of
    the same transitions with every variable's rows shuffled and stretched up to eightfold, and flags thrown as coins. A
    call that raises on those leaves zeros.
    """
    count = min(bank.lasting, FINGERPRINT_SIZE // 2)
    chosen = np.linspace(0, bank.lasting - 1, count).round().astype(int)
    states, far = _far(bank, chosen, reward.arguments), np.zeros(count, np.float32)
    for begin in range(0, count, FAR_BATCH):
        rows = slice(begin, begin + FAR_BATCH)
        with suppress(RewardError):
            far[rows], _ = reward({name: values[rows] for name, values in states.items()})
    return [float(value) for value in (*totals[chosen], *far)]


def _far(bank: Bank, chosen: NDArray[np.intp], names: Sequence[str]) -> dict[str, Rows]:
    """States that need not be possible, `(count, *shape)` by variable; the same for equal lasting transitions."""
    states = {}
    for name in names:
        rng = np.random.default_rng(list(name.encode()))  # a reward may name its arguments in any order
        values = rng.permutation(bank.arrays[name][chosen])
        if np.isin(bank.arrays[name][: bank.lasting], (0.0, 1.0)).all():
            values = rng.integers(0, 2, values.shape).astype(np.float32)
        elif name != TRAINING_PROGRESS.name:
            stretch = np.exp(rng.uniform(np.log(0.5), np.log(8.0), len(values))).astype(np.float32)
            values = values * stretch.reshape(-1, *[1] * (values.ndim - 1))
        states[name] = values
    return states
