"""What racing saves and what it loses: trainings taken to their end, then raced on paper as often as you like.

    .venv/bin/python evaluation/bench/racing.py train TASK... [--rewards FOLDER] [--offline N] [--results FOLDER]
    .venv/bin/python evaluation/bench/racing.py replay [TASK...] [--results FOLDER] [--table FILE]

`train` takes the human reward, the files of FOLDER/**/TASK/*.py and N proposals of the offline grammar, trains one
after the other with stops at a quarter, a third, a half and two thirds, and scores each as a search would: 10 fresh
episodes on the way, all at the end. What has finished is kept in one run folder per task and not repeated. `replay`
draws groups of eight, races them by `eureka_agent.lab.racing`, prints what was saved and what the chosen reward lacks
against the group's best. FILE holds trainings made elsewhere: a CSV with `task` and fitness at each third of them,
`fitness_100k`, `fitness_200k`, `fitness_300k`.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eureka_agent.contract.task import load_task
from eureka_agent.lab.lab import Lab
from eureka_agent.lab.racing import Bracket, Fate, dealt, fates
from eureka_agent.population import Brief, Population, Score, rung_key
from eureka_agent.proposers import make_proposer
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_sandbox.backends import make_sandbox

LOOKS = (1 / 4, 1 / 3, 1 / 2, 2 / 3)
"""Where every training is looked at."""
PLANS: dict[str, tuple[float, ...]] = {
    "halving 1/3 2/3 1": (1 / 3, 2 / 3),
    "halving 1/4 1/2 1": (1 / 4, 1 / 2),
    "halving 1/3 1": (1 / 3,),
    "halving 1/2 1": (1 / 2,),
    "hyperband 1/3 2/3 1": (1 / 3, 2 / 3),
}
GROUP = 8
DRAWS = 2000
RESAMPLES = 400
RESULTS = Path.home() / ".cache/eureka-agent/bench/racing"


@dataclass(frozen=True)
class Trained:
    """The trainings of one task, all to the end."""

    task: str
    looks: Mapping[int, NDArray[np.float64]]
    """Mean fitness `(rewards,)` at each look, in thousandths of the training; 1000 is the end."""
    floor: float
    """What random actions reach."""


def train(name: str, rewards: Path | None, offline: int, results: Path, until: float) -> None:
    """Train and score what is missing of one task, until the clock says `until` (seconds, monotonic)."""
    task = load_task(name)
    settings = Settings(population=GROUP, racing="none", jobs=1)
    folder = results / name
    run = Run.open(folder) if folder.exists() else Run.create(folder, task, settings)
    with run:
        lab = Lab(make_sandbox("auto"), run)
        lab.begin()
        for label, code in _rewards(run, rewards, offline).items():
            if time.monotonic() > until:
                print(f"{name}: out of time before {label}", flush=True)
                return
            began = time.monotonic()
            seed = run.settings.derived_seed("train", label)
            stops = [int(look * lab.recipe.timesteps) for look in LOOKS]
            trials = [lab.trial(rung_key(label, i), code, seed, label, stop) for i, stop in enumerate(stops)]
            if not any(trial.failure for trial in trials):
                trials.append(lab.trial(label, code, seed))
            figures = " ".join(f"{t.score.mean:.4g}" if t.score else str(t.failure) for t in trials)
            print(f"{name} {label}: {figures} ({time.monotonic() - began:.0f} s)", flush=True)


def _rewards(run: Run, folder: Path | None, offline: int) -> dict[str, str]:
    """Code by label: `human`, `pilot-<n>`, `offline-<n>`."""
    found = {"human": run.task.human_reward}
    files = sorted(folder.glob(f"**/{run.task.name}/*.py")) if folder else []
    found |= {f"pilot-{i}": path.read_text() for i, path in enumerate(files)}
    proposer = make_proposer("offline", run.task)
    for i in range(offline):
        brief = Brief(id=f"g0c{i}", generation=0, slot=i, operator="sample", seed=run.settings.derived_seed("audit", i))
        proposal = proposer.propose(brief, run.task, Population())
        if proposal.failure is None:
            found[f"offline-{i}"] = proposal.code
    # both kinds in turn, so that a sitting that ends early has some of each
    order = sorted(found, key=lambda label: int(label.partition("-")[2] or -1))
    return {label: found[label] for label in order}


def gather(folder: Path) -> Trained | None:
    """The finished trainings of one task; None if there are fewer than a group."""
    with Run.open(folder, read_only=True) as run:
        labels = sorted({key.split("/")[0] for key in _scored(run)})
        whole = [label for label in labels if isinstance(run.score(label), Score)]
        rows = []
        for label in whole:
            scores = [run.score(key) for key in (*(rung_key(label, i) for i in range(len(LOOKS))), label)]
            rows.append([score.mean for score in scores if isinstance(score, Score)])
        rows = [row for row in rows if len(row) == len(LOOKS) + 1]
        floor = run.floor()
        if len(rows) < GROUP or floor is None:
            return None
        columns = np.array(rows).T
        looks = [round(1000 * share) for share in (*LOOKS, 1.0)]
        return Trained(run.task.name, dict(zip(looks, columns, strict=True)), floor.random.mean)


def tabled(path: Path) -> Iterator[Trained]:
    """The trainings of each task in a CSV that has their fitness at a third, at two thirds and at the end."""
    looks = {333: "fitness_100k", 667: "fitness_200k", 1000: "fitness_300k"}
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row[name] for name in looks.values())]
    for task in sorted({row["task"] for row in rows}):
        of = {look: np.array([float(r[name]) for r in rows if r["task"] == task]) for look, name in looks.items()}
        anchors = load_task(task).anchors
        if len(of[1000]) >= GROUP and anchors:
            yield Trained(f"{task}, tabled", of, anchors.random.mean)


def _scored(run: Run) -> list[str]:
    return [key for (key,) in run._open.rows("SELECT key FROM scores WHERE verdict IS NULL")]


def brackets(plan: str, members: Sequence[str]) -> list[Bracket]:
    """How a plan races a group; rungs in thousandths of the training."""
    rungs = tuple(round(1000 * share) for share in (*PLANS[plan], 1.0))
    if not plan.startswith("hyperband"):
        return [Bracket(tuple(members), rungs)]
    return [Bracket(names, rungs[i:]) for i, names in enumerate(dealt(members, len(rungs))) if names]


@dataclass(frozen=True)
class Raced:
    """One group, raced."""

    saved: float
    """Share of environment steps."""
    lost: float
    """Fitness of the group's best minus that of the chosen, as a share of the best above random play."""
    missed: bool
    """Whether the group's best was stopped."""


def race(plan: str, trained: Trained, group: NDArray[np.int64]) -> Raced:
    """Race the trainings `group` (indices) on paper."""
    members = [str(i) for i in range(len(group))]
    final = trained.looks[1000][group]
    finished, steps = [], 0
    for bracket in brackets(plan, members):
        rows = {
            name: [float(trained.looks[rung][group[int(name)]]) for rung in bracket.rungs] for name in bracket.members
        }
        seen: dict[str, list[float | None]] = {name: [] for name in bracket.members}
        while going := [name for name, fate in fates(bracket, seen).items() if fate is Fate.GOES_ON]:
            for name in going:
                seen[name].append(rows[name][len(seen[name])])
        finished += [int(name) for name in bracket.members if len(seen[name]) == len(bracket.rungs)]
        steps += sum(bracket.rungs[len(at) - 1] for at in seen.values())
    best, chosen = int(np.argmax(final)), max(finished, key=lambda i: final[i])
    room = max(float(final[best]) - trained.floor, 1e-9)
    return Raced(1 - steps / (1000 * len(group)), float(final[best] - final[chosen]) / room, best not in finished)


def replay(plan: str, trained: Trained, rng: np.random.Generator) -> str:
    """A row of the table: means over random groups; intervals by drawing the rewards again."""
    count = len(trained.looks[1000])
    rows = [race(plan, trained, rng.choice(count, GROUP, replace=False)) for _ in range(DRAWS)]
    again = []
    for _ in range(RESAMPLES):
        rewards = rng.integers(count, size=count)
        groups = [rewards[rng.choice(count, GROUP, replace=False)] for _ in range(10)]
        drawn = [race(plan, trained, group) for group in groups]
        again.append((np.mean([r.lost for r in drawn]), np.mean([r.missed for r in drawn])))
    low, high = np.percentile(np.array(again), [2.5, 97.5], axis=0)
    saved, lost, missed = (np.mean([getattr(r, name) for r in rows]) for name in ("saved", "lost", "missed"))
    return (
        f"| {trained.task} ({count}) | {plan} | {saved:.0%} | {lost:.1%} [{low[0]:.1%}, {high[0]:.1%}] "
        f"| {missed:.0%} [{low[1]:.0%}, {high[1]:.0%}] |"
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "replay"))
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--rewards", type=Path, help="folder with TASK/*.py somewhere below")
    parser.add_argument("--offline", type=int, default=8, help="proposals of the offline grammar")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--max-minutes", type=float, default=60.0)
    parser.add_argument("--table", type=Path, help="CSV of trainings made elsewhere")
    given = parser.parse_args()
    if given.what == "train":
        until = time.monotonic() + 60 * given.max_minutes
        for name in given.tasks:
            train(name, given.rewards, given.offline, given.results, until)
        return
    print("| task (rewards) | plan | steps saved | fitness lost | best one stopped |\n|---|---|---|---|---|")
    folders = sorted(given.results.iterdir()) if given.results.is_dir() else []
    found = [trained for folder in folders if (folder / "run.db").is_file() and (trained := gather(folder))]
    found += tabled(given.table) if given.table else []
    for trained in found:
        if given.tasks and trained.task.partition(",")[0] not in given.tasks:
            continue
        for plan, rungs in PLANS.items():
            if all(round(1000 * share) in trained.looks for share in rungs):
                print(replay(plan, trained, np.random.default_rng(0)), flush=True)


if __name__ == "__main__":
    main()
