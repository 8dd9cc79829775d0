"""Asks every other provider through litellm.

Not as a stream: litellm ends a stream that was cut with the finish reason `stop` of its own (1.106.2), and a function
that was cut off must never be trained. So only the whole time of a call is watched here, not its silences.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from eureka_agent.llm.answers import UnreadableAnswer, at, finish_reason, openai_answer, parsed_document, text_at
from eureka_agent.llm.attempt import GivenUp, Progress
from eureka_agent.llm.keys import NO_KEY, VARIABLES, key_of
from eureka_agent.llm.openai_sdk import content_of, plain
from eureka_agent.llm.wire import Answered, Ask

# Without it the import itself fetches a price table.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
AFTER_THE_WATCH = 5.0
"""Seconds by which the connection's own time limit is later than the watch over the call: litellm tells the words of
such an error as if the provider had sent them."""


def providers() -> list[str]:
    """Those that litellm knows, sorted."""
    import litellm

    return sorted(str(getattr(provider, "value", provider)) for provider in litellm.provider_list)


def complete(ask: Ask, environment: Mapping[str, str], progress: Progress) -> Answered:
    """Ask once. Raises whatever litellm raises; see `faults.outcome_of`."""
    import httpx
    import litellm

    litellm.suppress_debug_info = True
    litellm.drop_params = True  # a provider without efforts is asked without one
    litellm.telemetry = False
    model, patience = ask.model, ask.patience
    options: dict[str, Any] = {}
    if model.effort:
        options["reasoning_effort"] = model.effort
    if model.base_url:
        options["api_base"] = model.base_url
    if (model.provider in VARIABLES or model.base_url) and model.provider != "azure":
        # For the rest, litellm finds what a provider needs: regions, projects, tokens of a cloud.
        options["api_key"] = key_of(model.provider, environment) or NO_KEY
    bodies: list[str] = []
    try:
        response: Any = litellm.completion(
            model=model.name,
            messages=[{"role": m.role, "content": content_of(m, ask.pictures)} for m in ask.messages],
            max_tokens=ask.max_output_tokens,
            timeout=httpx.Timeout(patience.total + AFTER_THE_WATCH, connect=patience.connect),
            num_retries=0,
            max_retries=0,
            extra_headers={"Idempotency-Key": ask.idempotency_key},
            logger_fn=lambda details: _note_body(details, bodies, progress),
            **options,
        )
    except Exception:
        rescued = _rescued(bodies)
        if rescued is None:
            raise
        return rescued
    headers = at(getattr(response, "_hidden_params", None), "additional_headers")
    answer = openai_answer(plain(response), text_at(headers, "llm_provider-x-request-id"))
    return _with_own_words(answer, bodies)


def _note_body(details: Mapping[str, Any], bodies: list[str], progress: Progress) -> None:
    """Keep the body as the provider sent it; litellm tells it before it reads it."""
    body = details.get("original_response")
    if details.get("log_event_type") == "post_api_call" and isinstance(body, str) and not bodies:
        bodies.append(body)
        with suppress(GivenUp):  # litellm would log it
            progress.add(body)


def _as_sent(bodies: list[str]) -> dict[str, Any]:
    """The document as the provider sent it; empty if there is none."""
    try:
        return parsed_document(bodies[0].encode("utf-8", "replace"), "")
    except (UnreadableAnswer, IndexError):
        return {}


def _rescued(bodies: list[str]) -> Answered | None:
    """A paid answer that litellm could not read, if it is in OpenAI's protocol after all."""
    try:
        return openai_answer(_as_sent(bodies), "")
    except UnreadableAnswer:
        return None


def _with_own_words(answer: Answered, bodies: list[str]) -> Answered:
    """The answer with what litellm leaves out or makes up: a reason it does not know is `stop` with it."""
    document = _as_sent(bodies)
    if not document:
        return answer
    reason = text_at(document, "choices", 0, "finish_reason")
    known = answer.finish_reason if answer.finish_reason != "stop" or not reason else finish_reason(reason)
    return answer.model_copy(update={"finish_reason": known, "raw": json.dumps(document)})
