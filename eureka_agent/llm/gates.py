"""The gates between an answer and a training: is there code, does it keep the contract, what does it do when it runs?

Each gate is cheaper than what comes after it. What it stops is recorded with the reason (`population.Catch`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eureka_agent.contract.reward_code import check_reward_code
from eureka_agent.contract.task import Task
from eureka_agent.llm.completion import Completion
from eureka_agent.llm.extract import Extracted, extract_code
from eureka_agent.llm.reasons import told
from eureka_agent.population import Catch, Proposal
from eureka_agent.search.duplicates import packed
from eureka_sandbox.protocol import Failure, SmokeResult, TermStatistics, Verdict

Smoke = Callable[[str], SmokeResult | Failure]
"""Runs reward code in a box on recorded transitions of the task."""
LARGEST = 1e6
"""Largest magnitude of a total per step that PPO's running normalisation copes with."""
STILL = 1e-9
"""Spread of the total, relative to its size, below which it is the same everywhere."""
SLOWEST_SECONDS_PER_STEP = 1e-3
"""A reward slower than this takes longer than the simulation and the learning together, ten times over."""
SUM_GAP = 1e-3
"""How far the total may be from the sum of its components, relative to its size."""


@dataclass(frozen=True)
class Examined:
    """An answer after the gates: a proposal, and what stopped it or asks for a repair."""

    proposal: Proposal
    catch: Catch | None = None
    reason: str = ""
    """For the prompt: what is wrong, in words that are safe to tell."""
    silent: tuple[str, ...] = ()
    """Components that never changed on the recorded transitions: for the critic."""


def examine(completion: Completion, task: Task, smoke: Smoke | None) -> Examined:
    """Take an answer through the gates, up to the first that stops it."""
    found = extract_code(completion.text, completion.finish_reason)
    if isinstance(found, Failure):
        return _stopped("extraction", "", found, told(found, None))
    assert isinstance(found, Extracted)
    return examine_code(found.code, task, smoke)


def examine_code(source: str, task: Task, smoke: Smoke | None) -> Examined:
    """Take code through the gates that come after extraction."""
    # JSON can spell half of a surrogate pair, which the check refuses and the journal could not hold
    code = source.encode("utf-8", "backslashreplace").decode()
    if failure := check_reward_code(source, task.variables):
        return _stopped("static", code, failure, told(failure, None))
    if smoke is None:
        return Examined(Proposal(code=code))
    result = smoke(code)
    if isinstance(result, Failure):
        return _stopped("smoke", code, result, told(result, code))
    proposal = Proposal(code=code, fingerprint=packed(result.fingerprint))
    if failure := objection(result):
        catch = Catch(gate="smoke", reason=failure.message, pointless=True)
        return Examined(Proposal(code=code, failure=failure), catch, failure.message)
    if reason := sum_gap(result):
        catch = Catch(gate="smoke", reason=reason, fatal=False)
        return Examined(proposal, catch, reason, silent_components(result))
    return Examined(proposal, silent=silent_components(result))


def objection(result: SmokeResult) -> Failure | None:
    """What makes a training with this reward pointless, from its values on recorded transitions."""
    total = result.total
    size = max(abs(total.low), abs(total.high))
    problem = ""
    if not result.deterministic:
        problem = (
            "the same transitions were paid differently the second time, in another order; a reward must be a pure "
            "function of each row"
        )
    elif total.high - total.low <= STILL * max(size, 1.0):
        problem = (
            f"the total is {total.mean:.3g} on all {result.transitions} transitions; nothing can be learned from it"
        )
    elif size > LARGEST:
        problem = f"the total reaches {size:.2g} in one step; bound its terms so that it stays below {LARGEST:.0e}"
    elif result.seconds_per_step > SLOWEST_SECONDS_PER_STEP:
        problem = (
            f"one step takes {1e3 * result.seconds_per_step:.2g} ms for each environment; compute with whole tensors, "
            "without loops over environments"
        )
    return Failure(verdict=Verdict.CODE_ERROR, message=problem, file="reward.py") if problem else None


def sum_gap(result: SmokeResult) -> str:
    """Why the total is not the sum of its components; empty if it is."""
    size = max(abs(result.total.low), abs(result.total.high), 1.0)
    if not result.components or result.sum_gap <= SUM_GAP * size:
        return ""
    return (
        f"the total differs from the sum of the components by up to {result.sum_gap:.3g} in one step; return what is "
        "added up, weighted as it counts"
    )


def silent_components(result: SmokeResult) -> tuple[str, ...]:
    """Components that never change on the recorded transitions: unreachable, or paid whatever happens."""
    return tuple(name for name, term in result.components.items() if _still(term))


def _still(term: TermStatistics) -> bool:
    return term.high - term.low <= STILL * max(abs(term.low), abs(term.high), 1.0)


def _stopped(gate: str, code: str, failure: Failure, reason: str) -> Examined:
    return Examined(Proposal(code=code, failure=failure), Catch(gate=gate, reason=reason), reason)
