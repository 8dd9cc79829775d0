"""A provider on loopback: speaks OpenAI's chat and Anthropic's messages, bills what it accepts, and fails on demand.

The model's name is the scenario: `openai/quota-402` is answered with 402. `@plain` behind a name (`ok@plain`) answers
with one JSON document although a stream was asked for, as some servers do. Where a scenario needs a moment of its own
(`hold`), the test has the events.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CODE = "```python\ndef compute_reward(x):\n    return x, {'x': x}\n```\n"
MEGABYTES = 10


@dataclass
class Reply:
    """One answer, before it is spelled in a provider's protocol."""

    text: Any = CODE
    finish: str | None = "stop"
    usage: Any = field(default_factory=lambda: {"input": 100, "output": 20})
    model: str | None = None
    refusal: str | None = None
    choices: int = 1


@dataclass
class Received:
    """One request, as the ledger keeps it."""

    scenario: str
    path: str
    idempotency_key: str
    headers: dict[str, str]
    body: dict[str, Any]
    billed: bool = False


ANSWERS: dict[str, Reply] = {
    "ok": Reply(),
    "truncated": Reply(text="```python\ndef compute_rew", finish="length"),
    "window-exceeded": Reply(text="half", finish="model_context_window_exceeded"),
    "refusal": Reply(text=None, finish="refusal", refusal="I cannot help with that."),
    "filtered": Reply(text="", finish="content_filter"),
    "missing-usage": Reply(usage=None),
    "negative-usage": Reply(usage={"input": -5, "output": 20}),
    "absurd-usage": Reply(usage={"input": 10**15, "output": 20}),
    "text-usage": Reply(usage={"input": "many", "output": [1]}),
    "wrong-model": Reply(model="quite-another-model"),
    "empty": Reply(text=""),
    "whitespace": Reply(text=" \n\t\n"),
    "null-text": Reply(text=None),
    "surrogates": Reply(text="half \ud800 pair"),
    "nul": Reply(text="a\0b"),
    "ten-megabytes": Reply(text="x" * (MEGABYTES * 2**20)),
    "twice": Reply(choices=2),
    "cached": Reply(usage={"input": 100, "output": 20, "read": 60, "written": 30}),
    "reasoning": Reply(usage={"input": 100, "output": 220, "reasoning": 200}),
}
"""Scenarios that are answered, and billed."""

QUOTA = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
MINUTE = {
    "message": "You exceeded your current quota, please check your plan and billing details.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [{"retryDelay": "34s"}],
}
CONTEXT = {
    "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "type": "invalid_request_error",
    "code": "context_length_exceeded",
}
CREDIT = {"message": "Your credit balance is too low to access the API.", "type": "invalid_request_error"}
PARAMETER = {
    "message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
    "type": "invalid_request_error",
    "code": "unsupported_parameter",
}

UNVERIFIED = {
    "message": "Your organization must be verified to stream this model.",
    "type": "invalid_request_error",
    "param": "stream",
    "code": "unsupported_value",
}

STATUSES: dict[str, tuple[int, dict[str, str], Any]] = {
    **{
        str(status): (status, {}, {"message": f"no luck: {status}", "type": "some_error"}) for status in range(400, 530)
    },
    "quota-402": (402, {}, {"message": "Insufficient credits", "type": "billing_error"}),
    "quota-429": (429, {}, QUOTA),
    "credit-400": (400, {}, CREDIT),
    "context-400": (400, {}, CONTEXT),
    "context-413": (413, {}, {"message": "Request exceeds the maximum size", "type": "request_too_large"}),
    "prompt-too-long": (400, {}, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
    "filtered-400": (400, {}, {"message": "The response was filtered", "code": "content_filter"}),
    "minute-429": (429, {}, MINUTE),
    "seconds": (429, {"Retry-After": "7"}, {"message": "slow down", "type": "rate_limit_error"}),
    "milliseconds": (429, {"Retry-After": "9", "retry-after-ms": "1500"}, {"message": "slow down"}),
    "absurd-wait": (429, {"Retry-After": "soon"}, {"message": "slow down"}),
    "shall-not-retry": (503, {"x-should-retry": "false"}, {"message": "no use"}),
    "shall-retry": (400, {"x-should-retry": "true"}, {"message": "try again"}),
    "html-502": (502, {"Content-Type": "text/html"}, "<html><body>\n<h1>Bad gateway</h1>\x1b[31m\n</body></html>"),
    "empty-500": (500, {}, ""),
    "blind-400": (400, {}, {"message": "Invalid content type. image_url is only supported by certain models."}),
    "blind-404": (404, {}, {"message": "No endpoints found that support image input"}),
    "blind-500": (500, {}, {"message": "image input is not supported - hint: you may need to provide the mmproj"}),
    "wild-error": (400, {}, "[" * 5000),
}
"""Scenarios that are refused with a status, and not billed."""

Scenario = Callable[["Handler"], None]


class Provider(ThreadingHTTPServer):
    """The server; `base_url` for OpenAI's protocol ends in `/v1`, for Anthropic's it does not."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ledger: list[Received] = []
        self.arrived = threading.Event()
        """A `hold` request has come."""
        self.stored: dict[str, dict[str, Any]] = {}
        """Answers that a request asked to keep, by its metadata's `eureka_call`."""
        self.forgetful = False
        """Whoever asks for a kept answer is kept waiting."""
        self.looked_up: list[str] = []
        """Names of calls whose answers somebody asked for again."""
        self.released = threading.Event()
        """`hold` and silent requests may go on."""

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def billed(self) -> list[Received]:
        """Requests that were accepted."""
        return [received for received in self.ledger if received.billed]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is what several scenarios are about."""


@contextmanager
def provider() -> Iterator[Provider]:
    """A running server."""
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Provider

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def end_headers(self) -> None:
        """Say that the connection ends with this answer: else a client's next request may meet the end on its way."""
        self.send_header("Connection", "close")
        super().end_headers()

    def do_GET(self) -> None:
        """What was kept of an earlier call; else where a redirect leads if it is followed."""
        asked = parse_qs(urlsplit(self.path).query).get("metadata[eureka_call]")
        if asked and urlsplit(self.path).path == "/v1/chat/completions":
            self.server.looked_up.append(asked[0])
            if self.server.forgetful:
                return self.chunks_for_ever()
            found = [self.server.stored[asked[0]]] if asked[0] in self.server.stored else []
            return self.document({"object": "list", "data": found, "has_more": False})
        self.server.ledger.append(Received("redirected", self.path, "", dict(self.headers), {}))
        return self.document({"message": "you should not be here"}, 200)

    def do_POST(self) -> None:
        """Look the scenario up and play it."""
        self.close_connection = True
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.scenario, _, how = str(self.body["model"]).partition("@")
        self.plain = how == "plain" or not self.body.get("stream")
        self.anthropic = self.path.endswith("/messages")
        self.entry = Received(
            self.scenario, self.path, self.headers.get("Idempotency-Key", ""), dict(self.headers), self.body
        )
        self.server.ledger.append(self.entry)
        if self.scenario in STATUSES:
            return self.refuse(*STATUSES[self.scenario])
        self.entry.billed = True
        if self.scenario in ANSWERS:
            return self.answer(ANSWERS[self.scenario])
        return SPECIAL[self.scenario](self)

    # ------------------------------------------------------------------------------------------------------ spelling

    def refuse(self, status: int, headers: dict[str, str], error: Any) -> None:
        """An error as the provider words it; a text is sent as it is."""
        if isinstance(error, str):
            return self.send(error.encode(), status, {"Content-Type": "application/json", **headers})
        document = {"type": "error", "error": error, "request_id": "req_7"} if self.anthropic else {"error": error}
        return self.document(document, status, headers)

    def document(self, document: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(document).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), "x-request-id": "req_7", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("request-id", "req_7")
        self.end_headers()
        self.wfile.write(data)

    def answer(self, reply: Reply) -> None:
        """A whole answer, kept first if that was asked for."""
        self.keep(reply)
        if self.plain:
            return self.document(self.message(reply))
        self.begin_stream()
        for event in self.events(reply):
            self.event(event)
        return self.end_stream()

    def keep(self, reply: Reply) -> None:
        """Have the answer found later under its call's name."""
        if self.body.get("store"):
            metadata = self.body["metadata"]
            self.server.stored[metadata["eureka_call"]] = self.message(reply) | {"metadata": metadata}

    def chunks_for_ever(self) -> None:
        """A document that does not end."""
        self.begin_stream()
        while not self.server.released.wait(0.05):
            self.chunk(b" ")

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-request-id", "req_7")
        self.send_header("request-id", "req_7")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def event(self, event: Any) -> None:
        name = f"event: {event['type']}\n" if self.anthropic else ""
        self.chunk(f"{name}data: {json.dumps(event)}\n\n".encode())

    def end_stream(self) -> None:
        if not self.anthropic:
            self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def message(self, reply: Reply) -> dict[str, Any]:
        """The answer as one document."""
        model = reply.model or self.body["model"]
        if self.anthropic:
            content = [{"type": "text", "text": _anthropic_text(reply)}]
            document = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content}
            document |= {"stop_reason": _anthropic_reason(reply.finish), "stop_sequence": None}
            return document if reply.usage is None else document | {"usage": _anthropic_usage(reply.usage)}
        message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
        finish = "stop" if reply.finish == "refusal" else reply.finish
        choices = [{"index": i, "message": message, "finish_reason": finish} for i in range(reply.choices)]
        document = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": model, "choices": choices}
        return document if reply.usage is None else document | {"usage": _openai_usage(reply.usage)}

    def events(self, reply: Reply) -> list[dict[str, Any]]:
        """The answer as a stream."""
        return self._anthropic_events(reply) if self.anthropic else self._openai_events(reply)

    def _openai_events(self, reply: Reply) -> list[dict[str, Any]]:
        model = reply.model or self.body["model"]
        base = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        finish = "stop" if reply.finish == "refusal" else reply.finish

        def event(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
            return base | {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}

        found: list[dict[str, Any]] = []
        for index in range(reply.choices):
            found.append(event(index, {"role": "assistant", "content": ""}))
            found += [event(index, {"content": part}) for part in _parts(reply.text or "")]
            if reply.refusal:
                found.append(event(index, {"refusal": reply.refusal}))
            found.append(event(index, {}, finish))
        if reply.usage is not None:
            found.append(base | {"choices": [], "usage": _openai_usage(reply.usage)})
        return found

    def _anthropic_events(self, reply: Reply) -> list[dict[str, Any]]:
        start = self.message(reply) | {"content": [], "stop_reason": None}
        usage = (
            {} if reply.usage is None else {"usage": {"output_tokens": _anthropic_usage(reply.usage)["output_tokens"]}}
        )
        stop = {"stop_reason": _anthropic_reason(reply.finish), "stop_sequence": None}
        deltas = [{"type": "text_delta", "text": part} for part in _parts(_anthropic_text(reply))]
        return [
            {"type": "message_start", "message": start},
            {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": stop, **usage},
            {"type": "message_stop"},
        ]

    def half(self) -> None:
        """The beginning of a stream: what comes before the text, and its first part."""
        self.begin_stream()
        events = self.events(Reply())
        for event in events[: 4 if self.anthropic else 2]:
            self.event(event)


def _parts(text: str) -> list[str]:
    size = max(8, len(text) // 10)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _anthropic_text(reply: Reply) -> Any:
    return reply.refusal or reply.text or ""


def _anthropic_reason(finish: str | None) -> str | None:
    return {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}.get(str(finish), finish)


def _openai_usage(usage: dict[str, Any]) -> dict[str, Any]:
    details = {"cached_tokens": usage.get("read", 0), "cache_write_tokens": usage.get("written", 0)}
    spelled = {"prompt_tokens": usage["input"], "completion_tokens": usage["output"], "prompt_tokens_details": details}
    if isinstance(usage["input"], int):
        spelled["total_tokens"] = usage["input"] + usage["output"]
    return spelled | {"completion_tokens_details": {"reasoning_tokens": usage.get("reasoning", 0)}}


def _anthropic_usage(usage: dict[str, Any]) -> dict[str, Any]:
    fresh = usage["input"] - usage.get("read", 0) - usage.get("written", 0) if "read" in usage else usage["input"]
    cache = {"cache_read_input_tokens": usage.get("read", 0), "cache_creation_input_tokens": usage.get("written", 0)}
    return {"input_tokens": fresh, "output_tokens": usage["output"], **cache}


# ------------------------------------------------------------------------------------------------------------- special


def _hold(handler: Handler) -> None:
    handler.server.arrived.set()
    handler.server.released.wait(60)
    handler.answer(Reply())


def _silence(handler: Handler) -> None:
    handler.server.released.wait(60)


def _reset(handler: Handler) -> None:
    linger = struct.pack("ii", 1, 0)  # close with a reset
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def _kept_and_lost(handler: Handler) -> None:
    """The answer is kept, if that is asked for, and does not arrive."""
    handler.keep(Reply())
    handler.connection.shutdown(socket.SHUT_RDWR)


def _hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def _cut(handler: Handler) -> None:
    handler.half()
    handler.connection.shutdown(socket.SHUT_RDWR)


def _short(handler: Handler) -> None:
    """Ends as if all was said, without a finish reason."""
    handler.half()
    handler.end_stream()


def _idle(handler: Handler) -> None:
    handler.half()
    handler.server.released.wait(60)


def _chatty(handler: Handler) -> None:
    """Comments for ever, and no answer."""
    handler.begin_stream()
    while not handler.server.released.wait(0.05):
        handler.chunk(b": still thinking\n\n")


def _error_in_stream(handler: Handler) -> None:
    handler.half()
    error = {"type": "overloaded_error", "message": "Overloaded"}
    handler.event({"type": "error", "error": error})
    handler.end_stream()


def _after_the_end(handler: Handler) -> None:
    """All is said, and the connection breaks before the goodbye."""
    handler.begin_stream()
    for event in handler.events(Reply())[: -1 if handler.anthropic else None]:
        handler.event(event)
    handler.connection.shutdown(socket.SHUT_RDWR)


def _raw_stream(data: bytes) -> Scenario:
    def play(handler: Handler) -> None:
        handler.begin_stream()
        handler.chunk(data)
        handler.end_stream()

    return play


def _raw(data: bytes, **headers: str) -> Scenario:
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(data, 200, {"Content-Type": "application/json", **spelled})


def _redirect(handler: Handler) -> None:
    handler.entry.billed = False
    handler.send(b"", 302, {"Location": f"{handler.server.url}/elsewhere"})


def _repeat_key(handler: Handler) -> None:
    """Says the key it was given, as some gateways do."""
    handler.entry.billed = False
    key = handler.headers.get("x-api-key") or handler.headers.get("Authorization", "")
    handler.refuse(401, {}, {"message": f"Incorrect API key provided: {key}.", "type": "authentication_error"})


def _tell_key(handler: Handler) -> None:
    """Says the key in its answer."""
    handler.answer(Reply(text=handler.headers.get("x-api-key") or handler.headers.get("Authorization")))


def _wants_other_name(handler: Handler) -> None:
    if "max_tokens" in handler.body:
        handler.entry.billed = False
        return handler.refuse(400, {}, PARAMETER)
    return handler.answer(Reply())


def _no_stream(handler: Handler) -> None:
    """Streams this model to nobody, as OpenAI does to organisations that are not verified."""
    if handler.body.get("stream"):
        handler.entry.billed = False
        return handler.refuse(400, {}, UNVERIFIED)
    return _wants_other_name(handler)


def _date(handler: Handler) -> None:
    handler.entry.billed = False
    handler.refuse(429, {"Retry-After": formatdate(time.time() + 30, usegmt=True)}, {"message": "slow down"})


SPECIAL: dict[str, Scenario] = {
    "hold": _hold,
    "silence": _silence,
    "reset": _reset,
    "hang-up": _hang_up,
    "kept-and-lost": _kept_and_lost,
    "cut": _cut,
    "short": _short,
    "idle": _idle,
    "chatty": _chatty,
    "error-in-stream": _error_in_stream,
    "after-the-end": _after_the_end,
    "bad-json": _raw(b'{"choices": [{"mess'),
    "deep-json": _raw(b"[" * 100_000),
    "list-json": _raw(b'[1, "two", null]'),
    "wrong-types": _raw(b'{"choices": {"a": 1}, "content": 7, "usage": "none", "model": 3, "id": []}'),
    "html": _raw(b"<html><body>Please log in</body></html>", Content_Type="text/html"),
    "gzip-garbage": _raw(b"this is no gzip", Content_Encoding="gzip"),
    "no-utf-8": _raw(b'{"choices": "\xff\xfe\x80"}'),
    "bad-event": _raw_stream(b'data: {"choices": [{\n\n'),
    "bad-event-utf-8": _raw_stream(b"data: \xff\xfe\x80\n\n"),
    "odd-events": _raw_stream(b'data: {"type": 5, "choices": 7}\n\ndata: [1, 2]\n\ndata: null\n\n'),
    "redirect": _redirect,
    "repeat-key": _repeat_key,
    "tell-key": _tell_key,
    "other-name": _wants_other_name,
    "no-stream": _no_stream,
    "date": _date,
}
