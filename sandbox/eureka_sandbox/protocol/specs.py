"""What goes into a box: the job, its spec and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

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
    checkpoint comes first, if any are asked for. Schedules still span the total."""
    seed: Seed
    progress_seconds: float = 0.5
    """Least time between two progress frames."""
    checkpoint_seconds: float | None = Field(default=None, gt=0)
    """Least time between two checkpoint frames; None: no checkpoints. A job that holds the files of a checkpoint
    continues from it."""


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
