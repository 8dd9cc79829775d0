"""One attempt at a request: reserved, sent, and what came of it kept, before anybody reads it."""

from __future__ import annotations

import base64
import re
import threading
import time as wall
import uuid

from eureka_agent.errors import BudgetExhausted
from eureka_agent.llm.broker import Broker
from eureka_agent.llm.ensemble import Ensemble
from eureka_agent.llm.ledger import Ledger, booked
from eureka_agent.llm.pacing import Lane, Time
from eureka_agent.llm.prices import longest_answer, most_input_tokens, price_of, worst_cost
from eureka_agent.llm.stops import lost_answer
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, ModelConfig, Outcome
from eureka_agent.proposers import Sitting
from eureka_agent.runs.calls import Call, Message, packed, unpacked
from eureka_agent.text import visible

BUSY = (FaultKind.OVERLOADED, FaultKind.CONNECT, FaultKind.LOST, FaultKind.STREAM)
"""Faults after which a model may need a rest."""
_VERSION = re.compile(r"(?:[-@:](?:v?\d[\w.]*|latest|preview))*")


class Sender:
    """Carries a run's calls to the broker and their outcomes into the journal."""

    def __init__(self, sitting: Sitting, ensemble: Ensemble, broker: Broker, time: Time) -> None:
        self._sitting, self._run = sitting, sitting.run
        self._ensemble, self._broker = ensemble, broker
        self.ledger = Ledger(self._run, sitting.stopping, sitting.watcher, time)
        self._lanes = {model.name: Lane(sitting.stopping, time) for model in ensemble.models}
        self._lock = threading.Lock()
        self._served: set[tuple[str, str]] = set()
        self._time = time
        self._missed: dict[str, list[float]] = {model.name: [] for model in ensemble.models}

    def draft(
        self, brief: str, purpose: str, attempt: int, model: ModelConfig, messages: tuple[Message, ...], longest: int
    ) -> Call:
        """A call that is not stored yet, booked at its worst case; only its words are."""
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

    def send(self, call: Call) -> tuple[Call, Fault | None]:
        """Reserve, send, and keep what comes; returns the call with it, and the fault if there was one.

        Whoever has reserved waits for nothing but the provider: others wait for that room with their turn taken.

        Raises:
            BudgetExhausted: a cap leaves no room.
            AskingStopped: the sitting ends; what was sent is finished by the broker.
        """
        model = self._ensemble.named(call.asked or "")
        lane = self._lanes[model.name]
        with lane.turn():
            if full := self.ledger.reserve(call):
                raise BudgetExhausted(full)
            try:
                call = call.model_copy(update={"state": "sent", "sent": wall.time()})
                self._run.save_call(call)
                outcome = self._broker.ask(self._ask(call, model))
                call = self._settled(call, outcome)
            finally:
                self.ledger.gone(call)
        self._note_whether_reached(model.name, outcome)
        if isinstance(outcome, Answered):
            lane.answered()
        elif outcome.kind is FaultKind.RATE_LIMIT:
            lane.too_much(outcome.retry_after)
        elif outcome.kind in BUSY:
            lane.failed(outcome.retry_after)
        return call, outcome if isinstance(outcome, Fault) else None

    def missed(self, call: Call) -> list[float]:
        """When calls of this sitting found no connection to its model, by the clock; empty once any has."""
        with self._lock:
            return list(self._missed.get(call.asked or "", ()))

    def rest(self, call: Call) -> float:
        """Seconds for which its model is left alone."""
        return self._lanes[call.asked or ""].rest

    def adopted(self, call: Call) -> Call:
        """A call that an earlier sitting has sent, with what came of it."""
        outcome = self._broker.adopt(call.ticket or "")
        return self._settled(call, outcome or self._looked_up(call))

    def _looked_up(self, call: Call) -> Outcome:
        """What the provider kept of a call whose broker died over it, if it was asked to."""
        keeper = next((m for m in self._ensemble.models if m.name == call.asked and m.store), None)
        if keeper is None:
            return lost_answer()
        return self._broker.ask(self._ask(call, keeper).model_copy(update={"sent_before": True}))

    def _settled(self, call: Call, outcome: Outcome) -> Call:
        """Make durable what came of a call, then let the broker forget it."""
        if isinstance(outcome, Answered):
            call = self._received(call, outcome)
        else:
            part = outcome.text.encode("utf-8", "surrogatepass")
            free = {"state": "failed", "tokens": 0, "cost": 0.0}
            update = free if outcome.billed == "no" else {"state": "unknown", "estimated": True}
            update |= {"fault": str(outcome.kind), "message": _storable(outcome.message), "received": wall.time()}
            call = call.model_copy(update={**update, "raw": self._run.put_blob(part) if part else None})
        self.ledger.settle(call)
        self._broker.forget(call.ticket or "")
        return call

    def _received(self, call: Call, answer: Answered) -> Call:
        update = {
            "state": "received",
            "received": wall.time(),
            "response": self._run.put_blob(answer.text.encode("utf-8", "surrogatepass")),
            "raw": self._run.put_blob(answer.raw.encode("utf-8", "surrogatepass")),
            "model": _storable(answer.model),
            "finish_reason": _storable(answer.finish_reason),
            "request_id": _storable(answer.request_id) or None,
        }
        self._note_who_served(call.asked or "", answer.model)
        price = price_of(self._ensemble.named(call.asked or ""))
        return booked(call.model_copy(update=update), answer.usage, price)

    def _note_who_served(self, asked: str, served: str) -> None:
        """Say once if another model answered: results may not be reproducible."""
        with self._lock:
            if not served or _same_model(asked, served) or (asked, served) in self._served:
                return
            self._served.add((asked, served))
        self._sitting.watcher.stage(f"{asked}: answers come from {visible(served)[:100]}, another model by its name")

    def _note_whether_reached(self, model: str, outcome: Outcome) -> None:
        with self._lock:
            if not isinstance(outcome, Fault) or outcome.kind is not FaultKind.CONNECT:
                self._missed.pop(model, None)
            elif model in self._missed:
                self._missed[model].append(self._time.clock())

    def words(self, call: Call) -> tuple[Message, ...]:
        """The conversation as it was sent."""
        return unpacked(self._run.blob(call.prompt))

    def _ask(self, call: Call, model: ModelConfig) -> Ask:
        messages = self.words(call)
        shown = {message.picture.blob for message in messages if message.picture}
        return Ask(
            key=call.key,
            model=model,
            messages=messages,
            pictures={digest: base64.b64encode(self._run.blob(digest)).decode() for digest in shown},
            max_output_tokens=call.max_output_tokens or 1,
            idempotency_key=call.ticket or "",
        )

    def usual_length(self, model: ModelConfig) -> int:
        """Longest answer that a model is allowed if nothing speaks for more."""
        limit = self._run.settings.max_output_tokens
        return min(limit, longest_answer(model) or limit)


def _same_model(asked: str, served: str) -> bool:
    """Whether two names can mean one model: `gpt-x` and `gpt-x-2026-05-01` can, `gpt-x` and `gpt-x-mini` cannot."""
    names = [name.rpartition("/")[2].lower().removesuffix("-latest") for name in (asked, served)]
    shorter, longer = sorted(names, key=len)
    return longer.startswith(shorter) and _VERSION.fullmatch(longer[len(shorter) :]) is not None


def _storable(text: str) -> str:
    """JSON can spell half of a surrogate pair, which the database could not hold."""
    return text.encode("utf-8", "backslashreplace").decode()
