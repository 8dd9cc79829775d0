"""What comes out of a box that did its work, as values. All of it is untrusted until `backends` has checked it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import FailFast, Field

from eureka_sandbox.hyperparameters import MOST_WIDTH
from eureka_sandbox.protocol.specs import COMPONENT_NAME, CURVE_NAME, FINGERPRINT_SIZE, Boundary


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
    curves: dict[str, Annotated[list[float | None], FailFast()]]
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
    """Of PPO's optimiser, or of the critics'."""
    actor_steps: Count = 0
    episodes: Count = 0
    """SB3's `_episode_num`, by which SAC and TD3 log."""
    replay_position: Count = 0
    """Where the replay buffer's next row goes."""
    replay_dropped: Count = 0
    """Rows of the replay buffer, the oldest, that a checkpoint had no room for."""
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
    recorded: list[int] = Field(default_factory=list)
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
    """Whether a second pass over the same transitions, in another order, gave the same totals within rounding."""
    seconds_per_step: float
    """Wall time of one call divided by its batch."""
    fingerprint: list[float] = Field(max_length=FINGERPRINT_SIZE)
    """Totals on evenly spread transitions that all banks of a run share, and on as many states far from them: equal
    rewards have equal fingerprints."""
    seconds: float
    versions: dict[str, str]


Width = Annotated[int, Field(gt=0, le=MOST_WIDTH)]


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
