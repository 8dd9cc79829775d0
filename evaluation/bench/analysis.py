"""What the trajectory analysis of one candidate costs, and what it says: every scored training of a run.

    nice .venv/bin/python evaluation/bench/analysis.py RUN [--text]

CPU time on one thread of what the loop does per candidate, recordings read from the blob store included; the fastest of
five rounds, as other work on the machine only ever adds.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy: its threads would count as well

import argparse
import time
from pathlib import Path

from eureka_agent.critique.analysis import analysed
from eureka_agent.population import Population
from eureka_agent.runs.run import Run

ROUNDS = 5


def main() -> None:
    """Print one line per candidate, and with `--text` its findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--text", action="store_true", help="print the findings too")
    arguments = parser.parse_args()
    with Run.open(arguments.run, read_only=True) as run:
        population = run.population(partial=True)
        for candidate in population.candidates:
            if candidate.score is None:
                continue
            before = [c for c in population.candidates if c.brief.generation < candidate.brief.generation]
            earlier = Population(candidates=tuple(before))
            took = []
            for _ in range(ROUNDS):
                began = time.process_time()
                found = analysed(candidate, earlier, run)
                took.append(time.process_time() - began)
            print(f"{candidate.id}  fitness {candidate.score.mean:.3g}  {1e3 * min(took):.0f} ms")
            for finding in found.findings if arguments.text else ():
                print(f"    {finding.weight:.2f} {finding.kind}: {finding.text}")


if __name__ == "__main__":
    main()
