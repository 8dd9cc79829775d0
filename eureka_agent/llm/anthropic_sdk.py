"""Asks Anthropic through its own SDK: as a stream, with what all prompts of a run share marked for its cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eureka_agent.llm.answers import CutOff, UnreadableAnswer, anthropic_answer, at, parsed_document, text_at
from eureka_agent.llm.attempt import Progress
from eureka_agent.llm.keys import NO_KEY, VARIABLES
from eureka_agent.llm.openai_sdk import hang_up, plain, read_body, sendable
from eureka_agent.llm.wire import Answered, Ask
from eureka_agent.runs.calls import Message

SHARED_PART = re.compile(r"\A.*?^# State variables$.*?^(?=# )", re.DOTALL | re.MULTILINE)
"""Prompts begin with the task and its variables, the same in every call; under the next heading they differ."""
CACHED = {"cache_control": {"type": "ephemeral"}}


def complete(ask: Ask, environment: Mapping[str, str], progress: Progress) -> Answered:
    """Ask once, as a stream. Raises whatever the SDK raises; see `faults.outcome_of`."""
    import anthropic

    key, token = (environment.get(name, "").strip() for name in VARIABLES["anthropic"])
    patience = ask.patience
    client = anthropic.Anthropic(
        api_key=key or (None if token else NO_KEY),
        auth_token=None if key else token or None,
        base_url=_address(ask.model.base_url or environment.get("ANTHROPIC_BASE_URL") or ""),
        max_retries=0,
        timeout=anthropic.Timeout(patience.total, connect=patience.connect),
        # A redirect would take the key and the prompt to an address that nobody named.
        http_client=anthropic.DefaultHttpxClient(follow_redirects=False),
    )
    options: dict[str, Any] = {"output_config": {"effort": ask.model.effort}} if ask.model.effort else {}
    system = [m.content for m in ask.messages if m.role == "system"]
    if system:
        options["system"] = [_block("\n\n".join(system), cached=True)]
    with client:
        stream: Any = client.messages.create(
            model=ask.model.name.partition("/")[2],
            max_tokens=ask.max_output_tokens,
            messages=_turns([m for m in ask.messages if m.role != "system"], ask.pictures),
            stream=True,
            extra_headers={"Idempotency-Key": ask.idempotency_key},
            **options,
        )
        response = stream.response
        progress.begin(lambda: hang_up(response))
        request_id = response.headers.get("request-id") or ""
        kind = response.headers.get("content-type", "")
        if "json" in kind or "html" in kind or 300 <= response.status_code < 400:
            return anthropic_answer(parsed_document(read_body(response), kind), request_id)
        return _from_stream(stream, progress, request_id)


def _address(base_url: str) -> str | None:
    """The SDK adds `/v1` itself; people know their servers' addresses with it."""
    return base_url.rstrip("/").removesuffix("/v1") or None


def _turns(messages: list[Message], pictures: Mapping[str, str]) -> Any:
    """The conversation; of its first message, the part that other calls share is a block of its own."""
    turns = []
    for position, message in enumerate(messages):
        shared = SHARED_PART.match(message.content) if position == 0 else None
        if shared is None:
            blocks = [_block(message.content)]
        else:
            blocks = [_block(message.content[: shared.end()], cached=True), _block(message.content[shared.end() :])]
        if message.picture:
            data = {"type": "base64", "media_type": "image/jpeg", "data": pictures[message.picture.blob]}
            blocks.insert(0, {"type": "image", "source": data})
        turns.append({"role": message.role, "content": blocks})
    return turns


def _block(text: str, cached: bool = False) -> dict[str, Any]:
    return {"type": "text", "text": sendable(text), **(CACHED if cached else {})}


def _from_stream(stream: Any, progress: Progress, request_id: str) -> Answered:
    """The document that a stream of events amounts to."""
    document: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    seen = False
    reason: str | None = None
    try:
        for event in stream:
            data = plain(event)
            start = data.get("message") if data.get("type") == "message_start" else None
            if isinstance(start, dict):
                seen, document = True, start
            for counted in (at(start, "usage"), data.get("usage")):
                if isinstance(counted, dict):
                    usage |= {name: count for name, count in counted.items() if count is not None}
            if data.get("type") == "content_block_delta" or progress.heard is not None:
                progress.add(text_at(data, "delta", "text") if at(data, "delta", "type") == "text_delta" else "")
            reason = text_at(data, "delta", "stop_reason") or reason
            if data.get("type") == "message_stop":
                break
            if progress.full:
                reason = "max_tokens"
                break
    except Exception:
        if reason is None:  # else all was said, and only the goodbye is missing
            raise
    if not seen:
        raise UnreadableAnswer("an empty stream")
    if reason is None:
        raise CutOff("no stop reason came")
    content = [{"type": "text", "text": progress.text}]
    return anthropic_answer(document | {"content": content, "stop_reason": reason, "usage": usage}, request_id)
