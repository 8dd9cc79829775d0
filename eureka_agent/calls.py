"""What a language model was asked and what it answered, as the journal keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

from eureka_agent.population import Record

COLUMNS = (
    "key, brief, purpose, attempt, state, prompt, response, model, finish_reason, input_tokens, output_tokens, "
    "reserved, sent, received, parsed"
)
State = Literal["reserved", "sent", "received", "parsed"]


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Call(Record):
    """One request to a language model: reserved, then sent, then received (the answer is durable), then parsed."""

    key: str
    """`<brief id>/<purpose>/<attempt>`, unique in the run."""
    brief: str
    """Id of the candidate that the answer becomes."""
    purpose: str
    """`propose` or `repair`."""
    attempt: int = 1
    state: State = "reserved"
    prompt: str
    """Blob: the conversation as `packed` writes it; its digest is the prompt's hash."""
    response: str | None = None
    """Blob: the answer's text as it came, in UTF-8."""
    model: str | None = None
    """Who answered, as it names itself."""
    finish_reason: str | None = None
    input_tokens: int | None = None
    """As the provider counts them; None if it does not say."""
    output_tokens: int | None = None
    reserved: float
    """Seconds since 1970, as the next three."""
    sent: float | None = None
    received: float | None = None
    parsed: float | None = None

    @property
    def stem(self) -> str:
        """Beginning of the names of the files that hold prompt and response: `g0c3`, `g0c3.repair`."""
        purpose = "" if self.purpose == "propose" else f".{self.purpose}"
        return self.brief + purpose + (f".{self.attempt}" if self.attempt > 1 else "")


def packed(messages: Sequence[Message]) -> bytes:
    """A conversation as bytes: the same words give the same bytes, and so the same hash, everywhere."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return json.dumps(turns, indent=1).encode()


def unpacked(data: bytes) -> tuple[Message, ...]:
    """What `packed` wrote."""
    return tuple(Message.model_validate(turn) for turn in json.loads(data))


def prompt_hash(messages: Sequence[Message]) -> str:
    """SHA-256 over the conversation."""
    return hashlib.sha256(packed(messages)).hexdigest()


def as_markdown(messages: Sequence[Message]) -> str:
    """A conversation for people: each turn under a comment that names the speaker."""
    return "\n".join(f"<!-- {message.role} -->\n\n{message.content.strip()}\n" for message in messages)


def call_row(call: Call) -> tuple[str, tuple[Any, ...]]:
    """The statement that stores or updates a call."""
    names = [name.strip() for name in COLUMNS.split(",")]
    marks = ", ".join("?" * len(names))
    return f"INSERT OR REPLACE INTO calls ({COLUMNS}) VALUES ({marks})", tuple(getattr(call, n) for n in names)


def call_of(row: Sequence[Any]) -> Call:
    """The call in a row of `COLUMNS`."""
    return Call.model_validate(dict(zip((name.strip() for name in COLUMNS.split(",")), row, strict=True)))
