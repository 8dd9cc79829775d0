"""Asks providers for a run: one retry loop, every attempt reserved before it is sent and kept before it is read.

What has been tried is in the journal, one row per attempt, and what to do next follows from the last row. So a sitting
that was killed at any instant is continued by the same loop, and an answer that was paid for is never asked for again.
"""

from __future__ import annotations

import threading
import time as wall
from collections.abc import Callable
from dataclasses import dataclass

from eureka_agent.errors import BudgetExhausted
from eureka_agent.llm.bounded import goes_round, too_long
from eureka_agent.llm.broker import Broker
from eureka_agent.llm.completion import LLM, AskingStopped, Blind, Completion, NoAnswer
from eureka_agent.llm.ensemble import Ensemble
from eureka_agent.llm.extract import CUT_OFF, REFUSED, extract_code
from eureka_agent.llm.faults import no_pictures
from eureka_agent.llm.ledger import usage_of
from eureka_agent.llm.pacing import REST_SECONDS, Extra, Time, backoff
from eureka_agent.llm.prices import longest_answer
from eureka_agent.llm.prompting import LOOKS, Request
from eureka_agent.llm.sending import Sender
from eureka_agent.llm.stops import gave_up, refused, rejected, undecided
from eureka_agent.llm.wire import Fault, FaultKind
from eureka_agent.proposers import Sitting
from eureka_agent.runs.calls import Call, Message
from eureka_agent.text import duration, plural
from eureka_sandbox.protocol import Failure, Verdict

ATTEMPTS = 6
"""Most attempts at one request in one sitting; so many calls to a model that none has reached are enough, too."""
PATIENCE_SECONDS = 15 * 60.0
"""Longest time from the first of them to the last."""
REFUSALS = 3
"""So many refusals in a row are for a person to look at."""
WAITING = (FaultKind.RATE_LIMIT, FaultKind.OVERLOADED, FaultKind.CONNECT)
"""Faults that cost nothing and may pass."""
LOST = (FaultKind.LOST, FaultKind.STREAM)
GOES_ROUND_CUT_OFF = 20
"""As `bounded.GOES_ROUND`, of an answer that was cut off: the honest end of it is not there to be seen."""
Shorten = Callable[[Request, int], Request | None]
"""The request with the first n steps of leaving out taken; None if there are fewer."""


@dataclass
class _Tries:
    """What one request has been through in this sitting."""

    began: float = 0.0
    """When the first attempt failed: before it, a call may wait long for its turn."""
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
        self._sender = Sender(sitting, ensemble, broker, self._time)
        self._extra = Extra()
        self._lock = threading.Lock()
        self._refusals = 0

    def complete(self, request: Request) -> Completion:
        """As `ask`."""
        return self.ask(self, request)[1]

    def ask(self, llm: LLM, request: Request) -> tuple[Request, Completion]:
        """The answer to a request, paid for once in a run; with it the request as it was sent.

        Raises:
            NoAnswer: this request has none; others may.
            Blind: it has a picture, and the model takes none.
            BudgetExhausted: a cap leaves no room, or the provider needs a person.
            EurekaError: no request can be answered as things are set.
            AskingStopped: the sitting ends while this waits.
        """
        assert llm is self, "a run's ledger asks its own models"
        tried = self._run.attempts(request.brief, request.purpose)
        call, fresh, tries = (tried[-1] if tried else self._first(request)), False, _Tries()
        if call.dismissed:
            call = self._another(call, messages=request.messages)
        while True:
            if call.state == "sent":
                call = self._sender.adopted(call)
            elif call.state == "reserved":
                if not tries.failures:
                    self._extra.first()
                call, tries.fault = self._send(call)
                tries.began += self._sender.ledger.waited(call)  # which nobody's patience is used up by
                fresh = True
            following = self._after_answer(call, fresh) if call.answered else self._after_fault(call, fresh, tries)
            if following is None:
                return request.model_copy(update={"messages": self._sender.words(call)}), self._completion(call)
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
            waited = plural(len(open_calls), "answer")
            self._sitting.watcher.waiting(f"waiting for {waited} that an earlier sitting asked for")
        settled = [self._sender.adopted(call) for call in open_calls]
        if open_calls:
            self._sitting.watcher.waiting("")
        return [call for call in settled if call.state == "unknown"]

    def _first(self, request: Request) -> Call:
        eyes = self._ensemble.eyes if request.pictured else None
        model = eyes or self._ensemble.chosen(self._run.settings.derived_seed("model", request.brief))
        longest = self._sender.usual_length(model)
        return self._sender.draft(request.brief, request.purpose, 1, model, request.messages, longest)

    def _another(self, call: Call, messages: tuple[Message, ...] | None = None, longest: int | None = None) -> Call:
        """The attempt that follows on `call`, with the same words and limits unless others are given."""
        model = self._ensemble.named(call.asked or "")
        longest = longest or max(call.max_output_tokens or 0, self._sender.usual_length(model))
        words = messages or self._sender.words(call)
        return self._sender.draft(call.brief, call.purpose, call.attempt + 1, model, words, longest)

    def _send(self, call: Call) -> tuple[Call, Fault | None]:
        """As `Sender.send`; a cap that leaves no room for a longer answer does not stop the search."""
        try:
            return self._sender.send(call)
        except BudgetExhausted as full:
            if call.attempt > 1 and self._longer_than_usual(call):
                told = "the answer is cut off, and a cap leaves no room for a longer one"
                raise NoAnswer(_failure(told)) from full
            raise

    # --------------------------------------------------------------------------------------------- what comes after

    def _after_answer(self, call: Call, fresh: bool) -> Call | None:
        """Another attempt if the answer is of no use, or None if it counts."""
        completion = self._completion(call)
        if completion.finish_reason in REFUSED:
            if fresh and _counted(call):
                self._count_refusal(call, completion.text)
            return None
        if _counted(call):
            with self._lock:
                self._refusals = 0
        tried = self._run.attempts(call.brief, call.purpose)
        earlier = [c for c in tried if c.answered and not c.dismissed and c.attempt < call.attempt]
        if completion.finish_reason in CUT_OFF and isinstance(extract_code(completion.text), Failure):
            if goes_round(completion.text, GOES_ROUND_CUT_OFF):
                raise NoAnswer(_failure("the answer says the same again and again until it is cut off"))
            if reason := too_long(completion.text):
                raise NoAnswer(_failure(reason))
            return self._longer(call, any(c.finish_reason in CUT_OFF for c in earlier))
        if not completion.text.strip():
            if any(not self._run.blob(c.response or "").strip() for c in earlier):
                raise NoAnswer(_failure("the model's answer is empty, the second time too"))
            return self._another(call)
        return None

    def _longer(self, call: Call, again: bool) -> Call:
        """The same request with room for twice the answer, if there was none such yet."""
        model, had = self._ensemble.named(call.asked or ""), call.max_output_tokens or 0
        longest = min(2 * had, longest_answer(model) or 2 * had)
        told = f"the answer is cut off after {had} tokens"
        if again or longest <= had:
            raise NoAnswer(_failure(f"{told}; --max-output-tokens allows more"))
        return self._another(call, longest=longest)

    def _after_fault(self, call: Call, fresh: bool, tries: _Tries) -> Call:
        """The attempt that follows on one without an answer; after a resume by a person most are worth another."""
        kind = FaultKind(call.fault or FaultKind.LOST)
        if kind is FaultKind.CONTEXT:
            return self._shorter(call)
        if kind in LOST:
            self._decide_on_unknown(call)
        tried = self._run.attempts(call.brief, call.purpose)
        unreadable = [attempt for attempt in tried if attempt.fault == FaultKind.BAD_ANSWER and not attempt.dismissed]
        if kind is FaultKind.BAD_ANSWER and len(unreadable) > 1:
            raise NoAnswer(_failure("the provider's answer cannot be read, the second time too"))
        if fresh and kind not in (*WAITING, *LOST, FaultKind.BAD_ANSWER):
            if call.purpose in LOOKS and no_pictures(call.message or ""):
                raise Blind(_failure(f"--vision-model {call.asked} cannot be shown pictures: {call.message}"))
            if call.purpose in LOOKS and kind is FaultKind.NOT_FOUND and not self._run.task.spec.by_vision:
                raise Blind(_failure(f"--vision-model {call.asked} is not there: {call.message}"))  # only an opinion
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
        whole = Request(messages=self._sender.words(tried[0]), brief=call.brief, purpose=call.purpose, position=0)
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
        if not tries.failures:
            tries.began = self._time.clock()
        tries.failures += 1
        fault = tries.fault
        pause = backoff(tries.failures, fault.retry_after if fault else None, self._time)
        spent = self._time.clock() - tries.began
        if fault is not None and fault.retry is False:
            raise gave_up(self._run, call, "says that asking again is of no use")
        missed = self._sender.missed(call)
        if len(missed) >= ATTEMPTS and (over := self._time.clock() - missed[0]) >= REST_SECONDS:
            raise gave_up(self._run, call, f"was not reached in {len(missed)} attempts over {over:.0f} s")
        if tries.failures >= ATTEMPTS or spent + pause > PATIENCE_SECONDS:
            asked = f", and wants {pause:.0f} s more" if tries.failures < ATTEMPTS else ""
            raise gave_up(self._run, call, f"gave no answer in {tries.failures} attempts over {spent:.0f} s{asked}")
        if not self._extra.again():
            raise gave_up(self._run, call, "fails so often that this sitting's retries are used up")
        seconds = max(pause, self._sender.rest(call))
        self._sitting.watcher.stage(
            f"{call.brief}: {call.asked}: {call.message}; attempt {tries.failures + 1} of {ATTEMPTS} "
            f"in {duration(max(seconds, 1.0))}"
        )
        self._time.sleep(pause, self._stopping)
        if self._stopping.is_set():
            raise AskingStopped(call.key)

    # ------------------------------------------------------------------------------------------------------ helpers

    def _count_refusal(self, call: Call, text: str) -> None:
        with self._lock:
            self._refusals += 1
            if self._refusals >= REFUSALS:
                raise refused(self._run, call, REFUSALS, text)

    def _longer_than_usual(self, call: Call) -> bool:
        return (call.max_output_tokens or 0) > self._sender.usual_length(self._ensemble.named(call.asked or ""))

    def _completion(self, call: Call) -> Completion:
        return Completion(
            text=self._run.blob(call.response or "").decode("utf-8", "surrogatepass"),
            finish_reason=call.finish_reason or "stop",
            model=call.model or call.asked or "",
            usage=usage_of(call),
        )


def _counted(call: Call) -> bool:
    """Whether a refusal of it says something about the writers."""
    return call.purpose not in ("comment", *LOOKS)


def _failure(message: str) -> Failure:
    return Failure(verdict=Verdict.CODE_ERROR, message=message)
