"""What a long search costs the host: a run of 10,000 candidates with curves, opened, selected from and listed.

    nice .venv/bin/python evaluation/bench/population.py [--candidates N] [--keep FOLDER]

The run is written through the package's own rows, 150 curve points of 23 keys each (a training of 300k steps of the
hopper). Each line is one operation in a process of its own, the interpreter's start and imports not counted: the median
of three rounds, in CPU seconds, so that a busy machine does not count, beside the limit of 2 s.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from eureka_agent.contract.task import load_task
from eureka_agent.population import Brief, Candidate, Score, Training
from eureka_agent.runs.rows import candidate_row, outcome_row
from eureka_agent.runs.run import Run
from eureka_agent.settings import Settings
from eureka_agent.strategies import STRATEGIES

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


def training(rng: random.Random, seed: int) -> Training:
    """A training with curves as long and as wide as real ones."""
    curves = {key: [float(f"{rng.gauss(0.0, 100.0):.6g}") for _ in range(POINTS)] for key in KEYS}
    return Training(
        seed=seed,
        timesteps=300_000,
        seconds=40.0,
        startup_seconds=3.0,
        peak_timesteps=280_000,
        peak_return=100.0,
        curves={**curves},
        policy="0" * 64,
        policy_meta="1" * 64,
        versions={"torch": "2.13.0", "mujoco": "3.3.0"},
    )


def score(rng: random.Random) -> Score:
    """Thirty episodes around one level."""
    level = rng.gauss(8.0, 4.0)
    return Score(
        seeds=tuple(rng.randrange(2**32) for _ in range(30)),
        fitness=tuple(level + rng.gauss(0.0, 1.0) for _ in range(30)),
        success=tuple(level > 8 for _ in range(30)),
        lengths=tuple(rng.randrange(20, 1001) for _ in range(30)),
        seconds=1.0,
        versions={"mujoco": "3.3.0"},
    )


def build(folder: Path, candidates: int) -> None:
    """Write the run: one in eight of its candidates failed, the others have a training and a score."""
    rng, task = random.Random(0), load_task("hopper_forward")
    code = task.human_reward
    names: list[str] = []
    with Run.create(folder, task, Settings(population=POPULATION, generations=10_000)) as run:
        for start in range(0, candidates, 500):
            statements = []
            for number in range(start, min(start + 500, candidates)):
                generation, slot = divmod(number, POPULATION)
                name = f"g{generation}c{slot}"
                parents = tuple(rng.sample(names, 1)) if names else ()
                brief = Brief(id=name, generation=generation, slot=slot, operator="mutate", parents=parents, seed=1)
                behaviour = {"effort": rng.random(), "speed": rng.gauss(2.0, 1.0)}
                text = f"# {name}\n{code}"
                candidate = Candidate(brief=brief, code=text, reflection="It fell. " * 60, behaviour=behaviour)
                candidate = candidate.model_copy(update={"program": f"{number:064x}"})
                if number % 8:
                    statements.append(outcome_row("trainings", name, (1, 300_000, 40.0, 100.0), training(rng, number)))
                    measured = score(rng)
                    numbers = (30, measured.mean, measured.success_rate, 1.0)
                    statements.append(outcome_row("scores", name, numbers, measured))
                statements.append(candidate_row(candidate))
                names.append(name)
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
