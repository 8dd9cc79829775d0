"""Which stored policy a person means: a candidate's, or one of the comparison's arms."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from eureka_agent.errors import EurekaError, UsageError
from eureka_agent.population import Candidate
from eureka_agent.runs.run import Run


@dataclass(frozen=True)
class Policy:
    """A policy of a run, with the reward it was trained on."""

    name: str
    code: str
    files: dict[str, bytes]
    """policy.safetensors and policy.json; empty for random actions."""


def find_policy(run: Run, name: str | None) -> Policy:
    """The best's policy (the median of its final trainings, once compared), a candidate's, `human` or `random`.

    Raises:
        UsageError: there is no such candidate, or it has no policy.
    """
    if name == "random":
        return Policy("random", "", {})
    comparison, population = run.comparison(), run.population(partial=True)
    if comparison and (name in (None, "human")):
        arm = comparison.arm("human" if name else "candidate")
        code = run.task.human_reward if name else population[comparison.candidate].code
        if arm.policy and arm.policy_meta:
            return Policy(name or comparison.candidate, code, _files(run, arm.policy, arm.policy_meta))
    if name == "human":
        raise UsageError("the human reward's policy exists once the run has ended; name a candidate or `random`")
    candidate = _candidate(run, name)
    if candidate.training is None:
        raise UsageError(f"{candidate.id} has no policy: {candidate.failure or 'it has not trained yet'}")
    training = candidate.training
    return Policy(candidate.id, candidate.code, _files(run, training.policy, training.policy_meta))


CONVERSION_SECONDS = 300
MOST_SHOWN = 8
"""Candidates that an error lists."""


def stock_files(policy: Policy) -> dict[str, bytes]:
    """`policy.zip` and, if observations are normalised, `vecnormalize.pkl`: Stable-Baselines3's own files.

    A child process of our own code makes them from the arrays: no pickle ever comes from a box, and the host loads no
    torch.

    Raises:
        EurekaError: the arrays do not make a policy.
    """
    command = [sys.executable, "-P", "-m", "eureka_sandbox.worker.policy_sb3"]
    settings = {**os.environ, "MUJOCO_GL": "disabled"}  # nothing is drawn: a missing GL library must not stop it
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in policy.files.items():
            (folder / file).write_bytes(data)
        try:
            done = subprocess.run(
                [*command, name],
                env=settings,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=CONVERSION_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EurekaError(f"exporting {policy.name}: Stable-Baselines3 took over {CONVERSION_SECONDS} s") from None
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
            raise EurekaError(f"exporting {policy.name} for Stable-Baselines3 failed: {reason[:300]}")
        written = [folder / file for file in ("policy.zip", "vecnormalize.pkl")]
        return {path.name: path.read_bytes() for path in written if path.exists()}


def _candidate(run: Run, name: str | None) -> Candidate:
    population = run.population(partial=True)
    if name is None:
        if population.best is None:
            raise UsageError(f"{run.folder}: no candidate has trained yet")
        return population.best
    try:
        return population[name]
    except KeyError:
        import difflib

        ids = [candidate.id for candidate in population.candidates]
        close = difflib.get_close_matches(name, ids, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        shown = ", ".join(ids if len(ids) <= MOST_SHOWN else (*ids[: MOST_SHOWN - 1], "…", ids[-1]))
        known = f"there are {shown}, human and random" if ids else "there is none yet"
        raise UsageError(f"no candidate {name!r} in {run.folder}; {hint}{known}") from None


def _files(run: Run, policy: str, meta: str) -> dict[str, bytes]:
    return {"policy.safetensors": run.blob(policy), "policy.json": run.blob(meta)}
