"""Who runs a job, and how it can end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Literal, Protocol

from pydantic import Field

from eureka_sandbox.protocol.results import Progress, ScoreResult, SmokeResult, TrainingCheckpoint, TrainResult
from eureka_sandbox.protocol.specs import Boundary, Job


class Verdict(StrEnum):
    """Why a candidate failed."""

    CODE_ERROR = "code error"
    """The reward could not be loaded, or breaks the contract on the first batch."""
    RUNTIME_ERROR = "run-time error"
    """The reward raised, or returned something invalid, during training."""
    TIME = "time"
    MEMORY = "memory"
    OUTPUT = "output limit"
    POLICY_VIOLATION = "policy violation"
    BAD_RESULT = "bad result"
    """The box ended without a complete, valid result."""


class Failure(Boundary):
    """A candidate's failure: a state with a verdict, never a fake score."""

    verdict: Verdict
    message: str = Field(max_length=1000)
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f" ({self.file}:{self.line})" if self.file and self.line else ""
        return f"{self.verdict}: {self.message}{where}"


@dataclass(frozen=True)
class Finished:
    """A complete, validated result."""

    result: TrainResult | ScoreResult | SmokeResult
    blobs: Mapping[str, bytes]
    seconds: float
    """Wall time from the start of the box to its exit; what boxes import together is not in it."""


@dataclass(frozen=True)
class Failed:
    """The job's own code failed; the sandbox worked."""

    failure: Failure
    seconds: float
    killed: bool = False
    """Something ended the box by SIGKILL or SIGTERM that was not the sandbox. It may have been the job itself, so the
    failure stands unless another box does better."""


Outcome = Finished | Failed


class SandboxError(Exception):
    """The sandbox itself failed (cannot spawn, cannot write its job folder): retried, never charged to a candidate."""


class JobStopped(Exception):
    """The host asked for the stop; nothing is known about the candidate."""


Report = Progress | TrainingCheckpoint
"""What a box tells before its result."""


class Wall(Boundary):
    """What stands between a box and the machine, as the self-test found it; shown at the start and in the report."""

    backend: Literal["docker", "embedded", "none", "scripted"]
    tier: str
    """One line: what holds the box."""
    covers: tuple[str, ...]
    """What was probed and held, one short phrase each."""
    gaps: tuple[str, ...]
    """What this tier does not cover, one short phrase each."""
    contained: int = Field(ge=0)
    """Canary probes that were stopped; all of `probes`, or the run refuses to start."""
    probes: int = Field(ge=0)
    controls: int = Field(ge=0)
    """Positive controls that succeeded: things that a box must be able to do."""
    image: str = ""
    """Digest of the container image."""
    seconds: float = Field(ge=0)
    """What the self-test took."""


class Sandbox(Protocol):
    """Runs one job in a fresh box and destroys the box."""

    name: str

    def check(self, private: Sequence[Path] = ()) -> Wall:
        """Prove the wall with canary probes and positive controls, before any candidate runs.

        Args:
            private: folders that no box may see (the run's), besides the home, the working and the temporary folder.

        Raises:
            SandboxError: something leaked (says what), or the box cannot do what it must.
        """
        ...

    def run(self, job: Job, on_progress: Callable[[Report], None], stop: Event) -> Outcome:
        """Block until the box has ended.

        Args:
            job: what to do.
            on_progress: called from this thread for each valid progress frame (at most 10 per second), and for each
                checkpoint of a training that was asked for them.
            stop: when set, the box is killed within a second.

        Raises:
            SandboxError: the box could not be started or was lost through no fault of the job's code.
            JobStopped: `stop` was set.
        """
        ...
