"""The whole benchmark, side by side with its peers, in as many sittings as it takes; writes docs/bench.md and .svg.

    .venv/bin/python evaluation/bench/full.py [--only a,b,c/hopper] [--max-minutes 60] [--seeds 6]

Each measurement runs in a process of its own, pinned to one core with one thread (searches: on all cores); at most two
run at once. A finished one is appended to the results file and not repeated unless `--again` is given, so that an
interrupted benchmark continues where it was. For EnvPool and SBX give `--peers-python`, see evaluation/bench/README.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from machine import busy_cores, description
from plan import PARTS, Options
from publish import WouldLose, must_not_lose, publish
from record import Record
from work import Sitting

DOCS = Path(__file__).resolve().parents[2] / "docs"
DEFAULT_RESULTS = DOCS / "bench.jsonl"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        default=",".join(PARTS),
        help="parts, or less of them, e.g. a,b/hopper: " + "; ".join(map(" ".join, PARTS.items())),
    )
    parser.add_argument(
        "--seeds", type=int, default=6, help="repetitions; 6 give a median a 95 %% interval (default 6)"
    )
    parser.add_argument("--results", type=Path, default=DEFAULT_RESULTS, help="JSON lines of finished measurements")
    parser.add_argument(
        "--again",
        action="store_true",
        help="measure all of `--only` again; what is known of it stays until then, so interrupted, say so again",
    )
    parser.add_argument("--max-minutes", type=float, help="start nothing after this; 0 only writes the report")
    parser.add_argument("--side-by-side", type=int, default=2, help="measurements at once, each on its own core")
    parser.add_argument(
        "--censor", type=float, default=8.0, help="part c: stop SB3 after so many times our median time"
    )
    parser.add_argument("--final-timesteps", type=int, default=1_000_000, help="part d: steps per training")
    parser.add_argument("--search-timesteps", type=int, default=1_000_000, help="part e: steps per training")
    parser.add_argument(
        "--search-projection",
        action="store_true",
        help="part e: one generation per seed instead of five generations once",
    )
    parser.add_argument("--peers-python", help="an interpreter that can also import envpool and sbx")
    parser.add_argument("--docs", type=Path, default=DOCS, help="report folder")
    return parser


def main() -> int:
    """Measure what is missing, then write the report; whatever ends a process softly ends what it measures too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup a terminal that closes ends nothing
            signal.signal(number, signal.default_int_handler)
    arguments = parser().parse_args()
    wanted = arguments.only.split(",")
    unknown = {name.partition("/")[0] for name in wanted} - set(PARTS)
    if unknown:
        print(f"error: unknown part {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    cores = sorted(os.sched_getaffinity(0))
    options = Options(
        seeds=arguments.seeds,
        censor=arguments.censor,
        final_timesteps=arguments.final_timesteps,
        search_timesteps=arguments.search_timesteps,
        search_projection=arguments.search_projection,
        cores=len(cores),
        peers=arguments.peers_python is not None,
    )
    record = Record(arguments.results)
    try:
        machine = description(arguments.peers_python)
    except (OSError, subprocess.CalledProcessError):
        print(f"error: --peers-python {arguments.peers_python}: it does not have EnvPool and SBX", file=sys.stderr)
        return 2
    try:
        must_not_lose(options, record, {name[0] for name in wanted}, arguments.docs)
    except WouldLose as why:
        print(f"error: {why}", file=sys.stderr)
        return 2
    if arguments.again:
        record.doubt(wanted)
    sitting = Sitting(record, options, wanted, cores[: max(1, arguments.side_by_side)], arguments.peers_python)
    print(f"{machine}\nresults: {arguments.results}\n{sitting.estimate()}")
    if (busy := busy_cores()) > 0.2:
        print(f"warning: other processes keep {busy:.1f} cores busy; the figures will be worth little", file=sys.stderr)
    try:
        status = min(1, sitting.work(arguments.max_minutes))
    except KeyboardInterrupt:
        print("stopped; what had finished is kept", file=sys.stderr)
        status = 130
    record.doubt(())
    try:
        for path in publish(options, record, arguments.docs, "make bench-full" + _given()):
            print(f"wrote {path}")
    except WouldLose as why:
        print(f"error: {why}; what was measured is kept", file=sys.stderr)
        return status or 1
    return status


def _given() -> str:
    return f' ARGS="{subprocess.list2cmdline(sys.argv[1:])}"' if sys.argv[1:] else ""


if __name__ == "__main__":
    sys.exit(main())
