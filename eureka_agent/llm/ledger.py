"""The run's money: no call is sent before its worst case has been reserved under every cap.

A reservation and the check of the caps are one transaction, so that `spent + reserved ≤ cap` holds in every committed
state, whoever is killed and whenever.
"""

from __future__ import annotations

import math
import threading
from threading import Event

from eureka_agent.calls import Booked, Call
from eureka_agent.llm.completion import AskingStopped, Usage
from eureka_agent.llm.prices import cost_of
from eureka_agent.llm.wire import Price
from eureka_agent.run import Run, standing
from eureka_agent.text import command, count, dollars, plural

ABSURD = 10
"""Usage beyond so many times the worst case is a mistake of the provider's, and no usage."""
RECHECK_SECONDS = 0.2


class _NoRoom(Exception):
    pass


class Ledger:
    """Reserves and books calls; its methods may be called from several threads of the process that has the run open."""

    def __init__(self, run: Run, stopping: Event | None = None) -> None:
        self._run = run
        self._stopping = stopping or Event()
        self._settled = threading.Condition()
        self._flying: set[str] = set()

    def reserve(self, call: Call) -> str | None:
        """Store a call that is about to be sent; None if the caps allow it, else why they do not.

        Calls of this sitting that are under way are waited for: most cost less than was reserved for them.

        Raises:
            AskingStopped: the sitting ends while this waits.
        """
        with self._settled:
            while True:
                try:
                    self._run.save_call(call, check=self._check)
                    self._flying.add(call.key)
                    return None
                except _NoRoom as full:
                    if not self._flying:
                        return str(full)
                if self._stopping.is_set():
                    raise AskingStopped(call.key)
                self._settled.wait(RECHECK_SECONDS)

    def continued(self, call: Call) -> None:
        """A call that an earlier sitting has reserved is sent now."""
        with self._settled:
            self._flying.add(call.key)

    def settle(self, call: Call) -> None:
        """Store what a call has come to."""
        self._run.save_call(call)
        self.gone(call)

    def gone(self, call: Call) -> None:
        """A call is no longer waited for in this sitting."""
        with self._settled:
            self._flying.discard(call.key)
            self._settled.notify_all()

    def _check(self) -> None:
        """Inside the transaction that stores a call, with the call in it."""
        if reason := exceeded(self._run, self._run.booked()):
            raise _NoRoom(reason)


def exceeded(run: Run, booked: Booked) -> str:
    """Which cap these sums break and how the search continues with a higher one; empty if none."""
    caps = run.settings
    if caps.max_cost is not None and booked.unpriced:
        return (
            f"{plural(booked.unpriced, 'call')} without a known price cannot be counted against the cost cap of "
            f"{dollars(caps.max_cost)}; add the price to the models file"
        )
    if caps.max_cost is not None and booked.cost > caps.max_cost:
        return _reached(run, f"cost cap of {dollars(caps.max_cost)}", "--max-cost", f"{2 * caps.max_cost:g}")
    if caps.max_tokens is not None and booked.tokens > caps.max_tokens:
        return _reached(run, f"cap of {count(caps.max_tokens)} tokens", "--max-tokens", str(2 * caps.max_tokens))
    if caps.max_calls is not None and booked.calls > caps.max_calls:
        return _reached(run, f"cap of {plural(caps.max_calls, 'call')}", "--max-calls", str(2 * caps.max_calls))
    return ""


def _reached(run: Run, cap: str, flag: str, more: str) -> str:
    before = run.booked()
    return (
        f"the {cap} leaves no room for the next call at its worst case ({so_far(before)} so far; {standing(run)}); "
        f"continue with: {again(run, flag, more)}"
    )


def again(run: Run, *flags: str) -> str:
    """The command line that continues a run."""
    return command(["eureka", "evolve", "--resume", str(run.folder), *flags])


def so_far(booked: Booked) -> str:
    """`12 calls, 48.2k tokens, $0.31`; what nobody knows the price of is said."""
    parts = [plural(booked.calls, "call"), f"{count(booked.tokens)} tokens", cost_text(booked.cost, booked.unpriced)]
    return ", ".join(parts)


def cost_text(cost: float, unpriced: int) -> str:
    """`$0.31`; `at least $0.31 (2 calls without a known price)`; `cost unknown (8 calls without a known price)`."""
    if not unpriced:
        return dollars(cost)
    known = f"at least {dollars(cost)}" if cost else "cost unknown"
    return f"{known} ({plural(unpriced, 'call')} without a known price)"


def booked(call: Call, usage: Usage | None, price: Price | None) -> Call:
    """An answered call with what it took. Without usable counts the worst case stays booked, as estimated."""
    if usage is None or not _possible(usage, call.reserved_tokens):
        return call.model_copy(update={"estimated": True})
    taken = {
        "tokens": usage.input_tokens + usage.output_tokens,
        "cost": None if price is None else cost_of(price, usage),
        **usage.model_dump(),
    }
    return call.model_copy(update=taken)


def _possible(usage: Usage, worst: int) -> bool:
    """Whether a provider can mean it; one that bills beyond the limits it was given is believed up to a point."""
    numbers = usage.model_dump().values()
    sound = all(isinstance(n, int) and 0 <= n < math.inf for n in numbers)
    cached = usage.cached_tokens + usage.cache_write_tokens
    return sound and cached <= usage.input_tokens and usage.input_tokens + usage.output_tokens <= ABSURD * worst
