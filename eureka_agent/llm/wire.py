"""What crosses between the controller and its broker: one attempt at a call, and what came of it.

Everything here is plain data. A key is in none of it: keys stay with the broker, see `keys`.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from pydantic import Field

from eureka_agent.llm.completion import Usage
from eureka_agent.population import Record
from eureka_agent.runs.calls import Message


class Price(Record):
    """What a model costs, in US dollars per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cache_read: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Input tokens found in the provider's cache; None: as `input`."""
    cache_write: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Input tokens put into the provider's cache; None: as `input`."""


class ModelConfig(Record):
    """One language model, as a person names and tunes it."""

    name: str
    """`provider/model`, for instance `openai/NAME`, `anthropic/NAME`, `groq/NAME`."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Its share of the calls, beside the weights of the others."""
    base_url: str | None = None
    """Address of a server that speaks the provider's protocol; None: the provider's own."""
    price: Price | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Longest answer the model can give; None: as the run says."""
    effort: str | None = None
    """Reasoning effort, in the provider's word."""
    store: bool = False
    """The provider is asked to keep its answers, so that one that was lost on its way can be looked up."""

    @property
    def provider(self) -> str:
        """What is before the first slash of the name."""
        return self.name.partition("/")[0]


class Patience(Record):
    """How long one attempt may take, in seconds."""

    connect: float = Field(default=10.0, gt=0)
    idle: float = Field(default=60.0, gt=0)
    """Longest silence once the answer has begun; before that a model may think in silence."""
    total: float = Field(default=900.0, gt=0)


class Ask(Record):
    """One attempt at a call."""

    key: str
    """The call's key in the journal."""
    model: ModelConfig
    messages: tuple[Message, ...]
    pictures: dict[str, str] = Field(default_factory=dict)
    """Those of the messages in base64, by the digest of their bytes."""
    max_output_tokens: int = Field(ge=1)
    """Thinking included."""
    idempotency_key: str
    """Names this attempt for ever: sent as a header, and how its answer is found after a crash."""
    sent_before: bool = False
    """It went out once and its answer was lost: look for what the provider kept, and send nothing."""
    patience: Patience = Patience()


class Answered(Record):
    """The provider answered. Whether the answer is of use is for others to say."""

    outcome: Literal["answered"] = "answered"
    text: str
    """May be empty, and may hold half a surrogate pair or NUL: a model can write those in JSON."""
    finish_reason: str
    """`stop`, or one of `extract.CUT_OFF` or `extract.REFUSED`, or the provider's own word."""
    model: str
    """Who answered, as it names itself; empty if it does not say."""
    usage: Usage | None
    """As the provider counts; None if it says nothing, or nothing that can be true."""
    request_id: str
    """The provider's name for the call; empty if it has none."""
    raw: str
    """The provider's response as JSON text in ASCII; of a stream, the message it amounts to."""


class FaultKind(StrEnum):
    """Why an attempt brought no answer."""

    AUTH = "auth"
    """No key, a wrong one, or one that may not use the model."""
    NOT_FOUND = "not_found"
    """No such model or address."""
    BAD_REQUEST = "bad_request"
    """The request as it is will never be taken."""
    QUOTA = "quota"
    """The account is out of money: waiting does not help."""
    CONTEXT = "context"
    """The prompt is too long for the model."""
    RATE_LIMIT = "rate_limit"
    """Too much at once: waiting helps."""
    OVERLOADED = "overloaded"
    """The provider is in trouble: waiting may help."""
    CONNECT = "connect"
    """Nothing was sent."""
    LOST = "lost"
    """It was sent, and the connection ended or stayed silent before an answer began."""
    STREAM = "stream"
    """The answer began and did not end."""
    BAD_ANSWER = "bad_answer"
    """An answer came that no one can read."""


class Fault(Record):
    """An attempt that brought no answer."""

    outcome: Literal["fault"] = "fault"
    kind: FaultKind
    message: str
    """One line for a person; holds no key and no control character."""
    status: int | None = None
    """HTTP status, if there was one."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait."""
    retry: bool | None = None
    """What the provider's `x-should-retry` says about asking again."""
    billed: Literal["no", "unknown", "yes"]
    text: str = ""
    """What had come of the answer."""


Outcome: TypeAlias = Answered | Fault


def dump_record(record: Record) -> str:
    """A record as one line of ASCII; unlike pydantic's own, it takes half surrogate pairs."""
    return json.dumps(record.model_dump(mode="python"))


def load_outcome(text: str | bytes) -> Outcome:
    """What `dump_record` wrote of an outcome.

    Raises:
        ValueError: it is none.
    """
    data: dict[str, Any] = json.loads(text)
    return Answered.model_validate(data) if data.get("outcome") == "answered" else Fault.model_validate(data)
