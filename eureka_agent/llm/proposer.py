"""A proposer that asks a language model: compose, complete, extract, check, and one turn of repair."""

from __future__ import annotations

from typing import Protocol

from eureka_agent.llm.completion import LLM, Completion
from eureka_agent.llm.extract import REFUSED, Extracted, extract_code
from eureka_agent.llm.prompting import Prompts, Request
from eureka_agent.population import Brief, Population, Proposal
from eureka_agent.reward_code import check_reward_code
from eureka_agent.task import Task
from eureka_sandbox.protocol import Failure


class Transcript(Protocol):
    """Where calls are kept; see `transcript.RunTranscript`."""

    def ask(self, llm: LLM, request: Request) -> tuple[Request, Completion]:
        """The answer to a request, asked for once in a run; with it the request as it was sent."""
        ...

    def parsed(self, request: Request) -> None:
        """What could be made of the answer is known."""
        ...


class LLMProposer:
    """Turns a model's answers into candidates.

    Args:
        llm: who is asked.
        prompts: how.
        transcript: where calls are kept; without one they are not.
    """

    def __init__(self, llm: LLM, prompts: Prompts, transcript: Transcript | None = None) -> None:
        self._llm = llm
        self._prompts = prompts
        self._transcript = transcript

    def propose(self, brief: Brief, task: Task, population: Population) -> Proposal:
        """Ask once; if the answer is no reward function over the task's variables, say why and ask once more."""
        request, completion, proposal = self._answer(self._prompts.compose(brief, task, population), task)
        if proposal.failure is None or completion.finish_reason in REFUSED:
            return proposal
        return self._answer(self._prompts.repair(request, completion.text, proposal.failure), task)[2]

    def _answer(self, request: Request, task: Task) -> tuple[Request, Completion, Proposal]:
        if self._transcript is None:
            completion = self._llm.complete(request)
            return request, completion, _read(completion, task)
        request, completion = self._transcript.ask(self._llm, request)
        proposal = _read(completion, task)
        self._transcript.parsed(request)
        return request, completion, proposal


def _read(completion: Completion, task: Task) -> Proposal:
    found = extract_code(completion.text, completion.finish_reason)
    if isinstance(found, Failure):
        return Proposal(failure=found)
    assert isinstance(found, Extracted)
    failure = check_reward_code(found.code, task.variables)
    # JSON can spell half of a surrogate pair, which the check refuses and the journal could not hold
    return Proposal(code=found.code.encode("utf-8", "backslashreplace").decode(), failure=failure)
