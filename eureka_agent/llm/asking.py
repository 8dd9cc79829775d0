"""Asks providers for a run: one retry loop, every attempt reserved before it is sent and kept before it is read.

What has been tried is in the journal, one row per attempt, and what to do next follows from the last row. So a sitting
that was killed at any instant is continued by the same loop, and an answer that was paid for is never asked for again.
"""

from __future__ import annotations

import threading
import time as wall
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from eureka_agent.calls import Call, Message, packed, unpacked
from eureka_agent.errors import BudgetExhausted
from eureka_agent.llm.broker import Broker
from eureka_agent.llm.completion import LLM, AskingStopped, Completion, NoAnswer
from eureka_agent.llm.ensemble import Ensemble
from eureka_agent.llm.extract import CUT_OFF, REFUSED, extract_code
from eureka_agent.llm.ledger import Ledger, booked, usage_of
from eureka_agent.llm.pacing import Extra, Lane, Time, backoff
from eureka_agent.llm.prices import longest_answer, most_input_tokens, price_of, worst_cost
from eureka_agent.llm.prompting import Request
from eureka_agent.llm.stops import gave_up, lost_answer, refused, rejected, undecided
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, ModelConfig, Outcome
from eureka_agent.proposers import Sitting
from eureka_agent.text import visible
from eureka_sandbox.protocol import Failure, Verdict

ATTEMPTS = 6
"""Most attempts at one request in one sitting."""
PATIENCE_SECONDS = 15 * 60.0
"""Longest time from the first of them to the last."""
REFUSALS = 3
"""So many refusals in a row are for a person to look at."""
WAITING = (FaultKind.RATE_LIMIT, FaultKind.OVERLOADED, FaultKind.CONNECT)
"""Faults that cost nothing and may pass."""
LOST = (FaultKind.LOST, FaultKind.STREAM)
Shorten = Callable[[Request, int], Request | None]
"""The request with the first n steps of leaving out taken; None if there are fewer."""


@dataclass
class _Tries:
    """What one request has been through in this sitting."""

    began: float
    failures: int = 0
    fault: Fault | None = None
    """The last one."""


class Asking:
    """A run's conversations with the models of providers: who is asked (`LLM`) and where it is kept (`Transcript`)."""

    free = False

    def __init__(
        self, sitting: Sitting, ensemble: Ensemble, broker: Broker, shorten: Shorten, time: Time | None = None
    ) -> None:
        self._sitting, self._run, self._stopping = sitting, sitting.run, sitting.stopping
        self._ensemble, self._broker, self._shorten = ensemble, broker, shorten
        self._time = time or Time()
        self._ledger = Ledger(self._run, self._stopping)
        self._extra = Extra()
        self._lanes = {model.name: Lane(self._stopping, self._time) for model in ensemble.models}
        self._lock = threading.Lock()
        self._refusals = 0
        self._served: set[tuple[str, str]] = set()

    def complete(self, request: Request) -> Completion:
        """As `ask`."""
        return self.ask(self, request)[1]

    def ask(self, llm: LLM, request: Request) -> tuple[Request, Completion]:
        """The answer to a request, paid for once in a run; with it the request as it was sent.

        Raises:
            NoAnswer: this request has none; others may.
            BudgetExhausted: a cap leaves no room, or the provider needs a person.
            EurekaError: no request can be answered as things are set.
            AskingStopped: the sitting ends while this waits.
        """
        assert llm is self, "a run's ledger asks its own models"
        tried = self._run.attempts(request.brief, request.purpose)
        call, fresh, tries = (tried[-1] if tried else self._first(request)), False, _Tries(self._time.clock())
        while True:
            if call.state == "sent":
                call = self._adopted(call)
            elif call.state == "reserved":
                call, fresh = self._sent(call, tries), True
            following = self._after_answer(call, fresh) if call.answered else self._after_fault(call, fresh, tries)
            if following is None:
                return request.model_copy(update={"messages": self._messages(call)}), self._completion(call)
            call = following

    def parsed(self, request: Request) -> None:
        """Note that the answer has become a proposal or a failure."""
        call = self._run.attempts(request.brief, request.purpose)[-1]
        if call.state == "received":
            self._run.save_call(call.model_copy(update={"state": "parsed", "parsed": wall.time()}))

    def recover(self) -> list[Call]:
        """Take in what an earlier sitting was waiting for; returns the calls whose outcome nobody knows."""
        calls = [call for call in self._run.calls() if call.ticket]
        open_calls = [call for call in calls if call.state == "sent"]
        for call in calls:
            if not call.open:  # a sitting that was killed between keeping an answer and letting the broker forget it
                self._broker.forget(call.ticket or "")
        if open_calls:
            self._sitting.watcher.waiting(f"waiting for {len(open_calls)} answers that an earlier sitting asked for")
        settled = [self._adopted(call) for call in open_calls]
        if open_calls:
            self._sitting.watcher.waiting("")
        return [call for call in settled if call.state == "unknown"]

    # ------------------------------------------------------------------------------------------------- one attempt

    def _first(self, request: Request) -> Call:
        model = self._ensemble.chosen(self._run.settings.derived_seed("model", request.brief))
        return self._drafted(request.brief, request.purpose, 1, model, request.messages, self._usual_length(model))

    def _another(self, call: Call, messages: tuple[Message, ...] | None = None, longest: int | None = None) -> Call:
        """The attempt that follows on `call`, with the same words and limits unless others are given."""
        model = self._ensemble.named(call.asked or "")
        longest = longest or max(call.max_output_tokens or 0, self._usual_length(model))
        number = call.attempt + 1
        return self._drafted(call.brief, call.purpose, number, model, messages or self._messages(call), longest)

    def _drafted(
        self, brief: str, purpose: str, attempt: int, model: ModelConfig, messages: tuple[Message, ...], longest: int
    ) -> Call:
        words, price = most_input_tokens(messages), price_of(model)
        worst = None if price is None else worst_cost(price, words, longest)
        return Call(
            key=f"{brief}/{purpose}/{attempt}",
            brief=brief,
            purpose=purpose,
            attempt=attempt,
            prompt=self._run.put_blob(packed(messages)),
            asked=model.name,
            ticket=uuid.uuid4().hex,
            max_output_tokens=longest,
            reserved_tokens=words + longest,
            tokens=words + longest,
            reserved_cost=worst,
            cost=worst,
            reserved=wall.time(),
        )

    def _sent(self, call: Call, tries: _Tries) -> Call:
        """Reserve, send, and keep what comes."""
        model = self._ensemble.named(call.asked or "")
        lane = self._lanes[model.name]
        if not tries.failures:
            self._extra.first()
        with lane.turn():
            if full := self._ledger.reserve(call):
                raise BudgetExhausted(full)
            try:
                call = call.model_copy(update={"state": "sent", "sent": wall.time()})
                self._run.save_call(call)
                outcome = self._broker.ask(_ask(call, model, self._messages(call)))
                call = self._settled(call, outcome)
            finally:
                self._ledger.gone(call)
        if isinstance(outcome, Answered):
            lane.answered()
        elif outcome.kind is FaultKind.RATE_LIMIT:
            lane.too_much(outcome.retry_after)
        elif outcome.kind in (*WAITING, *LOST):
            lane.failed(outcome.retry_after)
        tries.fault = outcome if isinstance(outcome, Fault) else None
        return call

    def _adopted(self, call: Call) -> Call:
        """A call that an earlier sitting has sent, with what came of it."""
        outcome = self._broker.adopt(call.ticket or "") or lost_answer()
        return self._settled(call, outcome)

    def _settled(self, call: Call, outcome: Outcome) -> Call:
        """Make durable what came of a call, then let the broker forget it."""
        if isinstance(outcome, Answered):
            call = self._received(call, outcome)
        else:
            part = outcome.text.encode("utf-8", "surrogatepass")
            free = {"state": "failed", "tokens": 0, "cost": 0.0}
            update = free if outcome.billed == "no" else {"state": "unknown", "estimated": True}
            update |= {"fault": str(outcome.kind), "message": outcome.message, "received": wall.time()}
            call = call.model_copy(update={**update, "raw": self._run.put_blob(part) if part else None})
        self._ledger.settle(call)
        self._broker.forget(call.ticket or "")
        return call

    def _received(self, call: Call, answer: Answered) -> Call:
        update = {
            "state": "received",
            "received": wall.time(),
            "response": self._run.put_blob(answer.text.encode("utf-8", "surrogatepass")),
            "raw": self._run.put_blob(answer.raw.encode("utf-8", "surrogatepass")),
            "model": answer.model,
            "finish_reason": answer.finish_reason,
            "request_id": answer.request_id or None,
        }
        self._note_who_served(call.asked or "", answer.model)
        price = price_of(self._ensemble.named(call.asked or ""))
        return booked(call.model_copy(update=update), answer.usage, price)

    # --------------------------------------------------------------------------------------------- what comes after

    def _after_answer(self, call: Call, fresh: bool) -> Call | None:
        """Another attempt if the answer is of no use, or None if it counts."""
        completion = self._completion(call)
        if completion.finish_reason in REFUSED:
            if fresh:
                self._count_refusal(call, completion.text)
            return None
        with self._lock:
            self._refusals = 0
        earlier = [c for c in self._run.attempts(call.brief, call.purpose) if c.answered and c.attempt < call.attempt]
        if completion.finish_reason in CUT_OFF and isinstance(extract_code(completion.text), Failure):
            return self._longer(call, any(c.finish_reason in CUT_OFF for c in earlier))
        if not completion.text.strip():
            if any(not self._run.blob(c.response or "").strip() for c in earlier):
                raise NoAnswer(_failure("the model's answer is empty, the second time too"))
            return self._another(call)
        return None

    def _longer(self, call: Call, again: bool) -> Call:
        """The same request with room for twice the answer, if there was none such yet and the caps allow it."""
        model, had = self._ensemble.named(call.asked or ""), call.max_output_tokens or 0
        longest = min(2 * had, longest_answer(model) or 2 * had)
        told = f"the answer is cut off after {had} tokens"
        if again or longest <= had:
            raise NoAnswer(_failure(f"{told}; --max-output-tokens allows more"))
        following = self._another(call, longest=longest)
        if self._ledger.reserve(following):
            raise NoAnswer(_failure(f"{told}, and a cap leaves no room for a longer one"))
        return following

    def _after_fault(self, call: Call, fresh: bool, tries: _Tries) -> Call:
        """The attempt that follows on one without an answer; after a resume by a person most are worth another."""
        kind = FaultKind(call.fault or FaultKind.LOST)
        if kind is FaultKind.CONTEXT:
            return self._shorter(call)
        if kind in LOST:
            self._decide_on_unknown(call)
        if kind is FaultKind.BAD_ANSWER and call.attempt > 1:
            raise NoAnswer(_failure("the provider's answer cannot be read, the second time too"))
        if fresh and kind not in (*WAITING, *LOST, FaultKind.BAD_ANSWER):
            if kind is FaultKind.BAD_REQUEST and self._longer_than_usual(call):
                raise NoAnswer(_failure(f"the answer was cut off, and {call.max_output_tokens} tokens are refused"))
            raise rejected(self._run, call)
        if fresh:
            self._wait(call, tries)
        return self._another(call)

    def _shorter(self, call: Call) -> Call:
        """The same request with more left out, in the order in which prompts are always shortened."""
        tried = self._run.attempts(call.brief, call.purpose)
        known = {attempt.prompt for attempt in tried}
        whole = Request(messages=self._messages(tried[0]), brief=call.brief, purpose=call.purpose, position=0)
        level = 1
        while (shorter := self._shorten(whole, level)) is not None:
            following = self._another(call, messages=shorter.messages)
            if following.prompt not in known:
                return following
            level += 1
        raise NoAnswer(_failure(f"the prompt is too long for {call.asked}, even with all left out that can be"))

    def _decide_on_unknown(self, call: Call) -> None:
        match self._run.settings.on_unknown:
            case "skip":
                raise NoAnswer(_failure("the answer was lost on its way, and is not asked for again (--on-unknown)"))
            case "ask":
                raise undecided(self._run, call)
            case "resend":
                return

    def _wait(self, call: Call, tries: _Tries) -> None:
        tries.failures += 1
        fault = tries.fault
        pause = backoff(tries.failures, fault.retry_after if fault else None, self._time)
        spent = self._time.clock() - tries.began
        if fault is not None and fault.retry is False:
            raise gave_up(self._run, call, "says that asking again is of no use")
        if tries.failures >= ATTEMPTS or spent + pause > PATIENCE_SECONDS:
            asked = f", and wants {pause:.0f} s more" if tries.failures < ATTEMPTS else ""
            raise gave_up(self._run, call, f"gave no answer in {tries.failures} attempts over {spent:.0f} s{asked}")
        if not self._extra.again():
            raise gave_up(self._run, call, "fails so often that this sitting's retries are used up")
        self._time.sleep(pause, self._stopping)
        if self._stopping.is_set():
            raise AskingStopped(call.key)

    # ------------------------------------------------------------------------------------------------------ helpers

    def _count_refusal(self, call: Call, text: str) -> None:
        with self._lock:
            self._refusals += 1
            if self._refusals >= REFUSALS:
                raise refused(self._run, call, REFUSALS, text)

    def _note_who_served(self, asked: str, served: str) -> None:
        """Say once if another model answered: results may not be reproducible."""
        name = asked.partition("/")[2].rpartition("/")[2]
        with self._lock:
            if not served or name in served or served in asked or (asked, served) in self._served:
                return
            self._served.add((asked, served))
        self._sitting.watcher.stage(f"{asked}: answers come from {visible(served)[:100]}, another model by its name")

    def _usual_length(self, model: ModelConfig) -> int:
        return min(self._run.settings.max_output_tokens, longest_answer(model) or self._run.settings.max_output_tokens)

    def _longer_than_usual(self, call: Call) -> bool:
        return (call.max_output_tokens or 0) > self._usual_length(self._ensemble.named(call.asked or ""))

    def _messages(self, call: Call) -> tuple[Message, ...]:
        return unpacked(self._run.blob(call.prompt))

    def _completion(self, call: Call) -> Completion:
        return Completion(
            text=self._run.blob(call.response or "").decode("utf-8", "surrogatepass"),
            finish_reason=call.finish_reason or "stop",
            model=call.model or call.asked or "",
            usage=usage_of(call),
        )


def _ask(call: Call, model: ModelConfig, messages: tuple[Message, ...]) -> Ask:
    return Ask(
        key=call.key,
        model=model,
        messages=messages,
        max_output_tokens=call.max_output_tokens or 1,
        idempotency_key=call.ticket or "",
    )


def _failure(message: str) -> Failure:
    return Failure(verdict=Verdict.CODE_ERROR, message=message)
