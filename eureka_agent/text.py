"""How numbers, durations and counts read, the same in the terminal and in the report."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def number(value: float | None) -> str:
    """About three significant digits and at most three decimals, thousands separated; an en dash for nothing."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    decimals = 0 if size >= 99.95 or size == 0 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{value:,.{decimals}f}".replace("-", "−")


def signed(value: float) -> str:
    """As `number`, with the plus written."""
    return f"+{number(value)}" if value > 0 else number(value)


def measure(value: float | None, unit: str) -> str:
    """A number with its unit; dimensionless (`1`) units are left out, and that of nothing."""
    return number(value) if value is None or unit in ("", "1") else f"{number(value)} {unit}"


def interval(low: float, high: float) -> str:
    """A 95 % interval."""
    return f"[{number(low)}, {number(high)}]"


def percent(share: float) -> str:
    """A share in [0, 1] as a whole percentage."""
    return f"{100 * share:.0f} %"


def duration(seconds: float | None) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`; an en dash for nothing."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(value: float) -> str:
    """`950`, `12.5k`, `3.2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def dollars(value: float) -> str:
    """`$0`, `$0.0042`, `$0.31`, `$12.40`, `$1,234.00`: cents, or two digits of what is less."""
    if value == 0 or value >= 0.1:
        return f"${value:,.2f}" if value else "$0"
    return f"${float(f'{value:.2g}'):.9f}".rstrip("0")


def plural(amount: int, noun: str) -> str:
    """`1 candidate`, `8 candidates`."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def command(words: Iterable[str]) -> str:
    """A command line that a shell takes as written."""
    return " ".join(shlex.quote(word) for word in words)


def resuming(folder: str, sandbox: str, *flags: str) -> str:
    """The command line that continues a run; that it has no wall (`none`) must be typed again."""
    wall = ("--sandbox", "none") if sandbox == "none" else ()
    return command(["eureka", "evolve", "--resume", folder, *wall, *flags])


_HIDDEN = re.compile(
    # control characters; soft hyphen, joiners and fillers; bidirectional marks, embeddings and isolates; line and
    # paragraph separators; variation selectors; annotations; tags; halves of surrogate pairs; private use
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)


def visible(text: str) -> str:
    """Untrusted text with control, bidirectional and invisible characters written out, so that none can mislead."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def from_here(folder: Path) -> str:
    """A folder as a command line names it: relative to the working folder, if it lies below."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) and folder != here else str(folder)


def flag_of(setting: str) -> str:
    """The command line's name of a setting."""
    return FLAGS.get(setting) or "--" + setting.replace("_", "-")


FLAGS = {
    "max_seconds": "--max-time",
    "wall_seconds": "--training-time",
    "seed_rewards": "--seed-reward",
    "maps": "--map",
}
"""Of settings whose flags go by another name."""


def objection(error: Mapping[str, Any]) -> str:
    """What pydantic has against a value, in words for the person who typed it."""
    limits, kind = error.get("ctx", {}), str(error["type"])
    if kind == "string_pattern_mismatch" and "http" in str(limits.get("pattern")):
        return "an address begins with http:// or https://"
    if kind == "literal_error":
        return f"expected {str(limits['expected']).replace(chr(39), '')}"
    for begin, words in _EXPECTED.items():
        if kind.startswith(begin):
            return "expected " + words.format(**{k: f"{v:g}" for k, v in limits.items() if isinstance(v, int | float)})
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


_EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "finite_number": "a number that is not infinite",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
}
"""By how a type of error begins."""
