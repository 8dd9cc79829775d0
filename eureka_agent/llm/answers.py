"""Reads what providers answer. Nothing about an answer's shape is believed: every field may be missing or absurd."""

from __future__ import annotations

import json
from typing import Any

from eureka_agent.llm.completion import Usage
from eureka_agent.llm.wire import Answered

LONGEST_TEXT = 4_000_000
"""Characters of one answer that are kept; the longest answers of today's models have a tenth."""
LONGEST_BODY = 64 * 2**20
"""Bytes of one document that are read."""
MOST_TOKENS = 10**9
"""A count beyond this is no count."""

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "error": "incomplete",
    "pause_turn": "incomplete",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
}


class UnreadableAnswer(Exception):
    """The provider sent something that is no answer of its protocol."""

    def __init__(self, reason: str, body: str = "") -> None:
        super().__init__(reason)
        self.body = body[:LONGEST_TEXT]


class CutOff(Exception):
    """The stream ended without saying that the answer did."""


def finish_reason(word: object) -> str:
    """A provider's word for why an answer ended, in the one spelling that the rest of the package knows."""
    if not isinstance(word, str) or not word:
        return "stop"
    return _REASONS.get(word.lower(), word.lower()[:100])


def parsed_document(body: bytes, content_type: str) -> dict[str, Any]:
    """A body that should be one JSON object.

    Raises:
        UnreadableAnswer: it is none.
    """
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        said = content_type.partition(";")[0] or "nothing"
        raise UnreadableAnswer(f"no JSON ({type(error).__name__}; the server calls it {said})", text) from error
    if not isinstance(document, dict):
        raise UnreadableAnswer(f"no JSON object, but {type(document).__name__}", text)
    return document


def at(data: object, *path: str | int) -> Any:
    """What is at a path of keys and positions; None where the path ends early."""
    for step in path:
        if isinstance(data, dict) and isinstance(step, str):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def text_at(data: object, *path: str | int) -> str:
    """A text, or the texts of a list of parts; empty if there is none."""
    found = at(data, *path)
    if isinstance(found, list):
        return "".join(text_at(part, "text") for part in found)
    return found if isinstance(found, str) else ""


def count_at(data: object, *path: str | int) -> int | None:
    """A number of tokens; None if there is none that can be true."""
    found = at(data, *path)
    return found if type(found) is int and 0 <= found <= MOST_TOKENS else None


def openai_usage(usage: object) -> Usage | None:
    """Tokens as OpenAI's protocol counts them; cached ones are part of the prompt's."""
    given, made = count_at(usage, "prompt_tokens"), count_at(usage, "completion_tokens")
    if given is None or made is None or given + made == 0:  # nothing costs nothing: some fill in zeros for "unknown"
        return None
    total = count_at(usage, "total_tokens") or 0
    return _usage(
        given,
        max(made, total - given),  # some providers leave thinking out of the answer's count, none out of the sum
        count_at(usage, "prompt_tokens_details", "cached_tokens") or 0,
        count_at(usage, "prompt_tokens_details", "cache_write_tokens") or 0,
    )


def anthropic_usage(usage: object) -> Usage | None:
    """Tokens as Anthropic's protocol counts them; `input_tokens` leaves out what the cache had or took."""
    fresh, made = count_at(usage, "input_tokens"), count_at(usage, "output_tokens")
    if fresh is None or made is None:
        return None
    read = count_at(usage, "cache_read_input_tokens") or 0
    written = count_at(usage, "cache_creation_input_tokens") or 0
    return None if fresh + read + written + made == 0 else _usage(fresh + read + written, made, read, written)


def _usage(given: int, made: int, read: int, written: int) -> Usage:
    read = min(read, given)
    return Usage(
        input_tokens=given, output_tokens=made, cached_tokens=read, cache_write_tokens=min(written, given - read)
    )


def openai_answer(document: dict[str, Any], request_id: str) -> Answered:
    """The answer in a `chat.completion` document. Of several choices the first counts.

    Raises:
        UnreadableAnswer: there is no choice in it.
    """
    choice = at(document, "choices", 0)
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise UnreadableAnswer(_instead("no choices", document), json.dumps(document))
    message = choice["message"]
    refusal = text_at(message, "refusal") or text_at(message, "provider_specific_fields", "refusal")
    text, reason = text_at(message, "content"), finish_reason(choice.get("finish_reason"))
    if refusal and not text:
        text, reason = refusal, "refusal"
    return _answered(text, reason, document, openai_usage(document.get("usage")), request_id)


def anthropic_answer(document: dict[str, Any], request_id: str) -> Answered:
    """The answer in a `message` document.

    Raises:
        UnreadableAnswer: there is no content in it.
    """
    blocks = document.get("content")
    if not isinstance(blocks, list):
        raise UnreadableAnswer(_instead("no content", document), json.dumps(document))
    text = "".join(text_at(block, "text") for block in blocks if at(block, "type") == "text")
    reason = finish_reason(document.get("stop_reason"))
    return _answered(text, reason, document, anthropic_usage(document.get("usage")), request_id)


def _instead(missing: str, document: dict[str, Any]) -> str:
    """Some gateways send an error as if it were an answer."""
    said = text_at(document, "error", "message")
    return f"{missing}; the server says: {said}" if said else missing


def _answered(text: str, reason: str, document: dict[str, Any], usage: Usage | None, request_id: str) -> Answered:
    return Answered(
        text=text[:LONGEST_TEXT],
        finish_reason="length" if len(text) > LONGEST_TEXT else reason,
        model=text_at(document, "model")[:200],
        usage=usage,
        request_id=(request_id or text_at(document, "id"))[:200],
        raw=json.dumps(document),
    )
