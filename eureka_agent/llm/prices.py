"""What calls cost: a person's own prices first, then the table that comes with litellm, else nobody knows.

A price that nobody knows is never taken for 0. The table has a 0 for what is free and for what it has no price for, so
only a person's file can say that input or output costs nothing.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from eureka_agent.llm.completion import Usage
from eureka_agent.llm.wire import ModelConfig, Price
from eureka_agent.runs.calls import Message

TABLE = "model_prices_and_context_window_backup.json"
BARE = {"openai": ("openai",), "anthropic": ("anthropic",)}
"""Providers whose models the table has without a prefix, with what it calls the provider."""
OWN_ADDRESS = {"openai": ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "anthropic": ("ANTHROPIC_BASE_URL",)}
"""Variables with which a person sends a provider's calls elsewhere."""
TOKENS_PER_MESSAGE = 64
"""More than any chat template puts around a turn."""
PIXELS_PER_TOKEN = 16
"""Of a picture, fewer than any model takes. Most cut it into squares of 14 to 32 pixels, a token each; the dearest
count is that of gpt-4o-mini, which bills 33 times what it reads, 25,501 tokens for 768 × 576."""
PER_CALL_TOKENS = 256
"""More than any template puts around a conversation."""
_MILLION = 1_000_000
_SMALLEST = 1e-9
"""Costs are whole billionths of a dollar, rounded up, so that sums over a run stay exact."""


def price_of(model: ModelConfig) -> Price | None:
    """The model's price, or None if nobody knows it. The table says nothing about servers of other people's."""
    if model.price is not None:
        return model.price
    row = None if _elsewhere(model) else _row(model)
    if row is None:
        return None
    given, made = _per_million(row, "input_cost_per_token"), _per_million(row, "output_cost_per_token")
    if not given or not made or _has_a_fee(row):
        return None
    return Price(
        input=given,
        output=max(made, _per_million(row, "output_cost_per_reasoning_token") or 0.0),  # nobody knows who will think
        cache_read=_per_million(row, "cache_read_input_token_cost"),
        cache_write=_per_million(row, "cache_creation_input_token_cost"),
    )


def longest_answer(model: ModelConfig) -> int | None:
    """Most output tokens that the model can give, or None if nobody knows."""
    if model.max_output_tokens is not None:
        return model.max_output_tokens
    row = None if _elsewhere(model) else _row(model)
    limit = row.get("max_output_tokens") if row else None
    return limit if isinstance(limit, int) and limit > 0 else None


def most_input_tokens(messages: Sequence[Message]) -> int:
    """More tokens than any tokeniser makes of a conversation: none has one that is shorter than a byte of its words.

    Pictures count by their pixels: how well they compress is nothing to a model.
    """
    text = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in messages)
    pixels = sum(m.picture.width * m.picture.height for m in messages if m.picture)
    return text + math.ceil(pixels / PIXELS_PER_TOKEN) + TOKENS_PER_MESSAGE * len(messages) + PER_CALL_TOKENS


def worst_cost(price: Price, input_tokens: int, output_tokens: int) -> float:
    """US dollars that a call can cost at most: all of its input put into the cache, if that is dearer."""
    dearest = max(price.input, price.cache_read or 0.0, price.cache_write or 0.0)
    return _rounded_up((input_tokens * dearest + output_tokens * price.output) / _MILLION)


def cost_of(price: Price, usage: Usage) -> float:
    """US dollars that a call has cost."""
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    dollars = plain * price.input + usage.output_tokens * price.output
    dollars += usage.cached_tokens * (price.input if price.cache_read is None else price.cache_read)
    dollars += usage.cache_write_tokens * (price.input if price.cache_write is None else price.cache_write)
    return _rounded_up(dollars / _MILLION)


def likely_name(model: str) -> str:
    """`openai/gpt-4o` for `gpt-4o`; empty if the table knows no such model, or knows it by its whole name."""
    row = _table().get(model)
    provider = row.get("litellm_provider") if isinstance(row, dict) else None
    if isinstance(provider, str) and "/" not in model:
        return f"{provider}/{model}"
    return next((name for name in _table() if name.endswith(f"/{model}") and name.count("/") == 1), "")


def known_provider(provider: str) -> bool:
    """Whether the table has models of a provider; litellm may know others."""
    rows = (row for row in _table().values() if isinstance(row, dict))
    return any(row.get("litellm_provider") == provider for row in rows)


def _rounded_up(dollars: float) -> float:
    return round(math.ceil(round(dollars / _SMALLEST, 3)) * _SMALLEST, 9)


def _elsewhere(model: ModelConfig) -> bool:
    if model.base_url is not None:
        return True
    return any(os.environ.get(name) for name in OWN_ADDRESS.get(model.provider, ()))


def _row(model: ModelConfig) -> Mapping[str, Any] | None:
    table, bare = _table(), model.name.partition("/")[2]
    if isinstance(row := table.get(model.name), dict):
        return row
    row = table.get(bare)
    names = BARE.get(model.provider, ())
    return row if isinstance(row, dict) and row.get("litellm_provider") in names else None


def _has_a_fee(row: Mapping[str, Any]) -> bool:
    """Whether a call costs something besides its tokens. Perplexity's models always search the web."""
    searches = row.get("litellm_provider") == "perplexity" and row.get("search_context_cost_per_query")
    return bool(row.get("input_cost_per_request") or searches)


def _per_million(row: Mapping[str, Any], field: str) -> float | None:
    value = row.get(field)
    usable = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return round(value * _MILLION, 9) if usable and isinstance(value, int | float) else None


@cache
def _table() -> Mapping[str, Any]:
    """litellm's table, read without importing litellm, which takes seconds."""
    found = importlib.util.find_spec("litellm")
    for folder in (found.submodule_search_locations or ()) if found else ():
        try:
            table = json.loads((Path(folder) / TABLE).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(table, dict):
            return table
    return {}
