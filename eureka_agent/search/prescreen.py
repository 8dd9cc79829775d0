"""Rejects rewards that order recorded trajectories against the task's score before they are trained (`--prescreen`).

The trajectories are those on which the generation before was judged: play without learning, and earlier policies. A
reward's order of them says something about where it leads, and no more: so every fifth of the rejected is trained all
the same, and how often the rejection was wrong is told. Off unless it pays.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from pydantic import computed_field

from eureka_agent.lab.jobs import judging_job
from eureka_agent.lab.judging import JUDGING_SECONDS, JudgedBank, bank_key, probes_in, transitions_of
from eureka_agent.population import Candidate, Catch, Population, Record
from eureka_agent.runs.run import Run
from eureka_agent.text import percent, plural
from eureka_sandbox.bank import VALUES, VALUES_FILE
from eureka_sandbox.protocol import Failed, Failure, Verdict

if TYPE_CHECKING:
    from eureka_agent.lab.lab import Lab
    from eureka_evaluation.transitions import Transitions

THRESHOLD = 0.0
"""Least Kendall's tau-b between returns and fitness: below it, the reward orders more pairs wrongly than rightly."""
AUDITED = 5
"""One in so many of the rejected is trained all the same."""
FEWEST = 12
"""Trajectories; fewer say nothing."""


class Screening(Record):
    """What one reward's order of the trajectories came to."""

    tau: float | None = None
    """In [-1, 1]; None where nothing could be said: too few trajectories, or the reward failed on them."""
    trajectories: int = 0
    audited: bool = False
    """Drawn to be trained whatever comes out."""

    @property
    def rejected(self) -> bool:
        """Whether the order is against the score."""
        return self.tau is not None and self.tau < THRESHOLD


class Audit(Record):
    """How often prescreening was wrong: for the report."""

    screened: int
    rejected: int
    """Of these; the audited ones are among them."""
    audited: int
    """Rejected rewards that were trained all the same, and scored."""
    false: int
    """Of these, those at least as good as the median accepted reward of their generation."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def false_reject_rate(self) -> float | None:
        """Share of the audited; None without any."""
        return self.false / self.audited if self.audited else None


def prescreened(lab: Lab, candidates: Sequence[Candidate]) -> list[Candidate]:
    """A generation's candidates, those whose order is against the score with a failure; each decided once.

    All are accepted in the first generation and wherever no trajectories were recorded.
    """
    run = lab.run
    bank = run.decided(bank_key(candidates[0].brief.generation - 1), JudgedBank) if candidates else None
    if not run.settings.prescreen or bank is None:
        return list(candidates)
    known = transitions_of(run, bank.players)
    if len(known.policies) < FEWEST or len(known.trajectory) != bank.transitions:
        return list(candidates)
    lab.watcher.stage("prescreening the rewards on recorded trajectories")
    entered = [c for c in candidates if c.failure is None and c.duplicate_of is None]

    def screen(candidate: Candidate) -> Screening:
        return run.decide(screening_key(candidate.id), Screening, lambda: _screened(lab, candidate, bank, known))

    found = {c.id: s for c, s in zip(entered, lab.boxes.side_by_side(screen, entered), strict=True)}
    return [_judged(c, found[c.id]) if c.id in found else c for c in candidates]


def screening_key(candidate: str) -> str:
    """Of the decision what a candidate's order of the trajectories in a bank came to."""
    return f"prescreen/{candidate}/bank"


def audit(run: Run, population: Population) -> Audit | None:
    """What prescreening did in a run; None if it was not asked for."""
    if not run.settings.prescreen:
        return None
    found = {c.id: run.decided(screening_key(c.id), Screening) for c in population.candidates}
    screened = {name: screening for name, screening in found.items() if screening}
    rejected = [c for c in population.candidates if c.id in screened and screened[c.id].rejected]
    trained = [c for c in rejected if c.fitness is not None]
    false = sum((c.fitness or 0.0) >= _usual(population, c.brief.generation, screened) for c in trained)
    return Audit(screened=len(screened), rejected=len(rejected), audited=len(trained), false=false)


def told(found: Audit) -> str:
    """One line for the end of a search, and for the report."""
    if not found.screened:
        return "prescreen: nothing was recorded to order"
    text = f"prescreen: {found.rejected} of {plural(found.screened, 'reward')} rejected before training"
    if not found.audited:
        return text
    wrong = f"{found.false} came out at the median or above"
    rate = percent(found.false_reject_rate or 0.0)
    return f"{text}; of {found.audited} trained all the same, {wrong} ({rate} false rejects)"


def _usual(population: Population, generation: int, screened: dict[str, Screening]) -> float:
    """Median fitness of the accepted rewards of a generation."""
    accepted = [
        c.fitness
        for c in population.candidates
        if c.brief.generation == generation and c.fitness is not None and not c.duplicate_of
        if c.id not in screened or not screened[c.id].rejected
    ]
    return median(accepted) if accepted else float("-inf")


def _screened(lab: Lab, candidate: Candidate, bank: JudgedBank, known: Transitions) -> Screening:
    from safetensors.numpy import load

    from eureka_evaluation.tac import kendall_tau_b

    run = lab.run
    job = judging_job(run.task, candidate.code, run.blob(bank.blob), probes_in(bank), lab.boxes.limits(JUDGING_SECONDS))
    outcome = lab.boxes.run(screening_key(candidate.id), "prescreening", job, shown=False)
    if isinstance(outcome, Failed) or VALUES_FILE not in outcome.blobs:
        return Screening()  # training will say why
    totals = load(outcome.blobs[VALUES_FILE])[VALUES][0, : bank.transitions].astype(float)
    tau = kendall_tau_b(known.sums(totals)[0], known.fitness)
    drawn = run.settings.derived_seed("prescreen", candidate.id) % AUDITED == 0
    return Screening(tau=tau, trajectories=len(known.policies), audited=drawn)


def _judged(candidate: Candidate, screening: Screening) -> Candidate:
    if not screening.rejected:
        return candidate
    reason = (
        f"it orders {screening.trajectories} recorded trajectories against the score (Kendall's tau "
        f"{screening.tau:.2f}); pay more where the score is higher"
    )
    catch = Catch(gate="prescreen", reason=reason, fatal=not screening.audited, pointless=True)
    changes: dict[str, object] = {"catches": (*candidate.catches, catch)}
    if not screening.audited:
        changes["failure"] = Failure(verdict=Verdict.CODE_ERROR, message=reason, file="reward.py")
    return candidate.model_copy(update=changes)
