"""Bytes and text that a box emitted: the strict JSON reader, the one clean line, and the `Violation` both end in."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from eureka_sandbox.protocol import Failure, Verdict

MAX_DEPTH = 16
MAX_CONTAINERS = 4096
MAX_KEYS = 4096
"""Colons, those within strings included; the largest result has a few hundred."""
MAX_VALUES = 50_000
"""Three times the curves of 400 rows × 40 columns; validating as many wrong ones still takes under 0.2 s."""
MAX_INTEGER = 2**53
"""Largest magnitude that every JSON reader represents exactly."""

Model = TypeVar("Model", bound=BaseModel)

# The lone quote is last among the string forms: it matches only where a string is never closed, and ends the scan
# there, so that the scan stays linear on hostile input.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|[\[\]{}]', re.DOTALL)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])|\x9b[0-?]*[ -/]*[@-~]")


class Violation(Exception):
    """What a box emitted or used breaks a rule; the message names the file or frame, the field and the limit.

    `where` is empty if the verdict alone says it (time, memory).
    """

    def __init__(self, where: str, problem: str, verdict: Verdict = Verdict.BAD_RESULT) -> None:
        super().__init__(one_line(f"{where}: {problem}" if where else problem, 500))
        self.verdict = verdict

    @property
    def failure(self) -> Failure:
        """The same, as the candidate's state."""
        return Failure(verdict=self.verdict, message=str(self))


def one_line(text: str, limit: int) -> str:
    """Text that may enter a terminal or a prompt: no escape sequence, control, bidi or invisible character, one line.

    At most `limit` characters; a longer text is cut and ends in `…`.
    """
    text = _ANSI.sub("", text[: 16 * limit])
    text = "".join(" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def parse_json(data: bytes, where: str) -> Any:
    """JSON in utf-8, depth and size checked before parsing; no duplicate key, NaN, infinity or huge integer.

    Raises:
        Violation: the bytes are anything else.
    """
    _check_structure(data, where)
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_exact,
        )
    except UnicodeDecodeError as error:
        raise Violation(where, f"byte {error.start} is not utf-8") from error
    except ValueError as error:
        raise Violation(where, f"not valid JSON: {error}") from error


def parse_model(data: bytes, where: str, model: type[Model]) -> Model:
    """Strict JSON that is exactly one `model`: same keys, same types, a bool is no number.

    Raises:
        Violation: the bytes are anything else.
    """
    parsed = parse_json(data, where)
    if isinstance(parsed, dict) and (unknown := sorted(parsed.keys() - model.model_fields.keys())):
        raise Violation(where, f"{one_line(unknown[0], 64)}: is no field of a {model.__name__}")
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(one_line(str(part), 64) for part in first["loc"])
        raise Violation(where, f"{field or model.__name__}: {first['msg']}") from error


def _check_structure(data: bytes, where: str) -> None:
    if (commas := data.count(b",")) > MAX_VALUES:
        raise Violation(where, f"{commas} values, at most {MAX_VALUES} are allowed")
    depth = containers = 0
    for match in _TOKEN.finditer(data):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            containers += 1
        elif token in (b"]", b"}"):
            depth -= 1
        elif token == b'"':
            raise Violation(where, f"the string that opens at byte {match.start()} is never closed")
        if depth > MAX_DEPTH:
            raise Violation(where, f"nested deeper than {MAX_DEPTH} levels")
        if containers > MAX_CONTAINERS:
            raise Violation(where, f"more than {MAX_CONTAINERS} lists and objects")
    if (keys := data.count(b":")) > MAX_KEYS:
        raise Violation(where, f"{keys} keys, at most {MAX_KEYS} are allowed")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {one_line(key, 64)!r} appears twice")
            seen.add(key)
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:32]} is not a finite number")
    return value


def _exact(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MAX_INTEGER:
        raise ValueError(f"the integer {text[:32]} is beyond ±2^53")
    return value
