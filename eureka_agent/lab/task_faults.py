"""Whether failures in the task's own files are the task's. What box A says of them may be the reward's invention, so a
short training without any candidate's code has to fail there, too, before the task is accused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eureka_agent.contract.task import FILES
from eureka_agent.errors import TaskError
from eureka_agent.lab.jobs import score_job, train_job
from eureka_agent.lab.scores import META, WEIGHTS, evaluation_seeds
from eureka_agent.population import Candidate, Record
from eureka_sandbox.protocol import Failed, Failure

if TYPE_CHECKING:
    from eureka_agent.lab.lab import Lab

TIMESTEPS = 4000
"""Enough for every algorithm to make some updates."""


class Confirmation(Record):
    """What a training on the environment's own reward came to."""

    failure: Failure | None
    """Of it, in the task's files; None if there was none."""


def blame_the_task(lab: Lab, measured: Sequence[Candidate]) -> None:
    """Nothing, unless a whole generation failed in the task's files and they fail without a candidate's code as well.

    Raises:
        TaskError: they do; says where.
    """
    failures = [c.failure for c in measured if c.failure and c.failure.file in FILES]
    if len(failures) < len(measured):
        return
    key = f"task/{measured[0].brief.generation}"
    found = lab.run.decide(key, Confirmation, lambda: Confirmation(failure=_failure(lab, key))).failure
    if found is None:
        lab.watcher.stage(
            "every box reported a failure of the task, and without a reward there is none: they are not believed"
        )
        return
    raise task_error(lab.run.task.name, found)


def task_error(task: str, failure: Failure) -> TaskError:
    """Where in the task's files it is, and what to do."""
    where = f"{task}/{failure.file}" + (f":{failure.line}" if failure.line else "")
    return TaskError(f"{where}: {failure.message}; correct it and start a new run (this one keeps its own copy)")


def _failure(lab: Lab, key: str) -> Failure | None:
    run, recipe = lab.run, lab.recipe
    lab.watcher.stage("every box reported a failure of the task; trying it without a reward of the search")
    seed, steps = run.settings.derived_seed("task", key), min(TIMESTEPS, recipe.timesteps)
    limits = lab.boxes.limits(600)
    outcome = lab.boxes.run(key, "training", train_job(run.task, recipe, None, seed, steps, limits), shown=False)
    if not isinstance(outcome, Failed):
        policy = {name: outcome.blobs[name] for name in (WEIGHTS, META) if name in outcome.blobs}
        job = score_job(run.task, evaluation_seeds(run, key), policy, limits=limits)
        outcome = lab.boxes.run(key, "scoring", job, shown=False)
    if isinstance(outcome, Failed) and outcome.failure.file in FILES:
        return outcome.failure
    return None
