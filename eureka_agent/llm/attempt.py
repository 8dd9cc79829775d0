"""One attempt at a call: one request through one SDK, watched by a clock. It always ends, never with an exception."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypeAlias, cast

from eureka_agent.llm.answers import LONGEST_TEXT
from eureka_agent.llm.faults import missing_key, missing_library, outcome_of, too_slow
from eureka_agent.llm.keys import KEYLESS, VARIABLES, Secrets, key_of, wanted
from eureka_agent.llm.wire import Answered, Ask, Outcome
from eureka_agent.text import duration

SDKS = {"openai": "openai", "anthropic": "anthropic"}
"""SDK by provider; litellm for every other."""
LOOKS = (0.0, 1.0, 4.0)
"""Seconds before each look for a lost answer: the provider may still be writing it."""
LOOKING_SECONDS = 60.0
"""How long all looks together may take."""
_IMPORTING = threading.Lock()
State: TypeAlias = Literal["ready", "no key", "no library", "unknown"]


class GivenUp(Exception):
    """Nobody waits for this answer any more."""


class Progress:
    """What has come of an answer, seen by the thread that reads it and by the one that watches the clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[str] = []
        self._size = 0
        self._given_up = False
        self._hang_up: Callable[[], object] | None = None
        self.begun = False
        """The provider accepted the request."""
        self.heard: float | None = None
        """When the last part came, on the monotonic clock; None before the first."""

    def begin(self, hang_up: Callable[[], object]) -> None:
        """The provider began to answer; `hang_up` ends the connection from another thread."""
        with self._lock:
            self.begun, self._hang_up = True, hang_up

    def add(self, text: str) -> None:
        """A part of the answer; an empty one is a sign of life.

        Raises:
            GivenUp: nobody waits any more.
        """
        with self._lock:
            if self._given_up:
                raise GivenUp
            self._parts.append(text)
            self._size += len(text)
            self.heard = time.monotonic()

    @property
    def text(self) -> str:
        """What has come so far."""
        with self._lock:
            return "".join(self._parts)

    @property
    def full(self) -> bool:
        """Whether more than anyone could want has come."""
        return self._size > LONGEST_TEXT

    def give_up(self) -> None:
        """Stop the reading thread as soon as it can be stopped."""
        with self._lock:
            self._given_up = True
            hang_up = self._hang_up
        if hang_up is not None:
            with suppress(Exception):  # the connection may be closing by itself
                hang_up()


class Sdk(Protocol):
    """A module that asks through one SDK: `openai_sdk`, `anthropic_sdk`, `litellm_sdk`."""

    def complete(self, ask: Ask, environment: Mapping[str, str], progress: Progress) -> Answered:
        """Ask once. Raises whatever the SDK raises; see `faults.outcome_of`."""
        ...


def attempt(ask: Ask, environment: Mapping[str, str]) -> Outcome:
    """Ask once, with the keys of an environment, none of which is in the outcome. Raises nothing."""
    return Secrets(environment).redacted(_attempt(ask, environment))


def kept_answer(ask: Ask, environment: Mapping[str, str]) -> Answered | None:
    """What a provider that was asked to keep its answers has of a lost one; None if nothing. Raises nothing."""
    if not ask.model.store:
        return None
    found: list[Answered] = []

    def look() -> None:
        for seconds in LOOKS:
            time.sleep(seconds)
            with suppress(Exception):  # lost it is already
                if answer := cast(Any, _sdk(ask)).kept(ask, environment):
                    found.append(answer)
                    return

    looking = threading.Thread(target=look, name=f"look for {ask.key}", daemon=True)
    looking.start()
    looking.join(LOOKING_SECONDS)
    return Secrets(environment).redacted(found[0]) if found else None


def provider_state(provider: str, environment: Mapping[str, str], base_url: str | None = None) -> tuple[State, str]:
    """What could be asked of a provider, found out without asking it.

    Args:
        provider: what is before the slash of a model's name.
        environment: where keys are looked for; no value of it is ever in the answer.
        base_url: an address of one's own.

    Returns:
        The state in a word, and in words for a person.
    """
    sdk = SDKS.get(provider, "litellm")
    if find_spec(sdk) is None:
        return "no library", f"the library {sdk} is not installed; pip install {sdk}"
    address = _address(provider, environment, base_url)
    where = f" at {address}" if address else ""
    names = VARIABLES.get(provider, ())
    found = [name for name in names if environment.get(name)]
    if found:
        return "ready", f"{found[0]} is set{where}"
    if address or provider in KEYLESS:
        return "ready", f"no key set; a server of one's own{where} may need none"
    if names:
        return "no key", f"set {wanted(provider)}"
    return "unknown", f"litellm knows which variables {provider} needs, if it knows {provider}"


def needs_key(ask: Ask, environment: Mapping[str, str]) -> bool:
    """Whether it is certain that a provider will not answer without a key that is not there."""
    provider = ask.model.provider
    own_server = _address(provider, environment, ask.model.base_url)
    return provider in VARIABLES and not own_server and key_of(provider, environment) is None


def _address(provider: str, environment: Mapping[str, str], base_url: str | None = None) -> str:
    """Another address than the provider's own, without its password: as set, or by a variable of an SDK; else empty."""
    name = provider.upper()
    url = base_url or environment.get(f"{name}_BASE_URL") or environment.get(f"{name}_API_BASE") or ""
    scheme, slashes, rest = url.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def _attempt(ask: Ask, environment: Mapping[str, str]) -> Outcome:
    if needs_key(ask, environment):
        return missing_key(ask)
    try:
        sdk = _sdk(ask)  # before the clock runs: on a busy machine this takes seconds
    except Exception as error:  # an import can fail in any way
        return missing_library(ask, error)
    address = _address(ask.model.provider, environment, ask.model.base_url)
    progress, done, results = Progress(), threading.Event(), cast(list[Outcome], [])

    def read() -> None:
        try:
            results.append(sdk.complete(ask, environment, progress))
        except BaseException as error:  # whatever an SDK may raise, an attempt has an outcome
            results.append(outcome_of(error, ask, progress.begun, progress.text, address))
        finally:
            done.set()

    threading.Thread(target=read, name=f"ask {ask.key}", daemon=True).start()
    reason = _watch(ask, progress, done)
    if reason is None:
        return results[0]
    progress.give_up()
    return too_slow(progress.text, progress.begun, reason)


def _watch(ask: Ask, progress: Progress, done: threading.Event) -> str | None:
    """Wait for the answer; returns why it is waited for no longer, if that comes first."""
    patience, start = ask.patience, time.monotonic()
    while True:
        now, heard = time.monotonic(), progress.heard
        silent_until = float("inf") if heard is None else heard + patience.idle
        if now >= start + patience.total:
            return f"no end of the answer after {duration(patience.total)}"
        if now >= silent_until:
            return f"the answer stopped for {duration(patience.idle)}"
        # Before the first part nobody says when silence begins, so look again soon enough to notice that it has.
        if done.wait(min(start + patience.total - now, silent_until - now, patience.idle)):
            return None


def _sdk(ask: Ask) -> Sdk:
    name = SDKS.get(ask.model.provider, "litellm")
    with _IMPORTING:  # these packages import themselves in circles, which two threads at once do not survive
        module: Any = importlib.import_module(f"eureka_agent.llm.{name}_sdk")
        importlib.import_module(name)
    return cast(Sdk, module)
