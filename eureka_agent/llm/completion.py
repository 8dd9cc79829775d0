"""What a language model is to the search: a conversation goes in, a completion comes out."""

from __future__ import annotations

from typing import Protocol

from eureka_agent.llm.prompting import Request
from eureka_agent.population import Record
from eureka_sandbox.protocol import Failure


class Usage(Record):
    """Tokens of one call, as the provider counts them."""

    input_tokens: int
    """Those read from and written to the provider's cache included."""
    output_tokens: int
    """Thinking included."""
    cached_tokens: int = 0
    """Input tokens that the provider found in its cache."""
    cache_write_tokens: int = 0
    """Input tokens that the provider put into its cache."""


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

    @property
    def free(self) -> bool:
        """Whether asking twice costs nothing; what is not free is not sent again if its answer may have been billed."""
        ...

    def complete(self, request: Request) -> Completion:
        """Answer a conversation. Called from several threads at once.

        Raises:
            EurekaError: there is no answer to be had, and the run must stop.
            AskingStopped: the sitting ends while this waits.
        """
        ...


class AskingStopped(Exception):
    """The sitting ended before an answer came; nobody is told, and a later sitting waits on."""


class NoAnswer(Exception):
    """No answer is to be had for this one request: its candidate goes without, and the search goes on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Blind(NoAnswer):
    """The model takes no pictures, or there is none of that name: no request that shows one has an answer."""
