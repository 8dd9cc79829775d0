"""Rewards that order recorded trajectories against the score: rejected, audited, told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from eureka_agent.cli.result import result_data
from eureka_agent.contract.task import load_task
from eureka_agent.lab.judging import JudgedBank, bank_key, probes_in, transitions_of
from eureka_agent.lab.lab import Lab
from eureka_agent.llm.reasons import told as told_to_a_model
from eureka_agent.population import Brief, Candidate, Population
from eureka_agent.report.choosing import notes
from eureka_agent.report.facts import gather
from eureka_agent.runs.run import Run
from eureka_agent.search.prescreen import AUDITED, Audit, Screening, audit, prescreened, screening_key, told
from eureka_agent.settings import Settings
from eureka_sandbox.backends.scripted import ScriptedSandbox, _recording
from eureka_sandbox.bank import VALUES, VALUES_FILE
from eureka_sandbox.protocol import Finished, Job, Outcome, ScoreSpec, SmokeSpec, TrainSpec

TASK = load_task("hopper_forward")


class Ordering(ScriptedSandbox):
    """Records an episode of every policy; `# order: -1` in a reward pays trajectories in the reverse order."""

    def __init__(self, known: Run) -> None:
        super().__init__(episode_spread=0.5)
        self.known = known
        self._fitness: dict[str, Any] = {}

    def run(self, job: Job, *arguments: Any) -> Outcome:
        outcome = super().run(job, *arguments)
        if isinstance(job.spec, ScoreSpec) and "policy.json" in job.files and isinstance(outcome, Finished):
            result = outcome.result.model_copy(update={"recorded": [0]})
            return Finished(result, _recording(job.spec, [0]), outcome.seconds)
        if isinstance(job.spec, SmokeSpec) and job.spec.values and isinstance(outcome, Finished):
            return Finished(outcome.result, {VALUES_FILE: self._values(job)}, outcome.seconds)
        return outcome

    def _values(self, job: Job) -> bytes:
        decided = [self.known.decided(bank_key(generation), JudgedBank) for generation in range(2)]
        bank = next(b for b in decided if b and self.known.blob(b.blob) == job.files["bank.safetensors"])
        if bank.blob not in self._fitness:
            known = transitions_of(self.known, bank.players)
            self._fitness[bank.blob] = known.fitness[known.trajectory]
        sign = -1.0 if b"# order: -1" in job.files["reward.py"] else 1.0
        row = np.concatenate([sign * self._fitness[bank.blob], np.zeros(probes_in(bank))])
        data: bytes = save({VALUES: np.stack([row, row]).astype(np.float32)})
        return data


def candidates(generation: int) -> list[Candidate]:
    """Six that order trajectories against the score, and two that do not."""
    found = []
    for slot in range(8):
        brief = Brief(id=f"g{generation}c{slot}", generation=generation, slot=slot, operator="sample", seed=slot)
        code = f"# {brief.id}\n# order: {-1 if slot < 6 else 1}\n# scripted: fitness={slot}\n"
        found.append(Candidate(brief=brief, code=code))
    return found


def search(folder: Path, **changes: Any) -> Iterator[tuple[Run, ScriptedSandbox]]:
    """One generation measured, and the next one prescreened and measured."""
    with Run.create(folder, TASK, Settings(population=8, generations=2, racing="none", seed=0, **changes)) as run:
        sandbox = Ordering(run)
        lab = Lab(sandbox, run)
        lab.floor()
        first = prescreened(lab, candidates(0))
        assert first == candidates(0), "nothing was recorded yet"
        population = run.extend(Population(), lab.measure(first, Population()))
        run.extend(population, lab.measure(prescreened(lab, candidates(1)), population))
        yield run, sandbox


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    for found, _ in search(tmp_path / "run", prescreen=True):
        yield found


def test_those_against_the_score_are_rejected_but_for_the_audited(run: Run) -> None:
    second = run.population().born(1)
    found = [run.decided(screening_key(c.id), Screening) for c in second]
    assert [s.tau for s in found if s] == [-1.0] * 6 + [1.0] * 2
    drawn = {c.id for c in second if run.settings.derived_seed("prescreen", c.id) % AUDITED == 0 and c.brief.slot < 6}
    assert 0 < len(drawn) < 6, "choose another seed"
    for candidate in second:
        rejected = candidate.brief.slot < 6 and candidate.id not in drawn
        assert (candidate.failure is not None) == rejected
        assert (candidate.training is None) == rejected
        assert [c.gate for c in candidate.catches] == ["prescreen"] * (candidate.brief.slot < 6)
    failed = next(c for c in second if c.failure)
    assert failed.failure is not None
    message = failed.failure.message
    assert message.startswith("it orders ")
    assert "(Kendall's tau -1.00)" in message
    assert told_to_a_model(failed.failure, failed.code) == f"code error: {message}"
    found_out = audit(run, run.population())
    assert found_out == Audit(screened=8, rejected=6, audited=len(drawn), false=0), "slots 6 and 7 score more"
    assert found_out.false_reject_rate == 0.0
    said = f"6 of 8 rewards rejected before training; of {len(drawn)} trained all the same, 0"
    assert said in told(found_out)
    facts = gather(run)
    assert any(said in line for line in notes(facts)), "in the report"
    assert result_data(facts, Path("x"))["prescreen"] == {
        "screened": 8,
        "rejected": 6,
        "audited": len(drawn),
        "false": 0,
        "false_reject_rate": 0.0,
    }


def test_without_the_flag_nothing_is_screened(tmp_path: Path) -> None:
    for found, sandbox in search(tmp_path / "run"):
        assert all(c.training for c in found.population().candidates)
        assert found.decided(screening_key("g1c0"), Screening) is None
        assert audit(found, found.population()) is None
        assert result_data(gather(found), Path("x"))["prescreen"] is None
        assert sum(isinstance(job.spec, TrainSpec) for job in sandbox.started) == 16


def test_a_reward_that_pays_all_trajectories_alike_is_not_against_the_score() -> None:
    assert not Screening(tau=0.0, trajectories=20).rejected
    assert not Screening().rejected
    assert told(Audit(screened=9, rejected=5, audited=4, false=1)).endswith(
        "1 came out at the median or above (25 % false rejects)"
    )
    assert Screening(tau=-0.01, trajectories=20).rejected
