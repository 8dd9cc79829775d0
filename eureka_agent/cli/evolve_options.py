"""The options of `eureka evolve`: their types, limits and help, in the order of `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

TaskName: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="TASK", help="A shipped task's name, or the path of a task folder.")
]
Population: TypeAlias = Annotated[
    int | None,
    typer.Option("--population", "-p", metavar="K", min=1, max=1000, help="Candidates per generation (8)."),
]
Generations: TypeAlias = Annotated[
    int | None, typer.Option("--generations", "-g", metavar="N", min=1, max=10_000, help="Generations (5).")
]
Racing: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How trainings are stopped early: halving, hyperband or none (halving; none for eureka, islands, "
        "zero_shot, as published).",
    ),
]
ContestSeeds: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="S",
        min=1,
        max=100,
        help="Trainings of whoever may lead; 1: the best score leads (3; 1 for those three).",
    ),
]
Strategy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Who the parents are: incumbent, eureka, islands, map_elites, zero_shot (incumbent)."
    ),
]
Target: TypeAlias = Annotated[
    float | None, typer.Option(metavar="FITNESS", help="Stop once the best candidate reaches this fitness.")
]
Patience: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Stop after N generations without a better candidate.")
]
Steps: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="STEPS", min=1, help="Environment steps that the search may take in all."),
]
Seed: TypeAlias = Annotated[
    int | None, typer.Option(metavar="S", min=0, max=2**32 - 1, help="Root of all training seeds (0).")
]
Model: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Who writes the rewards: offline (no LLM, no key), openai/NAME, anthropic/NAME, groq/NAME, …, "
        "mailbox:DIR, replay:RUN. Repeated, with weights if wanted (openai/a=2), several share the work.",
    ),
]
ModelsFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Addresses, prices and limits of models (eureka-agent/models.yaml)."),
]
BaseUrl: TypeAlias = Annotated[
    str | None, typer.Option(metavar="URL", help="Address of openai/ models: Ollama, vLLM, llama.cpp, LM Studio.")
]
Effort: TypeAlias = Annotated[
    str | None, typer.Option(metavar="WORD", help="Reasoning effort in the provider's word: low, medium, high, …")
]
MaxOutputTokens: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=256, help="Longest answer of a model, thinking included (16000).")
]
PromptTokens: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=2000, help="Longest prompt; what matters least is left out (24000).")
]
Critic: TypeAlias = Annotated[
    bool, typer.Option("--critic", help="Let a model review each reward against the task before it is trained.")
]
Analyst: TypeAlias = Annotated[
    bool, typer.Option("--analyst", help="Let a model comment on the findings about each generation's best two.")
]
VisionModel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Show frames of each generation's best two to a model that sees: openai/NAME, mailbox:DIR, …",
    ),
]
Prescreen: TypeAlias = Annotated[
    bool,
    typer.Option("--prescreen", help="Reject rewards that order recorded trajectories against the score."),
]
Tune: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, max=1000, help="N more candidates per generation: the best, other numbers (0)."),
]
WarmStart: TypeAlias = Annotated[
    bool, typer.Option("--warm-start", help="Begin the training of a candidate with its parent's policy.")
]
Prompts: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Your own prompt templates, in place of those of the same name.")
]
Timesteps: TypeAlias = Annotated[
    int | None, typer.Option(metavar="STEPS", min=1, help="Environment steps per training (the task's).")
]
Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option("--jobs", "-j", metavar="J", min=1, max=1024, help="Trainings side by side (one per core)."),
]
SandboxName: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The wall around rewards: docker, embedded, none or auto (auto)."),
]
Learner: TypeAlias = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who runs PPO's gradient steps: fused or sb3 (fused).")
]
Algorithm: TypeAlias = Annotated[str | None, typer.Option(metavar="NAME", help="ppo, sac or td3 (the task's).")]
FinalSeeds: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="F", min=1, max=100, help="Fresh trainings per arm of the last comparison (3)."),
]
Films: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=0, max=10_000, help="Candidates that are filmed for the report (40).")
]
Maps: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="X,Y", help="Draw rewards over these two state variables, too; may be repeated."),
]
TrainingTime: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="Stop a box that trains after this long (a generous estimate).")
]
MemoryMb: TypeAlias = Annotated[
    int | None, typer.Option(metavar="MB", min=64, help="Memory at which a single box is stopped (2560).")
]
MaxTime: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TIME", help="Stop after this long, the best saved: 90s, 15m, 2h.")
]
MaxCost: TypeAlias = Annotated[
    float | None, typer.Option(metavar="USD", min=0.0, help="Dollars that all calls to models may cost.")
]
MaxCostPerHour: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="USD", min=0.0, help="Dollars that they may cost within any hour; then the search waits."),
]
MaxTokens: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Tokens that they may use, input and output.")
]
MaxCalls: TypeAlias = Annotated[int | None, typer.Option(metavar="N", min=1, help="How many there may be.")]
OnUnknown: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="WORD", help="A call whose answer was lost: resend, skip or ask (resend)."),
]
SeedReward: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="A reward of your own for the first generation; may be repeated."),
]
Review: TypeAlias = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="With --resume: a review.json that the report saved.")
]
Interactive: TypeAlias = Annotated[
    bool, typer.Option("--interactive", help="Ask at the terminal for words after each generation.")
]
Live: TypeAlias = Annotated[
    bool, typer.Option("--live", help="Serve the report while it runs, to watch and to steer (this machine only).")
]
Output: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The run's folder (runs/<task>/<time>).")
]
Resume: TypeAlias = Annotated[
    str | None, typer.Option(metavar="RUN", help="Continue a run: its folder, its task's name, or latest.")
]
DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Only say what it would take: steps, time on this machine, cost.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
