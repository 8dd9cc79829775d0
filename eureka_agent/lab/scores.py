"""Box B's work as values: what it is asked, the record of what it answers, and what binds the two together."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence

from eureka_agent.lab.jobs import SLOWEST_STEPS_PER_SECOND, STARTUP_SECONDS, score_job
from eureka_agent.population import Record, Score, Training
from eureka_agent.runs.run import Run
from eureka_sandbox.protocol import (
    Failure,
    Finished,
    Job,
    Limits,
    Sandbox,
    ScoreResult,
    ScoreSpec,
    SheetSpec,
    Variation,
    Verdict,
    VideoSpec,
    Wall,
)

WEIGHTS, META = "policy.safetensors", "policy.json"


class EvaluationSeeds(Record):
    """Reset seeds of one policy's episodes."""

    seeds: tuple[int, ...]


def evaluation_seeds(run: Run, key: str, most: int | None = None) -> tuple[int, ...]:
    """Drawn from the operating system's entropy once training has ended, so that no reward can know them.

    As many as the task has evaluation episodes, or `most` if that is fewer.
    """
    count = run.task.spec.evaluation_episodes if most is None else min(most, run.task.spec.evaluation_episodes)

    def draw() -> EvaluationSeeds:
        return EvaluationSeeds(seeds=tuple(secrets.randbits(32) for _ in range(count)))

    return run.decide(seeds_key(key), EvaluationSeeds, draw).seeds


def seeds_key(key: str) -> str:
    """Key of the decision that holds the reset seeds of the score under `key`."""
    return f"{key}/evaluation-seeds"


def scoring_job(
    run: Run,
    training: Training | None,
    seeds: Sequence[int],
    memory_mb: int,
    video: VideoSpec | None = None,
    idle: bool = False,
    record_episodes: int = 3,
    variation: Variation | None = None,
    sheet: SheetSpec | None = None,
) -> Job:
    """A scoring of a training's policy (None: uniform random actions, or zero ones if `idle`) under the run's task.

    Raises:
        RunError: a blob of the policy is missing or damaged.
    """
    blobs = {WEIGHTS: training.policy, META: training.policy_meta} if training else {}
    policy = {name: run.blob(digest) for name, digest in blobs.items()}
    steps = len(seeds) * run.task.spec.environment.episode_steps
    wall_seconds = STARTUP_SECONDS + steps / SLOWEST_STEPS_PER_SECOND["ppo"]
    limits = Limits(wall_seconds=wall_seconds, memory_mb=memory_mb)
    return score_job(run.task, seeds, policy, video, limits, idle, record_episodes, variation, sheet)


def reward_digest(code: str | None) -> str:
    """SHA-256 of a reward's code in hex; empty for the environment's own."""
    return "" if code is None else hashlib.sha256(code.encode()).hexdigest()


def score_record(
    run: Run, key: str, training: Training | None, job: Job, outcome: Finished, box: str
) -> Score | Failure:
    """What the journal keeps of box B's answer; its blobs are stored first."""
    result, emitted, spec = outcome.result, outcome.blobs, job.spec
    assert isinstance(spec, ScoreSpec)
    if not isinstance(result, ScoreResult) or len(result.fitness) != len(spec.seeds):
        return Failure(verdict=Verdict.BAD_RESULT, message=f"the scoring ended without {len(spec.seeds)} scores")
    return Score(
        seeds=spec.seeds,
        variation=spec.variation,
        **result.model_dump(),
        episodes=run.put_blob(emitted["episodes.npz"]) if "episodes.npz" in emitted else None,
        video=run.put_blob(emitted["video.mp4"]) if "video.mp4" in emitted else None,
        poster=run.put_blob(emitted["poster.jpg"]) if "poster.jpg" in emitted else None,
        frames=run.put_blob(emitted["frames.jpg"]) if "frames.jpg" in emitted else None,
        box=box,
        binding=binding(run.task.digest, job, box, result.versions, key, training),
    )


def box_name(sandbox: Sandbox, wall: Wall | None) -> str:
    """What a box is made of, for the binding: the backend and, for a container, its image's digest."""
    return f"{sandbox.name} {wall.image}" if wall and wall.image else sandbox.name


def binding(
    task_digest: str, job: Job, box: str, versions: Mapping[str, str], key: str, training: Training | None
) -> str:
    """Everything that settles a score's numbers, and whose they are, as one SHA-256 in hex.

    Over the JSON (sorted keys, no blanks) of: the SHA-256 of the policy's weights and of its description, as box B got
    them (without a policy: how it acted); the task's digest; the reset seeds; the longest episode in control steps;
    what the box is made of; the versions that it reported; what differs from the world of the training, if anything;
    and, of a policy that was trained on a reward's code, the
    score's key and the SHA-256 of that code. It is no signature: it shows that a stored score belongs
    to what is stored beside it, and `eureka verify` shows that it is true.
    """
    spec = job.spec
    assert isinstance(spec, ScoreSpec)
    parts = {
        "policy": _digest(job.files.get(WEIGHTS)) or ("zero actions" if spec.idle else "random actions"),
        "policy_meta": _digest(job.files.get(META)),
        "task": task_digest,
        "seeds": spec.seeds,
        "episode_steps": spec.environment.max_episode_steps,
        "box": box,
        "versions": dict(versions),
    }
    if spec.variation:
        parts["variation"] = spec.variation.model_dump()
    if training and training.reward:
        parts |= {"key": key, "reward": training.reward}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _digest(data: bytes | None) -> str:
    return hashlib.sha256(data).hexdigest() if data is not None else ""
