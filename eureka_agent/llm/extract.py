"""Finds the reward function in what a language model answered.

Models wrap code in fences, tildes, JSON, HTML entities and thoughts. What counts is the last complete block that
defines `compute_reward`; a function that was cut off is never used, even if what is left of it would run.

An answer may be of any shape and long, and reading it holds up the search: see `bounded`.
"""

from __future__ import annotations

import ast
import html
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from eureka_agent.contract.reward_code import FUNCTION, MAX_BYTES, normalised_source, undefined_names
from eureka_agent.contract.syntax import parse
from eureka_agent.llm.bounded import LONGEST_READ, pairs, stuck, too_long, without
from eureka_sandbox.protocol import Failure, Verdict

CUT_OFF = frozenset({"length", "max_tokens", "incomplete", "model_context_window_exceeded"})
REFUSED = frozenset({"refusal", "content_filter"})

_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>", re.IGNORECASE | re.ASCII)
_THOUGHT_END = re.compile(r"</(think|thinking|thought|reasoning)>", re.IGNORECASE | re.ASCII)
_THOUGHT_START = re.compile(rf"^[^\S\n]*+{_THOUGHT.pattern}", re.MULTILINE | re.IGNORECASE | re.ASCII)
_FENCE = re.compile(r"^([ \t>]*+)(`{3,}+|~{3,}+)[ \t]*+([^\n`]*+)$")
_CODE_START = re.compile(r"^(import |from \w|def |async def |class |@|[A-Z_]+\s*[:=]|\"\"\"|'''|#)")
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|#\d+|#x[0-9a-fA-F]+);")
_DEFINES = re.compile(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{FUNCTION}\b|^{FUNCTION}[ \t]*=", re.MULTILINE)
_TOKEN = re.compile(r"<\|[a-z_]{1,40}\|>")
"""Chat template's special tokens that a local server failed to take out."""
_CODE_ELEMENT = re.compile(r"<pre>\s*+<code[^>]*+>", re.IGNORECASE)
_CODE_ELEMENT_END = re.compile(r"</code>\s*+</pre>", re.IGNORECASE)
_OBJECT = re.compile(r"[{\[](?=\s*[\"{\[])")
MOST_OBJECTS = 100
"""Places at which an object between words is looked for."""
MOST_STRINGS = 100
"""Of an object, the last that name the function, in which code is looked for."""
MOST_BLOCKS = 50
"""The last that define the function, and the last others, that are parsed."""
MOST_PARSED = 6 * MAX_BYTES
"""Characters without a fence that are parsed, all trials together; a fifth of those behind an error, which Python looks
through for brackets that are left open."""
MOST_CUTS = 20
"""Of one trial, from its end."""
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
    if reason := too_long(text):
        return _failure(f"{reason}; answer with a few sentences and one code block")
    found = _found(text, finish_reason)
    if isinstance(found, Failure) and stuck(text):
        return _failure(f"the model says the same again and again; {found.message}")
    return found


def _found(text: str, finish_reason: str) -> Extracted | Failure:
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
    kept, at = [], 0
    for start, end in pairs(text, _CODE_ELEMENT, _CODE_ELEMENT_END):
        code = _from_html(text[start.end() : end.start()]).strip()
        kept += [text[at : start.start()], f"\n```python\n{code}\n```\n"]
        at = end.end()
    return "".join([*kept, text[at:]])


def _without_thoughts(text: str) -> str:
    """Drop `<think>…</think>`. Some servers leave out the opening tag; after a thought without end there is nothing."""
    text = without(text, _THOUGHT, _THOUGHT_END)
    if end := list(_THOUGHT_END.finditer(text)):
        text = text[end[-1].end() :]
    if start := _THOUGHT_START.search(text):
        text = text[: start.start()].rstrip() + "\n"
    return text


# ------------------------------------------------------------------------------------------------------------- fences


def _from_fences(text: str) -> Extracted | Failure | None:
    blocks = [block for block in _blocks(text) if block.text.strip()]
    defining: list[_Block] = []
    others: list[_Block] = []
    for block in blocks:
        (defining if _defines(block.text) else others).append(block)
    if blocks and not blocks[-1].closed and (defining or blocks[-1].text.count("\n") > 1):
        return _failure("the answer ends inside its code block; the function may be cut off")
    if not defining:
        return None
    # A sketch of the signature, shown after the function, is not the function.
    latest = reversed(defining[-MOST_BLOCKS:])
    last = next((b for b in latest if "return" in b.text and _parses(b.text)), defining[-1])
    missing = undefined_names(last.text).keys() - _IMPORTS.keys()
    helpers = [b.text for b in others[-MOST_BLOCKS:] if _parses(b.text)] if missing else []
    if helpers:
        joined = "\n\n".join([*helpers, last.text])
        if missing - undefined_names(joined).keys():
            return Extracted(normalised_source(joined), last.rule + "+joined")
    return Extracted(normalised_source(last.text), last.rule)


def _blocks(text: str) -> Iterator[_Block]:
    """Fenced blocks as CommonMark has them: closed by at least as many of the same character, alone on a line."""
    opened: tuple[str, str] | None = None
    lines: list[str] = []
    blank = True
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, lines, blank = (fence[1], fence[2]), [], True
        elif fence and fence[3].strip() and blank:
            opened, lines = (fence[1], fence[2]), []  # opened twice: once bare, once with its language
        elif fence and fence[2].startswith(opened[1]) and not fence[3].strip():
            yield _decoded(_dedented(lines, opened[0]), closed=True)
            opened = None
        else:
            lines.append(line)
            blank = blank and not line.strip()
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
    decoder, room = json.JSONDecoder(strict=False), 2 * LONGEST_READ
    for start in islice(_OBJECT.finditer(text), MOST_OBJECTS):
        if room < 0:
            break
        try:
            data, end = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError) as error:
            data, end = None, getattr(error, "pos", len(text))
        room -= end - start.start()
        if found := _from_data(data):
            return found
    return None


def _from_data(data: object) -> Extracted | None:
    naming = [string for string in _strings(data) if FUNCTION in string]
    for string in reversed(naming[-MOST_STRINGS:]):
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
    if len(plain) > MAX_BYTES:
        return _failure(
            f"the answer has no code block, only {len(plain) / 1000:,.0f} kB of text; without a code block at most "
            f"{MAX_BYTES // 1000} kB are read"
        )
    lines = plain.split("\n")
    last = max(i for i, line in enumerate(lines) if _defines(line))
    starts = [i for i, line in enumerate(lines[: last + 1]) if _CODE_START.match(line)]
    room = MOST_PARSED
    for start in starts:
        code, cost = _longest_program(lines[start:], room)
        if code and _defines(code):
            return Extracted(normalised_source(code), "bare" if plain == text else "bare+html")
        room -= cost
        if room < 0:
            break
    indented = [line for line in lines if not line.strip() or line.startswith("    ")]
    if not starts and _parses(code := textwrap.dedent("\n".join(indented))):
        return Extracted(normalised_source(code.lstrip("\n")), "bare+indented")
    first = next((i for i in starts if lines[i].startswith(("import", "from", "def"))), 0)
    return Extracted(normalised_source("\n".join(lines[first:])), "bare")


def _longest_program(lines: list[str], room: int) -> tuple[str, int]:
    """The longest beginning that parses, without the words after it, and how many characters were parsed for it.

    Empty if there is none within a few cuts, and so many characters.
    """
    end, cost = len(lines), 0
    for _ in range(MOST_CUTS):
        if cost > room:
            break
        tried = "\n".join(lines[:end])
        try:
            tree = parse(tried)
        except SyntaxError as error:
            end = min(end, error.lineno or 1) - 1
            cost += sum(map(len, lines[: end + 1])) + len(tried) // 5
            continue
        except (ValueError, RecursionError, MemoryError):
            return "", cost + len(tried)
        while len(tree.body) > 1 and isinstance(tree.body[-1], ast.Expr):
            end = (tree.body.pop().lineno or 1) - 1
        return "\n".join(lines[:end]), cost + len(tried)
    return "", cost


# ------------------------------------------------------------------------------------------------------------ helpers


def _defines(code: str) -> bool:
    return _DEFINES.search(code) is not None


def _unescaped(code: str) -> str:
    return _from_html(code) if _ENTITY.search(code) else code


def _from_html(code: str) -> str:
    try:
        return html.unescape(code)
    except ValueError:  # a character's number of more digits than Python reads
        return code


def _parses(code: str) -> bool:
    if len(code) > MAX_BYTES:
        return False
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
