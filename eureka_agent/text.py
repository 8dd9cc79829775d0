"""How numbers, durations and counts read, the same in the terminal and in the report."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable


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


def visible(text: str) -> str:
    """Untrusted text with control, bidirectional and invisible characters written out, so that none can mislead."""
    return "".join(f"⟨U+{ord(c):04X}⟩" if _hides(c) else c for c in text)


def _hides(character: str) -> bool:
    code = ord(character)
    return (
        (code < 32 and character not in "\n\t")
        or 0x7F <= code <= 0x9F
        or code in (0xAD, 0x061C, 0x180E, 0xFEFF)
        or 0x200B <= code <= 0x200F
        or 0x202A <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0xE0000 <= code <= 0xE007F
    )
