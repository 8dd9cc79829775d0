"""The run's money: no call is sent before its worst case has been reserved under every cap.

A reservation and the check of the caps are one transaction, so that `spent + reserved ≤ cap` holds in every committed
state, whoever is killed and whenever. A cap that is hit ends the sitting; that per hour is waited for, see `hourly`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from threading import Event

from eureka_agent.llm.completion import AskingStopped, Usage
from eureka_agent.llm.hourly import LastHour, Room
from eureka_agent.llm.pacing import Time
from eureka_agent.llm.prices import cost_of, worst_cost
from eureka_agent.llm.wire import Price
from eureka_agent.runs.calls import Booked, Call
from eureka_agent.runs.run import Run, standing
from eureka_agent.settings import Settings
from eureka_agent.terminal.watcher import Silent, Watcher
from eureka_agent.text import count, dollars, from_here, plural, resuming

ABSURD = 10
"""Usage beyond so many times the worst case is a mistake of the provider's, and no usage."""
RECHECK_SECONDS = 0.2
HOURLY = "--max-cost-per-hour"


class _NoRoom(Exception):
    """A cap is in the way."""


class _FullHour(_NoRoom):
    """The one per hour is."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room


class Ledger:
    """Reserves and books calls; its methods may be called from several threads of the process that has the run open."""

    def __init__(
        self, run: Run, stopping: Event | None = None, watcher: Watcher | None = None, clock: Time | None = None
    ) -> None:
        self._run = run
        self._stopping = stopping or Event()
        self._watcher: Watcher = watcher or Silent()
        self._time = clock or Time()
        self._hour = LastHour(run, self._time.clock)
        self._settled = threading.Condition()
        self._flying: set[str] = set()
        self._held: dict[str, tuple[float, str]] = {}
        """When each call goes on that waits for the hour to pass, by the clock that does not jump, and what is said."""
        self._told = ""
        self._waited: dict[str, float] = {}

    def reserve(self, call: Call) -> str | None:
        """Store a call that is about to be sent; None if the caps allow it, else why they do not.

        Calls of this sitting that are under way are waited for: most cost less than was reserved for them. So is the
        end of an hour, where only the cap per hour is in the way.

        Raises:
            AskingStopped: the sitting ends while this waits.
        """
        while True:
            with self._settled:
                try:
                    self._run.save_call(call, check=lambda: self._check(call))
                    self._flying.add(call.key)
                    return None
                except _NoRoom as full:
                    reason = full
                if not self._flying and not isinstance(reason, _FullHour):
                    return str(reason)
                if self._stopping.is_set():
                    raise AskingStopped(call.key)
                if self._flying:
                    self._settled.wait(RECHECK_SECONDS)
                    continue
            assert isinstance(reason, _FullHour)
            if told := self._no_use_to_wait(call, reason.room):
                return told
            self._wait(call, reason.room)

    def settle(self, call: Call) -> None:
        """Store what a call has come to."""
        self._run.save_call(call)
        with self._settled:
            self._hour.ended(call.key)
        self.gone(call)

    def gone(self, call: Call) -> None:
        """A call is no longer waited for in this sitting."""
        with self._settled:
            self._flying.discard(call.key)
            self._settled.notify_all()

    def waited(self, call: Call) -> float:
        """Seconds that a call waited for the hour to pass."""
        return self._waited.get(call.key, 0.0)

    def _check(self, call: Call) -> None:
        """Inside the transaction that stores a call, with the call in it."""
        if reason := exceeded(self._run, call):
            raise _NoRoom(reason)
        cap = self._run.settings.max_cost_per_hour
        if cap is not None and call.cost:
            room = self._hour.room(call, cap, self._flying)
            if room.seconds != 0.0:
                raise _FullHour(room)

    def _no_use_to_wait(self, call: Call, room: Room) -> str:
        """Why an hour that is full ends the sitting, and how the search continues; empty if waiting helps."""
        settings = self._run.settings
        limit, full = settings.max_seconds, f"the {_hourly(settings)} leaves no room for the next call"
        if room.seconds is None:
            why = f"{full}{_worst(HOURLY, call)}"
        elif limit is not None and room.seconds > limit - self._run.elapsed_seconds:
            why = f"{full} until {_moment(room.seconds)}, when the run's time is over (--max-time {limit:g}s)"
        else:
            return ""
        done = f"{so_far(self._run.booked())}; {standing(self._run)}"
        return f"{why} ({done}); continue with: {self._raised_hour(room)}"

    def _wait(self, call: Call, room: Room) -> None:
        """Until there is room, or the sitting ends; the person hears of it."""
        began, seconds = self._time.clock(), room.seconds or 0.0
        moment, how = _moment(seconds), self._raised_hour(room)
        full = f"the {_hourly(self._run.settings)} has no room for the next call"
        text = f"waiting: {full}; goes on at {moment}, or after Ctrl-C at once with `{how}`"
        with self._settled:
            self._held[call.key] = began + seconds, text
            self._tell()
        try:
            self._time.sleep(seconds, self._stopping)
        finally:
            with self._settled:
                del self._held[call.key]
                self._waited[call.key] = self.waited(call) + self._time.clock() - began
                self._tell()
        if self._stopping.is_set():
            raise AskingStopped(call.key)

    def _tell(self) -> None:
        """Let the watcher know what is waited for, if that has changed: the call that goes on first."""
        _, text = min(self._held.values(), default=(0.0, ""))
        if text != self._told:
            self._told = text
            self._watcher.waiting(text)

    def _raised_hour(self, room: Room) -> str:
        return again(self._run, HOURLY, _raised(self._run.settings.max_cost_per_hour or 0.0, room.needed))


def exceeded(run: Run, call: Call) -> str:
    """Which cap a call that has been stored breaks, and how the search continues with a higher one; empty if none."""
    caps, booked = run.settings, run.booked()
    if (cap := cost_cap(caps)) and booked.unpriced:
        return unpriced_text(booked.unpriced, cap)
    caps_and_sums: tuple[tuple[str, str, Callable[[float], str], float, float | None], ...] = (
        ("--max-cost", "cost cap of", dollars, booked.cost, caps.max_cost),
        ("--max-tokens", "token cap of", count, booked.tokens, caps.max_tokens),
        ("--max-calls", "cap on calls of", count, booked.calls, caps.max_calls),
    )
    for flag, cap, written, reached, limit in caps_and_sums:
        if limit is not None and reached > limit:
            before = booked.model_copy(
                update={
                    "cost": round(booked.cost - (call.cost or 0.0), 9),
                    "tokens": booked.tokens - call.tokens,
                    "calls": booked.calls - 1,
                    "unpriced": booked.unpriced - (call.cost is None),
                }
            )
            return (
                f"the {cap} {written(limit)} leaves no room for the next call{_worst(flag, call)} ({so_far(before)}; "
                f"{standing(run)}); continue with: {again(run, flag, _raised(limit, reached))}"
            )
    return ""


def _worst(flag: str, call: Call) -> str:
    """What the refused call could have come to, and how to make that less."""
    if flag == "--max-calls":
        return ""
    most = f"{count(call.tokens)} tokens" if flag == "--max-tokens" else dollars(call.cost or 0.0)
    return f", which can come to {most} (a lower --max-output-tokens helps)"


def cost_cap(settings: Settings) -> str:
    """The cap that needs prices, in words, `cost cap of $5.00`; empty if there is none."""
    if settings.max_cost is not None:
        return f"cost cap of {dollars(settings.max_cost)}"
    return "" if settings.max_cost_per_hour is None else _hourly(settings)


def _hourly(settings: Settings) -> str:
    return f"spending cap of {dollars(settings.max_cost_per_hour or 0.0)} per hour"


def _moment(seconds: float) -> str:
    """The time of day in so many seconds, not before it: `14:05`, with the weekday if that is another one."""
    now = time.time()
    today, then = time.localtime(now), time.localtime(now + seconds + 59)
    return time.strftime("%H:%M" if today.tm_yday == then.tm_yday else "%A %H:%M", then)


def unpriced_text(calls: int, cap: str) -> str:
    """Why a cost cap (in words, `cost cap of $5.00`) cannot be kept, and what helps."""
    return (
        f"{plural(calls, 'call')} of a model without a known price cannot be counted against the {cap}: "
        "name its price in a models file (--models-file), or cap tokens instead (--max-tokens)"
    )


def _raised(cap: float, needed: float) -> str:
    """Twice the cap, or what is needed with two digits, rounded up."""
    if needed <= 2 * cap:
        return f"{2 * cap:.12g}"
    digit = 10.0 ** (math.floor(math.log10(needed)) - 1)
    return f"{math.ceil(needed / digit) * digit:.12g}"


def again(run: Run, *flags: str) -> str:
    """The command line that continues a run."""
    return resuming(from_here(run.folder), run.settings.sandbox, *flags)


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


def price_again(run: Run, prices: Mapping[str, Price | None]) -> None:
    """Book calls that had no known price, now that `prices` (by the model asked for) has one."""
    for call in run.calls():
        price = prices.get(call.asked or "")
        if call.cost is not None or price is None or call.state == "failed":
            continue
        worst = worst_cost(price, call.reserved_tokens - (call.max_output_tokens or 0), call.max_output_tokens or 0)
        now = call.model_copy(update={"reserved_cost": worst, "cost": worst})
        usage = usage_of(call)
        run.save_call(booked(now, usage, price) if call.answered and not call.estimated else now)


def usage_of(call: Call) -> Usage | None:
    """What the provider counted."""
    if call.input_tokens is None or call.output_tokens is None:
        return None
    names = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens")
    return Usage(**{name: getattr(call, name) for name in names})
