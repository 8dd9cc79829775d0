"""`eureka evolve`: search for a reward, compare the best with the human reward, write the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from eureka_agent.cli.people import Hands
    from eureka_agent.runs.run import Run

BOUNDS_FLAGS = "--target, --patience or --steps"


def evolve(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="A shipped task's name, or the path of a task folder.")
    ] = None,
    population: Annotated[
        int | None,
        typer.Option("--population", "-p", metavar="K", min=1, max=1000, help="Candidates per generation (8)."),
    ] = None,
    generations: Annotated[
        int | None, typer.Option("--generations", "-g", metavar="N", min=1, max=10_000, help="Generations (5).")
    ] = None,
    racing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How trainings are stopped early: halving, hyperband or none (halving; none for eureka, islands, "
            "zero_shot, as published).",
        ),
    ] = None,
    contest_seeds: Annotated[
        int | None,
        typer.Option(
            metavar="S",
            min=1,
            max=100,
            help="Trainings of whoever may lead; 1: the best score leads (3; 1 for those three).",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Who the parents are: incumbent, eureka, islands, map_elites, zero_shot (incumbent)."
        ),
    ] = None,
    target: Annotated[
        float | None, typer.Option(metavar="FITNESS", help="Stop once the best candidate reaches this fitness.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after N generations without a better candidate.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="STEPS", min=1, help="Environment steps that the search may take in all."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="S", min=0, max=2**32 - 1, help="Root of all training seeds (0).")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Who writes the rewards: offline (no LLM, no key), openai/NAME, anthropic/NAME, groq/NAME, …, "
            "mailbox:DIR, replay:RUN. Repeated, with weights if wanted (openai/a=2), several share the work.",
        ),
    ] = None,
    models_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Addresses, prices and limits of models (eureka-agent/models.yaml)."),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of openai/ models: Ollama, vLLM, llama.cpp, LM Studio.")
    ] = None,
    effort: Annotated[
        str | None, typer.Option(metavar="WORD", help="Reasoning effort in the provider's word: low, medium, high, …")
    ] = None,
    max_output_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=256, help="Longest answer of a model, thinking included (16000).")
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=2000, help="Longest prompt; what matters least is left out (24000).")
    ] = None,
    critic: Annotated[
        bool, typer.Option("--critic", help="Let a model review each reward against the task before it is trained.")
    ] = False,
    analyst: Annotated[
        bool, typer.Option("--analyst", help="Let a model comment on the findings about each generation's best two.")
    ] = False,
    vision_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Show frames of each generation's best two to a model that sees: openai/NAME, mailbox:DIR, …",
        ),
    ] = None,
    prescreen: Annotated[
        bool,
        typer.Option("--prescreen", help="Reject rewards that order recorded trajectories against the score."),
    ] = False,
    tune: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, max=1000, help="N more candidates per generation: the best, other numbers (0)."
        ),
    ] = None,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Begin the training of a candidate with its parent's policy.")
    ] = False,
    prompts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your own prompt templates, in place of those of the same name.")
    ] = None,
    timesteps: Annotated[
        int | None, typer.Option(metavar="STEPS", min=1, help="Environment steps per training (the task's).")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", metavar="J", min=1, max=1024, help="Trainings side by side (one per core)."),
    ] = None,
    sandbox: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The wall around rewards: docker, embedded, none or auto (auto)."),
    ] = None,
    learner: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who runs PPO's gradient steps: fused or sb3 (fused).")
    ] = None,
    algorithm: Annotated[str | None, typer.Option(metavar="NAME", help="ppo, sac or td3 (the task's).")] = None,
    final_seeds: Annotated[
        int | None,
        typer.Option(metavar="F", min=1, max=100, help="Fresh trainings per arm of the last comparison (3)."),
    ] = None,
    films: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=10_000, help="Candidates that are filmed for the report (40).")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="X,Y", help="Draw rewards over these two state variables, too; may be repeated."),
    ] = None,
    training_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop a box that trains after this long (a generous estimate).")
    ] = None,
    memory_mb: Annotated[
        int | None, typer.Option(metavar="MB", min=64, help="Memory at which a single box is stopped (2560).")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after this long, the best saved: 90s, 15m, 2h.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="USD", min=0.0, help="Dollars that all calls to models may cost.")
    ] = None,
    max_cost_per_hour: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0.0, help="Dollars that they may cost within any hour; then the search waits."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tokens that they may use, input and output.")
    ] = None,
    max_calls: Annotated[int | None, typer.Option(metavar="N", min=1, help="How many there may be.")] = None,
    on_unknown: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="A call whose answer was lost: resend, skip or ask (resend)."),
    ] = None,
    seed_reward: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A reward of your own for the first generation; may be repeated."),
    ] = None,
    review: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="With --resume: a review.json that the report saved.")
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Ask at the terminal for words after each generation.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the report while it runs, to watch and to steer (this machine only).")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="The run's folder (runs/<task>/<time>).")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Continue a run: its folder, its task's name, or latest.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would take: steps, time on this machine, cost.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search for a reward function, and compare the best with the human reward on fresh seeds."""
    from eureka_agent.cli.common import progress_console, seconds_of
    from eureka_agent.cli.people import Hands
    from eureka_agent.errors import UsageError
    from eureka_agent.proposers import joined_models

    flags: dict[str, Any] = {
        "population": population,
        "generations": generations,
        "strategy": strategy,
        "racing": racing,
        "contest_seeds": contest_seeds,
        "target": target,
        "patience": patience,
        "steps": steps,
        "seed": seed,
        "model": joined_models(model) if model else None,
        "models_file": None if models_file is None else str(models_file.expanduser().resolve()),
        "base_url": base_url,
        "effort": effort,
        "max_output_tokens": max_output_tokens,
        "prompt_tokens": prompt_tokens,
        "critic": critic or None,
        "prescreen": prescreen or None,
        "tune": tune,
        "warm_start": warm_start or None,
        "analyst": analyst or None,
        "vision_model": vision_model,
        "max_cost": max_cost,
        "max_cost_per_hour": max_cost_per_hour,
        "max_tokens": max_tokens,
        "max_calls": max_calls,
        "on_unknown": on_unknown,
        "prompts": None if prompts is None else str(prompts.expanduser().resolve()),
        "timesteps": timesteps,
        "jobs": jobs,
        "sandbox": sandbox,
        "learner": learner,
        "algorithm": algorithm,
        "final_seeds": final_seeds,
        "films": films,
        "maps": tuple(map_) if map_ else None,
        "wall_seconds": None if training_time is None else seconds_of(training_time),
        "memory_mb": memory_mb,
        "max_seconds": None if max_time is None else seconds_of(max_time),
    }
    given = {name: value for name, value in flags.items() if value is not None}
    console = progress_console()
    hands = Hands(tuple(seed_reward or ()), tuple(review or ()), interactive, live)
    hands.check(resume is not None)
    if resume is not None:
        if task is not None or output is not None:
            raise UsageError("--resume takes task and folder from the run; leave out TASK and --output")
        _resume(resume, given, hands, dry_run, as_json, console)
    elif task is None:
        raise UsageError(
            "no task given; `eureka tasks list` shows the shipped ones, `eureka evolve ./FOLDER` runs yours"
        )
    else:
        _begin(task, given, hands, output, dry_run, as_json, console)


def _begin(
    name: str, given: dict[str, Any], hands: Hands, output: Path | None, dry_run: bool, as_json: bool, console: Console
) -> None:
    from eureka_agent.cli.common import RUNS, build_settings, must_be_writable
    from eureka_agent.cli.estimating import say_estimate, say_price
    from eureka_agent.cli.people import read_seeds, suited_to
    from eureka_agent.contract.task import load_task
    from eureka_agent.lab.boxes import affordable_jobs
    from eureka_agent.lab.maps import named_maps
    from eureka_agent.proposers import (
        check_flags,
        check_keys,
        default_model,
        make_judge,
        make_proposer,
        usual_settings,
        vision_name,
    )
    from eureka_agent.runs.run import Run, start_run
    from eureka_agent.search.stopping import check_budget
    from eureka_agent.search.tuning import check_tuning
    from eureka_agent.strategies import as_published

    task, chosen = load_task(name), default_model()
    model = given.get("model", chosen.name)
    if eyes := given.get("vision_model"):
        given["vision_model"] = eyes = vision_name(eyes, model)
    check_flags(model, given, eyes)
    usual = {**as_published(given.get("strategy", "")), **usual_settings(model)}
    settings = build_settings({"model": model, **usual, **given})
    settings = suited_to(task, settings, given)
    seeds = read_seeds(hands.seed_rewards, task, settings.population)
    settings = settings.model_copy(update={"seed_rewards": seeds} if seeds else {})
    settings = settings.model_copy(update={"maps": named_maps(task, settings.maps)})
    check_tuning(settings)
    check_budget(task, settings)
    make_proposer(settings.model, task, settings.prompts, settings=settings)  # must not leave a run behind if it fails
    make_judge(settings, task)
    if dry_run:
        say_price(task, settings, 0, as_json)
        return
    check_keys(settings, task)
    must_be_writable(output or RUNS / task.name)
    affordable_jobs(settings.jobs)
    if "model" not in given:
        console.print(chosen.reason, soft_wrap=True)
    begun = start_run(RUNS, task, settings) if output is None else Run.create(output, task, settings)
    with begun as run:
        _say_how_to_continue(run)
        say_estimate(task, settings, 0, console)
        _search(run, hands, as_json, console)


def _resume(name: str, given: dict[str, Any], hands: Hands, dry_run: bool, as_json: bool, console: Console) -> None:
    from eureka_agent.cli.common import build_settings, find_run
    from eureka_agent.cli.estimating import say_estimate, say_price
    from eureka_agent.cli.people import edits_in, let_go_on, send_reviews
    from eureka_agent.cli.sandboxes import typed
    from eureka_agent.errors import UsageError
    from eureka_agent.lab.maps import named_maps
    from eureka_agent.proposers import check_flags, check_settings
    from eureka_agent.runs.run import Run, amended
    from eureka_agent.search.stopping import check_budget

    with Run.open(find_run(name), read_only=dry_run) as run:
        _say_how_to_continue(run)
        check_flags(given.get("model", run.settings.model), given, run.settings.vision_model)
        given["maps"] = named_maps(run.task, (*run.settings.maps, *given.get("maps", ())))
        changes = {key: value for key, value in given.items() if value != getattr(run.settings, key)}
        done = run.generations
        if hands.reviews and "generations" not in changes and done >= run.settings.generations:
            changes["generations"] = done + 1  # else nobody would heed the review
        build_settings({**run.settings.model_dump(), **changes})  # names the flag of a value that cannot be
        settings = amended(run.settings, changes)
        if "sandbox" not in given:
            typed(settings.sandbox, f"{run.folder} was begun")
        check_settings(settings)
        if "steps" in changes:
            check_budget(run.task, settings)
        if dry_run:
            say_price(run.task, settings, done, as_json, edits_in(hands.reviews))
            return
        if hands.reviews and not changes and (end := run.end()):
            raise UsageError(
                f"the search has ended ({end.reason}); with other bounds ({BOUNDS_FLAGS}) it hears a review"
            )
        send_reviews(hands.reviews, run)
        let_go_on(run)
        if changes:
            run.amend(changes)
        if run.comparison():
            end = run.end()
            why = f" ({end.reason})" if end else ""
            further = f"-g {2 * done}" if done >= run.settings.generations else f"another bound ({BOUNDS_FLAGS})"
            console.print(f"{run.folder} has ended already{why}; {further} would search on", soft_wrap=True)
        else:
            console.print(f"continuing {run.folder}", soft_wrap=True)
            say_estimate(run.task, run.settings, done, console, edits_in(hands.reviews))
        _search(run, hands, as_json, console)


def _say_how_to_continue(run: Run) -> None:
    """An interrupt, whenever it comes from here on, ends with the command that continues."""
    from eureka_agent.cli.interrupts import last_words
    from eureka_agent.text import from_here, resuming

    again = resuming(from_here(run.folder), run.settings.sandbox)
    last_words(f"interrupted; all that had finished is saved, continue with: {again}")


def _search(run: Run, hands: Hands, as_json: bool, console: Console) -> None:
    from eureka_agent.cli.people import asking, served
    from eureka_agent.cli.result import print_result
    from eureka_agent.cli.sandboxes import chosen_sandbox
    from eureka_agent.errors import BudgetExhausted
    from eureka_agent.report.build import write_report
    from eureka_agent.search.estimate import cached_price, learn_from
    from eureka_agent.search.searching import search
    from eureka_agent.terminal.display import watching

    known = cached_price(run.task, run.settings, run.generations)
    try:
        with (
            served(run.folder, hands.live, console),
            watching(run, console, known.seconds if known else None, plain=hands.interactive) as watcher,
        ):
            ask = asking(console) if hands.interactive else None
            search(run, chosen_sandbox(run.settings.sandbox), watcher, ask)
    except BudgetExhausted:
        print_result(run, write_report(run), as_json)
        raise
    finally:
        learn_from(run)
    print_result(run, write_report(run), as_json)
