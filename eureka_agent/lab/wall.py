"""The wall proves itself once per sitting, before any candidate runs; what it found is kept with the run."""

from __future__ import annotations

from itertools import count

from eureka_agent.lab.proof import prove
from eureka_agent.runs.run import Run
from eureka_sandbox.protocol import Sandbox, Wall


def proven_wall(run: Run, sandbox: Sandbox) -> Wall:
    """Probe the wall, and journal what held under this sitting's number, from 1.

    Raises:
        EnvironmentMissing: something leaked, or the wall cannot be had on this machine; says what to do.
    """
    wall = prove(sandbox, [run.folder])
    return run.decide(f"wall/{len(walls(run)) + 1}", Wall, lambda: wall)


def described(wall: Wall) -> str:
    """One line: which wall, and what the self-test found."""
    probes = f"; {wall.contained} of {wall.probes} probes contained in {wall.seconds:.1f} s" if wall.probes else ""
    return f"{wall.backend} ({wall.tier}){probes}"


def walls(run: Run) -> tuple[Wall, ...]:
    """What the boxes of each sitting stood behind, the first sitting first."""
    found: list[Wall] = []
    for sitting in count(1):
        wall = run.decided(f"wall/{sitting}", Wall)
        if wall is None:
            break
        found.append(wall)
    return tuple(found)
