"""Keeps every prompt and every answer in the run: reserved → sent → received (durable) → parsed.

A call that was answered is never asked again: its answer comes from the journal, and so do its words, so that a changed
template or a recomputed number cannot part an answer from its question.
"""

from __future__ import annotations

import time

from eureka_agent.errors import BudgetExhausted, EurekaError
from eureka_agent.llm.completion import LLM, Completion
from eureka_agent.llm.ledger import Ledger, usage_of
from eureka_agent.llm.prompting import Request
from eureka_agent.runs.calls import Call, packed, unpacked
from eureka_agent.runs.run import Run


def call_key(request: Request) -> str:
    """Key of the first attempt at a request in the journal, `<brief id>/<purpose>/<attempt>`."""
    return f"{request.brief}/{request.purpose}/1"


class RunTranscript:
    """The calls of one run. Its methods may be called from several threads, each with calls of its own."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ledger = Ledger(run)

    def ask(self, llm: LLM, request: Request) -> tuple[Request, Completion]:
        """The answer to a request, with the request as it was sent.

        Raises:
            EurekaError: it was sent in an earlier sitting, never answered, and may cost to send again.
            BudgetExhausted: the cap on calls is reached.
        """
        call = self._last(request)
        if call is None or call.dismissed:
            call = self._reserved(request, 1 if call is None else call.attempt + 1)
        request = request.model_copy(update={"messages": unpacked(self._run.blob(call.prompt))})
        if call.response is not None:
            return request, self._stored(call)
        if call.state == "sent" and not llm.free:
            raise EurekaError(
                f"call {call.key}: sent in an earlier sitting and never answered; it may have been billed, so it is "
                "not sent again. A new run asks afresh"
            )
        call = call.model_copy(update={"state": "sent", "sent": time.time()})
        self._run.save_call(call)
        try:
            return request, self._received(call, llm.complete(request))
        finally:
            self._ledger.gone(call)

    def parsed(self, request: Request) -> None:
        """Note that the answer has become a proposal or a failure."""
        call = self._last(request)
        assert call is not None
        if call.state != "parsed":
            self._run.save_call(call.model_copy(update={"state": "parsed", "parsed": time.time()}))

    def _last(self, request: Request) -> Call | None:
        return next(reversed(self._run.attempts(request.brief, request.purpose)), None)

    def _reserved(self, request: Request, attempt: int) -> Call:
        call = Call(
            key=f"{request.brief}/{request.purpose}/{attempt}",
            brief=request.brief,
            purpose=request.purpose,
            attempt=attempt,
            prompt=self._run.put_blob(packed(request.messages)),
            reserved_cost=0.0,
            cost=0.0,
            reserved=time.time(),
        )
        if full := self._ledger.reserve(call):
            raise BudgetExhausted(full)
        return call

    def _received(self, call: Call, completion: Completion) -> Completion:
        usage = completion.usage
        answer = {
            "state": "received",
            "received": time.time(),
            "response": self._run.put_blob(completion.text.encode("utf-8", "surrogatepass")),
            "model": completion.model,
            "finish_reason": completion.finish_reason,
            **(usage.model_dump() if usage else {}),
        }
        self._run.save_call(call.model_copy(update=answer))
        return completion

    def _stored(self, call: Call) -> Completion:
        assert call.response is not None
        return Completion(
            text=self._run.blob(call.response).decode("utf-8", "surrogatepass"),
            finish_reason=call.finish_reason or "stop",
            model=call.model or "",
            usage=usage_of(call),
        )
