"""`eureka tasks`: what can be searched for, whether a task holds together, and how its anchors are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from eureka_agent.contract.task import Task

app = typer.Typer(no_args_is_help=True, help="List, show, check and measure tasks.")

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A shipped task's name, or the path of a task folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.command("list")
def list_tasks(as_json: AsJson = False) -> None:
    """List the shipped tasks with their metric and measured anchors."""
    from eureka_agent.cli.common import print_json, result_console
    from eureka_agent.contract.task import builtin_tasks, load_task

    tasks = [load_task(name) for name in builtin_tasks()]
    if as_json:
        print_json([_data(task) for task in tasks])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("task", no_wrap=True)
    table.add_column("metric")
    for heading in ("random", "human reward"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task in tasks:
        metric, anchors = task.spec.metric, task.anchors
        unit = "" if metric.unit in ("", "1") else f" ({metric.unit})"
        random, human = (_anchor(anchors.random), _anchor(anchors.human)) if anchors else ("–", "–")
        table.add_row(task.name, f"{metric.name}{unit}", random, human)
    result_console().print(table)


@app.command()
def show(task: TaskName, as_json: AsJson = False) -> None:
    """Show a task: description, metric, state variables that a reward may name, anchors."""
    from eureka_agent.cli.common import print_json, result_console
    from eureka_agent.contract.task import load_task

    loaded = load_task(task)
    if as_json:
        print_json(_data(loaded))
    else:
        _show(loaded, task, result_console())


def _show(task: Task, asked: str, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from eureka_agent.text import command, count

    spec, metric, training = task.spec, task.spec.metric, task.spec.training
    seconds = spec.environment.episode_steps * task.body.dt
    facts = [
        ("folder", str(task.folder)),
        ("body", f"{task.body.name}: {task.body.summary}"),
        ("episode", f"{spec.environment.episode_steps} steps of {task.body.dt:g} s, {seconds:g} s in all"),
        ("fitness", f"{metric.name} ({metric.unit}): {metric.meaning}"),
        ("success", metric.success),
        ("training", f"{training.algorithm}, {count(training.timesteps)} steps"),
        ("scoring", f"{spec.evaluation_episodes} episodes"),
    ]
    if task.anchors:
        anchors = task.anchors
        how = f"{len(anchors.seeds)} seeds × {anchors.episodes} episodes, {anchors.measured}"
        facts += [("human reward", f"{_anchor(anchors.human)} ({how})"), ("random policy", _anchor(anchors.random))]
    else:
        facts.append(("anchors", "not measured; " + command(["eureka", "tasks", "measure", asked])))
    console.print(Text(task.name, style="bold"), Text(spec.description.strip()), sep="\n", end="\n\n")
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(Text(name, style="dim"), Text(value))
    console.print(grid)
    table = Table(title="state variables", title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("name", no_wrap=True)
    for heading in ("shape", "unit", "frame", "meaning"):
        table.add_column(heading)
    for variable in task.variables:
        shape = "(" + ", ".join(["N", *map(str, variable.shape)]) + ")"
        cells = (variable.name, shape, variable.unit, variable.frame, variable.meaning)
        table.add_row(*map(Text, cells))
    console.print()
    console.print(table)


def _anchor(anchor: Any) -> str:
    from eureka_agent.text import interval, number

    return f"{number(anchor.mean)} {interval(anchor.low, anchor.high)}"


def _data(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "folder": str(task.folder),
        "digest": task.digest,
        **task.spec.model_dump(mode="json"),
        "variables": [variable.model_dump(mode="json") for variable in task.variables],
        "anchors": task.anchors.model_dump(mode="json") if task.anchors else None,
    }


@app.command()
def check(task: TaskName) -> None:
    """Check a task folder, then train and score its human reward briefly in the sandbox."""
    from eureka_agent.cli.checking import check_task

    check_task(task)


@app.command()
def measure(
    task: TaskName,
    seeds: Annotated[int, typer.Option(min=3, max=100, help="Trainings of the human reward.")] = 3,
    episodes: Annotated[int, typer.Option(min=30, max=1024, help="Scored episodes per training.")] = 30,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Trainings side by side.")] = None,
    learner: Annotated[str, typer.Option(help="fused or sb3.")] = "fused",
) -> None:
    """Measure a task's anchors: the human reward trained in full, and a random policy; writes anchors.yaml."""
    from eureka_agent.cli.measuring import measure_task

    measure_task(task, seeds, episodes, jobs, learner)
