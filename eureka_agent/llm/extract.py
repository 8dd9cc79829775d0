"""Finds the reward function in what a language model answered.

Models wrap code in fences, tildes, JSON, HTML entities and thoughts. What counts is the last complete block that
defines `compute_reward`; a function that was cut off is never used, even if what is left of it would run.
"""

from __future__ import annotations

import ast
import html
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from eureka_agent.contract.reward_code import FUNCTION, normalised_source, undefined_names
from eureka_agent.contract.syntax import parse
from eureka_sandbox.protocol import Failure, Verdict

CUT_OFF = frozenset({"length", "max_tokens", "incomplete", "model_context_window_exceeded"})
REFUSED = frozenset({"refusal", "content_filter"})

_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THOUGHT_START = re.compile(r"^\s*<(think|thinking|thought|reasoning)>", re.MULTILINE | re.IGNORECASE)
_THOUGHT_END = re.compile(r"</(think|thinking|thought|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"^([ \t>]*)(`{3,}|~{3,})[ \t]*([^\n`]*)$")
_CODE_START = re.compile(r"^(import |from \w|def |async def |class |@|[A-Z_]+\s*[:=]|\"\"\"|'''|#)")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|#\d+|#x[0-9a-fA-F]+);")
_DEFINES = re.compile(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{FUNCTION}\b|^{FUNCTION}[ \t]*=", re.MULTILINE)
_TOKEN = re.compile(r"<\|[a-z_]{1,40}\|>")
"""Chat template's special tokens that a local server failed to take out."""
_CODE_ELEMENT = re.compile(r"<pre>\s*<code[^>]*>(.*?)</code>\s*</pre>", re.DOTALL | re.IGNORECASE)
_OBJECT = re.compile(r"[{\[](?=\s*[\"{\[])")
MOST_OBJECTS = 100
"""Places at which an object between words is looked for."""
_IMPORTS = {
    "torch": "import torch",
    "math": "import math",
    "np": "import numpy as np",
    "Tensor": "from torch import Tensor",
    **{name: f"from typing import {name}" for name in ("Any", "Dict", "List", "Optional", "Tuple")},
}


@dataclass(frozen=True)
class Extracted:
    """Code as it will be trained, and how it was found."""

    code: str
    rule: str
    """`fence`, `bare` or `json`, with `+html`, `+escaped`, `+indented`, `+joined`, `+import` where entities or escapes
    were decoded, an indentation taken off, helpers fetched from other blocks, forgotten imports added."""


@dataclass(frozen=True)
class _Block:
    text: str
    closed: bool
    rule: str = "fence"


def extract_code(text: str, finish_reason: str = "stop") -> Extracted | Failure:
    """The reward code in an answer, or why there is none.

    Args:
        text: the whole answer.
        finish_reason: why the model stopped, in the provider's word; `length` and its like mean that it was cut off.
    """
    if finish_reason in REFUSED:
        return _failure("the model refused to answer")
    text = _without_thoughts(_without_packaging(normalised_source(text.replace("\0", ""))))
    if not text.strip():
        return _failure("the answer is cut off before any code" if finish_reason in CUT_OFF else "the answer is empty")
    found = _from_json(text) or _from_fences(text) or _from_json_within(text) or _from_bare_text(text, finish_reason)
    if isinstance(found, Extracted):
        return _with_imports(found)
    if found:
        return found
    if finish_reason in CUT_OFF:
        return _failure("the answer is cut off before the code was complete")
    return _failure(f"the answer has no code block that defines {FUNCTION}")


def _failure(message: str) -> Failure:
    return Failure(verdict=Verdict.CODE_ERROR, message=message)


def _without_packaging(text: str) -> str:
    """What chat templates, web pages and word processors put around code: taken off, or turned into a fence."""
    text = _TOKEN.sub("\n", text.replace("\u00a0", " ").replace("\u202f", " "))
    return _CODE_ELEMENT.sub(lambda found: f"\n```python\n{html.unescape(found[1]).strip()}\n```\n", text)


def _without_thoughts(text: str) -> str:
    """Drop `<think>…</think>`. Some servers leave out the opening tag; after a thought without end there is nothing."""
    text = _THOUGHT.sub("", text)
    if end := list(_THOUGHT_END.finditer(text)):
        text = text[end[-1].end() :]
    if start := _THOUGHT_START.search(text):
        text = text[: start.start()]
    return text


# ------------------------------------------------------------------------------------------------------------- fences


def _from_fences(text: str) -> Extracted | Failure | None:
    blocks = [block for block in _blocks(text) if block.text.strip()]
    defining = [block for block in blocks if _defines(block.text)]
    if blocks and not blocks[-1].closed and (defining or blocks[-1].text.count("\n") > 1):
        return _failure("the answer ends inside its code block; the function may be cut off")
    if not defining:
        return None
    # A sketch of the signature, shown after the function, is not the function.
    last = ([b for b in defining if "return" in b.text and _parses(b.text)] or defining)[-1]
    helpers = [b.text for b in blocks if b not in defining and _parses(b.text)]
    missing = undefined_names(last.text).keys() - _IMPORTS.keys()
    if missing and helpers:
        joined = "\n\n".join([*helpers, last.text])
        if missing - undefined_names(joined).keys():
            return Extracted(normalised_source(joined), last.rule + "+joined")
    return Extracted(normalised_source(last.text), last.rule)


def _blocks(text: str) -> Iterator[_Block]:
    """Fenced blocks as CommonMark has them: closed by at least as many of the same character, alone on a line."""
    opened: tuple[str, str] | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, lines = (fence[1], fence[2]), []
        elif fence and fence[3].strip() and not "".join(lines).strip():
            opened, lines = (fence[1], fence[2]), []  # opened twice: once bare, once with its language
        elif fence and fence[2].startswith(opened[1]) and not fence[3].strip():
            yield _decoded(_dedented(lines, opened[0]), closed=True)
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        yield _decoded(_dedented(lines, opened[0]), closed=False)


def _decoded(text: str, closed: bool) -> _Block:
    """A block with JSON and HTML wrapping taken off."""
    if found := _from_json(text):
        return _Block(found.code, closed, found.rule)
    plain = _unescaped(text)
    if not _defines(plain) and "\n" not in plain.strip() and "\\n" in plain:
        return _Block(plain.replace("\\n", "\n").replace('\\"', '"'), closed, "fence+escaped")
    return _Block(plain, closed, "fence" if plain == text else "fence+html")


def _dedented(lines: list[str], indent: str) -> str:
    """Remove the fence's own indentation (a list item) or quote marks from each line."""
    return (
        "\n".join(line.removeprefix(indent) if line.startswith(indent) else line.lstrip("> ") for line in lines) + "\n"
    )


# --------------------------------------------------------------------------------------------------------------- JSON


def _from_json(text: str) -> Extracted | None:
    """Code in a string of a JSON object or list, itself fenced or bare."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        data = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return _from_data(data)


def _from_json_within(text: str) -> Extracted | None:
    """The same for an object between words, or one of several."""
    decoder = json.JSONDecoder(strict=False)
    for start in list(_OBJECT.finditer(text))[:MOST_OBJECTS]:
        try:
            data, _ = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        if found := _from_data(data):
            return found
    return None


def _from_data(data: object) -> Extracted | None:
    for string in reversed(list(_strings(data))):
        code = normalised_source(string)
        found = _from_fences(code) or (Extracted(code, "bare") if _defines(code) else None)
        if isinstance(found, Extracted):
            return Extracted(found.code, "json")
        if nested := _from_json(string):  # the arguments of a tool call
            return nested
    return None


def _strings(data: object) -> Iterator[str]:
    stack = [data]
    while stack:
        match stack.pop():
            case str(text):
                yield text
            case dict(fields):
                stack.extend(reversed(list(fields.values())))
            case list(items):
                stack.extend(reversed(items))
            case _:
                pass


# ---------------------------------------------------------------------------------------------------------- bare text


def _from_bare_text(text: str, finish_reason: str) -> Extracted | Failure | None:
    """Code without a fence: from the first line that begins a program to the last that still parses."""
    plain = _unescaped(text)
    if not _defines(plain):
        return None
    if finish_reason in CUT_OFF:
        return _failure("the answer is cut off before the code was complete")
    lines = plain.split("\n")
    starts = [i for i, line in enumerate(lines) if _CODE_START.match(line)]
    for start in starts:
        code = _longest_program(lines[start:])
        if code and _defines(code):
            return Extracted(normalised_source(code), "bare" if plain == text else "bare+html")
    indented = [line for line in lines if not line.strip() or line.startswith("    ")]
    if not starts and _parses(code := textwrap.dedent("\n".join(indented))):
        return Extracted(normalised_source(code.lstrip("\n")), "bare+indented")
    first = next((i for i in starts if lines[i].startswith(("import", "from", "def"))), 0)
    return Extracted(normalised_source("\n".join(lines[first:])), "bare")


def _longest_program(lines: list[str]) -> str:
    """The longest beginning that parses, without the words after it; empty if there is none within a few cuts."""
    end = len(lines)
    for _ in range(20):
        try:
            tree = parse("\n".join(lines[:end]))
        except SyntaxError as error:
            end = min(end, error.lineno or 1) - 1
            continue
        except (ValueError, RecursionError, MemoryError):
            return ""
        while len(tree.body) > 1 and isinstance(tree.body[-1], ast.Expr):
            end = (tree.body.pop().lineno or 1) - 1
        return "\n".join(lines[:end])
    return ""


# ------------------------------------------------------------------------------------------------------------ helpers


def _defines(code: str) -> bool:
    return _DEFINES.search(code) is not None


def _unescaped(code: str) -> str:
    return html.unescape(code) if _ENTITY.search(code) else code


def _parses(code: str) -> bool:
    try:
        parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _with_imports(found: Extracted) -> Extracted:
    """Add the imports that models forget because their prompt showed the function alone."""
    needed = list(dict.fromkeys(_IMPORTS[name] for name in undefined_names(found.code) if name in _IMPORTS))
    if not needed:
        return found
    tree = parse(found.code)
    head: list[ast.stmt] = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    if not head and ast.get_docstring(tree, clean=False) is not None:
        head = tree.body[:1]
    lines = found.code.split("\n")
    after = head[-1].end_lineno or 0 if head else 0
    added = ["", *needed] if head else [*needed, "", ""]
    return Extracted("\n".join([*lines[:after], *added, *lines[after:]]), found.rule + "+import")
