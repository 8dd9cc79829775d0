"""`eureka evolve`: search for a reward, compare the best with the human reward, write the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eureka_agent.cli import evolve_options as options

if TYPE_CHECKING:
    from rich.console import Console

    from eureka_agent.cli.people import Hands
    from eureka_agent.runs.run import Run

BOUNDS_FLAGS = "--target, --patience or --steps"


def evolve(
    task: options.TaskName = None,
    population: options.Population = None,
    generations: options.Generations = None,
    racing: options.Racing = None,
    contest_seeds: options.ContestSeeds = None,
    strategy: options.Strategy = None,
    target: options.Target = None,
    patience: options.Patience = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    model: options.Model = None,
    models_file: options.ModelsFile = None,
    base_url: options.BaseUrl = None,
    effort: options.Effort = None,
    max_output_tokens: options.MaxOutputTokens = None,
    prompt_tokens: options.PromptTokens = None,
    critic: options.Critic = False,
    analyst: options.Analyst = False,
    vision_model: options.VisionModel = None,
    prescreen: options.Prescreen = False,
    tune: options.Tune = None,
    warm_start: options.WarmStart = False,
    prompts: options.Prompts = None,
    timesteps: options.Timesteps = None,
    jobs: options.Jobs = None,
    sandbox: options.SandboxName = None,
    learner: options.Learner = None,
    algorithm: options.Algorithm = None,
    final_seeds: options.FinalSeeds = None,
    films: options.Films = None,
    map_: options.Maps = None,
    training_time: options.TrainingTime = None,
    memory_mb: options.MemoryMb = None,
    max_time: options.MaxTime = None,
    max_cost: options.MaxCost = None,
    max_cost_per_hour: options.MaxCostPerHour = None,
    max_tokens: options.MaxTokens = None,
    max_calls: options.MaxCalls = None,
    on_unknown: options.OnUnknown = None,
    seed_reward: options.SeedReward = None,
    review: options.Review = None,
    interactive: options.Interactive = False,
    live: options.Live = False,
    output: options.Output = None,
    resume: options.Resume = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
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
        print_result(run, as_json)
        raise
    finally:
        learn_from(run)
    print_result(run, as_json)
