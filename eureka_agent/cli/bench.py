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
    from eureka_agent.search.bench_caps import Caps
    from eureka_agent.search.benching import Bench
    from eureka_agent.terminal.watcher import Watcher


Tasks = Annotated[list[str], typer.Argument(metavar="TASK…", help="Shipped tasks' names, or task folders.")]
Strategies = Annotated[
    str, typer.Option(metavar="A,B,…", help="Strategies; zero_shot and the offline search are always beside them.")
]
Model = Annotated[str, typer.Option(metavar="NAME", help="Who writes the rewards (offline); as for `eureka evolve`.")]
Population = Annotated[
    int, typer.Option("--population", "-p", metavar="K", min=1, max=1000, help="Candidates per generation.")
]
Generations = Annotated[
    int,
    typer.Option("--generations", "-g", metavar="N", min=1, max=500, help="K × N whole trainings are the budget."),
]
Timesteps = Annotated[
    int | None, typer.Option(metavar="STEPS", min=1, help="Environment steps per training (the task's).")
]
Steps = Annotated[
    int | None, typer.Option(metavar="STEPS", min=1, help="Budget of each search, instead of K × N trainings.")
]
Repeats = Annotated[int, typer.Option(metavar="R", min=1, max=1000, help="Searches of each, other seeds.")]
FinalSeeds = Annotated[int | None, typer.Option(metavar="F", min=1, max=100, help="Fresh trainings per winner (3).")]
Racing = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="halving, hyperband or none, for all (halving; none for eureka, islands, zero_shot)."
    ),
]
ContestSeeds = Annotated[
    int | None, typer.Option(metavar="S", min=1, help="Trainings of a contender, for all (3; 1 for those three).")
]
Prescreen = Annotated[
    bool, typer.Option("--prescreen", help="The first strategy again, with prescreening, as one more to compare.")
]
Tune = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1000, help="Again, with N tuned candidates per generation.")
]
WarmStart = Annotated[
    bool, typer.Option("--warm-start", help="Again, with trainings that begin with the parent's policy.")
]
MaxCost = Annotated[
    float | None, typer.Option(metavar="USD", min=0.0, help="Dollars that all searches together may cost.")
]
MaxCostPerHour = Annotated[
    float | None,
    typer.Option(metavar="USD", min=0.0, help="Dollars that each search may cost within any hour; then it waits."),
]
MaxTokens = Annotated[int | None, typer.Option(metavar="N", min=1, help="Tokens that they may use, input and output.")]
MaxCalls = Annotated[int | None, typer.Option(metavar="N", min=1, help="Calls to models that they may make.")]
Jobs = Annotated[int | None, typer.Option("--jobs", "-j", metavar="J", min=1, max=1024, help="Trainings side by side.")]
SandboxName = Annotated[str | None, typer.Option(metavar="NAME", help="docker, embedded, none or auto (auto).")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where it is kept; one that is there goes on.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def bench(
    tasks: Tasks,
    strategies: Strategies = "incumbent,eureka,islands,map_elites,zero_shot",
    model: Model = "offline",
    population: Population = 8,
    generations: Generations = 5,
    timesteps: Timesteps = None,
    steps: Steps = None,
    repeats: Repeats = 3,
    final_seeds: FinalSeeds = None,
    racing: Racing = None,
    contest_seeds: ContestSeeds = None,
    prescreen: Prescreen = False,
    tune: Tune = None,
    warm_start: WarmStart = False,
    max_cost: MaxCost = None,
    max_cost_per_hour: MaxCostPerHour = None,
    max_tokens: MaxTokens = None,
    max_calls: MaxCalls = None,
    jobs: Jobs = None,
    sandbox: SandboxName = None,
    output: Output = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compare strategies at equal environment steps: fitness on fresh seeds with intervals, steps, time."""
    from eureka_agent.cli.common import must_be_writable, progress_console, result_console
    from eureka_agent.contract.task import load_task
    from eureka_agent.search.bench_caps import Caps
    from eureka_agent.search.benching import keep_plan

    given = _given(timesteps=timesteps, final_seeds=final_seeds, racing=racing, contest_seeds=contest_seeds)
    loaded = {name: load_task(name) for name in dict.fromkeys(tasks)}
    caps = Caps(max_cost, max_tokens, max_calls)
    options = _given(prescreen=prescreen or None, tune=tune, warm_start=warm_start or None)
    money = _given(max_cost_per_hour=max_cost_per_hour, **caps.given)
    plan = _plan(
        loaded, (strategies.split(","), options), model, (repeats, population, generations, steps), given, money
    )
    machine = _given(jobs=jobs, sandbox=sandbox, max_cost_per_hour=max_cost_per_hour)
    console = progress_console()
    _say_estimate(plan, loaded, machine, result_console() if dry_run else console)
    if dry_run:
        return
    root = (output or _new_folder()).absolute()
    must_be_writable(root)
    keep_plan(root, plan)
    _say_how_to_continue(root)
    _run(root, plan, loaded, machine, caps, as_json, console)


def _given(**flags: Any) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _run(
    root: Path,
    plan: Bench,
    tasks: Mapping[str, Task],
    machine: dict[str, Any],
    caps: Caps,
    as_json: bool,
    console: Console,
) -> None:
    """Run what is missing, and show what has ended, if need be without the searches that money did not last for."""
    from eureka_agent.cli.sandboxes import chosen_sandbox
    from eureka_agent.errors import BudgetExhausted
    from eureka_agent.search.bench_results import results
    from eureka_agent.search.benching import run_bench

    watching = _watching(console)
    try:
        run_bench(root, plan, tasks, lambda settings: chosen_sandbox(settings.sandbox), watching, machine, caps)
    except BudgetExhausted:
        _show(root, plan, results(root, plan, tasks), as_json)
        raise
    _show(root, plan, results(root, plan, tasks), as_json)


def _plan(
    tasks: Mapping[str, Task],
    compared: tuple[list[str], dict[str, Any]],
    model: str,
    sizes: tuple[int, int, int, int | None],
    given: dict[str, Any],
    money: dict[str, float],
) -> Bench:
    """What to compare, checked before anything is run."""
    from eureka_agent.cli.common import build_settings
    from eureka_agent.errors import UsageError
    from eureka_agent.proposers import absolute_model, check_flags, check_keys, make_proposer
    from eureka_agent.search.benching import Bench, contestants
    from eureka_agent.search.stopping import check_budget
    from eureka_agent.search.tuning import check_tuning
    from eureka_agent.strategies import STRATEGIES

    strategies, options = compared
    for name in strategies:
        if name not in STRATEGIES:
            raise UsageError(f"--strategies: unknown strategy {name!r}; there is {', '.join(STRATEGIES)}")
    model = absolute_model(model)
    check_flags(model, money)
    build_settings({"model": model, **given, **options, **money})
    repeats, population, generations, steps = sizes
    folders = [Path(name).name for name in tasks]
    if twice := next((name for name in tasks if folders.count(Path(name).name) > 1), None):
        raise UsageError(
            f"{twice}: two of the tasks are called {Path(twice).name}; rename a folder, or bench them apart"
        )
    for name, task in tasks.items():
        if task.spec.fitness != "metric":
            raise UsageError(f"{name}: its fitness is {task.spec.fitness}; a bench compares by the metric")
    plan = Bench(
        tasks=tuple(tasks),
        contestants=contestants(strategies, model, options),
        repeats=repeats,
        population=population,
        generations=generations,
        steps=steps,
        settings=given,
    )
    for name, contestant, _ in plan.searches():
        settings = plan.settings_of(tasks[name], contestant, 0)
        make_proposer(settings.model, tasks[name], settings=settings)
        check_tuning(settings)
        check_keys(settings.model_copy(update=money), tasks[name])
        check_budget(tasks[name], settings)
    return plan


def _say_estimate(plan: Bench, tasks: Mapping[str, Task], machine: dict[str, Any], console: Console) -> None:
    from eureka_agent.search.bench_results import in_searches
    from eureka_agent.search.estimate import likely_price, llm_cost
    from eureka_agent.text import count, duration

    searches = list(plan.searches())
    likely = [
        likely_price(tasks[name], plan.settings_of(tasks[name], contestant, repeat).model_copy(update=machine))
        for name, contestant, repeat in searches
    ]
    steps, seconds = sum(one.steps for one in likely), sum(one.seconds for one in likely)
    costs = [one.dollars for one in likely]
    dollars = None if None in costs else sum(cost for cost in costs if cost is not None)
    cost = llm_cost(sum(one.calls for one in likely), sum(one.tokens for one in likely), dollars)
    time = f"about {duration(seconds)}" if seconds == seconds else "time is known once the task has been trained here"
    kinds = ", ".join(contestant.name for contestant in plan.contestants)
    console.print(
        f"{in_searches(len(searches))} ({kinds}), about {count(steps)} "
        f"environment steps with the last comparisons, {cost}, {time}",
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

    data = {"plan": plan.model_dump(mode="json"), "rows": [row.data() for row in rows]}
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
