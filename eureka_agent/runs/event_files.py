"""Stored learning curves as TensorBoard event files: one folder per training, SB3's tags over environment steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eureka_agent.errors import EnvironmentMissing
from eureka_agent.population import Training
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import appearing

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

STEPS = "time/total_timesteps"
ELAPSED = "time/time_elapsed"
NOT_FOR_TENSORBOARD = {STEPS, ELAPSED, "time/iterations", "time/episodes", "train/n_updates"}
"""What SB3's own logger keeps out of TensorBoard."""


def trainings_of(run: Run) -> dict[str, Training]:
    """Every training of a run by the name of its folder: `g0c3`, `best-seed-1`, `human-seed-1`."""
    found = {c.id: c.training for c in run.population(partial=True).candidates if c.training}
    comparison = run.comparison()
    for arm, name in (("candidate", "best"), ("human", "human")):
        trials = comparison.arm(arm).trials if comparison else ()
        found |= {f"{name}-seed-{i}": trial.training for i, trial in enumerate(trials, start=1) if trial.training}
    return found


def write_event_files(folder: Path, trainings: Mapping[str, Training], began: float) -> None:
    """Make `folder` with one event folder per training; all of it appears at once, or nothing.

    Args:
        folder: must not be there yet.
        trainings: by folder name.
        began: seconds since 1970 that the trainings' own clocks count from.

    Raises:
        EnvironmentMissing: tensorboard is not installed.
        RunError: the folder cannot be written.
    """
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError as error:
        raise EnvironmentMissing(
            f"TensorBoard files need a package that is missing ({error}); pip install 'eureka-agent[tensorboard]'"
        ) from error
    with appearing(folder) as draft:
        for name, training in trainings.items():
            _write(draft / name, training, began)


def _write(folder: Path, training: Training, began: float) -> None:
    # RecordWriter and not EventFileWriter, whose thread keeps a full disk to itself
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir()
    with open(folder / f"events.out.tfevents.{began:.0f}.eureka", "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=began, file_version="brain.Event:2").SerializeToString())
        for event in _events(training, began):
            writer.write(event.SerializeToString())


def _events(training: Training, began: float) -> Iterator[Event]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    curves = training.curves
    tags = sorted(curves.keys() - NOT_FOR_TENSORBOARD)
    for row, step in enumerate(curves.get(STEPS, [])):
        values = [Summary.Value(tag=tag, simple_value=curves[tag][row]) for tag in tags if _known(curves[tag][row])]
        seconds = (curves[ELAPSED][row] if ELAPSED in curves else None) or 0.0
        yield Event(wall_time=began + seconds, step=round(step or 0.0), summary=Summary(value=values))


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
