"""Reads untrusted text in a time that grows with its length and no faster: a scan holds up every thread of the search.

A pattern such as `<a>.*?</a>` is no such read: from each `<a>` that is never closed it looks through all that follows.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator

LONGEST_READ = 1_000_000
"""Characters of an answer that code, objections or words are looked for in; with 128,000 tokens of thoughts spelled out
it has half as many."""
GOES_ROUND = 50
"""An answer that is so many times as long as what is left of it when compressed says the same again and again; answers
to this package's prompts are 2 to 4 times as long."""
SHORT = 4000
"""Characters below which that is nothing to wonder at."""


def too_long(text: str) -> str:
    """Why an answer is not read; empty if it may be."""
    if len(text) <= LONGEST_READ:
        return ""
    return f"the answer is {len(text) / 1000:,.0f} kB long, and at most {LONGEST_READ // 1000:,} kB are read"


def goes_round(text: str, times: int = GOES_ROUND) -> bool:
    """Whether a text says the same again and again."""
    data = text[:LONGEST_READ].encode("utf-8", "surrogatepass")
    return len(data) > times * len(zlib.compress(data))


def stuck(text: str) -> bool:
    """Whether the model that wrote it was caught in a loop."""
    return len(text) > SHORT and goes_round(text)


def pairs(
    text: str, opening: re.Pattern[str], closing: re.Pattern[str]
) -> Iterator[tuple[re.Match[str], re.Match[str]]]:
    """Each opening and the first closing after it, as `opening.*?closing` finds them: none inside of another.

    What the patterns have in groups, such as a tag's name, must be the same but for capitals.
    """
    closings: dict[tuple[str, ...], list[re.Match[str]]] = defaultdict(list)
    for found in closing.finditer(text):
        closings[_name(found)].append(found)
    at = 0
    for start in opening.finditer(text):
        ends = closings[_name(start)]
        first = bisect_left(ends, start.end(), key=lambda end: end.start())
        if start.start() >= at and first < len(ends):
            at = ends[first].end()
            yield start, ends[first]


def without(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """The text without what stands between the two, and without these."""
    kept, at = [], 0
    for start, end in pairs(text, opening, closing):
        kept.append(text[at : start.start()])
        at = end.end()
    return "".join([*kept, text[at:]])


def _name(found: re.Match[str]) -> tuple[str, ...]:
    return tuple(group.lower() for group in found.groups())
