"""The boundary: every type that crosses between the host and a box. Defined once, imported by both sides.

A *job* goes in (a spec as JSON plus named files); *frames* come out on the box's stdout: `HELLO`, `PROGRESS` and
`CHECKPOINT`…, then either `BLOB`… and `RESULT`, or `FAILURE`. Everything that comes out is untrusted and checked by
`backends` (frames, results, blob_check, checkpoint_check).
This module imports no torch, mujoco or gymnasium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]
VARIABLE_NAME = r"^[a-z][a-z0-9_]{0,63}$"
COMPONENT_NAME = r"^[a-z][a-z0-9_]{0,31}$"
CURVE_NAME = r"^[a-z]+/[a-z0-9_]{1,64}$"
MAX_COMPONENTS = 32
FINGERPRINT_SIZE = 256


class Boundary(BaseModel):
    """Base of all boundary types: immutable, exact keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# ---------------------------------------------------------------------------------------------------- what goes in


class VariableSpec(Boundary):
    """One named state variable as a reward function receives it: float32 `(N, *shape)`."""

    name: str = Field(pattern=VARIABLE_NAME)
    shape: tuple[int, ...] = ()
    """Shape per environment; `()` for a scalar."""
    unit: str
    """SI unit, `1` where dimensionless."""
    frame: str
    """`world`, `torso`, `joint`, …; `-` where no frame applies."""
    meaning: str
    """One sentence, sign convention included."""


class EnvironmentSpec(Boundary):
    """Which simulation a box builds."""

    body: str
    """A name in `eureka_sandbox.bodies.BODIES`."""
    max_episode_steps: int = Field(gt=0, le=100_000)
    """Control steps after which an episode is truncated."""
    derived: tuple[VariableSpec, ...] = ()
    """State variables that the task's `derive` adds to the body's own."""


class TrainSpec(Boundary):
    """Box A: train a policy on the reward in `reward.py` (absent: the environment's native reward)."""

    kind: Literal["train"] = "train"
    environment: EnvironmentSpec
    algorithm: Literal["ppo", "sac", "td3"] = "ppo"
    learner: Literal["fused", "sb3"] = "sb3"
    """Who runs the gradient steps: Stable-Baselines3 itself, or the compiled update with the same arithmetic (PPO)."""
    hyperparameters: dict[str, Any] = {}
    """rl-zoo style: `n_envs`, `normalize`, `policy_kwargs` and the algorithm's own keyword arguments."""
    total_timesteps: int = Field(gt=0)
    stop_at: int | None = Field(default=None, gt=0)
    """Environment steps after which, at the end of a rollout and its update, this box ends with what it has; a last
    checkpoint comes first, if any are asked for. Schedules still span the total. PPO only: others train to the end."""
    seed: Seed
    progress_seconds: float = 0.5
    """Least time between two progress frames."""
    checkpoint_seconds: float | None = Field(default=None, gt=0)
    """Least time between two checkpoint frames; None: no checkpoints. PPO only: the replay buffers of SAC and TD3 are
    too large, so their trainings start again. A job that holds the files of a checkpoint continues from it."""


class VideoSpec(Boundary):
    """Film one scored episode (the one of median fitness)."""

    width: int = Field(default=480, ge=64, le=1280)
    height: int = Field(default=360, ge=64, le=1280)
    seconds: float = Field(default=10.0, gt=0, le=60)
    """Longest film, in simulated time from the reset."""
    frames_per_second: int = Field(default=25, ge=1, le=60)


class SheetSpec(Boundary):
    """A contact sheet of one scored episode (the one of median fitness): evenly spaced frames in reading order, the
    first at the reset, the last at the end, each with its time. Sizes in pixels."""

    columns: int = Field(default=3, ge=1, le=3)
    rows: int = Field(default=3, ge=1, le=3)
    frame_width: int = Field(default=256, ge=64, le=256, multiple_of=2)
    frame_height: int = Field(default=192, ge=64, le=192, multiple_of=2)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole."""
        return self.columns * self.frame_width, self.rows * self.frame_height


class Variation(Boundary):
    """How a simulation differs from the one that was trained in; the defaults change nothing."""

    mass: float = Field(default=1.0, ge=0.1, le=10.0)
    """Factor on the mass and inertia of every body."""
    friction: float = Field(default=1.0, ge=0.05, le=20.0)
    """Factor on the friction of every contact."""
    damping: float = Field(default=1.0, ge=0.05, le=20.0)
    """Factor on joint damping, and on density and viscosity of the medium."""
    gravity: float = Field(default=1.0, ge=0.0, le=4.0)
    """Factor on gravity."""
    strength: float = Field(default=1.0, ge=0.05, le=5.0)
    """Factor on the torque or force of every actuator."""
    start: float = Field(default=1.0, ge=0.0, le=50.0)
    """Factor on how far start states are from the resting one; a target is drawn as always."""
    delay: int = Field(default=0, ge=0, le=50)
    """Control steps by which actions come late; zero actions until then."""
    observation_noise: float = Field(default=0.0, ge=0.0, le=10.0)
    """Standard deviation of normal noise on every entry of the observation, in its own unit (m, rad, m/s, rad/s)."""
    action_noise: float = Field(default=0.0, ge=0.0, le=1.0)
    """Standard deviation of normal noise on every action, as a share of half its range."""


class ScoreSpec(Boundary):
    """Box B: roll out `policy.safetensors` + `policy.json` (absent: play without learning), one episode per seed."""

    kind: Literal["score"] = "score"
    environment: EnvironmentSpec
    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=1024)
    """Reset seed of each episode, drawn by the host after training."""
    idle: bool = False
    """Without a policy: zero actions instead of uniform random ones."""
    record_episodes: int = Field(default=3, ge=0, le=16)
    """How many trajectories come back: worst, median and best first."""
    variation: Variation | None = None
    """None: the simulation that was trained in."""
    video: VideoSpec | None = None
    sheet: SheetSpec | None = None


class SmokeSpec(Boundary):
    """A box without a simulator: call the reward in `reward.py` on recorded transitions (`bank.safetensors`).

    The bank (see `eureka_sandbox.bank`) holds every state variable of the environment and the task.
    """

    kind: Literal["smoke"] = "smoke"
    environment: EnvironmentSpec
    batch: int = Field(default=64, ge=1, le=4096)
    """Transitions per call."""
    values: bool = False
    """Send `values.safetensors` back: what the reward gives on every transition."""
    probes: int = Field(default=0, ge=0, le=4096)
    """So many at the bank's end are made up, far out of range: what fails there is a fact and no failure, and they are
    left out of every statistic."""


Spec = Annotated[TrainSpec | ScoreSpec | SmokeSpec, Field(discriminator="kind")]


class Limits(Boundary):
    """What a box may use before it is stopped."""

    wall_seconds: float = Field(default=3600.0, gt=0)
    silence_seconds: float | None = Field(default=None, gt=0)
    """Longest time without a frame after HELLO; None: no limit."""
    memory_mb: int = Field(default=3072, ge=64)
    """Resident memory of the whole process tree."""
    result_mb: int = Field(default=48, ge=1)
    """All blobs together."""
    stderr_kb: int = Field(default=256, ge=1)


@dataclass(frozen=True)
class Job:
    """One unit of work for a box."""

    spec: TrainSpec | ScoreSpec | SmokeSpec
    files: Mapping[str, bytes] = field(default_factory=dict)
    """`reward.py` (never in box B), `task.py`, `policy.safetensors`, `policy.json`, `bank.safetensors`; for a training
    that goes on, the two files of `TrainingCheckpoint`; for one that begins with a policy, `WARM_WEIGHTS` and
    `WARM_META`."""
    limits: Limits = field(default_factory=Limits)
    warm_up: bool = False
    """A training without reward code whose compiled programs are kept for later boxes, see `backends.compile_cache`."""
    origin: str = ""
    """Whose work it is, `<run>/<candidate>`: a label on the box for people who look at the machine."""


# --------------------------------------------------------------------------------------------------- what comes out


class Progress(Boundary):
    """Where a training stands."""

    timesteps: int
    total_timesteps: int
    steps_per_second: float
    episode_return: float | None = None
    """Mean return of the last 100 episodes under the candidate's own reward."""
    episode_length: float | None = None


class TrainResult(Boundary):
    """Box A's answer. Blobs: `policy.safetensors`, `policy.json`."""

    timesteps: int
    seconds: float
    """Wall time of training alone, without imports."""
    startup_seconds: float
    """From process start to the first environment step."""
    peak_timesteps: int
    """When the exported checkpoint was taken: at the peak of the candidate's own smoothed return."""
    peak_return: float | None
    curves: dict[str, list[float | None]]
    """SB3's logger keys plus `reward/<component>` (mean episode sum), all as long as `time/total_timesteps`."""
    versions: dict[str, str]
    resumed_at: int = Field(default=0, ge=0)
    """Environment steps of the checkpoint that the training went on from; 0: it began at the beginning."""
    checkpoint_note: str = ""
    """Why the checkpoint among the job's files was not used, or why none was sent."""


Count = Annotated[int, Field(ge=0, lt=2**53)]


class CheckpointMeta(Boundary):
    """What a training that stopped halfway was, and the numbers and names that go with the checkpoint's arrays.

    The arrays are named in `checkpoint_arrays`. Only `timesteps`, `seconds` and `versions` mean something to the host.
    """

    format: Literal[1] = 1
    job: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the spec, the reward and the task: a checkpoint of anything else is not continued."""
    versions: dict[str, str] = Field(max_length=32)
    """Of everything whose change could change a number."""
    timesteps: int = Field(gt=0, lt=2**53)
    seconds: float = Field(ge=0)
    """Wall time of training so far, without imports, over all boxes."""
    updates: Count
    """SB3's `_n_updates`."""
    optimizer_steps: Count
    reward_calls: Count
    components: tuple[Annotated[str, Field(pattern=COMPONENT_NAME)], ...] = Field(max_length=32)
    """Columns of the arrays that are kept per reward component."""
    log: tuple[Annotated[str, Field(pattern=CURVE_NAME)], ...] = Field(max_length=256)
    """Logged since the last row of the curves."""
    curves: tuple[Annotated[str, Field(pattern=CURVE_NAME)], ...] = Field(max_length=256)
    """Columns of the curves so far."""
    curves_every: int = Field(gt=0, lt=2**53)
    curves_written: Count
    """Rows ever written, one per rollout."""
    curves_whole: bool
    """Whether the newest row is one that stays when rows are thinned out."""
    peak_timesteps: Count | None
    """When the best policy so far was copied; None while there is none."""
    peak_return: float | None


@dataclass(frozen=True)
class TrainingCheckpoint:
    """Everything that a training needs to go on as if it had never stopped. Goes back into box A of the same job."""

    meta: CheckpointMeta
    arrays: bytes
    """safetensors."""

    @property
    def files(self) -> dict[str, bytes]:
        """The two files of a job that continues from here."""
        return {CHECKPOINT_META: self.meta.model_dump_json().encode(), CHECKPOINT_ARRAYS: self.arrays}


CHECKPOINT_META, CHECKPOINT_ARRAYS = "checkpoint.json", "checkpoint.safetensors"
WARM_META, WARM_WEIGHTS = "warm.json", "warm.safetensors"
"""A policy as box A emits it, to begin with instead of random weights."""


class ScoreResult(Boundary):
    """Box B's answer. Blobs: `episodes.npz` (if any were recorded), `video.mp4` and a still of it, `poster.jpg` (if one
    was filmed), `frames.jpg` (if a contact sheet was asked for)."""

    fitness: list[float]
    """The task's own score, one per seed; higher is better."""
    success: list[bool]
    lengths: list[int]
    recorded: list[int] = []
    """Which seeds' episodes are in `episodes.npz`, by position."""
    video_note: str = ""
    """Why there is no video or contact sheet, if one was asked for and none could be made."""
    seconds: float
    versions: dict[str, str]


class TermStatistics(Boundary):
    """The total or one component over the bank's transitions."""

    mean: float
    std: float
    low: float
    high: float


class SmokeResult(Boundary):
    """What a reward does on recorded transitions. Blob: `values.safetensors`, if it was asked for.

    That file holds one array, `values`, float32 `(1 + components, T)`: the total, then every component in the order of
    `components`. Where a reward failed on a probe, all of the column is the largest float32.
    """

    transitions: int
    """Without probes."""
    total: TermStatistics
    components: dict[str, TermStatistics]
    sum_gap: float
    """Largest distance between the total and the sum of the components."""
    deterministic: bool
    """Whether a second pass over the same transitions gave the same totals."""
    seconds_per_step: float
    """Wall time of one call divided by its batch."""
    fingerprint: list[float] = Field(max_length=FINGERPRINT_SIZE)
    """Totals on evenly spread transitions that all banks of a run share, and on as many states far from them: equal
    rewards have equal fingerprints."""
    seconds: float
    versions: dict[str, str]


Width = Annotated[int, Field(gt=0, le=4096)]


class PolicyMeta(Boundary):
    """`policy.json`: everything needed to rebuild the policy around the arrays of `policy.safetensors`."""

    format: Literal[1] = 1
    algorithm: Literal["ppo", "sac", "td3"]
    observation_size: int = Field(gt=0, le=100_000)
    action_low: list[float] = Field(min_length=1, max_length=1024)
    action_high: list[float] = Field(min_length=1, max_length=1024)
    net_arch: dict[str, list[Width]]
    """Hidden widths: `pi`, and `vf` (PPO) or `qf` (SAC, TD3)."""
    activation: Literal["tanh", "relu", "elu"]
    normalise: bool
    """True if `normalizer.mean` and `normalizer.var` come with the weights."""
    clip_obs: float = Field(default=10.0, gt=0)
    """Normalised observations are clipped to ± this, as VecNormalize does."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to the variance, as VecNormalize does."""
    body: str
    timesteps: int = Field(ge=0)


BLOBS: dict[str, frozenset[str]] = {
    "train": frozenset({"policy.safetensors", "policy.json"}),
    "score": frozenset({"episodes.npz", "video.mp4", "poster.jpg", "frames.jpg"}),
    "smoke": frozenset({"values.safetensors"}),
}
"""Blob names that a job of each kind may emit."""


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
    """Wall time from spawn to exit."""


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

    def check(self) -> Wall:
        """Prove the wall with canary probes and positive controls, before any candidate runs.

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


# ---------------------------------------------------------------------------------------------------------- frames

FRAME_HEADER = ">cI"
"""One kind byte, then the payload's length in bytes (big endian)."""
PROGRESS_BYTES = 1024
CHECKPOINT_BYTES = 16 * 2**20
CHECKPOINT_META_BYTES = 2**16
RESULT_BYTES = 2**20
"""Curves of 400 rows × 40 columns at 26 bytes a number (sign, 17 digits, exponent, comma, blank) are 0.4 MiB."""


class FrameKind:
    """First byte of a frame."""

    HELLO = b"H"
    """JSON `{"pid": int}`: imports are done, the job was read."""
    PROGRESS = b"P"
    """JSON `Progress`, at most `PROGRESS_BYTES`."""
    CHECKPOINT = b"C"
    """JSON `CheckpointMeta`, one newline, safetensors: at most `CHECKPOINT_BYTES`. Each replaces the one before."""
    BLOB = b"B"
    """File name, one newline, the bytes."""
    RESULT = b"R"
    """JSON `TrainResult`, `ScoreResult` or `SmokeResult`, at most `RESULT_BYTES`; last frame."""
    FAILURE = b"F"
    """JSON `Failure`, at any point; last frame. Before `HELLO` it is the sandbox's failure, not the candidate's."""
