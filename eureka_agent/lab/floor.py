"""The floor: what play without learning reaches, measured once per run before any candidate is.

A metric that random or zero actions already satisfy tells nothing about a reward, so it is found out here. The same
episodes give each state variable's range and the first bank of transitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eureka_agent.contract.task import Anchors, Task
from eureka_agent.errors import TaskError
from eureka_agent.lab.bank import scalar_columns, transitions
from eureka_agent.population import Record, Score
from eureka_agent.text import measure, percent
from eureka_sandbox.protocol import Failure

if TYPE_CHECKING:
    from eureka_agent.runs.run import Run

FLOOR, RANDOM, ZERO = "floor", "floor/random", "floor/zero"
"""Keys of the decision and of its two scores."""
RECORDED_EPISODES = 16
LIKELY_SUCCESS = 0.5
"""Share of successful episodes above which a metric counts as satisfied without learning."""


class Ranges(Record):
    """Where one scalar of the state goes under random actions."""

    name: str
    """`torso_x`, or `joint_angles[2]`."""
    low: float
    high: float
    mean: float


class Level(Record):
    """What one way to play without learning reaches; the episodes are the score of that key."""

    mean: float
    low: float
    """Worst episode."""
    high: float
    success_rate: float


class Floor(Record):
    """Play without learning. Fitness is the task's own; higher is better."""

    random: Level
    """Uniform random actions."""
    zero: Level
    """Zero actions: no torque, no force."""
    ranges: tuple[Ranges, ...]
    """Every scalar of the state after each step of random actions, in catalogue order."""
    recording: str
    """Blob: episodes.npz of random actions."""
    warnings: tuple[str, ...]
    """What looks wrong with the metric, if not so wrong that the search would be pointless."""

    def range_of(self, name: str) -> tuple[Ranges, ...]:
        """The ranges of a state variable: one, or one per element."""
        return tuple(r for r in self.ranges if r.name == name or r.name.startswith(f"{name}["))


def floor_of(run: Run, random: Score | Failure, zero: Score | Failure) -> Floor:
    """The floor from its two scores.

    Raises:
        TaskError: the task's own code failed on them, or its metric tells nothing about learning.
    """
    task = run.task
    for score, words in ((random, "random actions"), (zero, "zero actions")):
        if isinstance(score, Failure):
            where = f"{task.name}/{score.file}" + (f":{score.line}" if score.line else "") if score.file else task.name
            raise TaskError(f"{where}: scoring {words} failed: {score.message}; `eureka tasks check` runs it alone")
    assert isinstance(random, Score)
    assert isinstance(zero, Score)
    if random.episodes is None:
        raise TaskError(f"{task.name}: an episode is too long to be recorded; shorten environment.episode_steps")
    return Floor(
        random=_level(random),
        zero=_level(zero),
        warnings=_checked(task, random, zero),
        recording=random.episodes,
        ranges=_ranges(run.blob(random.episodes), task),
    )


def _ranges(recording: bytes, task: Task) -> tuple[Ranges, ...]:
    columns = scalar_columns(transitions(recording, task.environment))
    return tuple(
        Ranges(name=name, low=float(c.min()), high=float(c.max()), mean=float(c.mean())) for name, c in columns
    )


def _checked(task: Task, random: Score, zero: Score) -> tuple[str, ...]:
    """What looks wrong with the metric.

    Raises:
        TaskError: random actions succeed, or some play without learning is far above the human reward.
    """
    if random.success_rate > LIKELY_SUCCESS:
        raise TaskError(
            f"{task.name}: random actions succeed in {percent(random.success_rate)} of {len(random.seeds)} episodes, "
            "so success says nothing about learning; make `success` in task.py stricter"
        )
    warnings = []
    if zero.success_rate > LIKELY_SUCCESS:
        warnings.append(f"doing nothing succeeds in {percent(zero.success_rate)} of {len(zero.seeds)} episodes")
    if task.anchors:
        for score, words in ((random, "random actions reach"), (zero, "doing nothing reaches")):
            warnings += _beside_the_human(task, task.anchors, score, words)
    return tuple(warnings)


def _beside_the_human(task: Task, anchors: Anchors, score: Score, words: str) -> Sequence[str]:
    """A warning above the human anchor, an error as far above it again as it lies above its own random anchor."""
    human, unit = anchors.human, task.spec.metric.unit
    span = max(human.high - anchors.random.low, 0.0)
    told = f"{words} {measure(score.mean, unit)}, the human reward of anchors.yaml {measure(human.mean, unit)}"
    if score.mean > human.high + span:
        raise TaskError(
            f"{task.name}: {told}; correct the sign or the scale of `fitness` in task.py, or measure the anchors again "
            "with `eureka tasks measure`"
        )
    return [told] if score.mean > human.high else []


def _level(score: Score) -> Level:
    fitness = score.fitness
    return Level(mean=score.mean, low=min(fitness), high=max(fitness), success_rate=score.success_rate)
