"""Whatever runs a box outside a search lets the wall prove itself first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest

from eureka_agent.contract.task import load_task
from eureka_agent.errors import EnvironmentMissing
from eureka_agent.lab.jobs import run_alone, score_job
from eureka_sandbox.backends.scripted import ScriptedSandbox
from eureka_sandbox.protocol import Finished, SandboxError, Wall

JOB = score_job(load_task("inverted_pendulum_balance"), (1, 2), {})


class Proving(ScriptedSandbox):
    """Counts its self-tests, and can be one that leaks."""

    def __init__(self, leak: str = "") -> None:
        super().__init__()
        self.leak, self.proofs = leak, 0

    def check(self, private: Sequence[Path] = ()) -> Wall:
        self.proofs += 1
        if self.leak:
            raise SandboxError(self.leak)
        return super().check()


def test_the_wall_proves_itself_before_the_first_box_and_once() -> None:
    sandbox = Proving()
    for _ in range(2):
        assert isinstance(run_alone(sandbox, JOB, stop=Event()), Finished)
    assert sandbox.proofs == 1
    assert isinstance(run_alone(other := Proving(), JOB), Finished)
    assert other.proofs == 1


def test_a_wall_that_leaks_runs_nothing() -> None:
    sandbox = Proving("the wall leaks: files: read")
    for _ in range(2):
        with pytest.raises(EnvironmentMissing, match="the wall leaks: files: read"):
            run_alone(sandbox, JOB)
    assert (sandbox.proofs, sandbox.started) == (2, [])
