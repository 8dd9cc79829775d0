"""Would `--prescreen` have paid? An offline replay: rewards whose fitness is known, on trajectories known before them.

    .venv/bin/python evaluation/bench/prescreening.py [RUN ...]

Three sorts of evidence, no training. **Runs**: what a run's rewards gave on their generation's bank is journaled,
so each is held against those trajectories that were there before its generation. **Pilot**: the 32 rewards of a
language model (`answers/pilot.csv`) on play without learning and on the recorded policies of other rewards of the task.
**Trials**: planted hacks and good rewards of `hacking.py`, each on the recorded policies of the others; those and the
pilot's recordings come from its cache, so run `make bench-hacking` first. A reward is rejected, and a rejection is
wrong, by the rules of `search/prescreen.py`: Kendall's tau below 0; fitness not below the median of the accepted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from hacking import _trajectories, _values
from hacking_trials import PLAYS, Reward, Trials, pilot_rewards, pilot_tasks, rewards
from numpy.typing import NDArray
from safetensors.numpy import load

from eureka_agent.contract.task import load_task
from eureka_agent.lab.judging import ROOM, Judged, JudgedBank, bank_key, judged_key, transitions_of
from eureka_agent.runs.run import Run
from eureka_agent.search.prescreen import FEWEST, THRESHOLD
from eureka_evaluation.tac import kendall_tau_b
from eureka_evaluation.transitions import Transitions, chosen_transitions
from eureka_sandbox.bank import VALUES


class Replayed(NamedTuple):
    """One reward."""

    name: str
    tau: float
    fitness: float
    hack: bool = False


def of_run(run: Run) -> Iterator[tuple[str, list[Replayed]]]:
    """Every generation but the first, on the trajectories of those before it."""
    population = run.population(curves=False)
    born = {c.id: c.brief.generation for c in population.candidates}
    for generation in range(1, population.generations):
        bank = run.decided(bank_key(generation), JudgedBank)
        if bank is None:
            continue
        known = transitions_of(run, bank.players)
        earlier = np.array([born.get(_owner(policy), -1) < generation for policy in known.policies])
        if earlier.sum() < FEWEST or len(known.trajectory) != bank.transitions:
            continue
        found = []
        for candidate in population.born(generation):
            judged = run.decided(judged_key(generation, candidate.id), Judged)
            if judged and judged.values and candidate.fitness is not None:
                totals = load(run.blob(judged.values))[VALUES][0, : bank.transitions].astype(float)
                found.append(Replayed(candidate.id, _tau(totals, known, earlier), candidate.fitness))
        yield f"{run.folder.name}, generation {generation + 1}", found


def of_pilot(name: str, trials: Trials) -> list[Replayed]:
    """The pilot's rewards of a task with the pilot's own scores; no reward sees its own policy."""
    task = load_task(name)
    made = {r.name: trials.train(r) for r in rewards() if r.task == name and trials.finished(r)}
    known = chosen_transitions(_trajectories({how: trials.play(task, how) for how in PLAYS} | made), ROOM)
    return [Replayed(r.name, _without_own(r, known, trials), fitness) for r, fitness in pilot_rewards(name)]


def of_trials(name: str, trials: Trials) -> list[Replayed]:
    """Hacks and good rewards of a task with the scores of their short trainings."""
    task = load_task(name)
    made = {r: trials.train(r) for r in rewards() if r.task == name and trials.finished(r)}
    plays = {how: trials.play(task, how) for how in PLAYS}
    known = chosen_transitions(_trajectories(plays | {r.name: trial for r, trial in made.items()}), ROOM)
    return [Replayed(r.name, _without_own(r, known, trials), trial[-1].mean, r.hack) for r, trial in made.items()]


def _without_own(reward: Reward, known: Transitions, trials: Trials) -> float:
    totals = _values(load_task(reward.task), reward, known, trials)[1][0, : len(known.trajectory)]
    return _tau(totals, known, np.array([_owner(policy) != reward.name for policy in known.policies]))


def _owner(policy: str) -> str:
    """Whose policy it is, an earlier look at its training or another training included."""
    return policy.partition("/")[0]


def _tau(totals: NDArray[np.float64], known: Transitions, kept: NDArray[np.bool_]) -> float:
    return kendall_tau_b(known.sums(totals)[0][kept], known.fitness[kept])


def told(title: str, found: Sequence[Replayed]) -> str:
    """A row: how many, rejected, of these wrongly, and whether tau says anything about fitness."""
    rejected = [r for r in found if r.tau < THRESHOLD]
    accepted = [r.fitness for r in found if r.tau >= THRESHOLD]
    usual = median(accepted) if accepted else float("-inf")
    wrong = [r for r in rejected if r.fitness >= usual]
    both = np.array([(r.tau, r.fitness) for r in found])
    order = f"{kendall_tau_b(both[:, 0], both[:, 1]):6.2f}" if len(found) > 1 else "     –"
    best = max(found, key=lambda r: r.fitness, default=None)
    lost = f"  the best, {best.name}, among them" if best in rejected else ""
    hacks = (
        f", {sum(r.hack for r in rejected)} of {sum(r.hack for r in found)} hacks" if any(r.hack for r in found) else ""
    )
    return f"{title:44s}{len(found):4d}{len(rejected):10d}{len(wrong):8d}{order:>8s}{hacks}{lost}"


def main() -> None:
    """Print a row per group."""
    print(f"{'':44s}{'n':>4s}{'rejected':>10s}{'wrongly':>8s}{'order':>8s}")
    for folder in map(Path, sys.argv[1:]):
        with Run.open(folder, read_only=True) as run:
            for title, found in of_run(run):
                print(told(f"run {title}", found), flush=True)
    trials = Trials()
    for name in pilot_tasks():
        found = of_pilot(name, trials)
        print(told(f"pilot {name}", found), flush=True)
        for generation in range(2):
            born = [r for r in found if r.name.startswith(f"pilot g{generation}c")]
            print(told(f"  generation {generation + 1}", born), flush=True)
    for name in dict.fromkeys(r.task for r in rewards()):
        if found := of_trials(name, trials):
            print(told(f"trials {name}", found), flush=True)
            print(told("  good rewards only", [r for r in found if not r.hack]), flush=True)


if __name__ == "__main__":
    main()
