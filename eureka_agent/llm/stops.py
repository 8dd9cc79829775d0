"""Why a search stops at a language model, in words that say whose turn it is and what continues it."""

from __future__ import annotations

from eureka_agent.errors import EnvironmentMissing, EurekaError, Paused, UsageError
from eureka_agent.llm.ledger import again, cost_text
from eureka_agent.llm.prompting import LOOKS
from eureka_agent.llm.wire import Fault, FaultKind
from eureka_agent.runs.calls import Call
from eureka_agent.runs.run import Run, standing
from eureka_agent.text import visible

MOST_TEXT = 600
"""Characters of a model's own words that are shown."""


def lost_answer() -> Fault:
    """The outcome of a call whose broker died before its answer was kept."""
    return Fault(kind=FaultKind.LOST, message="the process that waited for the answer was ended", billed="unknown")


def worst(call: Call) -> str:
    """What is booked for a call whose outcome nobody knows: `its worst cost, $0.12`."""
    return f"its worst cost, {cost_text(call.cost or 0.0, int(call.cost is None))}"


def rejected(run: Run, call: Call) -> EurekaError:
    """The provider will not take any such request as things are set."""
    said = f"{call.asked}: {call.message}"
    match FaultKind(call.fault or ""):
        case FaultKind.AUTH:
            return EnvironmentMissing(f"{said}; set the provider's key (`eureka doctor` names it) and {_continue(run)}")
        case FaultKind.NOT_FOUND:
            option = "--vision-model" if call.purpose in LOOKS else "--model"
            return UsageError(
                f"{said}; the name after the slash in {option} is the provider's own, and its address is --base-url or "
                f"base_url in a models file; with another address {_continue(run)}"
            )
        case FaultKind.QUOTA:
            return Paused(f"{said} ({standing(run)}); add credit at the provider, then {_continue(run)}")
        case _:
            return UsageError(
                f"{said}; --max-output-tokens ({call.max_output_tokens}), --effort and --base-url are what it can "
                f"object to; with others {_continue(run)}"
            )


def gave_up(run: Run, call: Call, why: str) -> Paused:
    """The provider has been in trouble for too long."""
    well = "it is well"
    if call.fault == FaultKind.CONNECT:
        well = "its server answers (another address: --base-url, or base_url in a models file)"
    return Paused(f"{call.asked} {why}; last: {call.message} ({standing(run)}); once {well}, {_continue(run)}")


def undecided(run: Run, call: Call) -> Paused:
    """A lost answer, where a person wants to decide."""
    return Paused(
        f"call {call.key} to {call.asked}: {call.message}; {worst(call)} is booked ({standing(run)}). Ask again with "
        f"`{again(run, '--on-unknown', 'resend')}`, or go without it with `{again(run, '--on-unknown', 'skip')}`"
    )


def refused(run: Run, call: Call, times: int, text: str) -> Paused:
    """The model refuses again and again; a person should see its words."""
    words = visible(" ".join(text.split()))[:MOST_TEXT] or "(it gave no reason)"
    return Paused(
        f"{call.asked} refused {times} times in a row, last for {call.key}: {words} ({standing(run)}). If the task's "
        f"text invites that, change it in a new run; otherwise {_continue(run)}"
    )


def _continue(run: Run) -> str:
    return f"continue with: {again(run)}"
