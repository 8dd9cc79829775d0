"""docs/strategies.md: a table per writer of rewards, from searches that have ended and nothing else."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from eureka_agent.search.bench_results import Row, cells, in_searches
from eureka_agent.search.benching import Bench
from eureka_agent.search.comparison import FEW_SEEDS
from eureka_agent.text import count, plural

OFFLINE, SCRIPTED = "offline", "scripted"
WRITERS = {
    OFFLINE: """## The offline search writes

Every strategy gets rewards from the grammar that needs no language model, bred from the parents that it chose, for as
many generations as its steps last.""",
    SCRIPTED: """## A language model wrote

The rewards are {rewards} per task that a language model once wrote
([evaluation/bench/answers](../evaluation/bench/answers/README.md)): every strategy is given them in the same order,
whatever parents it chose, as far as its steps last: those that contests took pay for no candidate. What differs is who
races, who gets contests, and how many whole trainings the steps pay; {kinds}. A search ends with the last answer, even
if steps are left.""",
}
"""By name, heading and introduction."""
KINDS = {"incumbent": ("map_elites",), "eureka": ("islands", "zero_shot")}
"""With a script: strategies that each stands for, as they differ in the parents alone."""
HEADINGS = (
    *("task", "strategy", "IQM", "95 % interval", "beats human", "steps", "wall"),
    *("trained whole", "raced away", "contest trainings", "searches"),
)
BASELINES = ("human reward", "random policy")
HEAD = """# Strategies at matched steps

`make bench-strategies` writes this page from searches that have ended; it continues where it was stopped.

{sizes}

**How to read it.** IQM is the interquartile mean of fitness over the winners' fresh trainings, on seeds that no
selection saw. What varies is whole searches, or the trainings of the winner where there is one search only; from 5 of
them on the 95 % interval is a bootstrap's, of fewer it is Student's t, which two trainings make very wide. {settled}

"Beats human" is how often an episode of a winner's fresh trainings scores above one of the human reward's: of these
episodes, with an interval only from 5 searches (or trainings, of a single search) of each on.

Steps are those that a search took, of its budget, and wall time is its own, both means over searches and without the
last comparison. Candidates were trained whole or raced away (stopped at a third or two thirds); contests are whole
trainings with more seeds; programs that repeat another, and failures, are neither.
"""


class Tally(NamedTuple):
    """Of one search."""

    whole: int
    """Candidates that were trained to the end."""
    stopped: int
    """Candidates that racing stopped."""
    contests: int
    """Trainings in contests."""


class Colophon(NamedTuple):
    """On what and when a sitting measured."""

    date: str
    machine: str
    revision: str
    busy: float
    """Cores that other processes kept busy when it began."""


def page(
    bench: Bench, rows: Sequence[Row], tallies: Mapping[tuple[str, str], Sequence[Tally]], sittings: Sequence[Colophon]
) -> str:
    """The whole page.

    Args:
        bench: all that the page may show; contestants' models are writers.
        rows: of `bench_results.results`.
        tallies: of every search that has ended, by task and contestant; what is not there is said to be missing.
        sittings: in which they ended.
    """
    sections = [_section(writer, bench, rows, tallies) for writer in WRITERS]
    return "\n".join([_head(bench, tallies), *sections, _missing(bench, tallies), _colophon(sittings)])


def _head(bench: Bench, tallies: Mapping[tuple[str, str], Sequence[Tally]]) -> str:
    timesteps, whole = bench.settings["timesteps"], bench.population * bench.generations
    sizes = (
        f"Each search may take {count(whole * timesteps)} environment steps ({whole} trainings of {count(timesteps)}, "
        f"in whole rollouts) for generations of {bench.population}. Its winner gets "
        f"{plural(bench.settings['final_seeds'], 'fresh training')}, scored on fresh episodes, and so does the human "
        "reward, with the same training seeds."
    )
    fewest = min((len(of) for of in tallies.values()), default=0)
    return _filled(HEAD.format(sizes=sizes, settled=_settled(fewest)))


def told(text: str) -> Counter[tuple[str, str]]:
    """How many searches a page tells of, by task and contestant."""
    found: Counter[tuple[str, str]] = Counter()
    writers, writer = {words.splitlines()[0]: name for name, words in WRITERS.items()}, ""
    for line in text.splitlines():
        writer = writers.get(line, "") if line.startswith("## ") else writer
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if writer and len(cells) == len(HEADINGS) and cells[-1][:1].isdigit() and cells[1] not in BASELINES:
            found[cells[0], f"{cells[1]}-{writer}"] = sum(int(word) for word in cells[-1].split() if word.isdigit())
    return found


def _settled(fewest: int) -> str:
    """What so many searches of each, or more, can bear, in one sentence."""
    if fewest < 2:
        return "With one search of each no order of strategies is settled: how much searches differ is not known."
    if fewest < FEW_SEEDS:
        return (
            f"With {fewest} searches of each the intervals cover less than 95 %: a large distance to the human reward "
            "or to random play is settled, an order of strategies is not."
        )
    return f"With {fewest} searches of each, differences larger than both intervals are settled, smaller ones are not."


def _section(writer: str, bench: Bench, rows: Sequence[Row], tallies: Mapping[tuple[str, str], Sequence[Tally]]) -> str:
    """One writer's table, tasks of which nothing has ended left out."""
    kinds = ", ".join(f"{' and '.join(others)} would be the same search as {one}" for one, others in KINDS.items())
    lines = [_filled(WRITERS[writer].format(rewards=bench.population * bench.generations, kinds=kinds))]
    names = {c.name: c.strategy for c in bench.contestants if c.model == writer}
    shown = [
        (row, tallies[row.task, row.name]) for row in rows if row.name in names and (row.task, row.name) in tallies
    ]
    if not shown:
        return "\n".join([*lines, "Not measured yet.", ""])
    lines += ["| " + " | ".join(HEADINGS) + " |", "|" + " :-- |" * 2 + " --: |" * (len(HEADINGS) - 2)]
    for task in bench.tasks:
        of_task = [(row, of) for row, of in shown if row.task == task]
        lines += [_line(row, names[row.name], of) for row, of in of_task]
        lines += [_line(row, row.name, ()) for row in rows if of_task and row.task == task and row.name in BASELINES]
    return "\n".join([*lines, ""])


def _line(row: Row, name: str, tallies: Sequence[Tally]) -> str:
    """A row of a table."""
    _, iqm, interval, odds, _, steps, wall, _, searches = cells(row)
    means = [f"{fmean(values):.3g}" for values in zip(*tallies, strict=True)] or ["–"] * len(Tally._fields)
    return "| " + " | ".join([row.task, name, iqm, interval, odds, steps, wall, *means, searches]) + " |"


def _missing(bench: Bench, tallies: Mapping[tuple[str, str], Sequence[Tally]]) -> str:
    """What the page cannot tell yet."""
    found = []
    for task in bench.tasks:
        of_task = [(c.name, len(tallies.get((task, c.name), ()))) for c in bench.contestants]
        if not any(ended for _, ended in of_task):
            found.append(f"* {task}: everything")
        elif short := [f"{name} ({ended} of {bench.repeats})" for name, ended in of_task if ended < bench.repeats]:
            found.append(f"* {task}: {', '.join(short)}")
    if not found:
        return f"Nothing is missing: {bench.repeats} of {bench.repeats} searches of each have ended.\n"
    return "\n".join([f"Missing, of {in_searches(bench.repeats)} each:", "", *found, ""])


def _colophon(sittings: Sequence[Colophon]) -> str:
    dates = sorted(sitting.date for sitting in sittings)
    revisions = dict.fromkeys(sitting.revision for sitting in sittings)
    lines = [
        "## How this was measured",
        "",
        f"* {len(sittings)} sittings between {dates[0]} and {dates[-1]}" if dates[1:] else f"* on {''.join(dates)}",
        *(f"* {machine}" for machine in dict.fromkeys(sitting.machine for sitting in sittings)),
        f"* revision {', '.join(revisions)} (`+`: with uncommitted changes)",
    ]
    busy = max((sitting.busy for sitting in sittings), default=0.0)
    if busy > 0.2:
        lines.append(
            f"* other processes kept up to {busy:.1f} cores busy when a sitting began: wall times are too long"
        )
    return "\n".join(lines) + "\n"


def _filled(text: str) -> str:
    """Paragraphs in lines of equal length."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(textwrap.fill(p, 120, break_long_words=False, break_on_hyphens=False) for p in paragraphs) + "\n"
