"""Strategies side by side at matched steps, with two writers of rewards; writes docs/strategies.md.

    .venv/bin/python evaluation/bench/strategies.py [--tasks hopper_forward] [--writers offline] [--max-minutes 60]

Every search is one of `eureka bench`: a run of its own that can be resumed, kept in a folder named by the sizes. What
became of one that has ended is a line of docs/strategies.jsonl, beside the page: it is not repeated, on whichever
machine, and other `--tasks`, `--writers`, `--strategies` and more `--repeats` add to them.
The writers are the offline search and `answers/<task>`, what a language model once wrote (see answers/README.md).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from machine import busy_cores, description, revision
from pydantic import BaseModel, ConfigDict, ValidationError
from strategies_page import KINDS, OFFLINE, SCRIPTED, WRITERS, Colophon, Tally, page, told

from eureka_agent.cli.common import progress_console
from eureka_agent.cli.sandboxes import chosen_sandbox
from eureka_agent.contract.task import Task, load_task
from eureka_agent.errors import EurekaError, UsageError
from eureka_agent.runs.journal import DATABASE
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import write_file
from eureka_agent.search.bench_results import Ended, Which, ended_searches, rows_of
from eureka_agent.search.benching import Bench, Contestant, is_over, run_bench, search_folder
from eureka_agent.search.contest import Incumbency
from eureka_agent.search.estimate import likely_price
from eureka_agent.settings import Settings
from eureka_agent.strategies import STRATEGIES
from eureka_agent.terminal.display import watching
from eureka_agent.terminal.watcher import Watcher
from eureka_agent.text import count, duration

REPOSITORY = Path(__file__).resolve().parents[2]
ANSWERS = Path(__file__).resolve().parent / "answers"
CACHE = Path.home() / ".cache" / "eureka-agent" / "bench" / "strategies"
TASKS = ("hopper_forward", "half_cheetah_backflip", "swimmer_forward", "reacher_reach")


class TimeIsUp(Exception):
    """No further search is to begin."""


class Kept(BaseModel):
    """A line of the record: one search that has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: str
    """See `sizes_of`: searches of others do not compare."""
    task: str
    contestant: str
    repeat: int
    ended: Ended
    tally: Tally
    sitting: Colophon
    """The one that kept it."""

    @property
    def which(self) -> Which:
        """What it is a search of."""
        return self.task, self.contestant, self.repeat


class Searches(Bench):
    """A bench with two writers; the scripted one has a folder of answers per task, for so many generations."""

    over: frozenset[Which] = frozenset()
    """Searches that are kept already, and not made again."""

    def searches(self) -> Iterator[tuple[str, Contestant, int]]:
        """Those that are not."""
        for task, contestant, repeat in super().searches():
            if (task, contestant.name, repeat) not in self.over:
                yield task, contestant, repeat

    def settings_of(self, task: Task, contestant: Contestant, repeat: int) -> Settings:
        """Those of one search. A script ends with its last generation, whatever is left of the steps."""
        if contestant.model != SCRIPTED:
            return super().settings_of(task, contestant, repeat)
        reader = contestant.model_copy(update={"model": f"{SCRIPTED}:{ANSWERS / task.name}"})
        return super().settings_of(task, reader, repeat).model_copy(update={"generations": self.generations})


def contestants(strategies: Sequence[str] | None, writers: Sequence[str]) -> tuple[Contestant, ...]:
    """Each strategy with each writer; unless some are asked for, a script gets one of each kind, see `KINDS`."""
    names = {OFFLINE: strategies or tuple(STRATEGIES), SCRIPTED: strategies or tuple(KINDS)}
    return tuple(
        Contestant(strategy=strategy, model=writer, name=f"{strategy}-{writer}")
        for writer in writers
        for strategy in names[writer]
    )


def plan(arguments: argparse.Namespace) -> Searches:
    """What the command line asks for."""
    return Searches(
        tasks=tuple(arguments.tasks),
        contestants=contestants(arguments.strategies, arguments.writers),
        repeats=arguments.repeats,
        population=arguments.population,
        generations=arguments.generations,
        steps=None,
        settings={"timesteps": arguments.timesteps, "final_seeds": arguments.final_seeds},
    )


def must_have_answers(bench: Bench) -> None:
    """See whether scripted searches will find all that they ask for.

    Raises:
        UsageError: they will not.
    """
    if all(contestant.model != SCRIPTED for contestant in bench.contestants):
        return
    names = [f"g{g}c{slot}.py" for g in range(bench.generations) for slot in range(bench.population)]
    for path in (ANSWERS / task / name for task in bench.tasks for name in names):
        if not path.is_file():
            raise UsageError(f"there is no {path}; smaller --generations and --population do, or --writers {OFFLINE}")


def sizes_of(bench: Bench) -> str:
    """`8x2x100000-2`: population, generations, steps per training, fresh trainings."""
    sizes = f"{bench.population}x{bench.generations}x{bench.settings['timesteps']}"
    return f"{sizes}-{bench.settings['final_seeds']}"


def record_of(page: Path) -> Path:
    """Where a page's searches are kept, a line each."""
    return page.with_suffix(".jsonl")


def kept(path: Path, sizes: str) -> dict[Which, Kept]:
    """Searches of these sizes in a record.

    Raises:
        UsageError: a line is none.
    """
    found = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            one = Kept.model_validate_json(line)
        except ValidationError as error:
            raise UsageError(f"{path}, line {number} is no search ({error.errors()[0]['msg']}); remove it") from error
        if one.sizes == sizes:
            found[one.which] = one
    return found


def keep(path: Path, root: Path, bench: Searches, sitting: Colophon) -> None:
    """Append whatever has ended in a folder and is not kept yet."""
    tallies, sizes = ended(root, bench), sizes_of(bench)
    for which, one in ended_searches(root, bench).items():
        task, contestant, repeat = which
        names = {"sizes": sizes, "task": task, "contestant": contestant, "repeat": repeat}
        line = Kept.model_validate({**names, "ended": one, "tally": tallies[which], "sitting": sitting})
        with path.open("a", encoding="utf-8") as file:
            file.write(line.model_dump_json() + "\n")


def tally(run: Run) -> Tally:
    """What became of a search's candidates, and how many trainings its contests took."""
    candidates = [c for c in run.population(curves=False).candidates if c.duplicate_of is None]
    contested: set[tuple[str, int]] = set()
    for generation in range(run.generations):
        known = run.decided(f"g{generation}/incumbent", Incumbency)
        for standing in known.standings if known else ():
            contested |= {(standing.id, number) for number in range(len(standing.later))}
    return Tally(
        whole=sum(c.fitness is not None and not c.stopped for c in candidates),
        stopped=sum(c.stopped for c in candidates),
        contests=len(contested),
    )


def ended(root: Path, bench: Bench) -> dict[Which, Tally]:
    """Of every search that is over, by task, contestant and repeat."""
    found = {}
    for task, contestant, repeat in bench.searches():
        folder = search_folder(root, task, contestant, repeat)
        if not (folder / DATABASE).is_file():
            continue
        with Run.open(folder, read_only=True) as run:
            if is_over(run):
                found[task, contestant.name, repeat] = tally(run)
    return found


class Sitting:
    """One sitting's clock: what is left, and when no further search begins."""

    def __init__(self, seconds: Sequence[float], max_minutes: float | None) -> None:
        """`seconds` that each missing search takes, by the estimate; not a number where that is not known."""
        self._expected = list(seconds)
        self._began = time.monotonic()
        self._until = math.inf if max_minutes is None else self._began + 60 * max_minutes
        self._begun = 0

    def estimate(self) -> str:
        """Time of what has not begun, by the estimate, stretched as those that have ended were."""
        ended, left = sum(self._expected[: self._begun]), sum(self._expected[self._begun :])
        stretch = (time.monotonic() - self._began) / ended if self._begun and ended > 0 else 1.0
        known = math.isfinite(left * stretch)
        return f"about {duration(left * stretch)} left" if known else "time is known once each task has been trained"

    @contextmanager
    def watching(self, run: Run, title: str) -> Iterator[Watcher]:
        """Show a search.

        Raises:
            TimeIsUp: it may not begin any more.
        """
        if time.monotonic() >= self._until:
            raise TimeIsUp
        console = progress_console()
        console.print(f"{title}; {self.estimate()}", style="bold", soft_wrap=True)
        self._begun += 1
        with watching(run, console) as watcher:
            yield watcher


def measure(root: Path, bench: Searches, arguments: argparse.Namespace) -> int:
    """Say what is missing and what it takes, run it and keep it; the exit status."""
    must_have_answers(bench)
    tasks = {name: load_task(name) for name in bench.tasks}
    todo, planned = list(bench.searches()), len(list(Bench.searches(bench)))
    likely = [likely_price(tasks[name], bench.settings_of(tasks[name], who, repeat)) for name, who, repeat in todo]
    sitting = Sitting([one.seconds for one in likely], arguments.max_minutes)
    steps = count(sum(one.steps for one in likely))
    print(f"{root}\n{len(todo)} of {planned} searches missing, {steps} steps, {sitting.estimate()}")
    if arguments.dry_run or not todo or arguments.max_minutes == 0:
        return 0
    if (busy := busy_cores()) > 0.2:
        print(f"warning: other processes keep {busy:.1f} cores busy; wall times will be worth little", file=sys.stderr)
    colophon = Colophon(time.strftime("%Y-%m-%d"), description(), revision(), round(busy, 1))
    machine = {"sandbox": arguments.sandbox}
    try:
        run_bench(root, bench, tasks, lambda settings: chosen_sandbox(settings.sandbox), sitting.watching, machine)
    except TimeIsUp:
        print(f"{arguments.max_minutes:g} minutes are over; what had ended is kept", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; what had finished is kept", file=sys.stderr)
        return 130
    finally:
        keep(record_of(arguments.page), root, bench, colophon)
    return 0


def everything(known: Collection[Which], arguments: argparse.Namespace) -> Searches:
    """What the page may show: all tasks and writers, usual strategies, and whatever else is kept."""
    usual = {contestant.name for contestant in contestants(None, WRITERS)}
    names = usual | {contestant for _, contestant, _ in known}
    who = tuple(contestant for contestant in contestants(tuple(STRATEGIES), WRITERS) if contestant.name in names)
    repeats = max([arguments.repeats, *(repeat + 1 for _, _, repeat in known)])
    bench = plan(argparse.Namespace(**vars(arguments) | {"tasks": TASKS}))
    return bench.model_copy(update={"contestants": who, "repeats": repeats})


def publish(arguments: argparse.Namespace) -> Path | None:
    """Write the page from whatever is kept; None: nothing is.

    Raises:
        UsageError: what is there tells of searches that are not kept.
    """
    known = kept(record_of(arguments.page), sizes_of(plan(arguments)))
    tallies: dict[tuple[str, str], list[Tally]] = {}
    for one in known.values():
        tallies.setdefault((one.task, one.contestant), []).append(one.tally)
    if not tallies:
        return None
    must_not_lose(arguments.page, Counter({key: len(of) for key, of in tallies.items()}))
    bench = everything(known, arguments)
    tasks: Mapping[str, Task] = {name: load_task(name) for name in bench.tasks}
    rows = rows_of(bench, tasks, {which: one.ended for which, one in known.items()})
    sittings = list(dict.fromkeys(one.sitting for one in known.values()))
    write_file(arguments.page, page(bench, rows, tallies, sittings).encode())
    return Path(arguments.page)


def must_not_lose(page: Path, have: Counter[tuple[str, str]]) -> None:
    """See whether a page tells of more searches than there are, by task and contestant.

    Raises:
        UsageError: it does.
    """
    lost = told(page.read_text(encoding="utf-8")) - have if page.is_file() else Counter[tuple[str, str]]()
    if lost:
        some = ", ".join(f"{task} with {who}" for task, who in sorted(lost)[:3])
        raise UsageError(
            f"{page} tells of more searches than {record_of(page).name} has ({lost.total()} more, such as {some}); "
            "run those as well, or write elsewhere with --page"
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--writers", nargs="+", choices=WRITERS, default=WRITERS, help="who writes the rewards")
    parser.add_argument(
        "--strategies",
        nargs="+",
        choices=tuple(STRATEGIES),
        metavar="NAME",
        help=f"{', '.join(STRATEGIES)} (offline: all; scripted: {' and '.join(KINDS)}, as the others are the same)",
    )
    parser.add_argument("--repeats", type=int, default=2, help="searches of each, other seeds (default 2)")
    parser.add_argument("--timesteps", type=int, default=100_000, help="steps per training (default 100000)")
    parser.add_argument("--population", type=int, default=8, help="candidates per generation (default 8)")
    parser.add_argument("--generations", type=int, default=2, help="with the population: the budget (default 2)")
    parser.add_argument("--final-seeds", type=int, default=2, help="fresh trainings per winner (default 2)")
    parser.add_argument("--max-minutes", type=float, help="begin no search after this; 0 only writes the page again")
    parser.add_argument("--sandbox", default="auto", help="docker, embedded, none or auto (default auto)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where searches are kept")
    parser.add_argument("--page", type=Path, default=REPOSITORY / "docs" / "strategies.md", help="what is written")
    parser.add_argument("--dry-run", action="store_true", help="only say what is missing and what it would take")
    return parser


def main() -> int:
    """Measure what is missing, then write the page."""
    arguments = parser().parse_args()
    try:
        bench = plan(arguments)
        root = arguments.cache.absolute() / sizes_of(bench)
        known = kept(record_of(arguments.page), sizes_of(bench))
        if not arguments.dry_run:
            wanted = {(task, who.name, repeat) for task, who, repeat in bench.searches()}
            must_not_lose(arguments.page, Counter((task, name) for task, name, _ in wanted | known.keys()))
        status = measure(root, bench.model_copy(update={"over": frozenset(known)}), arguments)
        if arguments.dry_run:
            return status
    except EurekaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    try:
        written = publish(arguments)
    except EurekaError as error:
        print(f"error: {error}; what was measured is kept", file=sys.stderr)
        return status or 1
    print(f"wrote {written}" if written else "nothing has ended yet, so no page was written")
    return status


if __name__ == "__main__":
    sys.exit(main())
