"""`eureka verify`: measure every score of a run again, and say whether anything in it has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from eureka_agent.runs.verify import Verification
    from eureka_agent.runs.verify_records import Records
    from eureka_sandbox.protocol import Sandbox, Wall


def verify(
    run: Annotated[str, typer.Argument(help="Run folder, task name (its latest run) or 'latest'.")],
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Boxes side by side (one per core).")] = None,
    sandbox: Annotated[
        str | None, typer.Option("--sandbox", help="docker, embedded or none (what the run was scored in).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure every score of a run again from its stored policy and seeds; fails if anything differs.

    Bit for bit on the same machine, within a tolerance elsewhere. Also checks bindings, blobs, task, code and contests.
    """
    import threading
    from functools import partial

    from eureka_agent.cli.common import ChecksFailed, named_run, print_json, progress_console
    from eureka_agent.lab.boxes import affordable_jobs
    from eureka_agent.lab.machine import available_memory_mb
    from eureka_agent.runs.run import Run
    from eureka_agent.runs.verify import verify as measure_again
    from eureka_agent.runs.verify_records import Records

    console = progress_console()
    side_by_side = affordable_jobs(jobs)
    with Run.open(named_run(run), read_only=True) as opened:
        memory_mb = min(opened.settings.memory_mb, int(available_memory_mb() / side_by_side))
        records = Records(opened)
        box, wall = _sandbox(records, sandbox)
        console.print(f"sandbox: {wall.backend} ({wall.tier})", soft_wrap=True)
        tell = partial(console.print, soft_wrap=True)
        found = measure_again(records, box, side_by_side, memory_mb, tell, threading.Event(), wall)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found)
    if found.mismatches:
        raise ChecksFailed(f"{opened.folder}: {_counted(found)}, the first: {found.mismatches[0]}")


def _sandbox(records: Records, name: str | None) -> tuple[Sandbox, Wall]:
    """The backend that was asked for, else the one that most scores came from, else the run's setting; and its wall.

    What a run says of itself never takes the wall away: it may be somebody else's, and its task.py is code.
    """
    from eureka_agent.cli.sandboxes import chosen_sandbox, typed
    from eureka_agent.errors import EnvironmentMissing
    from eureka_agent.runs.verify import usual_backend
    from eureka_sandbox.protocol import SandboxError

    usual = usual_backend(records) or records.run.settings.sandbox
    sandbox = chosen_sandbox(name or typed(usual, f"{records.run.folder} was scored"))
    try:
        return sandbox, sandbox.check([records.run.folder])
    except SandboxError as error:
        raise EnvironmentMissing(str(error)) from error


def _print(found: Verification) -> None:
    from eureka_agent.cli.common import result_console
    from eureka_agent.text import plural

    console = result_console()
    for mismatch in found.mismatches:
        console.print(str(mismatch), soft_wrap=True)
    for note in found.notes:
        console.print(note, soft_wrap=True)
    scores, episodes = plural(found.scores, "score"), plural(found.episodes, "episode")
    tolerated = f", {found.tolerated} within the tolerance for another machine" if found.tolerated else ""
    console.print(
        f"{scores} of {episodes} measured again: {found.exact} equal to the last bit{tolerated}", soft_wrap=True
    )
    if found.unbound:
        console.print(f"{plural(found.unbound, 'score')} without a binding (of an earlier version)")
    records = f"{plural(found.candidates, 'candidate')}, {plural(found.blobs, 'blob')}, task, comparison and journal"
    state = _counted(found) if found.mismatches else "everything is as it was stored"
    console.print(f"{records} read: {state}", soft_wrap=True)


def _counted(found: Verification) -> str:
    count = len(found.mismatches)
    return "1 value is not what it should be" if count == 1 else f"{count} values are not what they should be"
