"""`eureka bench`: strategies side by side at one budget of environment steps, with the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

    from eureka_agent.contract.task import Task
    from eureka_agent.runs.run import Run
    from eureka_agent.search.benching import Bench
    from eureka_agent.terminal.watcher import Watcher


def bench(
    tasks: Annotated[list[str], typer.Argument(metavar="TASK…", help="Shipped tasks' names, or task folders.")],
    strategies: Annotated[
        str, typer.Option(metavar="A,B,…", help="Strategies; zero_shot and the offline search are always beside them.")
    ] = "incumbent,eureka,islands,map_elites,zero_shot",
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Who writes the rewards (offline); as for `eureka evolve`.")
    ] = "offline",
    population: Annotated[
        int, typer.Option("--population", "-p", metavar="K", min=1, max=1000, help="Candidates per generation.")
    ] = 8,
    generations: Annotated[
        int,
        typer.Option("--generations", "-g", metavar="N", min=1, max=500, help="K × N whole trainings are the budget."),
    ] = 5,
    timesteps: Annotated[
        int | None, typer.Option(metavar="STEPS", min=1, help="Environment steps per training (the task's).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="STEPS", min=1, help="Budget of each search, instead of K × N trainings.")
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="R", min=1, max=1000, help="Searches of each, other seeds.")] = 3,
    final_seeds: Annotated[
        int | None, typer.Option(metavar="F", min=1, max=100, help="Fresh trainings per winner (3).")
    ] = None,
    racing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="halving, hyperband or none, for all (halving; none for eureka and zero_shot)."
        ),
    ] = None,
    contest_seeds: Annotated[
        int | None, typer.Option(metavar="S", min=1, help="Trainings of a contender, for all (3; 1 for those two).")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="J", min=1, max=1024, help="Trainings side by side.")
    ] = None,
    sandbox: Annotated[str | None, typer.Option(metavar="NAME", help="docker, embedded, none or auto (auto).")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where it is kept; one that is there goes on.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare strategies at equal environment steps: fitness on fresh seeds with intervals, steps, time."""
    from eureka_agent.cli.common import must_be_writable, progress_console, result_console
    from eureka_agent.cli.sandboxes import chosen_sandbox
    from eureka_agent.contract.task import load_task
    from eureka_agent.search.bench_results import results
    from eureka_agent.search.benching import keep_plan, run_bench

    flags: dict[str, Any] = {
        "timesteps": timesteps,
        "final_seeds": final_seeds,
        "racing": racing,
        "contest_seeds": contest_seeds,
    }
    loaded = {name: load_task(name) for name in dict.fromkeys(tasks)}
    given = {name: value for name, value in flags.items() if value is not None}
    plan = _plan(loaded, strategies.split(","), model, (repeats, population, generations, steps), given)
    machine = {name: value for name, value in {"jobs": jobs, "sandbox": sandbox}.items() if value is not None}
    console = progress_console()
    _say_estimate(plan, loaded, machine, result_console() if dry_run else console)
    if dry_run:
        return
    root = (output or _new_folder()).absolute()
    must_be_writable(root)
    keep_plan(root, plan)
    _say_how_to_continue(root)
    watching = _watching(console)
    run_bench(root, plan, loaded, lambda settings: chosen_sandbox(settings.sandbox), watching, machine)
    _show(root, plan, results(root, plan, loaded), as_json)


def _plan(
    tasks: Mapping[str, Task],
    strategies: list[str],
    model: str,
    sizes: tuple[int, int, int, int | None],
    given: dict[str, Any],
) -> Bench:
    """What to compare, checked before anything is run."""
    from eureka_agent.cli.evolve import build_settings
    from eureka_agent.errors import UsageError
    from eureka_agent.proposers import absolute_model, check_keys, make_proposer
    from eureka_agent.search.benching import Bench, contestants
    from eureka_agent.strategies import STRATEGIES

    for name in strategies:
        if name not in STRATEGIES:
            raise UsageError(f"--strategies: unknown strategy {name!r}; there is {', '.join(STRATEGIES)}")
    model = absolute_model(model)
    build_settings({"model": model, **given})
    repeats, population, generations, steps = sizes
    plan = Bench(
        tasks=tuple(tasks),
        contestants=contestants(strategies, model),
        repeats=repeats,
        population=population,
        generations=generations,
        steps=steps,
        settings=given,
    )
    for name, contestant, _ in plan.searches():
        settings = plan.settings_of(tasks[name], contestant, 0)
        make_proposer(settings.model, tasks[name], settings=settings)
        check_keys(settings, tasks[name])
    return plan


def _say_estimate(plan: Bench, tasks: Mapping[str, Task], machine: dict[str, Any], console: Console) -> None:
    from eureka_agent.search.bench_results import in_searches
    from eureka_agent.search.estimate import cached_price, planned, within_steps
    from eureka_agent.settings import Recipe
    from eureka_agent.text import count, duration

    steps, seconds, searches = 0, 0.0, list(plan.searches())
    for name, contestant, repeat in searches:
        settings = plan.settings_of(tasks[name], contestant, repeat).model_copy(update=machine)
        likely, recipe = within_steps(tasks[name], settings), Recipe.of(tasks[name], settings)
        steps += planned(likely, recipe, likely.generations).steps
        known = cached_price(tasks[name], settings)
        seconds += known.seconds if known else float("nan")
    time = f"about {duration(seconds)}" if seconds == seconds else "time is known once the task has been trained here"
    kinds = ", ".join(contestant.name for contestant in plan.contestants)
    console.print(
        f"{in_searches(len(searches))} ({kinds}), about {count(steps)} "
        f"environment steps with the last comparisons, {time}",
        soft_wrap=True,
    )


def _new_folder() -> Path:
    import time

    from eureka_agent.cli.common import RUNS

    return RUNS / "bench" / time.strftime("%Y%m%d-%H%M%S")


def _say_how_to_continue(root: Path) -> None:
    from eureka_agent.cli.interrupts import last_words
    from eureka_agent.text import command

    last_words(
        "interrupted; all that had finished is saved, continue with the same command and "
        + command(["--output", str(root)])
    )


def _watching(console: Console) -> Any:
    """Shows each search as `eureka evolve` does, under a line that says which it is."""
    from contextlib import contextmanager

    from eureka_agent.search.estimate import cached_price
    from eureka_agent.terminal.display import watching

    @contextmanager
    def shown(run: Run, title: str) -> Iterator[Watcher]:
        console.print(title, style="bold", soft_wrap=True)
        known = cached_price(run.task, run.settings, run.generations)
        with watching(run, console, known.seconds if known else None) as watcher:
            yield watcher

    return shown


def _show(root: Path, plan: Bench, rows: list[Any], as_json: bool) -> None:
    """Write bench.json and bench.md, and print the tables."""
    import json

    from eureka_agent.cli.common import print_json, result_console
    from eureka_agent.runs.storage import storage_errors, write_file
    from eureka_agent.search.bench_results import HEADINGS, cells, markdown, remarks

    data = {"plan": plan.model_dump(mode="json"), "rows": [row.model_dump(mode="json") for row in rows]}
    with storage_errors(root, "choose another folder with --output"):
        write_file(root / "bench.json", json.dumps(data, indent=1).encode())
        write_file(root / "bench.md", markdown(plan, rows).encode())
    if as_json:
        print_json({"folder": str(root), **data})
        return
    from rich.table import Table

    console = result_console()
    for name in plan.tasks:
        console.print(name, style="bold")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            if row.task == name:
                table.add_row(*cells(row))
        console.print(table)
        console.print()
    for remark in remarks(plan, rows):
        console.print(remark, style="dim", soft_wrap=True)
    console.print(f"bench {root}", soft_wrap=True)
