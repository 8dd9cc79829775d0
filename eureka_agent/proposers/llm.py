"""A proposer that asks a language model: compose, complete, extract, check, and one turn of repair."""

from __future__ import annotations

from typing import Protocol

from eureka_agent.population import Brief, Population, Proposal, Record
from eureka_agent.proposers.extract import REFUSED, Extracted, extract_code
from eureka_agent.proposers.prompting import Prompts, Request
from eureka_agent.reward_code import check_reward_code
from eureka_agent.task import Task
from eureka_sandbox.protocol import Failure


class Usage(Record):
    """Tokens of one call, as the provider counts them."""

    input_tokens: int
    output_tokens: int


class Completion(Record):
    """What a model answered."""

    text: str
    finish_reason: str = "stop"
    """In the provider's word; see `extract.CUT_OFF` and `extract.REFUSED` for those that matter."""
    model: str
    """The model that answered, as it names itself."""
    usage: Usage | None = None


class LLM(Protocol):
    """One language model."""

    def complete(self, request: Request) -> Completion:
        """Answer a conversation. Called from several threads at once.

        Raises:
            EurekaError: there is no answer to be had, and the run must stop.
        """
        ...


class LLMProposer:
    """Turns a model's answers into candidates.

    Args:
        llm: who is asked.
        prompts: how.
    """

    def __init__(self, llm: LLM, prompts: Prompts) -> None:
        self._llm = llm
        self._prompts = prompts

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        """Ask once; if the answer is no reward function over the task's variables, say why and ask once more."""
        request = self._prompts.compose(brief, task, population)
        completion = self._llm.complete(request)
        proposal = _read(completion, task)
        if proposal.failure is None or completion.finish_reason in REFUSED:
            return proposal
        repair = self._prompts.repair(request, completion.text, proposal.failure)
        return _read(self._llm.complete(repair), task)


def _read(completion: Completion, task: Task) -> Proposal:
    found = extract_code(completion.text, completion.finish_reason)
    if isinstance(found, Failure):
        return Proposal(failure=found)
    assert isinstance(found, Extracted)
    return Proposal(code=found.code, failure=check_reward_code(found.code, task.variables))
