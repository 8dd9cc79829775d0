"""What a long search costs the host: a run of 10,000 candidates with curves, opened, selected from and listed.

    nice .venv/bin/python evaluation/bench/population.py [--candidates N] [--keep FOLDER]

The run is written through the package's own rows, with what a real search of the hopper leaves: 150 curve points of 23
keys (300k steps), rungs with their shorter curves, contests, and a record of 11 kB per candidate, with findings,
reflection and fingerprint. Each line is one operation in a process of its own, the interpreter's start and imports not
counted: the median of three rounds, in CPU seconds, so that a busy machine does not count, beside the limit of 2 s.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from eureka_agent.contract.reward_code import HASHED
from eureka_agent.contract.task import load_task
from eureka_agent.population import Brief, Candidate, Rung, Score, Training, rung_key
from eureka_agent.runs.journal import Statement
from eureka_agent.runs.rows import candidate_row, outcome_row
from eureka_agent.runs.run import Run
from eureka_agent.search.contest import Incumbency, Standing, incumbency_key
from eureka_agent.search.duplicates import packed
from eureka_agent.settings import Settings
from eureka_agent.strategies import STRATEGIES
from eureka_evaluation.finding import Finding

LIMIT = 2.0
ROUNDS = 3
POPULATION = 8
POINTS = 150
KEYS = (
    *(f"rollout/{name}" for name in ("ep_len_mean", "ep_rew_mean")),
    *(f"time/{name}" for name in ("fps", "iterations", "time_elapsed", "total_timesteps")),
    *(f"train/{name}" for name in ("approx_kl", "clip_fraction", "clip_range", "entropy_loss", "explained_variance")),
    *(f"train/{name}" for name in ("learning_rate", "loss", "n_updates", "policy_gradient_loss", "std", "value_loss")),
    *(f"reward/{name}" for name in ("alive", "fall", "forward", "height", "smoothness", "upright")),
)
LOADED = "run = Run.open(folder, read_only=True); population = run.population(curves=False); mark(); "
IMPORTS = """
import sys, time
from pathlib import Path
import eureka_agent.llm.prompting, eureka_agent.proposers.offline, eureka_agent.search.searching, eureka_agent.cli.runs
import rich.table
from eureka_agent.runs.run import Run
from eureka_agent.search.duplicates import linked
from eureka_agent.strategies import strategy_of
"""
OPERATIONS = {
    "resume: open and load": "run = Run.open(folder, read_only=True); run.population(curves=False)",
    **{f"select: {name}": LOADED + f"strategy_of({name!r}).select(population, settings)" for name in STRATEGIES},
    "status: `eureka runs`": "from eureka_agent.cli.runs import runs; runs(folder.parent)",
    "compose one prompt": LOADED + "compose(population)",
    "propose offline, one": LOADED + "offline(run, population)",
    "parents' curves": LOADED + "run.with_curves(population, [c.id for c in population.ranked[:4]])",
    "link a generation": LOADED + "linked(run, [c for c in population.born(0)], population)",
    "all curves too": "run = Run.open(folder, read_only=True); run.population()",
}
PROGRAM = """
folder = Path(sys.argv[1])
from eureka_agent.settings import Settings
settings = Settings(population=8, generations=10_000)
began = time.process_time()
def mark():
    global began
    began = time.process_time()
def compose(population):
    from eureka_agent.llm.prompting import Prompts
    from eureka_agent.contract.task import load_task
    brief = strategy_of("incumbent").select(population, settings)[0]
    Prompts(None, settings).compose(brief, load_task("hopper_forward"), population)
def offline(run, population):
    from eureka_agent.proposers.offline import OfflineProposer
    from eureka_agent.contract.task import load_task
    brief = strategy_of("incumbent").select(population, settings)[0]
    OfflineProposer().propose(brief, load_task("hopper_forward"), population)
{operation}
print(time.process_time() - began, file=sys.stderr)
"""


def training(rng: random.Random, seed: int, share: float = 1.0) -> Training:
    """A training with curves as long and as wide as real ones, or the first part of it."""
    points = int(share * POINTS)
    curves = {key: [float(f"{rng.gauss(0.0, 100.0):.6g}") for _ in range(points)] for key in KEYS}
    return Training(
        seed=seed,
        timesteps=int(300_000 * share),
        seconds=40.0 * share,
        startup_seconds=3.0,
        peak_timesteps=int(280_000 * share),
        peak_return=100.0,
        curves={**curves},
        policy="0" * 64,
        policy_meta="1" * 64,
        versions={"torch": "2.13.0", "mujoco": "3.3.0"},
        reward="2" * 64,
    )


def score(rng: random.Random, episodes: int = 30) -> Score:
    """Episodes around one level."""
    level = rng.gauss(8.0, 4.0)
    return Score(
        seeds=tuple(rng.randrange(2**32) for _ in range(episodes)),
        fitness=tuple(level + rng.gauss(0.0, 1.0) for _ in range(episodes)),
        success=tuple(level > 8 for _ in range(episodes)),
        lengths=tuple(rng.randrange(20, 1001) for _ in range(episodes)),
        recorded=tuple(range(min(16, episodes))),
        episodes="3" * 64,
        seconds=1.0,
        versions={"mujoco": "3.3.0", "numpy": "2.3.4", "processor": "x86_64 AVX2"},
        box="4" * 64,
        binding="5" * 64,
    )


def finding(rng: random.Random, number: int) -> Finding:
    """As long as a real one, with as many figures: 370 bytes."""
    numbers = {f"torso_{name}_velocity_lead_seconds": rng.random() for name in ("x", "z", "pitch")}
    text = (
        f"A terminal state came with torso_z below {rng.random():.3g}: {rng.random():.3g} m after 0.952 s; shortly "
        f"before, torso_z_velocity left its range {rng.gauss(0, 1):.3g} to 0.295 0.16 s before the end, to -3.13."
    )
    return Finding(f"kind_{number}", rng.random(), text, numbers)


def raced(rng: random.Random, stopped: bool) -> tuple[Rung, ...]:
    """What racing saw at a third, and of the others at two thirds."""
    at = (102_400,) if stopped else (102_400, 204_800)
    return tuple(Rung(timesteps=steps, fitness=rng.gauss(5.0, 3.0), own_return=rng.gauss(100.0, 50.0)) for steps in at)


def measured(rng: random.Random, name: str, rungs: Sequence[Rung], stopped: bool) -> Iterator[Statement]:
    """Rows of a candidate's rungs and of its whole training."""
    for number in range(len(rungs)):
        yield from outcomes(rng, rung_key(name, number), (number + 1) / 3, 10)
    if not stopped:
        yield from outcomes(rng, name, 1.0, 30)


def outcomes(rng: random.Random, key: str, share: float, episodes: int) -> Iterator[Statement]:
    """Rows of a training and its score."""
    trained, scored = training(rng, 1, share), score(rng, episodes)
    yield outcome_row("trainings", key, (1, trained.timesteps, trained.seconds, 100.0), trained)
    yield outcome_row("scores", key, (episodes, scored.mean, scored.success_rate, 1.0), scored)
    yield decided(f"{key}/evaluation-seeds", json.dumps(scored.seeds))


def contest(rng: random.Random, generation: int, leader: str, others: Sequence[str]) -> Statement:
    """Who led after a generation: the incumbent stays before two challengers."""
    later = tuple(rng.gauss(8.0, 4.0) for _ in range(2))
    standings = tuple(Standing(id=name, screening=rng.gauss(10.0, 2.0), later=later) for name in (leader, *others))
    held = Incumbency(id=leader, before=leader, standings=standings, reason="nobody came close", optimism=1.0)
    return decided(incumbency_key(generation), held.model_dump_json())


def decided(key: str, value: str) -> Statement:
    """A row of the journal."""
    return "INSERT INTO decisions VALUES (?, ?, ?)", (key, value, time.time())


def build(folder: Path, candidates: int) -> None:
    """Write the run: of eight candidates one failed, three were stopped at a third, and four trained to the end."""
    rng, task = random.Random(0), load_task("hopper_forward")
    code = task.human_reward
    names: list[str] = []
    with Run.create(folder, task, Settings(population=POPULATION, generations=10_000)) as run:
        for start in range(0, candidates, 504):
            statements: list[Statement] = []
            for number in range(start, min(start + 504, candidates)):
                generation, slot = divmod(number, POPULATION)
                name = f"g{generation}c{slot}"
                parents = tuple(rng.sample(names, 1)) if names else ()
                brief = Brief(id=name, generation=generation, slot=slot, operator="mutate", parents=parents, seed=1)
                candidate = Candidate(brief=brief, code=f"# {name}\n{code}", program=f"{HASHED}{number:064x}")
                fingerprint = packed([rng.gauss(0.0, 1.0) for _ in range(256)])
                proposal = {"code": candidate.code, "fingerprint": fingerprint}
                statements.append(decided(f"{name}/proposal", json.dumps(proposal)))
                if slot:
                    stopped = slot < 4
                    rungs = raced(rng, stopped)
                    statements += measured(rng, name, rungs, stopped)
                    told = {
                        "behaviour": {"effort": rng.random(), "speed": rng.gauss(2.0, 1.0)},
                        "rungs": rungs,
                        "stopped": stopped,
                        "findings": tuple(finding(rng, i) for i in range(11)),
                        "suspicions": tuple(finding(rng, i) for i in range(2)),
                        "reflection": "  own return: -4.651 45.12 89.16 140.5 172.2 190.1 [-4.651, 101.2, 222.0]\n"
                        * 58,
                        "fingerprint": fingerprint,
                    }
                    candidate = candidate.model_copy(update=told)
                statements.append(candidate_row(candidate))
                names.append(name)
                if slot == POPULATION - 1:
                    statements.append(contest(rng, generation, "g0c7", (f"g{generation}c5", f"g{generation}c6")))
            run._write(*statements, step="bench")
        done = str(-(-candidates // POPULATION))
        run._write(("UPDATE meta SET value = ? WHERE key = 'generations'", (done,)), step="bench")


def seconds(operation: str, folder: Path) -> float:
    """One operation in a fresh process."""
    program = IMPORTS + PROGRAM.replace("{operation}", operation)
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stderr.split()[-1])


def main() -> None:
    """Build the run, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="build the run here, or use the one that is there")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)) / "hopper_forward" / "run"
        if not folder.exists():
            build(folder, options.candidates)
        size = (folder / "run.db").stat().st_size
        what = f"{options.candidates} candidates, run.db of {size / 1e6:.0f} MB"
        print(f"{what}; CPU seconds, median of {ROUNDS} (limit {LIMIT})")
        found = {}
        for name, operation in OPERATIONS.items():
            found[name] = statistics.median(seconds(operation, folder) for _ in range(ROUNDS))
            print(f"  {name:24s} {found[name]:7.3f} s", flush=True)
        if options.json:
            print(json.dumps(found))


if __name__ == "__main__":
    main()
