"""Sources that no text file can hold: strange bytes, and too many of them."""

from __future__ import annotations

_PLAIN = b"def compute_reward(pole_angle):\n    return pole_angle, {'angle': pole_angle}\n"

GENERATED: dict[str, dict[str, tuple[str, str, bool, bytes]]] = {
    "D": {
        "nested_parentheses": (
            "An expression in five thousand pairs of parentheses.",
            "code error at 1",
            True,
            b"X = " + b"(" * 5000 + b"1" + b")" * 5000 + b"\n" + _PLAIN,
        ),
        "nested_signs": (
            "A number with a hundred thousand signs, over which the compiler recurses.",
            "code error, memory, bad result",
            False,
            b"X = " + b"-" * 100_000 + b"1\n" + _PLAIN,
        ),
        "large_constant": (
            "An expression of thirty characters that the compiler would turn into gigabytes.",
            "code error, memory",
            True,
            b"X = bytearray(1 << 33 << 3)\n" + _PLAIN,
        ),
    },
    "K": {
        "byte_order_mark": ("Begins with a byte order mark.", "runs", False, b"\xef\xbb\xbf" + _PLAIN),
        "other_line_ends": ("Lines end as on Windows.", "runs", True, _PLAIN.replace(b"\n", b"\r\n")),
        "nul": ("Holds a NUL byte.", "code error", True, _PLAIN.replace(b"angle'", b"an\0gle'", 1)),
        "half_a_character": ("Holds bytes that are no text.", "code error", True, _PLAIN + b"X = '\xff\xfe'\n"),
        "other_encoding": (
            "Is written in Latin-1, and says so.",
            "code error",
            True,
            b"# -*- coding: latin-1 -*-\n# \xe4\xf6\xfc\n" + _PLAIN,
        ),
        "ten_megabytes": ("Is ten megabytes long.", "code error", False, _PLAIN + b"# " + b"x" * 10_000_000 + b"\n"),
        "empty": ("Is an empty file.", "code error", True, b""),
    },
}
"""By category and name: what it is, what is expected (as in the corpus), whether only in depth, and the bytes."""
