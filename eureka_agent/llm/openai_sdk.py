"""Asks OpenAI, and every server that speaks its chat protocol, through the openai SDK."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from eureka_agent.llm.answers import LONGEST_BODY, CutOff, UnreadableAnswer, at, openai_answer, parsed_document, text_at
from eureka_agent.llm.attempt import Progress
from eureka_agent.llm.keys import NO_KEY, key_of
from eureka_agent.llm.wire import Answered, Ask
from eureka_agent.runs.calls import Message

if TYPE_CHECKING:
    from openai import OpenAI

KEPT_AS = "eureka_call"
"""Under which an answer that OpenAI keeps has its call's name (`metadata`)."""
OWN_HOSTS = ("openai.com", "azure.com")
"""Where the limit of an answer is called `max_completion_tokens`; servers of one's own know `max_tokens`."""


def complete(ask: Ask, environment: Mapping[str, str], progress: Progress) -> Answered:
    """Ask once, as a stream where that is allowed. Raises whatever the SDK raises; see `faults.outcome_of`."""
    import openai

    base_url = _address(ask, environment)
    with _client(ask, environment) as client:
        own_host = base_url is None or (urlsplit(base_url).hostname or "").endswith(OWN_HOSTS)
        limit, other = ("max_completion_tokens", "max_tokens") if own_host else ("max_tokens", "max_completion_tokens")
        stream = True
        while True:
            try:
                return _ask(client, ask, progress, limit, stream)
            except openai.BadRequestError as error:  # what is refused for a parameter is not billed
                if stream and error.param == "stream":  # some models stream only to organisations that are verified
                    stream = False
                elif limit != other and other in str(error):
                    limit = other
                else:
                    raise


def kept(ask: Ask, environment: Mapping[str, str]) -> Answered | None:
    """The answer that OpenAI kept of a request that asked for it; None if there is none. Raises as `complete` does."""
    with _client(ask, environment) as client:
        listing = client.chat.completions.with_streaming_response
        with listing.list(metadata={KEPT_AS: ask.idempotency_key}) as answer:
            whole = answer.http_response
            document = parsed_document(read_body(whole), whole.headers.get("content-type", ""))
    mine = (one for one in at(document, "data") or () if text_at(one, "metadata", KEPT_AS) == ask.idempotency_key)
    found = next(mine, None)
    return None if found is None else openai_answer(found, text_at(found, "request_id"))


def _address(ask: Ask, environment: Mapping[str, str]) -> str | None:
    return ask.model.base_url or environment.get("OPENAI_BASE_URL") or None


def _client(ask: Ask, environment: Mapping[str, str]) -> OpenAI:
    import openai

    return openai.OpenAI(
        api_key=key_of("openai", environment) or NO_KEY,
        base_url=_address(ask, environment),
        max_retries=0,
        timeout=openai.Timeout(ask.patience.total, connect=ask.patience.connect),
        # A redirect would take the key and the prompt to an address that nobody named.
        http_client=openai.DefaultHttpxClient(follow_redirects=False),
    )


def _ask(client: OpenAI, ask: Ask, progress: Progress, limit: str, stream: bool) -> Answered:
    options: dict[str, Any] = {
        "model": ask.model.name.partition("/")[2],
        "messages": [{"role": m.role, "content": content_of(m, ask.pictures)} for m in ask.messages],
        limit: ask.max_output_tokens,
        "extra_headers": {"Idempotency-Key": ask.idempotency_key},
    }
    if ask.model.effort:
        options["reasoning_effort"] = ask.model.effort
    if ask.model.store:
        options |= {"store": True, "metadata": {KEPT_AS: ask.idempotency_key}}
    if not stream:
        whole = client.chat.completions.with_raw_response.create(**options).http_response
        document = parsed_document(whole.content, whole.headers.get("content-type", ""))
        return openai_answer(document, whole.headers.get("x-request-id") or "")
    chunks: Any = client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options)
    response = chunks.response
    progress.begin(lambda: hang_up(response))
    request_id = response.headers.get("x-request-id") or ""
    kind = response.headers.get("content-type", "")
    if "json" in kind or "html" in kind or 300 <= response.status_code < 400:
        return openai_answer(parsed_document(read_body(response), kind), request_id)
    return _from_stream(chunks, progress, request_id)


def _from_stream(stream: Any, progress: Progress, request_id: str) -> Answered:
    """The document that a stream of chunks amounts to."""
    document: dict[str, Any] = {"object": "chat.completion"}
    refusals: list[str] = []
    thoughts: list[str] = []
    reason: str | None = None
    seen = False
    try:
        for chunk in stream:
            data = plain(chunk)
            seen = seen or isinstance(data.get("choices"), list)
            document |= {name: data[name] for name in ("id", "model", "created", "usage") if data.get(name) is not None}
            document |= {"system_fingerprint": mark} if (mark := data.get("system_fingerprint")) else {}
            choice = next((c for c in at(data, "choices") or [] if not at(c, "index")), None) if seen else None
            refusals.append(text_at(choice, "delta", "refusal"))
            thoughts.append(text_at(choice, "delta", "reasoning_content") or text_at(choice, "delta", "reasoning"))
            text = text_at(choice, "delta", "content")
            if text or refusals[-1] or thoughts[-1] or progress.heard is not None:
                progress.add(text)
            reason = text_at(choice, "finish_reason") or reason
            if progress.full:
                reason = "length"
                break
    except Exception:
        if reason is None:  # else all was said, and only the count is missing
            raise
    if not seen:
        raise UnreadableAnswer("an empty stream")
    if reason is None:
        raise CutOff("no finish reason came")
    message = {"role": "assistant", "content": progress.text, "refusal": "".join(refusals) or None}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    document["choices"] = [{"index": 0, "message": message, "finish_reason": reason}]
    return openai_answer(document, request_id)


def content_of(message: Message, pictures: Mapping[str, str]) -> Any:
    """A turn in OpenAI's protocol: its words, or its picture and its words."""
    words = sendable(message.content)
    if message.picture is None:
        return words
    address = f"data:image/jpeg;base64,{pictures[message.picture.blob]}"
    return [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": words}]


def sendable(text: str) -> str:
    """Text that UTF-8 can spell."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain(event: Any) -> dict[str, Any]:
    """An event of a stream as plain data, whatever the server made of it."""
    data = event.to_dict(warnings=False) if hasattr(event, "to_dict") else event
    return data if isinstance(data, dict) else {}


def read_body(response: Any) -> bytes:
    """The whole body of a response that is no stream.

    Raises:
        UnreadableAnswer: it is longer than any answer.
    """
    body = bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > LONGEST_BODY:
            raise UnreadableAnswer(f"more than {LONGEST_BODY // 2**20} MiB", json.dumps(body[:1000].decode("latin-1")))
    return bytes(body)


def hang_up(response: Any) -> None:
    """End a response's connection from another thread; closing it alone would leave that thread waiting."""
    response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
