"""Where keys come from, and how they are kept out of everything else.

Keys are environment variables. The broker gets them when it is started; `withdraw` then takes them out of this process,
so that no box, log or report of it can hold one, and the broker takes them out of every word that leaves it.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import TypeVar

from eureka_agent.population import Record

RecordT = TypeVar("RecordT", bound=Record)

VARIABLES: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "azure": ("AZURE_API_KEY", "AZURE_AD_TOKEN"),
    "together_ai": ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "huggingface": ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
    **{
        name: (f"{name.upper()}_API_KEY",)
        for name in (
            *("ai21", "cerebras", "codestral", "dashscope", "deepinfra", "deepseek", "featherless_ai", "groq"),
            *("hyperbolic", "inception", "mistral", "moonshot", "nebius", "novita", "nvidia_nim", "openrouter"),
            *("replicate", "sambanova", "vercel_ai_gateway", "volcengine", "xai"),
        )
    },
}
"""Any one of these lets a provider be asked. Of providers that are not here, only their SDK knows what they want."""
KEYLESS = frozenset({"ollama", "ollama_chat", "hosted_vllm", "lm_studio", "llamafile", "docker_model_runner"})
"""Servers of one's own."""
NO_KEY = "no-key-needed"
"""Sent where an SDK insists on a key and the server does not."""
REMOVED = "[key removed]"
PR_SET_DUMPABLE = 4
SHORTEST = 8
"""Shorter values are words such as `none` or `ollama`, and would be found everywhere."""

_SECRET = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD)(?:_|$)", re.IGNORECASE)


def is_secret(variable: str) -> bool:
    """Whether a variable's name says that its value is a key; of any service, not only of language models."""
    return _SECRET.search(variable) is not None


def key_of(provider: str, environment: Mapping[str, str]) -> str | None:
    """The first of the provider's variables that is set, without the line end that files and clipboards add."""
    values = (environment.get(name, "").strip() for name in VARIABLES.get(provider, ()))
    return next((value for value in values if value), None)


def wanted(provider: str) -> str:
    """The variables of which a provider needs one, for a message; empty if that is not known here."""
    return " or ".join(VARIABLES.get(provider, ()))


class Secrets:
    """The values that must not leave, of one environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = {value.strip() for name, value in environment.items() if is_secret(name)}
        # The longest first: one key may begin another.
        self._values = sorted((value for value in values if len(value) >= SHORTEST), key=len, reverse=True)

    def redact(self, text: str) -> str:
        """The text without any of them."""
        for value in self._values:
            text = text.replace(value, REMOVED)
        return text

    def redacted(self, record: RecordT) -> RecordT:
        """The record with each of its texts redacted."""
        texts = {name: value for name in type(record).model_fields if isinstance(value := getattr(record, name), str)}
        changed = {name: clean for name, text in texts.items() if (clean := self.redact(text)) != text}
        return record.model_copy(update=changed)


def withdraw(environment: MutableMapping[str, str] = os.environ) -> frozenset[str]:
    """Take every key out of this process, and return the variables that are gone.

    A process cannot take back what it was started with by forgetting it: `/proc/<pid>/environ` shows that memory as
    long as the process lives, and to every process of the same user. So it is overwritten.
    """
    names = frozenset(name for name in environment if is_secret(name))
    for name in names:
        del environment[name]
    if environment is os.environ:
        _overwrite(names)
    return names


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory and environment, keys and all."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _overwrite(names: frozenset[str]) -> None:
    """Blank the values of variables in the memory that the kernel shows as this process's environment."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[47]), int(fields[48])  # env_start and env_end, fields 50 and 51 of proc(5)
    except (OSError, ValueError, IndexError):
        return  # no such kernel: nothing is shown either
    if not 0 < start < end:
        return
    offset = 0
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and os.fsdecode(name) in names:
            ctypes.memset(start + offset + len(name) + 1, ord("-"), len(value))
        offset += len(entry) + 1
