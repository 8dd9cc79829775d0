"""What SDK exceptions and HTTP statuses mean for a call: may it be sent again, and was it paid?

The three SDKs name their exceptions alike, and all three hide a transport error behind one of their own, so classes are
recognised by name along the chain of causes, and no SDK is imported here.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeAlias

from eureka_agent.llm.answers import CutOff, UnreadableAnswer, at, text_at
from eureka_agent.llm.completion import Usage
from eureka_agent.llm.keys import wanted
from eureka_agent.llm.wire import Answered, Ask, Fault, FaultKind, Outcome
from eureka_agent.text import visible

Billed: TypeAlias = Literal["no", "unknown", "yes"]

LONGEST_WAIT = 86_400.0
"""Seconds; a provider that asks for more is not believed."""

_NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}
_BAD_HEADER = {"LocalProtocolError", "UnicodeEncodeError"}
"""The key is the only header that a person gives; the exception's own words repeat it."""
_LOST = {"ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "CloseError", "RemoteProtocolError"}
_UNREADABLE = {"DecodingError", "JSONDecodeError", "UnicodeDecodeError", "RecursionError", "ValidationError"}
_UNREADABLE |= {"APIResponseValidationError", "UnreadableAnswer"}
_KINDS = {
    401: FaultKind.AUTH,
    402: FaultKind.QUOTA,
    403: FaultKind.AUTH,
    404: FaultKind.NOT_FOUND,
    408: FaultKind.OVERLOADED,
    409: FaultKind.OVERLOADED,
    413: FaultKind.CONTEXT,
    429: FaultKind.RATE_LIMIT,
    501: FaultKind.BAD_REQUEST,
    505: FaultKind.BAD_REQUEST,
}
_LOST_UPSTREAM = {502, 504, 520, 522, 524}
"""A gateway says that it lost the provider, which may have answered, and billed."""

_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"}
_QUOTA_CODES |= {"insufficient_credits", "insufficient_balance", "payment_required"}
_QUOTA = re.compile(
    r"credit balance|insufficient[ _](?:credits?|balance|funds|quota)|billing (?:hard )?limit"
    r"|specified api usage limits|exceeded your current quota|payment required",
    re.IGNORECASE,
)
_ONLY_A_RATE = re.compile(r"RESOURCE_EXHAUSTED|retryDelay|per[ _-]?(?:minute|second)", re.IGNORECASE)
"""Google says "exceeded your current quota" when a minute's is used up."""
_CONTEXT_CODES = {"context_length_exceeded", "string_above_max_length", "request_too_large"}
_CONTEXT = re.compile(
    r"context (?:length|window|size|limit)|context_length|(?:prompt|input|request) (?:is )?too (?:long|large)"
    r"|too many (?:input )?tokens|exceeds? the maximum (?:context|number of tokens|input)|reduce the length",
    re.IGNORECASE,
)
_FILTER_CODES = {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "invalid_prompt"}
_NO_PICTURES = re.compile(
    r"(?:image|vision|multi-?modal)\w*(?: \w+){0,4} (?:is|are) (?:not|only) supported|not a (?:multi-?modal|vision)"
    r"|(?:not|n't) (?:support|accept|take|process)(?: \w+){0,3} (?:image|vision|multi-?modal)|support image input"
    r"|unknown variant \W?image|at most 0 image|image input modality is not|content\W{1,6}(?:value )?must be a string",
    re.IGNORECASE,
)
_LITELLM = re.compile(r"^litellm\.\w+: (?:\w+: )*(?:\w+Exception - )?")
_NO_PROVIDER = "LLM Provider NOT provided"
_TAG = re.compile(r"<[^<>]*>")
_DELAY = re.compile(r'"retryDelay":\s*"([\d.]+)s"')


def outcome_of(error: BaseException, ask: Ask, begun: bool, text: str, address: str = "") -> Outcome:
    """What an exception of an SDK amounts to.

    Args:
        error: as it was raised.
        ask: what was asked.
        begun: whether the provider had accepted the request and begun to answer.
        text: what had come of the answer.
        address: where it was sent; empty for the provider's own.
    """
    chain = list(_causes(error))
    names = {type(cause).__name__ for cause in chain}
    status, http = _status(error, chain)
    unreadable = next((cause for cause in chain if isinstance(cause, UnreadableAnswer)), None)
    if unreadable is not None or (names & _UNREADABLE and not http):
        reason = str(unreadable) if unreadable else _name(names & _UNREADABLE)
        body = text or (unreadable.body if unreadable else "")
        return _fault(FaultKind.BAD_ANSWER, f"an answer came that cannot be read: {reason}", "unknown", body)
    if begun:
        reason = str(error) if isinstance(error, CutOff) else f"{_said(error)} ({type(error).__name__})"
        return _fault(FaultKind.STREAM, f"the answer was cut: {reason}", "unknown", text)
    if names & _BAD_HEADER and not http:
        advice = f"the key cannot be sent: it is no line of plain text{_advice(FaultKind.AUTH, ask)}"
        return _fault(FaultKind.AUTH, advice, "no")
    if names & _NOT_SENT and not http:
        reason = _said(chain[-1]) or _name(names & _NOT_SENT)
        return _fault(FaultKind.CONNECT, f"no connection to {address or ask.model.provider}: {reason}", "no")
    if http or (status is not None and status < 500 and status != 408):
        return _of_status(error, chain, ask, status or 500)
    if names & _LOST or status == 408 or any(_is_native(cause, "APIConnectionError") for cause in chain):
        reason = _name(names & _LOST) or type(error).__name__
        return _fault(FaultKind.LOST, f"sent, but the connection broke before the answer ({reason})", "unknown")
    return _fault(FaultKind.BAD_ANSWER, f"the SDK could not read the answer ({type(error).__name__})", "unknown")


def missing_key(ask: Ask) -> Fault:
    """There is no key for the provider, so nothing was sent."""
    return _fault(FaultKind.AUTH, f"no key; set {wanted(ask.model.provider)}", "no")


def missing_library(ask: Ask, error: Exception) -> Fault:
    """The SDK cannot be imported, so nothing was sent."""
    return _fault(FaultKind.BAD_REQUEST, f"{error}; install the library that asks {ask.model.provider}", "no")


def too_slow(text: str, begun: bool, reason: str) -> Fault:
    """The attempt was given up."""
    return _fault(FaultKind.STREAM if begun or text else FaultKind.LOST, reason, "unknown", text)


def seconds_to_wait(headers: Mapping[str, str], body: str = "") -> float | None:
    """What `retry-after-ms`, `Retry-After` (seconds or a date) or Google's `retryDelay` ask for; None without them."""
    found: float | None = None
    if (spelled := headers.get("retry-after-ms")) is not None:
        found = _number(spelled, 1000.0)
    if found is None and (spelled := headers.get("retry-after")) is not None:
        found = _number(spelled)
        if found is None:
            try:
                found = parsedate_to_datetime(spelled).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                found = None
    if found is None and (delay := _DELAY.search(body)):
        found = _number(delay[1])
    return None if found is None else min(max(found, 0.0), LONGEST_WAIT)


def no_pictures(text: str) -> bool:
    """Whether a provider says there that the model takes no pictures."""
    return _NO_PICTURES.search(text) is not None


def one_line(text: str, limit: int = 300) -> str:
    """Text from outside as one line that hides nothing and can be printed and stored."""
    line = visible(" ".join(text.encode("utf-8", "replace").decode().split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _of_status(error: BaseException, chain: list[BaseException], ask: Ask, status: int) -> Outcome:
    headers, body = _headers(chain), _body(error)
    said, codes = _said(error), _codes(body)
    words = f"{said} {json.dumps(body)}"
    kind = _KINDS.get(status, FaultKind.OVERLOADED if status >= 500 else FaultKind.BAD_REQUEST)
    if status in (400, 403) and (codes & _FILTER_CODES or _is_a(chain, "ContentPolicyViolationError")):
        return _filtered(said, body)
    if status in (400, 403, 429) and _out_of_money(codes, words):
        kind = FaultKind.QUOTA
    elif _NO_PROVIDER in said:
        kind, said = FaultKind.NOT_FOUND, f"litellm knows no provider {ask.model.provider!r}"
    elif status in (400, 422) and (codes & _CONTEXT_CODES or _CONTEXT.search(words)):
        kind = FaultKind.CONTEXT
    if ask.pictures and status >= 500 and no_pictures(words):  # as llama.cpp says it
        kind = FaultKind.BAD_REQUEST
    retry = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    if retry and kind is FaultKind.BAD_REQUEST:
        kind = FaultKind.OVERLOADED
    if 300 <= status < 400:
        said = f"redirected to {headers.get('location', 'another address')}; name the right address"
    billed: Billed = "unknown" if status in _LOST_UPSTREAM else "no"
    fault = _fault(kind, f"{status}: {said or 'no reason given'}{_advice(kind, ask)}", billed)
    return fault.model_copy(update={"status": status, "retry": retry, "retry_after": seconds_to_wait(headers, words)})


def _out_of_money(codes: set[str], words: str) -> bool:
    if codes & _QUOTA_CODES:
        return True
    return _QUOTA.search(words) is not None and _ONLY_A_RATE.search(words) is None


def _filtered(said: str, body: object) -> Answered:
    """The provider would not read the prompt: an answer of a kind, and one that costs nothing."""
    nothing = Usage(input_tokens=0, output_tokens=0)
    return Answered(
        text=said, finish_reason="content_filter", model="", usage=nothing, request_id="", raw=json.dumps(body)
    )


def _advice(kind: FaultKind, ask: Ask) -> str:
    provider = ask.model.provider
    if kind is FaultKind.AUTH:
        return f"; check {wanted(provider) or f'the key of {provider}'}"
    if kind is FaultKind.NOT_FOUND:
        return "; check the model's name" + (f" and the address {ask.model.base_url}" if ask.model.base_url else "")
    return ""


def _fault(kind: FaultKind, message: str, billed: Billed, text: str = "") -> Fault:
    return Fault(kind=kind, message=one_line(message, 500), billed=billed, text=text)


# ---------------------------------------------------------------------------------------------------------- exceptions


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_a(chain: list[BaseException], name: str) -> bool:
    return any(kind.__name__ == name for kind in type(chain[0]).__mro__)


def _status(error: BaseException, chain: list[BaseException]) -> tuple[int | None, bool]:
    """The status, and whether the provider itself gave it: litellm gives 500 to whatever it does not understand."""
    status = getattr(error, "status_code", None)
    http = any(type(c).__name__.endswith("HTTPStatusError") or _is_native(c, "APIStatusError") for c in chain)
    return (status if type(status) is int else None), http


def _is_native(error: BaseException, name: str) -> bool:
    """Whether it is an exception of that class, of an SDK that uses it for nothing else."""
    kind = type(error)
    native = kind.__module__.partition(".")[0] in ("openai", "anthropic")
    return native and any(base.__name__ == name for base in kind.__mro__)


def _headers(chain: list[BaseException]) -> dict[str, str]:
    """The response's headers with small names, from wherever in the chain they are."""
    found: dict[str, str] = {}
    for cause in reversed(chain):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if isinstance(headers, Mapping):
            found |= {str(name).lower(): str(value) for name, value in headers.items()}
    return found


def _body(error: BaseException) -> object:
    """The error's JSON: as the SDK keeps it, or as litellm repeats it inside its message."""
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        return body
    text = str(error)
    start = text.find("{")
    if start < 0:
        return body if isinstance(body, str) else None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _codes(body: object) -> set[str]:
    levels: list[Any] = [body, at(body, "error"), at(body, "error", "innererror")]
    return {text_at(level, name) for level in levels for name in ("code", "type") if text_at(level, name)}


def _said(error: BaseException) -> str:
    """The provider's own words, out of whatever they are wrapped in."""
    body = _body(error)
    said = text_at(body, "error", "message") or text_at(body, "message") or text_at(body, "error")
    said = said or (body if isinstance(body, str) and body else _LITELLM.sub("", str(error)))
    said = said.partition("Traceback (most recent call last)")[0]
    return " ".join(_TAG.sub(" ", said).split()) if said.lstrip().startswith("<") else said


def _name(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _number(text: str, divisor: float = 1.0) -> float | None:
    try:
        found = float(text) / divisor
    except ValueError:
        return None
    return found if math.isfinite(found) else None
