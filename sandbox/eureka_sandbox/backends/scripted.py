"""A sandbox that simulates nothing: answers follow from the reward's text and the seeds. For tests and dry runs only.

A comment `# scripted: fitness=3.5 seconds=0.2 verdict=time lost=1` in the reward sets what its training comes to: the
mean fitness of its policies, how long a box takes, why it fails, and how often the sandbox itself fails first. Without
one, fitness follows from the text's hash and lies in [0, 10). `late=2` makes fitness grow with the square of the share
of the training that a rung lets it come (`TrainSpec.stop_at`), `behaves=1.5` is what a smoke box sees it pay. Random
and zero actions (no policy) come to -1. A contact sheet is a grey picture. A smoke box answers at once; of the
verdicts, it gives only those that a first batch can have: code error, policy violation.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Lock

import numpy as np

from eureka_sandbox.bank import BANK_FILE, VALUES, VALUES_FILE, bank_transitions
from eureka_sandbox.bodies import variable_shapes
from eureka_sandbox.protocol import (
    Failed,
    Failure,
    Finished,
    Job,
    JobStopped,
    Outcome,
    Progress,
    SandboxError,
    ScoreResult,
    ScoreSpec,
    SmokeResult,
    SmokeSpec,
    TermStatistics,
    TrainResult,
    TrainSpec,
    Verdict,
    Wall,
)

DIRECTIVE = re.compile(r"^# scripted:(.*)$", re.MULTILINE)
RANDOM_FITNESS = -1.0
VERSIONS = {"scripted": "1"}
RECORDED_STEPS = 8


class ScriptedSandbox:
    """Deterministic answers, at once or after a given time."""

    name = "scripted"

    def __init__(self, training_spread: float = 0.1, episode_spread: float = 0.0) -> None:
        """The spreads are how far fitness moves with the training seed and with each evaluation seed."""
        self.training_spread = training_spread
        self.episode_spread = episode_spread
        self.started: list[Job] = []
        """Every job that was begun, for tests."""
        self._lost: Counter[bytes] = Counter()
        self._lock = Lock()

    def check(self, private: Sequence[Path] = ()) -> Wall:
        """Nothing runs, so nothing can leak."""
        return Wall(
            backend="scripted",
            tier="scripted: nothing runs",
            covers=(),
            gaps=(),
            contained=0,
            probes=0,
            controls=0,
            seconds=0.0,
        )

    def run(self, job: Job, on_progress: Callable[[Progress], None], stop: Event) -> Outcome:
        """See `protocol.Sandbox.run`.

        Raises:
            SandboxError: as often as the reward's `lost` says.
            JobStopped: `stop` was set.
        """
        script = _script(job.files.get("reward.py", b""))
        if isinstance(job.spec, SmokeSpec):
            return self._smoked(job, script)
        seconds = float(script.get("seconds", 0.0))
        with self._lock:
            self.started.append(job)
            self._lose(job, int(script.get("lost", 0)))
        if stop.wait(seconds):
            raise JobStopped("stopped")
        if verdict := _verdict(script):
            return _failed(verdict, seconds)
        if isinstance(job.spec, TrainSpec):
            return self._trained(job, job.spec, script, on_progress, seconds)
        return self._scored(job, job.spec)

    def _lose(self, job: Job, times: int) -> None:
        reward = job.files.get("reward.py", b"")
        if self._lost[reward] < times:
            self._lost[reward] += 1
            raise SandboxError("scripted loss")

    def _trained(
        self, job: Job, spec: TrainSpec, script: Mapping[str, str], on_progress: Callable[[Progress], None], took: float
    ) -> Outcome:
        total = min(spec.total_timesteps, spec.stop_at or spec.total_timesteps)
        fitness = float(script.get("fitness", 10.0 * _unit(job.files.get("reward.py", b""))))
        fitness += self.training_spread * (_unit(f"{spec.seed}".encode()) - 0.5)
        fitness *= (total / spec.total_timesteps) ** float(script.get("late", 0.0))
        whole = spec.total_timesteps
        on_progress(Progress(timesteps=total, total_timesteps=whole, steps_per_second=1000.0, episode_return=fitness))
        result = TrainResult(
            timesteps=total,
            seconds=max(took, 1e-3),
            startup_seconds=0.0,
            peak_timesteps=total,
            peak_return=fitness,
            curves={
                "time/total_timesteps": [total / 2, float(total)],
                "rollout/ep_rew_mean": [None, fitness],
                "rollout/ep_len_mean": [50.0, 100.0],
                "reward/progress": [fitness / 2, fitness],
            },
            versions=VERSIONS,
        )
        policy = json.dumps({"fitness": fitness}).encode()
        return Finished(result, {"policy.safetensors": policy, "policy.json": b"{}"}, took)

    def _smoked(self, job: Job, script: Mapping[str, str]) -> Outcome:
        assert isinstance(job.spec, SmokeSpec)
        with self._lock:
            self.started.append(job)
        if (verdict := _verdict(script)) in (Verdict.CODE_ERROR, Verdict.POLICY_VIOLATION):
            return _failed(verdict, 0.0)
        value = float(script.get("behaves", 10.0 * _unit(job.files.get("reward.py", b""))))
        term = TermStatistics(mean=value, std=1.0, low=value - 2.0, high=value + 2.0)
        result = SmokeResult(
            transitions=bank_transitions(job.files[BANK_FILE]) - job.spec.probes,
            total=term,
            components={"progress": term},
            sum_gap=0.0,
            deterministic=True,
            seconds_per_step=1e-6,
            fingerprint=[value],
            seconds=1e-3,
            versions=VERSIONS,
        )
        return Finished(result, _values(job, value) if job.spec.values else {}, 0.0)

    def _scored(self, job: Job, spec: ScoreSpec) -> Outcome:
        policy = job.files.get("policy.safetensors")
        mean = RANDOM_FITNESS if policy is None else float(json.loads(policy)["fitness"])
        if spec.variation:  # whatever differs from the training costs up to 1
            mean -= _unit(spec.variation.model_dump_json().encode())
        fitness = [mean + self.episode_spread * (_unit(f"{seed}".encode()) - 0.5) for seed in spec.seeds]
        recorded = list(range(min(len(fitness), spec.record_episodes))) if policy is None else []
        result = ScoreResult(
            fitness=fitness,
            success=[value > 5.0 for value in fitness],
            lengths=[spec.environment.max_episode_steps] * len(fitness),
            recorded=recorded,
            video_note="a scripted sandbox films nothing" if spec.video else "",
            seconds=1e-3,
            versions=VERSIONS,
        )
        blobs = _recording(spec, recorded) if recorded else {}
        return Finished(result, blobs | ({"frames.jpg": _grey(*spec.sheet.size)} if spec.sheet else {}), 0.0)


def _grey(width: int, height: int) -> bytes:
    """A grey JPEG of so many pixels, sides in whole blocks of 8; each block is two zero bits: as the last, and flat."""

    def segment(marker: int, payload: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload

    one_code = b"\x01" + bytes(15) + b"\x00"  # one symbol, 0, which is one bit long
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xDB, b"\x00" + b"\x01" * 64),
            segment(0xC4, b"\x00" + one_code + b"\x10" + one_code),
            segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"),
            segment(0xDA, b"\x01\x01\x00\x00\x3f\x00"),
            bytes(width // 8 * height // 8 // 4),
            b"\xff\xd9",
        )
    )


def _values(job: Job, value: float) -> dict[str, bytes]:
    """The total and the one component on every transition: noise about `value`, the same for the same bank."""
    from safetensors.numpy import save

    noise = np.random.default_rng(0).standard_normal(bank_transitions(job.files[BANK_FILE]))
    row = (value + noise).astype(np.float32)
    return {VALUES_FILE: save({VALUES: np.stack([row, row])})}


def _recording(spec: ScoreSpec, positions: list[int]) -> dict[str, bytes]:
    """Episodes of a few steps, normal noise in every state variable; they follow from the reset seed."""
    from eureka_evaluation.episode import Episode
    from eureka_evaluation.recording import save_episodes

    def episode(seed: int) -> Episode:
        rng = np.random.default_rng(seed)
        state = {
            name: rng.standard_normal((RECORDED_STEPS + 1, *shape)).astype(np.float32)
            for name, shape in variable_shapes(spec.environment).items()
        }
        still = np.zeros((RECORDED_STEPS + 1, 1))
        return Episode(still, still, state["actions"][1:], state, terminated=False, dt=0.01)

    return {"episodes.npz": save_episodes({i: episode(spec.seeds[i]) for i in positions})}


def _script(reward: bytes) -> dict[str, str]:
    match = DIRECTIVE.search(reward.decode("utf-8", "replace"))
    return dict(pair.split("=", 1) for pair in match[1].split()) if match else {}


def _verdict(script: Mapping[str, str]) -> Verdict | None:
    return Verdict(script["verdict"].replace("_", " ")) if "verdict" in script else None


def _failed(verdict: Verdict, seconds: float) -> Failed:
    return Failed(Failure(verdict=verdict, message="scripted", file="reward.py", line=1), seconds)


def _unit(text: bytes) -> float:
    """A number in [0, 1) that follows from the text."""
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
