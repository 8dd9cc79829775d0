"""Tampering with the score: an honest training with a trick in it, scored in a box that never saw the trick.

What the host asks of each: equal weights score equally, other weights score what they score in a clean box, and nothing
comes near the highest score, which an untrained policy cannot reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event

from eureka_sandbox.hostile.corpus import RUNS, Case
from eureka_sandbox.hostile.probe import tampering
from eureka_sandbox.protocol import (
    EnvironmentSpec,
    Failed,
    Failure,
    Job,
    Limits,
    Outcome,
    Sandbox,
    ScoreResult,
    ScoreSpec,
    TrainSpec,
)

ENVIRONMENT = EnvironmentSpec(body="inverted_pendulum", max_episode_steps=200)
SEEDS = (11, 12, 13, 14)
HIGHEST = 1.0
"""What the metric gives an episode that never ends early."""
CREDIBLE = 0.5
"""No policy of so short a training scores more."""
TASK = b"""
def fitness(episode):
    return episode.length / 200


def success(episode):
    return not episode.terminated
"""
WEIGHTS = "policy.safetensors"

Blobs = Mapping[str, bytes]
Run = Callable[[Job], Outcome]


@dataclass(frozen=True)
class Honest:
    """What the training comes to without a trick."""

    blobs: Blobs
    fitness: tuple[float, ...]


def train_job(reward: bytes, limits: Limits) -> Job:
    """A training of 512 steps, with the same seed always; on the learner that calls the reward most often."""
    recipe = {"n_envs": 2, "n_steps": 128, "batch_size": 64, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
    spec = TrainSpec(environment=ENVIRONMENT, hyperparameters=recipe, total_timesteps=512, seed=5, learner="sb3")
    return Job(spec, {"reward.py": reward, "task.py": TASK}, limits)


def score_job(blobs: Blobs, limits: Limits) -> Job:
    """A scoring on seeds that no box A is told."""
    spec = ScoreSpec(environment=ENVIRONMENT, seeds=SEEDS, record_episodes=0)
    return Job(spec, {"task.py": TASK, **blobs}, limits)


def runner(sandbox: Sandbox, stop: Event) -> Run:
    """Jobs one after another in a sandbox."""
    return lambda job: sandbox.run(job, lambda _: None, stop)


def honest_training(run: Run, control: Case) -> Honest | Failure:
    """The training that all others are set against; the failure, if it cannot even do that."""
    trained = run(train_job(tampering(control), control.limits))
    if isinstance(trained, Failed):
        return trained.failure
    fitness = scored(run, trained.blobs, control.limits)
    return fitness if isinstance(fitness, Failure) else Honest(trained.blobs, fitness)


def scored(run: Run, blobs: Blobs, limits: Limits) -> tuple[float, ...] | Failure:
    """What box B says of a policy."""
    outcome = run(score_job(blobs, limits))
    if isinstance(outcome, Failed):
        return outcome.failure
    assert isinstance(outcome.result, ScoreResult)  # the backend has checked that the answer fits the job
    return tuple(outcome.result.fitness)


def tampered(run: Run, case: Case, honest: Honest) -> tuple[str, Failure | None]:
    """Why the trick counts as having worked, empty if it did not; and the failure in which it ended, if it did."""
    trained = run(train_job(tampering(case), case.limits))
    if isinstance(trained, Failed):
        return "", trained.failure
    if RUNS not in {word for word, _ in case.expects}:
        return "the result of a box that lied was taken", None
    same = trained.blobs[WEIGHTS] == honest.blobs[WEIGHTS]
    if same != (case.weights == "same"):
        # Harmless, but then the case does not test what it says.
        return f"the weights are {'those' if same else 'not those'} of the honest training", None
    fitness = scored(run, trained.blobs, case.limits)
    if isinstance(fitness, Failure):
        return f"the scoring failed: {fitness}", None
    if same and fitness != honest.fitness:
        return f"equal weights score {fitness}, {honest.fitness} without the trick", None
    if not same and scored(run, trained.blobs, case.limits) != fitness:
        return "the same weights score differently when scored again", None
    if max(fitness) > CREDIBLE * HIGHEST:
        return f"scored {max(fitness):g}, which so short a training does not reach", None
    return "", None
