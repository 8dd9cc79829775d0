"""What a person chooses for one run. Kept in the run's folder, so that a resumed run needs no flags."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from eureka_agent.contract.task import Task
from eureka_sandbox.protocol import Limits

SB3_GAMMA = 0.99
"""Discount of PPO, SAC and TD3 in Stable-Baselines3 unless a task names another."""


class Settings(BaseModel):
    """A run's settings; `None` means the task's own value or this machine's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    population: int = Field(default=8, ge=1, le=1000)
    """Candidates per generation, K."""
    generations: int = Field(default=5, ge=1, le=10_000)
    """Generations, N."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Root of every training seed and of the search's own choices; evaluation seeds never come from it."""
    strategy: Literal["incumbent", "eureka", "islands", "map_elites", "zero_shot"] = "incumbent"
    """Who the parents are, see `eureka_agent.strategies`."""
    target: float | None = None
    """Fitness of the incumbent at which the search is over."""
    patience: int | None = Field(default=None, ge=1)
    """Generations without a new incumbent after which the search is over."""
    steps: int | None = Field(default=None, gt=0)
    """Environment steps of the search's trainings, the last comparison's not included, after which it is over."""
    racing: Literal["halving", "hyperband", "none"] = "halving"
    """How trainings are stopped early: successive halving, hyperband's brackets of it, or not."""
    contest_seeds: int = Field(default=3, ge=1, le=100)
    """Trainings, the first included, that a contender and the incumbent get before one is preferred; 1: no contests."""
    prescreen: bool = False
    """Whether rewards that rank the recorded trajectories against their fitness are rejected before training."""
    tune: int = Field(default=0, ge=0, le=1000)
    """Candidates per generation, beside the population, that are the incumbent with other numbers (extra `tune`)."""
    warm_start: bool = False
    """Whether the training of a candidate with a parent begins with that parent's policy; never those of contests."""
    seed_rewards: tuple[str, ...] = ()
    """Code of rewards that a person gives to the first generation."""
    analyst: bool = False
    """Whether a language model comments on the findings, for the next prompt."""
    vision_model: str | None = None
    """Who looks at frames of trained policies: `openai/NAME`, `mailbox:DIR`, …; None: nobody."""
    model: str = "offline"
    """Who writes the rewards: `offline`, `scripted:DIR`, `openai/NAME`, …; several joined by commas, `NAME=WEIGHT`."""
    models_file: str | None = None
    """Absolute path of a YAML file with addresses, prices and limits of models."""
    base_url: str | None = Field(default=None, pattern="^https?://")
    """Address of all `openai/` models: Ollama, vLLM, llama.cpp, LM Studio or another server of OpenAI's chat."""
    effort: str | None = None
    """Reasoning effort, in the provider's word."""
    max_output_tokens: int = Field(default=16_000, ge=256)
    """Longest answer of one call, thinking included."""
    prompt_tokens: int = Field(default=24_000, ge=2_000)
    """Longest prompt, by a high estimate; what matters least is left out of a longer one."""
    max_cost: float | None = Field(default=None, gt=0)
    """US dollars that all calls of the run may cost."""
    max_cost_per_hour: float | None = Field(default=None, gt=0)
    """US dollars that they may cost within any hour; a call without room waits until there is some."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Input and output tokens that all calls of the run may use."""
    max_calls: int | None = Field(default=None, gt=0)
    """Calls to language models that the run may make."""
    on_unknown: Literal["resend", "skip", "ask"] = "resend"
    """What becomes of a call whose answer was lost after it was sent; it is booked at its worst cost either way."""
    critic: bool = False
    """Whether a language model reviews each reward against the task before it is trained."""
    sandbox: Literal["auto", "docker", "embedded", "none"] = "auto"
    """The wall around boxes; `auto` is Docker where its image has been built, else the embedded one."""
    prompts: str | None = None
    """Absolute path of a folder whose templates replace the shipped prompts of the same name."""
    timesteps: int | None = Field(default=None, gt=0)
    """Environment steps per training."""
    algorithm: Literal["ppo", "sac", "td3"] | None = None
    learner: Literal["fused", "sb3"] = "fused"
    """Who runs PPO's gradient steps; SAC and TD3 are always Stable-Baselines3's."""
    jobs: int | None = Field(default=None, ge=1, le=1024)
    """Trainings side by side; by default one per core."""
    final_seeds: int = Field(default=3, ge=1, le=100)
    """Fresh trainings per arm in the last comparison."""
    maps: tuple[str, ...] = ()
    """Pairs of state variables, `x,y`, over which rewards are drawn in the report, beside those that tell most."""
    films: int = Field(default=40, ge=0, le=10_000)
    """Candidates that are filmed at the end of those that were trained to their end; each takes about two seconds."""
    exhibits: bool = True
    """Whether policies are filmed, rewards mapped, and the final policies played in the task's held-out variations; a
    search of which only the figures count spares itself the time."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Wall time that the whole run may take, over all its sittings."""
    wall_seconds: float | None = Field(default=None, gt=0)
    """Wall time after which one training is stopped with the verdict `time`; by default a generous estimate."""
    memory_mb: int = Field(default=Limits().memory_mb, ge=64)
    """Memory at which one box is stopped with the verdict `memory`; less where the machine has less to share."""

    @classmethod
    def stored(cls, text: str) -> Settings:
        """As a run keeps them; a run of a version that neither raced nor contested goes on as it began."""
        return cls.model_validate({"racing": "none", "contest_seeds": 1, **json.loads(text)})

    def derived_seed(self, *labels: str | int) -> int:
        """A training or search seed: the first 32 bits of SHA-256 over `seed` and `labels`, joined by `/`.

        Labels in use: `train/<candidate>`, `contest/<number>`, `propose/<candidate>`, `final/<index>`, `bootstrap`,
        `model/<candidate>`, `tune/<generation>`, `prescreen/<candidate>`. The same labels give the same seed in every
        sitting and on every machine.
        """
        text = "/".join(str(part) for part in (self.seed, *labels))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class Recipe(BaseModel):
    """How every policy of a run is trained: the task's own recipe, with the run's settings over it."""

    model_config = ConfigDict(frozen=True)

    algorithm: Literal["ppo", "sac", "td3"]
    learner: Literal["fused", "sb3"]
    timesteps: int
    hyperparameters: dict[str, Any]

    @classmethod
    def of(cls, task: Task, settings: Settings) -> Recipe:
        """Settle the recipe; another algorithm than the task's starts from that algorithm's own defaults."""
        training = task.spec.training
        algorithm = settings.algorithm or training.algorithm
        return cls(
            algorithm=algorithm,
            learner=settings.learner if algorithm == "ppo" else "sb3",
            timesteps=settings.timesteps or training.timesteps,
            hyperparameters=training.hyperparameters if algorithm == training.algorithm else {},
        )

    @property
    def discount(self) -> float:
        """Gamma that policies are trained with."""
        return float(self.hyperparameters.get("gamma", SB3_GAMMA))
