"""Strategies side by side at matched steps, with two writers of rewards; writes docs/strategies.md.

    .venv/bin/python evaluation/bench/strategies.py [--tasks hopper_forward] [--writers offline] [--max-minutes 60]

Every search is one of `eureka bench`: a run of its own that can be resumed, kept in a folder named by the sizes, so
that finished ones are not repeated, and other `--tasks`, `--writers`, `--strategies` and more `--repeats` add to them.
The writers are the offline search and `answers/<task>`, what a language model once wrote (see answers/README.md).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from machine import busy_cores, description, revision
from strategies_page import KINDS, OFFLINE, SCRIPTED, WRITERS, Colophon, Tally, page, told

from eureka_agent.cli.common import progress_console
from eureka_agent.cli.sandboxes import chosen_sandbox
from eureka_agent.contract.task import Task, load_task
from eureka_agent.errors import EurekaError, UsageError
from eureka_agent.runs.journal import DATABASE
from eureka_agent.runs.run import Run
from eureka_agent.runs.storage import write_file
from eureka_agent.search.bench_results import results
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
SITTINGS = "sittings.jsonl"
TASKS = ("hopper_forward", "half_cheetah_backflip", "swimmer_forward", "reacher_reach")


class TimeIsUp(Exception):
    """No further search is to begin."""


class Searches(Bench):
    """A bench with two writers; the scripted one has a folder of answers per task, for so many generations."""

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


def folder_of(cache: Path, bench: Bench) -> Path:
    """Where searches of these sizes are kept."""
    sizes = f"{bench.population}x{bench.generations}x{bench.settings['timesteps']}"
    return cache / f"{sizes}-{bench.settings['final_seeds']}"


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


def ended(root: Path, bench: Bench) -> dict[tuple[str, str, int], Tally]:
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


def missing(root: Path, bench: Bench) -> list[tuple[str, Contestant, int]]:
    """Searches that are not over."""
    over = ended(root, bench)
    return [(task, who, repeat) for task, who, repeat in bench.searches() if (task, who.name, repeat) not in over]


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
    """Say what is missing and what it takes, and run it; the exit status."""
    must_have_answers(bench)
    tasks = {name: load_task(name) for name in bench.tasks}
    todo = missing(root, bench)
    likely = [likely_price(tasks[name], bench.settings_of(tasks[name], who, repeat)) for name, who, repeat in todo]
    sitting = Sitting([one.seconds for one in likely], arguments.max_minutes)
    steps = count(sum(one.steps for one in likely))
    print(f"{root}\n{len(todo)} of {len(list(bench.searches()))} searches missing, {steps} steps, {sitting.estimate()}")
    if arguments.dry_run or not todo or arguments.max_minutes == 0:
        return 0
    if (busy := busy_cores()) > 0.2:
        print(f"warning: other processes keep {busy:.1f} cores busy; wall times will be worth little", file=sys.stderr)
    _note_sitting(root, busy)
    machine = {"sandbox": arguments.sandbox}
    try:
        run_bench(root, bench, tasks, lambda settings: chosen_sandbox(settings.sandbox), sitting.watching, machine)
    except TimeIsUp:
        print(f"{arguments.max_minutes:g} minutes are over; what had ended is kept", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; what had finished is kept", file=sys.stderr)
        return 130
    return 0


def _note_sitting(root: Path, busy: float) -> None:
    """Append on what and when something was measured."""
    line = {"date": time.strftime("%Y-%m-%d"), "machine": description(), "revision": revision(), "busy": round(busy, 1)}
    root.mkdir(parents=True, exist_ok=True)
    with open(root / SITTINGS, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def everything(root: Path, arguments: argparse.Namespace) -> Searches:
    """What the page may show: all tasks and writers, usual strategies, and whatever else has been begun."""
    begun = [path.parent.parent for path in root.glob(f"*/*/*/{DATABASE}")]
    usual = {contestant.name for contestant in contestants(None, WRITERS)}
    known = tuple(c for c in contestants(tuple(STRATEGIES), WRITERS) if c.name in usual | {p.name for p in begun})
    repeats = max([arguments.repeats, *(len(list(path.iterdir())) for path in begun)])
    bench = plan(argparse.Namespace(**vars(arguments) | {"tasks": TASKS}))
    return bench.model_copy(update={"contestants": known, "repeats": repeats})


def publish(root: Path, arguments: argparse.Namespace) -> Path | None:
    """Write the page from whatever has ended; None: nothing has.

    Raises:
        UsageError: what is there tells of searches that are not here.
    """
    bench = everything(root, arguments)
    tallies: dict[tuple[str, str], list[Tally]] = {}
    for (task, name, _), of_search in ended(root, bench).items():
        tallies.setdefault((task, name), []).append(of_search)
    if not tallies:
        return None
    tasks: Mapping[str, Task] = {name: load_task(name) for name in bench.tasks}
    lines = (root / SITTINGS).read_text(encoding="utf-8").splitlines()
    must_not_lose(arguments.page, Counter({key: len(of) for key, of in tallies.items()}), root)
    text = page(bench, results(root, bench, tasks), tallies, [Colophon(**json.loads(line)) for line in lines])
    write_file(arguments.page, text.encode())
    return Path(arguments.page)


def must_not_lose(page: Path, have: Counter[tuple[str, str]], root: Path) -> None:
    """See whether a page tells of more searches than there are, by task and contestant.

    Raises:
        UsageError: it does.
    """
    lost = told(page.read_text(encoding="utf-8")) - have if page.is_file() else Counter[tuple[str, str]]()
    if lost:
        some = ", ".join(f"{task} with {who}" for task, who in sorted(lost)[:3])
        raise UsageError(
            f"{page} tells of {lost.total()} searches that are not in {root}, such as {some}; run those as well, or "
            "write elsewhere with --page"
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
        root = folder_of(arguments.cache.absolute(), bench)
        if not arguments.dry_run:
            wanted = {(task, who.name, repeat) for task, who, repeat in bench.searches()}
            known = wanted | set(ended(root, everything(root, arguments)))
            must_not_lose(arguments.page, Counter((task, name) for task, name, _ in known), root)
        status = measure(root, bench, arguments)
        if arguments.dry_run:
            return status
    except EurekaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    try:
        written = publish(root, arguments)
    except EurekaError as error:
        print(f"error: {error}; what was measured is kept", file=sys.stderr)
        return status or 1
    print(f"wrote {written}" if written else "nothing has ended yet, so no page was written")
    return status


if __name__ == "__main__":
    sys.exit(main())
