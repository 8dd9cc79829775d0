"""What a training tells while it runs: progress frames, learning curves, and the checkpoint at its peak."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter

from eureka_sandbox.protocol import Progress
from eureka_sandbox.worker.checkpoint import FinishedEpisode, Peak, RecentEpisodes
from eureka_sandbox.worker.emit import Emitter

MAX_ROWS = 400
FASTEST_PROGRESS = 0.1
"""Seconds; the host reads at most ten progress frames per second."""
STEPS_KEY = "time/total_timesteps"
ITERATIONS_KEY = "time/iterations"


class TrainingDiverged(Exception):
    """The policy's parameters are no longer numbers."""


class Halted(Exception):
    """The training has come to where its box was asked to stop."""


@dataclass(frozen=True)
class CurveState:
    """What a `CurveWriter` holds."""

    rows: tuple[dict[str, float], ...]
    every: int
    written: int
    whole: bool
    """Whether the newest row is one that stays when rows are thinned out."""


class CurveWriter(KVWriter):
    """An output of SB3's logger that keeps its rows in memory: at most 400, evenly thinned when there are more."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._latest: dict[str, float] = {}
        self._every = 1
        self._written = 0
        self._iterations = 0  # of the boxes before this one: SB3 counts the calls of this `learn` only

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Take one dump of SB3's logger, a row of `key_values` at `step` environment steps."""
        numbers = {name: float(value) for name, value in key_values.items() if hasattr(value, "__float__")}
        if ITERATIONS_KEY in numbers:
            numbers[ITERATIONS_KEY] += self._iterations
        self._latest = numbers | {STEPS_KEY: float(step)}
        self._written += 1
        if self._written % self._every == 0:
            self._rows.append(self._latest)
        if len(self._rows) == MAX_ROWS:
            self._rows = self._rows[1::2]
            self._every *= 2

    def close(self) -> None:
        """Nothing is open."""

    def snapshot(self) -> CurveState:
        """A copy of everything kept."""
        whole = bool(self._rows) and self._rows[-1] is self._latest
        rows = self._rows if whole or not self._latest else [*self._rows, self._latest]
        return CurveState(tuple(rows), self._every, self._written, whole)

    def restore(self, state: CurveState) -> None:
        """Go on where `snapshot` was taken."""
        rows = [dict(row) for row in state.rows]
        self._latest = rows[-1] if rows else {}
        self._rows = rows if state.whole else rows[:-1]
        self._every, self._written = state.every, state.written
        self._iterations = state.written

    @property
    def last_step(self) -> int | None:
        """Environment steps at the last dump."""
        return int(self._latest[STEPS_KEY]) if self._latest else None

    def curves(self) -> dict[str, list[float | None]]:
        """One list per key, all of the same length, the last dump last; None where a row has no (finite) value."""
        rows = self._rows
        if self._latest and (not rows or rows[-1] is not self._latest):
            rows = [*rows, self._latest]
        return {key: [_rounded(row.get(key)) for row in rows] for key in sorted({key for row in rows for key in row})}


class TrainingMonitor(BaseCallback):
    """Watches one training through SB3's callbacks.

    When a rollout ends, its episodes are counted (their returns may not be known before), the peak is looked for and
    `reward/<component>` logged: the policy is still the one that acted in it.
    """

    def __init__(self, emit: Emitter, total_timesteps: int, progress_seconds: float) -> None:
        super().__init__()
        self.earlier_seconds = 0.0
        """What boxes before this one spent on the same training."""
        self.recent = RecentEpisodes(total_timesteps)
        self.peak = Peak()
        self.peak_from = 0
        """Environment steps before which no peak is looked for."""
        self.startup_seconds = math.nan
        """From the beginning of the box to the first rollout; nan before it."""
        self._emit = emit
        self._total = total_timesteps
        self._interval = max(progress_seconds, FASTEST_PROGRESS)
        self.at_start: Callable[[], None] = _nothing
        """Called once `learn` has set itself up."""
        self._keep, self._keep_interval = _nothing, math.inf
        self._stop_at = math.inf
        self._start = self._last = self._kept = time.monotonic()
        self._ended: list[tuple[int, list[dict[str, Any]]]] = []

    def keep_every(self, seconds: float, keep: Callable[[], None]) -> None:
        """Call `keep` between two rollouts whenever so many seconds have passed since it was last called."""
        self._keep, self._keep_interval = keep, seconds

    def stop_at(self, timesteps: int) -> None:
        """Between the rollout and update that reach so many environment steps and the next, keep and raise `Halted`."""
        self._stop_at = timesteps

    @property
    def seconds(self) -> float:
        """Wall time of training, of earlier boxes too."""
        return time.monotonic() - self._start

    def _on_training_start(self) -> None:
        self._last = self._kept = time.monotonic()
        self._start = self._last - self.earlier_seconds
        model = self.model
        if self.earlier_seconds:  # SB3's frames per second and elapsed time are those of all boxes
            model.start_time -= int(1e9 * self.earlier_seconds)
            model._num_timesteps_at_start = 0
        self.at_start()

    def _on_rollout_start(self) -> None:
        if math.isnan(self.startup_seconds):
            self.startup_seconds = process_seconds()
        halts = self.model.num_timesteps >= self._stop_at
        if halts or (time.monotonic() - self._kept >= self._keep_interval and self.model.num_timesteps):
            self._keep()
            self._kept = time.monotonic()
        if halts:
            raise Halted

    def _on_step(self) -> bool:
        if self.locals["dones"].any():
            self._ended.append((self.num_timesteps, self.locals["infos"]))
        if time.monotonic() - self._last >= self._interval:
            self.report()
        return True

    def _on_rollout_end(self) -> None:
        if not self._ended:
            return
        for timesteps, infos in self._ended:
            for info in infos:
                if "episode" in info:
                    episode, sums = info["episode"], info.get("episode_components", {})
                    self.recent.add(FinishedEpisode(timesteps, float(episode["r"]), int(episode["l"]), sums))
        self._ended.clear()
        self.check_finite()
        for name, value in self.recent.mean_components().items():
            self.logger.record(f"reward/{name}", value)
        if self.num_timesteps >= self.peak_from:
            self.peak.consider(self.model, self.recent.smoothed_return(self.num_timesteps))

    def report(self) -> None:
        """Send a progress frame."""
        self._last = time.monotonic()
        self._emit.progress(
            Progress(
                timesteps=self.num_timesteps,
                total_timesteps=self._total,
                steps_per_second=self.num_timesteps / max(self.seconds, 1e-9),
                episode_return=self.recent.mean_return(),
                episode_length=self.recent.mean_length(),
            )
        )

    def check_finite(self) -> None:
        """Raise `TrainingDiverged` if a parameter of the policy is NaN or infinite."""
        for name, tensor in self.model.policy.state_dict().items():
            if not torch.isfinite(tensor).all():
                mean = self.recent.mean_return()
                returns = "" if mean is None else f" (mean episode return {mean:.3g})"
                raise TrainingDiverged(
                    f"the policy diverged: {name} is not finite after {self.num_timesteps} steps{returns}; "
                    "scale the reward to the order of 1 per step, or lower learning_rate"
                )


def process_seconds() -> float:
    """Wall time since the host began this box, or, if it does not say, since this process was started (10 ms)."""
    if began := os.environ.get("EUREKA_BOX_BEGAN"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - float(began)
    with open("/proc/self/stat") as file:
        started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _nothing() -> None:
    """Where no checkpoints are asked for."""


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
