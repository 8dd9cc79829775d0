"""What a language model was asked and what it answered, as the journal keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from eureka_agent.population import Record

State = Literal["reserved", "sent", "received", "parsed", "failed", "unknown"]
"""`failed` is free of charge; `unknown` may have been billed, and its answer is not to be had."""


class Picture(Record):
    """A JPEG that goes with a turn."""

    blob: str
    """SHA-256 of its bytes."""
    width: int
    """Pixels, as `height`."""
    height: int


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str
    picture: Picture | None = None
    """Stands before the words."""


class Call(Record):
    """One request to a language model: reserved, then sent, then received (the answer is durable), then parsed.

    What it costs is booked at the worst case while nobody knows better, so that the sums over all calls never grow
    behind a cap's back: `reserved_cost` and `reserved_tokens` are that worst case, `cost` and `tokens` what counts now.
    """

    key: str
    """`<brief id>/<purpose>/<attempt>`, unique in the run."""
    brief: str
    """Id of the candidate that the answer becomes."""
    purpose: str
    """`propose`, `repair`, …"""
    attempt: int = 1
    """From 1; each is a request of its own to the provider."""
    state: State = "reserved"
    prompt: str
    """Blob: the conversation as `packed` writes it; its digest is the prompt's hash."""
    response: str | None = None
    """Blob: the answer's text as it came, in UTF-8."""
    raw: str | None = None
    """Blob: the provider's whole response as JSON text, or the part of an answer that came before it broke off."""
    asked: str | None = None
    """The model that was asked for, `provider/name`."""
    model: str | None = None
    """Who answered, as it names itself."""
    request_id: str | None = None
    """The provider's own name for the request."""
    ticket: str | None = None
    """Names the request to the broker and, as idempotency key, to the provider."""
    max_output_tokens: int | None = None
    """The longest answer that was allowed."""
    finish_reason: str | None = None
    fault: str | None = None
    """Why there is no answer: one of `wire.FaultKind`; of an answered call, see `dismissed`."""
    message: str | None = None
    """The provider's words on it, one line."""
    input_tokens: int | None = None
    """As the provider counts them, cached ones included; None if it does not say."""
    output_tokens: int | None = None
    cached_tokens: int = 0
    """Of the input, read from the provider's cache."""
    cache_write_tokens: int = 0
    """Of the input, written to it."""
    reserved_tokens: int = 0
    """Most tokens that the call could take, input and output."""
    tokens: int = 0
    """Tokens that count: the worst case until the answer is there, then what it took."""
    reserved_cost: float | None = None
    """Most US dollars that the call could cost; None if the model's price is not known."""
    cost: float | None = None
    """US dollars that count, like `tokens`."""
    estimated: bool = False
    """Whether `tokens` and `cost` are the worst case for good, as the provider gave no usable count."""
    reserved: float
    """Seconds since 1970, as the next three."""
    sent: float | None = None
    received: float | None = None
    parsed: float | None = None

    @property
    def answered(self) -> bool:
        """Whether the answer is in the run."""
        return self.state in ("received", "parsed")

    @property
    def dismissed(self) -> bool:
        """Whether its answer was of no use, and is to be asked for afresh."""
        return self.answered and self.fault is not None

    @property
    def open(self) -> bool:
        """Whether it may still be answered."""
        return self.state in ("reserved", "sent")

    @property
    def stem(self) -> str:
        """Beginning of the names of the files that hold prompt and response: `g0c3`, `g0c3.repair`."""
        purpose = "" if self.purpose == "propose" else f".{self.purpose}"
        return self.brief + purpose + (f".{self.attempt}" if self.attempt > 1 else "")


COLUMNS = ", ".join(Call.model_fields)


class Booked(Record):
    """What calls count together, spent and reserved."""

    cost: float
    """US dollars, of the calls whose price is known."""
    tokens: int
    calls: int
    """Requests, without those that failed free of charge."""
    unpriced: int
    """Calls among them whose price is not known."""


BOOKED = (
    "SELECT ROUND(COALESCE(SUM(cost), 0), 9), COALESCE(SUM(tokens), 0), COALESCE(SUM(state != 'failed'), 0), "
    "COALESCE(SUM(state != 'failed' AND cost IS NULL), 0) FROM calls"
)
"""A row of `Booked`; costs are whole billionths of a dollar, so the sum is rounded to those."""


class Cost(NamedTuple):
    """What one call counts, and when it ended."""

    key: str
    state: State
    cost: float
    """US dollars."""
    received: float | None
    """As `Call.received`."""


COSTS = f"SELECT {', '.join(Cost._fields)} FROM calls WHERE cost > 0"
"""Rows of `Cost`."""


def packed(messages: Sequence[Message]) -> bytes:
    """A conversation as bytes: the same words give the same bytes, and so the same hash, everywhere."""
    turns = [message.model_dump(exclude_none=True) for message in messages]
    return json.dumps(turns, indent=1).encode()


def unpacked(data: bytes) -> tuple[Message, ...]:
    """What `packed` wrote."""
    return tuple(Message.model_validate(turn) for turn in json.loads(data))


def prompt_hash(messages: Sequence[Message]) -> str:
    """SHA-256 over the conversation."""
    return hashlib.sha256(packed(messages)).hexdigest()


def as_markdown(messages: Sequence[Message]) -> str:
    """A conversation for people: each turn under a comment that names the speaker, and the picture if there is one."""
    return "\n".join(f"<!-- {_speaker(message)} -->\n\n{message.content.strip()}\n" for message in messages)


def _speaker(message: Message) -> str:
    picture = message.picture
    if picture is None:
        return message.role
    return f"{message.role}, with a JPEG of {picture.width} × {picture.height} pixels: blobs/{picture.blob}"


def call_row(call: Call) -> tuple[str, tuple[Any, ...]]:
    """The statement that stores or updates a call."""
    marks = ", ".join("?" * len(Call.model_fields))
    values = tuple(getattr(call, name) for name in Call.model_fields)
    return f"INSERT OR REPLACE INTO calls ({COLUMNS}) VALUES ({marks})", values


def call_of(row: Sequence[Any]) -> Call:
    """The call in a row of `COLUMNS`."""
    return Call.model_validate(dict(zip(Call.model_fields, row, strict=True)))
